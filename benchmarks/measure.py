"""Time, CPU and memory of a contestant, measured from outside its process.

A contestant runs alone in a fresh process: it loads the data, warms up on a few rows, and says
that it is ready; what it holds then is the input's share. From 'go' to 'done' the whole process
tree is watched in ``/proc``.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["ContestantError", "Sample", "append_result", "machine", "run_contestant", "spread"]

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
    said : dict
        What the contestant reports of itself: versions, implementation, anything else.
    """

    wall_s: float
    cpu_s: float
    baseline_bytes: int
    peak_bytes: int
    said: dict = field(default_factory=dict)

    @property
    def beyond_input_bytes(self) -> int:
        return max(0, self.peak_bytes - self.baseline_bytes)


def thread_environment(n_threads: int, extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a contestant: the same number of threads for every library in it."""
    variables = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
    return {**os.environ, **variables, "PYTHONPATH": str(ROOT), **(extra or {})}


def run_contestant(
    spec: dict, *, python: str = sys.executable, env: dict[str, str] | None = None, timeout=3600.0
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
    timeout : float
        Seconds for everything, loading included.

    Raises
    ------
    ContestantError
        With the last lines the process printed.
    """
    child = subprocess.Popen(
        [python, "-m", "benchmarks.contestant", json.dumps(spec)],
        cwd=ROOT,
        env=thread_environment(spec["threads"], env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    errors: list[str] = []
    drain = threading.Thread(target=lambda: errors.extend(child.stderr), daemon=True)
    drain.start()
    clock = threading.Timer(timeout, _kill_group, [child.pid])
    clock.start()
    try:
        return _measured(child)
    except _Silence:
        child.wait()
        drain.join(2)
        tail = "".join(errors[-12:]).strip()
        raise ContestantError(f"exit code {child.returncode}: {tail}") from None
    finally:
        clock.cancel()
        _kill_group(child.pid)
        child.wait()
        drain.join(2)
        for pipe in (child.stdin, child.stdout, child.stderr):
            # A word that a dead contestant never read is still in the buffer.
            with suppress(BrokenPipeError):
                pipe.close()


class _Silence(Exception):
    """The contestant closed its end of the pipe."""


def _measured(child: subprocess.Popen) -> Sample:
    said = _hear(child)
    baseline = tree_resident(child.pid)
    cpu = tree_cpu(child.pid)
    peak = _PeakWatcher(child.pid)
    peak.start()
    _say(child, "go")
    done = _hear(child)
    highest = max(peak.stop(), high_water(child.pid) if done["high_water_reset"] else 0)
    cpu = tree_cpu(child.pid) - cpu
    _say(child, "save")
    said.update(_hear(child))
    return Sample(done["wall_s"], cpu, baseline, max(highest, baseline), said)


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


class _PeakWatcher(threading.Thread):
    """The highest resident size of a process tree, sampled every 10 ms."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(POLL_SECONDS):
            self.peak = max(self.peak, tree_resident(self.pid))

    def stop(self) -> int:
        self.over.set()
        self.join()
        return self.peak


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


def tree_resident(pid: int) -> int:
    """Resident bytes of a process tree; shared pages are counted once where it has children."""
    pids = tree(pid)
    if len(pids) == 1:
        return _proc_field(f"/proc/{pid}/status", "VmRSS:")
    return sum(_proc_field(f"/proc/{each}/smaps_rollup", "Pss:") for each in pids)


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
