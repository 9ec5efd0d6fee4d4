"""Neighbour distances are exact, whatever the numbers, blocks and threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.device import Team, single_threaded_blas
from topoact_gpu.kernels.neighbours import reference
from topoact_gpu.kernels.neighbours.cpu import neighbour_squares
from topoact_gpu.kernels.pairs.reference import normalised
from topoact_gpu.kernels.quantise.frame import make_frame
from topoact_gpu.kernels.table import make_table


def nearest(X, queries, targets, k, *, norms=None, n_threads=1):
    """The kernel, in a frame of its own."""
    table = make_table(X, norms)
    largest = 1.0 if norms is not None else float(np.abs(X.astype(np.float64)).max())
    with single_threaded_blas(), Team(n_threads) as team:
        frame = make_frame(table, np.arange(len(X)), largest, 0)
        return neighbour_squares(
            table, queries, targets, k, mean=frame.mean, unit=frame.unit, team=team
        )


def check(X, queries, targets, k, **options):
    """The kernel's bits are the reference's; inf where there are too few targets."""
    found = nearest(X, queries, targets, k, **options)
    expected = reference.neighbour_squares(X, queries, targets, k)
    padded = np.full((len(queries), k), np.inf)
    padded[:, : expected.shape[1]] = expected
    np.testing.assert_array_equal(found, padded)


@settings(max_examples=150)
@given(
    n_rows=st.integers(1, 150),
    n_cols=st.sampled_from([1, 2, 7, 64, 130]),
    k=st.integers(1, 8),
    dtype_scale=st.sampled_from(
        [("f2", 1), ("f4", 1), ("f4", 1e-30), ("f4", 1e30), ("f8", 1e100), ("f8", 1e-160)]
    ),
    grid=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_distances_are_the_references(n_rows, n_cols, k, dtype_scale, grid, seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (n_rows, n_cols)) if grid else rng.normal(size=(n_rows, n_cols))
    X = (X * float(dtype_scale[1])).astype(dtype_scale[0])
    queries = np.flatnonzero(rng.random(n_rows) < 0.6)
    targets = np.flatnonzero(rng.random(n_rows) < 0.8)
    check(X, queries, targets, k)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_more_rows_than_a_block(n_threads):
    X = np.random.default_rng(1).normal(size=(2300, 4)).astype(np.float32)
    check(X, np.arange(0, 2300, 7), np.arange(2300), 5, n_threads=n_threads)


def test_cosine_distances():
    X = np.random.default_rng(1).normal(size=(200, 20)).astype(np.float16)
    total = np.zeros(200)
    for column in X.astype(np.float64).T:
        total += column * column
    every = np.arange(200)
    found = nearest(X, every, every, 4, norms=np.sqrt(total))
    expected = reference.neighbour_squares(normalised(X), every, every, 4)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("huge", [2.0**100, 1e30, 1e100, 1e300])
@pytest.mark.parametrize("size", [1e-30, 1.0, 2.6e-23 * 2.0**100])
def test_rows_beside_huge_ones(huge, size):
    """Products of the others underflow in float32, and so may the square of the unit."""
    rows = np.full((40, 500), size)
    rows[20:] *= -1
    X = np.vstack([rows, np.full((1, 500), huge), np.full((1, 500), -huge)])
    with np.errstate(over="ignore"):
        check(X, np.arange(40), np.arange(42), 3)


@pytest.mark.parametrize("exponent", [-540, -537, -534])
@pytest.mark.parametrize("n_cols", [2, 64, 130])
def test_squares_below_the_normal_numbers(n_cols, exponent):
    """Their terms are rounded to 2**-1074: larger distances may have smaller squares."""
    X = np.random.default_rng(1).normal(size=(200, n_cols)) * 2.0**exponent
    check(X, np.arange(200), np.arange(200), 3)


def test_the_comparison_can_fail():
    X = np.random.default_rng(1).normal(size=(20, 3))
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(
            nearest(X, np.arange(20), np.arange(20), 2),
            reference.neighbour_squares(X + 1e-9 * X**2, np.arange(20), np.arange(20), 2),
        )
