"""A cluster of two processes: the bytes of one process, whoever is lost on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from topoact_gpu import DBSCAN, BalancedCover, Mapper, UniformCover, create_store, open_store
from topoact_gpu.clusters import cluster_client
from topoact_gpu.errors import ParameterError, StoreError

distributed = pytest.importorskip("distributed")

# Dask leaves sockets to the garbage collector, and warns of what it closes itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def activations(n_rows: int = 6000, n_cols: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 2.0 * rng.normal(size=(40, n_cols))
    return (centres[rng.integers(0, 40, n_rows)] + rng.normal(size=(n_rows, n_cols))).astype(
        np.float16
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
    ) as found:
        yield found


@pytest.fixture(scope="module")
def client(cluster) -> Iterator[distributed.Client]:
    with distributed.Client(cluster) as found:
        yield found


@pytest.fixture
def layer(tmp_path: Path):
    with create_store(tmp_path / "acts.zarr") as store:
        store.create_layer("block", 24, "float16").append(activations())
    return open_store(tmp_path / "acts.zarr").layer("block")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of small data."""
    monkeypatch.setattr("topoact_gpu.streamed._LEAST_BLOCK", 2**17)
    monkeypatch.setattr("topoact_gpu.streamed._MOST_BLOCK", 2**17)


def assert_same(one: Mapper, other: Mapper) -> None:
    assert one.lens_values_.tobytes() == other.lens_values_.tobytes()
    for name in ("indptr", "rows", "edges", "jaccard", "node_interval", "node_lens"):
        assert getattr(one.graph_, name).tobytes() == getattr(other.graph_, name).tobytes(), name


@pytest.mark.parametrize(
    ("lens", "cover", "clusterer"),
    [
        ("l2norm", UniformCover(12, 0.3), DBSCAN("knee")),
        (["l1norm", "column:2"], UniformCover([5, 4], 0.4), DBSCAN(0.3, metric="cosine")),
        ("pca:1", BalancedCover(2, 0.2), DBSCAN("knee-per-interval")),
        ("density:5", UniformCover(6, 0.3), DBSCAN(6.0)),
        (lambda block: block[:, 0].astype(float), UniformCover(6, 0.3), DBSCAN(6.0)),
    ],
    ids=("knee", "cosine", "pca", "density", "function"),
)
def test_same_bytes_as_one_process(client, layer, small_blocks, lens, cover, clusterer):
    one = Mapper(lens, cover=cover, clusterer=clusterer).fit(layer)
    many = Mapper(lens, cover=cover, clusterer=clusterer, client=client).fit(layer)
    assert_same(one, many)
    assert many.report_["implementation"]["workers"] == 2
    assert many.report_["implementation"]["rows"] == "bucketed on disk"


def test_a_large_interval_becomes_several_tasks(client, layer, small_blocks, monkeypatch):
    from topoact_gpu import distributed as ours

    monkeypatch.setattr(ours, "_SPLIT_ROWS", 100)
    seen: list[set[int]] = []
    original = ours._large
    monkeypatch.setattr(ours, "_large", lambda *given: seen.append(original(*given)) or seen[-1])
    cover = UniformCover(2, 0.1)
    one = Mapper("column:0", cover=cover, clusterer=DBSCAN(6.0)).fit(layer)
    many = Mapper("column:0", cover=cover, clusterer=DBSCAN(6.0), client=client).fit(layer)
    assert seen[0]
    assert_same(one, many)


def test_rows_in_memory_are_written_where_workers_read_them(client):
    one = Mapper(cover=UniformCover(5), clusterer=DBSCAN(6.0)).fit(activations())
    many = Mapper(cover=UniformCover(5), clusterer=DBSCAN(6.0), client=client).fit(activations())
    assert_same(one, many)


def test_our_dbscan_on_workers_that_have_gpus(client, layer):
    """In Triton's interpreter, as everything on a device here."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("workers would look for a device")
    given = {"cover": UniformCover(30, 0.1), "clusterer": DBSCAN(6.0)}
    rows = activations()[:600]
    one = Mapper(**given).fit(rows)
    many = Mapper(**given, client=client, device="cuda").fit(rows)
    assert_same(one, many)
    assert many.report_["implementation"]["device"] == "cuda"


def test_a_worker_that_is_killed_costs_nothing_but_time(cluster, client, layer, monkeypatch):
    monkeypatch.setattr("topoact_gpu.distributed._UNITS_A_WORKER", 60)
    given = {"cover": UniformCover(60, 0.6), "clusterer": DBSCAN(7.0)}
    one = Mapper(**given).fit(layer)
    pids = {worker: info["pid"] for worker, info in client.run(_about).items()}
    killed = threading.Event()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "cluster" and done >= 2 and not killed.is_set():
            killed.set()
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    many = Mapper(**given, client=client, progress=progress).fit(layer)
    assert killed.is_set()
    assert_same(one, many)
    client.wait_for_workers(2, timeout=60)  # the nanny starts another


def _about() -> dict[str, int]:
    return {"pid": os.getpid()}


def test_workers_that_come_later_get_work(layer, small_blocks):
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address=":0",
            processes=False,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        grown = threading.Event()

        def progress(stage: str, done: int, total: int) -> None:
            if not grown.is_set():
                grown.set()
                cluster.scale(2)

        given = {"cover": UniformCover(30, 0.5), "clusterer": DBSCAN(7.0)}
        many = Mapper(**given, client=client, progress=progress).fit(layer)
        assert_same(Mapper(**given).fit(layer), many)


def test_a_scheduler_that_dies_loses_nothing(layer, tmp_path, monkeypatch):
    given = {"cover": UniformCover(40, 0.5), "clusterer": DBSCAN(7.0)}
    out = tmp_path / "run.zarr"
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
    )
    client = distributed.Client(cluster, timeout=5)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "cluster" and done >= 3 and cluster.status.name == "running":
            cluster.close(timeout=10)

    try:
        with pytest.raises(StoreError, match="what is done is kept"):
            Mapper(**given, client=client, progress=progress).fit(layer, run=out)
    finally:
        client.close(timeout=1)
        cluster.close(timeout=1)
    again = Mapper(**given).fit(layer, run=out)
    assert again.report_["resumed"]["intervals"] >= 3
    assert_same(Mapper(**given).fit(layer), again)


def test_a_folder_that_workers_do_not_see_is_named(client, layer, monkeypatch):
    monkeypatch.setattr("topoact_gpu.distributed.sees", lambda path, token: False)
    with pytest.raises(StoreError, match=r"must see the scratch folder .*, but 2 do not"):
        Mapper(client=client, clusterer=DBSCAN(6.0)).fit(layer)


def test_a_store_behind_an_address(layer, tmp_path, small_blocks):
    """In memory, as fsspec names it: workers are threads, so that they see the same memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    system.put(str(tmp_path / "acts.zarr"), "/bucket/acts.zarr", recursive=True)
    there = open_store("memory://bucket/acts.zarr").layer("block")
    assert np.array_equal(there[:], activations())
    given = {"cover": UniformCover(12, 0.3), "clusterer": DBSCAN(6.0)}
    one = Mapper(**given).fit(layer)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=":0",
            processes=False,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        assert_same(one, Mapper(**given, client=client).fit(there))
    with pytest.raises(StoreError, match="read only"):
        open_store("memory://bucket/acts.zarr", mode="a")
    with pytest.raises(StoreError, match="no activation store at memory://bucket/other"):
        open_store("memory://bucket/other")
    (chunk,) = system.find("/bucket/acts.zarr/layers/block/activations/c")
    held = bytearray(system.cat_file(chunk))
    held[500] ^= 1
    system.pipe_file(chunk, bytes(held))
    with pytest.raises(StoreError, match="truncated or damaged"):
        there[:]
    system.rm(chunk)
    with pytest.raises(StoreError, match="missing or empty"):
        there[:]


def test_clients_of_the_command_line(monkeypatch):
    with cluster_client(None, None) as nothing:
        assert nothing is None
    for given in (("tcp://a:1", 2), (None, 0)):
        with pytest.raises(ParameterError), cluster_client(*given):
            pass
    start = time.monotonic()
    monkeypatch.setattr("topoact_gpu.clusters._CONNECT_SECONDS", 1)
    with (
        pytest.raises(StoreError, match="no Dask scheduler answers"),
        cluster_client("tcp://127.0.0.1:9", None),
    ):
        pass
    assert time.monotonic() - start < 20


def test_the_command(layer, tmp_path):
    from typer.testing import CliRunner

    from topoact_gpu.cli import app
    from topoact_gpu.runs import load_run

    given = ["mapper", str(tmp_path / "acts.zarr"), "--eps", "6", "--intervals", "9", "--quiet"]
    for name, more in (("one", []), ("many", ["--workers", "2"])):
        result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / f"{name}.zarr"), *more])
        assert result.exit_code == 0, result.output
    one, many = (load_run(tmp_path / f"{name}.zarr").graph for name in ("one", "many"))
    assert one.rows.tobytes() == many.rows.tobytes()
    assert one.edges.tobytes() == many.edges.tobytes()
