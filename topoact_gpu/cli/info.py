"""``topoact info``: what is in a store, a run or a graph."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import (
    JsonOption,
    Printer,
    QuietOption,
    graph_rows,
    graph_summary,
    percent,
    stage_rows,
)
from .mapper import eps_text

__all__ = ["info"]


def info(
    path: Annotated[Path, typer.Argument(help="A store, a run or a graph.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what is in a store, a run or a graph, or how far a run is.

    Examples:

      topoact info acts.zarr

      topoact info run.zarr --json
    """
    from ..errors import StoreError
    from ..files import read_format

    printer = Printer(as_json=as_json, quiet=quiet)
    if _show_unfinished(path, printer) and not path.exists():
        return
    if not path.exists():
        raise StoreError(f"there is nothing at {path}; check the path")
    found = read_format(path)
    if found == "topoact-gpu/activations":
        _show_store(path, printer)
    elif found == "topoact-gpu/run":
        _show_run(path, printer)
    elif found == "topoact-gpu/graph":
        _show_graph(path, printer)
    else:
        raise StoreError(f"{path} is no store, run or graph of topoact-gpu; check the path")


def _show_unfinished(path: Path, printer: Printer) -> bool:
    """Progress of the run that is being computed, or was interrupted, if there is one."""
    from ..job import progress_of

    found = progress_of(path)
    if found is None:
        return False
    state = "running" if found["running"] else "interrupted: the same command goes on"
    if not path.exists():
        printer.result({"format": "topoact-gpu/unfinished", **found})
    rows = [("state", state)]
    if "stage" in found:
        done = f"{found['done']:,} of {found['total']:,}"
        rows.append((found["stage"], f"{percent(found['share'])} of the work ({done})"))
    seconds = time.time() - found["time"]
    rows.append(("last heard of", f"{max(seconds, 0.0):,.0f} s ago, process {found['pid']}"))
    printer.table(f"unfinished run {path}", rows)
    return True


def _show_store(path: Path, printer: Printer) -> None:
    from ..store import Layer, open_store

    store = open_store(path)

    def describe(layer: Layer) -> dict[str, Any]:
        return {
            "n_rows": layer.n_rows,
            "n_cols": layer.n_cols,
            "dtype": str(layer.dtype),
            "row_columns": list(layer.row_columns),
            "names": layer.names,
            "attributes": layer.attributes,
        }

    layers = {name: describe(store.layer(name)) for name in store.layers}
    kind = "topoact-gpu/activations"
    printer.result({"format": kind, "attributes": store.attributes, "layers": layers})
    rows = [
        (
            name,
            f"{found['n_rows']:,} rows × {found['n_cols']:,} columns, {found['dtype']}"
            + (f"; row columns: {', '.join(found['row_columns'])}" if found["row_columns"] else ""),
        )
        for name, found in layers.items()
    ]
    printer.table(f"activation store {path}", rows or [("layers", "none yet")])


def _show_run(path: Path, printer: Printer) -> None:
    from ..runs import load_run

    run = load_run(path)
    summary = graph_summary(run.graph)
    printer.result(
        {
            "format": "topoact-gpu/run",
            **summary,
            "row_columns": list(run.columns),
            "source": run.source,
            "report": run.report,
        }
    )
    rows = graph_rows(summary)
    rows.append(("eps", eps_text(run.report)))
    rows += [(name, str(value)) for name, value in run.source.items()]
    if run.columns:
        rows.append(("row columns", ", ".join(run.columns)))
    printer.table(f"run {path}", rows + stage_rows(run.report))


def _show_graph(path: Path, printer: Printer) -> None:
    from ..graph import MapperGraph

    summary = graph_summary(MapperGraph.load(path))
    printer.result({"format": "topoact-gpu/graph", **summary})
    printer.table(f"graph {path}", graph_rows(summary))
