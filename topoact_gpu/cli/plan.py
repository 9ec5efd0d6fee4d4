"""``topoact plan``: what ``topoact mapper`` would take, before it is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .console import JsonOption, Printer, QuietOption
from .options import clusterer_of, cover_of, open_rows

if TYPE_CHECKING:
    from ..planning import Plan

__all__ = ["plan"]


def plan(
    data: Annotated[
        str,
        typer.Argument(help="A store made by 'topoact import', its address (s3://...), or X.npy."),
    ],
    layer: Annotated[
        str | None, typer.Option(help="Layer of the store; may be left out if it has only one.")
    ] = None,
    lens: Annotated[str, typer.Option(help="As for 'topoact mapper'.")] = "l2norm",
    cover: Annotated[str, typer.Option(help="uniform, kepler or balanced.")] = "uniform",
    intervals: Annotated[str, typer.Option(help="One number, or one for each lens column.")] = "70",
    overlap: Annotated[str, typer.Option(help="Share of an interval in its neighbour.")] = "0.3",
    eps: Annotated[str, typer.Option(help="A number, knee or knee-per-interval.")] = "knee",
    min_samples: Annotated[int, typer.Option(help="Rows that make a core row.")] = 5,
    metric: Annotated[str, typer.Option(help="euclidean or cosine.")] = "euclidean",
    memory_budget: Annotated[
        str | None, typer.Option(help="Such as 4GB; default: 60% of what is free.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Default: all there are.")] = None,
    seed: Annotated[int, typer.Option(help="For samples.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what 'topoact mapper' would take: interval sizes, bytes, memory and time.

    Looks at the data for some seconds, and clusters a few intervals for real.

    Examples:

      topoact plan acts.zarr --layer block4 --intervals 500 --memory-budget 512MB
    """
    from ..files import os_errors
    from ..planning import plan as plan_of

    printer = Printer(as_json=as_json, quiet=quiet)
    with os_errors(f"reading {data}"):
        rows = open_rows(data, layer)
    found = plan_of(
        rows,
        lens=lens,
        cover=cover_of(cover, intervals, overlap),
        clusterer=clusterer_of(eps, min_samples, metric),
        memory_budget=memory_budget,
        n_threads=threads,
        seed=seed,
    )
    printer.result(found.to_dict())
    printer.table(f"plan for {data}", _lines(found))


def _lines(found: Plan) -> list[tuple[str, str]]:
    seen = "all rows" if found.looked_at == found.n_rows else f"{found.looked_at:,} rows"
    lines = [
        ("rows", f"{found.n_rows:,} x {found.n_cols:,} {found.dtype}; looked at {seen}"),
        ("intervals", f"{found.n_intervals:,}"),
        (
            "rows of an interval",
            f"{found.largest_interval:,} at most, {found.median_interval:,} in the middle one",
        ),
        ("pairs", f"{found.pairs:,} in {found.memberships:,} memberships"),
        ("eps", f"{found.eps:.6g}"),
        ("rows are", found.way),
    ]
    if found.scratch_bytes:
        enough = "" if found.scratch_free > found.scratch_bytes else ": NOT ENOUGH"
        free = f"{found.scratch_free / 1e9:,.1f} GB are free{enough}"
        lines.append(("scratch space", f"{found.scratch_bytes / 1e9:,.2f} GB; {free}"))
        lines.append(("larger than the budget", f"{found.through_window:,} intervals"))
    lines += [
        ("read", f"{found.bytes_read / 1e9:,.2f} GB"),
        ("written", f"{found.bytes_written / 1e9:,.2f} GB"),
        ("memory", f"about {found.peak_bytes / 1e6:,.0f} MB at most"),
    ]
    return lines + [(f"time: {k}", f"{v:,.1f} s") for k, v in found.seconds.items()]
