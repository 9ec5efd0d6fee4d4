"""Exports: a MapperGraph as files for other programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu import convert
from topoact_gpu.errors import ParameterError, StoreError
from topoact_gpu.files import os_errors, replaced_directory, replaced_file
from topoact_gpu.graph import MapperGraph

__all__ = ["FORMATS", "export_graph"]

FORMATS = ("node-link", "kmapper", "graphml", "gexf", "csv", "png")
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
) -> None:
    """Write a graph for another program.

    Parameters
    ----------
    graph : MapperGraph
    path : path
        File to write; for ``csv`` a directory.
    format : str
        ``node-link`` (TopoAct's JSON), ``kmapper`` (KeplerMapper's dict as JSON), ``graphml``,
        ``gexf``, ``csv`` (``nodes.csv``, ``edges.csv``, ``memberships.csv``) or ``png``.
    overwrite : bool
        Replace what is there; of a directory, these three files only.
    labels, label_names, activations
        For ``node-link``: see `topoact_gpu.convert.to_node_link`.
    color : float[n_nodes], optional
        For ``png``: see `topoact_gpu.plot.plot_graph`.

    Raises
    ------
    ParameterError
        There is no such format.
    StoreError
        Something is there already, or it cannot be written; nothing is left half-written.
    """
    if format not in FORMATS:
        raise ParameterError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    path = Path(path)
    if format == "csv":
        _export_csv(graph, path, overwrite=overwrite)
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


def _export_csv(graph: MapperGraph, path: Path, *, overwrite: bool) -> None:
    """Write the three tables to a new directory, or over those in one that is there."""
    tables: dict[str, Callable[[TextIO], None]] = {
        "nodes.csv": lambda file: _write_columns(
            file, {"node": np.arange(graph.n_nodes), **convert.node_columns(graph)}
        ),
        "edges.csv": lambda file: _write_columns(file, convert.edge_columns(graph)),
        "memberships.csv": lambda file: _write_memberships(file, graph),
    }
    if path.is_dir() and overwrite:
        for name, write in tables.items():
            with replaced_file(path / name, overwrite=True) as temporary:
                _write_table(temporary, write)
        return
    if path.exists() and overwrite:
        raise StoreError(f"{path} is a file, csv needs a directory; choose another name")
    with replaced_directory(path, overwrite=False) as folder, os_errors(f"writing {path}"):
        for name, write in tables.items():
            _write_table(folder / name, write)


def _write_table(path: Path, write: Callable[[TextIO], None]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write(file)


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
