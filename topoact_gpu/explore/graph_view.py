"""The graph as the page draws it: one table with everything that is known of the nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError, nearest_name

from .images import pictures_of
from .run_view import RunView
from .summaries import features_of
from .tables import encode_table

__all__ = ["column_means", "graph_table", "lens_names", "node_values"]

COVERAGE_FLOOR = 0.8
_FLOATS = ("purity", "entropy", "error_rate", "confidence")
_TOPS = ("top_class", "top_share", "top_lift", "top_p")
_LIFTS = ("lift_class", "lift_share", "lift_lift", "lift_p")


def graph_table(run: RunView, label: str | None = None) -> bytes:
    """The table of `GET runs/{run}/graph`; made once for each column of classes.

    Raises
    ------
    ParameterError
        There is no such column.
    """
    label = run.checked_label(label)
    table: bytes = run.once(
        ("graph", label), lambda: encode_table(_meta(run, label), _arrays(run, label))
    )
    return table


def _arrays(run: RunView, label: str | None) -> dict[str, NDArray[Any]]:
    graph, summary = run.graph, run.summary(label)
    exemplar = summary.exemplar[:, 0].astype(np.float64)
    exemplar[exemplar < 0] = np.nan
    return {
        "size": graph.sizes,
        "interval": _small(graph.node_interval, graph.interval_id),
        "component": summary.component,
        "degree": summary.degree,
        "lens": graph.node_lens.astype(np.float32),
        **{n: getattr(graph, n).astype(np.float32) for n in ("lens_std", "lens_min", "lens_max")},
        **{n: getattr(summary, n).astype(np.float32) for n in _FLOATS},
        **{n: _typed(n, getattr(summary, n)) for n in (*_TOPS, *_LIFTS)},
        "edge": graph.edges,
        "jaccard": graph.jaccard.astype(np.float32),
        "exemplar": exemplar,
    }


def _typed(name: str, values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int32 if name.endswith("class") else np.float32)


def _small(interval: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Interval numbers; a grid of many columns has more than int32 holds, then their ranks."""
    if known.size and known.max() > np.iinfo(np.int32).max:
        return np.searchsorted(known, interval)
    return interval


def _meta(run: RunView, label: str | None) -> dict[str, Any]:
    graph, summary = run.graph, run.summary(label)
    return {
        "run": run.info(),
        "label": label,
        "class_names": [] if label is None else run.class_codes(label)[1],
        "columns": [
            {"name": c.name, "kind": c.kind, "n_values": c.n_values} for c in run.column_kinds()
        ],
        "lens_names": lens_names(run),
        "coverage": graph.coverage,
        "noise": graph.noise,
        "coverage_floor": COVERAGE_FLOOR,
        "warnings": list(summary.warnings),
        "n_components": graph.n_components,
        "n_loops": graph.n_loops,
        "n_rows": graph.n_rows,
        "class_coverage": summary.class_coverage,
        "class_noise": summary.class_noise,
        "class_counts": summary.base_count,
        "interval": {
            "ids": _small(summary.interval_id, graph.interval_id),
            "offered": summary.interval_offered,
            "taken": summary.interval_taken,
            "noise": summary.interval_noise,
        },
        "has_images": _has_images(run),
        "has_text": _has_text(run),
        "has_activations": run.activations is not None,
        **features_of(run, label),
    }


def _has_images(run: RunView) -> bool:
    pictures = pictures_of(run)
    return pictures is not None and pictures.any


def _has_text(run: RunView) -> bool:
    return {"start", "end"} <= set(run.header.columns) and any(
        "text" in i for i in run.inputs or []
    )


def lens_names(run: RunView) -> list[str]:
    """A name for each lens column.

    Examples
    --------
    A lens ``pca:2`` has ``pca:2 1`` and ``pca:2 2``; one of a single column has its own name.
    """
    lens = run.info()["settings"]["lens"]
    count = run.graph.node_lens.shape[1]
    parts = [part.strip() for part in lens.split(",")]
    if count == 1:
        return [lens]
    return parts if len(parts) == count else [f"{lens} {i + 1}" for i in range(count)]


def node_values(
    run: RunView,
    kind: str,
    *,
    label: str | None = None,
    class_id: int | None = None,
    column: str | None = None,
) -> NDArray[np.float32]:
    """One value for each node: a class's share or lift, or the mean of a number column.

    Raises
    ------
    ParameterError
        There is no such kind, class or column.
    """
    if kind == "column":
        return column_means(run, column or "").astype(np.float32)
    if kind not in ("share", "lift"):
        raise ParameterError(f"kind must be share, lift or column, got {kind[:40]!r}")
    label = run.checked_label(label)
    summary = run.summary(label)
    n_classes = len(summary.base_count)
    if class_id is None or not 0 <= class_id < n_classes:
        raise ParameterError(f"class must be from 0 to {n_classes - 1:,}, got {class_id}")
    found = summary.shares(class_id) if kind == "share" else summary.lifts(class_id)
    return found.astype(np.float32)


def column_means(run: RunView, column: str) -> NDArray[np.float64]:
    """The mean of a row column in each node, over the rows where it is known; else NaN.

    Raises
    ------
    ParameterError
        There is no such column of numbers.
    """
    known = [c.name for c in run.column_kinds() if c.kind == "number"]
    if column not in known:
        raise ParameterError(
            f"column must be one of numbers, not {column[:80]!r}{nearest_name(column[:80], known)}"
        )
    found: NDArray[np.float64] = run.once(("means", column), lambda: _means(run, column))
    return found


def _means(run: RunView, column: str) -> NDArray[np.float64]:
    graph = run.graph
    values = run.columns[column][graph.rows].astype(np.float64)
    known = np.isfinite(values)
    node = np.repeat(np.arange(graph.n_nodes), graph.sizes)
    total = np.bincount(node, np.where(known, values, 0.0), graph.n_nodes)
    count = np.bincount(node, known, graph.n_nodes)
    return np.divide(total, count, out=np.full(graph.n_nodes, np.nan), where=count > 0)
