"""What the explorer has open: runs, their stores, and what has been worked out about them.

One `Session` belongs to one server. Everything is read when it is first asked for, once, and may
be asked for from several threads.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.errors import DataError, ParameterError, StoreError, nearest_name
from topoact_gpu.graph import MapperGraph
from topoact_gpu.remote import place_of
from topoact_gpu.runs import Run, coded_columns

from .cache import Cache
from .faults import Conflict, Forbidden, NotFound
from .headers import Header, header_of, read_header
from .run_view import RunView, StoreView

__all__ = ["Session"]

CACHE_BYTES = 4 << 30


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
