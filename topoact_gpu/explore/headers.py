"""What the list of runs shows, read without their arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from topoact_gpu.errors import StoreError
from topoact_gpu.files import read_format
from topoact_gpu.graph import FORMAT as GRAPH
from topoact_gpu.graph import MapperGraph
from topoact_gpu.runs import FORMAT as RUN
from topoact_gpu.runs import Run

__all__ = ["Header", "header_of", "read_header", "settings_of"]

_COVERS = {
    "UniformCover": "uniform",
    "KeplerCover": "kepler",
    "BalancedCover": "balanced",
    "ExplicitCover": "explicit",
}


@dataclass(frozen=True)
class Header:
    """The size of a run and how it was made.

    Attributes
    ----------
    n_rows, n_nodes, n_edges : int
    parameters : dict
        As `MapperGraph.parameters`.
    report : dict
    columns : tuple of str
        Names of the row columns.
    source : dict
        Where the rows came from: ``path`` and ``layer``.
    """

    n_rows: int
    n_nodes: int
    n_edges: int
    parameters: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Read the header of the run or graph at ``path``.

    Raises
    ------
    StoreError
        It is missing, foreign or damaged.
    """
    import zarr

    if not path.exists():
        raise StoreError(f"there is no run at {path}; check the path")
    found = read_format(path)
    if found not in (RUN, GRAPH):
        raise StoreError(
            f"{path} is {f'a {found}' if found else 'something else'}, a run is required; "
            "make one with: topoact mapper acts.zarr --layer NAME --out run.zarr"
        )
    try:
        group: Any = zarr.open_group(path, mode="r")
        graph = group["graph"] if found == RUN else group
        own = group.attrs.asdict() if found == RUN else {}
        return Header(
            n_rows=int(graph.attrs["n_rows"]),
            n_nodes=int(graph["indptr"].shape[0]) - 1,
            n_edges=int(graph["edges"].shape[0]),
            parameters=dict(graph.attrs["parameters"]),
            report=dict(own.get("report", {})),
            columns=tuple(sorted(group["rows"].array_keys())) if found == RUN else (),
            source=dict(own.get("source", {})),
        )
    except (KeyError, OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(
            f"the run at {path} is incomplete or damaged: {reason}; compute it again"
        ) from error


def header_of(run: Run) -> Header:
    """The header of a run in memory."""
    graph: MapperGraph = run.graph
    return Header(
        n_rows=graph.n_rows,
        n_nodes=graph.n_nodes,
        n_edges=graph.n_edges,
        parameters=dict(graph.parameters),
        report=dict(run.report),
        columns=tuple(sorted(run.columns)),
        source=dict(run.source),
    )


def settings_of(header: Header) -> dict[str, Any]:
    """Lens, cover and clusterer in the few words that the page shows and sends back.

    Returns
    -------
    dict
        ``lens``, ``cover``, ``intervals``, ``overlap``, ``eps``, ``clusterer``, ``min_samples``,
        ``metric``, ``min_intersection``. ``eps`` is what was asked for: a number, ``knee``, ...
    """
    cover = _as_dict(header.parameters.get("cover"), "cover")
    clusterer = _as_dict(header.parameters.get("clusterer"), "name")
    kind = str(cover.get("cover", "unknown"))
    eps = clusterer.get("eps")
    return {
        "lens": str(header.parameters.get("lens", "given")),
        "cover": _COVERS.get(kind, kind),
        "intervals": [int(n) for n in _numbers(cover.get("n_intervals", cover.get("n_cubes")))],
        "overlap": [float(o) for o in _numbers(cover.get("overlap", cover.get("perc_overlap")))],
        "eps": eps if isinstance(eps, str | int | float) else None,
        "clusterer": str(clusterer.get("name", "unknown")),
        "min_samples": _whole(clusterer.get("min_samples")),
        "metric": str(clusterer["metric"]) if "metric" in clusterer else None,
        "min_intersection": _whole(header.parameters.get("min_intersection")) or 1,
    }


def _as_dict(value: Any, name: str) -> dict[str, Any]:
    """Parameters as they are, or the only thing known, under its name."""
    return value if isinstance(value, dict) else {} if value is None else {name: str(value)}


def _numbers(value: Any) -> list[float]:
    found = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return [v for v in found if isinstance(v, int | float) and not isinstance(v, bool)]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
