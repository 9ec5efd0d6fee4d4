"""What every source of inputs gives: entries to record, and loading that a worker can do.

A source is pickled into the workers. Ids and paths therefore lie in one block of bytes
(`PackedStrings`): a million Python strings would be copied page by page into each forked worker.
"""

from __future__ import annotations

import errno
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import os_errors

__all__ = [
    "Entry",
    "Inputs",
    "PackedStrings",
    "UnreadableInput",
    "fingerprint",
    "number_labels",
    "read_part",
]

# Not the fault of the file that happened to be next: every other one would fail as well.
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class UnreadableInput(DataError):
    """One input that cannot be used; the others can.

    Attributes
    ----------
    id : str
        The input's id.
    reason : str
        What is wrong with it, in words that are the same in every run.
    """

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"input {id} is unreadable: {reason}; repair it or leave it out")
        self.id, self.reason = id, reason

    def __reduce__(self) -> tuple[type[UnreadableInput], tuple[str, str]]:
        # exceptions are pickled by their message alone otherwise, and workers send them
        return type(self), (self.id, self.reason)


@dataclass(frozen=True)
class Entry:
    """What is known of an input before it is read.

    Attributes
    ----------
    id : str
        Stable name: relative path, archive member, ``line:17``, ...; unique in its source.
    class_id : int
        Number of the class in ``Inputs.class_names``, -1 where unknown.
    columns : dict
        Further values, the same keys (``Inputs.column_names``) for each input of a source.
    """

    id: str
    class_id: int = -1
    columns: dict[str, Any] = field(default_factory=dict)


class Inputs(ABC):
    """A numbered source of images or texts, as `open_inputs` gives it.

    Attributes
    ----------
    kind : {"image", "text"}
    class_names : list of str
        Names of the classes by number; empty where there are none.
    column_names : tuple of str
        Keys of ``Entry.columns``.
    record : dict
        What can be written down as JSON: ``spec``, ``kind``, ``number`` of inputs, and ``digest``,
        which changes when ids or classes do (for texts in one file: when the file does).
    """

    kind: str
    class_names: list[str]
    column_names: tuple[str, ...] = ()
    record: dict[str, Any]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def entry(self, i: int) -> Entry:
        """What is known of input ``i``, 0 <= i < len(self)."""

    @abstractmethod
    def load(self, i: int) -> Any:
        """Read input ``i``: a PIL image in RGB, or a `TextRecord`.

        Raises
        ------
        UnreadableInput
            It is damaged, gone, or not what it should be.
        """

    def sizes(self) -> NDArray[np.int64] | None:
        """Bytes of each input, where they are known without reading it and tell how long it is."""
        return None


class PackedStrings:
    """Immutable list of byte strings in one block.

    Examples
    --------
    >>> names = PackedStrings([b"a", b"", b"photo.jpg"])
    >>> len(names), names[2], names.text(0)
    (3, b'photo.jpg', 'a')
    """

    def __init__(self, strings: Iterable[bytes]) -> None:
        block, ends = bytearray(), array("q", [0])
        for string in strings:
            block += string
            ends.append(len(block))
        self._block = bytes(block)
        self._ends: NDArray[np.int64] = np.array(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, i: int) -> bytes:
        if not 0 <= i < len(self):
            raise IndexError(f"{i} of {len(self)} strings")
        return self._block[self._ends[i] : self._ends[i + 1]]

    def text(self, i: int) -> str:
        """String ``i`` as text; bytes that are no UTF-8 appear as ``\\xff``."""
        return self[i].decode("utf-8", "backslashreplace")

    def parts(self) -> tuple[bytes, bytes]:
        """All there is, for `fingerprint`."""
        return self._block, self._ends.astype("<i8").tobytes()


def fingerprint(*parts: bytes | str) -> str:
    """Hash the parts, each with its length, into 32 hexadecimal digits."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        hashed.update(len(encoded).to_bytes(8, "little"))
        hashed.update(encoded)
    return hashed.hexdigest()


def number_labels(labels: Sequence[str | None]) -> tuple[list[str], NDArray[np.int32]]:
    """Number the labels of inputs.

    Parameters
    ----------
    labels : sequence of str or None
        One for each input; None where unknown.

    Returns
    -------
    class_names : list of str
        Sorted; by value where every label is a whole number.
    class_ids : int32[n]
        -1 for None.

    Examples
    --------
    >>> names, ids = number_labels(["10", "9", None])
    >>> names, ids.tolist()
    (['9', '10'], [1, 0, -1])
    """
    found = {label for label in labels if label is not None}
    if all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in found):
        names = sorted(found, key=lambda label: (int(label), label))
    else:
        names = sorted(found)
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    ids = np.fromiter((numbers.get(label, -1) for label in labels), np.int32, len(labels))
    return names, ids


def read_part(path: str | Path, id: str, *, offset: int = 0, size: int = -1) -> bytes:
    """Read ``size`` bytes of a file, or all of it.

    Raises
    ------
    UnreadableInput
        The file is gone, closed to us, damaged or too short.
    StoreError
        The machine has no more memory or open files to give.
    """
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            data = stream.read(size)
    except OSError as error:
        if error.errno in _OUT_OF_RESOURCES:
            with os_errors(f"reading {path}"):
                raise
        raise UnreadableInput(id, f"{error.strerror or 'reading failed'}") from error
    if len(data) < size:
        raise UnreadableInput(id, f"{size:,} bytes were announced, only {len(data):,} are there")
    return data
