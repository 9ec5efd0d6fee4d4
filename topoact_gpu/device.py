"""Threads and memory of this machine."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from topoact_gpu.errors import ParameterError

__all__ = [
    "Stopped",
    "Team",
    "available_threads",
    "interpreted",
    "resolve_budget",
    "resolve_device",
    "resolve_threads",
    "single_threaded_blas",
    "stopped_by",
]

T = TypeVar("T")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS.update({f"{unit}i": 1024**power for power, unit in enumerate("kmgt", 1)})


def available_threads() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def interpreted() -> bool:
    """Whether GPU kernels run in Triton's interpreter, on any processor (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET", "") == "1"


def resolve_device(device: str) -> str:
    """Name of the device that runs: "cpu" or "cuda"; "auto" takes a GPU where there is one.

    Raises
    ------
    ParameterError
        "cuda" is asked for and is not to be had (nothing falls back silently), or an unknown
        name.

    Notes
    -----
    torch is imported only where "cuda" is asked for or a driver is there. In Triton's interpreter
    "cuda" runs on CPU tensors, and "auto" is "cpu".
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ParameterError(f'device must be "auto", "cpu" or "cuda", got {device!r}')
    if device == "cpu" or (device == "auto" and (interpreted() or not _has_driver())):
        return "cpu"
    missing = _missing_for_cuda()
    if missing and device == "cuda":
        raise ParameterError(
            f'device="cuda" needs {missing}; use device="auto" or "cpu", or see the README'
        )
    return "cpu" if missing else "cuda"


def _has_driver() -> bool:
    """Whether a CUDA driver may be there, without loading anything."""
    return os.name == "nt" or os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")


def _missing_for_cuda() -> str:
    """What the GPU backend lacks on this machine; empty if nothing."""
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package}: pip install 'topoact-gpu[gpu]'"
    if interpreted():
        return ""
    import torch

    if not torch.cuda.is_available():
        return f"a CUDA device that torch {torch.__version__} can use, and there is none"
    return ""


def resolve_threads(n_threads: Any) -> int:
    """Number of threads to use (int); None means all processors of this process."""
    if n_threads is None:
        return available_threads()
    whole = isinstance(n_threads, int | np.integer) and not isinstance(n_threads, bool)
    if not whole or n_threads < 1:
        raise ParameterError(
            f"n_threads must be a whole number of at least 1 or None, got {n_threads!r}; "
            "leave it out to use every processor"
        )
    return int(n_threads)


def resolve_budget(memory_budget: int | float | str | None) -> int:
    """Bytes that may be used; None means 60% of what is free now.

    Examples
    --------
    >>> resolve_budget("4GB")
    4000000000
    """
    if memory_budget is None:
        return int(0.6 * _free_bytes())
    budget = _parse_bytes(memory_budget)
    if budget < 2**24:
        raise ParameterError(
            f"memory_budget must be at least 16 MiB, got {memory_budget!r}; "
            'give bytes or a size such as "4GB"'
        )
    return budget


def _parse_bytes(size: int | float | str) -> int:
    text = str(size).strip().lower().removesuffix("b")
    number = text.rstrip("kmgti ")
    try:
        return int(float(number) * _UNITS[text[len(number) :].strip()])
    except (ValueError, KeyError, OverflowError):
        raise ParameterError(
            f'memory_budget must be bytes or a size such as "4GB" or "512MiB", got {size!r}'
        ) from None


def _free_bytes() -> int:
    """Memory that can be had without swapping."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 2**32


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """One BLAS thread for the calls within: our own threads do the parallel work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


class Stopped(BaseException):
    """Work was given up because `stopped_by` said so; nothing is wrong with it."""


_ASKED: ContextVar[threading.Event | None] = ContextVar("topoact_stop", default=None)


@contextmanager
def stopped_by(asked: threading.Event) -> Iterator[None]:
    """Teams of this thread give up with `Stopped` soon after the event is set, as with Ctrl-C."""
    before = _ASKED.set(asked)
    try:
        yield
    finally:
        _ASKED.reset(before)


class Team:
    """A fixed number of threads that run compiled code, and a flag that stops them.

    The calling thread only waits, in short steps, so that Ctrl-C is noticed at once: the
    flag is raised, the threads leave their loops, and the interruption goes on upwards.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.stop = np.zeros(1, np.int64)
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()

    def __enter__(self) -> Team:
        self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="topoact")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.stop[0] = 1
        assert self._pool is not None
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def solo(self) -> Team:
        """A team of one that runs in the calling thread and shares the stop flag."""
        alone = Team(1)
        alone.stop = self.stop
        return alone

    def each(self, work: Callable[[int], Any]) -> None:
        """Run ``work(thread)`` once on every thread; wait for all."""
        self.map(work, range(self.n_threads))

    def map(
        self,
        work: Callable[[Any], T],
        items: Iterable[Any],
        done: Callable[[int], None] | None = None,
    ) -> list[T]:
        """Results of ``work`` on each item, in the items' order; begun in that order."""
        if self._pool is None:
            results = []
            for count, item in enumerate(items, 1):
                results.append(work(item))
                if done is not None:
                    done(count)
            return results
        futures = [self._pool.submit(work, item) for item in items]
        try:
            self._watch(futures, done)
        except BaseException:
            self.stop[0] = 1
            for future in futures:
                future.cancel()
            wait(futures)
            raise
        return [future.result() for future in futures]

    def _watch(self, futures: list[Future[T]], done: Callable[[int], None] | None) -> None:
        pending = set(futures)
        asked = _ASKED.get()
        while pending:
            if asked is not None and asked.is_set():
                raise Stopped
            finished, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            if finished and done is not None:
                done(len(futures) - len(pending))
