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
        rows = _open(data, layer)
    estimator = _estimator(
        lens=lens,
        cover=_cover(cover, intervals, overlap),
        clusterer=_clusterer(eps, min_samples, metric),
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


def _open(given: str, layer: str | None) -> Any:
    """The rows: a layer of a store, or a mapped array."""
    from ..errors import StoreError
    from ..remote import place_of
    from ..store import open_store
    from .sources import open_npy

    data = place_of(given)
    if data.suffix.lower() == ".npy" and not data.is_dir():
        if layer is not None:
            raise StoreError(f"{data} is a .npy file and has no layers; leave out --layer")
        return open_npy(data)
    if data.is_file():
        raise StoreError(
            f"{data} must be a store or a .npy file; import it first: "
            f"topoact import {data} --out acts.zarr --layer NAME"
        )
    store = open_store(data)
    if layer is None:
        if len(store.layers) != 1:
            shown = ", ".join(store.layers) or "none"
            raise StoreError(f"{data} has {len(store.layers)} layers ({shown}); choose --layer")
        layer = store.layers[0]
    return store.layer(layer)


def _cover(kind: str, intervals: str, overlap: str) -> Any:
    from ..cover import BalancedCover, KeplerCover, UniformCover
    from ..errors import ParameterError
    from ..store import nearest_name

    kinds: dict[str, Any] = {
        "uniform": UniformCover,
        "kepler": KeplerCover,
        "balanced": BalancedCover,
    }
    if kind not in kinds:
        raise ParameterError(f"there is no cover {kind!r}{nearest_name(kind, kinds)}")
    counts = _numbers("--intervals", intervals, int)
    overlaps = _numbers("--overlap", overlap, float)
    return kinds[kind](counts, overlaps)


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> Any:
    """One number, or a list of them."""
    from ..errors import ParameterError

    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise ParameterError(f"{option} must be {what}, but is {text!r}") from error
    return numbers[0] if len(numbers) == 1 else numbers


def _clusterer(eps: str, min_samples: int, metric: str) -> Any:
    from ..cluster import DBSCAN
    from ..errors import ParameterError
    from ..store import nearest_name

    words = ("knee", "knee-per-interval")
    try:
        value: str | float = eps if eps in words else float(eps)
    except ValueError as error:
        raise ParameterError(
            f"--eps must be a number, knee or knee-per-interval, but is {eps!r}"
            f"{nearest_name(eps, words)}"
        ) from error
    return DBSCAN(eps=value, min_samples=min_samples, metric=metric)


def _estimator(*, lens: str, **parameters: Any) -> Mapper:
    from ..mapper import Mapper

    return Mapper(lens, **parameters)
