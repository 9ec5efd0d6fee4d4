"""Where a rough squared distance settles a pair, and where the definition must."""

from __future__ import annotations

__all__ = ["fits_single", "is_ordinary", "rough_limits"]


def is_ordinary(square: float) -> bool:
    """Whether sums near this limit are far from under- and overflow in float64."""
    return 2.0**-900 < square < 2.0**1000


def fits_single(square: float, n_cols: int) -> bool:
    """Whether a float32 sum of numbers that float32 holds may settle pairs at this limit."""
    return n_cols <= 2**20 and 2.0**-60 < square < 2.0**100


def rough_limits(square: float, n_cols: int, *, single: bool) -> tuple[float, float]:
    """Rough sums up to the first are within, above the second not; between them nothing is said.

    Parameters
    ----------
    square : float
        The definition: within when the column-order sum is at most this.
    n_cols : int
    single : bool
        The rough sum is float32's, else float64's; both in any order.

    Notes
    -----
    Both float64 sums of n non-negative terms, in any order, with or without fused multiply-add,
    lie within ``(n + 2) u`` of the exact one, relatively (Higham 2002, section 4.2), u = 2**-53;
    so they lie within ``2 (n + 3) u`` of each other. Underflow breaks that: below 2**-900 the
    rough sum decides nothing, and neither does it where the limit itself overflowed. In float32
    u is 2**-24, and the same holds for n up to 2**20 with twice the slack; terms that underflow
    are below 2**-126 each, nothing beside a limit of 2**-60, and a sum that overflows is above
    any limit of at most 2**100.
    """
    if not is_ordinary(square):
        return -1.0, float("inf")
    slack = (n_cols + 8) * 2.0**-23 if single else (n_cols + 4) * 2.0**-51
    return square * (1 - slack), square * (1 + slack)
