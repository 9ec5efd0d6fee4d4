"""Nearest neighbours among rows that are read in blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.neighbours.cpu import neighbour_squares
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.kernels.table import make_table
from topoact_gpu.streamed import Streamed

__all__ = ["streamed_squares"]

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


def streamed_squares(
    data: Streamed,
    norms: _Floats | None,
    queries: _Ints,
    targets: _Ints,
    k: int,
    frame: Frame,
    team: Team,
) -> _Floats:
    """Squared distances of each query row to its k nearest target rows, by the definition.

    Parameters
    ----------
    data : Streamed
    norms : float64[n_rows] or None
    queries, targets : int64
        Row ids, ascending. The fewer of the two are held in memory, the others are read once.
    k : int
    frame : Frame
    team : Team

    Returns
    -------
    float64[n_queries, k]
        As :func:`topoact_gpu.kernels.neighbours.cpu.neighbour_squares`.
    """
    few = queries if len(queries) <= len(targets) else targets
    many = targets if few is queries else queries
    held_norms = None if norms is None else norms[few]
    work = _Near(data.take(few), few, held_norms, many, norms, few is queries, k, frame)
    found = data.map_blocks(work, team, key=f"near-{k}-{len(queries)}-{len(targets)}")
    if few is targets:
        return np.concatenate(found)
    return np.sort(np.hstack(found), axis=1)[:, :k]


@dataclass(frozen=True)
class _Near:
    """A few rows that are held, against those of ``many`` that lie in a block.

    ``norms``: of all rows, or, after :meth:`at`, of those in ``many``.
    """

    held: NDArray[Any]
    held_ids: _Ints
    held_norms: _Floats | None
    many: _Ints
    norms: _Floats | None
    held_are_queries: bool
    k: int
    frame: Frame

    def at(self, start: int, stop: int) -> _Near:
        """What a block of rows needs of this."""
        low, high = np.searchsorted(self.many, [start, stop])
        own = self.many[low:high]
        norms = None if self.norms is None else self.norms[own]
        return replace(self, many=own, norms=norms)

    def __call__(self, start: int, block: NDArray[Any], team: Team) -> _Floats:
        own, n_held = self.many, len(self.held)
        rows = np.concatenate([self.held, block[own - start]])
        norms = None
        if self.norms is not None and self.held_norms is not None:
            norms = np.concatenate([self.held_norms, self.norms])
        places = np.arange(n_held), n_held + np.arange(len(own))
        queries, targets = places if self.held_are_queries else places[::-1]
        pairs = (self.held_ids, own) if self.held_are_queries else (own, self.held_ids)
        itself = _positions(*pairs, n_held if self.held_are_queries else 0)
        return neighbour_squares(
            make_table(rows, norms), queries, targets, self.k, mean=self.frame.mean,
            unit=self.frame.unit, team=team, own_place=itself,
        )  # fmt: skip


def _positions(ids: _Ints, among: _Ints, offset: int) -> _Ints:
    """Place of each id among ascending ids, plus an offset; -1 where it is not among them."""
    if not len(among):
        return np.full(len(ids), -1, np.int64)
    at = np.searchsorted(among, ids).clip(max=len(among) - 1)
    return np.where(among[at] == ids, at + offset, -1).astype(np.int64)
