"""DBSCAN: exact labels for one set of rows, or for every element of a cover."""

from __future__ import annotations

import numbers
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from topoact_gpu.backend import Backend, Prepared
from topoact_gpu.cover import one_element
from topoact_gpu.device import Team, resolve_budget, resolve_device, resolve_threads
from topoact_gpu.devices import open_backend
from topoact_gpu.errors import ParameterError
from topoact_gpu.interop import to_kind
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.knee import Knee, find_knee
from topoact_gpu.prepare import prepare
from topoact_gpu.resident import Resident
from topoact_gpu.rows import as_rows

__all__ = ["DBSCAN", "OWN_METRICS", "add_counters", "check_clustering", "knee_of"]

OWN_METRICS = ("euclidean", "cosine")
_KNEE_SAMPLE = 1000


def check_clustering(
    eps: float | str, min_samples: int, metric: str, names: tuple[str, ...]
) -> None:
    """Raise ParameterError unless the parameters make sense; ``names``: words eps may be."""
    if isinstance(eps, str):
        if eps not in names:
            allowed = " or ".join(repr(name) for name in names)
            raise ParameterError(f"eps must be a number above 0 or {allowed}, got {eps!r}")
    elif not _is_number(eps, numbers.Real) or not 0 < eps < np.inf:
        raise ParameterError(
            f"eps must be a finite number above 0, got {eps!r}; "
            'eps="knee" chooses one from the data'
        )
    if not _is_number(min_samples, numbers.Integral) or min_samples < 1:
        raise ParameterError(
            f"min_samples must be a whole number of at least 1, got {min_samples!r}; "
            "1 makes every row a core row"
        )
    if not isinstance(metric, str):
        raise ParameterError(f"metric must be a name such as 'euclidean', got {metric!r}")
    if metric not in OWN_METRICS:
        _check_foreign_metric(metric, eps)


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check_foreign_metric(metric: str, eps: float | str) -> None:
    from sklearn.metrics.pairwise import PAIRWISE_DISTANCE_FUNCTIONS
    from sklearn.neighbors import VALID_METRICS

    known = set(PAIRWISE_DISTANCE_FUNCTIONS) | set(VALID_METRICS["brute"])
    known -= {"precomputed", "nan_euclidean"}
    if metric not in known:
        raise ParameterError(f"metric must be one of {', '.join(sorted(known))}, got {metric!r}")
    if isinstance(eps, str):
        raise ParameterError(
            f"eps={eps!r} works with the metrics {' and '.join(OWN_METRICS)}, "
            f"got metric={metric!r}; give eps as a number"
        )


def knee_of(
    prepared: Prepared, ids: NDArray[np.int64], k: int, backend: Backend, seed: int = 0
) -> Knee:
    """eps for rows ``ids`` from the distances of up to 1,000 of them to their k-th neighbours.

    Notes
    -----
    Distances are exact, from each sampled row to all rows ``ids``; for cosine they are
    turned into cosine distances. Time n_sampled * n_rows * n_cols multiply-adds.
    """
    generator = np.random.default_rng(seed)
    queries = ids
    if len(ids) > _KNEE_SAMPLE:
        queries = np.sort(generator.choice(ids, _KNEE_SAMPLE, replace=False))
    squares = backend.neighbour_squares(
        prepared.data, prepared.norms, queries, ids, k, prepared.frame
    )[:, k - 1]
    distances = squares / 2.0 if prepared.metric == "cosine" else np.sqrt(squares)
    return find_knee(distances, k, len(ids))


def add_counters(results: list[Clustered]) -> dict[str, int]:
    """Sum of the counters of several intervals."""
    total: dict[str, int] = {}
    for result in results:  # those of an earlier process may have run on another device
        for name, count in result.counters.items():
            total[name] = total.get(name, 0) + count
    return total


class DBSCAN(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Density-based clustering, exact and in bounded memory.

    Parameters
    ----------
    eps : float or "knee", default 0.5
        Rows at most this far apart are neighbours. "knee": the elbow of the sorted distances
        to neighbour ``min_samples`` of up to 1,000 sampled rows.
    min_samples : int, default 5
        Rows within eps, itself included, that make a row a core row.
    metric : str, default "euclidean"
        "euclidean" and "cosine" run on our kernels; scikit-learn's other metrics run through
        its own DBSCAN.
    device : "auto", "cpu" or "cuda", default "auto"
    memory_budget : int or str, optional
        Bytes, or text such as "4GB"; default 60% of what is free.
    n_threads : int, optional
        Default: every processor of this process.
    seed : int, default 0
        For the sample of ``eps="knee"``; labels for a given eps do not depend on it.

    Attributes
    ----------
    labels_ : int64[n_rows]
        Clusters numbered by their smallest core row, -1 is noise. A border row is in the
        lowest-numbered cluster with a core row within eps.
    core_sample_indices_ : int64[n_core]
    n_clusters_ : int
    eps_ : float
        The eps used.
    n_features_in_ : int

    Notes
    -----
    Two rows are neighbours when the sum of squared differences, in column order and float64,
    is at most eps * eps; for cosine the rows are divided by their norms and the sum compared
    with 2 * eps. Ester, Kriegel, Sander & Xu 1996. Time: at most n^2 / 2 int8 products of a
    row's length, far fewer where rows cluster; memory: at most
    64 + 8 * min_samples bytes a row and 300 MB.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [0.1], [0.2], [5.0]])
    >>> DBSCAN(eps=0.15, min_samples=2).fit_predict(X)
    array([ 0,  0,  0, -1])
    """

    def __init__(
        self,
        eps: float | str = 0.5,
        *,
        min_samples: int = 5,
        metric: str = "euclidean",
        device: str = "auto",
        memory_budget: int | str | None = None,
        n_threads: int | None = None,
        seed: int = 0,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.device = device
        self.memory_budget = memory_budget
        self.n_threads = n_threads
        self.seed = seed

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Cluster the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_cols)
            numpy array, memmap, DLPack, Zarr array or layer of a store.
        y : ignored

        Raises
        ------
        ParameterError, DataError
        """
        check_clustering(self.eps, self.min_samples, self.metric, ("knee",))
        device = resolve_device(self.device)
        n_threads = resolve_threads(self.n_threads)
        budget = resolve_budget(self.memory_budget)
        _check_feature_names(self, X, reset=True)
        rows = as_rows(X)
        self.n_features_in_ = rows.n_cols
        with (
            open_backend(device, n_threads) as backend,
            backend.hold(rows, budget // 2) as data,
        ):
            if self.metric in OWN_METRICS:
                self._fit_own(data, budget, backend)
            else:
                self._fit_foreign(data, backend.team)
        return self

    def _fit_own(self, data: Resident, budget: int, backend: Backend) -> None:
        prepared = prepare(data, self.metric, backend, seed=self.seed)
        ids = np.arange(data.rows.n_rows)
        eps = self.eps
        if isinstance(eps, str):
            eps = knee_of(prepared, ids, self.min_samples, backend, self.seed).eps
        with tempfile.TemporaryDirectory(prefix="topoact-") as scratch:
            prepared = replace(prepared, data=backend.spread(data, one_element(ids), Path(scratch)))
            found: dict[int, Clustered] = {}
            backend.cluster(
                prepared,
                np.array([0, len(ids)]),
                ids,
                eps=np.array([float(eps)]),
                min_samples=self.min_samples,
                budget_bytes=budget,
                todo=np.zeros(1, np.int64),
                keep=found.__setitem__,
            )
            result = found[0]
        self.labels_ = result.labels
        self.core_sample_indices_ = np.flatnonzero(result.core)
        self.n_clusters_ = result.n_clusters
        self.eps_ = float(eps)

    def _fit_foreign(self, data: Resident, team: Team) -> None:
        from sklearn.cluster import DBSCAN as Foreign

        data.largest(team)
        model = Foreign(
            eps=self.eps, min_samples=self.min_samples, metric=self.metric, n_jobs=team.n_threads
        ).fit(data.array)
        self.labels_ = model.labels_.astype(np.int64)
        self.core_sample_indices_ = model.core_sample_indices_.astype(np.int64)
        self.n_clusters_ = int(self.labels_.max(initial=-1)) + 1
        self.eps_ = float(self.eps)

    def fit_predict(self, X: ArrayLike, y: object = None) -> NDArray[np.int64]:
        """Cluster the rows of X and return ``labels_``."""
        return self.fit(X).labels_

    def labels(self, like: Any = None) -> Any:
        """``labels_`` as an array of the kind of ``like``; see `topoact_gpu.interop.to_kind`.

        Parameters
        ----------
        like : "numpy", "torch", "cupy" or an array, optional
            Such as the X that was fitted.
        """
        check_is_fitted(self, "labels_")
        return to_kind(self.labels_, like)
