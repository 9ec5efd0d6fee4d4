"""The Mapper estimator: wires lens, cover, clustering, nodes and nerve together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names

from topoact_gpu.cluster import DBSCAN, OWN_METRICS, check_clustering
from topoact_gpu.cover import UniformCover
from topoact_gpu.device import resolve_budget, resolve_device, resolve_threads
from topoact_gpu.devices import open_backend
from topoact_gpu.errors import ParameterError
from topoact_gpu.identity import identity_of, kept_with
from topoact_gpu.job import Job, open_job
from topoact_gpu.lens import parse_lens
from topoact_gpu.pipeline import Pipeline, Settings
from topoact_gpu.rows import Rows, as_rows
from topoact_gpu.runs import load_run, save_run
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
    client : distributed.Client, optional
        A Dask cluster whose workers do the work; they open the rows themselves, so these are best
        a layer of a store, a Zarr array or a memmap on a disk that all of them share.
        ``memory_budget`` then is what one worker's thread may use. The bytes are the same.

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
        client: Any = None,
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
        self.client = client

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        lens_values: ArrayLike | None = None,
        run: str | Path | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Compute the graph of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_cols)
            numpy array, memmap, DLPack, Zarr array or layer of a store; at least 2 rows.
        y : ignored
        lens_values : [n_rows] or [n_rows, k], optional
            Used instead of ``lens``.
        run : path, optional
            Save the run here, with the row columns of a layer. What is finished on the way is
            kept beside it, in ``.<name>.work``: killed at any moment and started again with the
            same parameters and rows, the work goes on, and the graph has the same bytes. A run
            that is complete is loaded.
        overwrite : bool
            Start anew, and replace the run that is there.

        Raises
        ------
        ParameterError, DataError, StoreError, CapacityError
        """
        settings = self._settings()
        _check_feature_names(self, X, reset=True)
        rows = as_rows(X, min_rows=2)
        self.n_features_in_ = rows.n_cols
        if run is None:
            self._take(self._computed(rows, settings, lens_values, None))
            return self
        decisive = identity_of(self, settings, rows, lens_values)
        with open_job(Path(run), decisive, overwrite=overwrite) as job:
            if not job.complete:
                pipeline = self._computed(rows, settings, lens_values, job)
                self._take(pipeline)
                save_run(
                    job.staged,
                    pipeline.graph,
                    lens_values=pipeline.lens_values,
                    report=pipeline.report,
                    settings=job.settings,
                    **kept_with(X, rows),
                )
                job.finish()
                return self
        found = load_run(Path(run))
        self.lens_values_, self.graph_ = found.lens_values, found.graph
        self.report_ = found.report
        return self

    def _computed(
        self, rows: Rows, settings: Settings, lens_values: ArrayLike | None, job: Job | None
    ) -> Pipeline:
        """All stages, on the device that the settings say."""
        stages = Stages()
        with open_backend(settings.device, settings.n_threads, self.client) as backend:
            pipeline = Pipeline(self, settings, stages, backend, job)
            with stages.stage("read"):
                held = backend.hold(rows, settings.budget // 2)
                data = held.__enter__()
            try:
                pipeline.everything(data, lens_values)
            finally:
                held.__exit__(None, None, None)
        return pipeline

    def _take(self, pipeline: Pipeline) -> None:
        self.lens_values_ = pipeline.lens_values
        self.graph_, self.report_ = pipeline.graph, pipeline.report

    def _n_processes(self) -> int:
        """Processes that share what memory is free: workers may all be on this machine."""
        if self.client is None:
            return 1
        return max(len(self.client.scheduler_info(n_workers=-1)["workers"]), 1)

    def _settings(self) -> Settings:
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
        return Settings(
            cover,
            clusterer,
            own and clusterer.metric in OWN_METRICS,
            resolve_device(device),
            resolve_threads(threads),
            resolve_budget(budget) // (1 if budget is not None else self._n_processes()),
            self.seed,
            self.seed if self.seed != 0 else inner.seed,
        )
