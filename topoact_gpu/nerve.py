"""Nerve: which nodes share rows, and how many; from memberships, never from pairs of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.devices import backend_or_cpu
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.kernels.nerve import levels
from topoact_gpu.kernels.nerve.levels import RowNodes, Simplices

if TYPE_CHECKING:
    from topoact_gpu.backend import Backend

__all__ = ["Nerve", "RowNodes", "nerve", "transpose"]

_Ints = NDArray[np.int64]


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


def nerve(
    indptr: _Ints,
    rows: _Ints,
    n_rows: int,
    *,
    max_dimension: int = 1,
    min_intersection: int = 1,
    n_threads: int | None = None,
    backend: Backend | None = None,
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
    backend : Backend, optional
        What finds the edges, with its own threads; by default the processor.

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
    _check(indptr, rows, n_rows)
    with backend_or_cpu(backend, n_threads) as used:
        edges = used.edges(indptr, rows, n_rows, min_intersection=int(min_intersection))
        higher: tuple[_Ints, ...] = ()
        if max_dimension > 1:
            nodes = levels.vertices(indptr, rows)
            held = levels.row_nodes(indptr, rows, n_rows, used.team)
            higher = tuple(_higher(nodes, edges, held, used, max_dimension, min_intersection))
    return Nerve(edges, _jaccard(edges, np.diff(indptr)), higher)


def _higher(
    nodes: Simplices,
    edges: _Ints,
    held: RowNodes,
    backend: Backend,
    max_dimension: int,
    minimum: int,
) -> Iterator[_Ints]:
    """Simplices from the triangles on; these the processor finds, whatever the backend."""
    backend.record("nerve", "own", "cpu")
    # An edge is a node, extended by a later one.
    level, extended, simplices = nodes, edges, edges
    for _ in range(2, max_dimension + 1):
        level = levels.with_rows(level, simplices[:, :-1], extended, held, backend.team)
        extended = levels.extend(level, held, minimum, backend.team)
        simplices = _with_nodes(level.nodes, extended)
        yield simplices


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
    _check(indptr, rows, n_rows)
    with backend_or_cpu(None, n_threads) as backend:
        return levels.row_nodes(indptr, rows, n_rows, backend.team)


def _check(indptr: _Ints, rows: _Ints, n_rows: int) -> None:
    """Check that ``indptr`` and ``rows`` are memberships of ``n_rows`` rows."""
    _check_indptr(indptr, rows)
    _check_rows(indptr, rows, n_rows)


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


def _with_nodes(nodes: _Ints, extended: _Ints) -> _Ints:
    """Return the nodes of the extended simplices, and the rows they share."""
    simplex, added, shared = extended.T
    return np.concatenate([nodes[simplex], added[:, None], shared[:, None]], axis=1)


def _as_ints(values: Any) -> _Ints:
    return np.ascontiguousarray(values, dtype=np.int64)
