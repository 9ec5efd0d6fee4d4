"""The nerve on the processor, dimension by dimension, by the threads of a team."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team

__all__ = [
    "RowNodes", "Simplices", "edges", "extend", "in_ranges", "row_nodes", "vertices", "with_rows",
]

_Ints = NDArray[np.int64]
_ROWS_A_BLOCK = 2**17
_FOUND_A_PART = 2**16
"""Extensions that are stored at a time, beyond one for each node."""


@dataclass(frozen=True)
class RowNodes:
    """The nodes of each row, ascending: memberships the other way round.

    Attributes
    ----------
    indptr : int64[n_rows + 1]
        Row ``r`` lies in ``nodes[indptr[r]:indptr[r + 1]]``.
    nodes : int32[nnz]
    n_nodes : int
    """

    indptr: _Ints
    nodes: NDArray[np.int32]
    n_nodes: int


@dataclass(frozen=True)
class Simplices:
    """Simplices of one dimension: their nodes and their rows (CSR)."""

    nodes: _Ints
    indptr: _Ints
    rows: _Ints


def row_nodes(indptr: _Ints, rows: _Ints, n_rows: int, team: Team) -> RowNodes:
    """List the nodes of each row; node ``a`` holds ``rows[indptr[a]:indptr[a + 1]]``, ascending."""
    from topoact_gpu.kernels.nerve import cpu

    n_nodes = indptr.size - 1
    # Blocks of rows whose counters stay in the cache, but not so many that finding each node's
    # place in each block costs more than its rows.
    n_blocks = min(n_rows // _ROWS_A_BLOCK, rows.size // (64 * max(n_nodes, 1)))
    cuts = np.linspace(0, n_rows, max(n_blocks, team.n_threads) + 1).astype(np.int64).tolist()
    row_indptr = np.zeros(n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=row_indptr[1:])
    cursor, nodes = row_indptr[:-1].copy(), np.empty(rows.size, dtype=np.int32)

    def fill(block: tuple[int, int]) -> None:
        cpu.fill_nodes(indptr, rows, *block, cursor, nodes)

    team.map(fill, itertools.pairwise(cuts))
    return RowNodes(row_indptr, nodes, n_nodes)


def vertices(indptr: _Ints, rows: _Ints) -> Simplices:
    """The nodes as simplices of dimension 0."""
    return Simplices(np.arange(indptr.size - 1, dtype=np.int64)[:, None], indptr, rows)


def edges(indptr: _Ints, rows: _Ints, n_rows: int, *, min_intersection: int, team: Team) -> _Ints:
    """Pairs of nodes that share rows: int64[n_edges, 3], (source, target, shared), sorted."""
    held = row_nodes(indptr, rows, n_rows, team)
    return extend(vertices(indptr, rows), held, min_intersection, team)


def extend(level: Simplices, held: RowNodes, minimum: int, team: Team) -> _Ints:
    """Return (simplex, added node, shared rows) for all extensions by one later node, sorted."""
    from topoact_gpu.kernels.nerve import cpu

    last = np.ascontiguousarray(level.nodes[:, -1])
    n_nodes = held.n_nodes

    def extended(start: int, stop: int) -> list[_Ints]:
        scratch, span = (
            np.zeros((3, n_nodes + cpu.SCRATCH), dtype=np.int64),
            np.array([start, stop]),
        )
        parts = []
        while span[0] < stop:
            part = np.empty((n_nodes + _FOUND_A_PART, 3), dtype=np.int64)
            n_found = cpu.extend(
                level.indptr, level.rows, last, held.indptr, held.nodes, scratch, minimum, span,
                part,
            )  # fmt: skip
            parts.append(part[:n_found])
        return parts

    found = in_ranges(extended, level.indptr, team)
    return np.concatenate([np.empty((0, 3), np.int64), *itertools.chain(*found)])


def with_rows(
    level: Simplices, nodes: _Ints, extended: _Ints, held: RowNodes, team: Team
) -> Simplices:
    """Give the extended simplices, whose ``nodes`` are given, their rows."""
    from topoact_gpu.kernels.nerve import cpu

    simplex, added, shared = (np.ascontiguousarray(column) for column in extended.T)
    first = np.searchsorted(simplex, np.arange(level.indptr.size)).astype(np.int64)
    out_indptr = np.concatenate([[0], np.cumsum(shared)]).astype(np.int64)
    out = np.empty(out_indptr[-1], dtype=np.int64)

    def gather(start: int, stop: int) -> None:
        cpu.gather_rows(
            level.indptr, level.rows, first, added, out_indptr, held.indptr, held.nodes, out,
            start, stop,
        )  # fmt: skip

    in_ranges(gather, level.indptr, team)
    return Simplices(nodes, out_indptr, out)


def in_ranges(function: Callable[[int, int], Any], indptr: _Ints, team: Team) -> list[Any]:
    """Call ``function(start, stop)`` for ranges of lists (CSR) that are about equally long."""
    n_lists, n_ranges = indptr.size - 1, 8 * team.n_threads if team.n_threads > 1 else 1
    shares = np.linspace(0, indptr[-1], n_ranges + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(indptr, shares), n_lists]).tolist()
    return team.map(lambda cut: function(*cut), itertools.pairwise(cuts))
