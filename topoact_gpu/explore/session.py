"""What the explorer has open: runs, their stores, and what has been worked out about them.

One `Session` belongs to one server. Everything is read when it is first asked for, once, and may
be asked for from several threads.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.capturing import read_inputs
from topoact_gpu.errors import DataError, ParameterError, StoreError, nearest_name
from topoact_gpu.files import read_format
from topoact_gpu.graph import MapperGraph
from topoact_gpu.labels import categorical, label_column, predicted_classes
from topoact_gpu.remote import place_of
from topoact_gpu.rows import Rows, as_rows
from topoact_gpu.runs import FORMAT as RUN
from topoact_gpu.runs import Run, coded_columns, load_run
from topoact_gpu.store import Layer, Store, open_store

from .cache import Cache
from .faults import Conflict, Forbidden, NotFound
from .headers import Header, header_of, read_header, settings_of

__all__ = ["ActivationRows", "RunView", "Session", "StoreView"]

CACHE_BYTES = 4 << 30
# a layer up to this size is read once and held: selections take rows from everywhere
HELD_BYTES = 512 << 20
WORDS = "token"
PREDICTION = "prediction"


class Session:
    """Runs that one explorer shows.

    Parameters
    ----------
    runs : iterable of path
        Runs or graphs on disk; their headers are read now.
    read_only : bool
        Nothing is written and nothing is computed anew.
    store : path, optional
        Where the activations are, if not where the runs say.
    label : str, optional
        The row column whose values are the classes; by default each run's own choice.

    Raises
    ------
    StoreError
        A run is missing or damaged.
    """

    def __init__(
        self,
        runs: Iterable[str | Path] = (),
        *,
        read_only: bool = False,
        store: str | Path | None = None,
        label: str | None = None,
    ) -> None:
        self.read_only = read_only
        self.label = label
        self.cache = Cache(CACHE_BYTES)
        self._store_path = store
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._runs: dict[str, RunView] = {}
        self._stores: dict[str, StoreView] = {}
        for path in runs:
            path = Path(path)
            self._add(path.name.removesuffix(".zarr"), read_header(path), path=path)
        if label is not None:
            self.check_label(label)

    @property
    def title(self) -> str:
        """The names of the runs."""
        names = [run.name for run in self.runs]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @property
    def runs(self) -> list[RunView]:
        """All runs, in the order in which they came."""
        with self._lock:
            return list(self._runs.values())

    @property
    def stores(self) -> list[StoreView]:
        """The stores that the runs' rows are from."""
        with self._lock:
            return list(self._stores.values())

    def run(self, id: str) -> RunView:
        """The run with this id.

        Raises
        ------
        NotFound
        """
        with self._lock:
            found = self._runs.get(id)
        if found is None:
            raise NotFound(f"there is no run {id[:40]!r}; it may have been closed: reload the page")
        return found

    def store(self, id: str) -> StoreView:
        """The store with this id.

        Raises
        ------
        NotFound
        """
        with self._lock:
            found = self._stores.get(id)
        if found is None:
            raise NotFound(f"there is no store {id[:40]!r}; reload the page")
        return found

    def add_run(
        self,
        name: str,
        graph: MapperGraph,
        *,
        lens_values: ArrayLike | None = None,
        report: Mapping[str, Any] | None = None,
        columns: Mapping[str, ArrayLike] | None = None,
        names: Mapping[str, list[str]] | None = None,
        source: Mapping[str, Any] | None = None,
        activations: Any = None,
        parent: RunView | None = None,
    ) -> RunView:
        """Add a run that is in memory only.

        Parameters
        ----------
        name : str
        graph : MapperGraph
        lens_values : float64[n_rows, k], optional
        report, columns, names, source : mapping, optional
            As for `topoact_gpu.runs.save_run`; by default those of ``parent``.
        activations : array-like [n_rows, n_cols], optional
            Anything `topoact_gpu.rows.as_rows` takes; by default what the source says.
        parent : RunView, optional
            The run whose rows these are, for a run computed anew.

        Returns
        -------
        RunView
        """
        inherited = parent._run() if parent is not None else None
        kept_names = _given(names, inherited, "names")
        run = Run(
            graph=graph,
            lens_values=_as_lens(lens_values, graph),
            report=dict(report or {}),
            columns=coded_columns(_given(columns, inherited, "columns"), kept_names, graph.n_rows),
            names=kept_names,
            source=_given(source, inherited, "source"),
        )
        if activations is None and parent is not None:
            activations = parent._given_rows
        return self._add(name, header_of(run), run=run, rows=activations, parent=parent)

    def forget(self, id: str) -> None:
        """Forget a run that is in memory only.

        Raises
        ------
        NotFound
        Conflict
            It is a file.
        """
        view = self.run(id)
        if view.parent is None:
            raise Conflict(f"{view.name} was given and stays; only recomputed runs are forgotten")
        with self._lock:
            self._runs.pop(id, None)
        self.cache.forget(lambda key: key[0] == id)

    def check_writable(self) -> None:
        """Raise `Forbidden` where the session may only read."""
        if self.read_only:
            raise Forbidden("this explorer may only read; start it without --read-only")

    def info(self) -> dict[str, Any]:
        """What `GET session` answers."""
        return {
            "version": 1,
            "read_only": self.read_only,
            "title": self.title,
            "runs": [run.info() for run in self.runs],
            "stores": [self._store_info(store) for store in self.stores],
        }

    def _store_info(self, store: StoreView) -> dict[str, Any]:
        runs = [run for run in self.runs if run.store_id == store.id]
        return {
            "id": store.id,
            "name": store.name,
            "model": store.model,
            "layers": [
                {
                    "name": name,
                    "n_rows": n_rows,
                    "n_cols": n_cols,
                    "runs": [run.id for run in runs if run.source.get("layer") == name],
                }
                for name, n_rows, n_cols in store.shapes
            ],
        }

    def _add(self, name: str, header: Header, **given: Any) -> RunView:
        with self._lock:
            store = self._store_of(header.source)
            view = RunView(self, f"r{next(self._numbers)}", name, header, store, **given)
            self._runs[view.id] = view
        return view

    def _store_of(self, source: Mapping[str, Any]) -> StoreView | None:
        """The store a run names, or the one that was given in its place; None if it is gone."""
        path = self._store_path if self._store_path is not None else source.get("path")
        if path is None or source.get("layer") is None:
            return None
        known = next((s for s in self._stores.values() if s.given == str(path)), None)
        if known is not None:
            return known
        if self._store_path is None and not _is_there(path):
            return None
        found = StoreView(f"s{len(self._stores)}", path)
        self._stores[found.id] = found
        return found

    def check_label(self, label: str) -> None:
        """Raise `ParameterError` unless some run has a column of categories of this name."""
        holders = [run for run in self.runs if label in run.header.columns]
        if not holders:
            known = {name for run in self.runs for name in run.header.columns}
            raise ParameterError(
                f"no run has the row column {label!r}{nearest_name(label, sorted(known))}"
            )
        if not any(label in run.categories for run in holders):
            holders[0].checked_label(label)


class StoreView:
    """A store that rows are from.

    Attributes
    ----------
    id : str
    given : str
        Path or address, as it was given.
    name : str
    store : Store
    shapes : list of (name, n_rows, n_cols)
        The layers, in the store's order.
    inputs : list of dict or None
        What was captured, see `topoact_gpu.capturing.read_inputs`.
    """

    def __init__(self, id: str, path: str | Path) -> None:
        self.id, self.given = id, str(path)
        place = place_of(path)
        self.name = str(place.name).removesuffix(".zarr")
        self.store: Store = open_store(path)
        layers = [self.store.layer(name) for name in self.store.layers]
        self.shapes = [(layer.name, layer.n_rows, layer.n_cols) for layer in layers]
        self.inputs: list[dict[str, Any]] | None = None
        if isinstance(place, Path) and (place / "capture").is_dir():
            self.inputs = read_inputs(place)

    @property
    def model(self) -> str | None:
        """The name of the network."""
        found = self.store.attributes.get("model")
        found = found.get("spec") if isinstance(found, dict) else found
        return found if isinstance(found, str) else None


class ActivationRows:
    """Rows of activations, by lists of ids.

    Attributes
    ----------
    shape : (n_rows, n_cols)
    dtype : numpy.dtype
    rows : topoact_gpu.rows.Rows
    nbytes : int
        What they take of memory.
    """

    def __init__(self, given: Any) -> None:
        self.rows: Rows = as_rows(given, min_rows=0)
        self.shape = (self.rows.n_rows, self.rows.n_cols)
        self.dtype = self.rows.dtype
        self.nbytes = given.nbytes if isinstance(given, np.ndarray) else 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: Any) -> NDArray[Any]:
        return self.rows.take(np.atleast_1d(np.asarray(ids, dtype=np.int64)))


class RunView:
    """One run and what is known of its rows; made by `Session`.

    Attributes
    ----------
    id : str
    name : str
    session : Session
    header : Header
    path : Path or None
        Where it is, if it is a file.
    parent : RunView or None
        The run it was recomputed from.
    notes : list of dict
        Of a run in memory; those of a file are beside it.
    """

    def __init__(
        self,
        session: Session,
        id: str,
        name: str,
        header: Header,
        store: StoreView | None,
        *,
        path: Path | None = None,
        run: Run | None = None,
        rows: Any = None,
        parent: RunView | None = None,
    ) -> None:
        self.session, self.id, self.name, self.header = session, id, name, header
        self.path, self.parent = path, parent
        self._store, self._in_memory, self._given_rows = store, run, rows
        self.notes: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        return f"RunView({self.id!r}, {self.name!r}, {self.header.n_rows:,} rows)"

    def once(self, what: Any, make: Callable[[], Any]) -> Any:
        """A value worked out from this run: made when it is first asked for, then remembered.

        Parameters
        ----------
        what : hashable
            Names the value among those of this run, such as ``("pca", 2)``.
        make : callable
        """
        return self.session.cache.get((self.id, what), make)

    @property
    def origin(self) -> str:
        """``file`` or ``recomputed``."""
        return "recomputed" if self.path is None else "file"

    @property
    def graph(self) -> MapperGraph:
        """The graph."""
        return self._run().graph

    @property
    def lens_values(self) -> NDArray[np.float64]:
        """float64[n_rows, k]; NaN where only a graph was saved."""
        return self._run().lens_values

    @property
    def report(self) -> dict[str, Any]:
        """Parameters, seconds and memory of each stage."""
        return self.header.report

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """Row columns, each [n_rows]."""
        return self._run().columns

    @property
    def source(self) -> dict[str, Any]:
        """``path`` and ``layer`` that the rows are from."""
        return self.header.source

    @property
    def names(self) -> dict[str, list[str]]:
        """What the codes of a row column stand for; those of ``prediction`` are in the store."""
        names = dict(self._run().names)
        attributes = {} if self._store is None else self._store.store.attributes
        for column, kept in (("class_id", "label_names"), ("prediction", "output_names")):
            found = attributes.get(kept)
            if column in self.header.columns and column not in names and isinstance(found, list):
                names[column] = [str(name) for name in found]
        return names

    @property
    def store(self) -> Store | None:
        """The store that the rows are from."""
        return None if self._store is None else self._store.store

    @property
    def store_id(self) -> str | None:
        """Its id in the session."""
        return None if self._store is None else self._store.id

    @property
    def layer(self) -> Layer | None:
        """The layer that the rows are; None if there is none or it has other rows by now."""
        name = self.source.get("layer")
        if self._store is None or name not in self._store.store.layers:
            return None
        layer = self._store.store.layer(name)
        return layer if layer.n_rows == self.header.n_rows else None

    @property
    def inputs(self) -> list[dict[str, Any]] | None:
        """What was captured, one dict for each input; None where no capture is known."""
        return None if self._store is None else self._store.inputs

    @property
    def activations(self) -> ActivationRows | None:
        """The rows themselves; None where they cannot be had."""
        return self.session.cache.get((self.id, "activations"), self._activations)  # type: ignore[no-any-return]

    def _activations(self) -> ActivationRows | None:
        given = self._given_rows if self._given_rows is not None else self.layer
        if given is None:
            return None
        small = isinstance(given, Layer) and given.n_rows * given.n_cols * given.dtype.itemsize
        if small and small <= HELD_BYTES:
            given = given.read_block(0, given.n_rows)
        rows = ActivationRows(given)
        if len(rows) != self.header.n_rows:
            raise DataError(
                f"activations have {len(rows):,} rows, the graph {self.header.n_rows:,}; "
                "give those that it was computed from"
            )
        return rows

    @property
    def input_names(self) -> list[str] | None:
        """What each input is called, by its number; None where that is not known."""
        if self.inputs is None or "input" not in self.header.columns:
            return None
        return self.once("input names", lambda: _input_names(self.inputs or []))  # type: ignore[no-any-return]

    @property
    def words(self) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64]] | None:
        """The word of each row (-1: none), what the codes stand for, and rows of each; or None."""
        if WORDS not in self.header.columns or WORDS not in self._run().names:
            return None
        return self.once("words", self._words)  # type: ignore[no-any-return]

    def _words(self) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64]]:
        codes, names = self.class_codes(WORDS)
        return codes, names, np.bincount(codes[codes >= 0], minlength=len(names))

    def predictions(self, label: str | None) -> NDArray[np.int64] | None:
        """What the network predicted, in the classes of ``label``; None where it says nothing.

        Returns
        -------
        int64[n_rows] or None
            See `topoact_gpu.labels.predicted_classes`.
        """
        if label is None or label == PREDICTION or PREDICTION not in self.header.columns:
            return None
        return self.once(("predictions", label), lambda: self._predictions(label))[0]  # type: ignore[no-any-return]

    def prediction_remark(self, label: str | None) -> str | None:
        """Why predictions cannot be compared with the classes of ``label``, or not all of them."""
        if self.predictions(label) is None:
            return None
        return self.once(("predictions", label), lambda: None)[1]  # type: ignore[no-any-return]

    def _predictions(self, label: str) -> tuple[NDArray[np.int64], str | None]:
        codes, names = self.class_codes(label)
        outputs = self.names.get(PREDICTION)
        return predicted_classes(codes, self.columns[PREDICTION], names, outputs)

    @property
    def label(self) -> str | None:
        """The row column whose values are the classes, unless another is asked for."""
        asked = self.session.label
        if asked in self.categories:
            return asked
        return self.once("label", lambda: label_column(self.columns, self._run().names))  # type: ignore[no-any-return]

    @property
    def categories(self) -> list[str]:
        """Names of the row columns whose values are classes."""
        return [column.name for column in self.column_kinds() if column.kind == "category"]

    def checked_label(self, label: str | None) -> str | None:
        """``label``, or the run's own where it is None.

        Raises
        ------
        ParameterError
            There is no such column, or its values are no classes.
        """
        if label is None:
            return self.label
        if label not in self.categories:
            raise ParameterError(
                f"label must be a row column of categories, not {label[:80]!r}"
                f"{nearest_name(label[:80], self.categories)}"
            )
        return label

    def column_kinds(self) -> list[Column]:
        """What the row columns are: categories, see `topoact_gpu.labels`, or numbers."""
        return self.once("column kinds", self._column_kinds)  # type: ignore[no-any-return]

    def _column_kinds(self) -> list[Column]:
        names = self.names
        known = categorical(self.columns, names)
        return [
            Column(name, "category" if name in known else "number", _n_values(v, names.get(name)))
            for name, v in self.columns.items()
        ]

    def class_codes(self, label: str) -> tuple[NDArray[np.int64], list[str]]:
        """The class of each row by a column of categories, and the names of the classes.

        Returns
        -------
        codes : int64[n_rows]
            -1 where it is unknown.
        names : list of str
        """
        return self.once(("classes", label), lambda: self._class_codes(label))  # type: ignore[no-any-return]

    def _class_codes(self, label: str) -> tuple[NDArray[np.int64], list[str]]:
        values = self.columns[label]
        names = self.names.get(label)
        if names is None:
            found, codes = np.unique(values, return_inverse=True)
            unknown = int((found < 0).sum())
            codes = np.where(codes < unknown, -1, codes - unknown).astype(np.int64)
            return codes, [str(value) for value in found[unknown:].tolist()]
        codes = values.astype(np.int64)
        codes[(codes < 0) | (codes >= len(names))] = -1
        return codes, list(names)

    def summary(self, label: str | None = None) -> Any:
        """The summary of the nodes by the classes of ``label``; by default the run's own.

        Raises
        ------
        ParameterError
            There is no such column.
        """
        from .summaries import summary_of

        label = self.checked_label(label)
        return self.once(("summary", label), lambda: summary_of(self, label))  # type: ignore[no-any-return]

    def info(self) -> dict[str, Any]:
        """What the page is told of the run."""
        header = self.header
        has_rows = self._given_rows is not None or self.layer is not None
        return {
            "id": self.id,
            "name": self.name,
            "origin": self.origin,
            "store": self.store_id,
            "layer": self.source.get("layer"),
            "settings": settings_of(header),
            "n_rows": header.n_rows,
            "n_nodes": header.n_nodes,
            "n_edges": header.n_edges,
            "can_recompute": has_rows and not self.session.read_only,
            "can_trace": "input" in header.columns or self.layer is not None,
        }

    def _run(self) -> Run:
        if self._in_memory is not None:
            return self._in_memory
        return self.session.cache.get((self.id, "run"), self._load)  # type: ignore[no-any-return]

    def _load(self) -> Run:
        assert self.path is not None
        if read_format(self.path) == RUN:
            return load_run(self.path)
        graph = MapperGraph.load(self.path)
        lens = np.full((graph.n_rows, graph.node_lens.shape[1]), np.nan)
        return Run(graph=graph, lens_values=lens, report={})


@dataclass(frozen=True)
class Column:
    """A row column and what it is good for.

    Attributes
    ----------
    name : str
    kind : "category" or "number"
        See `topoact_gpu.labels.categorical`.
    n_values : int
        Different values.
    """

    name: str
    kind: str
    n_values: int


def _n_values(values: NDArray[Any], names: list[str] | None) -> int:
    if names is not None:
        return len(names)
    return len(np.unique(values[np.isfinite(values)] if values.dtype.kind == "f" else values))


def _input_names(inputs: list[dict[str, Any]]) -> list[str]:
    numbers = [line.get("input", i) for i, line in enumerate(inputs)]
    names = [str(number) for number in range(max(numbers, default=-1) + 1)]
    for number, line in zip(numbers, inputs, strict=True):
        names[number] = str(line.get("id", number))
    return names


def _as_lens(values: ArrayLike | None, graph: MapperGraph) -> NDArray[np.float64]:
    """Lens values of each row; NaN where they are not known."""
    shape = (graph.n_rows, graph.node_lens.shape[1])
    lens = np.full(shape, np.nan) if values is None else np.asarray(values, dtype=np.float64)
    lens = lens[:, None] if lens.ndim == 1 else lens
    if lens.shape != shape:
        raise DataError(f"lens_values must have the graph's shape {shape}, got {lens.shape}")
    return lens


def _given(value: Any, inherited: Run | None, name: str) -> dict[str, Any]:
    if value is None and inherited is not None:
        value = getattr(inherited, name)
    return dict(value or {})


def _is_there(path: str | Path) -> bool:
    try:
        return bool(place_of(path).exists())
    except StoreError:
        return False
