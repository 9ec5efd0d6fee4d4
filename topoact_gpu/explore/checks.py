"""What the page sends, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError

from .run_view import RunView

__all__ = ["flag_of", "ids_of", "limit_of", "nodes_of", "rows_in", "rows_of", "text_of", "whole_of"]

MOST_IDS = 1_000_000
MOST_TEXT = 500


def nodes_of(run: RunView, body: Mapping[str, Any], name: str = "nodes") -> NDArray[np.int64]:
    """The nodes that a body names, ascending, each once; int64[n].

    Raises
    ------
    ParameterError
        It is no list of whole numbers, or a node is not in the graph.
    """
    return ids_of(body.get(name), run.header.n_nodes, name)


def rows_of(run: RunView, body: Mapping[str, Any], name: str = "rows") -> NDArray[np.int64]:
    """The rows that a body names, ascending, each once; int64[n]."""
    return ids_of(body.get(name), run.header.n_rows, name)


def ids_of(values: Any, n: int, name: str) -> NDArray[np.int64]:
    """A list of numbers from 0 to n - 1, sorted, without repeats.

    Examples
    --------
    >>> ids_of([3, 1, 3], 4, "nodes").tolist()
    [1, 3]
    """
    if not isinstance(values, list) or len(values) > MOST_IDS:
        raise ParameterError(f"{name} must be a list of at most {MOST_IDS:,} whole numbers")
    if any(type(value) is not int for value in values):
        raise ParameterError(f"{name} must be whole numbers; one of them is something else")
    if values and not (min(values) >= 0 and max(values) < n):
        raise ParameterError(
            f"{name} must be from 0 to {n - 1:,}; they go from {_short(min(values))} "
            f"to {_short(max(values))}"
        )
    return np.unique(np.array(values, dtype=np.int64))


def rows_in(run: RunView, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that lie in any of the nodes, ascending; int64[m]."""
    graph = run.graph
    held = np.zeros(graph.n_rows, dtype=bool)
    for node in nodes.tolist():
        held[graph.rows[graph.indptr[node] : graph.indptr[node + 1]]] = True
    return np.flatnonzero(held)


def whole_of(body: Mapping[str, Any], name: str, default: int, bounds: tuple[int, int]) -> int:
    """A whole number of a body, within bounds (both included)."""
    value = body.get(name, default)
    low, high = bounds
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(
            f"{name} must be a whole number from {low:,} to {high:,}, got {_short(value)}"
        )
    return value


def limit_of(value: int, most: int = 500) -> int:
    """A number of results, at most ``most``."""
    return whole_of({"limit": value}, "limit", 0, (1, most))


def text_of(body: Mapping[str, Any], name: str) -> str | None:
    """A short text of a body; None where there is none."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise ParameterError(f"{name} must be a text of at most {MOST_TEXT} characters")
    return value


def flag_of(body: Mapping[str, Any], name: str) -> bool:
    """Yes or no; no where it is not said."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise ParameterError(f"{name} must be true or false, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    return str(value)[:40] if isinstance(value, int | float) else repr(value)[:40]
