"""Nodes: the clusters of every cover element, as memberships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.cover import CoverElements
from topoact_gpu.errors import DataError

__all__ = ["lens_statistics", "minimum_rows", "nodes_from_labels", "small_labels"]

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


def nodes_from_labels(
    labels_per_element: Sequence[_Ints], elements: CoverElements
) -> tuple[_Ints, _Ints, _Ints]:
    """Make a node of every cluster of every element.

    Parameters
    ----------
    labels_per_element : sequence of int64[n_i]
        Cluster label of each row of each element, in the element's order; negative is noise.
    elements : CoverElements
        The elements that were clustered.

    Returns
    -------
    indptr : int64[n_nodes + 1]
        Node ``a`` holds ``rows[indptr[a]:indptr[a + 1]]``.
    rows : int64[nnz]
        Row ids, ascending within a node.
    node_interval : int64[n_nodes]
        ``elements.element_id`` of the element that each node lies in.

    Raises
    ------
    DataError
        The labels do not match the elements.

    Notes
    -----
    Nodes are numbered by element, then by label; a label that no row has makes no node. Time and
    memory are proportional to the memberships.

    Examples
    --------
    >>> from topoact_gpu import UniformCover
    >>> elements = UniformCover(2, 0.5).fit([0.0, 1.0, 2.0, 3.0])
    >>> nodes_from_labels([np.array([0, -1, 0]), np.array([1, 0, 0])], elements)[1].tolist()
    [0, 2, 2, 3, 1]
    """
    from topoact_gpu.kernels.nodes import cpu

    sizes = [len(labels) for labels in labels_per_element]
    if sizes != elements.sizes.tolist():
        raise DataError(
            f"labels must match the {elements.n_elements:,} elements and their "
            f"{elements.rows.size:,} rows, got {len(sizes):,} label arrays with {sum(sizes):,}"
        )
    if not sizes:
        return np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    labels = np.concatenate([small_labels(np.asarray(each)) for each in labels_per_element])
    widest = max(int(labels.max(initial=-1)) + 1, 1)
    n_labels = int((labels >= 0).sum())
    indptr, rows = np.zeros(n_labels + 1, dtype=np.int64), np.empty(n_labels, dtype=np.int64)
    position, scratch = np.empty(n_labels, dtype=np.int64), np.zeros((2, widest), dtype=np.int64)
    n_nodes = cpu.group_labels(
        labels, elements.indptr, elements.rows, scratch, indptr, rows, position
    )
    return indptr[: n_nodes + 1].copy(), rows, elements.element_id[position[:n_nodes]]


def lens_statistics(
    indptr: _Ints, rows: _Ints, lens_values: _Floats
) -> tuple[_Floats, _Floats, _Floats, _Floats]:
    """Return mean, standard deviation, least and greatest lens value of each node.

    Parameters
    ----------
    indptr, rows : int64
        Memberships; rows below the number of lens values.
    lens_values : float64[n_rows, n_columns]

    Returns
    -------
    mean, std, least, greatest : float64[n_nodes, n_columns]
        The standard deviation divides by the number of rows; NaN for a node without rows.
    """
    from topoact_gpu.kernels.nodes import cpu

    lens_values = np.ascontiguousarray(lens_values, dtype=np.float64)
    shape = (indptr.size - 1, lens_values.shape[1])
    mean, std, least, greatest = (np.empty(shape) for _ in range(4))
    cpu.lens_statistics(indptr, rows, lens_values, mean, std, least, greatest)
    np.sqrt(std, out=std)
    for statistic in (mean, std, least, greatest):
        statistic[np.diff(indptr) == 0] = np.nan
    return mean, std, least, greatest


def minimum_rows(clusterer: Any) -> int:
    """Return how few rows KeplerMapper would still hand to a clusterer.

    Parameters
    ----------
    clusterer : object with ``get_params``

    Returns
    -------
    int
        The first of the clusterer's ``n_clusters``, ``min_cluster_size`` and ``min_samples`` that
        is a positive int; 2 where it has none.
    """
    params = clusterer.get_params()
    for name in ("n_clusters", "min_cluster_size", "min_samples"):
        value = params.get(name)
        if value and isinstance(value, int):
            return int(value)
    return 2


def small_labels(labels: NDArray[Any]) -> _Ints:
    """Return labels as int64 below the number of rows: a table by label stays small."""
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        labels = np.where(np.isnan(labels), -1, labels)  # some clusterers mark noise with NaN
    labels = labels.astype(np.int64, copy=False)
    if labels.size and labels.max() >= labels.size:
        kept = labels >= 0
        compact = np.full(labels.size, -1, dtype=np.int64)
        compact[kept] = np.unique(labels[kept], return_inverse=True)[1]
        return compact
    return labels
