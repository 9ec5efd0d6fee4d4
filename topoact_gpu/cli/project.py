"""``topoact project``: points of the plane for the rows of a run, kept in the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import JsonOption, Printer, QuietOption
from .options import open_rows

__all__ = ["project"]


def project(
    run: Annotated[Path, typer.Argument(help="A run made by 'topoact mapper --out'.")],
    method: Annotated[str, typer.Option(help="umap, tsne or pca.")] = "umap",
    dims: Annotated[int, typer.Option(help="2 or 3; the explorer shows the first two.")] = 2,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Of more rows, take so many, chosen by the seed. Default: 200,000 for umap, "
            "20,000 for tsne, all for pca."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="For the choice of rows and the layout.")] = 0,
    store: Annotated[
        str | None, typer.Option(help="Where the activations are, if not where the run says.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a projection of this method.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Project the rows of a run, for the explorer's scatter plot.

    PCA needs no preparation: the explorer computes it when it is asked for. t-SNE and UMAP keep
    their rows in memory, and take minutes for some 10,000 of them.

    Examples:

      topoact project run.zarr --method umap

      topoact project run.zarr --method tsne --limit 10000
    """
    from ..explore import projection

    printer = Printer(as_json=as_json, quiet=quiet)
    rows, n_rows = _rows_of(run, store)
    start = time.perf_counter()
    _check_new(run, method, overwrite)
    takes = limit if limit is not None else projection.DEFAULT_LIMITS.get(method)
    if takes is not None and takes < n_rows:
        printer.note(f"{method} of {takes:,} of the {n_rows:,} rows, chosen with seed {seed}")
    found = projection.project(rows, method, dims=dims, limit=limit, seed=seed)
    target = projection.save_projection(run, found, n_rows, overwrite=overwrite)
    seconds = time.perf_counter() - start
    result: dict[str, Any] = {
        "method": method,
        "rows": n_rows,
        "points": len(found.rows),
        "explained": found.explained,
        "seconds": seconds,
        "out": str(target),
    }
    printer.result(result)
    lines = [("rows", f"{n_rows:,}"), ("points", f"{len(found.rows):,}")]
    if found.explained:
        shares = ", ".join(f"{share:.1%}" for share in found.explained)
        lines.append(("variance along the axes", shares))
    lines += [("time", f"{seconds:,.1f} s"), ("saved", str(target))]
    printer.table(f"{method} of {run}", lines)


def _rows_of(run: Path, store: str | None) -> tuple[Any, int]:
    """The rows that a run is of, and their number."""
    from ..errors import StoreError
    from ..explore.session import Session
    from ..files import read_format
    from ..runs import FORMAT

    view = Session([run], store=store).runs[0]
    if read_format(run) != FORMAT:
        raise StoreError(f"{run} is a graph, a run is required; see topoact mapper --out")
    source, activations = view.source, view.activations
    if activations is None and source.get("layer") is None and (store or source.get("path")):
        activations = open_rows(store or source["path"], None)
    if activations is None:
        raise StoreError(
            f"the rows of {run} are not at {source.get('path')}; say where with --store PATH"
        )
    if activations.shape[0] != view.header.n_rows:
        raise StoreError(
            f"{store or source.get('path')} has {activations.shape[0]:,} rows, {run} is of "
            f"{view.header.n_rows:,}; give the rows that it was computed from"
        )
    return getattr(activations, "rows", activations), view.header.n_rows


def _check_new(run: Path, method: str, overwrite: bool) -> None:
    """Raise before anything is computed in vain."""
    from ..errors import StoreError

    if (run / "projections" / method).exists() and not overwrite:
        raise StoreError(f"{run} has a projection {method}; replace it with --overwrite")
