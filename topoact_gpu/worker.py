"""What a worker of a cluster does: blocks of rows, and elements of a cover.

A worker opens rows itself and reads what is shared from a folder that all of them see; it is told
only which part of the work is its own, and answers with what is small.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.bucketed import Bucketed
from topoact_gpu.buckets import Buckets, Part
from topoact_gpu.device import Team, single_threaded_blas
from topoact_gpu.intervals import (
    Crew,
    begin_element,
    finish_element,
    local_view,
    part_of_element,
)
from topoact_gpu.kernels.cover.cells import Cells
from topoact_gpu.kernels.dbscan.filters import choose_filter
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.ledger import Ledger, results_to_arrays
from topoact_gpu.resident import float_dtype
from topoact_gpu.rows import Rows
from topoact_gpu.streamed import Streamed

__all__ = [
    "Source",
    "Task",
    "begin_unit",
    "cluster_unit",
    "finish_unit",
    "on_block",
    "part_unit",
    "save_shared",
    "sees",
]

_MOST_OPEN = 4
_OPEN: OrderedDict[str, Rows] = OrderedDict()


@dataclass(frozen=True)
class Source:
    """How a worker opens the rows; ``token`` stands for them."""

    token: str
    recipe: Callable[[], Rows]

    def open(self) -> Rows:
        """The rows; a process opens them once."""
        if self.token not in _OPEN:
            _OPEN[self.token] = self.recipe().from_storage()
            while len(_OPEN) > _MOST_OPEN:
                _OPEN.popitem(last=False)
        return _OPEN[self.token]


def sees(path: str, token: str) -> bool:
    """Whether this process reads what the other wrote to a file."""
    try:
        return Path(path).read_text(encoding="utf-8") == token
    except OSError:
        return False


def on_block(
    source: Source, function: Callable[[int, NDArray[Any], Team], Any], start: int, stop: int
) -> tuple[int, Any]:
    """``start`` and ``function(start, block, team)`` for rows up to ``stop``, on one thread."""
    rows = source.open()
    block = rows.block(start, stop).astype(float_dtype(rows.dtype), copy=False)
    with single_threaded_blas():
        return start, function(start, block, Team(1))


@dataclass(frozen=True)
class Task:
    """What clustering the elements of a cover needs, beside the arrays of `save_shared`.

    Attributes
    ----------
    source : Source
    folder : Path
        Where the parts and the shared arrays are.
    parts : list of Part
    step : int
        Rows of a block.
    frame, metric
        As in `Prepared`; the filter is the worker's own choice.
    min_samples, budget_bytes : int
    device : "cpu" or "cuda"
    """

    source: Source
    folder: Path
    parts: list[Part]
    step: int
    frame: Frame
    metric: str
    min_samples: int
    budget_bytes: int
    device: str

    def shared(self, name: str) -> NDArray[Any]:
        """A shared array, mapped."""
        found: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return found

    def prepared(self) -> Prepared:
        """Rows in their parts, with norms where the metric needs them."""
        rows = self.source.open()
        data = Streamed(rows, 0)
        data.starts = range(0, rows.n_rows, self.step)
        cell = self.shared("cell")
        cells = Cells(cell, int(cell.max(initial=-1)) + 1)
        buckets = Buckets(self.folder, cells, self.parts, data.block, rows.n_cols, data.dtype)
        norms = self.shared("norms") if self.metric == "cosine" else None
        chosen = choose_filter(rows.n_cols)
        return Prepared(Bucketed(data, buckets), norms, self.frame, self.metric, chosen)


def save_shared(folder: Path, **arrays: NDArray[Any] | None) -> None:
    """Put arrays where the workers map them."""
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)


def cluster_unit(task: Task, elements: list[int], name: str) -> str:
    """Cluster some elements and put their results down as a unit in ``folder/results``.

    Returns
    -------
    str
        The unit's name.
    """
    found: dict[int, Clustered] = {}
    crew = _crew(task)
    with single_threaded_blas():
        if task.device == "cuda":
            for element in elements:
                members = crew.members(element)
                found[element] = _on_gpu(task, crew.prepared, members, float(crew.eps[element]))
        else:
            crew.everything(np.array(elements, np.int64), found.__setitem__)
    _results(task).put(name, **results_to_arrays(found))
    return name


def begin_unit(task: Task, element: int) -> None:
    """The first phases of a large element; the result is put down."""
    crew = _crew(task)
    with single_threaded_blas():
        begin_element(crew, element, crew.team, _results(task))


def part_unit(task: Task, element: int, number: int, n_parts: int, begun: None) -> None:
    """A part of the last phase of a large element, after it is begun; the result is put down."""
    crew = _crew(task)
    with single_threaded_blas():
        part_of_element(crew, element, number, n_parts, crew.team, _results(task))


def finish_unit(task: Task, element: int, n_parts: int, name: str, parts: list[None]) -> str:
    """The labels of a large element from its parts, put down as a unit; the unit's name."""
    result = finish_element(element, n_parts, task.min_samples, _results(task))
    _results(task).put(name, **results_to_arrays({element: result}))
    return name


def _results(task: Task) -> Ledger:
    return Ledger(task.folder / "results")


def _crew(task: Task) -> Crew:
    """A crew of one thread for any elements of the task."""
    indptr, rows, eps = (task.shared(each) for each in ("indptr", "rows", "eps"))

    def members(element: int) -> NDArray[np.int64]:
        return np.array(rows[indptr[element] : indptr[element + 1]])

    return Crew(
        task.prepared(), members, np.diff(indptr), np.asarray(eps), task.min_samples,
        task.budget_bytes, Team(1),
    )  # fmt: skip


def _take_own_device() -> None:
    """One device for each worker: by the number that a cluster of this machine gave it.

    A worker that sees one device only (CUDA_VISIBLE_DEVICES) takes that.
    """
    import torch
    from distributed import get_worker

    n_devices = torch.cuda.device_count()
    name = str(get_worker().name)
    if n_devices and name.isdecimal():
        torch.cuda.set_device(int(name) % n_devices)


def _on_gpu(task: Task, prepared: Prepared, members: NDArray[np.int64], eps: float) -> Clustered:
    """DBSCAN of one element on this worker's device."""
    from topoact_gpu.cuda import CudaBackend
    from topoact_gpu.kernels.launch import torch_device

    own, places = local_view(prepared, members)
    array = own.data.array[places]
    norms = None if own.norms is None else own.norms[places]
    found: dict[int, Clustered] = {}
    rows = Rows(array.shape, array.dtype, array=array)
    _take_own_device()
    # Workers may all see every device; what is to be spread is spread over them already.
    backend = CudaBackend(Team(1), [torch_device()])
    with backend.hold(rows, task.budget_bytes) as data:
        chosen = backend.choose_filter(rows.n_cols)
        backend.cluster(
            replace(own, data=data, norms=norms, filter=chosen),
            np.array([0, len(array)]),
            np.arange(len(array)),
            eps=np.array([eps]),
            min_samples=task.min_samples,
            budget_bytes=task.budget_bytes,
            todo=np.zeros(1, np.int64),
            keep=found.__setitem__,
        )
    return found[0]
