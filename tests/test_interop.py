"""Results in the caller's kind, on the caller's device."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from topoact_gpu import DBSCAN, Mapper, UniformCover
from topoact_gpu.errors import ParameterError
from topoact_gpu.interop import to_kind

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


class FakeArray:
    """What tests see of a CuPy array."""

    def __init__(self, array: np.ndarray, number: int) -> None:
        self.array, self.number = array, number

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.number


FakeArray.__module__ = "cupy._core"


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found, current = ModuleType("cupy"), [0]

    @contextmanager
    def device(number: int):
        before, current[0] = current[0], number
        yield
        current[0] = before

    found.asarray = lambda array: FakeArray(array, current[0])  # type: ignore[attr-defined]
    found.cuda = SimpleNamespace(Device=device)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", found)
    return found


def test_labels_and_memberships_of_each_kind(cupy):
    fitted = DBSCAN(1.0).fit(X)
    graph = Mapper(cover=UniformCover(3), clusterer=DBSCAN(1.0)).fit(X).graph_
    for like in (None, "numpy", X):
        assert fitted.labels(like) is fitted.labels_
        assert graph.memberships(like)[1] is graph.rows
    for like in ("torch", torch.from_numpy(X)):
        labels = fitted.labels(like)
        assert isinstance(labels, torch.Tensor)
        assert (labels.device.type, labels.dtype) == ("cpu", torch.int64)
        assert labels.numpy().tolist() == fitted.labels_.tolist()
        indptr, rows = graph.memberships(like)
        assert indptr.tolist() == graph.indptr.tolist()
        assert rows.tolist() == graph.rows.tolist()
    labels = fitted.labels(FakeArray(X, 1))
    assert isinstance(labels, FakeArray)
    assert labels.number == 1
    assert labels.array.tolist() == fitted.labels_.tolist()
    assert graph.memberships("cupy")[0].number == 0


def test_memory_is_shared_where_it_may_be_written():
    array = np.arange(4)
    to_kind(array, "torch")[0] = 9
    assert array[0] == 9
    array.flags.writeable = False
    to_kind(array, "torch")[0] = 5
    assert array[0] == 9


def test_arrays_of_other_libraries_on_a_gpu(cupy, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "cupy")
    other = SimpleNamespace(__dlpack_device__=lambda: (2, 3))
    assert to_kind(np.arange(3), other).number == 3
    older = SimpleNamespace(__cuda_array_interface__={}, device=SimpleNamespace(id=2))
    assert to_kind(np.arange(3), older).number == 2
    sent: list[object] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: False)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: sent.append(device) or self)
    to_kind(np.arange(3), other)
    assert sent == [torch.device("cuda", 3)]


def test_wrong_words_and_missing_libraries(monkeypatch):
    with pytest.raises(ParameterError, match="like must be numpy, torch, cupy or an array"):
        to_kind(np.arange(3), "jax")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ParameterError, match="cupy is wanted, which is not installed"):
        to_kind(np.arange(3), "cupy")
    with pytest.raises(NotFittedError):
        DBSCAN().labels()


@pytest.mark.gpu
def test_on_a_device():
    on_device = torch.from_numpy(X).cuda()
    fitted = DBSCAN(1.0).fit(on_device)
    labels = fitted.labels(on_device)
    assert labels.device == on_device.device
    assert labels.cpu().numpy().tolist() == fitted.labels_.tolist()
