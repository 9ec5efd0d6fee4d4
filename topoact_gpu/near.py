"""Nearest neighbours among rows that are read in blocks."""

from __future__ import annotations

from functools import partial
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
    work = partial(
        _with_block, data.take(few), few, many, few is queries, _of(norms, few), norms, k, frame
    )
    found = data.map_blocks(work, team, key=f"near-{k}-{len(queries)}-{len(targets)}")
    if few is targets:
        return np.concatenate(found)
    return np.sort(np.hstack(found), axis=1)[:, :k]


def _of(norms: _Floats | None, ids: _Ints) -> _Floats | None:
    return None if norms is None else norms[ids]


def _with_block(
    held: NDArray[Any],
    held_ids: _Ints,
    many: _Ints,
    held_are_queries: bool,
    held_norms: _Floats | None,
    norms: _Floats | None,
    k: int,
    frame: Frame,
    start: int,
    block: NDArray[Any],
    team: Team,
) -> _Floats:
    """The held rows against those of ``many`` that lie in a block."""
    low, high = np.searchsorted(many, [start, start + len(block)])
    own = many[low:high]
    table_rows = np.concatenate([held, block[own - start]])
    all_norms = None
    if held_norms is not None and norms is not None:
        all_norms = np.concatenate([held_norms, norms[own]])
    n_held = len(held)
    places = np.arange(n_held), n_held + np.arange(len(own))
    queries, targets = places if held_are_queries else places[::-1]
    itself = _positions(held_ids, own, n_held) if held_are_queries else _positions(own, held_ids, 0)
    return neighbour_squares(
        make_table(table_rows, all_norms), queries, targets, k, mean=frame.mean, unit=frame.unit,
        team=team, own_place=itself,
    )  # fmt: skip


def _positions(ids: _Ints, among: _Ints, offset: int) -> _Ints:
    """Place of each id among ascending ids, plus an offset; -1 where it is not among them."""
    if not len(among):
        return np.full(len(ids), -1, np.int64)
    at = np.searchsorted(among, ids).clip(max=len(among) - 1)
    return np.where(among[at] == ids, at + offset, -1).astype(np.int64)
