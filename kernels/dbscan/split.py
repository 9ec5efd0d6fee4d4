"""One interval in parts that do not depend on each other: other machines, or one after another.

Everything up to the last phase is done once, by `begin`. The last phase is a list of rectangles of
pairs; each `part` reports some of them to a forest of its own that starts as `begin` left it, and
`finish` merges the forests:

- Degrees: those at the start, plus what each part added. A pair is reported by exactly one part.
  What a part leaves out as settled joins rows that were core there, so that a row whose sum stays
  below ``min_samples`` has had all its pairs counted.
- Pairs on a pending list are looked at again, now that all degrees are known.
- Components: a pair on no list was joined in its part, and every part's parents are joined here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.compiled import kernel
from topoact_gpu.kernels.dbscan.forest import Forest, empty_forest, labels_from_forest, unite
from topoact_gpu.kernels.dbscan.interval import Clustered, PanelRun, Problem, Rectangle
from topoact_gpu.kernels.dbscan.packing import Window
from topoact_gpu.kernels.dbscan.tiles import CHUNK_ROWS, COUNTERS

__all__ = ["Begun", "Part", "begin", "finish", "part"]

_Ints = NDArray[np.int32]


class Begun(NamedTuple):
    """An interval before its last phase."""

    order: _Ints
    """int32[n]: rows as they are scanned, without those whose pairs are all reported."""
    n_open: int
    """Rows before the largest component."""
    sampled: NDArray[np.uint8]
    block_of: _Ints
    degree: _Ints
    parent: _Ints
    pending: _Ints
    """int32[n_pending, 2]"""
    counters: NDArray[np.int64]


class Part(NamedTuple):
    """What a part of the last phase found."""

    degree: _Ints
    """int32[n]: neighbours found beyond those at the start."""
    parent: _Ints
    pending: _Ints
    counters: NDArray[np.int64]


def begin(
    problem: Problem, ids: NDArray[np.int64], team: Team, window: Window | None = None
) -> Begun:
    """Everything before the last phase; parameters as for :func:`.interval.cluster_rows`.

    More than 64 rows are required: fewer are compared directly.
    """
    run = PanelRun(problem, ids, empty_forest(len(ids), problem.min_samples), team, window)
    n_open = run.begin()
    forest = run.forest
    return Begun(
        run.order, n_open, run.sampled, run.block_of, forest.degree, forest.parent,
        _pending(forest), run.counters.sum(0),
    )  # fmt: skip


def part(
    problem: Problem,
    ids: NDArray[np.int64],
    begun: Begun,
    number: int,
    n_parts: int,
    team: Team,
    window: Window | None = None,
) -> Part:
    """Part ``number`` of ``n_parts`` of the last phase."""
    forest = empty_forest(len(ids), problem.min_samples)
    forest.degree[:], forest.parent[:] = begun.degree, begun.parent
    run = PanelRun(_in_spans(problem, len(begun.order), n_parts), ids, forest, team, window)
    run.order, run.sampled, run.block_of = begun.order, begun.sampled, begun.block_of
    run.report_rest(begun.n_open, _share(run.rectangles(begun.n_open), number, n_parts))
    added = forest.degree - begun.degree
    return Part(added, forest.parent, _pending(forest), run.counters.sum(0))


def finish(begun: Begun, parts: Iterable[Part], min_samples: int) -> Clustered:
    """Labels of an interval from all of its parts."""
    degree, parent = begun.degree.copy(), begun.parent.copy()
    pending, counters = [begun.pending], begun.counters.copy()
    for found in parts:
        degree += found.degree
        _unite_all(parent, found.parent)
        pending.append(found.pending)
        counters += found.counters
    pairs = np.concatenate(pending)
    first, second = (np.ascontiguousarray(column) for column in pairs.T)
    forest = Forest(degree, parent, first, second, np.array([len(pairs)]), min_samples)
    labels, n_clusters = labels_from_forest(forest)
    names = dict(zip(COUNTERS, counters.tolist(), strict=True))
    return Clustered(labels, degree >= min_samples, n_clusters, names)


def _pending(forest: Forest) -> _Ints:
    """Pending pairs as int32[n, 2]."""
    n_pending = int(forest.n_pending[0])
    return np.column_stack([forest.first[:n_pending], forest.second[:n_pending]])


def _in_spans(problem: Problem, n_rows: int, n_parts: int) -> Problem:
    """The same problem with superblocks small enough for every part to get several rectangles."""
    wanted = max(n_rows // int(np.ceil(np.sqrt(8 * n_parts))), CHUNK_ROWS)
    rows = min(wanted, problem.superblock_rows)
    return replace(problem, superblock_bytes=rows * problem.packed_bytes)


def _share(rectangles: list[Rectangle], number: int, n_parts: int) -> list[Rectangle]:
    """The rectangles of one part: the largest first, each to the part with the fewest pairs."""
    order = sorted(range(len(rectangles)), key=lambda at: (-rectangles[at].n_pairs, at))
    load, own = [0] * n_parts, []
    for at in order:
        least = load.index(min(load))
        load[least] += rectangles[at].n_pairs
        if least == number:
            own.append(at)
    return [rectangles[at] for at in sorted(own)]


@kernel
def _unite_all(parent, other):  # type: ignore[no-untyped-def]
    for row in range(parent.size):
        if other[row] != row:
            unite(parent, np.int32(row), other[row])
