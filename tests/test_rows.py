"""Rows: the same numbers whatever holds them, and one clear error for what cannot be rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import zarr

from topoact_gpu.errors import DataError, StoreError
from topoact_gpu.rows import Rows, as_rows, check_finite, finite_rows

DTYPES = ["f2", "f4", "f8", "i1", "u1", "i2", "i4", "i8", "u8"]


class OnlyArray:
    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return self.data


class OnlyDlpack:
    def __init__(self, data):
        self.data = data

    def __dlpack__(self, **options):
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


def make(n_rows=103, n_cols=7, dtype="f4"):
    return np.random.default_rng(0).integers(0, 100, (n_rows, n_cols)).astype(dtype)


def zarr_of(X, tmp_path, **options):
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, dtype=X.dtype, **options)
    array[:] = X
    return array


def assert_reads(rows: Rows, X):
    """Every way of reading gives X."""
    assert rows.shape == X.shape
    assert len(rows) == len(X)
    ids = np.random.default_rng(1).integers(0, len(X), 50)
    assert np.array_equal(rows.take(ids), X[ids])
    assert rows.take(ids).dtype == rows.dtype
    assert rows.take(np.empty(0, np.int64)).shape == (0, X.shape[1])
    assert np.array_equal(rows.block(5, 20), X[5:20])
    assert np.array_equal(rows.block(len(X) - 2, len(X) + 9), X[-2:])
    for budget in (1, 7 * rows.dtype.itemsize * 10, 1 << 20):
        starts, parts = zip(*rows.blocks(budget), strict=True)
        assert np.array_equal(np.concatenate(parts), X)
        assert list(starts) == list(np.cumsum([0, *(len(p) for p in parts[:-1])]))
        assert max(len(p) for p in parts) * X.shape[1] * rows.dtype.itemsize <= max(
            budget, X.shape[1] * rows.dtype.itemsize
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_is_not_copied(dtype):
    X = make(dtype=dtype)
    rows = as_rows(X)
    assert np.shares_memory(rows.array, X)
    assert np.shares_memory(rows.block(3, 9), X)
    assert rows.dtype == np.dtype(dtype)
    assert_reads(rows, X)


def test_rows_pass_through():
    rows = as_rows(make())
    assert as_rows(rows) is rows


@pytest.mark.parametrize("wrap", [OnlyArray, OnlyDlpack, np.asfortranarray, lambda X: X[::-1, ::2]])
def test_wrappers_and_strides(wrap):
    X = make()
    wrapped = wrap(X)
    rows = as_rows(wrapped)
    assert np.shares_memory(rows.array, X) or wrap is np.asfortranarray
    expected = X if isinstance(wrapped, OnlyArray | OnlyDlpack) else np.asarray(wrapped)
    assert_reads(rows, expected)


def test_memmap(tmp_path):
    X = make()
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = as_rows(mapped)
    assert np.shares_memory(rows.array, mapped)
    assert_reads(rows, X)


def test_torch_tensor():
    torch = pytest.importorskip("torch")
    X = make()
    rows = as_rows(torch.from_numpy(X))
    assert np.shares_memory(rows.array, X)
    with pytest.raises(DataError, match=r"detach"):
        as_rows(torch.zeros(3, 2, requires_grad=True))
    with pytest.raises(DataError, match=r"float\(\)"):
        as_rows(torch.zeros(3, 2, dtype=torch.bfloat16))


def test_bool_reads_as_uint8():
    X = make() > 50
    rows = as_rows(X)
    assert rows.dtype == np.uint8
    assert np.shares_memory(rows.array, X)
    assert_reads(rows, X)


def test_foreign_byte_order():
    X = make().astype(">f4")
    rows = as_rows(X)
    assert rows.array is None
    assert rows.dtype.isnative
    assert_reads(rows, X)


def test_lists_and_objects():
    assert np.array_equal(as_rows([[1, 2], [3, 4]]).block(0, 2), [[1, 2], [3, 4]])
    assert as_rows(make().astype(object)).dtype == np.float64


@pytest.mark.parametrize("options", [{"chunks": (10, 7)}, {"chunks": (5, 3), "shards": (20, 6)}])
def test_zarr(tmp_path, options):
    X = make()
    rows = as_rows(zarr_of(X, tmp_path, **options))
    assert rows.array is None
    assert_reads(rows, X)


def test_truncated_zarr_chunk_is_named(tmp_path):
    X = make()
    array = zarr_of(X, tmp_path, chunks=(10, 7))
    chunk = tmp_path / "x.zarr" / "c" / "3" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(StoreError, match=r"chunk 3 .*rows 30 to 39"):
        as_rows(array).block(30, 40)


BAD = {
    "1d": (np.arange(3.0), "Reshape your data"),
    "scalar": (np.float64(3), "Reshape your data"),
    "3d": (np.zeros((2, 2, 2)), "dim 3"),
    "complex": (np.zeros((2, 2), complex), "Complex data not supported"),
    "complex objects": (np.full((2, 2), 1j, object), "Complex data not supported"),
    "text": (np.array([["a", "b"]]), "dtype <U1"),
    "dates": (np.zeros((2, 2), "M8[s]"), "float16, float32, float64 or integers"),
    "longdouble": (np.zeros((2, 2), np.longdouble), "float16, float32, float64 or integers"),
    "words": (np.array([["a", 1.0]], object), "not all numbers"),
    "sparse array": (scipy.sparse.csr_array(np.eye(3)), "Sparse .*toarray"),
    "sparse matrix": (scipy.sparse.coo_matrix(np.eye(3)), "Sparse .*toarray"),
    "masked": (np.ma.masked_equal(np.eye(3), 1), "masked"),
    "no rows": (np.zeros((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1"),
    "no columns": (np.zeros((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is "),
    "ragged": ([[1, 2], [3]], "inhomogeneous"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    X, message = BAD[name]
    with pytest.raises(DataError, match=message):
        as_rows(X)


def test_errors_scikit_learn_wants():
    X = make().astype(object)
    X[0, 0] = {"a": 1}
    with pytest.raises(TypeError, match=r"argument must be .* string.* number"):
        as_rows(X)
    with pytest.raises(DataError, match=r"1 sample\(s\).*minimum of 2"):
        as_rows(np.zeros((1, 2)), min_rows=2)


def test_zarr_group_and_shape(tmp_path):
    with pytest.raises(DataError, match="Zarr group"):
        as_rows(zarr.create_group(tmp_path / "g.zarr"))
    array = zarr.create_array(tmp_path / "one.zarr", shape=(3,), dtype="f4")
    with pytest.raises(DataError, match="Reshape your data"):
        as_rows(array)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", ["C", "F"])
def test_nonfinite_is_counted(dtype, value, order):
    X = np.asarray(make(5000, 40, dtype), order=order)
    check_finite(as_rows(X))
    assert finite_rows(X) is None
    X[[17, 4321], [39, 0]] = value
    X[17, 3] = value
    with pytest.raises(DataError, match=r"2 of 5,000 rows have NaN or inf; the first is row 17;"):
        check_finite(as_rows(X), budget_bytes=4000)
    assert np.flatnonzero(~finite_rows(X)).tolist() == [17, 4321]


def test_extremes_are_finite():
    for dtype in ("f2", "f4", "f8"):
        info = np.finfo(dtype)
        check_finite(as_rows(np.array([[info.max, -info.max, info.smallest_subnormal]], dtype)))


def test_nonfinite_in_zarr_and_integers(tmp_path):
    X = make()
    X[50, 2] = np.inf
    with pytest.raises(DataError, match=r"1 of 103 rows has .* row 50"):
        check_finite(as_rows(zarr_of(X, tmp_path, chunks=(10, 7))))
    check_finite(as_rows(make(dtype="i4")))
