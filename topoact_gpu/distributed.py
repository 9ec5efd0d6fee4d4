"""The backend that hands work to the workers of a Dask cluster.

Blocks of rows (lens, neighbours, parts on scratch disk) and elements of the cover are tasks. No
rows pass through the scheduler: workers read the store, the parts and the shared arrays
themselves, and put labels down where this process reads them. A worker that is lost costs the
tasks it was at; Dask runs them again.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.bucketed import Bucketed
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError, DataError, ParameterError, StoreError
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.ledger import Ledger, results_from_arrays
from topoact_gpu.resident import Resident, for_block, written
from topoact_gpu.rows import Rows
from topoact_gpu.streamed import Streamed
from topoact_gpu.worker import (
    Source,
    Task,
    begin_unit,
    cluster_unit,
    finish_unit,
    on_block,
    part_unit,
    save_shared,
    sees,
)

if TYPE_CHECKING:
    from distributed import Client, Future

    from topoact_gpu.cover import CoverElements

__all__ = ["DaskBackend"]

T = TypeVar("T")
_PARTS_A_WORKER = 4
_SPLIT_ROWS = 10_000
"""An element of fewer rows is not worth several tasks."""
_UNITS_A_WORKER = 24
"""Small elements are put together so that about so many units come to each worker."""


class DaskBackend(CpuBackend):
    """A cluster of workers; what has no version for them runs in this process.

    Parameters
    ----------
    team : Team
        Threads of this process.
    client : distributed.Client
    device : "cpu" or "cuda"
        What the workers cluster on.
    """

    def __init__(self, team: Team, client: Client, device: str) -> None:
        super().__init__(team)
        self.client, self.device = client, device

    @property
    def n_workers(self) -> int:
        """Threads of all workers that there are now; at least 1."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return max(sum(worker["nthreads"] for worker in workers), 1)

    def hold(self, rows: Rows, budget_bytes: int) -> AbstractContextManager[Resident]:
        """Rows that workers can open; rows in memory are written to scratch disk first."""
        return self._held(rows, budget_bytes)

    @contextmanager
    def _held(self, rows: Rows, budget_bytes: int) -> Iterator[Resident]:
        if rows.recipe is not None:
            yield Remote(rows.from_storage(), budget_bytes, self)
            return
        with tempfile.TemporaryDirectory(prefix="topoact-") as folder:
            self._check_seen(Path(folder))
            copy = written(rows, Path(folder) / "rows.bin")
            yield Remote(copy, budget_bytes, self)

    def _check_seen(self, folder: Path) -> None:
        """Raise unless all workers see what is written to a folder."""
        token, path = uuid.uuid4().hex, folder / "seen"
        path.write_text(token, encoding="utf-8")
        with self._talking():
            blind = [
                name for name, yes in self.client.run(sees, str(path), token).items() if not yes
            ]
        path.unlink()
        if blind:
            raise StoreError(
                f"the workers must see the scratch folder {folder}, but {len(blind)} do not "
                f"(the first is {blind[0]}); save the run on a disk that all of them share, or "
                "set TMPDIR to one"
            )

    def spread(self, data: Resident, elements: CoverElements, folder: Path) -> Resident:
        """Rows are written to a folder, cell by cell, by the workers."""
        self._check_seen(folder)
        return super().spread(data, elements, folder)

    def cluster(
        self,
        prepared: Prepared,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        eps: NDArray[np.float64],
        min_samples: int,
        budget_bytes: int,
        todo: NDArray[np.int64],
        keep: Callable[[int, Clustered], None],
        pieces: Ledger | None = None,
    ) -> None:
        """DBSCAN in elements of a cover: units of them go to the workers, largest first."""
        data = prepared.data
        assert isinstance(data, Bucketed)
        assert isinstance(data.source, Remote)
        folder, remote = data.buckets.folder, data.source
        cell = data.buckets.cells.cell
        save_shared(folder, indptr=indptr, rows=rows, eps=eps, cell=cell, norms=prepared.norms)
        task = Task(
            remote.opened, folder, data.buckets.parts, data.starts.step, prepared.frame,
            prepared.metric, min_samples, budget_bytes, self.device,
        )  # fmt: skip
        results = Ledger(folder / "results")
        left = set(todo.tolist())
        for name in results.names("clusters-"):
            _take(results, name, left, keep)
        units = _units(np.diff(indptr), np.array(sorted(left), np.int64), self.n_workers)
        n_parts = 0 if self.device == "cuda" else _PARTS_A_WORKER * self.n_workers
        large = _large(np.diff(indptr), todo, self.n_workers) if n_parts else set()
        work = partial(_submit_units, self.client, task, units, large, n_parts)
        for name in self._completed(work):
            _take(results, name, left, keep)
        if left:
            raise StoreError(
                f"the results of {len(left):,} elements are not to be read in {folder}; "
                "do the workers write to the same disk? Start again: the rest is kept"
            )

    def _completed(self, submit: Callable[[], list[Future]]) -> Iterator[Any]:
        """Results of tasks, as they are done; the others are given up if anything goes wrong."""
        from distributed import as_completed

        futures: list[Future] = []
        with self._talking():
            try:
                futures = submit()
                for future in as_completed(futures):
                    result = future.result()
                    future.release()
                    yield result
            except BaseException:
                if self.client.status == "running":
                    self.client.cancel(futures)
                raise

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Say in one line what went wrong with the cluster."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            yield
        except KilledWorker as error:
            raise CapacityError(
                f"workers died again and again at the same work: {str(error)[:200]}; do they have "
                "the memory? Lower memory_budget, and start again: what is done is kept"
            ) from error
        except (StoreError, DataError, ParameterError, CapacityError):
            raise
        except (OSError, CancelledError, TimeoutError) as error:
            raise StoreError(
                f"the cluster at {self.client.scheduler and self.client.scheduler.address} is "
                f"gone ({type(error).__name__}); start it, and the same command again: in a run "
                "that is saved, what is done is kept"
            ) from error

    def describe(self) -> dict[str, Any]:
        """Workers, and what ran."""
        described = super().describe() | {"device": self.device}
        scheduler = self.client.scheduler
        return described | {
            "workers": self.n_workers,
            "scheduler": scheduler.address if scheduler is not None else "",
        }


def _submit_units(
    client: Client, task: Task, units: list[list[int]], large: set[int], n_parts: int
) -> list[Future]:
    """Tasks for units of elements, the largest first; a large element becomes several tasks."""
    shared = client.submit(_same, task, pure=False)
    futures = []
    for at, unit in enumerate(units):
        submit = partial(client.submit, pure=False, priority=-at)
        name = f"clusters-{unit[0]:08d}"
        if unit[0] not in large:
            futures.append(submit(cluster_unit, shared, unit, name))
            continue
        begun = submit(begin_unit, shared, unit[0])
        parts = [submit(part_unit, shared, unit[0], i, n_parts, begun) for i in range(n_parts)]
        futures.append(submit(finish_unit, shared, unit[0], n_parts, name, parts))
    return futures


def _large(sizes: NDArray[np.int64], todo: NDArray[np.int64], n_workers: int) -> set[int]:
    """Elements that one worker alone would still be at when the others are done."""
    pairs = sizes[todo].astype(np.float64) ** 2
    wanted = (pairs > pairs.sum() / (2 * n_workers)) & (sizes[todo] > _SPLIT_ROWS)
    return set(todo[wanted].tolist()) if n_workers > 1 else set()


def _same(task: Task) -> Task:
    """The task as a task of its own: sent once, and made again where a worker is lost."""
    return task


def _take(
    results: Ledger, name: str, left: set[int], keep: Callable[[int, Clustered], None]
) -> None:
    """Hand over what a unit holds of the elements that are left."""
    found = results.get(name)
    if found is None:
        return
    for element, result in results_from_arrays(found).items():
        if element in left:
            keep(element, result)
            left.discard(element)


def _units(sizes: NDArray[np.int64], todo: NDArray[np.int64], n_workers: int) -> list[list[int]]:
    """Elements for one task each, with about equally many pairs where they are small."""
    pairs = sizes[todo].astype(np.float64) ** 2
    most = pairs.sum() / (_UNITS_A_WORKER * n_workers)
    units: list[list[int]] = []
    room = 0.0
    for at in np.argsort(-pairs, kind="stable").tolist():
        if pairs[at] > room or not units:
            units.append([])
            room = most
        units[-1].append(int(todo[at]))
        room -= pairs[at]
    return units


class Remote(Streamed):
    """Rows that workers read, block by block; this process may read them as well."""

    def __init__(self, rows: Rows, budget_bytes: int, backend: DaskBackend) -> None:
        super().__init__(rows, budget_bytes)
        assert rows.recipe is not None
        self.opened, self.backend = Source(uuid.uuid4().hex, rows.recipe), backend

    def _results(
        self, function: Callable[[int, NDArray[Any], Team], T], starts: list[int], team: Team
    ) -> Iterator[tuple[int, T]]:
        """Results for blocks, as they are done; sums kept from block to block stay here."""
        if hasattr(function, "__self__"):
            yield from super()._results(function, starts, team)
            return
        yield from self.backend._completed(partial(self._submit, function, starts))

    def _submit(self, function: Any, starts: list[int]) -> list[Future]:
        client, step, n_rows = self.backend.client, self.starts.step, self.rows.n_rows
        source = client.submit(_same, self.opened, pure=False)
        ends = [min(start + step, n_rows) for start in starts]
        return [
            client.submit(on_block, source, for_block(function, start, end), start, end, pure=False)
            for start, end in zip(starts, ends, strict=True)
        ]
