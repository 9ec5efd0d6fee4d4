"""A summary inside its run: a Zarr 3 group that appears whole or not at all.

Format ``topoact-gpu/summary``, version 1, in ``run.zarr/summary``: the arrays of
`topoact_gpu.summary.Summary`, the rest of it as attributes, checksums of the arrays, and those of
the memberships that it is a summary of. A run without it is valid.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from topoact_gpu.array_group import read_arrays, read_errors, write_arrays
from topoact_gpu.errors import StoreError
from topoact_gpu.files import move_into_place, os_errors, read_format, temporary_sibling
from topoact_gpu.summary import Summary

__all__ = ["FORMAT", "VERSION", "load_summary", "write_summary"]

FORMAT = "topoact-gpu/summary"
VERSION = 1
_RUN_FORMAT = "topoact-gpu/run"
_OF = ("indptr", "rows", "edges")


def write_summary(run: str | Path, summary: Summary) -> None:
    """Write a summary into a run; one that is there is replaced.

    Parameters
    ----------
    run : str or Path
    summary : Summary
        Of this run's graph.

    Raises
    ------
    StoreError
        There is no run, the summary is of another graph, or the disk refuses; what was there
        before is there still.
    """
    import zarr

    run = Path(run)
    checksums = _graph_checksums(run)
    fields = {f.name: getattr(summary, f.name) for f in dataclasses.fields(summary)}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    with os_errors(f"writing the summary of {run}"), temporary_sibling(run) as temporary:
        group = zarr.create_group(temporary / "summary", zarr_format=3)
        written = write_arrays(group, arrays)
        group.attrs.update(
            {
                **{name: value for name, value in fields.items() if name not in arrays},
                "checksums": written,
                "graph": checksums,
                "format": FORMAT,
                "version": VERSION,
            }
        )
        _check_same(run, summary, zarr.open_group(run / "graph", mode="r"))
        move_into_place(temporary / "summary", run / "summary")


def load_summary(run: str | Path) -> Summary | None:
    """Load the summary in a run.

    Parameters
    ----------
    run : str or Path

    Returns
    -------
    Summary or None
        None where the run has none, one of another version, or one of another graph: compute it
        with `topoact_gpu.run_summary.summary_of_run`.

    Raises
    ------
    StoreError
        There is no run, or its summary is damaged.
    """
    import zarr

    run = Path(run)
    checksums = _graph_checksums(run)
    folder = run / "summary"
    if not folder.exists():
        return None
    where = f"the summary in {run}"
    with read_errors(where):
        group = zarr.open_group(folder, mode="r")
        attributes: dict[str, Any] = group.attrs.asdict()
        if attributes["format"] != FORMAT:
            raise StoreError(
                f"{where} must have format {FORMAT!r}, got {attributes['format']!r}; write it "
                f"again: topoact summary {run}"
            )
        if attributes["version"] != VERSION or attributes["graph"] != checksums:
            return None
        arrays = read_arrays(group, attributes["checksums"])
        names = {f.name for f in dataclasses.fields(Summary)} - arrays.keys()
        fields: dict[str, Any] = {**arrays, **{name: attributes[name] for name in names}}
        return Summary(**fields)


def _graph_checksums(run: Path) -> dict[str, Any]:
    """What the run says of its memberships and edges."""
    if read_format(run) != _RUN_FORMAT:
        raise StoreError(f"there is no run at {run}; check the path")
    with read_errors(str(run)):
        found = json.loads((run / "graph" / "zarr.json").read_text(encoding="utf-8"))
        checksums = found["attributes"]["checksums"]
        return {name: checksums[name] for name in _OF}


def _check_same(run: Path, summary: Summary, graph: Any) -> None:
    """Raise for a summary of another graph."""
    n_nodes, n_edges = graph["indptr"].shape[0] - 1, graph["edges"].shape[0]
    found = (summary.n_rows, summary.size.size, summary.edge_size.size)
    if found != (graph.attrs["n_rows"], n_nodes, n_edges):
        raise StoreError(
            f"the summary is of {found[0]:,} rows, {found[1]:,} nodes and {found[2]:,} edges, "
            f"the run {run} has {graph.attrs['n_rows']:,}, {n_nodes:,} and {n_edges:,}; "
            "summarise its graph"
        )
