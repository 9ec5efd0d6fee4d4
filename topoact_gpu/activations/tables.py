"""Texts in tables: CSV with a header, or one JSON object a line."""

from __future__ import annotations

import csv
import difflib
import io
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError, ParameterError
from .entries import UnreadableInput
from .text import Place, TextFile, TextRecord, count_lines

__all__ = ["CsvTexts", "JsonTexts"]

_TEXT, _LABEL = "text", "label"
Fields = dict[str, Any]


class _Table(TextFile):
    """Rows with named fields.

    Parameters
    ----------
    path : Path
    text : str, optional
        Field that holds the text; ``"text"`` where omitted.
    label : str, optional
        Field that holds the class; where omitted ``"label"``, if there is one.
    columns : sequence of str
        Fields to keep beside the text, in ``Entry.columns``.
    """

    def __init__(
        self,
        path: Path,
        *,
        text: str | None = None,
        label: str | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        self._text_field = _TEXT if text is None else text
        self._label_field = _LABEL if label is None else label
        self.column_names = tuple(columns)
        required = [self._text_field, *columns, *([] if label is None else [label])]
        self._required = list(dict.fromkeys(required))
        super().__init__(path)

    @abstractmethod
    def _fields(self, text: str) -> Fields:
        """Read the row that ``text`` is; ValueError says what is wrong with it."""

    def _parse(self, text: str, id: str) -> TextRecord:
        try:
            found = self._fields(text).get(self._text_field)
        except ValueError as error:
            raise UnreadableInput(id, str(error)) from error
        if not isinstance(found, str):
            raise UnreadableInput(id, f"its field {self._text_field!r} holds no text")
        if not found.strip():
            raise UnreadableInput(id, f"its field {self._text_field!r} is empty")
        return TextRecord(found)

    def _columns(self, i: int) -> Fields:
        if not self.column_names:
            return {}
        try:
            found = self._fields(self._text(i))
        except ValueError:  # `load` says what is wrong
            found = {}
        return {name: found.get(name, "") for name in self.column_names}

    def _label(self, fields: Fields) -> str | None:
        value = fields.get(self._label_field)
        return str(value) if isinstance(value, str | int | float) and value != "" else None

    def _check(self, there: Sequence[str]) -> None:
        """Raise unless the required fields are there, naming one that is nearly called so."""
        for name in self._required:
            if name not in there:
                near = difflib.get_close_matches(name, there, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ParameterError(
                    f"{self._path} has no field {name!r}, only {', '.join(map(repr, there))}"
                    f"{hint}; name the fields with text=, label= and columns="
                )


class CsvTexts(_Table):
    """Rows of a CSV file with a header; ``.tsv`` is separated by tabs."""

    def __init__(self, path: Path, *, tabs: bool = False, **fields: Any) -> None:
        self._delimiter = "\t" if tabs else ","
        self._header: list[str] = []
        super().__init__(path, **fields)

    def _scan(self, stream: BinaryIO) -> Iterator[Place]:
        rows = (row for row in _csv_rows(stream, self._delimiter) if row[3] != [])
        self._header = next(rows, (0, 0, 0, None))[3] or []
        if not self._header:
            raise DataError(f"{self._path} has no header; the first row must name the fields")
        self._check(self._header)
        for offset, size, number, cells in rows:
            yield offset, size, number, self._label(self._named(cells or []))

    def _named(self, cells: list[str]) -> Fields:
        named = len(cells) == len(self._header)
        return dict(zip(self._header, cells, strict=True)) if named else {}

    def _fields(self, text: str) -> Fields:
        # lines end with \n alone here, as they did in the scan
        rows = csv.reader(io.StringIO(text, newline="\n"), delimiter=self._delimiter)
        try:
            cells = next(rows, [])
        except csv.Error as error:
            raise ValueError(f"no CSV: {error}") from error
        if len(cells) != len(self._header):
            raise ValueError(f"{len(cells)} fields, the header has {len(self._header)}")
        return self._named(cells)


class _CountedLines:
    """Lines for ``csv.reader``, which takes as many as a row needs; counts what it took."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = count_lines(stream)
        self.end, self.number = stream.tell(), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        offset, self.number, line = next(self._lines)
        self.end = offset + len(line)
        return line.decode("utf-8", "surrogateescape")


def _csv_rows(stream: BinaryIO, delimiter: str) -> Iterator[tuple[int, int, int, list[str] | None]]:
    """Yield (offset, bytes, first line, cells) of each row, cells None where it is no CSV."""
    lines = _CountedLines(stream)
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        offset, number = lines.end, lines.number + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error:
            cells = None
        yield offset, lines.end - offset, number, cells


class JsonTexts(_Table):
    """One JSON object a line (JSONL)."""

    def _scan(self, stream: BinaryIO) -> Iterator[Place]:
        seen: dict[str, None] = {}  # fields in any row, since a row may leave one out
        for offset, number, line in count_lines(stream):
            if line.strip():
                try:
                    fields = self._fields(line.decode("utf-8"))
                except ValueError:  # `load` says what is wrong
                    fields = {}
                seen.update(dict.fromkeys(fields))
                yield offset, len(line), number, self._label(fields)
        self._check(list(seen))

    def _fields(self, text: str) -> Fields:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ValueError(f"no JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"a JSON object is required, got {type(found).__name__}")
        return found
