"""The stages of one Mapper fit, in order, with what each of them reports.

With a `Job` every finished piece is put down, and what an earlier process put down is taken up.
"""

from __future__ import annotations

import json
import platform
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from topoact_gpu import __version__
from topoact_gpu.backend import Backend, Prepared
from topoact_gpu.bucketed import taken
from topoact_gpu.cluster import DBSCAN, add_counters, knee_of
from topoact_gpu.cover import Cover, CoverElements
from topoact_gpu.errors import DataError
from topoact_gpu.files import temporary_folder
from topoact_gpu.graph import MapperGraph
from topoact_gpu.intervals import local_view
from topoact_gpu.job import Job
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.ledger import ClusterLedger
from topoact_gpu.lens import compute_lens, given_lens
from topoact_gpu.nodes import minimum_rows, nodes_from_labels
from topoact_gpu.prepare import prepare
from topoact_gpu.progress import Step, progress_fields
from topoact_gpu.resident import Resident
from topoact_gpu.streamed import Streamed
from topoact_gpu.timing import Stages

if TYPE_CHECKING:
    from topoact_gpu.mapper import Mapper

__all__ = ["Pipeline", "Settings", "parameters_of"]

_LEAST_BUDGET = 2**22


@dataclass(frozen=True)
class Settings:
    """Resolved parameters."""

    cover: Any
    clusterer: Any
    own: bool
    device: str
    n_threads: int
    budget: int
    seed: int
    cluster_seed: int


class Pipeline:
    """One fit: its intermediate results and its report."""

    def __init__(
        self,
        mapper: Mapper,
        settings: Settings,
        stages: Stages,
        backend: Backend,
        job: Job | None = None,
    ) -> None:
        self.mapper, self.settings, self.stages = mapper, settings, stages
        self.backend, self.team, self.job = backend, backend.team, job
        self.clustering: dict[str, Any] = {}
        self.knee: dict[str, Any] | None = None
        self.where = ""
        self.resumed: dict[str, Any] = {}

    def everything(self, data: Resident, lens_values: ArrayLike | None) -> None:
        """All stages in order."""
        if isinstance(data, Streamed):
            data.ledger = self.job.ledger if self.job is not None else None
            data.told = lambda done, total: self._tell(self.stages.current, done, total)
        with self.stages.stage("lens"):
            self._tell("lens", 0, data.rows.n_rows)
            self.lens_values, bound = self._remembered_lens(data, lens_values)
            self._tell("lens", data.rows.n_rows, data.rows.n_rows)
        with self.stages.stage("cover"):
            self._tell("cover", 0, 1)
            elements = self._cover()
            self._tell("cover", 1, 1)
        with self._scratch() as scratch:
            labels = self._labels(data, elements, bound, scratch)
        with self.stages.stage("nerve"):
            self._tell("nerve", 0, 1)
            self.graph = self._graph(labels, elements)
            self._tell("nerve", 1, 1)
        self.report = self._report(data, elements)
        self.graph.provenance.update(self._provenance())

    def _scratch(self) -> AbstractContextManager[Path]:
        """A folder for rows by cell: of the job, or one that goes away after."""
        return temporary_folder() if self.job is None else nullcontext(self.job.scratch)

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.mapper.progress is not None:
            self.mapper.progress(stage, done, total)
        if self.job is not None:
            self.job.tell(stage=stage, **progress_fields(done, total))

    def _remembered_lens(
        self, data: Resident, lens_values: ArrayLike | None
    ) -> tuple[NDArray[np.float64], float | None]:
        """The lens, computed or as an earlier process left it."""
        self.lens_given = lens_values is not None
        if self.job is None:
            return self._lens(data, lens_values)
        found = self.job.ledger.get("lens")
        if found is not None and self.lens_given == bool(found["given"]):
            self.resumed["lens"] = True
            who = str(found["who"]).partition(", ")
            self.backend.record("lens", who[0], who[2] or self.backend.name)
            return found["values"], float(found["bound"]) if found["bounded"] else None
        values, bound = self._lens(data, lens_values)
        self.job.ledger.put(
            "lens", values=values, bound=bound or 0.0, bounded=bound is not None,
            given=self.lens_given, who=self.backend.describe()["lens"],
        )  # fmt: skip
        self.job.ledger.drop("block-")
        return values, bound

    def _lens(
        self, data: Resident, lens_values: ArrayLike | None
    ) -> tuple[NDArray[np.float64], float | None]:
        """Lens values, and a bound on absolute values where one comes for free."""
        if lens_values is not None:
            if not self.settings.own:
                data.largest(self.team)  # raises for values that are not finite
            self.backend.record("lens", "given", self.backend.name)
            return given_lens(lens_values, data.rows.n_rows), None
        lens = self.mapper.lens
        is_norm = isinstance(lens, str) and lens == "l2norm"
        if not is_norm:
            data.largest(self.team)
        values = compute_lens(lens, data, self.backend, self.settings.seed)
        if is_norm:
            # A norm is finite only if the row is, and no number exceeds its row's norm.
            largest = float(values.max())
            if np.isfinite(largest):
                return values, largest
            data.largest(self.team)
            raise DataError(
                "the l2norm lens needs rows whose squares sum to a finite number; "
                "scale the rows down"
            )
        return values, None

    def _cover(self) -> CoverElements:
        """Elements of our covers, or of another with a ``fit``."""
        cover = self.settings.cover
        if isinstance(cover, Cover):
            return cover.fit(self.lens_values, backend=self.backend)
        self.backend.record("cover", type(cover).__name__, "cpu")
        elements: CoverElements = cover.fit(self.lens_values)
        return elements

    def _labels(
        self, data: Resident, elements: CoverElements, bound: float | None, scratch: Path
    ) -> list[NDArray[np.int64]]:
        kept = ClusterLedger(self.job.ledger) if self.job is not None else None
        if not self.settings.own:
            spread = self._spread(data, elements, scratch)
            with self.stages.stage("cluster"):
                return self._foreign_labels(spread, elements, kept)
        clusterer = self.settings.clusterer
        with self.stages.stage("prepare"):
            seed = self.settings.cluster_seed
            prepared = prepare(data, clusterer.metric, self.backend, seed=seed, largest=bound)
        prepared = replace(prepared, data=self._spread(data, elements, scratch))
        if isinstance(clusterer.eps, str):
            with self.stages.stage("knee"):
                eps = self._remembered_knees(prepared, elements)
        else:
            eps = np.full(elements.n_elements, float(clusterer.eps))
        with self.stages.stage("cluster"):
            return self._own_labels(prepared, elements, eps, kept)

    def _spread(self, data: Resident, elements: CoverElements, scratch: Path) -> Resident:
        """Rows where the elements are read quickly."""
        if not isinstance(data, Streamed):
            return data
        with self.stages.stage("bucket"):
            spread = self.backend.spread(data, elements, scratch)
        self.where = spread.where
        return spread

    def _own_labels(
        self,
        prepared: Prepared,
        elements: CoverElements,
        eps: NDArray[np.float64],
        kept: ClusterLedger | None,
    ) -> list[NDArray[np.int64]]:
        done = _Done(self, elements.sizes, kept)
        try:
            self.backend.cluster(
                prepared,
                elements.indptr,
                elements.rows,
                eps=eps,
                min_samples=self.settings.clusterer.min_samples,
                budget_bytes=self._left(prepared, elements),
                todo=done.todo(),
                keep=done.keep,
                pieces=self.job.ledger if self.job is not None else None,
            )
        finally:
            done.flush()
        results = done.results()
        sizes = elements.sizes.astype(object)
        total = elements.n_elements
        same = len(eps) > 0 and bool((eps == eps[0]).all())
        self.clustering = {
            "eps": float(eps[0]) if same else eps.tolist(),
            "min_samples": int(self.settings.clusterer.min_samples),
            "metric": prepared.metric,
            "filter": prepared.filter,
            "n_intervals": total,
            "largest_interval": int(elements.sizes.max(initial=0)),
            "pairs_total": int((sizes * (sizes - 1) // 2).sum()) if total else 0,
            **{f"pairs_{name}": count for name, count in add_counters(results).items()},
        }
        return [result.labels for result in results]

    def _left(self, prepared: Prepared, elements: CoverElements) -> int:
        """Bytes of the budget that clustering may take: what results take is not to be had.

        Only where rows stay on disk is the budget meant to be kept to that closely.
        """
        if not isinstance(prepared.data, Streamed):
            return self.settings.budget
        held = self.lens_values.nbytes + elements.rows.nbytes + 4 * len(self.lens_values)
        held += 9 * elements.rows.size  # labels to come, and which rows are core
        return max(self.settings.budget - held, _LEAST_BUDGET)

    def _remembered_knees(self, prepared: Prepared, elements: CoverElements) -> NDArray[np.float64]:
        """eps of each element, computed or as an earlier process left it."""
        if self.job is None:
            return self._knees(prepared, elements)
        found = self.job.ledger.get("knee")
        if found is not None:
            self.resumed["knee"] = True
            self.knee = json.loads(str(found["knee"]))
            self.backend.record("neighbours", str(found["who"]), self.backend.name)
            return found["eps"]
        eps = self._knees(prepared, elements)
        who = self.backend.describe()["neighbours"]
        self.job.ledger.put("knee", eps=eps, knee=json.dumps(self.knee), who=who)
        self.job.ledger.drop("block-")
        return eps

    def _knees(self, prepared: Prepared, elements: CoverElements) -> NDArray[np.float64]:
        """eps of each element, from all rows or from its own."""
        clusterer, seed = self.settings.clusterer, self.settings.cluster_seed
        k = int(clusterer.min_samples)
        whole = np.arange(prepared.data.rows.n_rows)
        knee = knee_of(prepared, whole, k, self.backend, seed)
        self.knee = knee.to_dict()
        eps = np.full(elements.n_elements, knee.eps)
        if clusterer.eps == "knee":
            return eps
        without: list[int] = []
        for at in range(elements.n_elements):
            self._tell("knee", at, elements.n_elements)
            try:
                own, places = local_view(prepared, elements.element_rows(at))
                eps[at] = knee_of(own, places, k, self.backend, seed).eps
            except DataError:
                without.append(int(elements.element_id[at]))
        self.knee |= {"per_interval": eps.tolist(), "intervals_without_knee": without}
        return eps

    def _foreign_labels(
        self, data: Resident, elements: CoverElements, kept: ClusterLedger | None
    ) -> list[NDArray[np.int64]]:
        """Labels from another clusterer, cloned for each element."""
        clusterer = self.settings.clusterer
        if isinstance(clusterer, DBSCAN):
            clusterer = clone(clusterer).set_params(n_threads=1)
        fewest = minimum_rows(clusterer)
        done = _Done(self, elements.sizes, kept)

        def work(at: int) -> None:
            ids = elements.element_rows(at)
            labels = np.full(len(ids), -1, np.int64)
            if len(ids) >= fewest:
                labels = np.asarray(clone(clusterer).fit_predict(taken(data, ids)))
            done.keep(at, Clustered(labels, labels >= 0, 0, {}))

        self.clustering = {"n_intervals": elements.n_elements, "clusterer": repr(clusterer)}
        try:
            self.team.map(work, done.todo().tolist())
        finally:
            done.flush()
        return [result.labels for result in done.results()]

    def _graph(self, labels: list[NDArray[np.int64]], elements: CoverElements) -> MapperGraph:
        indptr, rows, node_interval = nodes_from_labels(labels, elements)
        return MapperGraph.build(
            indptr,
            rows,
            node_interval,
            self.lens_values,
            int(elements.indptr[-1]),
            max_dimension=int(self.mapper.max_dimension),
            min_intersection=int(self.mapper.min_intersection),
            elements=elements,
            backend=self.backend,
            parameters=self._parameters(),
            provenance={},
        )

    def _parameters(self) -> dict[str, Any]:
        return parameters_of(self.mapper, self.settings, given=self.lens_given)

    def _provenance(self) -> dict[str, Any]:
        return {name: self.report[name] for name in ("versions", "implementation")}

    def _report(self, data: Resident, elements: CoverElements) -> dict[str, Any]:
        settings = self.settings
        return {
            "parameters": self._parameters(),
            "versions": _versions(),
            "implementation": {
                **self.backend.describe(),
                "budget_bytes": settings.budget,
                "rows": self.where or data.where,
                "dbscan": "own" if settings.own else type(settings.clusterer).__name__,
            },
            "n_rows": data.rows.n_rows,
            "n_cols": data.rows.n_cols,
            "dtype": str(data.rows.dtype),
            "n_memberships_offered": int(elements.indptr[-1]),
            "coverage": self.graph.coverage,
            "noise": self.graph.noise,
            "stages": self.stages.records,
            "resumed": self.resumed,
            "clustering": self.clustering,
            "knee": self.knee,
        }


def parameters_of(mapper: Mapper, settings: Settings, *, given: bool) -> dict[str, Any]:
    """Parameters of a fit as values that JSON can hold; ``given``: lens values were."""
    cover, clusterer = settings.cover, settings.clusterer
    lens = mapper.lens if isinstance(mapper.lens, str) else repr(mapper.lens)[:200]
    own: Any = repr(clusterer)
    if hasattr(clusterer, "get_params"):
        found = {k: _plain(v) for k, v in clusterer.get_params(deep=False).items()}
        own = {"name": type(clusterer).__name__, **found}
    return {
        "lens": "given" if given else lens,
        "cover": cover.to_dict() if hasattr(cover, "to_dict") else repr(cover),
        "clusterer": own,
        "min_intersection": int(mapper.min_intersection),
        "max_dimension": int(mapper.max_dimension),
        "device": mapper.device,
        "memory_budget": mapper.memory_budget,
        "n_threads": mapper.n_threads,
        "seed": mapper.seed,
    }


class _Done:
    """Elements as they are clustered: kept, put down, and told of."""

    def __init__(
        self, pipeline: Pipeline, sizes: NDArray[np.int64], kept: ClusterLedger | None
    ) -> None:
        self.pipeline, self.kept, self.sizes = pipeline, kept, sizes
        self.found = dict(kept.known) if kept is not None else {}
        if self.found:
            pipeline.resumed["intervals"] = len(self.found)
        pairs = sizes.astype(np.float64) ** 2
        self.total = float(pairs.sum())
        self.pairs = float(pairs[list(self.found)].sum())
        self._lock = threading.Lock()
        self._tell()

    def todo(self) -> NDArray[np.int64]:
        """Elements that are not done."""
        return np.setdiff1d(np.arange(len(self.sizes)), list(self.found)).astype(np.int64)

    def keep(self, element: int, result: Clustered) -> None:
        """Take the result of an element."""
        with self._lock:
            self.found[element] = result
            self.pairs += float(self.sizes[element]) ** 2
            if self.kept is not None:
                self.kept.keep(element, result)
            self._tell()

    def flush(self) -> None:
        """Put down what was not yet."""
        if self.kept is not None:
            self.kept.flush()

    def results(self) -> list[Clustered]:
        """Results of all elements, in their order."""
        return [self.found[element] for element in range(len(self.sizes))]

    def _tell(self) -> None:
        step = Step(len(self.found), int(self.pairs / 2), int(self.total / 2))
        self.pipeline._tell("cluster", step, len(self.sizes))


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def _versions() -> dict[str, str]:
    import numba
    import scipy
    import sklearn

    return {
        "topoact-gpu": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }
