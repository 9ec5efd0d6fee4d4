"""Covers: overlapping closed intervals of the lens, and the rows that lie in each of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.devices import backend_or_cpu
from topoact_gpu.errors import DataError, ParameterError

if TYPE_CHECKING:
    from topoact_gpu.backend import Backend

__all__ = [
    "BalancedCover",
    "Cover",
    "CoverElements",
    "ExplicitCover",
    "KeplerCover",
    "UniformCover",
    "one_element",
]

_MAX_GRID = 2**62
_MAX_INTERVALS = 10_000_000
_MAX_RANGE = 1e280


@dataclass(frozen=True)
class CoverElements:
    """The non-empty elements of a cover and their rows.

    Attributes
    ----------
    indptr : int64[n_elements + 1]
        Element ``e`` holds ``rows[indptr[e]:indptr[e + 1]]``.
    rows : int64[nnz]
        Row ids, ascending within an element.
    element_id : int64[n_elements]
        Number of each element in the full grid (last lens column fastest), ascending.
    lower, upper : float64[n_elements, n_columns]
        Closed bounds.
    n_grid : int
        Number of elements in the full grid, empty ones included.
    """

    indptr: NDArray[np.int64]
    rows: NDArray[np.int64]
    element_id: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    n_grid: int

    @property
    def n_elements(self) -> int:
        """Number of non-empty elements."""
        return int(self.element_id.size)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows in each element, int64[n_elements]."""
        return np.diff(self.indptr)

    def element_rows(self, element: int) -> NDArray[np.int64]:
        """Return the rows of one element, ascending."""
        return self.rows[self.indptr[element] : self.indptr[element + 1]]


def one_element(rows: NDArray[np.int64]) -> CoverElements:
    """All rows in one element, without bounds."""
    ends = np.array([0, len(rows)])
    bounds = np.array([[-np.inf]]), np.array([[np.inf]])
    return CoverElements(ends, rows, np.zeros(1, np.int64), *bounds, 1)


@dataclass(frozen=True)
class _Intervals:
    """Closed intervals of one lens column; ``number`` says which of ``n_full`` each one is."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    number: NDArray[np.int64]
    n_full: int

    @property
    def ends(self) -> NDArray[np.float64]:
        """All ends, ascending: a row's cell is the number of those at or below its value.

        A closed end becomes an open one at the next number, so one comparison serves both.
        """
        return np.sort(np.concatenate([self.lower, np.nextafter(self.upper, np.inf)]))

    @classmethod
    def all_of(cls, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> Self:
        return cls(lower, upper, np.arange(lower.size, dtype=np.int64), lower.size)


class Cover:
    """What the covers share: parameters in the manner of scikit-learn, and ``fit``."""

    def fit(self, lens_values: ArrayLike, *, backend: Backend | None = None) -> CoverElements:
        """Find the rows of every element.

        Parameters
        ----------
        lens_values : float64[n_rows, n_columns] or float64[n_rows]
            Finite lens values.
        backend : Backend, optional
            What groups the rows; by default the processor.

        Returns
        -------
        CoverElements
            The non-empty elements, by number; rows ascending in each.

        Raises
        ------
        ParameterError
            A parameter is out of range or does not match the number of lens columns.
        DataError
            No rows, a value that is not finite, or a column with one value only.

        Notes
        -----
        Time and memory are proportional to the memberships (plus the rows times the logarithm of
        the number of intervals), not to the full grid.
        """
        values = _as_lens(lens_values)
        with backend_or_cpu(backend, 1) as used:
            return _elements(values, self._intervals(values), used)

    def _intervals(self, values: NDArray[np.float64]) -> list[_Intervals]:
        raise NotImplementedError

    @classmethod
    def _names(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn's estimators do."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and return self."""
        for name, value in params.items():
            if name not in self._names():
                raise ParameterError(
                    f"{type(self).__name__} takes {', '.join(self._names())}; got {name!r}"
                )
            setattr(self, name, value)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the class name and parameters as values that JSON can hold."""
        return {
            "cover": type(self).__name__,
            **{name: _plain(value) for name, value in self.get_params().items()},
        }

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({given})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.to_dict() == other.to_dict()  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]


class UniformCover(Cover):
    """Intervals of equal length inside the range of the lens.

    Parameters
    ----------
    n_intervals : int or sequence of int
        Intervals of every lens column, or of each.
    overlap : float or sequence of float
        Share of an interval's length that it has in common with the next, in [0, 1).

    Notes
    -----
    With ``n`` intervals on ``[lo, hi]`` the length is ``(hi - lo) / (n - (n - 1) * overlap)``,
    and interval ``i`` is the closed ``[lo + i * length * (1 - overlap), ... + length]`` in
    float64; the last ends exactly at ``hi``. Where rounding would leave a number between two
    neighbours that lies in neither, the first is taken up to just below the second, so that every
    row is covered.

    Examples
    --------
    >>> elements = UniformCover(2, overlap=0.5).fit([0.0, 1.0, 2.0, 3.0])
    >>> [elements.element_rows(e).tolist() for e in range(elements.n_elements)]
    [[0, 1, 2], [1, 2, 3]]
    """

    def __init__(
        self, n_intervals: int | Sequence[int] = 70, overlap: float | Sequence[float] = 0.3
    ) -> None:
        self.n_intervals = n_intervals
        self.overlap = overlap

    def _intervals(self, values: NDArray[np.float64]) -> list[_Intervals]:
        counts = _per_column(self.n_intervals, values.shape[1], "n_intervals", _as_count)
        overlaps = _per_column(self.overlap, values.shape[1], "overlap", _as_share)
        low, high = _ranges(values)
        return [
            _uniform_intervals(*column) for column in zip(low, high, counts, overlaps, strict=True)
        ]


class KeplerCover(Cover):
    """The intervals of KeplerMapper 2.1, bit for bit.

    Parameters
    ----------
    n_cubes : int or sequence of int
        Intervals of every lens column, or of each.
    perc_overlap : float or sequence of float
        Share of an interval that it has in common with the next, in [0, 1).

    Notes
    -----
    With ``n`` intervals on a range ``R`` the centres lie ``R / n`` apart, the first and last half
    of that inside the range; each interval reaches ``R / (2 n (1 - perc_overlap))`` to both
    sides, closed, so the outer ones stick out of the range. With ``perc_overlap=0`` rounding can
    leave a row between two intervals, here as there.

    Examples
    --------
    >>> elements = KeplerCover(2, 0.5).fit([0.0, 1.0, 3.0, 4.0])
    >>> elements.lower.ravel().tolist(), elements.upper.ravel().tolist()
    ([-1.0, 1.0], [3.0, 5.0])
    """

    def __init__(
        self, n_cubes: int | Sequence[int] = 10, perc_overlap: float | Sequence[float] = 0.5
    ) -> None:
        self.n_cubes = n_cubes
        self.perc_overlap = perc_overlap

    def _intervals(self, values: NDArray[np.float64]) -> list[_Intervals]:
        counts = _per_column(self.n_cubes, values.shape[1], "n_cubes", _as_count)
        overlaps = _per_column(self.perc_overlap, values.shape[1], "perc_overlap", _as_share)
        low, high = _ranges(values)
        return [
            _kepler_intervals(*column) for column in zip(low, high, counts, overlaps, strict=True)
        ]


class BalancedCover(Cover):
    """Intervals that hold equally many rows.

    Parameters
    ----------
    n_intervals : int or sequence of int
        Intervals of every lens column, or of each.
    overlap : float or sequence of float
        Share of an interval's rows that it has in common with the next, in [0, 1).

    Notes
    -----
    With ``n`` intervals on ``m`` rows each interval gets ``c = m / (n - (n - 1) * overlap)``
    consecutive ranks of the sorted lens: interval ``i`` those from ``i * c * (1 - overlap)`` up to
    ``c`` more, both rounded to whole ranks (halves up). Its bounds are the lens values at its
    first and last rank, and a row belongs by its value: rows with equal values are never
    separated, so with ties an interval can hold more than its share. An interval whose bounds
    are those of the one before it (many equal values) is left out; the others keep their numbers.

    Examples
    --------
    >>> elements = BalancedCover(2, overlap=0.5).fit([0.0, 1.0, 5.0, 50.0, 51.0, 99.0])
    >>> [elements.element_rows(e).tolist() for e in range(elements.n_elements)]
    [[0, 1, 2, 3], [2, 3, 4, 5]]
    """

    def __init__(
        self, n_intervals: int | Sequence[int] = 70, overlap: float | Sequence[float] = 0.3
    ) -> None:
        self.n_intervals = n_intervals
        self.overlap = overlap

    def _intervals(self, values: NDArray[np.float64]) -> list[_Intervals]:
        counts = _per_column(self.n_intervals, values.shape[1], "n_intervals", _as_count)
        overlaps = _per_column(self.overlap, values.shape[1], "overlap", _as_share)
        _ranges(values)
        return [
            _balanced_intervals(*column) for column in zip(values.T, counts, overlaps, strict=True)
        ]


class ExplicitCover(Cover):
    """Intervals given by their ends.

    Parameters
    ----------
    intervals : array_like of shape (n_intervals, 2), or a list of such, one for each lens column
        Closed intervals (lower, upper), in any order; infinite ends are allowed.

    Notes
    -----
    Rows outside all intervals belong to no element; the graph's ``coverage`` counts them as
    uncovered. It is an error if no row lies in any.

    Examples
    --------
    >>> elements = ExplicitCover([(0, 1), (1, 9)]).fit([0.5, 1.0, 7.0, 10.0])
    >>> [elements.element_rows(e).tolist() for e in range(elements.n_elements)]
    [[0, 1], [1, 2]]
    """

    def __init__(self, intervals: ArrayLike | Sequence[ArrayLike]) -> None:
        self.intervals = intervals

    def _intervals(self, values: NDArray[np.float64]) -> list[_Intervals]:
        columns = _explicit_columns(self.intervals)
        if len(columns) != values.shape[1]:
            raise ParameterError(
                f"ExplicitCover has intervals for {len(columns)} lens columns, the lens has "
                f"{values.shape[1]}; give one list of intervals for each column"
            )
        return [_Intervals.all_of(*column.T.copy()) for column in columns]


def _uniform_intervals(low: float, high: float, n: int, overlap: float) -> _Intervals:
    """Cut ``[low, high]`` in ``n`` intervals of equal length."""
    length = (high - low) / (n - (n - 1) * overlap)
    lower = low + np.arange(n, dtype=np.float64) * length * (1 - overlap)
    lower = np.minimum(lower, high)
    upper = np.minimum(lower + length, high)
    upper[-1] = high
    upper[:-1] = np.maximum(upper[:-1], np.nextafter(lower[1:], -np.inf))
    return _Intervals.all_of(lower, upper)


def _kepler_intervals(low: float, high: float, n: int, overlap: float) -> _Intervals:
    """Cut ``[low, high]`` as KeplerMapper does; the order of operations is part of the result."""
    extent = high - low
    inset = (extent - ((n - 1) / n) * extent) / 2
    radius = extent / (2 * n * (1 - overlap))
    centres = np.linspace(low + inset, high - inset, num=n)
    return _Intervals.all_of(centres - radius, centres + radius)


def _balanced_intervals(column: NDArray[np.float64], n: int, overlap: float) -> _Intervals:
    """Cut the sorted column in ``n`` runs of equally many ranks."""
    # Exact fractions: with overlap 0 the end of a run is the start of the next, never beside it.
    share = Fraction(overlap)
    count = column.size / (n - (n - 1) * share)
    half = Fraction(1, 2)
    first = [math.floor(i * count * (1 - share) + half) for i in range(n)]
    stop = [math.floor(i * count * (1 - share) + count + half) for i in range(n)]
    start = np.minimum(np.array(first, dtype=np.int64), column.size - 1)
    last = np.clip(np.array(stop, dtype=np.int64) - 1, start, column.size - 1)
    ordered = np.sort(column)
    lower, upper = ordered[start], ordered[last]
    new = np.ones(n, dtype=bool)
    new[1:] = (lower[1:] != lower[:-1]) | (upper[1:] != upper[:-1])
    return _Intervals(lower[new], upper[new], np.flatnonzero(new).astype(np.int64), n)


def _elements(
    values: NDArray[np.float64], columns: list[_Intervals], backend: Backend
) -> CoverElements:
    """Group the rows by the product elements that hold them."""
    n_grid = math.prod(column.n_full for column in columns)
    if n_grid >= _MAX_GRID:
        raise ParameterError(
            f"the full grid must have fewer than 2**62 elements, got {n_grid:.3g}; "
            "use fewer intervals or fewer lens columns"
        )
    cells, indptr, items = _cell_lists(values, columns, backend)
    element_id, starts, rows = backend.group(cells, indptr, items, n_grid)
    if rows.size == 0:
        raise DataError("no row lies in any interval; choose intervals that meet the lens values")
    numbers = np.unravel_index(element_id, [column.n_full for column in columns])
    at = [np.searchsorted(column.number, n) for column, n in zip(columns, numbers, strict=True)]
    lower = np.stack([c.lower[i] for c, i in zip(columns, at, strict=True)], axis=1)
    upper = np.stack([c.upper[i] for c, i in zip(columns, at, strict=True)], axis=1)
    return CoverElements(starts, rows, element_id, lower, upper, n_grid)


def _cell_lists(
    values: NDArray[np.float64], columns: list[_Intervals], backend: Backend
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell of each row and column, and the intervals (times their stride) of a cell."""
    cells = np.empty(values.shape, dtype=np.int32)
    n_cells, parts = 0, []
    for j, column in enumerate(columns):
        stride = math.prod(c.n_full for c in columns[j + 1 :])
        cells[:, j], held = backend.cells(np.ascontiguousarray(values[:, j]), column.ends)
        counts, items = _intervals_of_cells(column, held)
        cells[:, j] += n_cells
        n_cells += counts.size
        parts.append((counts, column.number[items] * stride))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([c for c, _ in parts]))])
    return cells, indptr.astype(np.int64), np.concatenate([items for _, items in parts])


def _intervals_of_cells(
    intervals: _Intervals, held: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each cell that holds rows, its intervals (CSR)."""
    ends = intervals.ends
    held_before = np.concatenate([[0], np.cumsum(held)])
    first = held_before[np.searchsorted(ends, intervals.lower, side="right")]
    stop = held_before[np.searchsorted(ends, intervals.upper, side="right") + 1]
    length = stop - first
    ranks = np.arange(length.sum()) + np.repeat(first - (np.cumsum(length) - length), length)
    holder = np.flatnonzero(held)[ranks]
    order = np.argsort(holder, kind="stable")
    items = np.repeat(np.arange(length.size), length)[order]
    return np.bincount(holder, minlength=ends.size + 1).astype(np.int64), items


def _as_lens(lens_values: ArrayLike) -> NDArray[np.float64]:
    """Return the lens as float64[n_rows, n_columns], checked."""
    values = np.asarray(lens_values, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(
            "a lens must have at least one row and one column, got shape "
            f"{np.shape(lens_values)}; give float64[n_rows] or float64[n_rows, n_columns]"
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(
            f"lens values must be finite; {int(bad.sum()):,} of {bad.size:,} rows are not, the "
            f"first is row {int(bad.argmax())}; drop those rows or choose another lens"
        )
    return values


def _ranges(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and greatest value of each column; they must differ."""
    low, high = values.min(axis=0), values.max(axis=0)
    with np.errstate(over="ignore"):
        wide = high - low > _MAX_RANGE  # so that no step of the formulas overflows
    for j in np.flatnonzero(high == low):
        raise DataError(
            f"a lens must take at least two values; column {j} is constant, {low[j]} in all "
            f"{values.shape[0]:,} rows; choose another lens"
        )
    for j in np.flatnonzero(wide):
        raise DataError(
            f"the range of a lens must be at most {_MAX_RANGE:g}; column {j} runs from {low[j]} to "
            f"{high[j]}; scale the lens down"
        )
    return low, high


def _per_column(given: Any, n_columns: int, name: str, check: Any) -> list[Any]:
    """Return one checked value for each lens column."""
    one = np.ndim(given) == 0
    several = [given] * n_columns if one else list(given)
    if len(several) != n_columns:
        raise ParameterError(
            f"{name} must be one value or one for each of the {n_columns} lens columns, "
            f"got {len(several)}"
        )
    return [check(value, name) for value in several]


def _as_count(value: Any, name: str) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 1 <= value <= _MAX_INTERVALS:
        raise ParameterError(
            f"{name} must be a whole number from 1 to {_MAX_INTERVALS:,}, got {value!r}"
        )
    return int(value)


def _as_share(value: Any, name: str) -> float:
    number = isinstance(value, int | float | np.integer | np.floating)
    if not number or isinstance(value, bool) or not 0 <= value < 1:
        raise ParameterError(f"{name} must lie in [0, 1), got {value!r}")
    return float(value)


def _explicit_columns(intervals: Any) -> list[NDArray[np.float64]]:
    """Return one float64[n_intervals, 2] for each lens column."""
    nested = not isinstance(intervals, np.ndarray) and len(intervals) and np.ndim(intervals[0]) == 2
    stacked = isinstance(intervals, np.ndarray) and intervals.ndim == 3
    columns = [np.asarray(c, np.float64) for c in (intervals if nested or stacked else [intervals])]
    for j, column in enumerate(columns):
        if column.ndim != 2 or column.shape[1] != 2 or column.shape[0] == 0:
            raise ParameterError(
                "intervals must be a list of (lower, upper), or one such list for each lens "
                f"column; those of column {j} have shape {column.shape}"
            )
        wrong = ~(column[:, 0] <= column[:, 1])
        if wrong.any():
            at = int(wrong.argmax())
            raise ParameterError(
                f"an interval needs lower <= upper; interval {at} of column {j} is "
                f"({column[at, 0]}, {column[at, 1]})"
            )
    return columns


def _plain(value: Any) -> Any:
    """Turn numpy values into lists and Python numbers."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
