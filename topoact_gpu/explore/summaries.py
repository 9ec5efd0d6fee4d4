"""The summary of a run's nodes: what the explorer hands to `topoact_gpu.summary`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from topoact_gpu.features import find_features
from topoact_gpu.run_summary import elements_of, offers_of
from topoact_gpu.summary import Summary, summarise
from topoact_gpu.summary_group import load_summary

if TYPE_CHECKING:
    from .run_view import RunView

__all__ = ["features_of", "summary_of"]

_OF_ROWS = ("exemplar", "exemplar_distance", "mean_activation", "overall_activation")


def summary_of(run: RunView, label: str | None) -> Summary:
    """The summary of the nodes by the classes of a row column: that in the run, or a new one.

    Notes
    -----
    Mean rows and exemplars are the same for all classes, and worked out once.
    """
    codes, names = (None, None) if label is None else run.class_codes(label)
    saved = _saved(run)
    if saved is not None and saved.label == label and saved.class_names == (names or []):
        return saved
    words = run.words
    summary = summarise(
        run.graph,
        classes=codes,
        class_names=names,
        label=label,
        predictions=run.predictions(label),
        confidence=run.columns.get("confidence"),
        offers=run.once("offers", lambda: _offers(run)),
        words=None if words is None else words[0],
        word_names=None if words is None else words[1],
    )
    remark = run.prediction_remark(label)
    if remark is not None:
        summary.warnings.append(remark)
    rows: Summary = run.once("rows of nodes", lambda: _of_rows(run)) if saved is None else saved
    return replace(summary, **{name: getattr(rows, name) for name in _OF_ROWS})


def _offers(run: RunView) -> Any:
    return offers_of(elements_of(run.graph, run.lens_values), run.graph.n_rows)


def _of_rows(run: RunView) -> Summary:
    """The summary without classes."""
    activations = None if run.activations is None else run.activations.rows
    return summarise(run.graph, activations=activations, inputs=run.columns.get("input"))


def _saved(run: RunView) -> Summary | None:
    """The summary in the run, if it knows what could be known now of the activations."""
    if run.path is None or not (run.path / "summary").is_dir():
        return None
    found = load_summary(run.path)
    whole = found is not None and (found.mean_activation is not None or run.activations is None)
    return found if whole else None


def features_of(run: RunView, label: str | None) -> dict[str, Any]:
    """Branches, loops and hubs of the graph, named by the classes that set them apart."""
    found = find_features(run.graph, run.summary(label))
    return {
        "branches": [asdict(feature) for feature in found.branches],
        "loops": [asdict(feature) for feature in found.loops],
        "hubs": [asdict(feature) for feature in found.hubs],
    }
