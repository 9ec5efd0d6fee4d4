"""Exports: a MapperGraph as files for other programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu import convert
from topoact_gpu.errors import ParameterError, StoreError, TopoactError
from topoact_gpu.files import os_errors, replaced_directory, replaced_file
from topoact_gpu.graph import MapperGraph

if TYPE_CHECKING:
    from topoact_gpu.summary import Summary

__all__ = ["FORMATS", "export_graph"]

FORMATS = (
    *("node-link", "kmapper", "graphml", "gexf", "csv", "png"),
    *("summary-csv", "summary-parquet"),
)
_MEMBERSHIPS_AT_ONCE = 200_000
_PNG_INCHES, _PNG_DPI = (12, 7.5), 150


def export_graph(
    graph: MapperGraph,
    path: str | PathLike[str],
    format: str,
    *,
    overwrite: bool = False,
    labels: ArrayLike | None = None,
    label_names: Mapping[Any, str] | ArrayLike | None = None,
    activations: Any = None,
    color: ArrayLike | None = None,
    summary: Summary | None = None,
) -> None:
    """Write a graph for another program.

    Parameters
    ----------
    graph : MapperGraph
    path : path
        File to write; for ``csv`` and summaries a directory.
    format : str
        ``node-link`` (TopoAct's JSON), ``kmapper`` (KeplerMapper's dict as JSON), ``graphml``,
        ``gexf``, ``csv`` (``nodes.csv``, ``edges.csv``, ``memberships.csv``), ``png``, or
        ``summary-csv`` and ``summary-parquet``: the tables of
        `topoact_gpu.summary_tables.summary_tables` as ``nodes.csv``, ``edges.csv``,
        ``classes.csv``, ``coverage.csv`` and ``intervals.csv``, or ``.parquet``.
    overwrite : bool
        Replace what is there; of a directory, these files only.
    labels, label_names, activations
        For ``node-link``: see `topoact_gpu.convert.to_node_link`.
    color : float[n_nodes], optional
        For ``png``: see `topoact_gpu.plot.plot_graph`.
    summary : Summary, optional
        For the summary's formats; by default that of the run which the graph was loaded from.

    Raises
    ------
    ParameterError
        There is no such format, or no summary.
    TopoactError
        ``summary-parquet`` without pyarrow.
    StoreError
        Something is there already, or it cannot be written; nothing is left half-written.
    """
    if format not in FORMATS:
        raise ParameterError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    path = Path(path)
    if format == "csv":
        _write_folder(path, _csv_files(graph), overwrite=overwrite)
        return
    if format.startswith("summary-"):
        files = _summary_files(graph, summary or graph.saved_summary, format)
        _write_folder(path, files, overwrite=overwrite)
        return
    writers: dict[str, Callable[[Path], None]] = {
        "node-link": lambda file: _write_json(
            graph.to_node_link(labels, label_names=label_names, activations=activations), file
        ),
        "kmapper": lambda file: _write_json(graph.to_kmapper(), file),
        "graphml": lambda file: _write_xml(_graphml(graph), file),
        "gexf": lambda file: _write_xml(_gexf(graph), file),
        "png": lambda file: _write_png(graph, color, file),
    }
    with replaced_file(path, overwrite=overwrite) as temporary:
        writers[format](temporary)


def _write_json(content: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def _write_png(graph: MapperGraph, color: ArrayLike | None, file: Path) -> None:
    """Draw on a figure of our own, so that pyplot and its windows stay out of it."""
    from topoact_gpu.plot import new_figure

    figure, ax = new_figure(_PNG_INCHES)
    graph.plot(ax=ax, color=color)
    figure.savefig(file, dpi=_PNG_DPI, format="png")


def _write_xml(root: ElementTree.Element, file: Path) -> None:
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _graphml(graph: MapperGraph) -> ElementTree.Element:
    """Return the graph as GraphML 1.0."""
    nodes, edges = convert.node_columns(graph), _edge_values(graph)
    root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for kind, columns in (("node", nodes), ("edge", edges)):
        for name, values in columns.items():
            key = {"id": f"{kind}_{name}", "for": kind, "attr.name": name}
            ElementTree.SubElement(root, "key", {**key, "attr.type": _type_name(values)})
    body = ElementTree.SubElement(root, "graph", edgedefault="undirected")
    for node, record in enumerate(_records(nodes)):
        _add_data(ElementTree.SubElement(body, "node", id=f"{node}"), "node", record)
    for (source, target), record in zip(_ends(graph), _records(edges), strict=True):
        item = ElementTree.SubElement(body, "edge", source=source, target=target)
        _add_data(item, "edge", record)
    return root


def _add_data(item: ElementTree.Element, kind: str, record: dict[str, Any]) -> None:
    for name, value in record.items():
        ElementTree.SubElement(item, "data", key=f"{kind}_{name}").text = repr(value)


def _gexf(graph: MapperGraph) -> ElementTree.Element:
    """Return the graph as GEXF 1.3; an edge's weight is its Jaccard index."""
    nodes, edges = convert.node_columns(graph), _edge_values(graph)
    root = ElementTree.Element("gexf", xmlns="http://gexf.net/1.3", version="1.3")
    body = ElementTree.SubElement(root, "graph", defaultedgetype="undirected")
    for kind, columns in (("node", nodes), ("edge", edges)):
        attributes = ElementTree.SubElement(body, "attributes", {"class": kind})
        for name, values in columns.items():
            field = {"id": f"{kind}_{name}", "title": name, "type": _type_name(values)}
            ElementTree.SubElement(attributes, "attribute", field)
    node_list = ElementTree.SubElement(body, "nodes")
    for node, record in enumerate(_records(nodes)):
        item = ElementTree.SubElement(node_list, "node", id=f"{node}", label=f"{node}")
        _add_attvalues(item, "node", record)
    edge_list = ElementTree.SubElement(body, "edges")
    pairs = zip(_ends(graph), _records(edges), strict=True)
    for edge, ((source, target), record) in enumerate(pairs):
        item = ElementTree.SubElement(edge_list, "edge", id=f"{edge}", source=source, target=target)
        item.set("weight", repr(record["jaccard"]))
        _add_attvalues(item, "edge", record)
    return root


def _add_attvalues(item: ElementTree.Element, kind: str, record: dict[str, Any]) -> None:
    parent = ElementTree.SubElement(item, "attvalues")
    for name, value in record.items():
        field = {"for": f"{kind}_{name}", "value": repr(value)}
        ElementTree.SubElement(parent, "attvalue", field)


def _type_name(values: NDArray[Any]) -> str:
    return "double" if values.dtype.kind == "f" else "long"


def _ends(graph: MapperGraph) -> list[tuple[str, str]]:
    """Return source and target of each edge as the text that XML wants."""
    return [(f"{source}", f"{target}") for source, target in graph.edges[:, :2].tolist()]


def _edge_values(graph: MapperGraph) -> dict[str, NDArray[Any]]:
    columns = convert.edge_columns(graph)
    return {name: columns[name] for name in ("shared", "jaccard")}


def _records(columns: dict[str, NDArray[Any]]) -> Iterable[dict[str, Any]]:
    """Yield one dict for each entry of the columns."""
    for values in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield dict(zip(columns, values, strict=True))


_Files = dict[str, Callable[[Path], None]]


def _csv_files(graph: MapperGraph) -> _Files:
    """Nodes, edges and memberships."""
    nodes = {"node": np.arange(graph.n_nodes), **convert.node_columns(graph)}
    return {
        "nodes.csv": _as_text(partial(_write_columns, columns=nodes)),
        "edges.csv": _as_text(partial(_write_columns, columns=convert.edge_columns(graph))),
        "memberships.csv": _as_text(partial(_write_memberships, graph=graph)),
    }


def _summary_files(graph: MapperGraph, summary: Summary | None, format: str) -> _Files:
    """The tables of a summary."""
    from topoact_gpu.summary_tables import summary_tables

    if summary is None:
        raise ParameterError(
            f"{format} needs a summary, and this graph is of no run that has one; "
            "write it: topoact summary RUN"
        )
    tables = summary_tables(graph, summary)
    if format == "summary-csv":
        return {
            f"{name}.csv": _as_text(partial(_write_columns, columns=columns))
            for name, columns in tables.items()
        }
    _check_pyarrow()
    return {f"{name}.parquet": partial(_write_parquet, columns) for name, columns in tables.items()}


def _check_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise TopoactError(
            "summary-parquet needs pyarrow, which is not installed: "
            "pip install 'topoact-gpu[parquet]', or export as summary-csv"
        )


def _write_parquet(columns: dict[str, NDArray[Any]], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


def _write_folder(path: Path, files: _Files, *, overwrite: bool) -> None:
    """Write files to a new directory, or over those in one that is there."""
    if path.is_dir() and overwrite:
        for name, write in files.items():
            with replaced_file(path / name, overwrite=True) as temporary:
                write(temporary)
        return
    if path.exists() and overwrite:
        raise StoreError(f"{path} is a file, a directory is required; choose another name")
    with replaced_directory(path, overwrite=False) as folder, os_errors(f"writing {path}"):
        for name, write in files.items():
            write(folder / name)


def _as_text(write: Callable[[TextIO], None]) -> Callable[[Path], None]:
    def to_file(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            write(file)

    return to_file


def _write_columns(file: TextIO, columns: dict[str, NDArray[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _write_memberships(file: TextIO, graph: MapperGraph) -> None:
    """Write (node, row), a block at a time: there can be millions."""
    nodes = np.repeat(np.arange(graph.n_nodes), graph.sizes)
    file.write("node,row\n")
    for start in range(0, nodes.size, _MEMBERSHIPS_AT_ONCE):
        block = slice(start, start + _MEMBERSHIPS_AT_ONCE)
        pairs = zip(nodes[block].tolist(), graph.rows[block].tolist(), strict=True)
        file.write("".join(f"{node},{row}\n" for node, row in pairs))
