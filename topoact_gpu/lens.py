"""Lenses: one or more float64 numbers a row, by name, by function or given."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Backend
from topoact_gpu.device import Team
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.kernels.lens.cpu import ROW_LENSES
from topoact_gpu.resident import BLOCK_ROWS, Resident

__all__ = ["LENS_NAMES", "compute_lens", "given_lens", "parse_lens"]

LENS_NAMES = (*ROW_LENSES, "median", "column", "pca", "umap", "density", "eccentricity")
"""Lenses by name; column, pca and umap take a number: ``pca:2``. So may density: ``density:5``."""

_SAMPLE_ABOVE = 20_000
_N_SAMPLE = 2_000
_N_NEIGHBOURS = 15

Lens = str | Callable[[NDArray[Any]], Any] | Sequence[Any] | NDArray[Any]


def parse_lens(lens: str) -> tuple[str, int | None]:
    """Name and number of a lens given as text.

    Raises
    ------
    ParameterError
        Unknown name (the nearest is named), or a number missing, wrong or out of place.

    Examples
    --------
    >>> parse_lens("pca:2")
    ('pca', 2)
    """
    name, colon, text = lens.strip().partition(":")
    if name not in LENS_NAMES:
        near = difflib.get_close_matches(name, LENS_NAMES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ParameterError(
            f"lens must be one of {', '.join(LENS_NAMES)}, a function or an array, "
            f"got {lens!r}{hint}"
        )
    takes_number = name in ("column", "pca", "umap", "density")
    if (colon and not takes_number) or (not colon and name == "column"):
        wanted = "needs the number of a column" if name == "column" else "takes no number"
        raise ParameterError(f"lens {name!r} {wanted}, got {lens!r}; write for example 'pca:2'")
    if not colon:
        return name, {"pca": 1, "umap": 2, "density": _N_NEIGHBOURS}.get(name)
    lowest = 0 if name == "column" else 1
    if not text.isdecimal() or int(text) < lowest:
        raise ParameterError(
            f"lens {name!r} needs a whole number of at least {lowest} after the colon, got {lens!r}"
        )
    return name, int(text)


def compute_lens(
    lens: Lens, data: Resident, backend: Backend, seed: int = 0
) -> NDArray[np.float64]:
    """Evaluate a lens on all rows.

    Parameters
    ----------
    lens : str, callable, array, or a sequence of str and callables
        A name of LENS_NAMES (``"pca:2"``); a function from a block of rows
        ``[n, n_cols]`` (their own dtype) to ``[n]`` or ``[n, k]`` numbers; values
        ``[n_rows]`` or ``[n_rows, k]``. A list of names and functions puts their columns
        side by side.
    data : Resident
    backend : Backend
    seed : int
        For samples and UMAP.

    Returns
    -------
    float64[n_rows, k]

    Raises
    ------
    ParameterError, DataError

    Notes
    -----
    Norms, mean, max and std sum in column order in float64 and are the same everywhere, and so
    are the distances of density; pca may differ in its last bits between devices, and umap by
    more. pca: eigenvectors of the covariance, summed over blocks in float64; the largest loading
    of each is positive. On a GPU pca and umap are cuML's where that is installed (pca then in
    float32, for rows that are). density: minus the logarithm of the distance to the 15th nearest
    neighbour (``density:k``: the k-th); eccentricity: the mean distance to the other rows;
    both against all rows, or above 20,000 rows against a seeded sample of 2,000.
    """
    if isinstance(lens, str):
        return _named(*parse_lens(lens), data, backend, seed)
    if callable(lens):
        backend.record("lens", "function", "cpu")
        return _called(lens, data, backend.team)
    if isinstance(lens, list | tuple) and all(isinstance(x, str) or callable(x) for x in lens):
        if not lens:
            raise ParameterError("lens must name at least one column, got an empty list")
        return np.hstack([compute_lens(each, data, backend, seed) for each in lens])
    backend.record("lens", "given", backend.name)
    return given_lens(lens, data.rows.n_rows)


def given_lens(values: Any, n_rows: int) -> NDArray[np.float64]:
    """Check lens values handed over as an array; float64[n_rows, k]."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"lens must be a name, a function or an array of numbers, got {values!r:.60}"
        ) from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n_rows or array.shape[1] < 1:
        raise DataError(
            f"lens values must have shape [{n_rows:,}] or [{n_rows:,}, k], "
            f"got {list(np.shape(values))}"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(1))
    if len(bad):
        raise DataError(
            f"lens values must be finite, but {len(bad):,} of {n_rows:,} rows have NaN or "
            f"infinity; the first is row {bad[0]:,}; drop these rows or mend the lens"
        )
    return np.ascontiguousarray(array)


def _named(
    name: str, number: int | None, data: Resident, backend: Backend, seed: int
) -> NDArray[np.float64]:
    if name in ROW_LENSES:
        backend.record("lens", "own", backend.name)
        return backend.row_lens(data, ROW_LENSES.index(name))[:, None]
    if name == "density":
        backend.record("lens", "own", backend.name)
        return _density(number or _N_NEIGHBOURS, data, backend, seed)
    if name in ("pca", "umap"):
        assert number is not None
        limit = data.rows.n_cols if name == "pca" else data.rows.n_rows - 2
        if number > limit:
            raise ParameterError(f"lens '{name}:{number}' needs a number of at most {limit:,}")
        if name == "pca":
            return backend.pca(data, number)
        return backend.umap(data, number, seed)
    backend.record("lens", "own", "cpu")
    if name == "column":
        assert number is not None
        return _column(number, data, backend.team)
    if name == "eccentricity":
        return _eccentricity(data, backend.team, seed)
    return _called(_median, data, backend.team, name)


def _median(block: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.median(block.astype(np.float64), axis=1))


def _column(number: int, data: Resident, team: Team) -> NDArray[np.float64]:
    if number >= data.rows.n_cols:
        raise ParameterError(
            f"lens 'column:{number}' needs a column below {data.rows.n_cols:,}; the first is 0"
        )
    return _called(itemgetter((slice(None), number)), data, team, f"column-{number}")


def _pieces(block: NDArray[Any]) -> range:
    return range(0, len(block), BLOCK_ROWS)


def _called(
    function: Callable[[NDArray[Any]], Any], data: Resident, team: Team, key: str = ""
) -> NDArray[np.float64]:
    """Values of a function of blocks, in row order."""
    return _stacked(data.map_blocks(partial(_called_on, function), team, key=key))


def _called_on(
    function: Callable[[NDArray[Any]], Any], start: int, block: NDArray[Any], team: Team
) -> NDArray[np.float64]:
    """Values for a block, piece by piece."""

    def work(low: int) -> NDArray[np.float64]:
        piece = block[low : low + BLOCK_ROWS]
        return given_lens(function(piece), len(piece))

    return _stacked(team.map(work, _pieces(block)))


def _stacked(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    if len({part.shape[1] for part in parts}) > 1:
        raise DataError("the lens function gave different numbers of columns for different blocks")
    return np.vstack(parts)


def _sample(n_rows: int, seed: int) -> NDArray[np.int64]:
    if n_rows <= _SAMPLE_ABOVE:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, _N_SAMPLE, replace=False))


def _density(k: int, data: Resident, backend: Backend, seed: int) -> NDArray[np.float64]:
    from topoact_gpu.prepare import frame_of

    targets = _sample(data.rows.n_rows, seed)
    if k >= len(targets):
        raise ParameterError(
            f"lens 'density:{k}' needs a neighbour number below {len(targets):,}, "
            "the rows it is measured against"
        )
    every = np.arange(data.rows.n_rows)
    frame = frame_of(data, None, data.largest(backend.team), seed)
    squares = backend.neighbour_squares(data, None, every, targets, k, frame)
    distances = np.sqrt(squares[:, k - 1])
    positive = distances[distances > 0]
    if not len(positive):
        raise DataError(
            f"lens 'density:{k}' needs distances above 0, but every row has {k} duplicates; "
            "raise the number of neighbours"
        )
    return -np.log(np.maximum(distances, positive.min()))[:, None]


def _eccentricity(data: Resident, team: Team, seed: int) -> NDArray[np.float64]:
    targets = _sample(data.rows.n_rows, seed)
    others = data.take(targets).astype(np.float64)
    mean = others.mean(0)
    others -= mean
    parts = data.map_blocks(partial(_mean_distances, mean, others), team, key="eccentricity")
    return np.concatenate(parts)[:, None]


def _mean_distances(
    mean: NDArray[np.float64],
    others: NDArray[np.float64],
    start: int,
    block: NDArray[Any],
    team: Team,
) -> NDArray[np.float64]:
    """Mean distance of each row of a block to the others, which are less ``mean`` already."""
    squares = (others * others).sum(1)

    def work(low: int) -> NDArray[np.float64]:
        piece = block[low : low + BLOCK_ROWS].astype(np.float64) - mean
        apart = (piece * piece).sum(1)[:, None] + squares - 2.0 * (piece @ others.T)
        return np.sqrt(np.maximum(apart, 0.0)).mean(1)

    return np.concatenate(team.map(work, _pieces(block)))
