"""``topoact export``: a graph for other programs, or the explorer as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonOption, Printer, ProgressBars, QuietOption

if TYPE_CHECKING:
    from ..graph import MapperGraph
    from ..runs import Run

__all__ = ["export"]

_ENDINGS = {
    "node-link": ".json",
    "kmapper": ".kmapper.json",
    "graphml": ".graphml",
    "gexf": ".gexf",
    "csv": "_csv",
    "png": ".png",
    "summary-csv": "_summary_csv",
    "summary-parquet": "_summary_parquet",
    "html": ".html",
}


def export(
    run: Annotated[Path, typer.Argument(help="A run or a graph.")],
    format: Annotated[
        str,
        typer.Option(
            help="html, node-link, kmapper, graphml, gexf, csv, png, summary-csv or "
            "summary-parquet."
        ),
    ] = "node-link",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write (csv and summaries: a folder). Default: beside the run."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="node-link: the row column whose commonest values each node shows; html: the "
            "row column that gives the classes at first."
        ),
    ] = None,
    average_activations: Annotated[
        bool,
        typer.Option(
            "--average-activations", help="node-link: each node's mean row, read from the store."
        ),
    ] = False,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="html: another run in the same file; may be repeated."),
    ] = None,
    max_megabytes: Annotated[
        float | None,
        typer.Option(
            help="html: what the file may take; pictures are left out first. Default: 50."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export the graph of a run to other programs, or with the explorer as one HTML file.

    html needs neither a server nor a network to be opened; it holds the row columns, but no
    activations. node-link is TopoAct's JSON; kmapper is KeplerMapper's; csv is a folder of three
    tables; summary-csv and summary-parquet are one of the summary's, see 'topoact summary'.

    Examples:

      topoact export run.zarr --format html --out explorer.html

      topoact export layer3.zarr --with layer8.zarr --format html

      topoact export run.zarr --format node-link --labels label --out graph.json

      topoact export run.zarr --format graphml

      topoact export run.zarr --format png --out mapper.png
    """
    from ..errors import ParameterError, nearest_name
    from ..export import export_graph

    if format not in _ENDINGS:
        raise ParameterError(f"there is no format {format!r}{nearest_name(format, _ENDINGS)}")
    out = out or run.with_name(run.name.removesuffix(".zarr") + _ENDINGS[format])
    if format == "html":
        if average_activations:
            raise ParameterError("--average-activations needs --format node-link")
        left_out = _export_html(
            [run, *(others or [])], out, labels, max_megabytes, overwrite, quiet
        )
    else:
        if others or max_megabytes is not None:
            raise ParameterError("--with and --max-megabytes need --format html")
        left_out = []
        options = _options(run, format, labels, average_activations)
        export_graph(options.pop("graph"), out, format, overwrite=overwrite, **options)
    printer = Printer(as_json=as_json, quiet=quiet)
    printer.result({"out": str(out), "format": format, "left_out": left_out})
    for sentence in left_out:
        printer.note(f"left out: {sentence}")
    printer.table(f"exported {run}", [("format", format), ("saved", str(out))])


def _options(
    run: Path, format: str, labels: str | None, average_activations: bool
) -> dict[str, Any]:
    """What `export_graph` takes for a format, ``graph`` among it."""
    from ..errors import ParameterError

    graph, kept = _load(run)
    if format == "node-link":
        activations = _activations(run, kept) if average_activations else None
        return {"graph": graph, "activations": activations, **_label_options(kept, labels)}
    if labels is not None or average_activations:
        raise ParameterError(
            "--labels needs --format node-link or html, --average-activations --format node-link"
        )
    return {"graph": graph}


def _export_html(
    runs: list[Path],
    out: Path,
    label: str | None,
    max_megabytes: float | None,
    overwrite: bool,
    quiet: bool,
) -> list[str]:
    from ..explore.bundle import MAX_MEGABYTES, write_html

    most = MAX_MEGABYTES if max_megabytes is None else max_megabytes
    with ProgressBars(quiet=quiet) as tell:
        return write_html(
            runs, out, max_megabytes=most, label=label, overwrite=overwrite, tell=tell
        )


def _load(path: Path) -> tuple[MapperGraph, Run | None]:
    """The graph at ``path``, and the rest of the run if it is one."""
    from ..files import read_format
    from ..graph import MapperGraph
    from ..runs import load_run

    if read_format(path) == "topoact-gpu/run":
        run = load_run(path)
        return run.graph, run
    return MapperGraph.load(path), None


def _label_options(run: Run | None, column: str | None) -> dict[str, Any]:
    """Labels for the nodes' commonest classes; by default ``label``, or the only named column."""
    from ..errors import ParameterError
    from ..store import nearest_name

    columns = {} if run is None else run.columns
    names = {} if run is None else run.names
    if column is not None and column not in columns:
        raise ParameterError(f"there is no row column {column!r}{nearest_name(column, columns)}")
    if column is None:
        candidates = ["label"] if "label" in columns else [c for c in columns if c in names]
        if len(candidates) != 1:
            return {}
        column = candidates[0]
    return {"labels": columns[column], "label_names": names.get(column)}


def _activations(path: Path, run: Run | None) -> Any:
    """The layer a run was computed from."""
    from ..errors import StoreError
    from ..store import open_store

    if run is None or run.source.get("layer") is None:
        raise StoreError(f"{path} does not say which layer of a store its rows are from")
    layer = open_store(run.source["path"]).layer(run.source["layer"])
    if layer.n_rows != run.graph.n_rows:
        raise StoreError(
            f"layer {layer.name!r} of {run.source['path']} has {layer.n_rows:,} rows, the run "
            f"{run.graph.n_rows:,}: the store has changed; compute the run again"
        )
    return layer
