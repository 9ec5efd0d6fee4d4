"""The definition, row by row: an element holds the rows with lower <= value <= upper."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["memberships"]


def memberships(
    values: NDArray[np.float64], intervals: Sequence[tuple[NDArray[np.float64], ...]]
) -> dict[int, list[int]]:
    """List the rows of every non-empty product of intervals, by looking at each of them.

    Parameters
    ----------
    values : float64[n_rows, n_columns]
        Lens values.
    intervals : sequence of (lower, upper), each float64[n_intervals]
        Closed intervals of every column.

    Returns
    -------
    dict of int to list of int
        Element number in the full grid (last column fastest) to its rows, both ascending.
    """
    found = {}
    products = itertools.product(*(zip(*column, strict=True) for column in intervals))
    for element, bounds in enumerate(products):
        rows = [
            row
            for row, point in enumerate(values)
            if all(lo <= x <= hi for x, (lo, hi) in zip(point, bounds, strict=True))
        ]
        if rows:
            found[element] = rows
    return found
