"""What a selection of nodes holds: their rows, and what sets those apart from all rows."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.summary import (
    SIGNIFICANT,
    CountTable,
    RowSummary,
    exemplars_of,
    summarise_rows,
    token_table,
    typical_per_class,
)

from .checks import rows_in
from .graph_view import lens_names
from .row_views import row_views
from .run_view import RunView

__all__ = ["describe_selection", "nodes_of_rows", "sampled"]

MOST_CLASSES = 50
# beyond them, where their lift is no chance: a rare class may be what sets a selection apart
MOST_LIFTED = 20
MOST_WORDS = 50
N_EXEMPLARS = 12
N_PER_CLASS = (5, 5)
N_COLUMNS = 10
N_BINS = 30
READ_BYTES = 64 << 20
MOST_READ = 20_000


def describe_selection(
    run: RunView, nodes: NDArray[np.int64], label: str | None = None
) -> dict[str, Any]:
    """Describe the union of the rows of some nodes.

    Parameters
    ----------
    run : RunView
    nodes : int64[n]
        Ascending, each once.
    label : str, optional
        The row column whose values are the classes.

    Returns
    -------
    dict
        As ``POST selection`` answers, and ``n_read``: of how many of the rows activations were
        read (a sample, evenly spread, where there are many).
    """
    label = run.checked_label(label)
    rows = rows_in(run, nodes)
    summary = _summary(run, rows, label)
    return {
        "n_nodes": len(nodes),
        "n_rows": len(rows),
        "share": len(rows) / max(run.header.n_rows, 1),
        "lens": _lens(run, rows),
        "classes": _classes(run, summary.classes, label),
        "n_classes": len(summary.classes),
        "purity": summary.purity,
        "entropy": summary.entropy,
        "error_rate": summary.error_rate,
        "confidence": summary.confidence,
        **_activations(run, rows, label),
        "words": _words(run, rows),
    }


def nodes_of_rows(
    run: RunView, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nodes that hold any of some rows, ascending, and how many of them each holds.

    Returns
    -------
    nodes, count : int64[m]
    """
    graph = run.graph
    wanted = np.zeros(graph.n_rows, dtype=bool)
    wanted[rows] = True
    before = np.concatenate([[0], np.cumsum(wanted[graph.rows])])
    count = np.diff(before[graph.indptr])
    nodes = np.flatnonzero(count)
    return nodes, count[nodes]


def sampled(run: RunView, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows, or so many of them, evenly spread, that their activations can be read at once."""
    held = run.activations
    row_bytes = 1 if held is None else held.shape[1] * held.dtype.itemsize
    most = min(max(READ_BYTES // max(row_bytes, 1), 1), MOST_READ)
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _summary(run: RunView, rows: NDArray[np.int64], label: str | None) -> RowSummary:
    return summarise_rows(
        rows,
        classes=None if label is None else run.class_codes(label)[0],
        base_count=None if label is None else run.summary(label).base_count,
        predictions=run.predictions(label),
        confidence=run.columns.get("confidence"),
    )


def _lens(run: RunView, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """A histogram of each lens column; none where the values are not known."""
    found = []
    for i, name in enumerate(lens_names(run)):
        column = run.lens_values[:, i]
        if not np.isfinite(column).all() or not column.size:
            continue
        every, edges = run.once(("lens counts", i), partial(np.histogram, column, N_BINS))
        counts = np.histogram(column[rows], bins=edges)[0]
        found.append({"name": name, "edges": edges, "counts": counts, "all": every})
    return found


def _classes(run: RunView, table: CountTable, label: str | None) -> list[dict[str, Any]]:
    names = [] if label is None else run.class_codes(label)[1]
    columns = (table.id, table.count, table.share, table.base, table.lift, table.p)
    listed = listed_classes(table)
    return [
        {"id": c, "name": names[c], "count": count, "share": s, "base": b, "lift": lift, "p": p}
        for c, count, s, b, lift, p in zip(
            *(values[listed].tolist() for values in columns), strict=True
        )
    ]


def listed_classes(table: CountTable) -> NDArray[np.int64]:
    """Places of the most frequent classes, and of the significant ones with the largest lift."""
    strong = np.flatnonzero((table.p < SIGNIFICANT) & (table.lift > 1))
    strong = strong[np.lexsort((table.id[strong], -table.lift[strong]))][:MOST_LIFTED]
    return np.union1d(np.arange(min(table.id.size, MOST_CLASSES)), strong)


def _activations(run: RunView, rows: NDArray[np.int64], label: str | None) -> dict[str, Any]:
    """What the activations of the rows say; nothing where they cannot be had."""
    nothing: dict[str, Any] = {
        "mean_activation": None,
        "top_columns": [],
        "exemplars": [],
        "per_class": [],
    }
    if run.activations is None or not len(rows):
        return {**nothing, "n_read": 0}
    read = sampled(run, rows)
    values = run.activations[read]
    mean = values.mean(axis=0, dtype=np.float64)
    inputs = run.columns.get("input")
    own = None if inputs is None else inputs[read]
    places = np.arange(len(read))
    nearest, _ = exemplars_of(places, values, own, N_EXEMPLARS)
    return {
        "mean_activation": float(mean.mean()),
        "top_columns": _top_columns(mean, run.summary(label).overall_activation),
        "exemplars": row_views(run, read[nearest], label),
        "per_class": _per_class(run, read, values, own, label),
        "n_read": len(read),
    }


def _top_columns(mean: NDArray[np.float64], overall: Any) -> list[dict[str, Any]]:
    """The columns whose mean is farthest from that of all rows."""
    if overall is None:
        return []
    order = np.argsort(-np.abs(mean - overall), kind="stable")[:N_COLUMNS]
    return [{"column": c, "mean": mean[c], "all": overall[c]} for c in order.tolist()]


def _per_class(
    run: RunView, rows: NDArray[np.int64], values: Any, inputs: Any, label: str | None
) -> list[dict[str, Any]]:
    if label is None:
        return []
    codes, names = run.class_codes(label)
    places = np.arange(len(rows))
    found = typical_per_class(places, codes[rows], values, inputs, *N_PER_CLASS)
    return [
        {"id": code, "name": names[code], "rows": row_views(run, rows[own], label)}
        for code, own in found
    ]


def _words(run: RunView, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The words of the rows; none where they are no text."""
    words = run.words
    if words is None:
        return []
    codes, names, base = words
    table = token_table(rows, codes, base, n=MOST_WORDS)
    return [
        {"word": names[code], "count": count, "lift": lift}
        for code, count, lift in zip(
            table.id.tolist(), table.count.tolist(), table.lift.tolist(), strict=True
        )
    ]
