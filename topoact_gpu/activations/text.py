"""Texts: one a line in a file, and the data set descriptions inside scikit-learn.

Files are scanned once for the place of each text, which is then read when it is wanted. The scan
also hashes the file, because an id such as ``line:17`` says nothing of what stands there.
"""

from __future__ import annotations

import codecs
import re
from abc import abstractmethod
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import os_errors
from .entries import Entry, Inputs, UnreadableInput, fingerprint, number_labels, read_part
from .photos import package_folder

__all__ = ["Descriptions", "Place", "TextFile", "TextLines", "TextRecord", "count_lines"]

_FULL_STOP = r"(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z\"'])"  # and not after an initial
_BOM = codecs.BOM_UTF8
Place = tuple[int, int, int, str | None]  # offset, bytes, number of the first line, label


@dataclass(frozen=True)
class TextRecord:
    """A text, and its words where the source has them.

    Attributes
    ----------
    text : str
    words : list of str or None
        As they stand in ``text``, in order.
    spans : list of (int, int) or None
        Characters ``text[start:end]`` of each word.
    columns : dict of str to list of str
        Values of the words (``upos``, ``lemma``, ...), one for each.
    """

    text: str
    words: list[str] | None = None
    spans: list[tuple[int, int]] | None = None
    columns: dict[str, list[str]] = field(default_factory=dict)


class TextFile(Inputs):
    """Texts at known places of one file; subclasses say where they are and how they read."""

    kind = "text"

    def __init__(self, path: Path) -> None:
        self._path = path
        numbers = array("q")
        labels: list[str | None] = []
        with os_errors(f"reading {path}"), open(path, "rb") as stream:
            _check_encoding(path, stream)
            for *place, label in self._scan(stream):
                numbers.extend(place)
                labels.append(label)
        if not labels:
            raise DataError(f"{path} holds no text; at least one is required")
        self._places: NDArray[np.int64] = np.array(numbers, dtype=np.int64).reshape(-1, 3)
        self.class_names, self._class_ids = number_labels(labels)
        self.record = {"digest": _file_digest(path)}

    def __len__(self) -> int:
        return len(self._places)

    def entry(self, i: int) -> Entry:
        return Entry(self._id(i), int(self._class_ids[i]), self._columns(i))

    def load(self, i: int) -> TextRecord:
        return self._parse(self._text(i), self._id(i))

    def sizes(self) -> NDArray[np.int64]:
        return self._places[:, 1]

    @abstractmethod
    def _scan(self, stream: BinaryIO) -> Iterator[Place]:
        """Yield the place of each text."""

    @abstractmethod
    def _parse(self, text: str, id: str) -> TextRecord:
        """Make a record of what stands at the place of an input."""

    def _columns(self, i: int) -> dict[str, Any]:
        return {}

    def _id(self, i: int) -> str:
        return f"line:{self._places[i, 2]}"

    def _text(self, i: int) -> str:
        """What stands at the place of input ``i``."""
        (offset, size, _), id = (int(number) for number in self._places[i]), self._id(i)
        return decode_text(read_part(self._path, id, offset=offset, size=size), id)


def decode_text(data: bytes, id: str) -> str:
    """Decode UTF-8 strictly."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise UnreadableInput(id, f"byte {byte:#04x} at {error.start} is not UTF-8") from error


def _check_encoding(path: Path, stream: BinaryIO) -> None:
    """Refuse UTF-16, pass over a UTF-8 mark, and leave the file where its text starts."""
    head = stream.read(len(_BOM))
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{path} is UTF-16, UTF-8 is required; convert it")
    stream.seek(len(_BOM) if head == _BOM else 0)


def _file_digest(path: Path) -> str:
    hashed = blake2b(digest_size=16)
    with os_errors(f"reading {path}"), open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def count_lines(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, number, line with its end) from where the file stands."""
    offset = stream.tell()
    for number, line in enumerate(stream, start=1):
        yield offset, number, line
        offset += len(line)


class TextLines(TextFile):
    """One text a line, without the white space around it; empty lines are passed over."""

    def _scan(self, stream: BinaryIO) -> Iterator[Place]:
        for offset, number, line in count_lines(stream):
            if line.strip():
                yield offset, len(line), number, None

    def _parse(self, text: str, id: str) -> TextRecord:
        return TextRecord(text.strip())


class Descriptions(Inputs):
    """Sentences of the data set descriptions inside scikit-learn; the class is the data set.

    About a hundred sentences of English prose that are there wherever this package is. Titles,
    tables, lists, code and references are left out, and what remains is cut at full stops.
    """

    kind = "text"

    def __init__(self) -> None:
        folder = package_folder("sklearn") / "datasets" / "descr"
        with os_errors(f"reading {folder}"):
            sources = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.rst"))}
        found = [(name, text) for name in sources for text in _sentences(sources[name])]
        if not found:
            raise DataError(f"{folder} holds no descriptions; reinstall scikit-learn")
        names, self._texts = [name for name, _ in found], [text for _, text in found]
        self.class_names, self._class_ids = number_labels(names)
        self._ids = [
            f"{name}:{number}"
            for name in self.class_names
            for number in range(1, names.count(name) + 1)
        ]
        self.record = {"digest": fingerprint(*self._ids, *self._texts)}

    def __len__(self) -> int:
        return len(self._texts)

    def entry(self, i: int) -> Entry:
        return Entry(self._ids[i], int(self._class_ids[i]))

    def load(self, i: int) -> TextRecord:
        return TextRecord(self._texts[i])

    def sizes(self) -> NDArray[np.int64]:
        return np.array([len(text) for text in self._texts], dtype=np.int64)


def _sentences(source: str) -> Iterator[str]:
    """Yield the sentences of the paragraphs of a reStructuredText document."""
    for paragraph in re.split(r"\n\s*\n", source):
        lines = paragraph.strip("\n").split("\n")
        if any(_is_markup(line) for line in lines) or "(19" in paragraph or "(20" in paragraph:
            continue  # years in brackets: a reference
        for sentence in re.split(_FULL_STOP, _plain(" ".join(lines))):
            if sentence.endswith((".", "!", "?")) and len(sentence.split()) >= 4:
                yield sentence


def _is_markup(line: str) -> bool:
    """Whether a line shows that its paragraph is a title, table, field, directive or example."""
    return bool(re.match(r"\s*(([=~^*-])\2{2,}|>>>|\.\. |- |\* |:[A-Z][^:`]*:|\w+://)", line))


def _plain(text: str) -> str:
    """Remove the inline markup of reStructuredText."""
    text = re.sub(r":\w+:`~?([^`<]+?)(\s*<[^>]*>)?`", r"\1", text)  # roles
    text = re.sub(r"`([^`<]+?)\s*<[^>]*>`_*", r"\1", text)  # links
    text = re.sub(r"\s*\[\d+\]_", "", text)  # footnotes
    text = re.sub(r"``?([^`]+)``?_*", r"\1", text).replace("**", "")
    return re.sub(r"\s+", " ", text).strip()
