"""Nerve: which nodes share rows, and how many; from memberships, never from pairs of nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import resolve_threads
from topoact_gpu.errors import DataError, ParameterError

__all__ = ["Nerve", "RowNodes", "nerve", "transpose"]

_Ints = NDArray[np.int64]
_ROWS_A_BLOCK = 2**17
_FOUND_A_PART = 2**16
"""Extensions that are stored at a time, beyond one for each node."""


@dataclass(frozen=True)
class Nerve:
    """Edges and higher simplices.

    Attributes
    ----------
    edges : int64[n_edges, 3]
        (source, target, shared rows), source < target, sorted.
    jaccard : float64[n_edges]
        Shared rows over the rows in either node.
    higher : tuple of int64[n_simplices, k + 2]
        From the triangles (k = 2) on: k + 1 ascending nodes, then the shared rows; sorted. One
        entry for each dimension from 2 to ``max_dimension``.
    """

    edges: _Ints
    jaccard: NDArray[np.float64]
    higher: tuple[_Ints, ...]


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
class _Simplices:
    """Simplices of one dimension: their nodes and their rows (CSR)."""

    nodes: _Ints
    indptr: _Ints
    rows: _Ints


def nerve(
    indptr: _Ints,
    rows: _Ints,
    n_rows: int,
    *,
    max_dimension: int = 1,
    min_intersection: int = 1,
    n_threads: int | None = None,
) -> Nerve:
    """Build the nerve of nodes given by their rows.

    Parameters
    ----------
    indptr : int64[n_nodes + 1]
        Node ``a`` holds ``rows[indptr[a]:indptr[a + 1]]``.
    rows : int64[nnz]
        Row ids below ``n_rows``, ascending within a node.
    n_rows : int
        Number of rows of the data.
    max_dimension : int
        Largest dimension of a simplex: 1 for edges only, 2 for triangles too, ...
    min_intersection : int
        Rows that the nodes of a simplex must share.
    n_threads : int, optional
        Threads; all that the process may use by default. The result does not depend on it.

    Returns
    -------
    Nerve

    Raises
    ------
    ParameterError
        ``max_dimension`` or ``min_intersection`` below 1.
    DataError
        ``indptr`` and ``rows`` are no memberships of ``n_rows`` rows.

    Notes
    -----
    The nerve of Singh, Memoli & Carlsson 2007, section 2. Work and the memory for triangles and
    above are at most the sum over the rows of (nodes holding the row)^(max_dimension + 1); edges
    take memory for the memberships and the edges only.

    Examples
    --------
    >>> found = nerve(np.array([0, 3, 5]), np.array([0, 1, 2, 2, 3]), 4)
    >>> found.edges.tolist(), found.jaccard.tolist()
    ([[0, 1, 1]], [0.25])
    """
    for name, value in (("max_dimension", max_dimension), ("min_intersection", min_intersection)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < 1:
            raise ParameterError(f"{name} must be a whole number of at least 1, got {value!r}")
    indptr, rows = _as_ints(indptr), _as_ints(rows)
    threads = resolve_threads(n_threads)
    row_nodes = transpose(indptr, rows, n_rows, threads)
    level = _Simplices(np.arange(row_nodes.n_nodes, dtype=np.int64)[:, None], indptr, rows)
    found: list[_Ints] = []
    for dimension in range(1, max_dimension + 1):
        extended = _extend(level, row_nodes, min_intersection, threads)
        simplices = extended if dimension == 1 else _with_nodes(level.nodes, extended)
        found.append(simplices)
        if dimension < max_dimension:
            level = _with_rows(level, simplices[:, :-1], extended, row_nodes, threads)
    edges, *higher = found
    return Nerve(edges, _jaccard(edges, np.diff(indptr)), tuple(higher))


def _jaccard(edges: _Ints, sizes: _Ints) -> NDArray[np.float64]:
    source, target, shared = edges.T
    return shared / (sizes[source] + sizes[target] - shared)


def transpose(indptr: _Ints, rows: _Ints, n_rows: int, n_threads: int | None = None) -> RowNodes:
    """List the nodes of each row, ascending.

    Parameters
    ----------
    indptr, rows, n_rows, n_threads
        As for `nerve`.

    Returns
    -------
    RowNodes

    Raises
    ------
    DataError
        ``indptr`` and ``rows`` are no memberships of ``n_rows`` rows.

    Examples
    --------
    >>> held = transpose(np.array([0, 2, 3]), np.array([0, 2, 2]), 3)
    >>> held.indptr.tolist(), held.nodes.tolist()
    ([0, 1, 1, 3], [0, 0, 1])
    """
    from topoact_gpu.kernels.nerve import cpu

    n_threads = resolve_threads(n_threads)
    _check_indptr(indptr, rows)
    _check_rows(indptr, rows, n_rows)
    n_nodes = indptr.size - 1
    # Blocks of rows whose counters stay in the cache, but not so many that finding each node's
    # place in each block costs more than its rows.
    n_blocks = min(n_rows // _ROWS_A_BLOCK, rows.size // (64 * max(n_nodes, 1)))
    cuts = np.linspace(0, n_rows, max(n_blocks, n_threads) + 1).astype(np.int64).tolist()
    row_indptr = np.zeros(n_rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=row_indptr[1:])
    nodes = np.empty(rows.size, dtype=np.int32)
    fill = partial(cpu.fill_nodes, indptr, rows)
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(fill, cuts, cuts[1:], repeat(row_indptr[:-1].copy()), repeat(nodes)))
    return RowNodes(row_indptr, nodes, n_nodes)


def _check_indptr(indptr: _Ints, rows: _Ints) -> None:
    """Check that ``indptr`` cuts ``rows`` in runs."""
    ends = indptr.size > 0 and indptr[0] == 0 and indptr[-1] == rows.size
    if not ends or (np.diff(indptr) < 0).any():
        raise DataError(
            f"indptr must rise from 0 to the number of memberships, {rows.size:,}; got "
            f"{indptr.size:,} values{f' ending at {indptr[-1]:,}' if indptr.size else ''}"
        )


def _check_rows(indptr: _Ints, rows: _Ints, n_rows: int) -> None:
    """Check that the rows of each node ascend from 0 to below ``n_rows``."""
    wrong = np.empty(rows.size, dtype=bool)
    np.less_equal(rows[1:], rows[:-1], out=wrong[1:])
    starts = indptr[:-1][np.diff(indptr) > 0]
    wrong[starts] = rows[starts] < 0
    if wrong.any() or rows.max(initial=-1) >= n_rows:
        bad = int((wrong | (rows >= n_rows)).argmax())
        raise DataError(
            f"the rows of a node must ascend from 0 to at most {n_rows - 1:,}; membership "
            f"{bad:,} is row {int(rows[bad]):,}; give the memberships of these rows, sorted"
        )


def _extend(level: _Simplices, row_nodes: RowNodes, minimum: int, n_threads: int) -> _Ints:
    """Return (simplex, added node, shared rows) for all extensions by one later node, sorted."""
    from topoact_gpu.kernels.nerve import cpu

    last = np.ascontiguousarray(level.nodes[:, -1])
    n_nodes = row_nodes.n_nodes

    def extend(start: int, stop: int) -> list[_Ints]:
        scratch, span = (
            np.zeros((3, n_nodes + cpu.SCRATCH), dtype=np.int64),
            np.array([start, stop]),
        )
        parts = []
        while span[0] < stop:
            part = np.empty((n_nodes + _FOUND_A_PART, 3), dtype=np.int64)
            n_found = cpu.extend(
                level.indptr,
                level.rows,
                last,
                row_nodes.indptr,
                row_nodes.nodes,
                scratch,
                minimum,
                span,
                part,
            )
            parts.append(part[:n_found])
        return parts

    found = _in_ranges(extend, level, n_threads)
    return np.concatenate([np.empty((0, 3), np.int64), *itertools.chain(*found)])


def _with_nodes(nodes: _Ints, extended: _Ints) -> _Ints:
    """Return the nodes of the extended simplices, and the rows they share."""
    simplex, added, shared = extended.T
    return np.concatenate([nodes[simplex], added[:, None], shared[:, None]], axis=1)


def _with_rows(
    level: _Simplices, nodes: _Ints, extended: _Ints, row_nodes: RowNodes, n_threads: int
) -> _Simplices:
    """Give the extended simplices their rows."""
    from topoact_gpu.kernels.nerve import cpu

    simplex, added, shared = (np.ascontiguousarray(column) for column in extended.T)
    first = np.searchsorted(simplex, np.arange(level.indptr.size)).astype(np.int64)
    out_indptr = np.concatenate([[0], np.cumsum(shared)]).astype(np.int64)
    out = np.empty(out_indptr[-1], dtype=np.int64)

    def gather(start: int, stop: int) -> None:
        cpu.gather_rows(
            level.indptr,
            level.rows,
            first,
            added,
            out_indptr,
            row_nodes.indptr,
            row_nodes.nodes,
            out,
            start,
            stop,
        )

    _in_ranges(gather, level, n_threads)
    return _Simplices(nodes, out_indptr, out)


def _in_ranges(function: Callable[[int, int], Any], level: _Simplices, n_threads: int) -> list[Any]:
    """Call ``function(start, stop)`` for ranges of simplices with about equally many rows."""
    n_simplices = level.indptr.size - 1
    n_ranges = 8 * n_threads if n_threads > 1 else 1
    shares = np.linspace(0, level.rows.size, n_ranges + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(level.indptr, shares), n_simplices]).tolist()
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, cuts[:-1], cuts[1:]))


def _as_ints(values: Any) -> _Ints:
    return np.ascontiguousarray(values, dtype=np.int64)
