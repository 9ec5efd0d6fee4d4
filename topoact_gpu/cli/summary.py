"""``topoact summary``: what the nodes of a run hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonOption, Printer, QuietOption, percent

if TYPE_CHECKING:
    from ..features import Feature, Features
    from ..summary import Summary

__all__ = ["LabelOption", "NoSummaryOption", "summary", "write_after"]

LabelOption = Annotated[
    str | None,
    typer.Option(help="The row column that holds the classes; default: class_id, label, ..."),
]
NoSummaryOption = Annotated[
    bool, typer.Option("--no-summary", help="Do not write a summary into the run.")
]
_SHOWN = 5


def summary(
    run: Annotated[Path, typer.Argument(help="A run.")],
    label: LabelOption = None,
    floor: Annotated[
        float, typer.Option(help="Coverage below which there is a warning, in [0, 1].")
    ] = 0.8,
    threads: Annotated[int | None, typer.Option(help="Default: all there are.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Summarise a run and write the summary into it.

    Shows coverage and noise, the classes and intervals that are covered worst, and the strongest
    branches, loops and hubs. What is known of each node and edge: topoact export RUN --format
    summary-csv.

    Examples:

      topoact summary run.zarr

      topoact summary run.zarr --label pos --json
    """
    from ..errors import ParameterError
    from ..features import find_features
    from ..graph import MapperGraph
    from ..run_summary import summary_of_run, write_summary

    if not 0 <= floor <= 1:
        raise ParameterError(f"--floor must be in [0, 1], got {floor:g}")
    found = summary_of_run(run, label=label, coverage_floor=floor, n_threads=threads)
    write_summary(run, found)
    features = find_features(MapperGraph.load(run), found)
    printer = Printer(as_json=as_json, quiet=quiet)
    printer.result(_as_dict(found, features))
    printer.table(f"summary of {run}", _rows(found, features, run))
    for warning in found.warnings:
        printer.note(f"note: {warning}")


def write_after(run: Path, *, label: str | None, threads: int | None, printer: Printer) -> None:
    """Write the summary into a run that was computed just now, unless it has it already."""
    from ..run_summary import ensure_summary

    for warning in ensure_summary(run, label=label, n_threads=threads, write=True).warnings:
        printer.note(f"note: {warning}")


def _as_dict(found: Summary, features: Features) -> dict[str, Any]:
    offered = found.interval_offered
    return {
        "label": found.label,
        "rows": found.n_rows,
        "nodes": found.size.size,
        "edges": found.edge_size.size,
        "components": found.n_components,
        "loops": found.n_loops,
        "coverage": found.coverage,
        "noise": found.noise,
        "classes": [
            {
                "name": found.class_name(code),
                "rows": int(found.base_count[code]),
                "covered": int(found.class_covered[code]),
                "coverage": _known(found.class_coverage[code]),
                "noise": _known(found.class_noise[code]),
            }
            for code in range(found.base_count.size)
        ],
        "intervals": [
            {
                "id": int(found.interval_id[at]),
                "offered": None if offered is None else int(offered[at]),
                "taken": int(found.interval_taken[at]),
                "noise": _known(found.interval_noise[at]),
            }
            for at in range(found.interval_id.size)
        ],
        "branches": [_feature(each) for each in features.branches],
        "strongest_loops": [_feature(each) for each in features.loops],
        "hubs": [_feature(each) for each in features.hubs],
        "warnings": found.warnings,
    }


def _known(value: float) -> float | None:
    return float(value) if value == value else None  # NaN is not itself


def _feature(each: Feature) -> dict[str, Any]:
    return {"id": each.id, "name": each.name, "nodes": list(each.nodes), "score": each.score}


def _rows(found: Summary, features: Features, run: Path) -> list[tuple[str, str]]:
    graph = (
        f"{found.size.size:,} nodes, {found.edge_size.size:,} edges, "
        f"{found.n_components:,} components, {found.n_loops:,} loops"
    )
    rows = [
        ("coverage", f"{percent(found.coverage)} of {found.n_rows:,} rows are in a node"),
        ("noise", f"{percent(found.noise)} of the (row, interval) pairs are in no cluster"),
        ("graph", graph),
    ]
    if found.label is not None:
        rows.append(("classes", f"{found.base_count.size:,}, from the row column {found.label!r}"))
        rows.append(("covered worst", _worst_classes(found)))
    if text := _worst_intervals(found):
        rows.append(("noisiest intervals", text))
    for kind, those in (
        ("branches", features.branches),
        ("loops", features.loops),
        ("hubs", features.hubs),
    ):
        if those:
            rows.append((kind, "; ".join(_shown(each) for each in those[:_SHOWN])))
    rows.append(("saved", f"{run}/summary"))
    rows.append(("next", f"topoact export {run} --format summary-csv"))
    return rows


def _worst_classes(found: Summary) -> str:
    shares = found.class_coverage
    known = [c for c in shares.argsort(kind="stable").tolist() if shares[c] == shares[c]]
    return ", ".join(f"{found.class_name(c)} {percent(shares[c])}" for c in known[:_SHOWN])


def _worst_intervals(found: Summary) -> str:
    """The intervals that lost most rows."""
    if found.interval_offered is None:
        return ""
    lost = found.interval_offered - found.interval_taken
    order = (-lost).argsort(kind="stable")[:_SHOWN].tolist()
    return ", ".join(
        f"{found.interval_id[i]} ({percent(found.interval_noise[i])} of "
        f"{found.interval_offered[i]:,} rows)"
        for i in order
        if lost[i] > 0
    )


def _shown(each: Feature) -> str:
    nodes = "1 node" if len(each.nodes) == 1 else f"{len(each.nodes):,} nodes"
    return f"{each.name} ({nodes}, from {each.nodes[0]})"
