"""Sentences of CoNLL-U files, the format of Universal Dependencies.

A word is what stands in the text. A multiword token (``1-2 du``) is one word, and the values of its
syntactic words (``de``, ``le``) are joined by ``+``. Empty nodes (``8.1``) do not stand in the text
and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .entries import UnreadableInput
from .text import Place, TextFile, TextRecord, count_lines

__all__ = ["ConlluSentences"]

_N_FIELDS = 10
_COLUMNS = {"lemma": 2, "upos": 3, "head": 6, "deprel": 7}


@dataclass
class _Word:
    """A word of the text, with the rows of its syntactic words."""

    id: str
    form: str
    space_after: bool
    rows: list[list[str]] = field(default_factory=list)

    def value(self, column: int) -> str:
        return "+".join(row[column] for row in self.rows)


class ConlluSentences(TextFile):
    """The sentences of a CoNLL-U file; their words have id, lemma, upos, head and deprel."""

    column_names = ("sent_id",)

    def _scan(self, stream: BinaryIO) -> Iterator[Place]:
        first: tuple[int, int] | None = None  # where the block began that a blank line will end
        end, has_words = 0, False
        for offset, number, line in count_lines(stream):
            if line.strip():
                first = first or (offset, number)
                has_words |= not line.startswith(b"#")
                end = offset + len(line)
                continue
            if first and has_words:
                yield first[0], end - first[0], first[1], None
            first, has_words = None, False
        if first and has_words:
            yield first[0], end - first[0], first[1], None

    def _columns(self, i: int) -> dict[str, Any]:
        try:
            return {"sent_id": _comment(self._text(i), "sent_id") or ""}
        except UnreadableInput:  # `load` says so
            return {"sent_id": ""}

    def _parse(self, text: str, id: str) -> TextRecord:
        try:
            words = _read_words(text)
            sentence, spans = _place_words(words, _comment(text, "text"))
        except ValueError as error:
            raise UnreadableInput(id, f"no CoNLL-U: {error}") from error
        columns = {name: [word.value(at) for word in words] for name, at in _COLUMNS.items()}
        columns = {"id": [word.id for word in words], **columns}
        return TextRecord(sentence, [word.form for word in words], spans, columns)


def _comment(block: str, name: str) -> str | None:
    """The value of ``# name = value``."""
    found = re.search(rf"^# *{name} *= *([^\n]*)$", block, re.MULTILINE)
    return found[1].strip() if found else None


def _read_words(block: str) -> list[_Word]:
    words: list[_Word] = []
    last, until = 0, 0  # number of the last syntactic word, and of the last in a multiword token
    for line in block.split("\n"):
        row = line.rstrip("\r").split("\t")
        if line.startswith("#") or not line.strip():
            continue
        if len(row) != _N_FIELDS:
            raise ValueError(f"{len(row)} fields in a line, {_N_FIELDS} are required: {line!r}")
        numbered = re.fullmatch(r"([0-9]+)(?:([-.])([0-9]+))?", row[0])
        if numbered is None:
            raise ValueError(f"{row[0]!r} is no word number")
        if numbered[2] == ".":
            continue
        number = int(numbered[1])
        if number != last + 1 or (numbered[2] and (number <= until or int(numbered[3]) < number)):
            raise ValueError(f"word number {row[0]} follows {last}")
        if numbered[2] or number > until:
            words.append(_Word(row[0], row[1], "SpaceAfter=No" not in row[9].split("|")))
        if numbered[2]:
            until = int(numbered[3])
        else:
            words[-1].rows.append(row)
            last = number
    if last < until or not words:
        raise ValueError(f"the words end at {last}, {until} were announced")
    return words


def _place_words(words: list[_Word], text: str | None) -> tuple[str, list[tuple[int, int]]]:
    """The sentence and the characters of each word; joined from the words where it is not given."""
    if text is None:
        text = "".join(word.form + " " * word.space_after for word in words).rstrip()
    spans, end = [], 0
    for word in words:
        start = text.find(word.form, end)
        if start < 0 or text[end:start].strip():
            raise ValueError(f"word {word.id} {word.form!r} does not follow {text[:end]!r} in text")
        end = start + len(word.form)
        spans.append((start, end))
    return text, spans
