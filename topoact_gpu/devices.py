"""The backend of a device, opened for one fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from topoact_gpu.backend import Backend
from topoact_gpu.device import Team, single_threaded_blas

__all__ = ["open_backend"]


@contextmanager
def open_backend(device: str, n_threads: int) -> Iterator[Backend]:
    """The backend of a resolved device ("cpu" or "cuda"), until the block ends."""
    with single_threaded_blas(), Team(n_threads) as team:
        if device == "cuda":
            from topoact_gpu.cuda import CudaBackend

            yield CudaBackend(team)
        else:
            from topoact_gpu.cpu import CpuBackend

            yield CpuBackend(team)
