"""``topoact explore``: runs in the browser."""

from __future__ import annotations

import logging
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import JsonOption, Printer, QuietOption

if TYPE_CHECKING:
    from ..explore.session import Session

__all__ = ["explore", "show"]


def explore(
    runs: Annotated[list[Path], typer.Argument(help="One or more runs or graphs.")],
    store: Annotated[
        str | None,
        typer.Option(help="Where the activations are. Default: where the runs say."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The row column that gives the classes.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Default: one that is free.")] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only.")
    ] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Write no notes, compute nothing anew.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show runs in the browser; Ctrl-C ends it.

    The server answers this machine only, and its address holds a secret. On a machine that you
    reach by ssh, give --port 8000 --no-browser, forward the port with ssh -L 8000:127.0.0.1:8000,
    and open the address that is printed.

    Examples:

      topoact explore run.zarr

      topoact explore layer3.zarr layer8.zarr --label class_id --no-browser
    """
    from ..explore.session import Session

    session = Session(runs, store=store, label=label, read_only=read_only)
    show(session, Printer(as_json=as_json, quiet=quiet), port=port, browser=not no_browser)


def show(session: Session, printer: Printer, *, port: int | None = None, browser: bool) -> None:
    """Start the explorer, print its address, and return when Ctrl-C has ended it."""
    from ..explore.serve import RunningServer

    with RunningServer(session, port=port) as server:
        server.warm()
        printer.result({"address": server.address})
        if not printer.as_json:
            print(server.address, flush=True)
        printer.note("Ctrl-C ends the explorer")
        if browser and not printer.as_json:
            typer.launch(server.address)
        try:
            server.wait()
        except KeyboardInterrupt:
            _silence()
            printer.note("stopped")


def _silence() -> None:
    """What still runs is cut off when the process ends; nobody wants to read about it."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", RuntimeWarning)
    threading.excepthook = lambda _: None
