"""MapperGraph: memberships, edges and simplices as arrays; to and from disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu import nodes
from topoact_gpu.array_group import check_version, read_arrays, read_errors, write_arrays
from topoact_gpu.errors import ParameterError, StoreError
from topoact_gpu.files import read_format, replaced_directory, to_jsonable
from topoact_gpu.interop import to_kind
from topoact_gpu.nerve import RowNodes, nerve, transpose

if TYPE_CHECKING:
    from topoact_gpu.backend import Backend
    from topoact_gpu.cover import CoverElements
    from topoact_gpu.summary import Summary

__all__ = ["FORMAT", "VERSION", "MapperGraph", "read_graph_group", "write_graph_group"]

FORMAT = "topoact-gpu/graph"
VERSION = 1
_RUN_FORMAT = "topoact-gpu/run"
_ARRAYS = {
    "indptr": np.int64,
    "rows": np.int64,
    "edges": np.int64,
    "jaccard": np.float64,
    "node_interval": np.int64,
    "node_lens": np.float64,
    "lens_std": np.float64,
    "lens_min": np.float64,
    "lens_max": np.float64,
    "interval_id": np.int64,
}
_OPTIONAL = {"interval_offered": np.int64}


@dataclass(frozen=True, eq=False, repr=False)
class MapperGraph:
    """A Mapper graph as arrays.

    Attributes
    ----------
    indptr : int64[n_nodes + 1]
        Node ``a`` holds ``rows[indptr[a]:indptr[a + 1]]``.
    rows : int64[nnz]
        Row ids, ascending within a node.
    edges : int64[n_edges, 3]
        (source, target, shared rows), source < target, sorted.
    jaccard : float64[n_edges]
        Shared rows over the rows in either node.
    higher : tuple of int64[n_simplices, k + 2]
        Triangles and above (k = 2, 3, ...): k + 1 ascending nodes, then the shared rows; sorted.
    node_interval : int64[n_nodes]
        Number of the cover element that the node lies in, in the full grid; ascending.
    node_lens, lens_std, lens_min, lens_max : float64[n_nodes, n_columns]
        Mean, standard deviation, least and greatest lens value of the node's rows.
    interval_id : int64[n_elements]
        Numbers of all cover elements that hold rows, those without a node included.
    interval_offered : int64[n_elements] or None
        Rows of each of them; None where nobody said (graphs of earlier releases).
    run : Path or None
        The run that the graph was loaded from.
    n_rows : int
        Rows of the data.
    n_offered : int
        (row, element) pairs that were handed to clustering.
    parameters, provenance : dict
        How the graph was made; values that JSON can hold.
    """

    indptr: NDArray[np.int64]
    rows: NDArray[np.int64]
    edges: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    higher: tuple[NDArray[np.int64], ...]
    node_interval: NDArray[np.int64]
    node_lens: NDArray[np.float64]
    lens_std: NDArray[np.float64]
    lens_min: NDArray[np.float64]
    lens_max: NDArray[np.float64]
    interval_id: NDArray[np.int64]
    n_rows: int
    n_offered: int
    parameters: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    interval_offered: NDArray[np.int64] | None = None
    run: Path | None = None

    def __post_init__(self) -> None:
        for name, dtype in (*_ARRAYS.items(), *_OPTIONAL.items()):
            if name in _ARRAYS or getattr(self, name) is not None:
                object.__setattr__(self, name, _frozen(getattr(self, name), dtype))
        object.__setattr__(self, "higher", tuple(_frozen(s, np.int64) for s in self.higher))

    @classmethod
    def build(
        cls,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        node_interval: NDArray[np.int64],
        lens_values: NDArray[np.float64],
        n_offered: int,
        *,
        max_dimension: int = 1,
        min_intersection: int = 1,
        elements: CoverElements | None = None,
        parameters: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        n_threads: int | None = None,
        backend: Backend | None = None,
    ) -> Self:
        """Make the graph of nodes given by their rows: nerve and lens statistics.

        Parameters
        ----------
        indptr : int64[n_nodes + 1]
        rows : int64[nnz]
            Memberships; row ids ascending within a node.
        node_interval : int64[n_nodes]
            Number of each node's cover element.
        lens_values : float64[n_rows, n_columns]
        n_offered : int
            (row, element) pairs that were handed to clustering.
        max_dimension, min_intersection, n_threads, backend
            As for `topoact_gpu.nerve.nerve`.
        elements : CoverElements, optional
            The cover elements; without them ``interval_id`` has only those with a node.
        parameters, provenance : mapping, optional
            Kept with the graph.

        Returns
        -------
        MapperGraph
        """
        lens_values = np.asarray(lens_values, dtype=np.float64)
        lens_values = lens_values[:, None] if lens_values.ndim == 1 else lens_values
        n_rows = lens_values.shape[0]
        found = nerve(
            indptr,
            rows,
            n_rows,
            max_dimension=max_dimension,
            min_intersection=min_intersection,
            n_threads=n_threads,
            backend=backend,
        )
        mean, std, least, greatest = nodes.lens_statistics(indptr, rows, lens_values)
        return cls(
            indptr=indptr,
            rows=rows,
            edges=found.edges,
            jaccard=found.jaccard,
            higher=found.higher,
            node_interval=node_interval,
            node_lens=mean,
            lens_std=std,
            lens_min=least,
            lens_max=greatest,
            interval_id=np.unique(node_interval) if elements is None else elements.element_id,
            n_rows=n_rows,
            n_offered=int(n_offered),
            parameters=to_jsonable(dict(parameters or {})),
            provenance=to_jsonable(dict(provenance or {})),
            interval_offered=None if elements is None else elements.sizes,
        )

    def __repr__(self) -> str:
        return (
            f"MapperGraph(n_rows={self.n_rows}, n_nodes={self.n_nodes}, n_edges={self.n_edges}, "
            f"coverage={self.coverage:.3f}, noise={self.noise:.3f})"
        )

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.indptr.size - 1)

    @property
    def n_edges(self) -> int:
        """Number of edges."""
        return int(self.edges.shape[0])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows in each node, int64[n_nodes]."""
        return np.diff(self.indptr)

    @cached_property
    def coverage(self) -> float:
        """Share of the rows that lie in any node; 0.0 without rows."""
        covered = np.zeros(self.n_rows, dtype=bool)
        covered[self.rows] = True
        return int(covered.sum()) / self.n_rows if self.n_rows else 0.0

    @property
    def noise(self) -> float:
        """Share of the (row, element) pairs that no cluster took; 0.0 if none was offered."""
        return 1 - self.rows.size / self.n_offered if self.n_offered else 0.0

    @property
    def n_components(self) -> int:
        """Number of connected components."""
        return int(self._components.max(initial=-1)) + 1

    @property
    def n_loops(self) -> int:
        """Independent loops of the edges: edges - nodes + components (first Betti number)."""
        return self.n_edges - self.n_nodes + self.n_components

    @cached_property
    def _row_nodes(self) -> RowNodes:
        return transpose(self.indptr, self.rows, self.n_rows)

    @cached_property
    def _components(self) -> NDArray[np.int64]:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ends = (self.edges[:, 0], self.edges[:, 1])
        shape = (self.n_nodes, self.n_nodes)
        adjacency = coo_array((np.ones(self.n_edges, dtype=np.int8), ends), shape=shape)
        label = connected_components(adjacency.tocsr(), directed=False)[1]
        _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
        rank = np.empty(first.size, dtype=np.int64)
        rank[np.argsort(first)] = np.arange(first.size)
        return rank[inverse]

    def components(self) -> NDArray[np.int64]:
        """Return the component of each node, int64[n_nodes], numbered by their smallest node."""
        return self._components.copy()

    def memberships(self, like: Any = None) -> tuple[Any, Any]:
        """``indptr`` and ``rows`` as arrays of the kind of ``like``.

        Parameters
        ----------
        like : "numpy", "torch", "cupy" or an array, optional
            See `topoact_gpu.interop.to_kind`.

        Returns
        -------
        indptr, rows : int64
        """
        return to_kind(self.indptr, like), to_kind(self.rows, like)

    def node_rows(self, node: int) -> NDArray[np.int64]:
        """Return the rows of one node, ascending.

        Raises
        ------
        ParameterError
            There is no such node.
        """
        node = _checked_index(node, self.n_nodes, "node")
        return self.rows[self.indptr[node] : self.indptr[node + 1]]

    def row_nodes(self, row: int) -> NDArray[np.int64]:
        """Return the nodes that hold one row, ascending; empty if none does.

        Raises
        ------
        ParameterError
            There is no such row.

        Notes
        -----
        The first call lists the nodes of all rows, in time and memory of the memberships.
        """
        row = _checked_index(row, self.n_rows, "row")
        held = self._row_nodes
        return held.nodes[held.indptr[row] : held.indptr[row + 1]].astype(np.int64)

    def simplices(self, k: int) -> NDArray[np.int64]:
        """Return the simplices of dimension ``k``.

        Parameters
        ----------
        k : int
            0 for nodes, 1 for edges, 2 for triangles, ... up to ``max_dimension``.

        Returns
        -------
        int64[n_simplices, k + 2]
            ``k + 1`` ascending nodes, then the number of rows they share; sorted.

        Raises
        ------
        ParameterError
            The graph was not built up to this dimension.
        """
        if k == 0:
            return np.stack([np.arange(self.n_nodes, dtype=np.int64), self.sizes], axis=1)
        known = (self.edges, *self.higher)
        if not 1 <= k <= len(known):
            raise ParameterError(
                f"this graph has simplices of dimension 0 to {len(known)}, got k={k}; "
                "build it with a larger max_dimension"
            )
        return known[k - 1]

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the graph to a new Zarr 3 directory.

        Parameters
        ----------
        path : path
            Appears when it is complete, or not at all.
        overwrite : bool
            Replace a graph, run or store of ours that is there.

        Raises
        ------
        StoreError
            Something is there already, or it cannot be written.
        """
        import zarr

        with replaced_directory(Path(path), overwrite=overwrite) as temporary:
            write_graph_group(zarr.open_group(temporary, mode="w", zarr_format=3), self)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a graph from a saved graph or a run.

        Parameters
        ----------
        path : path
            What `save` or a run wrote.

        Returns
        -------
        MapperGraph

        Raises
        ------
        StoreError
            It is missing, damaged, foreign or of a newer version.
        """
        import zarr

        path = Path(path)
        if not path.exists():
            raise StoreError(f"there is no graph or run at {path}; check the path")
        found = read_format(path)
        if found not in (FORMAT, _RUN_FORMAT):
            raise StoreError(
                f"{path} must be a graph or run of topoact-gpu, "
                f"{f'it is a {found!r}' if found else 'it is neither'}; check the path"
            )
        with read_errors(str(path)):
            group = zarr.open_group(path, mode="r", zarr_format=3)
        if found == _RUN_FORMAT:
            with read_errors(str(path)):
                check_version(group, _RUN_FORMAT, VERSION, str(path))
                group = _subgroup(group, "graph")
        return read_graph_group(group, cls, run=path if found == _RUN_FORMAT else None)

    def to_networkx(self) -> Any:
        """Return a ``networkx.Graph``; see `topoact_gpu.convert.to_networkx`."""
        from topoact_gpu import convert

        return convert.to_networkx(self)

    def to_igraph(self) -> Any:
        """Return an ``igraph.Graph``; see `topoact_gpu.convert.to_igraph`."""
        from topoact_gpu import convert

        return convert.to_igraph(self)

    def to_node_link(
        self,
        labels: ArrayLike | None = None,
        *,
        label_names: Mapping[Any, str] | ArrayLike | None = None,
        activations: Any = None,
    ) -> dict[str, Any]:
        """Return TopoAct's JSON; see `topoact_gpu.convert.to_node_link`."""
        from topoact_gpu import convert

        return convert.to_node_link(self, labels, label_names=label_names, activations=activations)

    def to_kmapper(self) -> dict[str, Any]:
        """Return KeplerMapper's dict; see `topoact_gpu.convert.to_kmapper`."""
        from topoact_gpu import convert

        return convert.to_kmapper(self)

    @cached_property
    def saved_summary(self) -> Summary | None:
        """The summary in the run that the graph was loaded from; None where there is none."""
        from topoact_gpu import summary_group

        return None if self.run is None else summary_group.load_summary(self.run)

    def summarise(self, **options: Any) -> Summary:
        """Summarise nodes and edges from all of their rows; see `topoact_gpu.summary.summarise`."""
        from topoact_gpu import summary

        return summary.summarise(self, **options)

    def summary_table(
        self, summary: Summary | None = None, **options: Any
    ) -> dict[str, NDArray[Any]]:
        """Return the summary of the nodes as columns, ready for ``pandas.DataFrame(...)``.

        Parameters
        ----------
        summary : Summary, optional
            By default that of the run which the graph was loaded from, if it has one.
        **options
            As for `summarise`; with any, the summary is computed.

        Returns
        -------
        dict of str to [n_nodes]
            See `topoact_gpu.summary_tables.summary_table`. Without a summary and without options
            only sizes, lens values, degrees and components are known, the rest is NaN.
        """
        from topoact_gpu.summary_tables import summary_table

        if summary is None:
            summary = None if options else self.saved_summary
        return summary_table(self, summary or self.summarise(**options))

    def plot(self, ax: Any = None, color: ArrayLike | None = None) -> Any:
        """Draw the graph with matplotlib; see `topoact_gpu.plot.plot_graph`."""
        from topoact_gpu import plot

        return plot.plot_graph(self, ax=ax, color=color)

    def explore(
        self,
        labels: ArrayLike | None = None,
        *,
        label_names: Iterable[str] | None = None,
        lens_values: ArrayLike | None = None,
        activations: Any = None,
        **options: Any,
    ) -> Any:
        """Show the graph in the explorer; see `topoact_gpu.explore.notebook.explore`."""
        from importlib import import_module

        # by its name, for the explorer stands on the graph and no import here may say otherwise
        notebook = import_module("topoact_gpu.explore.notebook")
        return notebook.explore(
            self,
            labels=labels,
            label_names=label_names,
            lens_values=lens_values,
            activations=activations,
            **options,
        )


def write_graph_group(group: Any, graph: MapperGraph) -> None:
    """Write a graph to an empty Zarr 3 group.

    Parameters
    ----------
    group : zarr.Group
    graph : MapperGraph

    Notes
    -----
    The attributes (format, version, checksums, ...) are written last: a group without them is
    never read as a graph.
    """
    arrays = {name: getattr(graph, name) for name in _ARRAYS}
    arrays |= {k: v for k in _OPTIONAL if (v := getattr(graph, k)) is not None}
    arrays |= {f"higher_{k}": simplices for k, simplices in enumerate(graph.higher, start=2)}
    checksums = write_arrays(group, arrays)
    group.attrs.update(
        {
            "n_rows": graph.n_rows,
            "n_offered": graph.n_offered,
            "max_dimension": 1 + len(graph.higher),
            "parameters": to_jsonable(graph.parameters),
            "provenance": to_jsonable(graph.provenance),
            "checksums": checksums,
            "format": FORMAT,
            "version": VERSION,
        }
    )


def read_graph_group(group: Any, cls: type[Any] = MapperGraph, *, run: Path | None = None) -> Any:
    """Read the graph that `write_graph_group` wrote.

    Parameters
    ----------
    group : zarr.Group
    run : Path, optional
        The run that it is a part of.

    Returns
    -------
    MapperGraph

    Raises
    ------
    StoreError
        The group is damaged, foreign or of a newer version.
    """
    where = str(group.store_path)
    check_version(group, FORMAT, VERSION, where)
    with read_errors(where):
        attributes = dict(group.attrs)
        higher = [f"higher_{k}" for k in range(2, attributes["max_dimension"] + 1)]
        optional = [name for name in _OPTIONAL if name in attributes["checksums"]]
        names = (*_ARRAYS, *optional, *higher)
        arrays = read_arrays(group, names)
        graph = cls(
            **{name: arrays[name] for name in (*_ARRAYS, *optional)},
            higher=tuple(arrays[name] for name in higher),
            **{k: attributes[k] for k in ("n_rows", "n_offered", "parameters", "provenance")},
            run=run,
        )
    _check_shapes(graph, where)
    return graph


def _check_shapes(graph: MapperGraph, where: str) -> None:
    """Check that the arrays belong together."""
    n_nodes = graph.n_nodes
    fits = (
        n_nodes >= 0
        and graph.edges.shape == (graph.jaccard.size, 3)
        and graph.node_interval.shape == (n_nodes,)
        and all(s.shape[:1] == (n_nodes,) for s in (graph.node_lens, graph.lens_std))
        and graph.indptr[0] == 0
        and graph.indptr[-1] == graph.rows.size
        and (
            graph.interval_offered is None or graph.interval_offered.size == graph.interval_id.size
        )
    )
    if not fits:
        raise StoreError(f"{where} is damaged: its arrays do not belong together; make it anew")


def _subgroup(group: Any, name: str) -> Any:
    """Return a subgroup; an array of that name will not do."""
    import zarr

    found = group[name]
    if not isinstance(found, zarr.Group):
        raise KeyError(name)
    return found


def _frozen(values: Any, dtype: Any) -> NDArray[Any]:
    """Return a read-only view, so that what was derived from it stays true."""
    array = np.ascontiguousarray(values, dtype=dtype).view()
    array.flags.writeable = False
    return array


def _checked_index(value: Any, n: int, name: str) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 0 <= value < n:
        raise ParameterError(f"{name} must be a whole number from 0 to {n - 1:,}, got {value!r}")
    return int(value)
