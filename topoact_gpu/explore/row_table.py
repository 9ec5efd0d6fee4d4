"""The rows of a selection as a table: sorted, filtered, a page at a time, or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError, nearest_name

from .checks import MOST_TEXT, flag_of, rows_in, text_of, whole_of
from .graph_view import lens_names
from .run_view import RunView

__all__ = ["csv_parts", "table_page"]

MOST_ROWS = 500
_ROWS_A_PART = 10_000


@dataclass(frozen=True)
class _Column:
    """Values of a row column, and what codes stand for."""

    values: NDArray[Any]
    names: list[str] | None = None

    def shown(self, rows: NDArray[np.int64]) -> list[Any]:
        found = self.values[rows].tolist()
        if self.names is None:
            return [None if value != value else value for value in found]
        return [self.names[c] if 0 <= c < len(self.names) else None for c in found]


def table_page(run: RunView, nodes: NDArray[np.int64], body: Mapping[str, Any]) -> dict[str, Any]:
    """One page of the rows of some nodes.

    Parameters
    ----------
    run : RunView
    nodes : int64[n]
    body : mapping
        ``offset``, ``limit``, ``sort``, ``descending``, ``filter`` of ``POST rows``.

    Returns
    -------
    dict
        ``total``, ``matching``, ``columns``, ``rows``.

    Raises
    ------
    ParameterError
        There is no such column, or a filter that does not fit it.
    """
    offset = whole_of(body, "offset", 0, (0, 2**53))
    limit = whole_of(body, "limit", MOST_ROWS, (1, MOST_ROWS))
    columns = _columns(run)
    rows = rows_in(run, nodes)
    kept = _sorted(_filtered(rows, columns, body), columns, body)
    page = kept[offset : offset + limit]
    shown = [column.shown(page) for column in columns.values()]
    return {
        "total": len(rows),
        "matching": len(kept),
        "columns": list(columns),
        "rows": [list(values) for values in zip(*shown, strict=True)],
    }


def csv_parts(run: RunView, nodes: NDArray[np.int64], body: Mapping[str, Any]) -> Iterator[bytes]:
    """All rows that `table_page` would page through, as CSV, some thousands at a time.

    What is wrong with ``body`` is raised before the first part.
    """
    columns = _columns(run)
    rows = _sorted(_filtered(rows_in(run, nodes), columns, body), columns, body)
    return _csv_parts(columns, rows)


def _csv_parts(columns: dict[str, _Column], rows: NDArray[np.int64]) -> Iterator[bytes]:
    yield _csv_text([list(columns)])
    for start in range(0, len(rows), _ROWS_A_PART):
        part = rows[start : start + _ROWS_A_PART]
        yield _csv_text(zip(*(column.shown(part) for column in columns.values()), strict=True))


def _csv_text(rows: Any) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode("utf-8", "replace")


def _columns(run: RunView) -> dict[str, _Column]:
    """``row``, the input's name, the lens, then the row columns."""
    found = {"row": _Column(np.arange(run.header.n_rows))}
    inputs = run.columns.get("input")
    if inputs is not None and run.input_names is not None:
        found["name"] = _Column(inputs, run.input_names)
    for i, name in enumerate(lens_names(run)):
        if not np.isnan(run.lens_values[:1, i]).any():
            found.setdefault(name, _Column(run.lens_values[:, i]))
    names = run.names
    for name, values in run.columns.items():
        found.setdefault(name, _Column(values, names.get(name)))
    return found


def _filtered(
    rows: NDArray[np.int64], columns: dict[str, _Column], body: Mapping[str, Any]
) -> NDArray[np.int64]:
    filters = {} if body.get("filter") is None else body["filter"]
    if not isinstance(filters, dict):
        raise ParameterError("filter must give a condition for each column")
    for name, condition in filters.items():
        column = columns.get(name)
        if column is None or not isinstance(condition, dict):
            raise ParameterError(f"there is no column {name[:80]!r}{nearest_name(name, columns)}")
        rows = rows[_fits(column, rows, condition)]
    return rows


def _fits(column: _Column, rows: NDArray[np.int64], condition: dict[str, Any]) -> NDArray[np.bool_]:
    values = column.values[rows]
    text = text_of(condition, "text")
    if text is not None:
        return _contains(values, column.names, text.casefold())
    low, high = _number(condition, "min"), _number(condition, "max")
    with np.errstate(invalid="ignore"):
        fits: NDArray[np.bool_] = (values >= low) & (values <= high)
    return fits


def _contains(values: NDArray[Any], names: list[str] | None, text: str) -> NDArray[np.bool_]:
    """Which values, as they are shown, contain a text whatever its case."""
    found, place = np.unique(values, return_inverse=True)
    shown = found.tolist()
    if names is not None:
        shown = [names[c] if 0 <= c < len(names) else "" for c in shown]
    return np.array([text in str(each).casefold() for each in shown], dtype=bool)[place]


def _number(condition: Mapping[str, Any], name: str) -> float:
    value = condition.get(name)
    if value is None:
        return -np.inf if name == "min" else np.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise ParameterError(f"{name} must be a number, got {str(value)[:MOST_TEXT]!r}")
    return float(value)


def _sorted(
    rows: NDArray[np.int64], columns: dict[str, _Column], body: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Rows by a column, of equal values the lowest row first; what is unknown comes last."""
    name, descending = text_of(body, "sort"), flag_of(body, "descending")
    if name is None:
        return rows
    if name not in columns:
        raise ParameterError(f"there is no column {name[:80]!r}{nearest_name(name[:80], columns)}")
    column = columns[name]
    keys = column.values[rows]
    if column.names is not None:
        keys = _rank(column.names)[np.where((keys >= 0) & (keys < len(column.names)), keys, -1)]
    keys = keys.astype(np.float64)
    return rows[np.argsort(-keys if descending else keys, kind="stable")]


def _rank(names: list[str]) -> NDArray[np.float64]:
    """Place of each name in the alphabet; NaN after the last, for what has no name."""
    rank = np.full(len(names) + 1, np.nan)
    rank[sorted(range(len(names)), key=lambda i: names[i].casefold())] = np.arange(len(names))
    return rank
