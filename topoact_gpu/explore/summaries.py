"""The summary of a run's nodes: what the explorer hands to `topoact_gpu.summary`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from topoact_gpu.features import find_features
from topoact_gpu.summary import Summary, summarise
from topoact_gpu.summary_group import load_summary

if TYPE_CHECKING:
    from .session import RunView

__all__ = ["features_of", "summary_of"]


def summary_of(run: RunView, label: str | None) -> Summary:
    """The summary of the nodes by the classes of a row column: that in the run, or a new one."""
    codes, names = (None, None) if label is None else run.class_codes(label)
    saved = None if run.path is None else _saved(run, label, names)
    if saved is not None:
        return saved
    words = run.words
    summary = summarise(
        run.graph,
        classes=codes,
        class_names=names,
        label=label,
        predictions=run.predictions(label),
        confidence=run.columns.get("confidence"),
        words=None if words is None else words[0],
        word_names=None if words is None else words[1],
        activations=None if run.activations is None else run.activations.rows,
        inputs=run.columns.get("input"),
    )
    remark = run.prediction_remark(label)
    if remark is not None:
        summary.warnings.append(remark)
    return summary


def _saved(run: RunView, label: str | None, names: list[str] | None) -> Summary | None:
    """The summary in the run, if it is of these classes and knows what could be known now."""
    assert run.path is not None
    if not (run.path / "summary").is_dir():
        return None
    found = load_summary(run.path)
    same = found is not None and found.label == label and found.class_names == (names or [])
    whole = found is not None and (found.mean_activation is not None or run.activations is None)
    return found if same and whole else None


def features_of(run: RunView, label: str | None) -> dict[str, Any]:
    """Branches, loops and hubs of the graph, named by the classes that set them apart."""
    found = find_features(run.graph, run.summary(label))
    return {
        "branches": [asdict(feature) for feature in found.branches],
        "loops": [asdict(feature) for feature in found.loops],
        "hubs": [asdict(feature) for feature in found.hubs],
    }
