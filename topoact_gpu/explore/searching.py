"""Search for classes, inputs and words, over the full membership of all nodes."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError

from .run_view import RunView
from .selecting import nodes_of_rows

__all__ = ["Index", "make_index", "members", "suggest"]

KINDS = ("class", "input", "word")
MOST_INSIDE = 1_000
MOST_QUERY = 200


@dataclass(frozen=True)
class Index:
    """Texts that can be searched.

    Attributes
    ----------
    labels : list of str
        By id.
    rows : int64[n]
        Rows of each.
    ids : int64[n]
        In the order of the alphabet.
    keys : list of str
        Their texts without regard to case, ascending.
    joined : str
        The keys, one a line.
    starts : int64[n]
        Where each key begins in it.
    """

    labels: list[str]
    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    keys: list[str]
    joined: str
    starts: NDArray[np.int64]

    def prefixed(self, text: str) -> NDArray[np.int64]:
        """Ids of the texts that begin with ``text``."""
        low = bisect.bisect_left(self.keys, text)
        high = bisect.bisect_left(self.keys, text + "\U0010ffff", low)
        return self.ids[low:high]

    def containing(self, text: str) -> NDArray[np.int64]:
        """Ids of the texts that hold ``text`` after their beginning; the first 1,000 or so."""
        found: list[int] = []
        at = self.joined.find(text)
        while at >= 0 and len(found) < MOST_INSIDE:
            place = int(np.searchsorted(self.starts, at, side="right")) - 1
            if not self.keys[place].startswith(text):
                found.append(place)
            end = int(self.starts[place]) + len(self.keys[place])
            at = self.joined.find(text, end)
        return self.ids[found]


def make_index(labels: list[str], rows: NDArray[np.int64]) -> Index:
    """Index texts that have rows.

    Examples
    --------
    >>> index = make_index(["Cat", "dog", "bobcat"], np.array([2, 1, 1]))
    >>> index.prefixed("cat").tolist(), index.containing("cat").tolist()
    ([0], [2])
    """
    folded = [" ".join(label.casefold().split()) for label in labels]
    present = np.flatnonzero(rows > 0).tolist()
    order = sorted(present, key=lambda i: (folded[i], i))
    keys = [folded[i] for i in order]
    lengths = np.array([len(key) + 1 for key in keys], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64)
    return Index(labels, rows, np.array(order, dtype=np.int64), keys, "\n".join(keys), starts)


def suggest(
    run: RunView, text: str, limit: int = 20, label: str | None = None
) -> list[dict[str, Any]]:
    """What begins with or contains a text.

    Parameters
    ----------
    run : RunView
    text : str
        Case does not matter. An empty one finds everything.
    limit : int
    label : str, optional
        The row column whose values are the classes.

    Returns
    -------
    list of dict
        ``kind``, ``id``, ``label``, ``rows``. A beginning before what is inside; classes before
        inputs before words; then the most rows first, of equal ones the lowest id.
    """
    if len(text) > MOST_QUERY:
        raise ParameterError(f"q must have at most {MOST_QUERY} characters, got {len(text):,}")
    text = " ".join(text.casefold().split())
    label = run.checked_label(label)
    found: list[dict[str, Any]] = []
    for how in ("prefixed", "containing"):
        for kind in KINDS:
            index = _index(run, kind, label)
            if index is None or len(found) >= limit or (how == "containing" and not text):
                continue
            ids = getattr(index, how)(text)
            ids = ids[np.lexsort((ids, -index.rows[ids]))][: limit - len(found)]
            found += [
                {"kind": kind, "id": i, "label": index.labels[i], "rows": int(index.rows[i])}
                for i in ids.tolist()
            ]
    return found


def members(
    run: RunView, kind: str, id: int, label: str | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The nodes that hold a class, an input or a word.

    Parameters
    ----------
    run : RunView
    kind : "class", "input" or "word"
    id : int
    label : str, optional

    Returns
    -------
    meta : dict
        ``label``: its text; ``rows``: how many rows it has, in nodes or not.
    arrays : dict
        ``nodes`` ascending, ``count`` of its rows in each, ``share`` of the node's rows.

    Raises
    ------
    ParameterError
        There is no such thing.
    """
    label = run.checked_label(label)
    index = _index(run, kind, label) if kind in KINDS else None
    if index is None:
        raise ParameterError(
            f"kind must be one of {', '.join(_kinds(run, label))}, got {kind[:40]!r}"
        )
    if not 0 <= id < len(index.labels):
        raise ParameterError(f"id must be from 0 to {len(index.labels) - 1:,}, got {id}")
    codes, _ = _codes(run, kind, label)
    rows = np.flatnonzero(codes == id)
    nodes, count = nodes_of_rows(run, rows)
    share = count / run.graph.sizes[nodes]
    arrays: dict[str, NDArray[Any]] = {
        "nodes": nodes,
        "count": count,
        "share": share.astype(np.float32),
    }
    return {"label": index.labels[id], "rows": len(rows)}, arrays


def _kinds(run: RunView, label: str | None) -> list[str]:
    return [kind for kind in KINDS if _index(run, kind, label) is not None]


def _index(run: RunView, kind: str, label: str | None) -> Index | None:
    if not _has(run, kind, label):
        return None
    key = ("index", kind, label if kind == "class" else None)
    found: Index = run.once(key, lambda: _make(run, kind, label))
    return found


def _make(run: RunView, kind: str, label: str | None) -> Index:
    codes, names = _codes(run, kind, label)
    return make_index(names, np.bincount(codes[codes >= 0], minlength=len(names)))


def _has(run: RunView, kind: str, label: str | None) -> bool:
    if kind == "class":
        return label is not None
    if kind == "input":
        return run.input_names is not None
    return run.words is not None


def _codes(run: RunView, kind: str, label: str | None) -> tuple[NDArray[np.int64], list[str]]:
    """The code of each row (-1: none) and what the codes stand for."""
    if kind == "class":
        assert label is not None
        return run.class_codes(label)
    if kind == "input":
        names = run.input_names or []
        codes = run.columns["input"].astype(np.int64)
        return np.where(codes < len(names), codes, -1), names
    assert run.words is not None
    return run.words[:2]
