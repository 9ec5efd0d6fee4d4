"""The command's root: the list of commands, and what becomes of errors."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import TopoactError
from .capture import capture, layers
from .demo import demo
from .explore import explore
from .export import export
from .import_data import import_data
from .info import info
from .mapper import mapper
from .plan import plan
from .project import project
from .summary import summary

__all__ = ["app"]

BAD_INPUT = 2
INTERRUPTED = 130
# typer keeps its click to itself, but not this subclass of it
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")


class _Commands(TyperGroup):
    """Bad input becomes one line on standard error and exit code 2; never a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except TopoactError as error:
            raise _stop(str(error), BAD_INPUT) from error
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            raise _stop(f"{error.format_message()} (see --help)", BAD_INPUT) from error
        except KeyboardInterrupt as error:
            # zarr's event loop would complain about the read that was cut short
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            raise _stop("interrupted", INTERRUPTED) from error


def _stop(message: str, code: int) -> typer.Exit:
    print(f"topoact: {' '.join(message.split())}", file=sys.stderr)
    return typer.Exit(code)


app = typer.Typer(
    cls=_Commands,
    name="topoact",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _show_version(value: bool) -> None:
    if value:
        from .. import __version__

        print(f"topoact-gpu {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Exact Mapper graphs of neural-network activations, in bounded memory.

    Try it:                [bold]topoact demo[/bold]

    Your own network:      [bold]topoact capture --model efficientnet-lite0 --layers _blocks.8
    --data FOLDER --out acts.zarr[/bold]

    Your own data:         [bold]topoact import X.npy --out acts.zarr --layer block4[/bold]

    A graph of them:       [bold]topoact mapper acts.zarr --out run.zarr[/bold]

    In the browser:        [bold]topoact explore run.zarr[/bold]

    To other programs:     [bold]topoact export run.zarr --format graphml --out graph.graphml[/bold]
    """


app.command()(capture)
app.command()(layers)
app.command("import")(import_data)
app.command()(mapper)
app.command()(plan)
app.command()(project)
app.command()(info)
app.command()(explore)
app.command()(summary)
app.command()(export)
app.command()(demo)
