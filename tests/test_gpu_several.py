"""Clustering over several devices: one device's bytes, whoever does what.

Without devices there are three that are all the processor. They take turns, since Triton's
interpreter runs one kernel at a time; what each is given, and what becomes of it, is the same.
"""

from __future__ import annotations

import threading
from unittest import mock

import numpy as np
import pytest

from topoact_gpu.device import Team
from topoact_gpu.errors import DataError
from topoact_gpu.kernels.dbscan.reference import labels_from_neighbours
from topoact_gpu.kernels.launch import torch_device
from topoact_gpu.kernels.pairs.reference import within
from topoact_gpu.prepare import prepare
from topoact_gpu.rows import as_rows

torch = pytest.importorskip("torch")
cuda = pytest.importorskip("topoact_gpu.cuda")
gpus = pytest.importorskip("topoact_gpu.gpus")

from topoact_gpu.kernels.dbscan import groups  # noqa: E402
from topoact_gpu.kernels.product.gpu import Shape  # noqa: E402

pytestmark = pytest.mark.usefixtures("poisoned")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Little is worth being spread, and in two rounds."""
    monkeypatch.setattr(gpus, "_WORTH", 1)
    monkeypatch.setattr(groups, "_TWO_ROUNDS", 2)


def grid(n_rows, seed=0):
    """Whole numbers in three columns: many ties, and many rows that are the same."""
    return np.random.default_rng(seed).integers(0, 6, (n_rows, 3)).astype(np.float32)


def intervals(n_rows, sizes, seed=0):
    """Members of some intervals, as the backend takes them."""
    rng = np.random.default_rng(seed)
    members = [np.sort(rng.choice(n_rows, size, replace=False)) for size in sizes]
    return np.cumsum([0, *sizes]), np.concatenate(members).astype(np.int64)


def backend_of(n_devices, most_blocks=10**6):
    backend = cuda.CudaBackend(Team(1), [torch_device()] * n_devices)
    backend.shape = Shape(16, 4, 2)
    backend._room = lambda setting: groups.Room.make(
        50, 4096, most_blocks, backend.shape, setting.source.device
    )
    return backend


def run(backend, X, sizes, eps=1.0, min_samples=2, metric="euclidean"):
    """Results of all intervals."""
    indptr, rows = intervals(len(X), sizes)
    found, threads = {}, set()

    def keep(at, result):
        assert at not in found
        threads.add(threading.get_ident())
        found[at] = result

    with backend.hold(as_rows(X), 10**9) as data:
        backend.cluster(
            prepare(data, metric, backend),
            indptr,
            rows,
            eps=np.full(len(sizes), eps),
            min_samples=min_samples,
            budget_bytes=2**24,
            todo=np.arange(len(sizes)),
            keep=keep,
        )
    backend.threads = threads
    return [found[at] for at in range(len(sizes))]


def check_same(ours, theirs):
    """Equal bytes."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.labels.tobytes() == other.labels.tobytes()
        assert one.core.tobytes() == other.core.tobytes()
        assert one.n_clusters == other.n_clusters


def check_defined(results, X, sizes, eps, min_samples):
    """The definition's labels."""
    indptr, rows = intervals(len(X), sizes)
    for result, low, high in zip(results, indptr[:-1], indptr[1:], strict=True):
        relation = within(X[rows[low:high]], eps)
        np.testing.assert_array_equal(result.labels, labels_from_neighbours(relation, min_samples))
        np.testing.assert_array_equal(result.core, relation.sum(1) >= min_samples)


def did(backend):
    """Elements and parts, of all devices together."""
    described = backend.describe()["gpus"]
    assert len(described) == len(backend.devices)
    return tuple(sum(one[what] for one in described) for what in ("elements", "parts"))


SIZES = (60, 0, 5, 16, 1, 12, 0)


@pytest.mark.parametrize(("n_devices", "min_samples"), [(2, 1), (3, 2), (3, 5)])
def test_one_giant_interval_and_many_small_ones(n_devices, min_samples):
    X = grid(80)
    alone, several = backend_of(1), backend_of(n_devices)
    theirs = run(alone, X, SIZES, min_samples=min_samples)
    ours = run(several, X, SIZES, min_samples=min_samples)
    check_same(ours, theirs)
    check_defined(ours, X, SIZES, 1.0, min_samples)
    assert did(alone) == (5, 0)
    assert did(several) == (4, n_devices)
    assert alone.threads == {threading.get_ident()}
    assert len(several.threads) > 1
    assert several.describe()["notes"] == alone.describe()["notes"] == []
    counted = [sum(one.counters["tested"] for one in results) for results in (ours, theirs)]
    assert min(counted) > 60 * 59 / 2


def test_windows_smaller_than_the_interval():
    """Each device reads its block rows a window at a time; and rows from the host."""
    X = grid(80, seed=1)
    theirs = run(backend_of(1), X, (60, 8))
    several = backend_of(3, most_blocks=3)
    check_same(run(several, X, (60, 8)), theirs)
    host = backend_of(2, most_blocks=4)
    host._free_bytes = lambda *_: X.nbytes
    check_same(run(host, X, (60, 8)), theirs)
    assert host.describe()["notes"] == [
        "rows do not fit in device memory: sent a window at a time",
        "rows do not fit in the memory of device 1: sent a window at a time",
    ]


def test_some_devices_hold_the_rows_and_some_do_not():
    """Whatever the first can hold, the second can't; and the other way round."""
    X = grid(40)
    theirs = run(backend_of(1), X, (40, 20))
    for first, second, held in ((2**33, 0, [True, False]), (0, 2**33, [False, True])):
        backend = backend_of(2)
        left = [first]  # asked for the first device once, when rows are held
        backend._free_bytes = lambda *_, left=left, s=second: left.pop() if left else s
        kinds, make = {}, cuda.CudaBackend._source

        def source(self, data, norms, number=0, kinds=kinds, make=make):
            found = make(self, data, norms, number)
            kinds[number] = isinstance(found, cuda.DeviceSource)
            return found

        with mock.patch.object(cuda.CudaBackend, "_source", source):
            check_same(run(backend, X, (40, 20)), theirs)
        assert all(kinds[number] == held[number] for number in kinds)
        assert len(kinds) > 0


def test_all_intervals_alike():
    """None has more than its share: they are not shared out."""
    X, sizes = grid(40), (20,) * 5
    ours = backend_of(2)
    check_same(run(ours, X, sizes), run(backend_of(1), X, sizes))
    assert did(ours) == (5, 0)


def test_two_giants():
    X, sizes = grid(40), (36, 33)
    ours = backend_of(2)
    check_same(run(ours, X, sizes), run(backend_of(1), X, sizes))
    assert did(ours) == (0, 4)


def test_angles():
    X = grid(50) + 1
    options = {"eps": 0.01, "min_samples": 3, "metric": "cosine"}
    theirs = run(backend_of(1), X, (50, 9), **options)
    check_same(run(backend_of(3), X, (50, 9), **options), theirs)


def failing(name, at, times=1):
    """A stage that runs out of memory when it is called for the ``at``-th time, some times."""
    original, calls = getattr(gpus, name), [0]

    def tried(*arguments):
        calls[0] += 1
        if at <= calls[0] < at + times:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments)

    return mock.patch.object(gpus, name, tried)


@pytest.mark.parametrize("name", ["begin", "scan_part", "finish", "cluster_group"])
def test_a_device_that_runs_out_of_memory_halves_its_own_room(name):
    X, sizes = grid(60), (50, 5, 9)
    theirs, ours = run(backend_of(1), X, sizes), backend_of(3, most_blocks=8)
    made, make = [], groups.Room.make

    def make_and_look(*arguments):
        made.append(arguments[2])
        return make(*arguments)

    with failing(name, 1), mock.patch.object(groups.Room, "make", make_and_look):
        check_same(run(ours, X, sizes), theirs)
    assert sorted(made)[0] == 4
    assert set(made[1:]) <= {4, 8}
    assert made.count(4) == 1
    (note,) = ours.describe()["notes"]
    assert note.startswith("out of the memory of device ")
    assert note.endswith(": windows of 4 blocks from then on")
    assert did(ours) == (2, 3)


@pytest.mark.parametrize("name", ["begin", "scan_part", "finish", "cluster_group"])
def test_out_of_memory_for_good_ends_all_work(name):
    with (
        failing(name, 1, 10**9),
        pytest.raises(torch.OutOfMemoryError, match="do not fit in the memory of device"),
    ):
        run(backend_of(3, most_blocks=8), grid(60), (50, 5, 9))


def test_an_error_of_the_callers_ends_all_work():
    def keep(*_):
        raise DataError("no more")

    X, backend = grid(60), backend_of(2)
    with backend.hold(as_rows(X), 10**9) as data, pytest.raises(DataError, match="no more"):
        backend.cluster(
            prepare(data, "euclidean", backend), *intervals(60, (50, 9)), eps=np.ones(2),
            min_samples=2, budget_bytes=2**24, todo=np.arange(2), keep=keep,
        )  # fmt: skip
    assert backend.team.stop[0] == 1


def test_little_work_stays_on_one_device(monkeypatch):
    monkeypatch.setattr(gpus, "_WORTH", 8)
    for sizes, parts in (((32, 3), 0), ((64, 3), 2)):
        ours = backend_of(3)
        run(ours, grid(64), sizes)
        assert did(ours)[1] == parts


def test_which_devices_there_are(monkeypatch):
    """The current one first; all that torch sees."""
    monkeypatch.setattr(cuda, "torch_device", lambda: torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [device.index for device in cuda._all_devices()] == [1, 0, 2]
    monkeypatch.setattr(cuda, "torch_device", lambda: torch.device("cpu"))
    assert cuda._all_devices() == [torch.device("cpu")]


def test_a_bound_on_products_holds_on_every_device(monkeypatch):
    errors = iter([0.1, 0.3, 0.2, None])
    backend = backend_of(2)
    monkeypatch.setattr(cuda, "_half_error_of", lambda *_: next(errors))
    assert backend._half_error(10) == 0.3
    assert backend._half_error(10) is None


def test_a_difference_is_seen():
    X = grid(30)
    first = run(backend_of(1), X, (30, 9))
    check_same(first, first)
    with pytest.raises(AssertionError):
        check_same(run(backend_of(1), X, (30, 9), eps=1.5), first)
    with pytest.raises(AssertionError):
        check_defined(first, X, (30, 9), 1.5, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("min_samples", [1, 5])
def test_real_devices(monkeypatch, min_samples):
    n_devices = torch.cuda.device_count()
    if n_devices < 2:
        pytest.skip("needs two CUDA devices")
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    centres = np.maximum(rng.normal(size=(40, 96)), 0) * 2
    X = centres[rng.integers(40, size=120_000)] + rng.normal(size=(120_000, 96)) * 0.3
    X = np.maximum(X, 0).astype(np.float16)
    sizes = (100_000, 700, 30_000, *[2_000] * 40)
    theirs = run(cuda.CudaBackend(Team(1), [torch_device()]), X, sizes, 3.0, min_samples)
    for free in (None, X.nbytes):
        several = cuda.CudaBackend(Team(1))
        if free is not None:  # rows stay on the host
            monkeypatch.setattr(cuda, "_ROWS_SHARE", 0.0)
        check_same(run(several, X, sizes, 3.0, min_samples), theirs)
        described = several.describe()["gpus"]
        assert len(described) == n_devices
        assert all(one["elements"] + one["parts"] > 0 for one in described)
