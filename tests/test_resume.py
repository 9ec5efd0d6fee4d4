"""A run that is killed, damaged or met by another: it goes on, or says what is wrong."""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typer.testing import CliRunner

from topoact_gpu import DBSCAN, Mapper, UniformCover, create_store, open_store
from topoact_gpu.cli import app
from topoact_gpu.errors import StoreError
from topoact_gpu.job import open_job, progress_of, work_folder
from topoact_gpu.ledger import ClusterLedger, Ledger
from topoact_gpu.runs import load_run

ARRAYS = ("indptr", "rows", "edges", "jaccard", "node_interval", "node_lens")


@functools.cache
def activations(n_rows: int, n_cols: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 2.0 * rng.normal(size=(60, n_cols))
    return (centres[rng.integers(0, 60, n_rows)] + rng.normal(size=(n_rows, n_cols))).astype(
        np.float16
    )


def make_store(path: Path, n_rows: int, n_cols: int) -> Path:
    with create_store(path) as store:
        layer = store.create_layer("block", n_cols, "float16")
        for low in range(0, n_rows, 5000):
            layer.append(activations(n_rows, n_cols)[low : low + 5000])
    return path


def graph_bytes(path: Path) -> bytes:
    graph = load_run(path).graph
    return b"".join(getattr(graph, name).tobytes() for name in ARRAYS)


# --- SIGKILL -----------------------------------------------------------------------------------

# A process that has everything loaded, and forks one that runs the command: so that what is killed
# is at work, and not still importing. Each finished element is put down at once.
ZYGOTE = """
import os, sys
from topoact_gpu import DBSCAN, Mapper, UniformCover, ledger, open_store
import kneed, topoact_gpu.runs, topoact_gpu.bucketed
from topoact_gpu import job
ledger._FLUSH_SECONDS = job._TELL_SECONDS = 0.0

def fit(store, out):
    layer = open_store(store).layer("block")
    Mapper(cover=UniformCover(25, 0.3), clusterer=DBSCAN("knee"), memory_budget=2**24).fit(
        layer, run=out)

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            fit(*line.split())
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Zygote:
    def __enter__(self) -> Zygote:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def line(self) -> str:
        return self.process.stdout.readline().strip()

    def fit(self, store: Path, out: Path, kill_after: float | None = None) -> tuple[bool, float]:
        """Whether the fit ended by itself, and the seconds that took."""
        print(store, out, file=self.process.stdin, flush=True)
        child, start = int(self.line()), time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):  # it had just ended
                os.kill(child, signal.SIGKILL)
        status = int(self.line())
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
        return status == 0, time.monotonic() - start


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_killed_at_random_moments_the_graph_is_the_same(tmp_path):
    store = make_store(tmp_path / "acts.zarr", 60_000, 96)
    generator = random.Random(0)
    n_kills, stages = 0, set()
    with Zygote() as zygote:
        zygote.fit(store, tmp_path / "warm.zarr")
        whole, seconds = zygote.fit(store, tmp_path / "whole.zarr")
        assert whole
        jobs = 0
        while n_kills < 20:
            jobs += 1
            out, done = tmp_path / f"run-{jobs}.zarr", False
            while not done:
                done, _ = zygote.fit(store, out, generator.uniform(0.0, 0.35 * seconds))
                n_kills += not done
                if (found := progress_of(out)) is not None:
                    assert not found["running"]
                    stages.add(found.get("stage"))
            assert graph_bytes(out) == graph_bytes(tmp_path / "whole.zarr")
            assert not work_folder(out).exists()
    assert "cluster" in stages
    assert len(stages) >= 3, stages
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


# --- other faults ------------------------------------------------------------------------------


def fit(store: Path, out: Path, *, eps: float = 9.0, intervals: int = 6, **more) -> Mapper:
    mapper = Mapper(cover=UniformCover(intervals, 0.3), clusterer=DBSCAN(eps), memory_budget=2**24)
    return mapper.fit(open_store(store).layer("block"), run=out, **more)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "acts.zarr", 3000, 16)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data that count as larger than the budget; results are put down at once."""
    monkeypatch.setattr("topoact_gpu.mapper.resolve_budget", lambda budget: 60_000)
    monkeypatch.setattr("topoact_gpu.ledger._FLUSH_SECONDS", 0.0)


class Full:
    """``open`` on a disk that takes so many bytes."""

    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes

    def __call__(self, path, mode="r", *args, **options):
        file = builtins.open(path, mode, *args, **options)  # noqa: SIM115 - the caller's
        if "w" in mode:
            write = file.write

            def limited(data):
                self.left -= len(data)
                if self.left < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(data)

            file = Writing(file, limited)
        return file


class Writing:
    """A file whose writing is another function."""

    def __init__(self, file, write) -> None:
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("n_bytes", [0, 30_000, 90_000, 150_000])
def test_a_full_disk_loses_nothing_that_was_finished(
    store, tmp_path, streamed, monkeypatch, n_bytes
):
    fit(store, tmp_path / "whole.zarr")
    full = Full(n_bytes)
    with monkeypatch.context() as patch:
        for module in ("ledger", "buckets"):
            patch.setattr(f"topoact_gpu.{module}.open", full, raising=False)
        with pytest.raises(StoreError, match="the disk is full"):
            fit(store, tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr").exists()
    before = Ledger(work_folder(tmp_path / "run.zarr") / "units").names("")
    again = fit(store, tmp_path / "run.zarr")
    assert again.report_["resumed"].get("lens", False) == ("lens" in before)
    assert graph_bytes(tmp_path / "run.zarr") == graph_bytes(tmp_path / "whole.zarr")


def test_no_permission_is_said_in_one_line(store, tmp_path, monkeypatch):
    def refuse(path, mode="r", *args, **options):
        if "w" in mode or "a" in mode:
            raise PermissionError(errno.EACCES, "Permission denied")
        return builtins.open(path, mode, *args, **options)

    monkeypatch.setattr("topoact_gpu.job.open", refuse, raising=False)
    with pytest.raises(StoreError, match=r"writing .* failed: no permission"):
        fit(store, tmp_path / "run.zarr")


def test_a_store_that_is_deleted_while_it_is_read(store, tmp_path, streamed, monkeypatch):
    from topoact_gpu import pipeline

    fit(store, tmp_path / "whole.zarr")
    original = pipeline.prepare

    def deleting(*args, **options):
        store.rename(tmp_path / "elsewhere")
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "prepare", deleting)
        with pytest.raises(StoreError, match="missing or empty"):
            fit(store, tmp_path / "run.zarr")
    (tmp_path / "elsewhere").rename(store)
    assert fit(store, tmp_path / "run.zarr").report_["resumed"] == {"lens": True}
    assert graph_bytes(tmp_path / "run.zarr") == graph_bytes(tmp_path / "whole.zarr")


@pytest.mark.parametrize("harm", ["flip", "truncate"])
def test_a_damaged_chunk_of_the_store_is_named(store, tmp_path, harm):
    folder = store / "layers" / "block" / "activations" / "c"
    (chunk,) = [path for path in folder.rglob("*") if path.is_file()]
    held = bytearray(chunk.read_bytes())
    held[1000] ^= 1
    chunk.write_bytes(held if harm == "flip" else held[:500])
    with pytest.raises(StoreError, match=r"chunk 0 of layer 'block' .* truncated or damaged"):
        fit(store, tmp_path / "run.zarr")


def test_two_processes_cannot_compute_one_run(store, tmp_path):
    out = tmp_path / "run.zarr"
    with open_job(out, {"a": 1}, overwrite=False):
        assert progress_of(out)["running"]
        with pytest.raises(StoreError, match="another process is computing"):
            fit(store, out)
        with pytest.raises(StoreError, match="another process is computing"):
            fit(store, out, overwrite=True)
    assert not progress_of(out)["running"]


def test_other_settings_and_other_rows_are_named(store, tmp_path):
    out = tmp_path / "run.zarr"
    with pytest.raises(KeyboardInterrupt), open_job(out, {"n": {"a": 1}}, overwrite=False):
        raise KeyboardInterrupt
    with (
        pytest.raises(StoreError, match=r"begun with other settings: n\.a is 1 there, 2 here"),
        open_job(out, {"n": {"a": 2}}, overwrite=False),
    ):
        pass
    fit(store, out, overwrite=True)
    with pytest.raises(StoreError, match=r"clusterer.eps is 9.0 there, 8.0 here"):
        fit(store, out, eps=8.0)
    other = make_store(tmp_path / "other.zarr", 2000, 16)
    with pytest.raises(StoreError, match=r"rows.checksum is .* there, .* here"):
        fit(other, out)


def test_threads_and_memory_may_change(store, tmp_path, streamed):
    layer = open_store(store).layer("block")
    cover, clusterer = UniformCover(6, 0.3), DBSCAN(9.0)
    out = tmp_path / "run.zarr"
    Mapper(cover=cover, clusterer=clusterer, n_threads=1).fit(layer, run=out)
    again = Mapper(cover=cover, clusterer=clusterer, memory_budget="1GB").fit(layer, run=out)
    assert again.report_["parameters"]["n_threads"] == 1  # loaded, not computed


def test_a_clock_that_jumps_does_no_harm(store, tmp_path, streamed, monkeypatch):
    times = iter(1e9 * (1 if at % 2 else -1) * at for at in range(10**6))
    monkeypatch.setattr("time.time", lambda: next(times))
    fit(store, tmp_path / "run.zarr")
    assert load_run(tmp_path / "run.zarr").graph.n_nodes > 0


def test_progress_is_shown_for_an_interrupted_run(store, tmp_path, streamed, monkeypatch):
    out = tmp_path / "run.zarr"
    monkeypatch.setattr("topoact_gpu.job._TELL_SECONDS", 0.0)
    original, count = ClusterLedger.keep, iter(range(100))

    def stop(self, element, result):
        original(self, element, result)
        if next(count) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClusterLedger, "keep", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(store, out)
    shown = CliRunner().invoke(app, ["info", str(out), "--json"])
    found = json.loads(shown.stdout)
    assert (found["stage"], found["running"], found["done"]) == ("cluster", False, 2)
    assert 0 < found["share"] < 1
    assert "interrupted" in CliRunner().invoke(app, ["info", str(out)]).stdout
    again = fit(store, out)
    assert again.report_["resumed"] == {"lens": True, "intervals": 3}


def test_a_large_interval_goes_on_part_by_part(store, tmp_path, streamed, monkeypatch):
    monkeypatch.setattr("topoact_gpu.intervals._PIECE_PAIRS", 100_000)
    fit(store, tmp_path / "whole.zarr", intervals=2)
    out, original = tmp_path / "run.zarr", Ledger.put

    def stop(self, name, **arrays):
        original(self, name, **arrays)
        if name.startswith("part-") and name.endswith("-3"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "put", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(store, out, intervals=2)
    done = Ledger(work_folder(out) / "units").names("part-")
    assert len(done) >= 4
    put: list[str] = []
    monkeypatch.setattr(
        Ledger,
        "put",
        lambda self, name, **arrays: (put.append(name), original(self, name, **arrays)),
    )
    fit(store, out, intervals=2)
    assert put
    assert not set(done) & set(put)
    assert graph_bytes(out) == graph_bytes(tmp_path / "whole.zarr")


def test_units_are_whole_or_not_there(tmp_path):
    ledger = Ledger(tmp_path / "units")
    ledger.put("a", x=np.arange(5), y="text")
    path = tmp_path / "units" / "a.unit"
    held = path.read_bytes()
    for at in range(0, len(held), 7):
        path.write_bytes(held[:at])
        assert ledger.get("a") is None
        flipped = bytearray(held)
        flipped[at] ^= 16
        path.write_bytes(flipped)
        assert ledger.get("a") is None
    path.write_bytes(held)
    found = ledger.get("a")
    assert found is not None
    assert found["x"].tolist() == [0, 1, 2, 3, 4]
    assert ledger.get("b") is None


# --- everything together -----------------------------------------------------------------------


class Killed(BaseException):
    """What stands for the end of the process."""


class Torture(RuleBasedStateMachine):
    """Start, stop at any write, damage what is there, go on, change parameters; in any order."""

    @initialize()
    def make(self) -> None:
        self.folder = Path(os.environ["TOPOACT_TORTURE"])
        shutil.rmtree(self.folder / "here", ignore_errors=True)
        (self.folder / "here").mkdir()
        self.out = self.folder / "here" / "run.zarr"
        self.begun: float | None = None
        """eps of the run that is under way."""

    def run(self, eps: float, overwrite: bool, stop_after: int | None) -> str:
        """What became of a fit: done, killed, or refused."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("topoact_gpu.mapper.resolve_budget", lambda budget: 60_000)
            patch.setattr("topoact_gpu.ledger._FLUSH_SECONDS", 0.0)
            if stop_after is not None:
                left = [stop_after]
                original = os.replace

                def replace(*args):
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    return original(*args)

                patch.setattr(os, "replace", replace)
            try:
                fit(self.folder / "acts.zarr", self.out, eps=eps, overwrite=overwrite)
            except Killed:
                return "killed"
            except StoreError as error:
                return "refused" if "other settings" in str(error) else str(error)
        return "done"

    @rule(
        eps=st.sampled_from([8.0, 9.0]),
        overwrite=st.sampled_from([False, False, True]),
        stop_after=st.one_of(st.none(), st.integers(0, 40)),
    )
    def start(self, eps: float, overwrite: bool, stop_after: int | None) -> None:
        there = None
        if self.out.exists():
            there = load_run(self.out).report["clustering"]["eps"]
        result = self.run(eps, overwrite, stop_after)
        if overwrite:
            assert result in ("done", "killed")
        elif there is not None:  # complete: loaded, or refused
            assert result == ("done" if there == eps else "refused")
        else:
            other = self.begun is not None and self.begun != eps
            assert (result == "refused") == other, (result, self.begun, eps)
        if result == "done":
            assert graph_bytes(self.out) == graph_bytes(self.folder / f"whole-{eps}.zarr")
        found = progress_of(self.out)
        self.begun = None if found is None else found["settings"]["clusterer"]["eps"]

    @rule(seed=st.integers(0, 2**16), cut=st.booleans())
    def damage(self, seed: int, cut: bool) -> None:
        """Harm a file of the unfinished work, but for the one that says what it is."""
        paths = [p for p in sorted(work_folder(self.out).rglob("*")) if p.is_file()]
        paths = [p for p in paths if p.name not in ("job.json", "lock") and p.stat().st_size]
        paths = [p for p in paths if p.parent.name in ("units", "scratch")]
        if paths:
            generator = random.Random(seed)
            path = generator.choice(paths)
            held = bytearray(path.read_bytes())
            held[generator.randrange(len(held))] ^= 1 << generator.randrange(8)
            path.write_bytes(held[: len(held) // 2] if cut else held)

    @invariant()
    def what_is_there_is_whole(self) -> None:
        if getattr(self, "out", None) is not None and self.out.exists():
            eps = load_run(self.out).report["clustering"]["eps"]
            assert graph_bytes(self.out) == graph_bytes(self.folder / f"whole-{eps}.zarr")


def test_torture(tmp_path, monkeypatch):
    make_store(tmp_path / "acts.zarr", 1500, 8)
    for eps in (8.0, 9.0):
        fit(tmp_path / "acts.zarr", tmp_path / f"whole-{eps}.zarr", eps=eps)
    monkeypatch.setenv("TOPOACT_TORTURE", str(tmp_path))
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Torture,
        settings=settings(
            max_examples=12, stateful_step_count=8, suppress_health_check=list(HealthCheck)
        ),
    )
