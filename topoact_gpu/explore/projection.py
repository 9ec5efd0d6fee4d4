"""Rows of a run as points of a plane: PCA at once, UMAP and t-SNE as `topoact project` stores them.

A stored projection is a Zarr group of the run, version 1 of ``topoact-gpu/projection``::

    run.zarr/projections/<method>   attributes: format, version, n_rows, explained, parameters
      rows                          int64[m], ascending
      xy                            float32[m, dims]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team, resolve_budget, resolve_threads
from topoact_gpu.devices import open_backend
from topoact_gpu.errors import DataError, ParameterError, StoreError
from topoact_gpu.files import move_into_place, os_errors, temporary_sibling, to_jsonable
from topoact_gpu.graph import MapperGraph
from topoact_gpu.lens import compute_lens
from topoact_gpu.resident import Resident
from topoact_gpu.rows import Rows, as_rows

from .faults import NotFound
from .run_view import RunView

__all__ = [
    "METHODS",
    "Projected",
    "load_projection",
    "pca",
    "project",
    "projection_table",
    "projections",
    "save_projection",
    "selection_table",
]

FORMAT, VERSION = "topoact-gpu/projection", 1
METHODS = ("pca", "umap", "tsne")
LIMIT = 1_000_000
"""Most points that the page is sent."""
DEFAULT_LIMITS = {"pca": None, "umap": 200_000, "tsne": 20_000}
"""Rows that `topoact project` takes of more; t-SNE of so many takes minutes, UMAP as well."""
_SELECTION_BYTES = 2**30
_AT_ONCE = 2**26
"""Numbers of a layer whose PCA takes a second or so."""


@dataclass(frozen=True, eq=False)
class Projected:
    """Points of some rows.

    Attributes
    ----------
    method : str
    rows : int64[m]
        Ascending.
    xy : float32[m, dims]
    explained : list of float
        Of PCA: the share of the variance along each axis. Empty for the others.
    parameters : dict
        What else decided the points.
    """

    method: str
    rows: NDArray[np.int64]
    xy: NDArray[np.float32]
    explained: list[float] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)


def sampled(n_rows: int, limit: int | None, seed: int = 0) -> NDArray[np.int64]:
    """All row ids, or a seeded choice of ``limit``, ascending."""
    if limit is None or n_rows <= limit:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, limit, replace=False))


def pca(
    X: Any, n_components: int = 2, *, n_threads: int | None = None
) -> tuple[NDArray[np.float32], list[float]]:
    """Principal components of all rows.

    Parameters
    ----------
    X : [n_rows, n_cols]
        Anything `topoact_gpu.rows.as_rows` takes; what does not fit in memory is read in blocks.
    n_components : int
        Columns that come back; what the rows do not have is 0.
    n_threads : int, optional

    Returns
    -------
    xy : float32[n_rows, n_components]
    explained : list of float
        Share of the variance along each; 0 where there is none.

    Notes
    -----
    The lens ``pca`` of `topoact_gpu.lens`: the covariance is summed in float64.

    Examples
    --------
    >>> xy, explained = pca(np.array([[0.0, 0, 1], [2, 0, 1], [4, 0, 1]]))
    >>> xy[:, 0].tolist(), np.round(explained, 6).tolist()
    ([-2.0, 0.0, 2.0], [1.0, 0.0])
    """
    rows = as_rows(X, min_rows=1)
    wanted = min(n_components, rows.n_cols)
    with (
        open_backend("cpu", resolve_threads(n_threads)) as backend,
        backend.hold(rows, resolve_budget(None) // 2) as data,
    ):
        found = compute_lens(f"pca:{wanted}", data, backend)
        total = _variance(data, backend.team)
    xy = np.zeros((rows.n_rows, n_components), np.float32)
    xy[:, :wanted] = found
    along = found.var(0) if total > 0 else np.zeros(wanted)
    explained = (along / total if total > 0 else along).clip(0.0, 1.0).tolist()
    return xy, explained + [0.0] * (n_components - wanted)


def _variance(data: Resident, team: Team) -> float:
    """Sum of the variances of the columns."""
    shift: list[NDArray[np.float64]] = []

    def add(start: int, block: NDArray[Any], _team: Team) -> tuple[NDArray[np.float64], float]:
        if not shift:
            shift.append(block[:1].astype(np.float64)[0])
        total, squares = np.zeros(block.shape[1]), 0.0
        for at in range(0, len(block), 2048):
            piece = block[at : at + 2048].astype(np.float64) - shift[0]
            total += piece.sum(0)
            squares += float(np.einsum("ij,ij->", piece, piece))
        return total, squares

    parts = data.map_blocks(add, team)
    n_rows = data.rows.n_rows
    mean = np.sum([total for total, _ in parts], axis=0) / n_rows
    return max(float(sum(squares for _, squares in parts)) / n_rows - float(mean @ mean), 0.0)


def project(
    X: Any, method: str, *, dims: int = 2, limit: int | None = None, seed: int = 0
) -> Projected:
    """Project rows.

    Parameters
    ----------
    X : [n_rows, n_cols]
    method : {"pca", "umap", "tsne"}
    dims : {2, 3}
    limit : int, optional
        Of more rows a seeded choice is taken; see ``DEFAULT_LIMITS``.
    seed : int

    Raises
    ------
    ParameterError
        No such method, or a package is missing.
    DataError
        There are too few rows.

    Notes
    -----
    UMAP is umap-learn's, as the lens ``umap``; t-SNE is scikit-learn's, Barnes-Hut with a
    perplexity of 30 or a third of the rows. Both keep all rows that they take in memory.
    """
    if method not in METHODS:
        raise ParameterError(f"method must be {', '.join(METHODS)}, got {method!r}")
    if dims not in (2, 3):
        raise ParameterError(f"dims must be 2 or 3, got {dims}")
    if limit is not None and limit < 5:
        raise ParameterError(f"limit must be at least 5 rows, got {limit}")
    rows = as_rows(X, min_rows=1)
    if method == "pca":
        xy, explained = pca(X, dims)
        ids = sampled(rows.n_rows, limit, seed)
        return Projected("pca", ids, xy[ids], explained, {"dims": dims, "seed": seed})
    ids = sampled(rows.n_rows, limit if limit is not None else DEFAULT_LIMITS[method], seed)
    if len(ids) < 5:
        raise DataError(f"{method} needs at least 5 rows, got {len(ids)}; use pca")
    values = rows.take(ids)
    parameters: dict[str, Any] = {"dims": dims, "seed": seed}
    if method == "umap":
        xy = _umap(values, dims, seed)
    else:
        parameters["perplexity"] = min(30.0, (len(ids) - 1) / 3)
        xy = _tsne(values, dims, seed, parameters["perplexity"])
    return Projected(method, ids, xy.astype(np.float32), [], parameters)


def _umap(values: NDArray[Any], dims: int, seed: int) -> NDArray[Any]:
    rows = Rows(values.shape, values.dtype, array=values)
    with (
        open_backend("cpu", resolve_threads(None)) as backend,
        backend.hold(rows, max(2 * values.nbytes, resolve_budget(None) // 2)) as data,
    ):
        return backend.umap(data, dims, seed)


def _tsne(values: NDArray[Any], dims: int, seed: int, perplexity: float) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    model = TSNE(dims, perplexity=perplexity, init="pca", random_state=seed)
    found: NDArray[Any] = model.fit_transform(values.astype(np.float32))
    return found


def save_projection(
    run: Path, projected: Projected, n_rows: int, *, overwrite: bool = False
) -> Path:
    """Keep a projection in a run; it appears whole or not at all.

    Raises
    ------
    StoreError
        The run has one of this method already, or the disk refuses.
    """
    import zarr
    from zarr.codecs import Crc32cCodec

    target = run / "projections" / projected.method
    if target.exists() and not overwrite:
        raise StoreError(
            f"{run} has a projection {projected.method} already; replace it with --overwrite"
        )
    with os_errors(f"writing {target}"):
        zarr.open_group(run, mode="r+").require_group("projections")
        with temporary_sibling(target) as temporary:
            group = zarr.create_group(temporary, zarr_format=3)
            for name, values in (("rows", projected.rows), ("xy", projected.xy)):
                array: Any = group.create_array(
                    name, shape=values.shape, dtype=values.dtype, compressors=[Crc32cCodec()],
                    fill_value=0, config={"write_empty_chunks": True},
                )  # fmt: skip
                array[...] = values
            attributes = {
                "format": FORMAT, "version": VERSION, "method": projected.method,
                "n_rows": n_rows, "explained": projected.explained,
                "parameters": projected.parameters,
            }  # fmt: skip
            group.attrs.update(to_jsonable(attributes))
            move_into_place(temporary, target)
    return target


def load_projection(run: Path, method: str, n_rows: int) -> Projected:
    """Load what `save_projection` kept.

    Raises
    ------
    NotFound
        There is none.
    StoreError
        It is damaged, or of a version that this release does not know.
    """
    import zarr

    target = run / "projections" / method
    if method not in METHODS or not target.is_dir():
        raise NotFound(
            f"{run.name} has no projection {method[:40]!r}; make one with: "
            f"topoact project {run} --method {method if method in METHODS else 'umap'}"
        )
    try:
        group: Any = zarr.open_group(target, mode="r")
        found = group.attrs.asdict()
        if found["format"] != FORMAT or found["version"] != VERSION or found["n_rows"] != n_rows:
            raise ValueError(
                f"it is a {found['format']} of version {found['version']} and of "
                f"{found['n_rows']:,} rows"
            )
        rows, xy = (np.asarray(group[name][...]) for name in ("rows", "xy"))
        if xy.ndim != 2 or len(xy) != len(rows) or xy.shape[1] < 2 or not _ascend(rows, n_rows):
            raise ValueError("its arrays do not fit each other")
        return Projected(method, rows, xy, list(found["explained"]), dict(found["parameters"]))
    except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise StoreError(
            f"the projection {target} cannot be read: {' '.join(str(error).split())}; "
            f"make it again with: topoact project {run} --method {method} --overwrite"
        ) from error


def _ascend(rows: NDArray[Any], n_rows: int) -> bool:
    if not len(rows):
        return True
    return bool(rows[0] >= 0 and rows[-1] < n_rows and (np.diff(rows) > 0).all())


def projections(run: RunView) -> dict[str, Any]:
    """The methods that there are: PCA where rows can be read, the others where they are stored.

    Returns
    -------
    dict
        ``methods``, each with ``name``, ``ready`` and ``explained``; ``n_rows``.
    """
    methods = []
    for method in METHODS:
        stored = _stored(run, method)
        if stored is None and (method != "pca" or run.activations is None):
            continue
        if stored is None and np.prod(run.activations.shape, dtype=np.int64) <= _AT_ONCE:  # type: ignore[union-attr]
            stored = projection_of(run, "pca")
        ready = stored is not None
        methods.append(
            {"name": method, "ready": ready, "explained": stored.explained if stored else []}
        )
    return {"methods": methods, "n_rows": run.header.n_rows}


def _stored(run: RunView, method: str) -> Projected | None:
    """What the file holds; None where it holds none or a damaged one."""
    if run.path is None or not (run.path / "projections" / method).is_dir():
        return None
    try:
        return projection_of(run, method)
    except StoreError:
        return None


def projection_of(run: RunView, method: str) -> Projected:
    """The projection of a run: as stored, or PCA computed now, once.

    Raises
    ------
    NotFound, StoreError
    """
    path, n_rows = run.path, run.header.n_rows
    if path is not None and (path / "projections" / method).is_dir():
        # a projection that was made again has another time
        stamp = (path / "projections" / method).stat().st_mtime_ns
        key = ("projection", method, stamp)
        found: Projected = run.once(key, lambda: load_projection(path, method, n_rows))
        return found
    if method != "pca":
        where = path if path is not None else Path(run.name)
        return load_projection(where, method, n_rows)
    activations = run.activations
    if activations is None:
        raise NotFound(
            f"{run.name} has no projection: its rows are not to be had; open it with --store PATH"
        )

    def compute() -> Projected:
        xy, explained = pca(activations.rows)
        return Projected("pca", np.arange(n_rows), xy, explained)

    computed: Projected = run.once(("projection", "pca"), compute)
    return computed


def projection_table(
    run: RunView, method: str = "pca", *, limit: int = LIMIT, label: str | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What ``GET projection`` answers: meta and arrays.

    Parameters
    ----------
    run : RunView
    method : str
    limit : int
        At most 1,000,000; of more points a seeded choice comes back.
    label : str, optional

    Returns
    -------
    meta : dict
    arrays : dict
        ``rows`` int64[m], ``xy`` float32[m, 2], ``class`` int32[m], ``lens`` float32[m],
        ``node`` int32[m].
    """
    if not 1 <= limit <= LIMIT:
        raise ParameterError(f"limit must be 1 to {LIMIT:,} points, got {limit:,}")
    found = projection_of(run, method)
    chosen = sampled(len(found.rows), limit)
    meta = {
        "method": method,
        "explained": found.explained,
        "n_rows": run.header.n_rows,
        "n_points": len(chosen),
    }
    return meta, _points(run, found.rows[chosen], found.xy[chosen, :2], label)


def selection_table(
    run: RunView, nodes: NDArray[np.int64], *, limit: int = LIMIT, label: str | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """PCA of the rows of some nodes alone; see `projection_table`.

    Notes
    -----
    Of more than 1,000,000 rows, or 1 GiB, a seeded choice is taken, and its directions are found
    from the choice.
    """
    rows = rows_of(run.graph, nodes)
    activations = run.activations
    if activations is None:
        raise NotFound(f"the rows of {run.name} are not to be had; open it with --store PATH")
    if not len(rows):
        raise DataError("the selection holds no rows; select at least one node")
    affordable = max(_SELECTION_BYTES // (8 * activations.shape[1]), 2)
    chosen = rows[sampled(len(rows), min(limit, LIMIT, affordable))]
    xy, explained = pca(activations[chosen])
    meta = {
        "method": "pca", "explained": explained, "n_rows": len(rows), "n_points": len(chosen),
    }  # fmt: skip
    return meta, _points(run, chosen, xy, label)


def rows_of(graph: MapperGraph, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of some nodes together, ascending.

    Raises
    ------
    ParameterError
        There is no such node.
    """
    nodes = np.unique(nodes)
    if len(nodes) and not (nodes[0] >= 0 and nodes[-1] < graph.n_nodes):
        raise ParameterError(f"nodes must be 0 to {graph.n_nodes - 1:,}, got {nodes[-1]:,}")
    parts = [graph.node_rows(int(node)) for node in nodes]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def _points(
    run: RunView, rows: NDArray[np.int64], xy: NDArray[np.float32], label: str | None
) -> dict[str, NDArray[Any]]:
    label = run.checked_label(label)
    codes = np.full(len(rows), -1) if label is None else run.class_codes(label)[0][rows]
    first = run.once("first nodes", lambda: first_nodes(run.graph))
    return {
        "rows": rows if run.header.n_rows < 2**31 else rows.astype(np.float64),
        "xy": np.ascontiguousarray(xy, np.float32),
        "class": codes.astype(np.int32),
        "lens": run.lens_values[rows, 0].astype(np.float32),
        "node": first[rows],
    }


def first_nodes(graph: MapperGraph) -> NDArray[np.int32]:
    """The lowest node that holds each row, int32[n_rows]; -1 for rows in none."""
    found = np.full(graph.n_rows, -1, np.int32)
    nodes = np.repeat(np.arange(graph.n_nodes, dtype=np.int32), np.diff(graph.indptr))
    found[graph.rows[::-1]] = nodes[::-1]  # where a row stands twice, the last one is kept
    return found
