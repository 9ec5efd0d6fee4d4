"""The summary of a run's nodes: what the explorer hands to `topoact_gpu.summary`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from topoact_gpu.features import find_features
from topoact_gpu.summary import Summary, summarise

if TYPE_CHECKING:
    from .session import RunView

__all__ = ["features_of", "summary_of"]


def summary_of(run: RunView, label: str | None) -> Summary:
    """Summarise the nodes of a run by the classes of a row column."""
    codes, names = (None, None) if label is None else run.class_codes(label)
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


def features_of(run: RunView, label: str | None) -> dict[str, Any]:
    """Branches, loops and hubs of the graph, named by the classes that set them apart."""
    found = find_features(run.graph, run.summary(label))
    return {
        "branches": [asdict(feature) for feature in found.branches],
        "loops": [asdict(feature) for feature in found.loops],
        "hubs": [asdict(feature) for feature in found.hubs],
    }
