"""Lenses: names, functions and arrays; the same bytes for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, single_threaded_blas
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.kernels.lens.cpu import ROW_LENSES
from topoact_gpu.kernels.lens.reference import row_lens
from topoact_gpu.lens import LENS_NAMES, compute_lens, parse_lens
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows


def compute(lens, X, *, n_threads=2, seed=0):
    with resident(as_rows(X), 10**9) as data, single_threaded_blas(), Team(n_threads) as team:
        return compute_lens(lens, data, CpuBackend(team), seed)


def make(n_rows=4500, n_cols=9, dtype="f4", seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n_rows, n_cols)) * np.arange(n_cols, 0, -1)).astype(dtype)


def test_the_reference_is_the_definition():
    X = make(20, 5, "f8")
    np.testing.assert_allclose(row_lens(X, "l2norm"), np.linalg.norm(X, axis=1))
    np.testing.assert_allclose(row_lens(X, "l1norm"), np.abs(X).sum(1))
    np.testing.assert_allclose(row_lens(X, "mean"), X.mean(1))
    np.testing.assert_allclose(row_lens(X, "std"), X.std(1))
    np.testing.assert_array_equal(row_lens(X, "max"), X.max(1))
    np.testing.assert_array_equal(row_lens(X, "linf"), np.abs(X).max(1))


@pytest.mark.parametrize("name", ROW_LENSES)
@pytest.mark.parametrize("n_rows", [1, 7, 8, 9, 2047, 2049])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i8"])
def test_row_lenses_have_the_references_bits(name, n_rows, dtype):
    X = make(n_rows, 13, dtype)
    np.testing.assert_array_equal(compute(name, X)[:, 0], row_lens(X, name))


LENSES = ["l2norm", "std", "median", "column:2", "pca", "pca:3", "density", "eccentricity"]


@pytest.mark.parametrize("lens", LENSES)
def test_threads_and_memory_order_do_not_show(lens):
    X = make()
    one = compute(lens, X, n_threads=1)
    assert one.dtype == np.float64
    assert one.shape == (4500, 3 if lens == "pca:3" else 1)
    assert compute(lens, X, n_threads=3).tobytes() == one.tobytes()
    assert compute(lens, np.asfortranarray(X)).tobytes() == one.tobytes()


def test_functions_see_blocks_in_their_own_dtype():
    X = make(dtype="f2")
    seen = []

    def lens(block):
        seen.append((block.dtype, block.shape[1], len(block) <= 2048))
        return block[:, :2].astype(float) * 2

    np.testing.assert_array_equal(compute(lens, X), X[:, :2].astype(float) * 2)
    assert set(seen) == {(np.dtype("f2"), 9, True)}


def test_lists_put_columns_side_by_side():
    X = make()
    both = compute(["l2norm", lambda block: block[:, 0], "pca:2"], X)
    assert both.shape == (4500, 4)
    np.testing.assert_array_equal(both[:, 0], compute("l2norm", X)[:, 0])
    np.testing.assert_array_equal(both[:, 1], X[:, 0])
    np.testing.assert_array_equal(both[:, 2:], compute("pca:2", X))


def test_arrays_are_taken_as_they_are():
    X = make()
    values = np.arange(4500)
    np.testing.assert_array_equal(compute(values, X), values[:, None].astype(float))
    np.testing.assert_array_equal(compute(values.tolist(), X), values[:, None])
    assert compute(np.stack([values, values], 1), X).shape == (4500, 2)


def test_principal_components_have_a_sign_and_an_order():
    X = make(3000, 6, "f8") + 100
    found = compute("pca:6", X)
    centred = X - X.mean(0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    signs = np.sign(directions[np.arange(6), np.abs(directions).argmax(1)])
    np.testing.assert_allclose(found, centred @ (directions * signs[:, None]).T, atol=1e-8)
    assert (np.diff(found.std(0)) < 0).all()


def test_density_and_eccentricity_use_a_sample_above_20000_rows():
    X = make(20_500, 3)
    for lens in ("density:3", "eccentricity"):
        first, again, other = (compute(lens, X, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert np.corrcoef(first[:, 0], other[:, 0])[0, 1] > 0.7
    few = X[:20_000]
    np.testing.assert_array_equal(compute("density", few, seed=0), compute("density", few, seed=1))


def test_density_of_duplicates():
    X = np.repeat(make(50, 3), 4, axis=0)
    values = compute("density:4", X)[:, 0]
    assert np.isfinite(values).all()
    with pytest.raises(DataError, match="every row has 3 duplicates"):
        compute("density:3", X)
    with pytest.raises(ParameterError, match="below 200"):
        compute("density:200", X)


def test_eccentricity_far_from_the_origin():
    X = make(300, 4, "f8")
    np.testing.assert_allclose(
        compute("eccentricity", X + 1e6), compute("eccentricity", X), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("lens", "message"),
    [
        ("l2nrom", "did you mean 'l2norm'"),
        ("eccentrcity", "did you mean 'eccentricity'"),
        ("zzz", "lens must be one of l2norm"),
        ("", "lens must be one of"),
        ("pca:0", "at least 1 after the colon"),
        ("pca:", "at least 1 after the colon"),
        ("pca:two", "at least 1 after the colon"),
        ("pca:-1", "at least 1 after the colon"),
        ("column", "needs the number of a column"),
        ("max:2", "takes no number"),
        ("max:", "takes no number"),
    ],
)
def test_names_are_checked(lens, message):
    with pytest.raises(ParameterError, match=message):
        parse_lens(lens)


def test_every_name_parses():
    for name in LENS_NAMES:
        assert parse_lens(f"{name}:0" if name == "column" else name)[0] == name


@pytest.mark.parametrize(
    ("lens", "error", "message"),
    [
        ("column:9", ParameterError, "column below 9"),
        ("pca:10", ParameterError, "at most 9"),
        (np.zeros(7), DataError, r"shape \[4,500\] or \[4,500, k\], got \[7\]"),
        (np.zeros((4500, 0)), DataError, "shape"),
        (np.zeros((4500, 1, 1)), DataError, "shape"),
        ([], ParameterError, "at least one column"),
        ([3.0, "l2norm"], ParameterError, "lens must be"),
        (7, DataError, "shape"),
        (None, DataError, "shape|lens must be"),
        (lambda block: block[:5, 0], DataError, "shape"),
        (lambda block: np.full(len(block), np.nan), DataError, "finite"),
        (lambda block: "text", ParameterError, "lens must be a name, a function or an array"),
        (lambda block: np.zeros((len(block), 1 + len(block) % 2)), DataError, None),
    ],
)
def test_what_is_no_lens_is_one_clear_error(lens, error, message):
    X = make(4500 if message else 2049)
    with pytest.raises(error, match=message or "different numbers of columns"):
        compute(lens, X)


def test_lens_values_that_are_not_finite_are_counted():
    values = np.zeros(4500)
    values[[17, 30]] = np.nan
    with pytest.raises(
        DataError, match="2 of 4,500 rows have NaN or infinity; the first is row 17"
    ):
        compute(values, make())
