"""Groups of rows (nodes, edges, a selection): classes, column means, mean and nearest rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.nerve.levels import in_ranges
from topoact_gpu.lift import corrected, upper_tail
from topoact_gpu.rows import Rows

__all__ = [
    "ClassTable",
    "Groups",
    "class_table",
    "column_means",
    "every_block",
    "largest",
    "mean_rows",
    "nearest_rows",
    "row_distances",
    "taken_blocks",
]

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_Blocks = Callable[[], Iterable[tuple[int, NDArray[Any]]]]
_BLOCK_BYTES = 8 << 20
_ALL_ROWS: _Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Groups:
    """Lists of rows.

    Attributes
    ----------
    indptr : int64[n_groups + 1]
        Group ``g`` holds ``rows[indptr[g]:indptr[g + 1]]``.
    rows : int64[nnz]
        Row ids, ascending within a group.
    """

    indptr: _Ints
    rows: _Ints

    def __len__(self) -> int:
        return int(self.indptr.size - 1)

    @property
    def sizes(self) -> _Ints:
        """Rows in each group, int64[n_groups]."""
        return np.diff(self.indptr)


@dataclass(frozen=True)
class ClassTable:
    """The classes of each group, beside how common they are among all rows.

    Attributes
    ----------
    indptr : int64[n_groups + 1]
        Group ``g`` has the classes ``ids[indptr[g]:indptr[g + 1]]``, ascending.
    ids : int32[nnz]
    counts : int64[nnz]
        Rows of the group that have the class; at least 1.
    share : float64[nnz]
        Count over the group's rows whose class is known.
    lift : float64[nnz]
        Share over the base rate, which is the share among all rows whose class is known.
    p : float64[nnz]
        Chance of this count or more if as many rows were drawn at random, without replacement,
        from all rows whose class is known (hypergeometric upper tail), corrected over all counts
        of the table (Benjamini & Hochberg 1995).
    purity : float64[n_groups]
        The largest share; NaN without a known class.
    entropy : float64[n_groups]
        Of the shares, in bits; NaN without a known class.
    """

    indptr: _Ints
    ids: NDArray[np.int32]
    counts: _Ints
    share: _Floats
    lift: _Floats
    p: _Floats
    purity: _Floats
    entropy: _Floats


def class_table(groups: Groups, classes: _Ints, base_count: _Ints, team: Team) -> ClassTable:
    """Count the classes of each group and compare them with the base rate.

    Parameters
    ----------
    groups : Groups
    classes : int64[n_rows]
        Below the number of classes; negative: unknown.
    base_count : int64[n_classes]
        Rows of each class among all rows.
    team : Team

    Returns
    -------
    ClassTable

    Notes
    -----
    Time and memory follow the memberships, not groups times classes.

    Examples
    --------
    >>> groups = Groups(np.array([0, 2, 4]), np.array([0, 1, 2, 3]))
    >>> table = class_table(groups, np.array([0, 0, 1, -1]), np.array([2, 1]), Team(1))
    >>> table.ids.tolist(), table.counts.tolist(), table.lift.tolist()
    ([0, 1], [2, 1], [1.5, 3.0])
    """
    indptr, ids, counts = _class_counts(groups, classes, base_count.size, team)
    owner = np.repeat(np.arange(len(groups)), np.diff(indptr))
    known = np.bincount(owner, weights=counts, minlength=len(groups)).astype(np.int64)
    n_known = int(base_count.sum())
    share = counts / known[owner]
    chance = upper_tail(counts, known[owner], base_count[ids], n_known, team=team)
    purity = np.where(known > 0, 0.0, np.nan)
    np.maximum.at(purity, owner, share)
    entropy = np.bincount(owner, weights=-share * np.log2(share), minlength=len(groups))
    return ClassTable(
        indptr,
        ids.astype(np.int32),
        counts,
        share,
        share / (base_count[ids] / max(n_known, 1)),
        corrected(chance),
        purity,
        np.where(known > 0, entropy + 0.0, np.nan),
    )


def _class_counts(
    groups: Groups, classes: _Ints, n_classes: int, team: Team
) -> tuple[_Ints, _Ints, _Ints]:
    """The classes of each group and their counts: indptr, ids, counts."""
    from topoact_gpu.kernels.summary import cpu

    room = np.concatenate([[0], np.cumsum(np.minimum(groups.sizes, n_classes))]).astype(np.int64)
    ids, counts = (np.empty(room[-1], dtype=np.int64) for _ in range(2))
    found = np.zeros(len(groups), dtype=np.int64)

    def count(start: int, stop: int) -> None:
        scratch = np.zeros((2, n_classes + 1), dtype=np.int64)
        cpu.class_counts(
            groups.indptr, groups.rows, classes, start, stop, scratch, room, ids, counts, found
        )

    in_ranges(count, groups.indptr, team)
    indptr = np.concatenate([[0], np.cumsum(found)]).astype(np.int64)
    kept = np.arange(indptr[-1]) + np.repeat(room[:-1] - indptr[:-1], found)
    return indptr, ids[kept], counts[kept]


def largest(indptr: _Ints, values: _Floats, n: int) -> _Ints:
    """Places of the largest values of each group, int64[n_groups, n].

    The largest first, of equal ones the first; NaN is left out; -1 where there are no more.
    """
    from topoact_gpu.kernels.summary import cpu

    places = np.empty((indptr.size - 1, n), dtype=np.int64)
    cpu.largest(indptr, np.ascontiguousarray(values, np.float64), 0, indptr.size - 1, places)
    return places


def column_means(groups: Groups, values: NDArray[Any], team: Team) -> _Floats:
    """Mean of a row column in each group, float64[n_groups]; NaN counts as unknown.

    Parameters
    ----------
    groups : Groups
    values : [n_rows]
    team : Team
    """
    from topoact_gpu.kernels.summary import cpu

    mean = np.empty(len(groups))
    values = np.ascontiguousarray(values, dtype=np.float64)
    in_ranges(
        lambda start, stop: cpu.column_means(groups.indptr, groups.rows, values, start, stop, mean),
        groups.indptr,
        team,
    )
    return mean


def every_block(rows: Rows) -> _Blocks:
    """All rows in blocks, for `mean_rows` and `row_distances`: groups hold row ids."""
    return lambda: rows.blocks(_BLOCK_BYTES)


def taken_blocks(rows: Rows, ids: _Ints) -> _Blocks:
    """The rows ``ids`` in blocks: groups hold places in ``ids``."""
    step = max(_BLOCK_BYTES // max(rows.n_cols * rows.dtype.itemsize, 1), 1)
    starts = range(0, ids.size, step)
    return lambda: ((start, rows.take(ids[start : start + step])) for start in starts)


def mean_rows(groups: Groups, blocks: _Blocks, n_cols: int, team: Team) -> _Floats:
    """Mean row of each group, float64[n_groups, n_cols]; NaN for a group without rows.

    Parameters
    ----------
    groups : Groups
    blocks : callable
        Gives (number of the first row, rows) for consecutive blocks, such as `every_block`.
    n_cols : int
    team : Team

    Notes
    -----
    Sums in float64, in the order of the rows, whatever the blocks and the threads.
    """
    from topoact_gpu.kernels.summary import cpu

    sums = np.zeros((len(groups), n_cols))

    def add(cursor: _Ints, first: int, block: _Floats, start: int, stop: int) -> None:
        cpu.add_rows(groups.indptr, groups.rows, cursor, first, block, start, stop, sums)

    _over_blocks(add, groups, blocks, team)
    with np.errstate(invalid="ignore"):
        return np.divide(sums, groups.sizes[:, None], out=sums)


def row_distances(groups: Groups, blocks: _Blocks, centres: _Floats, team: Team) -> _Floats:
    """Euclidean distance of each row of each group from the group's centre, float64[nnz].

    Parameters
    ----------
    groups, blocks, team
        As for `mean_rows`.
    centres : float64[n_groups, n_cols]
    """
    from topoact_gpu.kernels.summary import cpu

    distances = np.empty(groups.rows.size)

    def measure(cursor: _Ints, first: int, block: _Floats, start: int, stop: int) -> None:
        cpu.row_distances(
            groups.indptr, groups.rows, cursor, first, block, centres, start, stop, distances
        )

    _over_blocks(measure, groups, blocks, team)
    return distances


def _over_blocks(work: Callable[..., None], groups: Groups, blocks: _Blocks, team: Team) -> None:
    """Call ``work(cursor, first, block, start, stop)`` for all blocks and ranges of groups."""
    cursor = groups.indptr[:-1].copy()
    for first, block in blocks():
        wide = _widened(block, team)

        def part(start: int, stop: int, first: int = first, wide: _Floats = wide) -> None:
            work(cursor, first, wide, start, stop)

        in_ranges(part, groups.indptr, team)


def _widened(block: NDArray[Any], team: Team) -> _Floats:
    """A block in float64; each thread converts a part."""
    wide = np.empty(block.shape)
    cuts = np.linspace(0, len(block), 2 * team.n_threads + 1).astype(np.int64).tolist()

    def convert(cut: tuple[int, int]) -> None:
        wide[cut[0] : cut[1]] = block[cut[0] : cut[1]]

    team.map(convert, itertools.pairwise(cuts))
    return wide


def nearest_rows(
    groups: Groups, distances: _Floats, n: int, team: Team, *, inputs: _Ints | None = None
) -> tuple[_Ints, _Floats]:
    """The rows of each group with the smallest distances.

    Parameters
    ----------
    groups : Groups
    distances : float64[nnz]
        One for each of ``groups.rows``.
    n : int
    team : Team
    inputs : int64[n_rows], optional
        Each input counts once, with its nearest row.

    Returns
    -------
    rows : int64[n_groups, n]
        The nearest first, of equal ones the lowest; -1 where there are no more.
    distances : float64[n_groups, n]
        NaN where there are no more.
    """
    from topoact_gpu.kernels.summary import cpu

    places = np.empty((len(groups), n), dtype=np.int64)
    inputs = _ALL_ROWS if inputs is None else inputs
    in_ranges(
        lambda start, stop: cpu.nearest(
            groups.indptr, groups.rows, distances, inputs, start, stop, places
        ),
        groups.indptr,
        team,
    )
    found = places >= 0
    rows, apart = np.full(places.shape, -1, dtype=np.int64), np.full(places.shape, np.nan)
    rows[found], apart[found] = groups.rows[places[found]], distances[places[found]]
    return rows, apart
