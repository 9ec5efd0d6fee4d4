"""Rows as kernels see them: in place where that is possible, else copied, else on scratch disk."""

from __future__ import annotations

import shutil
import tempfile
from collections import namedtuple

import numpy as np
import pytest
import zarr

from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError, DataError
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows


def make(dtype="f4", n_rows=500, n_cols=7):
    return (np.random.default_rng(0).normal(size=(n_rows, n_cols)) * 50).astype(dtype)


def check(X, where, dtype, budget=10**9):
    """The rows as given or copied, and the table that describes them."""
    with resident(as_rows(X), budget) as data:
        assert data.where == where
        assert data.array.dtype == dtype
        expected = np.asarray(X[:]).astype(dtype)
        np.testing.assert_array_equal(data.array, expected)
        np.testing.assert_array_equal(data.rows.block(3, 9), expected[3:9])
        assert data.table.address == data.array.ctypes.data
        assert (data.table.n_rows, data.table.n_cols) == X.shape
        for team in (Team(1), Team(3)):
            with team:
                assert data.largest(team) == np.abs(expected.astype(np.float64)).max()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_stay_where_they_are(dtype):
    X = make(dtype)
    for view in (X, X[::2], X[::-1], X[:, 1:4], X[:1]):
        check(view, "as given", dtype)
        with resident(as_rows(view), 10**9) as data:
            assert np.shares_memory(data.array, X)


def test_read_only_memmaps_stay_where_they_are(tmp_path):
    np.save(tmp_path / "x.npy", make())
    check(np.load(tmp_path / "x.npy", mmap_mode="r"), "as given", "f4")


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("i1", "f4"), ("u1", "f4"), ("i2", "f4"), ("u2", "f4"), ("i4", "f8"), ("u4", "f8"),
     ("i8", "f8"), ("u8", "f8"), ("?", "f4"), (">f4", "f4"), (">f8", "f8"), (">i2", "f4")],
)  # fmt: skip
def test_other_numbers_are_copied_exactly(dtype, wide):
    X = np.abs(make()).astype(dtype) if dtype[0] in "u?" else make().astype(dtype)
    check(X, "copied to memory", wide)


def test_columns_apart_in_memory_are_copied():
    check(np.asfortranarray(make()), "copied to memory", "f4")
    check(make()[:, ::2], "copied to memory", "f4")


@pytest.mark.parametrize("budget", [10**9, 1000])
def test_zarr_arrays_are_copied_or_put_on_scratch_disk(tmp_path, budget, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    X = make("f2")
    stored = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(64, 7))
    where = "copied to memory" if budget > 1000 else "scratch file"
    check(stored, where, "f2", budget)
    with resident(as_rows(stored), budget):
        assert any(scratch.rglob("rows.bin")) == (budget == 1000)
    assert list(scratch.iterdir()) == []


def test_scratch_goes_when_the_work_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyError), resident(as_rows(make("i8")), 10):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_full_scratch_disk_is_an_error(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(CapacityError, match="bytes of scratch space"):  # noqa: SIM117
        with resident(as_rows(make("i8")), 10):
            pass


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_errors(dtype, bad):
    X = make(dtype)
    X[[33, 44], 2] = bad
    message = "2 of 500 rows have NaN or inf; the first is row 33"
    with resident(as_rows(X), 10**9) as data, pytest.raises(DataError, match=message):
        data.largest(Team(2))
