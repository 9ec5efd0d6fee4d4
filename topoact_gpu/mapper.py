"""The Mapper estimator: wires lens, cover, clustering, nodes and nerve together."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import _check_feature_names

from topoact_gpu import __version__
from topoact_gpu.backend import Backend, Prepared
from topoact_gpu.bucketed import Bucketed
from topoact_gpu.cluster import (
    DBSCAN,
    OWN_METRICS,
    add_counters,
    check_clustering,
    knee_of,
)
from topoact_gpu.cover import Cover, CoverElements, UniformCover
from topoact_gpu.device import resolve_budget, resolve_device, resolve_threads
from topoact_gpu.devices import open_backend
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.graph import MapperGraph
from topoact_gpu.intervals import local_view
from topoact_gpu.lens import compute_lens, given_lens, parse_lens
from topoact_gpu.nodes import minimum_rows, nodes_from_labels
from topoact_gpu.prepare import prepare
from topoact_gpu.resident import Resident
from topoact_gpu.rows import as_rows
from topoact_gpu.streamed import Streamed
from topoact_gpu.timing import Stages

__all__ = ["Mapper"]

Progress = Callable[[str, int, int], None]
_KNEES = ("knee", "knee-per-interval")


class Mapper(BaseEstimator):  # type: ignore[misc]
    """The Mapper graph of a set of rows.

    Parameters
    ----------
    lens : str, callable, array or list, default "l2norm"
        See :func:`topoact_gpu.lens.compute_lens`.
    cover : cover, optional
        Default ``UniformCover(70, 0.3)``.
    clusterer : estimator with ``fit_predict``, optional
        Default ``DBSCAN(eps="knee")``. Our DBSCAN also takes ``eps="knee-per-interval"`` here.
        Others are cloned for each interval and run on its rows, several at a time.
    min_intersection : int, default 1
        Shared rows that make an edge (or a higher simplex).
    max_dimension : int, default 1
        Dimension of the largest simplices: 1 edges, 2 triangles, ...
    device : "auto", "cpu" or "cuda", default "auto"
    memory_budget : int or str, optional
        Bytes, or text such as "4GB"; default 60% of what is free.
    n_threads : int, optional
        Default: every processor of this process.
    progress : callable, optional
        Called with (stage, done, total).
    seed : int, default 0
        For samples. Where device, memory_budget, n_threads or seed are at their defaults, a
        clusterer of ours keeps its own.

    Attributes
    ----------
    graph_ : MapperGraph
        Nodes numbered by interval, then by smallest core row; edges sorted.
    lens_values_ : float64[n_rows, k]
    report_ : dict
        Parameters, versions, the implementation that ran, seconds and peak memory of each
        stage, pairs tested, settled and undecided, the knee's curve. JSON can hold it.
    n_features_in_ : int

    Notes
    -----
    Singh, Memoli & Carlsson 2007. Equal input gives equal bytes, whatever the number of
    threads and the memory budget.

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    >>> circle = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> graph = Mapper("column:0", cover=UniformCover(6, 0.3), clusterer=DBSCAN(0.1)).fit(
    ...     circle).graph_
    >>> graph.n_loops
    1
    """

    def __init__(
        self,
        lens: Any = "l2norm",
        *,
        cover: Any = None,
        clusterer: Any = None,
        min_intersection: int = 1,
        max_dimension: int = 1,
        device: str = "auto",
        memory_budget: int | str | None = None,
        n_threads: int | None = None,
        progress: Progress | None = None,
        seed: int = 0,
    ) -> None:
        self.lens = lens
        self.cover = cover
        self.clusterer = clusterer
        self.min_intersection = min_intersection
        self.max_dimension = max_dimension
        self.device = device
        self.memory_budget = memory_budget
        self.n_threads = n_threads
        self.progress = progress
        self.seed = seed

    def fit(self, X: ArrayLike, y: object = None, *, lens_values: ArrayLike | None = None) -> Self:
        """Compute the graph of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_cols)
            numpy array, memmap, DLPack, Zarr array or layer of a store; at least 2 rows.
        y : ignored
        lens_values : [n_rows] or [n_rows, k], optional
            Used instead of ``lens``.

        Raises
        ------
        ParameterError, DataError, StoreError, CapacityError
        """
        settings = self._settings()
        _check_feature_names(self, X, reset=True)
        rows = as_rows(X, min_rows=2)
        self.n_features_in_ = rows.n_cols
        stages = Stages()
        with open_backend(settings.device, settings.n_threads) as backend:
            run = _Run(self, settings, stages, backend)
            with stages.stage("read"):
                held = backend.hold(rows, settings.budget // 2)
                data = held.__enter__()
            try:
                run.everything(data, lens_values)
            finally:
                held.__exit__(None, None, None)
        self.lens_values_ = run.lens_values
        self.graph_ = run.graph
        self.report_ = run.report
        return self

    def _settings(self) -> _Settings:
        """Everything that can be checked before the rows are looked at."""
        for name in ("min_intersection", "max_dimension"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ParameterError(f"{name} must be a whole number of at least 1, got {value!r}")
        if isinstance(self.lens, str):
            parse_lens(self.lens)
        cover = UniformCover(70, 0.3) if self.cover is None else self.cover
        if not hasattr(cover, "fit"):
            raise ParameterError(
                f"cover must be a cover such as UniformCover(70, 0.3), got {cover!r}"
            )
        clusterer = DBSCAN(eps="knee") if self.clusterer is None else self.clusterer
        own = isinstance(clusterer, DBSCAN)
        if own:
            check_clustering(clusterer.eps, clusterer.min_samples, clusterer.metric, _KNEES)
        elif not hasattr(clusterer, "fit_predict"):
            raise ParameterError(
                f"clusterer must have fit_predict, as scikit-learn's do, got {clusterer!r}"
            )
        inner = clusterer if own else self
        device = self.device if self.device != "auto" else inner.device
        threads = self.n_threads if self.n_threads is not None else inner.n_threads
        budget = self.memory_budget if self.memory_budget is not None else inner.memory_budget
        return _Settings(
            cover,
            clusterer,
            own and clusterer.metric in OWN_METRICS,
            resolve_device(device),
            resolve_threads(threads),
            resolve_budget(budget),
            self.seed,
            self.seed if self.seed != 0 else inner.seed,
        )


@dataclass(frozen=True)
class _Settings:
    """Resolved parameters."""

    cover: Any
    clusterer: Any
    own: bool
    device: str
    n_threads: int
    budget: int
    seed: int
    cluster_seed: int


class _Run:
    """One fit: its intermediate results and its report."""

    def __init__(
        self, mapper: Mapper, settings: _Settings, stages: Stages, backend: Backend
    ) -> None:
        self.mapper, self.settings, self.stages = mapper, settings, stages
        self.backend, self.team = backend, backend.team
        self.clustering: dict[str, Any] = {}
        self.knee: dict[str, Any] | None = None
        self.where = ""

    def everything(self, data: Resident, lens_values: ArrayLike | None) -> None:
        """All stages in order."""
        with self.stages.stage("lens"):
            self._tell("lens", 0, 1)
            self.lens_values, bound = self._lens(data, lens_values)
            self._tell("lens", 1, 1)
        with self.stages.stage("cover"):
            self._tell("cover", 0, 1)
            elements = self._cover()
            self._tell("cover", 1, 1)
        with tempfile.TemporaryDirectory(prefix="topoact-") as scratch:
            labels = self._labels(data, elements, bound, Path(scratch))
        with self.stages.stage("nerve"):
            self._tell("nerve", 0, 1)
            self.graph = self._graph(labels, elements)
            self._tell("nerve", 1, 1)
        self.report = self._report(data, elements)
        self.graph.provenance.update(self._provenance())

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.mapper.progress is not None:
            self.mapper.progress(stage, done, total)

    def _lens(
        self, data: Resident, lens_values: ArrayLike | None
    ) -> tuple[NDArray[np.float64], float | None]:
        """Lens values, and a bound on absolute values where one comes for free."""
        self.lens_given = lens_values is not None
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
        if not self.settings.own:
            spread = self._spread(data, elements, scratch)
            with self.stages.stage("cluster"):
                return self._foreign_labels(spread, elements)
        clusterer = self.settings.clusterer
        with self.stages.stage("prepare"):
            seed = self.settings.cluster_seed
            prepared = prepare(data, clusterer.metric, self.backend, seed=seed, largest=bound)
        prepared = replace(prepared, data=self._spread(data, elements, scratch))
        eps = np.full(elements.n_elements, np.nan)
        if isinstance(clusterer.eps, str):
            with self.stages.stage("knee"):
                eps[:] = self._knees(prepared, elements)
        else:
            eps[:] = float(clusterer.eps)
        with self.stages.stage("cluster"):
            return self._own_labels(prepared, elements, eps)

    def _spread(self, data: Resident, elements: CoverElements, scratch: Path) -> Resident:
        """Rows where the elements are read quickly."""
        if not isinstance(data, Streamed):
            return data
        with self.stages.stage("bucket"):
            self._tell("bucket", 0, 1)
            spread = self.backend.spread(data, elements, scratch)
            self._tell("bucket", 1, 1)
        self.where = spread.where
        return spread

    def _own_labels(
        self, prepared: Prepared, elements: CoverElements, eps: NDArray[np.float64]
    ) -> list[NDArray[np.int64]]:
        total = elements.n_elements
        self._tell("cluster", 0, total)
        results = self.backend.cluster(
            prepared,
            elements.indptr,
            elements.rows,
            eps=eps,
            min_samples=self.settings.clusterer.min_samples,
            budget_bytes=self.settings.budget,
            progress=lambda done: self._tell("cluster", done, total),
        )
        sizes = elements.sizes.astype(object)
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

    def _foreign_labels(self, data: Resident, elements: CoverElements) -> list[NDArray[np.int64]]:
        """Labels from another clusterer, cloned for each element."""
        clusterer = self.settings.clusterer
        if isinstance(clusterer, DBSCAN):
            clusterer = clone(clusterer).set_params(n_threads=1)
        fewest = minimum_rows(clusterer)
        total = elements.n_elements
        self._tell("cluster", 0, total)

        def work(at: int) -> NDArray[np.int64]:
            ids = elements.element_rows(at)
            if len(ids) < fewest:
                return np.full(len(ids), -1, np.int64)
            return np.asarray(clone(clusterer).fit_predict(_taken(data, ids)))

        self.clustering = {"n_intervals": total, "clusterer": repr(clusterer)}
        return self.team.map(work, range(total), lambda done: self._tell("cluster", done, total))

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
        settings, mapper = self.settings, self.mapper
        lens = mapper.lens if isinstance(mapper.lens, str) else repr(mapper.lens)[:200]
        lens = "given" if self.lens_given else lens
        return {
            "lens": lens,
            "cover": settings.cover.to_dict()
            if hasattr(settings.cover, "to_dict")
            else repr(settings.cover),
            "clusterer": {
                "name": type(settings.clusterer).__name__,
                **{k: _plain(v) for k, v in settings.clusterer.get_params(deep=False).items()},
            }
            if hasattr(settings.clusterer, "get_params")
            else repr(settings.clusterer),
            "min_intersection": int(mapper.min_intersection),
            "max_dimension": int(mapper.max_dimension),
            "device": mapper.device,
            "memory_budget": mapper.memory_budget,
            "n_threads": mapper.n_threads,
            "seed": mapper.seed,
        }

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
            "clustering": self.clustering,
            "knee": self.knee,
        }


def _taken(data: Resident, ids: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of an element, ascending."""
    if not isinstance(data, Bucketed):
        return data.rows.take(ids)
    array, places = data.gather(ids)
    return array[places]


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
