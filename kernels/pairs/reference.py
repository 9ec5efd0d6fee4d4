"""The relation that everything else must reproduce (naive, float64)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["normalised", "pair_squares", "within"]


def normalised(rows: NDArray[np.generic]) -> NDArray[np.float64]:
    """Rows divided by their norm, the norm summed in column order in float64."""
    values = np.asarray(rows, np.float64)
    total = np.zeros(len(values))
    for column in values.T:
        total = total + column * column
    return values / np.sqrt(total)[:, None]


def pair_squares(rows: NDArray[np.generic]) -> NDArray[np.float64]:
    """Squared distances of all pairs, summed in column order, each step rounded in float64."""
    values = np.asarray(rows, np.float64)
    total = np.zeros((len(values), len(values)))
    with np.errstate(over="ignore", under="ignore"):
        for column in values.T:
            difference = column[:, None] - column[None, :]
            total = total + difference * difference
    return total


def within(rows: NDArray[np.generic], eps: float, metric: str = "euclidean") -> NDArray[np.bool_]:
    """bool[n, n]: which pairs of rows lie within eps."""
    if metric == "cosine":
        return pair_squares(normalised(rows)) <= 2.0 * float(eps)
    with np.errstate(over="ignore", under="ignore"):
        return pair_squares(rows) <= np.float64(eps) * np.float64(eps)
