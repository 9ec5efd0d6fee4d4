"""``topoact mapper``: the Mapper graph of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import (
    JsonOption,
    Printer,
    ProgressBars,
    QuietOption,
    graph_rows,
    graph_summary,
    stage_rows,
)
from .options import clusterer_of, cover_of, open_rows
from .summary import LabelOption, NoSummaryOption, write_after

if TYPE_CHECKING:
    from ..mapper import Mapper

__all__ = ["mapper"]


def mapper(
    data: Annotated[
        str,
        typer.Argument(help="A store made by 'topoact import', its address (s3://...), or X.npy."),
    ],
    layer: Annotated[
        str | None, typer.Option(help="Layer of the store; may be left out if it has only one.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Save the run here; if it was interrupted, the same command goes on."),
    ] = None,
    lens: Annotated[
        str,
        typer.Option(
            help="l2norm, l1norm, linf, mean, median, max, std, column:i, pca:k, density, "
            "eccentricity or umap:k."
        ),
    ] = "l2norm",
    cover: Annotated[str, typer.Option(help="uniform, kepler or balanced.")] = "uniform",
    intervals: Annotated[
        str, typer.Option(help="Intervals; one number, or one for each lens column: 20,30.")
    ] = "70",
    overlap: Annotated[
        str, typer.Option(help="Share of an interval in its neighbour, in [0, 1); or 0.3,0.2.")
    ] = "0.3",
    eps: Annotated[str, typer.Option(help="A number, knee or knee-per-interval.")] = "knee",
    min_samples: Annotated[
        int, typer.Option(help="Rows within eps, itself included, that make a core row.")
    ] = 5,
    metric: Annotated[str, typer.Option(help="euclidean, cosine, or another of scikit-learn.")] = (
        "euclidean"
    ),
    min_intersection: Annotated[int, typer.Option(help="Shared rows that make an edge.")] = 1,
    max_dimension: Annotated[int, typer.Option(help="1: edges; 2: triangles too; ...")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    memory_budget: Annotated[
        str | None, typer.Option(help="Such as 4GB; default: 60% of what is free.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Default: all there are.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="A Dask scheduler whose workers do the work: tcp://host:port."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="So many processes of this machine do the work.")
    ] = None,
    seed: Annotated[int, typer.Option(help="For the sample that eps=knee is measured on.")] = 0,
    label: LabelOption = None,
    no_summary: NoSummaryOption = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew; replace a run that is there.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compute the Mapper graph of a layer.

    Examples:

      topoact mapper acts.zarr --layer block4 --out run.zarr

      topoact mapper acts.zarr --lens pca:2 --intervals 20,20 --overlap 0.4 --eps 11 --out run.zarr

      topoact mapper X.npy --metric cosine --eps 0.2 --json
    """
    from ..clusters import cluster_client
    from ..files import os_errors

    printer = Printer(as_json=as_json, quiet=quiet)
    with os_errors(f"reading {data}"):
        rows = open_rows(data, layer)
    estimator = _estimator(
        lens=lens,
        cover=cover_of(cover, intervals, overlap),
        clusterer=clusterer_of(eps, min_samples, metric),
        min_intersection=min_intersection,
        max_dimension=max_dimension,
        device=device,
        memory_budget=memory_budget,
        n_threads=threads,
        seed=seed,
    )
    with ProgressBars(quiet=quiet) as progress, cluster_client(scheduler, workers) as client:
        estimator.set_params(progress=progress, client=client)
        estimator.fit(rows, run=out, overwrite=overwrite)
    if out is not None and not no_summary:
        write_after(out, label=label, threads=threads, printer=printer)
    show(estimator, printer, title=f"Mapper graph of {data}", out=out)


def show(estimator: Mapper, printer: Printer, *, title: str, out: Path | None) -> None:
    """Print what came out."""
    report = estimator.report_
    summary = {"columns": report["n_cols"], **graph_summary(estimator.graph_)}
    summary = {"rows": summary.pop("rows"), **summary}
    result: dict[str, Any] = {**summary, "eps": eps_used(report), "report": report}
    if out is not None:
        result["out"] = str(out)
    printer.result(result)
    rows = [*graph_rows(summary), ("eps", eps_text(report)), *stage_rows(report)]
    if out is not None:
        rows += [
            ("saved", str(out)),
            ("next", f"topoact export {out} --format png --out mapper.png"),
        ]
    printer.table(title, rows)


def eps_used(report: dict[str, Any]) -> Any:
    """The eps that clustering used; None where its clusterer has none."""
    found = report.get("clustering", {}).get("eps")
    if found is not None:
        return found
    clusterer = report.get("parameters", {}).get("clusterer")
    return clusterer.get("eps") if isinstance(clusterer, dict) else None


def eps_text(report: dict[str, Any]) -> str:
    """`eps_used` for people."""
    eps = eps_used(report)
    if isinstance(eps, int | float):
        return f"{eps:.6g}"
    if isinstance(eps, list | tuple) and eps:
        return f"{min(eps):.6g} to {max(eps):.6g}, one for each interval"
    return "none" if eps is None else str(eps)


def _estimator(*, lens: str, **parameters: Any) -> Mapper:
    from ..mapper import Mapper

    return Mapper(lens, **parameters)
