"""Exact decisions on single pairs of rows.

The loops over columns are compiled one by one, for the kind of numbers that a run has, and called
by address: a kernel need not be compiled again for every kind, and no kind that nobody asked for
is compiled at all.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import cfunc, njit, types
from numba.extending import intrinsic

from topoact_gpu.kernels.compiled import helper
from topoact_gpu.kernels.pairs.limits import fits_single, rough_limits
from topoact_gpu.kernels.simd import call_address
from topoact_gpu.kernels.table import FLOAT64, RowTable, norm_of, number, row_at, single

__all__ = [
    "Limits",
    "pair_limits",
    "pair_square",
    "square_address",
    "within",
]

EXACT, FAST, SINGLE = range(3)
"""How to sum: the definition; float64 in any order; float32 in any order (kinds it holds)."""


class Limits(NamedTuple):
    """What decides a pair by its squared distance; see :func:`pair_limits`."""

    square: float
    """The definition: within when the column-order sum is at most this."""
    surely: float
    """The rough sum at most this: within."""
    never: float
    """The rough sum above this: not within."""
    exact_at: int
    """Address of the definition's sum, and of the rough one, for the kind of rows."""
    rough_at: int


def pair_limits(table: RowTable, square: float) -> Limits:
    """Limits for a rough sum, whose relative error is proven; see :mod:`.limits`."""
    n_cols, normed = table.n_cols, table.norms.size > 0
    single = table.kind != FLOAT64 and not normed and fits_single(square, n_cols)
    rough_at = _sum_address(table.kind, normed, SINGLE if single else FAST)
    surely, never = rough_limits(square, n_cols, single=single)
    return Limits(square, surely, never, square_address(table), rough_at)


def square_address(table: RowTable) -> int:
    """Address of the definition's sum for the rows of a table; see :func:`pair_square`."""
    return _sum_address(table.kind, table.norms.size > 0, EXACT)


@cache
def _sum_address(kind: int, normed: bool, how: int) -> int:
    compiled = (_single_sum if how == SINGLE else _sum)(kind, normed, how)
    _KEPT.append(compiled)
    address: int = compiled.address
    return address


_KEPT: list[Any] = []
"""What the addresses point to."""
_SIGNATURE = types.float64(types.int64, types.int64, types.int64, types.float64, types.float64)
_ANY_ORDER = {"reassoc", "contract", "nsz"}


def _sum(kind: int, normed: bool, how: int) -> Any:
    """The sum over columns in float64; norms are used where rows are ``normed``."""

    def total_square(at_a, at_b, n_cols, norm_a, norm_b):  # type: ignore[no-untyped-def]
        total = 0.0
        for k in range(n_cols):
            if normed:
                step = number(at_a, k, kind) / norm_a - number(at_b, k, kind) / norm_b
            else:
                step = number(at_a, k, kind) - number(at_b, k, kind)
            total += step * step
        return total

    if how == FAST:
        # numba's cache knows functions by name, line and closure, not by fastmath: without a
        # name of its own the fast sum would be loaded for the definition.
        total_square.__qualname__ += "_fast"
    relaxed = _ANY_ORDER if how == FAST else False
    return cfunc(_SIGNATURE, cache=True, fastmath=relaxed)(total_square)


def _single_sum(kind: int, normed: bool, how: int) -> Any:
    """The sum in float32, for numbers that it holds exactly."""

    def total_single(at_a, at_b, n_cols, norm_a, norm_b):  # type: ignore[no-untyped-def]
        total = np.float32(0.0)
        for k in range(n_cols):
            step = single(at_a, k, kind) - single(at_b, k, kind)
            total += step * step
        return np.float64(total)

    return cfunc(_SIGNATURE, cache=True, fastmath=_ANY_ORDER)(total_single)


@intrinsic
def _call_sum(typingctx, address, at_a, at_b, n_cols, norm_a, norm_b):  # type: ignore[no-untyped-def]
    return types.float64(types.int64, *_SIGNATURE.args), call_address


@njit(inline="always")
def pair_square(table, sum_at, a, b):  # type: ignore[no-untyped-def]
    """Squared distance of rows a and b, by the sum at an address."""
    return _call_sum(
        sum_at, row_at(table, a), row_at(table, b), table.n_cols, norm_of(table, a),
        norm_of(table, b),
    )


@helper
def within(table, limits, a, b):  # type: ignore[no-untyped-def]
    """Whether rows a and b lie within eps, exactly as the definition says."""
    rough = pair_square(table, limits.rough_at, a, b)
    if rough <= limits.surely:
        return True
    if rough > limits.never:
        return False
    return pair_square(table, limits.exact_at, a, b) <= limits.square
