"""A Dask client: of a scheduler that runs somewhere, or of processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from topoact_gpu.errors import ParameterError, StoreError

__all__ = ["cluster_client"]

_CONNECT_SECONDS = 15


@contextmanager
def cluster_client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """A client for a scheduler's address, or of so many workers started here; None for neither.

    Parameters
    ----------
    scheduler : str, optional
        Such as ``tcp://host:8786``.
    workers : int, optional
        Processes of one thread each. They are not held to a limit of Dask's: what a worker may
        use is ``memory_budget``.

    Raises
    ------
    ParameterError
        Both are given, there is no such number of workers, or Dask is not installed.
    StoreError
        Nothing answers at the address.
    """
    if scheduler is None and workers is None:
        yield None
        return
    if scheduler is not None and workers is not None:
        raise ParameterError("give either a scheduler or a number of workers, not both")
    if workers is not None and workers < 1:
        raise ParameterError(f"workers must be a whole number of at least 1, got {workers}")
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ParameterError(
            "a cluster needs Dask; pip install 'topoact-gpu[distributed]'"
        ) from None
    if scheduler is None:
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=":0"
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"no Dask scheduler answers at {scheduler}; start one with: dask scheduler"
        ) from error
    with client:
        yield client
