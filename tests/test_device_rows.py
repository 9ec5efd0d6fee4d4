"""Rows on their way to a device, and rows that lie there already.

Without a device "there" is the memory that Triton's interpreter computes in.
"""

from __future__ import annotations

import numpy as np
import pytest
import zarr

torch = pytest.importorskip("torch")

from topoact_gpu import DBSCAN, DataError, Mapper, UniformCover, device_rows, source  # noqa: E402  # noqa: E402
from topoact_gpu.cuda import CudaBackend  # noqa: E402
from topoact_gpu.device import Team  # noqa: E402
from topoact_gpu.device_rows import on_device  # noqa: E402
from topoact_gpu.kernels.launch import torch_device  # noqa: E402
from topoact_gpu.rows import as_rows  # noqa: E402


class OnGpu:
    """An array that says it lies on a GPU, as CuPy's do; here it can't."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **_options):
        raise AssertionError("read as if it were in host memory")


@pytest.fixture
def on_gpu(monkeypatch):
    """Make a tensor into one that says it lies on a GPU."""
    monkeypatch.setattr(torch, "from_dlpack", lambda array: array.tensor.to(torch_device()))
    return OnGpu


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(source, "PIECE_BYTES", 200)
    monkeypatch.setattr(device_rows, "PIECE_BYTES", 200)


def made(dtype="float32", shape=(33, 7)):
    return (np.random.default_rng(0).normal(size=shape) * 20).astype(dtype)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint16", "int64"])
def test_rows_arrive_as_they_are(dtype, tmp_path):
    X = made(dtype)
    stored = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(5, 7))
    for given in (X, X[::-1], np.asfortranarray(X), X.astype(X.dtype.newbyteorder()), stored):
        held = on_device(as_rows(given), torch_device())
        expected = np.asarray(given[:])
        np.testing.assert_array_equal(held.tensor.cpu().numpy(), expected.astype(held.array.dtype))
        assert held.tensor.dtype.is_floating_point
        np.testing.assert_array_equal(held.array, expected)
        assert held.largest(Team(1)) == np.abs(expected.astype(float)).max()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad, on_gpu):
    X = made()
    X[[9, 20], [0, 3]] = bad
    for given in (X, on_gpu(torch.from_numpy(X))):
        held = on_device(as_rows(given), torch_device())
        with pytest.raises(DataError, match="2 of 33 rows have NaN or inf; the first is row 9"):
            held.largest(Team(1))


def test_arrays_on_a_gpu_are_used_where_they_are(on_gpu):
    x = torch.from_numpy(made("float16")).to(torch_device())
    rows = as_rows(on_gpu(x))
    assert rows.array is None
    assert "33 x 7 float16, on" in repr(rows)
    held = on_device(rows, torch_device())
    assert held.tensor.data_ptr() == x.data_ptr()
    assert held.where == "device memory"
    np.testing.assert_array_equal(held.array, x.cpu().numpy())
    assert "copied to the host" in held.where
    turned = on_device(as_rows(on_gpu(x.T)), torch_device())
    np.testing.assert_array_equal(turned.tensor.cpu().numpy(), x.cpu().numpy().T)
    assert turned.tensor.stride(1) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int32])
def test_kinds_that_numpy_lacks_become_ones_that_hold_them(dtype, on_gpu):
    x = torch.from_numpy(made() > 0).to(dtype)
    held = on_device(as_rows(on_gpu(x)), torch_device())
    np.testing.assert_array_equal(held.array, x.to(torch.float32).numpy())


def test_wrong_shapes_and_kinds_on_a_gpu_are_refused(on_gpu):
    with pytest.raises(DataError, match="Expected 2D array"):
        as_rows(on_gpu(torch.zeros(3)))
    with pytest.raises(DataError, match="Complex data not supported"):
        as_rows(on_gpu(torch.zeros(3, 2, dtype=torch.complex64)))


def test_graphs_of_arrays_on_a_gpu_are_those_of_the_host(on_gpu):
    X = made(shape=(60, 4))
    settings = {"cover": UniformCover(2, 0.3), "clusterer": DBSCAN(22.0, min_samples=3)}
    expected = Mapper("l2norm", **settings).fit(X)
    for device in ("cuda", "cpu"):
        found = Mapper("l2norm", **settings, device=device).fit(on_gpu(torch.from_numpy(X)))
        assert found.graph_.rows.tobytes() == expected.graph_.rows.tobytes()
        where = {"cuda": "device memory", "cpu": "copied to memory"}[device]
        assert where in found.report_["implementation"]["rows"]


def test_rows_that_do_not_fit_stay_with_the_host(monkeypatch):
    monkeypatch.setattr("topoact_gpu.cuda._ROWS_SHARE", 0.0)
    X = made(shape=(70, 5))
    backend = CudaBackend(Team(1))
    with backend.hold(as_rows(X), 10**9) as held:
        assert held.where == "as given"
    assert "do not fit in device memory" in backend.describe()["notes"][0]
    found = DBSCAN(25.0, min_samples=3, device="cuda").fit(X).labels_
    np.testing.assert_array_equal(found, DBSCAN(25.0, min_samples=3).fit(X).labels_)
