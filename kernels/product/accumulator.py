"""What a product of two float16 rows may be off by, whatever added it up.

Products of float16 numbers are exact in float32: 11 bits times 11 bits, from 2**-48 to 2**32.
All that is lost is lost in the sum.

**IEEE float32** ("ieee": numpy, Triton's interpreter, CUDA cores), in any order, fused or not: a
term passes through at most d - 1 additions, each good to a factor 1 +- 2**-24, and an addition of
zero is exact. All sums are multiples of 2**-48, so none is subnormal; flushing changes nothing.

**Tensor cores** ("hopper", "ampere"). Nobody documents them but those who took them apart and
rebuilt them bit for bit: Khattak & Mikaitis, arXiv 2512.07004, by WMMA, and Xie et al., arXiv
2511.10909, by ``mma.sync`` and, on Hopper, ``wgmma``. They agree. A row is taken in blocks of
t columns, in order; each is added to the accumulator c at once:

1.  A factor's scale is its exponent, at least -14: a subnormal number keeps the scale of the
    least normal one. A product's scale is the sum of its factors', unnormalised: the product is
    below 4 * 2**scale and a multiple of 2**(scale - 20). E is the largest scale of the products
    and c, those that are 0 left out.
2.  Products and c are cut off, towards zero, to multiples of one unit ``q = 2**(E - 23 - g)``,
    with g extra bits, and added without another error: S.
3.  S is cut off, towards zero, to float32: the new c.

t = 16 and g = 2 on Hopper, t = 8 and g = 1 before (an instruction of 16 columns is two blocks).

*What that can lose.* An addend of scale E loses nothing: it is a multiple of 2**(E - 23). So a
block of n addends that are not 0 loses less than (n - 1) q in step 2. S is a multiple of q. Where
``2**e <= |S| < 2**(e + 1)``, step 3 cuts off a multiple of q below 2**(e - 23), at most
``2**(e - 23) - q``; or nothing, when that is below q. Nor does it where n = 1. Together less than

    ((n - 2) / 2**g + 1) * 2**-23 * 2**max(E, e)    if n > 1, else nothing.

The first block has at most t addends, the others one more, c. Over all ``B = ceil(d / t)`` blocks
the n - 1 add up to d - 1, and the sum of the brackets to

    K = (d - 1 - B) / 2**g + B    (0 if d = 1).

With ``N = max(|x|, 2**-14) * max(|y|, 2**-14)``, 2**E is at most N or |c|, because a factor's
scale is at most that of its row's norm; and c and S differ from a sum of products, at most
|x||y|, by no more than what has been lost, L. So ``L <= K 2**-23 (N + L)``, that is

    L <= N k / (1 - k),    k = K 2**-23.

On Hopper K is 4.75 for 16 columns. (17 addends cut off, and a whole last place of the sum, would
make 5.25; but the largest addend is whole, and so is the unit in what the sum loses.) Rows of the
kind (1, a, b, ..., b), with b**2 just below q and one a in each block with a**2 just below
2**-23, lose 0.999 of it.

*Subnormals.* Norms count as 2**-14 at least, and that is needed: of rows that are all subnormal
Hopper may lose 2**-13 of |x||y|. Step 2 can't meet float32's own subnormals: E is at least -28.

*What it asks of a kernel.* One accumulator through all columns (``tl.dot`` given the sum so far),
float32, and columns in their order. Columns of zeros after the last change nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["ALIGNED", "LEAST_NORM", "Aligned", "accumulator_of", "product_error"]

LEAST_NORM = 2.0**-14
"""Rows of a smaller norm count as rows of this one; the least normal float16."""
_LAST_PLACE = 2.0**-23
_HALF_PLACE = 2.0**-24


class Aligned(NamedTuple):
    """An accumulator that cuts off a block of products to one unit."""

    n_terms: int
    """Products added at once."""
    extra_bits: int
    """Beyond float32's 24, below the largest addend."""


ALIGNED = {"hopper": Aligned(16, 2), "ampere": Aligned(8, 1)}

# A chip is listed where both papers rebuilt it. They say of Blackwell (10.0 and 12.0) what they
# say of Hopper; nothing here is compiled for it yet.
_CHIPS = {(8, 0): "ampere", (8, 9): "ampere", (9, 0): "hopper"}


def accumulator_of(capability: tuple[int, int] | None) -> str | None:
    """The accumulator of float16 products on a device.

    Parameters
    ----------
    capability : (int, int), optional
        CUDA's compute capability; None for Triton's interpreter.

    Returns
    -------
    {"hopper", "ampere", "ieee"} or None
        None where nobody has published what it does: there is no bound then, and only integer
        products may filter.

    Examples
    --------
    >>> accumulator_of((9, 0)), accumulator_of(None), accumulator_of((7, 0))
    ('hopper', 'ieee', None)
    """
    return "ieee" if capability is None else _CHIPS.get(capability)


def product_error(n_cols: int, accumulator: str) -> float:
    """Bound on the error of a product of two float16 rows; see the module.

    Parameters
    ----------
    n_cols : int
        Padding left out.
    accumulator : {"hopper", "ampere", "ieee"}

    Returns
    -------
    float
        Times ``max(|x|, LEAST_NORM) * max(|y|, LEAST_NORM)``; infinite where columns are so many
        that nothing is known.

    Examples
    --------
    >>> product_error(16, "hopper") * 2**23
    4.500002...
    >>> product_error(4096, "hopper") < product_error(4096, "ieee")
    True
    """
    if n_cols <= 1:
        return 0.0
    if accumulator == "ieee":
        return _rounded_up(math.expm1((n_cols - 1) * math.log1p(_HALF_PLACE)))
    n_terms, extra_bits = ALIGNED[accumulator]
    n_blocks = -(-n_cols // n_terms)
    lost = ((n_cols - 1 - n_blocks) / 2**extra_bits + n_blocks) * _LAST_PLACE
    return _rounded_up(lost / (1 - lost)) if lost < 1 else math.inf


def _rounded_up(number: float) -> float:
    return number * (1 + 2.0**-48)
