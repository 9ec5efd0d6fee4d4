"""The summary of a run: its row columns, and the store that its rows came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu import cover as covers
from topoact_gpu.array_group import read_errors
from topoact_gpu.cover import CoverElements
from topoact_gpu.errors import StoreError, TopoactError
from topoact_gpu.graph import MapperGraph
from topoact_gpu.labels import as_classes, label_column, predicted_classes
from topoact_gpu.rows import as_rows
from topoact_gpu.runs import Run, load_run
from topoact_gpu.store import open_store
from topoact_gpu.summary import Summary, summarise
from topoact_gpu.summary_group import load_summary, write_summary

__all__ = [
    "activations_of",
    "elements_of",
    "ensure_summary",
    "load_summary",
    "offers_of",
    "summary_of_run",
    "with_offered",
    "word_column",
    "write_summary",
]

_EDGE_BYTES = 64 << 20


def summary_of_run(
    path: str | Path,
    *,
    label: str | None = None,
    n_exemplars: int = 12,
    coverage_floor: float = 0.8,
    n_threads: int | None = None,
) -> Summary:
    """Summarise a run from its row columns and the store that its rows came from.

    Parameters
    ----------
    path : str or Path
    label : str, optional
        The row column that holds the classes; by default as
        `topoact_gpu.labels.label_column` chooses.
    n_exemplars, coverage_floor, n_threads
        As for `topoact_gpu.summary.summarise`.

    Returns
    -------
    Summary
        ``warnings`` say what is unknown, and why: mean rows and exemplars where the store is gone
        or has changed, the misclassified share where classes and predictions have no names in
        common.

    Raises
    ------
    StoreError
        There is no run, or it is damaged.
    ParameterError
        There is no such column.
    """
    run = load_run(path)
    elements = elements_of(run.graph, run.lens_values)
    graph = with_offered(run.graph, elements)
    label = label_column(run.columns, run.names, label=label)
    activations, attributes, remarks = activations_of(run)
    options: dict[str, Any] = {}
    if label is not None:
        options = {"classes": run.columns[label], "class_names": run.names.get(label)}
        predicted, remark = _predictions(run, label, attributes)
        options["predictions"] = predicted
        remarks += [remark] if remark else []
    if (word := word_column(run)) is not None:
        options |= {"words": run.columns[word], "word_names": run.names[word]}
    edges = activations is not None and _edges_fit(graph, activations)
    if activations is not None and not edges:
        remarks.append("mean rows and exemplars of the edges were left out: they are too many")
    summary = summarise(
        graph,
        label=label,
        confidence=run.columns.get("confidence"),
        lens_values=run.lens_values,
        offers=offers_of(elements, graph.n_rows),
        activations=activations,
        edge_activations=edges,
        inputs=_inputs(run),
        n_exemplars=n_exemplars,
        coverage_floor=coverage_floor,
        n_threads=n_threads,
        **options,
    )
    summary.warnings.extend(remarks)
    return summary


def ensure_summary(
    path: str | Path, *, label: str | None = None, n_threads: int | None = None, write: bool = False
) -> Summary:
    """The summary in a run, or one that is computed where it has none for this label.

    Parameters
    ----------
    path : str or Path
    label, n_threads
        As for `summary_of_run`.
    write : bool
        Write it into the run if it was computed.

    Returns
    -------
    Summary
    """
    found = load_summary(path)
    if found is not None and label in (None, found.label):
        return found
    summary = summary_of_run(path, label=label, n_threads=n_threads)
    if write:
        write_summary(path, summary)
    return summary


def activations_of(run: Run) -> tuple[Any, dict[str, Any], list[str]]:
    """The rows that a run was computed from, the attributes of their store, and what is amiss.

    Returns
    -------
    activations : Layer, memmap or None
    attributes : dict
    remarks : list of str
        Why there are no activations.
    """
    path, layer = run.source.get("path"), run.source.get("layer")
    unknown = "mean rows and exemplars are not known: "
    if path is None:
        return None, {}, [f"{unknown}the run does not say where its rows came from"]
    try:
        with read_errors(str(path)):
            found, attributes = _opened(str(path), layer)
            n_rows = as_rows(found).n_rows
    except TopoactError as error:
        return None, {}, [unknown + " ".join(str(error).split())]
    if n_rows != run.graph.n_rows:
        changed = f"{path} has {n_rows:,} rows, the run {run.graph.n_rows:,}"
        return None, attributes, [f"{unknown}{changed}: the store has changed"]
    return found, attributes, []


def _opened(path: str, layer: str | None) -> tuple[Any, dict[str, Any]]:
    if layer is not None:
        store = open_store(path)
        return store.layer(layer), store.attributes
    if not path.endswith(".npy"):
        raise StoreError(f"{path} is no store and no .npy file")
    return np.load(path, mmap_mode="r"), {}


def elements_of(graph: MapperGraph, lens_values: NDArray[np.float64]) -> CoverElements | None:
    """The elements that the graph's cover lays on its lens; None if they are not the graph's.

    Runs do not keep which rows each element was offered: the cover is fitted again, and taken only
    where its intervals and their rows are as many as the graph says.
    """
    known = graph.parameters.get("cover")
    if not isinstance(known, dict):
        return None
    options = dict(known)
    kind = getattr(covers, str(options.pop("cover", "")), None)
    if not (isinstance(kind, type) and issubclass(kind, covers.Cover)):
        return None
    try:
        elements: CoverElements = kind(**options).fit(lens_values)
    except (TopoactError, TypeError):
        return None
    same = np.array_equal(elements.element_id, graph.interval_id)
    return elements if same and int(elements.sizes.sum()) == graph.n_offered else None


def with_offered(graph: MapperGraph, elements: CoverElements | None) -> MapperGraph:
    """The graph with the rows of each interval, which graphs of earlier releases do not hold."""
    if graph.interval_offered is not None or elements is None:
        return graph
    return dataclasses.replace(graph, interval_offered=elements.sizes)


def offers_of(elements: CoverElements | None, n_rows: int) -> NDArray[np.int64] | None:
    """How many elements hold each row, int64[n_rows]; None where the elements are not known."""
    return None if elements is None else np.bincount(elements.rows, minlength=n_rows)


def word_column(run: Run) -> str | None:
    """The row column that holds the token or word of each row; None where there is none."""
    for name in ("token", "word"):
        if name in run.columns and run.names.get(name):
            return name
    return None


def _inputs(run: Run) -> NDArray[Any] | None:
    """The input that each row is from, if it is known."""
    for name in ("input", "photo", "image"):
        found = run.columns.get(name)
        if found is not None and found.dtype.kind in "iu":
            return found
    return None


def _edges_fit(graph: MapperGraph, activations: Any) -> bool:
    return graph.n_edges * as_rows(activations).n_cols * 4 <= _EDGE_BYTES


def _predictions(
    run: Run, label: str, attributes: dict[str, Any]
) -> tuple[NDArray[np.int64] | None, str | None]:
    """The predicted class of each row in the codes of the label, and why not."""
    classes = as_classes(run.columns[label], run.graph.n_rows)
    if label == "class_id" and "correct" in run.columns:
        right = run.columns["correct"]
        beyond = int(classes.max(initial=0)) + 1
        return np.where(right == 1, classes, np.where(right == 0, beyond, -1)), None
    if "prediction" not in run.columns:
        return None, None
    outputs = run.names.get("prediction") or attributes.get("output_names")
    predicted, remark = predicted_classes(
        classes, run.columns["prediction"], run.names.get(label), outputs
    )
    return predicted, None if remark is None else f"misclassified share: {remark}"
