"""The backend of a device, opened for one fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from topoact_gpu.device import Team, resolve_threads, single_threaded_blas

if TYPE_CHECKING:
    from topoact_gpu.backend import Backend

__all__ = ["backend_or_cpu", "open_backend"]


@contextmanager
def open_backend(device: str, n_threads: int, client: Any = None) -> Iterator[Backend]:
    """The backend of a resolved device ("cpu" or "cuda"), until the block ends.

    ``client``: a Dask client, whose workers then do most of the work.
    """
    with single_threaded_blas(), Team(n_threads) as team:
        if client is not None:
            from topoact_gpu.distributed import DaskBackend

            yield DaskBackend(team, client, device)
        elif device == "cuda":
            from topoact_gpu.cuda import CudaBackend

            yield CudaBackend(team)
        else:
            from topoact_gpu.cpu import CpuBackend

            yield CpuBackend(team)


@contextmanager
def backend_or_cpu(backend: Backend | None, n_threads: int | None = None) -> Iterator[Backend]:
    """The backend that is given, or the processor with so many threads (None: all of them)."""
    if backend is not None:
        yield backend
        return
    with open_backend("cpu", resolve_threads(n_threads)) as own:
        yield own
