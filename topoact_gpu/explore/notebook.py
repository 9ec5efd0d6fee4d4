"""The explorer from Python: in a notebook it shows itself, and anywhere its address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from topoact_gpu.errors import ParameterError
from topoact_gpu.graph import MapperGraph

from .serve import RunningServer
from .session import Session

__all__ = ["Explorer", "explore"]


class Explorer:
    """A running explorer; made by `explore`. It ends with the process, or with `stop`.

    Attributes
    ----------
    address : str
        To open in a browser. Whoever knows it can read the run.
    height : int
        Of the frame in a notebook, in pixels.
    """

    def __init__(self, server: RunningServer, height: int) -> None:
        self._server = server
        self.height = height

    @property
    def address(self) -> str:
        """Where it is."""
        return self._server.address

    @property
    def session(self) -> Session:
        """What it shows."""
        return self._server.session

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()

    def __repr__(self) -> str:
        state = self.address if self._server.running else "stopped"
        return f"Explorer({state})"

    def _repr_html_(self) -> str:
        address = escape(self.address, quote=True)
        return (
            f'<iframe src="{address}" title="topoact explorer" width="100%" '
            f'height="{self.height}" style="border: 0"></iframe>'
            f'<p><a href="{address}" target="_blank" rel="noreferrer">Open in a tab</a></p>'
        )


def explore(
    runs: str | Path | MapperGraph | Iterable[str | Path],
    *,
    labels: ArrayLike | None = None,
    label_names: Iterable[str] | None = None,
    columns: Mapping[str, ArrayLike] | None = None,
    lens_values: ArrayLike | None = None,
    activations: Any = None,
    store: str | Path | None = None,
    label: str | None = None,
    read_only: bool = False,
    port: int | None = None,
    height: int = 720,
) -> Explorer:
    """Show runs, or a graph in memory, in the explorer.

    Parameters
    ----------
    runs : path, list of paths, or MapperGraph
    labels : [n_rows], optional
        Of a graph in memory: the class of each row, names or numbers.
    label_names : iterable of str, optional
        What the numbers in ``labels`` stand for.
    columns : mapping of str to [n_rows], optional
        Of a graph in memory: more row columns.
    lens_values : float64[n_rows] or [n_rows, k], optional
        Of a graph in memory: ``mapper.lens_values_``.
    activations : array-like [n_rows, n_cols], optional
        Of a graph in memory: the rows.
    store : path, optional
        Of runs: where the activations are, if not where the run says.
    label : str, optional
        The row column that gives the classes.
    read_only : bool
        Nothing is written and nothing computed anew.
    port : int, optional
        By default one that is free.
    height : int
        Of the frame in a notebook, in pixels.

    Returns
    -------
    Explorer

    Raises
    ------
    TopoactError
        FastAPI is missing, a run is damaged, the port is taken, ...

    Notes
    -----
    The server answers this machine only; the address holds a secret.
    """
    in_memory = (labels, label_names, columns, lens_values, activations)
    if isinstance(runs, MapperGraph):
        session = Session(read_only=read_only)
        _add_graph(session, runs, *in_memory)
    else:
        if any(value is not None for value in in_memory):
            raise ParameterError(
                "labels, label_names, columns, lens_values and activations are for a graph in "
                "memory; a run on disk has its own"
            )
        paths = [runs] if isinstance(runs, str | Path) else list(runs)
        session = Session(paths, read_only=read_only, store=store)
    if not session.runs:
        raise ParameterError("the explorer needs at least one run, got none")
    if label is not None:
        session.check_label(label)
        session.label = label
    server = RunningServer(session, port=port)
    server.warm()
    return Explorer(server, height)


def _add_graph(
    session: Session,
    graph: MapperGraph,
    labels: ArrayLike | None,
    label_names: Iterable[str] | None,
    columns: Mapping[str, ArrayLike] | None,
    lens_values: ArrayLike | None,
    activations: Any,
) -> None:
    run = session.add_run(
        "graph",
        graph,
        lens_values=lens_values,
        columns={**(columns or {}), **({} if labels is None else {"label": labels})},
        names={} if label_names is None else {"label": [str(name) for name in label_names]},
        activations=activations,
    )
    _ = run.activations  # what does not fit is told now
    if labels is not None:
        run.checked_label("label")
