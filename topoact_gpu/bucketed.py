"""Rows on scratch disk by cell: elements are gathered one at a time, or seen through a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.buckets import Buckets, Part, check_scratch, read_index, write_part
from topoact_gpu.device import Team
from topoact_gpu.kernels.cover.cells import Cells, cells_of
from topoact_gpu.kernels.dbscan.packing import SMALL_ROWS
from topoact_gpu.kernels.table import RowTable, make_table
from topoact_gpu.resident import Resident
from topoact_gpu.streamed import Streamed

if TYPE_CHECKING:
    from topoact_gpu.cover import CoverElements

__all__ = ["BucketWindow", "Bucketed", "bucketed", "taken"]

T = TypeVar("T")
_PIECE_BYTES = 2**20
_SPARSE = 0.02
"""Below this share of wanted rows they are read one by one."""


class Bucketed(Streamed):
    """Rows that lie in parts on scratch disk, and in the store they came from.

    Attributes
    ----------
    buckets : Buckets
    source : Streamed
        The same rows where they came from.
    """

    def __init__(self, data: Streamed, buckets: Buckets) -> None:
        super().__init__(data.rows, 0)
        self.starts, self.buckets, self.where = data.starts, buckets, "bucketed on disk"
        self.ledger, self.told = data.ledger, data.told
        self.source = data

    def _results(
        self, function: Callable[[int, NDArray[Any], Team], T], starts: list[int], team: Team
    ) -> Iterator[tuple[int, T]]:
        """Blocks are read where the rows came from."""
        return self.source._results(function, starts, team)

    def gather(self, members: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Rows of an element, as they are stored, and the place of each member among them."""
        out = np.empty((len(members), self.rows.n_cols), self.dtype)
        self.buckets.read(members, out)
        return out, self.buckets.places(members)


def bucketed(data: Streamed, elements: CoverElements, folder: Path, team: Team) -> Bucketed:
    """Write the rows of all elements to parts in a folder; parts that are there are kept.

    Parameters
    ----------
    data : Streamed
    elements : CoverElements
    folder : Path
        Holds nothing else, or parts of the same rows, cover and blocks.
    team : Team

    Raises
    ------
    CapacityError
        The disk has not enough room.
    """
    cells = cells_of(elements.indptr, elements.rows, data.rows.n_rows)
    done = {first: part for first in data.starts if (part := _earlier(folder, first, data))}
    row_bytes = data.rows.n_cols * data.dtype.itemsize
    n_left = int((cells.cell >= 0).sum()) - sum(int(part.start[-1]) for part in done.values())
    check_scratch(folder, n_left * row_bytes)
    starts = [first for first in data.starts if first not in done]
    written = write_parts(data, cells, folder, starts, team)
    parts = [*done.values(), *written]
    buckets = Buckets(folder, cells, parts, data.block, data.rows.n_cols, data.dtype)
    return Bucketed(data, buckets)


def taken(data: Resident, ids: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of an element, ascending."""
    if not isinstance(data, Bucketed):
        return data.rows.take(ids)
    array, places = data.gather(ids)
    return array[places]


def _earlier(folder: Path, first: int, data: Streamed) -> Part | None:
    """A part that is there already, if it is of a block that is wanted."""
    part, n_rows = read_index(folder, first), min(data.starts.step, data.rows.n_rows - first)
    return part if part is not None and part.n_rows == n_rows else None


def write_parts(
    data: Streamed, cells: Cells, folder: Path, starts: list[int], team: Team
) -> list[Part]:
    """Write the parts of the blocks that begin at ``starts``."""
    return data.map_blocks(_Write(folder, cells.cell), team, starts=starts)


@dataclass(frozen=True)
class _Write:
    """Writes the part of a block; ``cell``: of all rows, or, after :meth:`at`, of the block's."""

    folder: Path
    cell: NDArray[np.int32]

    def at(self, start: int, stop: int) -> _Write:
        """What a block of rows needs of this."""
        return _Write(self.folder, self.cell[start:stop])

    def __call__(self, start: int, block: NDArray[Any], team: Team) -> Part:
        return write_part(self.folder, self.cell, start, block)


class BucketWindow:
    """Rows of one element, brought into a table of three slots; see :class:`.packing.Window`.

    Parameters
    ----------
    data : Bucketed
    members : int64[n]
        All rows of the element, ascending.
    n_superblock : int
        Rows of a superblock, at most.
    norms : float64[n_rows] or None
        Of all rows.
    """

    def __init__(
        self,
        data: Bucketed,
        members: NDArray[np.int64],
        n_superblock: int,
        norms: NDArray[np.float64] | None,
    ) -> None:
        self.reader = data.buckets.reader(members)
        self.places = data.buckets.places(members)
        self.local = np.empty(len(members), np.int32)
        self.local[self.places] = np.arange(len(members), dtype=np.int32)
        self.norms = None if norms is None else norms[members]
        n_rows = 2 * n_superblock + SMALL_ROWS
        self.array = np.empty((n_rows, data.rows.n_cols), data.dtype)
        self.firsts = 0, n_superblock, 2 * n_superblock
        own = None if norms is None else np.ones(n_rows)
        self.table: RowTable = make_table(self.array, own)
        self.step = max(_PIECE_BYTES // (self.array.strides[0]), 1)

    def load(self, local: NDArray[np.int32], slot: int) -> NDArray[np.int64]:
        """Bring rows into a slot, in the order in which they are stored."""
        stored = self.places[local]
        order = np.argsort(stored)
        wanted, first = stored[order], self.firsts[slot]
        out = self.array[first : first + len(local)]
        cuts = np.searchsorted(wanted, np.arange(0, len(self.places) + self.step, self.step))
        for low, high in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if low < high:
                self._pick(wanted[low:high], out[low:high])
        places = np.empty(len(local), np.int64)
        places[order] = np.arange(first, first + len(local))
        if self.norms is not None:
            self.table.norms[places] = self.norms[local]
        return places

    def _pick(self, wanted: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Read stored rows that lie near each other."""
        low, high = int(wanted[0]), int(wanted[-1]) + 1
        if len(wanted) == high - low:
            self.reader.read(low, out)
        elif len(wanted) < _SPARSE * (high - low):
            for at, row in enumerate(wanted.tolist()):
                self.reader.read(row, out[at : at + 1])
        else:
            piece = np.empty((high - low, out.shape[1]), out.dtype)
            self.reader.read(low, piece)
            np.take(piece, wanted - low, axis=0, out=out)

    def scan(self, low: int, high: int) -> tuple[RowTable, NDArray[np.int64], Any]:
        """Stored rows ``low`` to ``high``."""
        piece = np.empty((high - low, self.array.shape[1]), self.array.dtype)
        self.reader.read(low, piece)
        local = self.local[low:high].astype(np.int64)
        norms = None if self.norms is None else self.norms[local]
        return make_table(piece, norms), local, piece

    def close(self) -> None:
        """Close the files."""
        self.reader.close()
