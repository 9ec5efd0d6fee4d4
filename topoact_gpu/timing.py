"""Seconds and peak memory of each stage, for the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Stages", "peak_bytes"]


def peak_bytes() -> int | None:
    """High-water mark of this process's resident memory; None where it can't be had."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Stages:
    """Records ``{"seconds": …, "peak_bytes": …}`` for each stage, in order."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, float | int | None]] = {}
        self.current = ""
        """The stage that runs now."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside.

        ``peak_bytes`` is the process's high-water mark when the stage ended, so a stage that
        shows more than the one before has raised it.
        """
        start = time.perf_counter()
        self.current = name
        yield
        seconds = time.perf_counter() - start
        self.records[name] = {"seconds": seconds, "peak_bytes": peak_bytes()}
