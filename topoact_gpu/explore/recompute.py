"""A run computed anew with other settings; the curve that eps is read from; runs that are saved."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.cluster import DBSCAN, OWN_METRICS
from topoact_gpu.cover import BalancedCover, KeplerCover, UniformCover
from topoact_gpu.device import resolve_budget, resolve_threads
from topoact_gpu.devices import open_backend
from topoact_gpu.errors import CapacityError, DataError, ParameterError, nearest_name
from topoact_gpu.knee import find_knee
from topoact_gpu.lens import parse_lens
from topoact_gpu.mapper import Mapper
from topoact_gpu.prepare import prepare
from topoact_gpu.rows import as_rows
from topoact_gpu.runs import save_run

from .faults import Conflict
from .headers import settings_of
from .jobs import Progress
from .run_view import RunView

__all__ = ["Recipe", "knee_curve", "read_settings", "recompute", "save"]

COVERS: dict[str, Any] = {
    "uniform": UniformCover,
    "kepler": KeplerCover,
    "balanced": BalancedCover,
}
MOST_INTERVALS, MOST_ELEMENTS, MOST_OVERLAP = 100_000, 1_000_000, 0.99
MOST_SAMPLES = 1_000_000
_EPS_NAMES = ("knee", "knee-per-interval")
_MEMBERSHIP_BYTES = 17
"""Of a row in an interval: its id, its label, and whether it is core."""
_CURVE, _KNEE_QUERIES, _KNEE_ROWS = 500, 1000, 100_000


@dataclass(frozen=True)
class Recipe:
    """Settings that were looked at and are within reason; `read_settings` makes it.

    Attributes
    ----------
    lens : str or None
        None: the values that the run has.
    cover : str
    intervals : tuple of int
    overlap : tuple of float
    eps : float or str
    min_samples : int
    metric : str
    min_intersection : int
    """

    lens: str | None
    cover: str
    intervals: tuple[int, ...]
    overlap: tuple[float, ...]
    eps: float | str
    min_samples: int
    metric: str
    min_intersection: int

    def mapper(self, progress: Progress | None = None) -> Mapper:
        """The estimator that these settings describe."""
        one_or_all: Any = [each[0] if len(each) == 1 else list(each) for each in self._per_column()]
        return Mapper(
            self.lens if self.lens is not None else "l2norm",
            cover=COVERS[self.cover](*one_or_all),
            clusterer=DBSCAN(self.eps, min_samples=self.min_samples, metric=self.metric),
            min_intersection=self.min_intersection,
            progress=progress,
        )

    def _per_column(self) -> tuple[tuple[Any, ...], ...]:
        return self.intervals, self.overlap

    def memberships(self, n_rows: int, n_lens: int) -> float:
        """Rows summed over the intervals, about."""
        overlap = self.overlap * n_lens if len(self.overlap) == 1 else self.overlap
        return n_rows * math.prod(1.0 / (1.0 - each) for each in overlap)


def read_settings(run: RunView, settings: Mapping[str, Any]) -> Recipe:
    """Check the settings that the page sent.

    Parameters
    ----------
    run : RunView
        What is left out is as in this run.
    settings : mapping
        As ``RunInfo.settings`` of docs/explorer-api.md.

    Raises
    ------
    ParameterError
        A value is wrong; the message names it and says what it can be.

    Notes
    -----
    Bounds keep a slip of the hand from filling the memory: at most 100,000 intervals of a lens
    column, 1,000,000 altogether, an overlap of at most 0.99. `Mapper` itself has none of them.
    """
    if not isinstance(settings, Mapping):
        raise ParameterError(f"settings must be a JSON object, got {type(settings).__name__}")
    before = settings_of(run.header)
    for name in settings:
        if name not in before:
            raise ParameterError(f"there is no setting {name!r:.60}{nearest_name(name, before)}")
    asked = {**before, **settings}
    if asked["clusterer"] != "DBSCAN":
        raise ParameterError(
            f"clusterer must be DBSCAN here, got {asked['clusterer']!r:.60}; others can be given "
            "to Mapper(clusterer=...) in Python"
        )
    lens, n_lens = _lens(run, asked["lens"])
    return Recipe(
        lens=lens,
        cover=_one_of("cover", asked["cover"], tuple(COVERS)),
        intervals=_intervals(asked["intervals"], n_lens),
        overlap=_overlaps(asked["overlap"], n_lens),
        eps=_eps(asked["eps"]),
        min_samples=_count("min_samples", asked["min_samples"], 1, MOST_SAMPLES, default=5),
        metric=_one_of("metric", asked["metric"] or "euclidean", OWN_METRICS),
        min_intersection=_count("min_intersection", asked["min_intersection"], 1, MOST_SAMPLES),
    )


def _lens(run: RunView, lens: Any) -> tuple[str | None, int]:
    """The lens, and its number of columns; what the run was given in Python is kept as it is."""
    if not isinstance(lens, str):
        raise ParameterError(f"lens must be a name such as 'l2norm' or 'pca:2', got {lens!r:.60}")
    if lens == settings_of(run.header)["lens"] and not _is_named(lens):
        values = run.lens_values
        if not np.isfinite(values).all():
            raise ParameterError(
                f"the lens {lens!r:.60} of {run.name} was not saved with it; choose one by name"
            )
        return None, values.shape[1]
    name, number = parse_lens(lens)
    n_rows, n_cols = run.header.n_rows, _n_cols(run)
    limits = {"pca": n_cols, "column": n_cols - 1, "umap": n_rows - 2}
    if number is not None and number > limits.get(name, number):
        raise ParameterError(f"lens {name!r} takes a number of at most {limits[name]:,} here")
    return lens, number if name in ("pca", "umap") and number is not None else 1


def _is_named(lens: str) -> bool:
    try:
        parse_lens(lens)
    except ParameterError:
        return False
    return True


def _n_cols(run: RunView) -> int:
    activations = run.activations
    if activations is None:
        raise Conflict(
            f"{run.name} cannot be computed anew: its rows are not to be had; "
            "open it with --store PATH"
        )
    return int(activations.shape[1])


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ParameterError(f"{name} must be {' or '.join(known)} here, got {value!r:.60}")
    return value


def _count(name: str, value: Any, low: int, high: int, *, default: int | None = None) -> int:
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ParameterError(
            f"{name} must be a whole number from {low:,} to {high:,}, got {value!r:.60}"
        )
    return value


def _listed(name: str, value: Any, n_lens: int) -> list[Any]:
    """One value, or one for each column of the lens."""
    values = value if isinstance(value, list) else [value]
    if len(values) not in {1, n_lens}:
        wanted = "one value" if n_lens == 1 else f"1 or {n_lens} values, one a lens column"
        raise ParameterError(f"{name} must have {wanted}, got {len(values)}")
    return values


def _intervals(value: Any, n_lens: int) -> tuple[int, ...]:
    values = _listed("intervals", value, n_lens)
    counts = tuple(_count("intervals", each, 1, MOST_INTERVALS) for each in values)
    total = math.prod(counts) if len(counts) == n_lens else counts[0] ** n_lens
    if total > MOST_ELEMENTS:
        raise ParameterError(
            f"intervals make {total:,} cells in {n_lens} lens columns, at most {MOST_ELEMENTS:,} "
            "are allowed here; take fewer"
        )
    return counts


def _overlaps(value: Any, n_lens: int) -> tuple[float, ...]:
    values = _listed("overlap", value, n_lens)
    for each in values:
        number = isinstance(each, int | float) and not isinstance(each, bool)
        if not number or not 0.0 <= each <= MOST_OVERLAP:
            raise ParameterError(f"overlap must be from 0 to {MOST_OVERLAP}, got {each!r:.60}")
    return tuple(float(each) for each in values)


def _eps(value: Any) -> float | str:
    if isinstance(value, str) and value in _EPS_NAMES:
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 < value < math.inf:
        raise ParameterError(
            f"eps must be a number above 0, or {' or '.join(_EPS_NAMES)}, got {value!r:.60}"
        )
    return float(value)


def recompute(run: RunView, recipe: Recipe, progress: Progress | None = None) -> RunView:
    """Compute a run anew from the rows of another; it is added to the session.

    Parameters
    ----------
    run : RunView
    recipe : Recipe
    progress : callable, optional
        As for `Mapper`; what it raises stops the work.

    Returns
    -------
    RunView

    Raises
    ------
    CapacityError
        The rows in their intervals do not fit the budget: 60% of the memory that is free.
    ParameterError, DataError, StoreError, Conflict
    """
    n_rows = run.header.n_rows
    _n_cols(run)
    assert run.activations is not None
    budget = resolve_budget(None)
    given = run.lens_values if recipe.lens is None else None
    n_lens = given.shape[1] if given is not None else _columns_of(str(recipe.lens))
    needed = recipe.memberships(n_rows, n_lens) * _MEMBERSHIP_BYTES
    if needed > budget:
        raise CapacityError(
            f"{n_rows:,} rows in intervals that overlap by {list(recipe.overlap)} take about "
            f"{needed / 1e9:,.1f} GB, the budget is {budget / 1e9:,.1f} GB (60% of what is free); "
            "take less overlap"
        )
    mapper = recipe.mapper(progress).set_params(memory_budget=max(budget, 2**24))
    mapper.fit(run.activations.rows, lens_values=given)
    graph, lens_values, report = mapper.graph_, mapper.lens_values_, mapper.report_
    name = _name(run, recipe)
    return run.session.add_run(name, graph, lens_values=lens_values, report=report, parent=run)


def _columns_of(lens: str) -> int:
    name, number = parse_lens(lens)
    return number if name in ("pca", "umap") and number is not None else 1


def _name(run: RunView, recipe: Recipe) -> str:
    """The name of the run it came from, and what is different."""
    before = settings_of(run.header)
    told = {
        "lens": recipe.lens or before["lens"],
        "cover": recipe.cover,
        "intervals": list(recipe.intervals),
        "overlap": list(recipe.overlap),
        "eps": recipe.eps,
        "min_samples": recipe.min_samples,
        "metric": recipe.metric,
        "min_intersection": recipe.min_intersection,
    }
    changed = [f"{key} {_short(value)}" for key, value in told.items() if before[key] != value]
    root = run
    while root.parent is not None:
        root = root.parent
    return f"{root.name}, {', '.join(changed) or 'again'}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def knee_curve(run: RunView) -> dict[str, Any]:
    """The sorted distances to the k-th neighbour, from the report or computed now, once.

    Returns
    -------
    dict
        ``distances`` (at most 500, ascending), ``quantile`` of each, ``k``, ``eps`` at the elbow
        (None where there is none), ``n_rows`` that the neighbours were sought among.

    Notes
    -----
    Computed now, distances are exact from 1,000 rows to the others; of more than 100,000 rows a
    seeded choice of so many stands for all, and distances are somewhat larger then.

    Raises
    ------
    ParameterError, Conflict
    """
    settings = settings_of(run.header)
    found = run.report.get("knee")
    if not isinstance(found, dict) or not found.get("distances"):
        k = settings["min_samples"] or 5
        metric = settings["metric"] or "euclidean"
        found = run.once(("knee", k, metric), lambda: _measured(run, k, metric))
    distances = np.asarray(found["distances"], np.float64)
    at = np.unique(np.linspace(0, len(distances) - 1, _CURVE).round().astype(np.int64))
    return {
        "distances": distances[at].tolist(),
        "quantile": (at / max(len(distances) - 1, 1)).tolist(),
        "k": found["k"],
        "eps": found["eps"],
        "n_rows": found["n_rows"],
    }


def _measured(run: RunView, k: int, metric: str) -> dict[str, Any]:
    _one_of("metric", metric, OWN_METRICS)
    _n_cols(run)
    assert run.activations is not None
    rows = run.activations.rows
    generator = np.random.default_rng(0)
    if rows.n_rows > _KNEE_ROWS:
        ids = np.sort(generator.choice(rows.n_rows, _KNEE_ROWS, replace=False))
        rows = as_rows(rows.take(ids))
    distances = _distances(rows, k, metric, generator)
    try:
        eps: float | None = find_knee(distances, k, rows.n_rows).eps
    except DataError:
        eps = None
    return {"distances": np.sort(distances), "k": k, "eps": eps, "n_rows": rows.n_rows}


def _distances(
    rows: Any, k: int, metric: str, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Distance to the k-th neighbour of up to 1,000 rows; those that have none are left out."""
    every = np.arange(rows.n_rows)
    queries = every
    if rows.n_rows > _KNEE_QUERIES:
        queries = np.sort(generator.choice(every, _KNEE_QUERIES, replace=False))
    with (
        open_backend("cpu", resolve_threads(None)) as backend,
        backend.hold(rows, resolve_budget(None) // 2) as data,
    ):
        ready = prepare(data, metric, backend, seed=0)
        squares = backend.neighbour_squares(ready.data, ready.norms, queries, every, k, ready.frame)
    last = squares[:, k - 1]
    found = last / 2.0 if metric == "cosine" else np.sqrt(last)
    found = found[np.isfinite(found)]
    if not len(found):
        raise DataError(f"no row has {k} neighbours among {rows.n_rows:,}; lower min_samples")
    return found


def save(run: RunView, name: str) -> Path:
    """Write a recomputed run beside the one it came from; it appears whole or not at all.

    Parameters
    ----------
    run : RunView
    name : str
        A plain file name; ``.zarr`` is added where it is missing.

    Returns
    -------
    Path

    Raises
    ------
    Forbidden
        The session may only read.
    Conflict
        It is a file already, or came from none.
    ParameterError
        The name is no plain file name.
    StoreError
        There is something of that name, or the disk refuses.
    """
    run.session.check_writable()
    if run.origin == "file":
        raise Conflict(f"{run.name} is a file already; only recomputed runs are saved")
    root = run.parent
    while root is not None and root.path is None:
        root = root.parent
    if root is None or root.path is None:
        raise Conflict(f"{run.name} came from no file, so there is no folder to save it in")
    path = root.path.with_name(_file_name(name))
    if path.exists() or path.is_symlink():
        raise Conflict(f"{path.name} exists beside {root.name}; choose another name")
    save_run(
        path,
        run.graph,
        lens_values=run.lens_values,
        report=run.report,
        columns=run.columns,
        names=run._run().names,
        source=run.source,
    )
    run.path, run.name = path, path.name.removesuffix(".zarr")
    return path


def _file_name(name: Any) -> str:
    plain = isinstance(name, str) and re.fullmatch(r"[^\x00-\x1f/\\:*?\"<>|]{1,120}", name)
    if not plain or name.startswith((".", " ", "~")) or name.endswith((".", " ")):
        raise ParameterError(
            'name must be a plain file name: without slashes or : * ? " < > |, not beginning '
            f"with a dot, at most 120 characters; got {name!r:.60}"
        )
    return name if name.endswith(".zarr") else f"{name}.zarr"
