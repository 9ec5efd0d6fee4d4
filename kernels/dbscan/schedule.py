"""Which tiles of pairs are scanned, in which order: lists of block pairs for launches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "deal_rows",
    "first_round_tiles",
    "in_launches",
    "later_tiles",
    "row_tiles",
    "superblocks",
    "upper_tiles",
]

_STRIP = 8
"""Block rows that are scanned together: their packed rows stay in the second-level cache while
the block columns pass by."""

_Tiles = NDArray[np.int32]


def upper_tiles(first: int, n_blocks: int) -> Iterator[_Tiles]:
    """Tiles (i, j), i <= j, of blocks first .. first + n_blocks - 1; int32[n, 2] strip by strip."""
    for tiles in row_tiles(np.arange(n_blocks), n_blocks):
        yield tiles + np.int32(first)


def row_tiles(rows: NDArray[np.int64], n_blocks: int) -> Iterator[_Tiles]:
    """Tiles (i, j), i <= j, of some block rows i (ascending) and all blocks j < n_blocks."""
    for low in range(0, len(rows), _STRIP):
        own = rows[low : low + _STRIP]
        tiles = _columns_first(own, np.arange(own[0], n_blocks))
        yield tiles[tiles[:, 0] <= tiles[:, 1]]


def later_tiles(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Iterator[_Tiles]:
    """Tiles of a window that holds the blocks ``rows`` and after them ``columns``.

    Each row with every column whose block comes after it; both are named by their places in the
    window.
    """
    places = np.arange(len(rows), len(rows) + len(columns))
    for low in range(0, len(rows), _STRIP):
        tiles = _columns_first(np.arange(low, min(low + _STRIP, len(rows))), places)
        yield tiles[rows[tiles[:, 0]] < columns[tiles[:, 1] - len(rows)]]


def deal_rows(n_blocks: int, n_parts: int) -> list[NDArray[np.int64]]:
    """Block rows of each part of a triangle of tiles, ascending; parts without any are left out.

    Rows go to the parts in strips, there and back: the first rows are the longest, and the last
    ones are most often settled.
    """
    strip = min(max(n_blocks // (4 * n_parts), 1), _STRIP)
    turn = np.arange(n_blocks) // strip % (2 * n_parts)
    part_of = np.minimum(turn, 2 * n_parts - 1 - turn)
    dealt = [np.flatnonzero(part_of == part) for part in range(n_parts)]
    return [rows for rows in dealt if len(rows)]


def first_round_tiles(first: int, n_blocks: int, *, again: bool = False) -> Iterator[_Tiles]:
    """Each block with itself, and the first (a sample of the rows) with all others.

    ``again``: the first has met itself before.
    """
    blocks = np.arange(first, first + n_blocks, dtype=np.int32)
    yield np.column_stack([blocks, blocks])[again:]
    yield np.column_stack([np.full(n_blocks - 1, first, np.int32), blocks[1:]])


def superblocks(n_blocks: int, most: int) -> list[tuple[int, int]]:
    """Runs of up to ``most`` blocks: (first, end)."""
    return [(low, min(low + most, n_blocks)) for low in range(0, n_blocks, most)]


def _columns_first(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> _Tiles:
    """All (row, column), the rows of a column one after another."""
    tiles = np.empty((len(columns), len(rows), 2), np.int32)
    tiles[..., 0], tiles[..., 1] = rows, columns[:, None]
    return tiles.reshape(-1, 2)


def in_launches(parts: Iterable[_Tiles], most: int) -> Iterator[_Tiles]:
    """The same tiles in lists of ``most``, the last one shorter; never an empty one."""
    waiting: list[_Tiles] = []
    n_waiting = 0
    for part in parts:
        waiting.append(part)
        n_waiting += len(part)
        if n_waiting >= most:
            together = np.concatenate(waiting)
            whole = n_waiting // most * most
            yield from np.split(together[:whole], whole // most)
            waiting, n_waiting = [together[whole:]], n_waiting - whole
    if n_waiting:
        yield np.concatenate(waiting)
