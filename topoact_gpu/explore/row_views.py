"""What the page shows of single rows: where each is from, its class, its box or its context."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images
from .run_view import RunView

__all__ = ["context_of", "row_views"]

_AROUND = 60
"""Characters of a text that are shown on each side of a token."""


def row_views(
    run: RunView, rows: Iterable[int] | NDArray[np.int64], label: str | None = None
) -> list[dict[str, Any]]:
    """Describe rows.

    Parameters
    ----------
    run : RunView
    rows : iterable of int
    label : str, optional
        The row column whose values are the classes; by default the run's own.

    Returns
    -------
    list of dict
        ``RowView`` of docs/explorer-api.md, in the rows' order.
    """
    label = run.checked_label(label)
    codes, classes = run.class_codes(label) if label is not None else (None, [])
    described = _Described(run)
    found = []
    for row in (int(row) for row in rows):
        code = -1 if codes is None else int(codes[row])
        found.append(
            {
                "row": row,
                **described.origin(row),
                "class": classes[code] if code >= 0 else None,
                "prediction": described.named("prediction", row),
                "confidence": described.number("confidence", row),
                **described.place(row),
                "context": described.context(row),
            }
        )
    return found


class _Described:
    """What is asked of every row, with what it is looked up in."""

    def __init__(self, run: RunView) -> None:
        self._run, self._columns, self._names = run, run.columns, run.names
        self._numbers = images.input_of(run)
        self._pictures = images.pictures_of(run)
        self._has_pictures = self._pictures is not None and self._pictures.any
        self._lines = inputs_by_number(run)

    def origin(self, row: int) -> dict[str, Any]:
        """Number of the input, and a name: the word, or the input's."""
        word = self._word(row)
        if self._numbers is None:
            return {"input": None, "name": word or f"row {row}"}
        number = int(self._numbers[row])
        line = self._lines.get(number, {})
        name = str(line["id"]) if "id" in line else None
        if name is None and self._pictures is not None:
            name = self._pictures.id(number)
        return {"input": number, "name": word or name or str(number)}

    def place(self, row: int) -> dict[str, Any]:
        """Box, size of the picture, and whether there is one."""
        box, size = None, None
        if self._has_pictures and self._numbers is not None:
            assert self._pictures is not None
            box = images.box_of(self._run, row)
            size = self._pictures.size(int(self._numbers[row]))
        return {
            "box": None if box is None else list(box),
            "shape": None if size is None else list(size),
            "image": size is not None,
        }

    def context(self, row: int) -> dict[str, str] | None:
        """The token with the text around it; None where the text is not known."""
        text = None
        if self._numbers is not None:
            text = self._lines.get(int(self._numbers[row]), {}).get("text")
        if not isinstance(text, str):
            return None
        start, end = self._columns.get("start"), self._columns.get("end")
        if start is None or end is None:
            return None
        return context_of(text, int(start[row]), int(end[row]), self._word(row))

    def named(self, column: str, row: int) -> str | None:
        """The value of a column in words; None where it is unknown."""
        if column not in self._columns:
            return None
        value = self._columns[column][row].item()
        names = self._names.get(column)
        if names is None:
            return None if value != value or value == -1 else str(value)
        return names[int(value)] if 0 <= value < len(names) else None

    def number(self, column: str, row: int) -> float | None:
        """The value of a column; None where it is unknown."""
        if column not in self._columns:
            return None
        value = float(self._columns[column][row])
        return value if np.isfinite(value) else None

    def _word(self, row: int) -> str | None:
        return self.named("token", row)


def inputs_by_number(run: RunView) -> dict[int, dict[str, Any]]:
    """What was captured, by the number of the input."""

    def make() -> list[dict[int, dict[str, Any]]]:
        return [{line["input"]: line for line in run.inputs or [] if "input" in line}]

    found: list[dict[int, dict[str, Any]]] = run.session.cache.get((run.store_id, "lines"), make)
    return found[0]


def context_of(text: str, start: int, end: int, word: str | None = None) -> dict[str, str]:
    """A part of a text with about 60 characters on each side.

    Parameters
    ----------
    text : str
    start, end : int
        Where the token stands in the text; start = end for a special token, which stands nowhere.
    word : str, optional
        How the tokenizer wrote it: shown for what stands nowhere.

    Returns
    -------
    dict
        ``before``, ``word``, ``after``. Before and after are cut between words where that is
        possible, and begin or end with ``…`` then. A piece of a word (``##ing``) keeps the rest of
        its word beside it.

    Examples
    --------
    >>> context_of("the resulting features", 10, 13, "##ing")
    {'before': 'the result', 'word': 'ing', 'after': ' features'}
    """
    if not 0 <= start < end <= len(text):
        after = text[:_AROUND] if len(text) <= _AROUND else _cut_end(text[: _AROUND + 1])
        return {"before": "", "word": word or "", "after": after}
    before, after = text[:start], text[end:]
    if len(before) > _AROUND:
        before = _cut_begin(before[-_AROUND - 1 :])
    if len(after) > _AROUND:
        after = _cut_end(after[: _AROUND + 1])
    return {"before": before, "word": text[start:end], "after": after}


def _cut_end(text: str) -> str:
    """Up to the last space, if that leaves something."""
    kept = text[:-1].rstrip() if text[-1].isspace() else text[:-1].rpartition(" ")[0]
    return (kept or text[:-1]) + "…"


def _cut_begin(text: str) -> str:
    kept = text[1:].lstrip() if text[0].isspace() else text[1:].partition(" ")[2]
    return "…" + (kept or text[1:])
