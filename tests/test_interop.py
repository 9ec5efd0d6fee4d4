"""Results as the caller's kind of array, on the device where the caller's lies."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from topoact_gpu import DBSCAN, Mapper, ParameterError, UniformCover
from topoact_gpu.interop import to_kind

X = np.array([[0.0], [0.1], [0.2], [5.0]])


class FakeArray:
    """What CuPy's looks like from outside."""

    def __init__(self, array, number):
        self.host, self.device = array.copy(), SimpleNamespace(id=number)


@pytest.fixture
def cupy(monkeypatch):
    """A module of that name, with device 2 as its current one."""
    module, current = ModuleType("cupy"), [2]

    @contextmanager
    def device(which=None):
        before = current[0]
        current[0] = before if which is None else getattr(which, "id", which)
        yield
        current[0] = before

    module.ndarray, module.cuda = FakeArray, SimpleNamespace(Device=device)

    def asarray(array):
        if hasattr(array, "__cuda_array_interface__"):  # CuPy asks the driver where it lies
            return FakeArray(np.empty(0), array.__cuda_array_interface__["number"])
        return FakeArray(array, current[0])

    module.asarray = asarray
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.fixture(scope="module")
def fitted():
    return DBSCAN(0.15, min_samples=2, device="cpu").fit(X)


@pytest.fixture(scope="module")
def graph():
    clusterer = DBSCAN(0.15, min_samples=2)
    given = {"cover": UniformCover(2, 0.3), "clusterer": clusterer, "device": "cpu"}
    return Mapper("column:0", **given).fit(X).graph_


@pytest.mark.parametrize("like", [None, "numpy", np.zeros((2, 2), np.float16)], ids=repr)
def test_numpy_gets_what_there_is(fitted, graph, like):
    assert fitted.labels(like) is fitted.labels_
    indptr, rows = graph.memberships(like)
    assert indptr is graph.indptr
    assert rows is graph.rows


@pytest.mark.parametrize("kind", ["word", "tensor", "parameter"])
def test_torch_shares_memory_where_it_may_be_written(fitted, graph, kind):
    torch = pytest.importorskip("torch")
    like = {
        "word": "torch",
        "tensor": torch.zeros(2, dtype=torch.float16),
        "parameter": torch.nn.Parameter(torch.zeros(1)),
    }[kind]
    labels = fitted.labels(like)
    assert (labels.dtype, labels.device.type) == (torch.int64, "cpu")
    assert labels.tolist() == [0, 0, 0, -1]
    assert labels.data_ptr() == fitted.labels_.ctypes.data
    for given, own in zip(graph.memberships(like), (graph.indptr, graph.rows), strict=True):
        assert given.tolist() == own.tolist()
        assert given.dtype == torch.int64
        given += 1  # its own memory: the graph stays as it is
        assert given.tolist() != own.tolist()


def test_tensors_go_to_the_device_of_the_one_given():
    torch = pytest.importorskip("torch")
    found = to_kind(np.arange(3), like=torch.zeros(1, device="meta"))
    assert (found.device.type, tuple(found.shape)) == ("meta", (3,))


@pytest.mark.gpu
@pytest.mark.parametrize("number", [0, 1])
def test_tensors_on_a_device(fitted, number):
    import torch

    if torch.cuda.device_count() <= number:
        pytest.skip(f"needs {number + 1} CUDA devices")
    like = torch.zeros(1, device=f"cuda:{number}")
    labels = fitted.labels(like)
    assert labels.device == like.device
    assert labels.tolist() == fitted.labels_.tolist()


def test_cupy_gets_arrays_on_the_device_of_the_one_given(cupy, fitted, graph):
    like = FakeArray(np.zeros(1), 1)
    for given, device in ((like, 1), ("cupy", 2)):
        labels = fitted.labels(given)
        assert isinstance(labels, FakeArray)
        assert labels.device.id == device
        assert labels.host.tobytes() == fitted.labels_.tobytes()
        indptr, rows = graph.memberships(given)
        assert (indptr.device.id, rows.device.id) == (device, device)
        assert rows.host.tobytes() == graph.rows.tobytes()


@pytest.mark.parametrize("speaks", ["dlpack", "interface"])
def test_other_arrays_on_a_gpu_get_cupys(cupy, speaks):
    like = SimpleNamespace(__cuda_array_interface__={"number": 1})
    if speaks == "dlpack":
        like = SimpleNamespace(__dlpack_device__=lambda: (2, 3), __dlpack__=None)
    found = to_kind(np.arange(3), like)
    assert isinstance(found, FakeArray)
    assert found.device.id == (3 if speaks == "dlpack" else 1)


@pytest.mark.parametrize("device", ["here", "there"])
def test_any_library_with_the_array_api(device):
    moved = SimpleNamespace(device="there")
    made = SimpleNamespace(device="here", to_device=lambda to: moved if to == "there" else None)
    asked = []
    library = SimpleNamespace(from_dlpack=lambda array: asked.append(array) or made)
    like = SimpleNamespace(__array_namespace__=lambda: library, device=device)
    array = np.arange(3)
    assert to_kind(array, like) is (made if device == "here" else moved)
    assert asked[0] is array
    array.flags.writeable = False
    to_kind(array, like)
    assert asked[1] is not array


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ("jax", 'like must be an array or one of "numpy", "torch", "cupy", got \'jax\''),
        ([1, 2], 'like must be an array or "numpy", "torch" or "cupy", got list'),
        (3, "got int; leave it out to have numpy's"),
    ],
)
def test_what_is_no_array_is_an_error(fitted, graph, like, message):
    for give in (fitted.labels, graph.memberships):
        with pytest.raises(ParameterError, match=message):
            give(like)


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_a_library_that_is_missing_is_an_error(monkeypatch, fitted, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ParameterError, match=f"needs the package {library}, which is not"):
        fitted.labels(library)


def test_labels_before_a_fit_are_an_error():
    with pytest.raises(NotFittedError):
        DBSCAN(0.5).labels()
