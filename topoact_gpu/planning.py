"""What a fit would take, before it is begun: sizes, bytes, and seconds measured on this machine.

The lens is computed (of all rows where reading them takes seconds, else of blocks spread over
them), the cover is laid, and some of its elements, spread over the lens, are clustered for real.
What the others cost is read off their neighbours, and all are dealt out to threads as a fit does.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.buckets import write_part
from topoact_gpu.cluster import DBSCAN, OWN_METRICS, knee_of
from topoact_gpu.cover import CoverElements, UniformCover
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, resolve_budget, resolve_threads, single_threaded_blas
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.intervals import Crew
from topoact_gpu.lens import compute_lens
from topoact_gpu.prepare import prepare
from topoact_gpu.resident import Resident, float_dtype
from topoact_gpu.rows import Rows, as_rows
from topoact_gpu.streamed import Streamed

__all__ = ["Plan", "plan"]

_SECONDS = 5.0
"""What looking may take, about: for reading, and again for clustering."""
_BLOCK_BYTES, _LOOK_BYTES = 2**23, (2**26, 2**28)
"""Of the rows that are looked at: in one place, and altogether, least and most."""
_WARM_ROWS = 2000
_NERVE_SECONDS = 2e-7
"""Of a membership, measured on 7 million of them."""
_FEWEST = 500
"""Elements of fewer rows are not measured: they cost next to nothing."""
_POWER = 1.5
"""Elements near each other cost about as their size to this power: few pairs of large ones are
left once components are known, and small ones cost more than their pairs."""


@dataclass(frozen=True)
class Plan:
    """What `plan` found.

    Attributes
    ----------
    n_rows, n_cols : int
    dtype : str
    n_intervals, largest_interval, median_interval : int
        Elements of the cover that hold rows, and their rows.
    memberships, pairs : int
        Rows and pairs of rows, summed over the elements.
    way : str
        "as given", "copied to memory" or "bucketed on disk", as a fit's report says.
    through_window : int
        Elements that are larger than the budget.
    bytes_read, bytes_written, scratch_bytes, scratch_free, peak_bytes : int
        ``peak_bytes``: beyond a process that does nothing.
    eps : float
        The one that was given, or the knee of what was looked at.
    seconds : dict of str to float
        By stage, and "total".
    looked_at : int
        Rows whose lens was computed; where it is fewer than all, sizes are scaled up.
    """

    n_rows: int
    n_cols: int
    dtype: str
    n_intervals: int
    largest_interval: int
    median_interval: int
    memberships: int
    pairs: int
    way: str
    through_window: int
    bytes_read: int
    bytes_written: int
    scratch_bytes: int
    scratch_free: int
    peak_bytes: int
    eps: float
    seconds: dict[str, float]
    looked_at: int

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return asdict(self)


def plan(
    X: ArrayLike,
    *,
    lens: Any = "l2norm",
    cover: Any = None,
    clusterer: DBSCAN | None = None,
    memory_budget: int | str | None = None,
    n_threads: int | None = None,
    seed: int = 0,
    scratch: str | Path | None = None,
) -> Plan:
    """Say what `Mapper.fit` would take on the processor.

    Parameters
    ----------
    X, lens, cover, clusterer, memory_budget, n_threads, seed
        As for `topoact_gpu.Mapper`; the clusterer must be our DBSCAN with a metric of ours.
    scratch : path, optional
        The folder whose disk would take rows; by default that of temporary files.

    Returns
    -------
    Plan

    Raises
    ------
    ParameterError, DataError, StoreError

    Notes
    -----
    Takes some ten seconds at most, whatever the data; less where they are small.
    """
    clusterer = DBSCAN(eps="knee") if clusterer is None else clusterer
    if not isinstance(clusterer, DBSCAN) or clusterer.metric not in OWN_METRICS:
        raise ParameterError(
            f"a plan needs our DBSCAN with the metric {' or '.join(OWN_METRICS)}, got {clusterer!r}"
        )
    cover = UniformCover(70, 0.3) if cover is None else cover
    rows, budget = as_rows(X, min_rows=2), resolve_budget(memory_budget)
    place = Path(tempfile.gettempdir() if scratch is None else scratch)
    with single_threaded_blas(), Team(resolve_threads(n_threads)) as team:
        look = _Look(rows, lens, cover, clusterer, budget, CpuBackend(team), seed, place)
        return look.plan()


class _Look:
    """Everything that is measured for one plan."""

    def __init__(
        self,
        rows: Rows,
        lens: Any,
        cover: Any,
        clusterer: DBSCAN,
        budget: int,
        backend: CpuBackend,
        seed: int,
        scratch: Path,
    ) -> None:
        self.rows, self.lens, self.cover, self.clusterer = rows, lens, cover, clusterer
        self.budget, self.backend, self.seed, self.scratch = budget, backend, seed, scratch
        self.seconds: dict[str, float] = {}
        self.n_bytes = rows.n_rows * rows.n_cols * float_dtype(rows.dtype).itemsize

    def plan(self) -> Plan:
        """Look, and put it together."""
        held = self._held()
        with held as data:
            way = "bucketed on disk" if isinstance(data, Streamed) else data.where
            sample = self._sample(data)
            share = sample.rows.n_rows / self.rows.n_rows
            self._warm_up(sample)
            values, seconds = _timed(
                lambda: compute_lens(self.lens, sample, self.backend, self.seed)
            )
            self.seconds["lens"] = seconds / share
            elements, seconds = _timed(lambda: self.cover.fit(values))
            self.seconds["cover"] = seconds / share
            sizes = np.round(elements.sizes / share).astype(np.int64)
            crew = self._crew(sample, elements)
            self._cluster_seconds(crew, sizes)
        return self._plan(way, sizes, elements, float(crew.eps[0]), sample.rows.n_rows)

    def _held(self) -> AbstractContextManager[Resident]:
        """Rows as a fit would hold them; those that it would copy are read in blocks here."""
        rows = self.rows
        in_memory = rows.array is not None and rows.mapped is None
        if in_memory or self.n_bytes > self.budget // 2:
            return self.backend.hold(rows, self.budget // 2)
        streamed = Streamed(rows.from_storage(), self.budget)
        streamed.where = "as given" if rows.mapped is not None else "copied to memory"
        return nullcontext(_Copied(streamed))

    def _sample(self, data: Resident) -> Resident:
        """Rows to look at: all of them, or blocks spread over them; and how fast they are read."""
        if not isinstance(data, Streamed | _Copied):
            self.seconds["read"] = 0.0
            return data
        rows = self.rows.from_storage()
        per_block = max(_BLOCK_BYTES // max(self.n_bytes // rows.n_rows, 1), 1)
        look = min(max(self.budget // 2, _LOOK_BYTES[0]), _LOOK_BYTES[1])
        last = max(rows.n_rows - per_block, 0)
        starts = np.linspace(0, last, look // _BLOCK_BYTES).astype(np.int64)
        starts = np.unique(starts // per_block * per_block)
        blocks, seconds = _timed(lambda: [rows.block(at, at + per_block) for at in starts.tolist()])
        n_read = sum(len(block) for block in blocks)
        self.read_seconds = seconds / n_read * rows.n_rows
        self.seconds["read"] = self.read_seconds if isinstance(data, _Copied) else 0.0
        fits = self.n_bytes <= max(self.budget // 2, _LOOK_BYTES[1])
        if self.read_seconds <= _SECONDS and fits:
            blocks = [rows.block(0, rows.n_rows)]
        array = np.concatenate(blocks).astype(float_dtype(rows.dtype), copy=False)
        return Resident(Rows(array.shape, array.dtype, array=array), array, data.where)

    def _warm_up(self, sample: Resident) -> None:
        """Run every stage on a few rows: what the first call compiles and loads is not work.

        Without it a first plan takes compiling for reading, and scales it up with the rows.
        """
        array = sample.rows.block(0, _WARM_ROWS).astype(float_dtype(sample.rows.dtype), copy=False)
        few = Resident(Rows(array.shape, array.dtype, array=array), array, sample.where)
        named = isinstance(self.lens, str)  # others may want all rows
        values = compute_lens(self.lens if named else "l2norm", few, self.backend, self.seed)
        elements = (self.cover if named else UniformCover(5, 0.3)).fit(values)
        prepared = self._prepared(few)()
        if elements.n_elements:
            crew = self._crew_at(1.0, prepared, elements)
            _cluster(crew, self.backend.team.solo(), int(elements.sizes.argmax()))
        if isinstance(self.clusterer.eps, str):
            with suppress(DataError):  # so few rows may show no knee
                self._knee(prepared)

    def _crew(self, sample: Resident, elements: CoverElements) -> Crew:
        """What clusters elements of the sample, at the eps of the fit."""
        prepared, self.seconds["prepare"] = _timed(self._prepared(sample))
        eps = self.clusterer.eps
        if isinstance(eps, str):
            eps = self._knee(prepared)
        return self._crew_at(float(eps), prepared, elements)

    def _crew_at(self, eps: float, prepared: Prepared, elements: CoverElements) -> Crew:
        return Crew(
            prepared, elements.element_rows, elements.sizes,
            np.full(elements.n_elements, eps), int(self.clusterer.min_samples),
            max(self.budget // 2, 2**22), self.backend.team,
        )  # fmt: skip

    def _prepared(self, sample: Resident) -> Callable[[], Prepared]:
        return partial(prepare, sample, self.clusterer.metric, self.backend, seed=self.seed)

    def _knee(self, prepared: Prepared) -> float:
        """eps by the knee of the rows looked at."""
        n_rows = prepared.data.rows.n_rows
        ids = np.arange(n_rows)
        knee, seconds = _timed(
            lambda: knee_of(prepared, ids, int(self.clusterer.min_samples), self.backend, self.seed)
        )
        self.seconds["knee"] = seconds * self.rows.n_rows / n_rows
        return knee.eps

    def _cluster_seconds(self, crew: Crew, sizes: NDArray[np.int64]) -> None:
        """Cluster some elements, and deal out all of them.

        Every thread clusters the same element at the same time: side by side they are slower.
        """
        n_threads, solo = self.backend.team.n_threads, self.backend.team.solo()
        both = partial(self.backend.team.map, partial(_cluster, crew, solo))
        worth = np.flatnonzero(crew.sizes >= min(_FEWEST, int(crew.sizes.max())))
        both([int(worth[crew.sizes[worth].argmin()])])  # compiles and loads
        found: dict[int, float] = {}
        begun = time.perf_counter()
        for element in worth[_spread_out(len(worth))].tolist():
            left = _SECONDS - (time.perf_counter() - begun)
            costs = [_per_row(t, crew.sizes[at]) for at, t in found.items()]
            guess = float(np.median(costs)) if costs else 0.0
            if guess * crew.sizes[element] ** _POWER > left:
                continue
            found[element] = _timed(partial(both, [element] * n_threads))[1]
        self.seconds["cluster"] = _dealt_out(_between(found, crew.sizes, sizes), n_threads)

    def _plan(
        self, way: str, sizes: NDArray[np.int64], elements: CoverElements, eps: float, n_seen: int
    ) -> Plan:
        rows, seconds = self.rows, self.seconds
        row_bytes = self.n_bytes // rows.n_rows
        memberships = int(sizes.sum())
        covered = len(np.unique(elements.rows)) / n_seen
        scratch = round(covered * rows.n_rows) * row_bytes if way == "bucketed on disk" else 0
        passes, windows = 1, 0
        if scratch:
            passes = 3 + (self.clusterer.eps == "knee")  # lens, sample for the frame, parts
            windows = int((sizes * (row_bytes + 130) > self.budget // 2).sum())
            self._bucket_seconds(elements, scratch, passes)
        seconds["nerve"] = _NERVE_SECONDS * memberships
        seconds["total"] = sum(seconds.values())
        per_row = 8 * (2 + 2 * memberships / rows.n_rows) + 60
        peak = min(self.budget, self.n_bytes) if scratch else 0
        peak += self.n_bytes if way == "copied to memory" else 0
        big = sizes.astype(object)
        return Plan(
            rows.n_rows, rows.n_cols, str(rows.dtype), len(sizes), int(sizes.max()),
            int(np.median(sizes)), memberships, int((big * (big - 1) // 2).sum()), way, windows,
            passes * rows.nbytes + int(scratch * memberships / max(covered * rows.n_rows, 1)),
            scratch, scratch, shutil.disk_usage(self.scratch).free,
            peak if scratch else peak + int(per_row * rows.n_rows) + 160 * 10**6, eps, seconds,
            n_seen,
        )  # fmt: skip

    def _bucket_seconds(self, elements: CoverElements, scratch: int, passes: int) -> None:
        """Write and read the part of a real block."""
        n_rows = max(_BLOCK_BYTES // max(self.n_bytes // self.rows.n_rows, 1), 1)
        block = self.rows.from_storage().block(0, n_rows).astype(float_dtype(self.rows.dtype))
        cell = np.zeros(len(block), np.int32)
        own = elements.rows[elements.rows < len(block)]
        cell[own] = np.searchsorted(elements.indptr, np.flatnonzero(elements.rows < len(block)),
                                    side="right") - 1  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="topoact-", dir=self.scratch) as folder:
            _, write = _timed(lambda: write_part(Path(folder), cell, 0, block))
        self.seconds["bucket"] = write * scratch / block.nbytes + self.read_seconds
        self.seconds["lens"] += self.read_seconds
        self.seconds["prepare"] += self.read_seconds
        if self.clusterer.eps == "knee":
            self.seconds["knee"] += self.read_seconds
        # Gathering an element reads it back: about as fast as rows are read from their store.
        gathered = self.seconds["cluster"] * 0.02 + self.read_seconds * 1.4
        self.seconds["cluster"] += gathered


def _cluster(crew: Crew, team: Team, element: int) -> None:
    crew.cluster(element, team)


class _Copied(Resident):
    """Rows that a fit copies to memory; here they are read in blocks."""

    def __init__(self, streamed: Streamed) -> None:
        super().__init__(streamed.rows, None, streamed.where)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _spread_out(n: int) -> list[int]:
    """All places from 0 to n - 1: first some far apart, then those between them."""
    step, found = max(n - 1, 1), {0: None, n - 1: None}
    while len(found) < n:
        step = max((step + 1) // 2, 1)
        found |= dict.fromkeys(range(0, n, step))
    return list(found)


def _per_row(seconds: float, size: int) -> float:
    return float(seconds / max(size, 1) ** _POWER)


def _between(
    found: dict[int, float], own: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Seconds of all elements from those of some.

    ``own``: rows that the elements had when they were clustered; ``sizes``: rows they will have.
    What an element costs for its size changes along the lens, so it is taken from the elements
    beside it.
    """
    at = np.array(sorted(found))
    cost = np.log([max(_per_row(found[e], own[e]), 1e-12) for e in at.tolist()])
    every = np.exp(np.interp(np.arange(len(sizes)), at, cost))
    seconds: NDArray[np.float64] = every * np.maximum(sizes, own).astype(np.float64) ** _POWER
    return seconds


def _dealt_out(each: NDArray[np.float64], n_threads: int) -> float:
    """Seconds until all elements are done: largest first, large ones by all threads together."""
    together = each > each.sum() / (4 * n_threads) if n_threads > 1 else np.zeros(len(each), bool)
    load = np.zeros(n_threads)
    for seconds in np.sort(each[~together])[::-1]:
        load[load.argmin()] += seconds
    return float(each[together].sum() / n_threads + load.max())
