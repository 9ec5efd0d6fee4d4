"""Summary kernels for the CPU.

A group is a list of row ids, ascending: the rows of a node, of an edge, or of a selection. Each
kernel works on groups ``start`` to ``stop`` and writes to these only, so that threads may share
the groups out; within a group everything runs in the order of the rows, so that neither threads
nor blocks change a byte.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper
from topoact_gpu.kernels.sorting import sort

__all__ = [
    "add_rows", "class_counts", "column_means", "largest", "nearest", "row_distances",
    "upper_tail",
]  # fmt: skip

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_FLOATS = types.Array(types.float64, 1, "C", readonly=True)
_TABLE = types.Array(types.float64, 2, "C", readonly=True)
_OUT, _OUT_2D = types.int64[::1], types.int64[:, ::1]
_REAL, _REAL_2D = types.float64[::1], types.float64[:, ::1]
_N = types.int64
_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


@njit(
    types.void(_INTS, _INTS, _INTS, _N, _N, _OUT_2D, _INTS, _OUT, _OUT, _OUT),
    cache=True,
    nogil=True,
)
def class_counts(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    start: int,
    stop: int,
    scratch: NDArray[np.int64],
    room: NDArray[np.int64],
    ids: NDArray[np.int64],
    counts: NDArray[np.int64],
    found: NDArray[np.int64],
) -> None:
    """Write the classes of each group, ascending, and how many of its rows have each.

    Parameters
    ----------
    indptr, rows : int64
        The groups.
    classes : int64[n_rows]
        Negative: unknown, not counted.
    scratch : int64[2, n_classes + 1]
        The first row is zeros, here and afterwards.
    room : int64[n_groups + 1]
        Group ``g`` writes to ``ids`` and ``counts`` from ``room[g]`` on; it never needs more
        than its rows or the number of classes.
    found : int64[n_groups]
        Written: how many classes a group has.
    """
    for group in range(start, stop):
        n_found = 0
        for at in range(indptr[group], indptr[group + 1]):
            code = classes[rows[at]]
            if code >= 0:
                scratch[1, n_found] = code
                n_found += 1 if scratch[0, code] == 0 else 0
                scratch[0, code] += 1
        sort(scratch, n_found)
        for i in range(n_found):
            code = scratch[1, i]
            ids[room[group] + i], counts[room[group] + i] = code, scratch[0, code]
            scratch[0, code] = 0
        found[group] = n_found


@njit(types.void(_INTS, _INTS, _FLOATS, _N, _N, _REAL), cache=True, nogil=True)
def column_means(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    start: int,
    stop: int,
    mean: NDArray[np.float64],
) -> None:
    """Write the mean of the values of each group that are no NaN; NaN where there is none."""
    for group in range(start, stop):
        total, n = 0.0, 0
        for at in range(indptr[group], indptr[group + 1]):
            value = values[rows[at]]
            if not math.isnan(value):
                total += value
                n += 1
        mean[group] = total / n if n > 0 else math.nan


@njit(types.void(_INTS, _FLOATS, _N, _N, _OUT_2D), cache=True, nogil=True)
def largest(
    indptr: NDArray[np.int64],
    values: NDArray[np.float64],
    start: int,
    stop: int,
    places: NDArray[np.int64],
) -> None:
    """Write where the largest ``values[indptr[g]:indptr[g + 1]]`` are, the largest first.

    Of equal ones the first comes first; NaN is left out; -1 where there are no more.
    """
    width = places.shape[1]
    for group in range(start, stop):
        n = 0
        for at in range(indptr[group], indptr[group + 1]):
            if math.isnan(values[at]):
                continue
            place = n
            while place > 0 and values[places[group, place - 1]] < values[at]:
                place -= 1
            if place < width:
                n = min(n + 1, width)
                for later in range(n - 1, place, -1):
                    places[group, later] = places[group, later - 1]
                places[group, place] = at
        for rest in range(n, width):
            places[group, rest] = -1


@njit(types.void(_INTS, _INTS, _OUT, _N, _TABLE, _N, _N, _REAL_2D), cache=True, nogil=True)
def add_rows(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    cursor: NDArray[np.int64],
    first: int,
    block: NDArray[np.float64],
    start: int,
    stop: int,
    sums: NDArray[np.float64],
) -> None:
    """Add the rows ``first``, ``first + 1``, ... of a block to the groups that hold them.

    ``cursor[g]`` is the place of the next row of group ``g`` and is moved on.
    """
    end = first + block.shape[0]
    for group in range(start, stop):
        at = cursor[group]
        while at < indptr[group + 1] and rows[at] < end:
            row = rows[at] - first
            for column in range(block.shape[1]):
                sums[group, column] += block[row, column]
            at += 1
        cursor[group] = at


@njit(types.void(_INTS, _INTS, _OUT, _N, _TABLE, _TABLE, _N, _N, _REAL), cache=True, nogil=True)
def row_distances(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    cursor: NDArray[np.int64],
    first: int,
    block: NDArray[np.float64],
    centres: NDArray[np.float64],
    start: int,
    stop: int,
    distances: NDArray[np.float64],
) -> None:
    """Write how far the rows of a block are from the centres of the groups that hold them."""
    end = first + block.shape[0]
    for group in range(start, stop):
        at = cursor[group]
        while at < indptr[group + 1] and rows[at] < end:
            row, total = rows[at] - first, 0.0
            for column in range(block.shape[1]):
                apart = block[row, column] - centres[group, column]
                total += apart * apart
            distances[at] = math.sqrt(total)
            at += 1
        cursor[group] = at


@njit(types.void(_INTS, _INTS, _FLOATS, _INTS, _N, _N, _OUT_2D), cache=True, nogil=True)
def nearest(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int64],
    distances: NDArray[np.float64],
    inputs: NDArray[np.int64],
    start: int,
    stop: int,
    places: NDArray[np.int64],
) -> None:
    """Write where the rows of each group with the smallest distances are, the smallest first.

    No two of them have the same input (of each the nearest row counts, and of equal ones the
    first); with no ``inputs`` at all, each row is its own. -1 where there are no more.
    """
    width, apart = places.shape[1], inputs.size == 0
    for group in range(start, stop):
        n = 0
        for at in range(indptr[group], indptr[group + 1]):
            full = n == width
            if math.isnan(distances[at]) or (
                full and (n == 0 or distances[places[group, n - 1]] <= distances[at])
            ):
                continue
            same = n - 1 if full else n  # the one that leaves
            if not apart:
                for i in range(n):
                    if inputs[rows[places[group, i]]] == inputs[rows[at]]:
                        same = i
                if same < n and inputs[rows[places[group, same]]] == inputs[rows[at]]:
                    if distances[places[group, same]] <= distances[at]:
                        continue
            n += 1 if same == n else 0
            while same > 0 and distances[places[group, same - 1]] > distances[at]:
                places[group, same] = places[group, same - 1]
                same -= 1
            places[group, same] = at
        for rest in range(n, width):
            places[group, rest] = -1


# The chance of a count in the way of C. Loader, Fast and Accurate Computation of Binomial
# Probabilities (2000): deviances instead of differences of large logarithms of factorials.
@helper
def _stirling_error(n: float) -> float:
    """log(n!) less Stirling's formula for it."""
    if n < 16.0:
        return math.lgamma(n + 1.0) - (n + 0.5) * math.log(n) + n - _LOG_ROOT_2PI
    square = n * n
    tail = 1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square
    return (1.0 / 12.0 - (1.0 / 360.0 - tail / square) / square) / n


@helper
def _deviance(x: float, mean: float) -> float:
    """x log(x / mean) + mean - x, without cancellation near the mean."""
    apart = x - mean
    if abs(apart) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    ratio = apart / (x + mean)
    total, term = apart * ratio, 2.0 * x * ratio
    for step in range(1, 1000):
        term *= ratio * ratio
        more = total + term / (2 * step + 1)
        if more == total:
            break
        total = more
    return total


@helper
def _log_binomial(x: float, n: float, p: float, q: float) -> float:
    """Logarithm of the chance of x among n, each with chance p = 1 - q."""
    if x == 0.0:
        return 0.0 if n == 0.0 else -_deviance(n, n * q) - n * p if p < 0.1 else n * math.log(q)
    if x == n:
        return -_deviance(n, n * p) - n * q if q < 0.1 else n * math.log(p)
    errors = _stirling_error(n) - _stirling_error(x) - _stirling_error(n - x)
    deviances = _deviance(x, n * p) + _deviance(n - x, n * q)
    return errors - deviances - _LOG_ROOT_2PI - 0.5 * (math.log(x) + math.log1p(-x / n))


@helper
def _chance(count: float, drawn: float, marked: float, total: float) -> float:
    """Logarithm of the chance of exactly ``count``."""
    if drawn == total:
        return 0.0
    p, q = drawn / total, (total - drawn) / total
    return (
        _log_binomial(count, marked, p, q)
        + _log_binomial(drawn - count, total - marked, p, q)
        - _log_binomial(drawn, total, p, q)
    )


@helper
def _tail(count: float, drawn: float, marked: float, total: float) -> float:
    """Chance of ``count`` or more; from the mean on summed upwards, below it downwards."""
    rest = total - marked - drawn
    lowest, highest = max(0.0, -rest), min(drawn, marked)
    if count <= lowest:
        return 1.0
    if count > highest:
        return 0.0
    upwards = count * total > drawn * marked
    at = count if upwards else count - 1.0
    log_first, terms, term = _chance(at, drawn, marked, total), 1.0, 1.0
    while term > 1e-17 * terms:
        if upwards:
            term *= (marked - at) * (drawn - at) / ((at + 1.0) * (rest + at + 1.0))
            at += 1.0
        else:
            term *= at * (rest + at) / ((marked - at + 1.0) * (drawn - at + 1.0))
            at -= 1.0
        terms += term
    chance = math.exp(log_first + math.log(terms))
    return min(chance, 1.0) if upwards else max(1.0 - chance, 0.0)


@njit(types.void(_INTS, _INTS, _INTS, _N, _N, _N, _REAL), cache=True, nogil=True)
def upper_tail(
    counts: NDArray[np.int64],
    drawn: NDArray[np.int64],
    marked: NDArray[np.int64],
    total: int,
    start: int,
    stop: int,
    chance: NDArray[np.float64],
) -> None:
    """Write the chance of ``counts[i]`` or more of the ``marked[i]`` among ``drawn[i]``.

    The rows are drawn from ``total`` without replacement: the upper tail of the hypergeometric
    distribution.
    """
    for i in range(start, stop):
        chance[i] = _tail(
            float(counts[i]), float(drawn[i]), float(marked[i]), float(total)
        )
