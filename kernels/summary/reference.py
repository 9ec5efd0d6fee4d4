"""The definitions, one group at a time."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_counts", "column_means", "nearest", "upper_tail"]


def class_counts(
    indptr: NDArray[np.int64], rows: NDArray[np.int64], classes: NDArray[np.int64]
) -> list[list[tuple[int, int]]]:
    """List (class, rows of it) of each group, by class; negative classes are unknown, left out."""
    groups = itertools.pairwise(indptr.tolist())
    members = [classes[rows[start:stop]] for start, stop in groups]
    return [sorted(Counter(found[found >= 0].tolist()).items()) for found in members]


def column_means(
    indptr: NDArray[np.int64], rows: NDArray[np.int64], values: NDArray[np.float64]
) -> list[float]:
    """List the mean of the values that are no NaN in each group; NaN where none is."""
    means = []
    for start, stop in itertools.pairwise(indptr.tolist()):
        found = values[rows[start:stop]]
        found = found[~np.isnan(found)]
        means.append(math.fsum(found) / len(found) if len(found) else math.nan)
    return means


def nearest(
    rows: list[int], distances: list[float], inputs: NDArray[np.int64], n: int
) -> list[int]:
    """List up to ``n`` rows by distance, then row id, each of another input than those before."""
    chosen: list[int] = []
    for _, row in sorted(zip(distances, rows, strict=True)):
        if inputs[row] not in inputs[chosen] and len(chosen) < n:
            chosen.append(row)
    return chosen


def upper_tail(count: int, drawn: int, marked: int, total: int) -> float:
    """Chance of ``count`` or more marked ones among ``drawn`` of ``total`` without replacement."""
    highest = min(drawn, marked)
    ways = sum(
        math.comb(marked, i) * math.comb(total - marked, drawn - i)
        for i in range(max(count, 0), highest + 1)
        if drawn - i <= total - marked
    )
    return float(Fraction(ways, math.comb(total, drawn)))
