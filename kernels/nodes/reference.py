"""The definitions, one element and one node at a time."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_labels", "lens_statistics"]


def group_labels(
    labels: NDArray[np.int64], indptr: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[tuple[int, list[int]]]:
    """List (element, its rows with one label) by element, then label; -1 is noise, left out."""
    nodes = []
    for element, (start, stop) in enumerate(itertools.pairwise(indptr.tolist())):
        for label in sorted(set(labels[start:stop].tolist()) - {-1}):
            nodes.append((element, rows[start:stop][labels[start:stop] == label].tolist()))
    return nodes


def lens_statistics(
    indptr: NDArray[np.int64], rows: NDArray[np.int64], lens_values: NDArray[np.float64]
) -> list[list[NDArray[np.float64]]]:
    """List mean, standard deviation, least and greatest lens value of each node and column."""
    statistics = []
    for start, stop in itertools.pairwise(indptr.tolist()):
        values = lens_values[rows[start:stop]]
        statistics.append([f(values, axis=0) for f in (np.mean, np.std, np.min, np.max)])
    return statistics
