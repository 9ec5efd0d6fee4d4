"""``topoact import``: a file of activations becomes a layer of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonOption, Printer, ProgressBars, QuietOption

if TYPE_CHECKING:
    from ..store import Layer
    from .sources import Table

__all__ = ["import_data"]


def import_data(
    source: Annotated[Path, typer.Argument(help="X.npy, X.npz, X.parquet or X.zarr.")],
    out: Annotated[Path, typer.Option(help="The store; made, or a layer is added to it.")],
    layer: Annotated[str, typer.Option(help="Name of the layer in the store.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Row columns: .npy or .txt (one label a line), .npz, .csv, .parquet."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Which array of a .npz or .zarr, or list column of a table.")
    ] = None,
    drop_nonfinite: Annotated[
        bool, typer.Option("--drop-nonfinite", help="Leave out rows with NaN or infinity.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the layer if the store has it.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Import activations, one row each, into a store.

    One-dimensional arrays of a .npz, and all but the float columns of a table, become row
    columns; an array NAME_names says what the codes of column NAME stand for.

    Examples:

      topoact import X.npy --out acts.zarr --layer block4

      topoact import X.npz --out acts.zarr --layer block4 --key activations

      topoact import X.npy --out acts.zarr --layer block4 --labels classes.csv --drop-nonfinite
    """
    from ..files import os_errors
    from .sources import open_table, read_labels

    printer = Printer(as_json=as_json, quiet=quiet)
    with os_errors(f"importing {source}"):
        _check_target(out, layer, overwrite=overwrite)
        table = open_table(source, key)
        if labels is not None:
            columns, names = read_labels(labels, table.n_rows)
            table.columns.update(columns)
            table.names.update(names)
        with ProgressBars(quiet=quiet) as progress:
            result = _import(table, source, out, layer, drop_nonfinite, overwrite, progress)
    dropped = result["dropped_rows"]
    if dropped:
        printer.note(
            f"dropped {dropped:,} of {table.n_rows:,} rows with NaN or inf; "
            f"the first is row {result['first_dropped_row']:,}"
        )
    printer.result(result)
    size = f"{result['n_rows']:,} rows × {result['n_cols']:,} columns, {result['dtype']}"
    rows = [("layer", layer), ("size", size), ("store", str(out))]
    if result["row_columns"]:
        rows.append(("row columns", ", ".join(result["row_columns"])))
    rows.append(("next", f"topoact mapper {out} --layer {layer} --out run.zarr"))
    printer.table(f"imported {source}", rows)


def _check_target(out: Path, layer: str, *, overwrite: bool) -> None:
    """Fail before the work where the output is in the way."""
    from ..errors import StoreError
    from ..store import open_store

    if out.exists() and layer in open_store(out) and not overwrite:
        raise StoreError(
            f"{out} has a layer {layer!r}; choose another name or overwrite it (--overwrite)"
        )


def _import(
    table: Table,
    source: Path,
    out: Path,
    layer: str,
    drop_nonfinite: bool,
    overwrite: bool,
    progress: ProgressBars,
) -> dict[str, Any]:
    """Fill a store beside ``out``, then put it, or its layer, in place in one step."""
    from ..files import move_into_place, temporary_sibling
    from ..store import create_store, open_store

    with temporary_sibling(out) as temporary:
        with create_store(temporary / "store.zarr") as store:
            target = store.create_layer(
                layer, table.n_cols, table.dtype, names=table.names, imported_from=source.name
            )
            dropped, first = _append(table, target, drop_nonfinite, progress)
            target.flush()
            result = {
                "store": str(out),
                "layer": layer,
                "n_rows": target.n_rows,
                "n_cols": target.n_cols,
                "dtype": str(target.dtype),
                "row_columns": list(target.row_columns),
                "dropped_rows": dropped,
                "first_dropped_row": first,
            }
        if out.exists():
            with open_store(out, mode="a") as existing:
                existing.adopt_layer(store, layer, overwrite=overwrite)
        else:
            move_into_place(store.path, out)
    return result


def _append(
    table: Table, target: Layer, drop_nonfinite: bool, progress: ProgressBars
) -> tuple[int, int | None]:
    """Append all finite rows; give how many others there were, and the first of them."""
    from ..errors import DataError
    from ..rows import finite_rows, nonfinite_message

    done, bad, first = 0, 0, None
    for block in table.blocks():
        columns = {name: v[done : done + len(block)] for name, v in table.columns.items()}
        good = finite_rows(block)
        if good is not None:
            bad += int((~good).sum())
            first = done + int(good.argmin()) if first is None else first
            block, columns = block[good], {name: v[good] for name, v in columns.items()}
        # once the import is bound to fail, the rest is read only to count the faults
        if not bad or drop_nonfinite:
            target.append(block, **columns)
        done += len(good) if good is not None else len(block)
        progress("importing rows", done, table.n_rows)
    if bad and not drop_nonfinite:
        message = nonfinite_message("the activations", bad, done, first or 0)
        raise DataError(f"{message}, or import with --drop-nonfinite")
    if done - bad < 2:
        raise DataError(
            f"at least 2 finite rows are needed, but {bad:,} of {done:,} rows have NaN or inf"
        )
    return bad, first
