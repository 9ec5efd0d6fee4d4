"""A run in the explorer, and the store that its rows are from: read when first asked for, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.capturing import read_inputs
from topoact_gpu.errors import DataError, ParameterError, nearest_name
from topoact_gpu.files import read_format
from topoact_gpu.graph import MapperGraph
from topoact_gpu.labels import categorical, label_column, predicted_classes
from topoact_gpu.remote import place_of
from topoact_gpu.rows import Rows, as_rows
from topoact_gpu.runs import FORMAT as RUN
from topoact_gpu.runs import Run, load_run
from topoact_gpu.store import Layer, Store, open_store

from .headers import Header, settings_of

if TYPE_CHECKING:
    from .session import Session

__all__ = ["ActivationRows", "Column", "RunView", "StoreView"]

# a layer up to this size is read once and held: selections take rows from everywhere
HELD_BYTES = 512 << 20
WORDS = "token"
PREDICTION = "prediction"


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
