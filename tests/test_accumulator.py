"""The bound on products of float16 rows: it holds whatever the rows, and rows come close to it.

Errors are exact but for one rounding of float64: products of float16 numbers are whole there, and
`math.fsum` rounds their sum, less what was computed, once.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from topoact_gpu.kernels.product.accumulator import (
    ALIGNED,
    LEAST_NORM,
    accumulator_of,
    product_error,
)
from topoact_gpu.kernels.product.reference import aligned_products

HALF = np.finfo(np.float16)
COLUMNS = (1, 2, 3, 5, 8, 9, 15, 16, 17, 31, 33, 64, 100, 500, 1000, 2048, 4096)
TENSOR_CORES = sorted(ALIGNED)
N_PAIRS = 12


def below(number):
    """Largest float16 whose square is below ``number``."""
    root = np.float16(math.sqrt(number))
    while float(root) ** 2 >= number:
        root = np.nextafter(root, np.float16(0))
    return root


def same_sign(rng, n_cols):
    return rng.random((2, N_PAIRS, n_cols))


def alternating(rng, n_cols):
    left, right = rng.random((2, N_PAIRS, n_cols))
    return left, right * (-1.0) ** np.arange(n_cols)


def near_duplicates(rng, n_cols):
    left = rng.normal(size=(N_PAIRS, n_cols))
    return left, left + 1e-3 * rng.normal(size=left.shape)


def random(rng, n_cols):
    return rng.normal(size=(2, N_PAIRS, n_cols))


def relu(rng, n_cols):
    return np.maximum(rng.normal(size=(2, N_PAIRS, n_cols)), 0)


def one_huge(rng, n_cols):
    left, right = 1e-2 * rng.random((2, N_PAIRS, n_cols))
    places = rng.integers(0, n_cols, N_PAIRS)
    left[np.arange(N_PAIRS), places] = right[np.arange(N_PAIRS), places] = 200.0
    return left, right


def cancelling(rng, n_cols):
    left, right = rng.normal(size=(2, N_PAIRS, n_cols))
    half = n_cols // 2
    left[:, half : 2 * half], right[:, half : 2 * half] = left[:, :half], -right[:, :half]
    return left, right


def all_scales(rng, n_cols):
    return rng.normal(size=(2, N_PAIRS, n_cols)) * 2.0 ** rng.integers(-24, 15, (2, 1, n_cols))


def subnormal(rng, n_cols):
    left, right = rng.integers(-1023, 1024, (2, N_PAIRS, n_cols)) * float(HALF.smallest_subnormal)
    right[::2] *= 2.0 ** rng.integers(0, 30, (N_PAIRS // 2, n_cols))
    return left, right


def any_bits(rng, n_cols):
    numbers = rng.integers(0, 2**16, (2, N_PAIRS, n_cols), np.uint16).view(np.float16)
    return np.where(np.isfinite(numbers), numbers, 0)


def near_units(rng, n_cols):
    """Products just below, at and above the units that sums are cut off to, of either sign."""
    roots = np.array([below(2.0**-k) for k in range(20, 28)])
    rows = np.stack([rng.choice(roots, (N_PAIRS, n_cols))] * 2).astype(np.float64)
    rows[1] *= rng.choice([1.0, 1.0, -1.0, 1.001], rows[1].shape)
    rows[:, :, rng.integers(0, n_cols)] = 1.0
    return rows


KINDS = (
    same_sign, alternating, near_duplicates, random, relu, one_huge, cancelling, all_scales,
    subnormal, any_bits, near_units,
)  # fmt: skip


def many_rows(n_cols, seed=0):
    """Rows of every kind, float16 (2 x [n, n_cols])."""
    rng = np.random.default_rng([seed, n_cols])
    pairs = [np.asarray(kind(rng, n_cols)) for kind in KINDS]
    return np.concatenate(pairs, axis=1).clip(-65504, 65504).astype(np.float16)


def norms(rows):
    wide = rows.astype(np.float64)
    return np.array([math.sqrt(math.fsum(row * row)) for row in wide]) * (1 + 2.0**-50)


def errors(left, right, computed):
    """Of each product, float64[n]."""
    products = left.astype(np.float64) * right.astype(np.float64)
    exact = [math.fsum([*row, -sum_]) for row, sum_ in zip(products, computed, strict=True)]
    return np.abs(exact)


def check_bound(left, right, computed, bound):
    """No error is above the bound; returns the share of it that each reaches."""
    most = bound * np.maximum(norms(left), LEAST_NORM) * np.maximum(norms(right), LEAST_NORM)
    found = errors(left, right, computed.astype(np.float64))
    worst = np.argmax(found - most)
    assert (found <= most).all(), f"pair {worst} is off by {found[worst]}, not by {most[worst]}"
    return np.divide(found, most, out=np.zeros_like(found), where=most > 0)


@pytest.mark.parametrize("n_cols", COLUMNS)
@pytest.mark.parametrize("accumulator", TENSOR_CORES)
def test_tensor_cores_stay_within_the_bound(accumulator, n_cols):
    left, right = many_rows(n_cols)
    computed = aligned_products(left, right, *ALIGNED[accumulator])
    check_bound(left, right, computed, product_error(n_cols, accumulator))


def ieee_sums(left, right):
    """float32 sums of exact products in several orders."""
    products = left.astype(np.float32) * right.astype(np.float32)
    yield np.cumsum(products, 1, dtype=np.float32)[:, -1]
    yield np.cumsum(products[:, ::-1], 1, dtype=np.float32)[:, -1]
    yield products.sum(1, dtype=np.float32)
    blocks = [products[:, k : k + 16].sum(1) for k in range(0, products.shape[1], 16)]
    yield np.cumsum(blocks, 0, dtype=np.float32)[-1]
    yield np.einsum("ij,ij->i", left.astype(np.float32), right.astype(np.float32))
    yield (left.astype(np.float32)[:, None] @ right.astype(np.float32)[:, :, None])[:, 0, 0]


@pytest.mark.parametrize("n_cols", COLUMNS)
def test_float32_sums_stay_within_the_bound(n_cols):
    left, right = many_rows(n_cols)
    for computed in ieee_sums(left, right):
        check_bound(left, right, computed, product_error(n_cols, "ieee"))


def worst_row(n_cols, n_terms, extra_bits):
    """1, then products just below the unit, in each block one just below a last place of 1."""
    row = np.full(n_cols, below(2.0 ** -(23 + extra_bits)))
    row[n_terms::n_terms] = row[1:2] = below(2.0**-23)
    row[0] = 1
    return row[None]


def reached(row, accumulator):
    computed = aligned_products(row, row, *ALIGNED[accumulator])
    return check_bound(row, row, computed, product_error(row.shape[1], accumulator))[0]


@pytest.mark.parametrize("n_cols", [n for n in COLUMNS if n > 1])
@pytest.mark.parametrize("accumulator", TENSOR_CORES)
def test_rows_reach_the_bound(accumulator, n_cols):
    assert reached(worst_row(n_cols, *ALIGNED[accumulator]), accumulator) > 0.99


@pytest.mark.parametrize("n_cols", [n for n in COLUMNS if n >= 8])
def test_plain_rows_reach_more_than_half(n_cols):
    """(1, b, ..., b), with b**2 just below 2**-25."""
    row = np.full((1, n_cols), below(2.0**-25))
    row[0, 0] = 1
    assert reached(row, "hopper") > 0.69
    # Each addition of a term that is half a last place of 1 loses it.
    row[0, 1:] = 2.0**-12
    computed = next(ieee_sums(row, row))
    assert check_bound(row, row, computed, product_error(n_cols, "ieee"))[0] > 0.99


@pytest.mark.parametrize("accumulator", TENSOR_CORES)
def test_a_false_bound_is_seen(accumulator):
    row = worst_row(100, *ALIGNED[accumulator])
    computed = aligned_products(row, row, *ALIGNED[accumulator])
    bound = product_error(100, accumulator)
    check_bound(row, row, computed, bound)
    with pytest.raises(AssertionError, match="pair 0 is off by"):
        check_bound(row, row, computed, 0.99 * bound)
    with pytest.raises(AssertionError, match="pair 0 is off by"):
        check_bound(row, row, computed + np.float32(2e-5), bound)
    row[0, 1:] = below(2.0**-23)
    fewer_bits = aligned_products(row, row, ALIGNED[accumulator].n_terms, 0)
    with pytest.raises(AssertionError, match="pair 0 is off by"):
        check_bound(row, row, fewer_bits, bound)


def by_fractions(x, y, n_terms, extra_bits):
    """One product by the rules, in exact numbers."""

    def scale(number, least):
        return max(math.frexp(number)[1] - 1, least)

    total = Fraction(0)
    for first in range(0, len(x), n_terms):
        addends = [(total, scale(float(total), -126))] if total else []
        for a, b in zip(x[first : first + n_terms], y[first : first + n_terms], strict=True):
            if a and b:
                addends.append((Fraction(a) * Fraction(b), scale(a, -14) + scale(b, -14)))
        if not addends:
            continue
        unit = Fraction(2) ** (max(at for _, at in addends) - 23 - extra_bits)
        exact = sum(math.trunc(number / unit) for number, _ in addends) * unit
        place = Fraction(2) ** (scale(float(exact), -126) - 23)
        total = math.trunc(exact / place) * place
    return float(total)


@pytest.mark.parametrize("accumulator", TENSOR_CORES)
@pytest.mark.parametrize("n_cols", [1, 7, 16, 40])
def test_the_model_follows_the_rules(accumulator, n_cols):
    left, right = many_rows(n_cols, seed=1)
    computed = aligned_products(left, right, *ALIGNED[accumulator])
    for x, y, found in zip(left.tolist(), right.tolist(), computed.tolist(), strict=True):
        assert found == by_fractions(x, y, *ALIGNED[accumulator])


def on_hopper(*products):
    left, right = np.array(products, np.float16).T[:, None]
    return float(aligned_products(left, right, *ALIGNED["hopper"])[0])


def test_traits_that_were_seen_on_hopper():
    small = 2.0**-12, 2.0**-13
    assert on_hopper((1.5, 1.5), (1.5, -1.5), small) == 2.0**-25
    # The same product, but of a larger scale: its unit is larger.
    assert on_hopper((1, 2.25), (1, -2.25), small) == 0.0
    # Cut off towards zero on either side.
    assert on_hopper((1, 1), (2.0**-12, 2.0**-12)) == 1.0
    assert on_hopper((1, -1), (2.0**-12, -(2.0**-12))) == -1.0
    assert on_hopper((1, 1), (2.0**-12, -(2.0**-12))) == 1 - 2.0**-24
    # Extra bits add up within a block, but not from one block to the next.
    assert on_hopper((1, 1), *[small] * 4) == 1 + 2.0**-23
    assert on_hopper((1, 1), *[(0, 0)] * 13, *[small] * 4) == 1.0


def test_subnormal_rows_lose_more_than_their_norms_say():
    """Their scale is that of the least normal number: the reason for LEAST_NORM."""
    left = np.full((1, 16), HALF.smallest_subnormal)
    right = np.full((1, 16), below(2.0**-10))
    right[0, 0] = 2.0**9
    computed = aligned_products(left, right, *ALIGNED["hopper"])
    share = errors(left, right, computed.astype(np.float64)) / (norms(left) * norms(right))
    assert 2.0**-14 < share[0] < 2.0**-13
    check_bound(left, right, computed, product_error(16, "hopper"))


def test_padding_changes_nothing():
    left, right = many_rows(33, seed=2)
    rule = ALIGNED["hopper"]
    padded = np.pad(np.stack([left, right]), ((0, 0), (0, 0), (0, 31)))
    np.testing.assert_array_equal(
        aligned_products(*padded, *rule), aligned_products(left, right, *rule)
    )


def test_devices():
    assert accumulator_of(None) == "ieee"
    assert accumulator_of((9, 0)) == "hopper"
    assert accumulator_of((8, 0)) == accumulator_of((8, 9)) == "ampere"
    for unknown in ((7, 0), (7, 5), (8, 6), (8, 7), (9, 1), (10, 0), (12, 0), (13, 0)):
        assert accumulator_of(unknown) is None


def test_bounds_grow_with_the_columns():
    for accumulator in (*TENSOR_CORES, "ieee"):
        bounds = [product_error(n, accumulator) for n in (0, *COLUMNS)]
        assert bounds[0] == bounds[1] == 0
        assert all(a < b for a, b in pairwise(bounds[1:]))
        assert product_error(2**30, accumulator) > 1
    assert product_error(2**30, "hopper") == math.inf
    with pytest.raises(KeyError):
        product_error(16, "volta")
