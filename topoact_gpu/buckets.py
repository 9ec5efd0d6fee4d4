"""Rows on scratch disk, grouped by the cells of a cover: every element is a few contiguous reads.

The rows are read once, block by block. Each block becomes a *part*: a file of its rows, those of
one cell side by side, in ascending order, and an index that says where each cell begins. Parts do
not depend on each other, so several processes may write them, and one that is lost or damaged is
written again.

Format ``topoact-gpu/part``, version 1::

    part-<first row>.rows       rows as they are held, cell by cell
    part-<first row>.index.npz  cell, start (row in the file), crc (CRC-32 of the cell's bytes)
"""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import CapacityError, StoreError
from topoact_gpu.files import replaced_file
from topoact_gpu.kernels.cover.cells import Cells, element_cells

__all__ = ["Buckets", "Part", "check_scratch", "read_index", "write_part"]

_VERSION = 1
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Part:
    """What a part's file holds.

    Attributes
    ----------
    first, n_rows : int
        First row and number of rows of the block, those in no cell included.
    cell : int32[n_cells]
        Cells with rows in this block, ascending.
    start : int64[n_cells + 1]
        First row of each in the file.
    crc : uint32[n_cells]
    """

    first: int
    n_rows: int
    cell: NDArray[np.int32]
    start: NDArray[np.int64]
    crc: NDArray[np.uint32]


def _paths(folder: Path, first: int) -> tuple[Path, Path]:
    return folder / f"part-{first:012d}.rows", folder / f"part-{first:012d}.index.npz"


def write_part(folder: Path, cell: NDArray[np.int32], first: int, block: NDArray[Any]) -> Part:
    """Write the rows of a block by cell.

    Parameters
    ----------
    folder : Path
    cell : int32[n]
        Cell of each row of the block; below 0: left out.
    first : int
        Number of the block's first row.
    block : [n, n_cols]

    Returns
    -------
    Part
    """
    order = np.argsort(cell, kind="stable")[int((cell < 0).sum()) :]
    found, start = np.unique(cell[order], return_index=True)
    start = np.append(start, len(order)).astype(np.int64)
    rows, index = _paths(folder, first)
    crc = np.empty(len(found), np.uint32)
    with replaced_file(rows, overwrite=True) as temporary, open(temporary, "wb") as file:
        for at in range(len(found)):
            own = np.ascontiguousarray(block[order[start[at] : start[at + 1]]])
            view = own.data.cast("B")
            crc[at] = zlib.crc32(view)
            file.write(view)
    part = Part(first, len(block), found.astype(np.int32), start, crc)
    with replaced_file(index, overwrite=True) as temporary, open(temporary, "wb") as file:
        np.savez(
            file, version=_VERSION, first=first, n_rows=len(block), cell=part.cell, start=start,
            crc=crc,
        )  # fmt: skip
    return part


def read_index(folder: Path, first: int) -> Part | None:
    """The index of a part that was written whole; None where there is none that can be read."""
    rows, index = _paths(folder, first)
    try:
        with open(index, "rb") as file, np.load(file) as found:
            if int(found["version"]) != _VERSION or not rows.exists():
                return None
            numbers = int(found["first"]), int(found["n_rows"])
            return Part(*numbers, found["cell"], found["start"], found["crc"])
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
        return None


def check_scratch(folder: Path, n_bytes: int) -> None:
    """Raise CapacityError unless the disk of a folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise CapacityError(
            f"the rows need {n_bytes:,} bytes of scratch space in {folder}, {free:,} are free; "
            "raise memory_budget, free some space, or use a larger disk (TMPDIR, or where the "
            "run is saved)"
        )


class Buckets:
    """The parts of all rows, and where the rows of each element lie in them.

    Parameters
    ----------
    folder : Path
    cells : Cells
    source : callable
        ``source(first)`` reads the block of a part anew, for parts that turn out to be damaged.
    n_cols : int
    dtype : numpy.dtype
        float16, float32 or float64.
    """

    def __init__(
        self,
        folder: Path,
        cells: Cells,
        parts: list[Part],
        source: Callable[[int], NDArray[Any]],
        n_cols: int,
        dtype: np.dtype[Any],
    ) -> None:
        self.folder, self.cells, self.source = folder, cells, source
        self.parts = sorted(parts, key=lambda part: part.first)
        self.n_cols, self.dtype = n_cols, dtype
        self.mended: list[int] = []
        """First rows of parts that were damaged and written again."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.n_cols * self.dtype.itemsize

    def places(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where :meth:`read` puts each row of an element (ascending): int64[n], a permutation."""
        places = np.empty(len(members), np.int64)
        cuts = np.searchsorted(members, [part.first for part in self.parts]).tolist()
        for low, high in pairwise([*cuts, len(members)]):
            order = np.argsort(self.cells.cell[members[low:high]], kind="stable")
            places[low + order] = np.arange(low, high)
        return places

    def read(self, members: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Read the rows of an element, part by part, by cell in each.

        Parameters
        ----------
        members : int64[n]
            All rows of the element, ascending.
        out : dtype[n, n_cols]

        Raises
        ------
        StoreError
            A part is damaged and what it was made from cannot be read any more.
        """
        wanted = element_cells(self.cells, members)
        at = 0
        for part in self.parts:
            for run in _runs(part, wanted):
                n_rows = int(part.start[run.stop] - part.start[run.start])
                self._read_run(part, run, out[at : at + n_rows])
                at += n_rows
        assert at == len(members)

    def reader(self, members: NDArray[np.int64]) -> Reader:
        """Access to the stored rows of an element by number; each cell is checked once, now."""
        wanted = element_cells(self.cells, members)
        pieces = []
        for part in self.parts:
            for run in _runs(part, wanted):
                for at in range(run.start, run.stop):
                    self._check_cell(part, at)
                n_rows = int(part.start[run.stop] - part.start[run.start])
                pieces.append(
                    (_paths(self.folder, part.first)[0], int(part.start[run.start]), n_rows)
                )
        return Reader(pieces, self.row_bytes)

    def _check_cell(self, part: Part, at: int) -> None:
        """Look at a cell's bytes, a piece at a time; mend the part if they are not right."""
        rows = int(part.start[at + 1] - part.start[at])
        size, crc = rows * self.row_bytes, 0
        try:
            with open(_paths(self.folder, part.first)[0], "rb", buffering=0) as file:
                file.seek(int(part.start[at]) * self.row_bytes)
                while size and (piece := file.read(min(size, _PIECE_BYTES))):
                    crc, size = zlib.crc32(piece, crc), size - len(piece)
        except OSError:
            size = -1
        if size or crc != part.crc[at]:
            self._mend(part)

    def _mend(self, part: Part) -> None:
        """Write a part again from what it was made of."""
        cell = self.cells.cell[part.first : part.first + part.n_rows]
        write_part(self.folder, cell, part.first, self.source(part.first))
        self.mended.append(part.first)

    def _read_run(self, part: Part, run: slice, out: NDArray[Any]) -> None:
        """Read neighbouring cells of a part; one that is damaged is written again, once."""
        if _read_cells(self.folder, part, run, out):
            return
        self._mend(part)
        if not _read_cells(self.folder, part, run, out):
            raise StoreError(
                f"{_paths(self.folder, part.first)[0]} does not keep what is written to it; "
                "check the disk, or use another (TMPDIR, or where the run is saved)"
            )


class Reader:
    """Stored rows of an element, numbered through its pieces in the parts' files.

    Any number of threads may read.
    """

    def __init__(self, pieces: list[tuple[Path, int, int]], row_bytes: int) -> None:
        self.row_bytes = row_bytes
        self.starts = np.concatenate([[0], np.cumsum([n for *_, n in pieces])]).astype(np.int64)
        self.first = [first for _, first, _ in pieces]
        self.files = {path: os.open(path, os.O_RDONLY) for path in {path for path, *_ in pieces}}
        self.file = [self.files[path] for path, *_ in pieces]

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Fill ``out`` with the rows from ``start`` on."""
        view = out.data.cast("B")
        at, stop = start, start + len(out)
        piece = int(np.searchsorted(self.starts, start, side="right")) - 1
        while at < stop:
            end = min(stop, int(self.starts[piece + 1]))
            offset = (self.first[piece] + at - int(self.starts[piece])) * self.row_bytes
            part = view[(at - start) * self.row_bytes : (end - start) * self.row_bytes]
            _pread_whole(self.file[piece], part, offset)
            at, piece = end, piece + 1

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            os.close(file)
        self.files = {}


def _pread_whole(file: int, view: memoryview, offset: int) -> None:
    at = 0
    while at < len(view):
        n_read = os.preadv(file, [view[at:]], offset + at)
        if n_read == 0:
            raise StoreError(
                "a scratch file was cut short while it was read; start again (a run that is "
                "saved goes on where it was)"
            )
        at += n_read


def _runs(part: Part, wanted: NDArray[np.int64]) -> list[slice]:
    """Runs of a part's cells that are wanted, neighbours together."""
    held = np.flatnonzero(np.isin(part.cell, wanted, assume_unique=True))
    if not len(held):
        return []
    ends = np.flatnonzero(np.diff(held) > 1) + 1
    return [slice(int(run[0]), int(run[-1]) + 1) for run in np.split(held, ends)]


def _read_cells(folder: Path, part: Part, run: slice, out: NDArray[Any]) -> bool:
    """Read some cells of a part; False where they are not there as they were written."""
    row_bytes = out.strides[0]
    start = part.start[run.start : run.stop + 1]
    view = out.data.cast("B")
    try:
        with open(_paths(folder, part.first)[0], "rb", buffering=0) as file:
            file.seek(int(start[0]) * row_bytes)
            if _read_whole(file, view) < len(view):
                return False
    except OSError:
        return False
    ends = ((start - start[0]) * row_bytes).tolist()
    found = [zlib.crc32(view[low:high]) for low, high in pairwise(ends)]
    return found == part.crc[run].tolist()


def _read_whole(file: Any, view: memoryview) -> int:
    """Fill a view as far as the file goes; the number of bytes read."""
    at = 0
    while at < len(view):
        n_read = file.readinto(view[at:])
        if not n_read:
            break
        at += n_read
    return at
