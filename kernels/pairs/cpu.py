"""Exact decisions on single pairs of rows, inlined into the scanning kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from topoact_gpu.kernels.table import FLOAT32, FLOAT64, HALF, norm_of, number, row_at, single

__all__ = [
    "Limits",
    "pair_limits",
    "pair_square",
    "pair_square_fast",
    "pair_square_single",
    "within",
]


class Limits(NamedTuple):
    """What decides a pair by its squared distance; see :func:`pair_limits`."""

    square: float
    """The definition: within when the column-order sum is at most this."""
    surely: float
    """The fast sum at most this: within."""
    never: float
    """The fast sum above this: not within."""
    surely_single: float
    """The same for the sum in float32."""
    never_single: float


def pair_limits(square: float, n_cols: int) -> Limits:
    """Limits for the fast sums, whose relative error is proven; nothing where nothing is proven.

    Notes
    -----
    Both float64 sums of n non-negative terms, in any order, with or without fused multiply-add,
    lie within ``(n + 2) u`` of the exact one, relatively (Higham 2002, section 4.2), u = 2**-53;
    so they lie within ``2 (n + 3) u`` of each other. Underflow breaks that: below 2**-900 the
    fast sum decides nothing, and neither does it where the limit itself overflowed. In float32
    u is 2**-24, and the same holds for n up to 2**20 with twice the slack; terms that underflow
    are below 2**-126 each, nothing beside a limit of 2**-60, and a sum that overflows is above
    any limit of at most 2**100.
    """
    if not 2.0**-900 < square < 2.0**1000:
        return Limits(square, -1.0, np.inf, -1.0, np.inf)
    slack = (n_cols + 4) * 2.0**-51
    limits = square, square * (1 - slack), square * (1 + slack)
    if not (2.0**-60 < square < 2.0**100 and n_cols <= 2**20):
        return Limits(*limits, -1.0, np.inf)
    slack = (n_cols + 8) * 2.0**-23
    return Limits(*limits, square * (1 - slack), square * (1 + slack))


def _sum_for(kind: int, *, fast: bool) -> Any:
    """The loop over columns for one kind of number; norms of 0.0 mean 'not divided'."""
    relaxed = {"reassoc", "contract", "nsz"} if fast else False

    def total_square(at_a, at_b, n_cols, norm_a, norm_b):  # type: ignore[no-untyped-def]
        total = 0.0
        if norm_a > 0.0:
            for k in range(n_cols):
                step = number(at_a, k, kind) / norm_a - number(at_b, k, kind) / norm_b
                total += step * step
        else:
            for k in range(n_cols):
                step = number(at_a, k, kind) - number(at_b, k, kind)
                total += step * step
        return total

    if fast:
        # numba's cache knows functions by name, line and closure, not by fastmath: without a
        # name of its own the fast sum would be loaded for the definition.
        total_square.__qualname__ += "_fast"
    return njit(nogil=True, cache=True, fastmath=relaxed)(total_square)


_HALF, _FLOAT32, _FLOAT64 = (_sum_for(k, fast=False) for k in (HALF, FLOAT32, FLOAT64))
_HALF_FAST, _FLOAT32_FAST, _FLOAT64_FAST = (
    _sum_for(k, fast=True) for k in (HALF, FLOAT32, FLOAT64)
)


def _single_sum_for(kind: int) -> Any:
    """The loop in float32, in any order, for numbers that float32 holds exactly."""

    @njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
    def total_single(at_a, at_b, n_cols):  # type: ignore[no-untyped-def]
        total = np.float32(0.0)
        for k in range(n_cols):
            step = single(at_a, k, kind) - single(at_b, k, kind)
            total += step * step
        return total

    return total_single


_HALF_SINGLE, _FLOAT32_SINGLE = (_single_sum_for(kind) for kind in (HALF, FLOAT32))


@njit(nogil=True, cache=True)
def pair_square(table, a, b):  # type: ignore[no-untyped-def]
    """Squared distance by the definition: column order, no fused multiply-add."""
    at_a, at_b, n_cols = row_at(table, a), row_at(table, b), table.n_cols
    norm_a, norm_b = norm_of(table, a), norm_of(table, b)
    if table.kind == HALF:
        return _HALF(at_a, at_b, n_cols, norm_a, norm_b)
    if table.kind == FLOAT32:
        return _FLOAT32(at_a, at_b, n_cols, norm_a, norm_b)
    return _FLOAT64(at_a, at_b, n_cols, norm_a, norm_b)


@njit(nogil=True, cache=True)
def pair_square_fast(table, a, b):  # type: ignore[no-untyped-def]
    """The same sum in any order, several columns at a time."""
    at_a, at_b, n_cols = row_at(table, a), row_at(table, b), table.n_cols
    norm_a, norm_b = norm_of(table, a), norm_of(table, b)
    if table.kind == HALF:
        return _HALF_FAST(at_a, at_b, n_cols, norm_a, norm_b)
    if table.kind == FLOAT32:
        return _FLOAT32_FAST(at_a, at_b, n_cols, norm_a, norm_b)
    return _FLOAT64_FAST(at_a, at_b, n_cols, norm_a, norm_b)


@njit(nogil=True, cache=True)
def pair_square_single(table, a, b):  # type: ignore[no-untyped-def]
    """The sum in float32, several columns at a time; for float16 and float32, not for cosine."""
    at_a, at_b = row_at(table, a), row_at(table, b)
    if table.kind == HALF:
        return np.float64(_HALF_SINGLE(at_a, at_b, table.n_cols))
    return np.float64(_FLOAT32_SINGLE(at_a, at_b, table.n_cols))


@njit(nogil=True, cache=True)
def within(table, limits, a, b):  # type: ignore[no-untyped-def]
    """Whether rows a and b lie within eps, exactly as the definition says."""
    if table.kind != FLOAT64 and not table.norms.size:
        rough = pair_square_single(table, a, b)
        if rough <= limits.surely_single:
            return True
        if rough > limits.never_single:
            return False
    else:
        fast = pair_square_fast(table, a, b)
        if fast <= limits.surely:
            return True
        if fast > limits.never:
            return False
    return pair_square(table, a, b) <= limits.square
