"""Time, CPU and memory of a contestant, measured from outside its process.

A contestant runs alone in a fresh process: it loads the data, warms up on some rows, and says
that it is ready; what it holds then is the input's share. From 'go' to 'done' nobody watches it:
this process sleeps, so that no contestant shares its processors with us. Afterwards the kernel
says how high its memory went. Where the kernel can't (the mark couldn't be reset, or there were
child processes), memory comes from a run of its own, watched in ``/proc``.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

__all__ = [
    "ContestantError",
    "Sample",
    "append_result",
    "machine",
    "run_contestant",
    "run_once",
    "spread",
]

ROOT = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
POLL_SECONDS = 0.01
TAIL_LINES = 12


class ContestantError(RuntimeError):
    """A contestant that died, ran out of time, or said no."""


@dataclass
class Sample:
    """One measured run.

    Attributes
    ----------
    wall_s, cpu_s : float
        From 'go' to 'done': elapsed time, and CPU time of the process tree.
    baseline_bytes, peak_bytes : int
        Resident size when warmed up with the input, and the highest one while running.
    memory_from : {"high-water mark", "watched run", ""}
        Who says so: the kernel, of the run that was timed; samples of the process tree in a run
        of its own; nobody, and then ``peak_bytes`` means nothing.
    said : dict
        What the contestant reports of itself: versions, implementation, anything else.
    """

    wall_s: float
    cpu_s: float
    baseline_bytes: int
    peak_bytes: int
    memory_from: str
    said: dict = field(default_factory=dict)

    @property
    def beyond_input_bytes(self) -> int:
        return max(0, self.peak_bytes - self.baseline_bytes)


def thread_environment(n_threads: int, extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a contestant: the same number of threads for every library in it."""
    variables = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
    return {**os.environ, **variables, **(extra or {})}


def run_contestant(spec: dict, **how) -> Sample:
    """Time and memory of a contestant: one run, or two where its memory has to be watched.

    The answer that ``spec["out"]`` names is that of the run that was timed; see `run_once`.
    """
    timed = run_once(spec, **how)
    if timed.memory_from:
        return timed
    watched = run_once({**spec, "out": None}, watch=True, **how)
    return replace(
        timed,
        baseline_bytes=watched.baseline_bytes,
        peak_bytes=watched.peak_bytes,
        memory_from=watched.memory_from,
    )


def run_once(
    spec: dict,
    *,
    python: str = sys.executable,
    env: dict[str, str] | None = None,
    folder: Path = ROOT,
    timeout: float = 3600.0,
    watch: bool = False,
) -> Sample:
    """Run ``benchmarks.contestant`` with a spec and measure it.

    Parameters
    ----------
    spec : dict
        See `benchmarks.contestant`; needs ``threads``.
    python : str
        The interpreter of the contestant's environment.
    env : dict of str, optional
        More environment variables.
    folder : Path
        Where ``benchmarks`` is imported from, and ours too unless it is installed.
    timeout : float
        Seconds for everything, loading included.
    watch : bool
        Sample the memory of the process tree meanwhile; the time is then no figure to show.

    Raises
    ------
    ContestantError
        With the last lines the process printed.
    """
    # A file, not a pipe: emptying a pipe would wake this process whenever a library prints.
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        child = subprocess.Popen(
            [python, "-m", "benchmarks.contestant", json.dumps(spec)],
            cwd=folder,
            env=thread_environment(spec["threads"], {"PYTHONPATH": str(folder), **(env or {})}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        clock = threading.Timer(timeout, _kill_group, [child.pid])
        clock.start()
        try:
            return _measured(child, watch)
        except _Silence:
            child.wait()
            raise ContestantError(f"exit code {child.returncode}: {_tail(errors)}") from None
        finally:
            clock.cancel()
            _end(child)


class _Silence(Exception):
    """The contestant closed its end of the pipe."""


def _tail(file) -> str:
    file.seek(0)
    return "".join(file.readlines()[-TAIL_LINES:]).strip()


def _end(child: subprocess.Popen) -> None:
    _kill_group(child.pid)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        # A word that a dead contestant never read is still in the buffer.
        with suppress(BrokenPipeError):
            pipe.close()


def _measured(child: subprocess.Popen, watch: bool) -> Sample:
    said = _hear(child)
    baseline, reaped = resident(child.pid), reaped_faults(child.pid)
    cpu = tree_cpu(child.pid)
    with _RiseWatcher(child.pid) if watch else nullcontext() as watcher:
        _say(child, "go")
        done = _hear(child)
    cpu = tree_cpu(child.pid) - cpu
    alone = len(tree(child.pid)) == 1 and reaped_faults(child.pid) == reaped
    marked = done["high_water_reset"] and (alone or watch)
    peak = max(baseline, high_water(child.pid) if marked else 0)
    memory_from = "high-water mark" if marked else ""
    if watcher is not None:
        peak, memory_from = max(peak, baseline + watcher.rise), "watched run"
    _say(child, "save")
    said.update(_hear(child))
    return Sample(done["wall_s"], cpu, baseline, peak, memory_from, said)


def _hear(child: subprocess.Popen) -> dict:
    line = child.stdout.readline()
    if not line:
        raise _Silence
    return json.loads(line)


def _say(child: subprocess.Popen, word: str) -> None:
    try:
        child.stdin.write(word + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        raise _Silence from None


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class _RiseWatcher(threading.Thread):
    """How far a process tree's memory rises within a ``with``, sampled every 10 ms."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.rise = 0
        self.over = threading.Event()
        self.baseline = tree_memory(pid)

    def run(self) -> None:
        while not self.over.wait(POLL_SECONDS):
            self.rise = max(self.rise, tree_memory(self.pid) - self.baseline)

    def __enter__(self) -> _RiseWatcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        for children in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                queue.extend(map(int, children.read_text().split()))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def tree_memory(pid: int) -> int:
    """Resident bytes of a process tree, pages that its processes share counted once."""
    return sum(_proc_field(f"/proc/{each}/smaps_rollup", "Pss:") for each in tree(pid))


def resident(pid: int) -> int:
    """Resident bytes of one process."""
    return _proc_field(f"/proc/{pid}/status", "VmRSS:")


def high_water(pid: int) -> int:
    """Peak resident bytes of one process since its mark was last reset."""
    return _proc_field(f"/proc/{pid}/status", "VmHWM:")


def _proc_field(path: str, name: str) -> int:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0


def reaped_faults(pid: int) -> int:
    """Page faults of children waited for: more of them means that a child came and went."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[8])


def tree_cpu(pid: int) -> float:
    """User and system seconds of a process tree, reaped children included."""
    ticks = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> dict:
    """CPU, memory, kernel and commit: what a figure depends on and no names of machines."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_bytes": _proc_field("/proc/meminfo", "MemTotal:"),
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "modified": bool(_git("status", "--porcelain", "--", "topoact_gpu", "kernels")),
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def append_result(results: Path, benchmark: str, record: dict) -> dict:
    """Add one JSON line to ``<results>/<benchmark>.jsonl``."""
    results.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = {"benchmark": benchmark, "time": now, **record}
    with (results / f"{benchmark}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    return line


def run_name() -> str:
    """A name for the records of one run, in the order of time."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f"-{os.getpid()}"


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest, largest."""
    return statistics.median(values), min(values), max(values)
