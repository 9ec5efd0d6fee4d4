"""``topoact export``: a graph for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import JsonOption, QuietOption

if TYPE_CHECKING:
    from ..graph import MapperGraph

__all__ = ["draw", "export"]


def export(
    run: Annotated[Path, typer.Argument(help="A run or a graph.")],
    out: Annotated[Path, typer.Option(help="The file to write (csv: a directory).")],
    format: Annotated[
        str, typer.Option(help="node-link, kmapper, graphml, gexf, csv or png.")
    ] = "node-link",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export the graph of a run to other programs.

    Examples:

      topoact export run.zarr --format node-link --out graph.json

      topoact export run.zarr --format png --out mapper.png
    """
    raise NotImplementedError


def draw(graph: MapperGraph, picture: Path, *, overwrite: bool) -> None:
    """Draw a graph into a picture file."""
    raise NotImplementedError
