"""The elements of a cover on the processor: what each needs of memory, and who works on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.bucketed import Bucketed, BucketWindow
from topoact_gpu.device import Team
from topoact_gpu.errors import StoreError
from topoact_gpu.kernels.dbscan.interval import TINY, Clustered, Problem, cluster_rows
from topoact_gpu.kernels.dbscan.split import Begun, Part, begin, finish, part
from topoact_gpu.kernels.pairs.cpu import pair_limits
from topoact_gpu.ledger import Ledger
from topoact_gpu.resident import Resident
from topoact_gpu.room import Room
from topoact_gpu.rows import Rows

__all__ = [
    "Crew",
    "begin_element",
    "finish_element",
    "local_view",
    "part_of_element",
    "problem_of",
]

_MIN_BUDGET = 2**24
_PACKED_BYTES = 160 * 10**6
"""Panels in memory at a time, all threads together; more would not make anything faster."""
_ROW_BYTES = 90
"""A row's share of degrees, parents, order and coordinates, beside its pending pairs."""
_PIECE_PAIRS = 2 * 10**10
"""Pairs of a part of a large element that is put down: some ten seconds of work."""
_PACKED_SHARE = 4
"""Of the budget, panels take at most one part in so many."""


def problem_of(prepared: Prepared, eps: float, min_samples: int, superblock: int) -> Problem:
    """The kernel's view of one eps."""
    return Problem(
        prepared.table,
        pair_limits(prepared.table, prepared.square(eps)),
        prepared.distance(eps),
        min_samples,
        prepared.frame,
        superblock,
        prepared.filter,
    )


def local_view(
    prepared: Prepared, members: NDArray[np.int64]
) -> tuple[Prepared, NDArray[np.int64]]:
    """Rows of an element where kernels reach them: a view, and the members' places in it."""
    data = prepared.data
    if not isinstance(data, Bucketed):
        return prepared, members
    array, places = data.gather(members)
    norms = None
    if prepared.norms is not None:
        norms = np.empty(len(members))
        norms[places] = prepared.norms[members]
    own = Resident(Rows(array.shape, array.dtype, array=array), array, data.where)
    return replace(prepared, data=own, norms=norms), places


@dataclass
class Crew:
    """All elements of one cover being clustered.

    Attributes
    ----------
    prepared : Prepared
    members : callable
        Rows of an element, ascending.
    sizes : int64[n_elements]
    eps : float64[n_elements]
    min_samples : int
    budget_bytes : int
        For rows that are gathered, panels, and what each row needs.
    team : Team
    pieces : Ledger, optional
        Where parts of large elements are put down.
    """

    prepared: Prepared
    members: Callable[[int], NDArray[np.int64]]
    sizes: NDArray[np.int64]
    eps: NDArray[np.float64]
    min_samples: int
    budget_bytes: int
    team: Team
    pieces: Ledger | None = None

    def __post_init__(self) -> None:
        self.room = Room(self.budget_bytes)
        packed = max(min(self.budget_bytes // _PACKED_SHARE, _PACKED_BYTES), _MIN_BUDGET // 4)
        self.superblock = packed // 3
        """Bytes of one superblock of panels; an interval at work holds up to three."""

    def everything(self, todo: NDArray[np.int64], keep: Callable[[int, Clustered], None]) -> None:
        """Cluster some elements, largest first; ``keep`` is called by one thread at a time.

        Elements go to threads whole; one that alone holds more than its share of the pairs, or
        takes more than its share of memory, is worked on by all threads together.
        """
        order = todo[np.argsort(-self.sizes[todo], kind="stable")]
        pairs = float((self.sizes[todo].astype(np.float64) ** 2).sum())
        sizes = self.sizes[order].tolist()
        together = np.array([self._goes_together(size, pairs) for size in sizes], np.bool_)
        lock = threading.Lock()

        def run(element: int, team: Team) -> None:
            result = self.cluster(element, team)
            with lock:
                keep(element, result)

        for element in order[together].tolist():
            run(element, self.team)
        solo = self.team.solo()
        self.team.map(lambda element: run(element, solo), order[~together].tolist())

    def _goes_together(self, size: int, pairs: float) -> bool:
        n_threads = self.team.n_threads
        large = float(size) ** 2 > pairs / (4 * n_threads)
        return n_threads > 1 and (large or self._needs(size, 1) > self.budget_bytes // n_threads)

    def _needs(self, size: int, n_at_once: int) -> int:
        """Bytes that an element of so many rows takes."""
        per_row = _ROW_BYTES + 8 * min(max(self.min_samples - 2, 0), max(size - 1, 0))
        if isinstance(self.prepared.data, Bucketed):
            per_row += self.prepared.data.buckets.row_bytes
        return size * per_row + 3 * self.superblock // n_at_once

    def cluster(self, element: int, team: Team) -> Clustered:
        """DBSCAN in one element."""
        n_parts = self._n_parts(element)
        if self.pieces is not None and n_parts > 1:
            return self._in_pieces(element, n_parts, team, self.pieces)
        with self.interval(element, team) as (problem, places, window):
            return cluster_rows(problem, places, team, window)

    def _n_parts(self, element: int) -> int:
        """Parts in which a large element is put down, so that little of its work can be lost."""
        size = int(self.sizes[element])
        return -(-size * size // (2 * _PIECE_PAIRS)) if size > TINY else 1

    def _in_pieces(self, element: int, n_parts: int, team: Team, pieces: Ledger) -> Clustered:
        """DBSCAN in a large element, part by part; those that were put down are not done again."""
        begin_element(self, element, team, pieces)
        for number in range(n_parts):
            part_of_element(self, element, number, n_parts, team, pieces)
        return finish_element(element, n_parts, self.min_samples, pieces)

    @contextmanager
    def interval(
        self, element: int, team: Team
    ) -> Iterator[tuple[Problem, NDArray[np.int64], BucketWindow | None]]:
        """What the kernel is given of an element; memory is taken as long as the block lasts."""
        members = self.members(element)
        n_at_once = 1 if team is self.team else self.team.n_threads
        needed = self._needs(len(members), n_at_once)
        with self.room.taken(needed):
            if needed > self.budget_bytes and isinstance(self.prepared.data, Bucketed):
                with self._window(element, members) as given:
                    yield given
                return
            own, places = local_view(self.prepared, members)
            superblock = self.superblock // n_at_once
            yield (
                problem_of(own, float(self.eps[element]), self.min_samples, superblock),
                places,
                None,
            )

    @contextmanager
    def _window(
        self, element: int, members: NDArray[np.int64]
    ) -> Iterator[tuple[Problem, NDArray[np.int64], BucketWindow]]:
        """An element whose rows do not fit, block row by block column."""
        data: Any = self.prepared.data
        eps, row_bytes = float(self.eps[element]), data.buckets.row_bytes
        left = self.budget_bytes - self._needs(len(members), 1) + len(members) * row_bytes
        packed = problem_of(_as_empty(self.prepared), eps, self.min_samples, 0).packed_bytes
        share = packed / (packed + row_bytes)
        superblock = int(share * max(left + 3 * self.superblock, _MIN_BUDGET // 4) / 3)
        problem = problem_of(_as_empty(self.prepared), eps, self.min_samples, superblock)
        window = BucketWindow(data, members, problem.superblock_rows, self.prepared.norms)
        try:
            yield replace(problem, table=window.table), np.arange(len(members)), window
        finally:
            window.close()


def begin_element(crew: Crew, element: int, team: Team, pieces: Ledger) -> None:
    """Do the first phases of an element and put them down, unless they are."""
    name = f"begun-{element}"
    if pieces.get(name) is None:
        with crew.interval(element, team) as (problem, places, window):
            begun = begin(problem, places, team, window)
        pieces.put(name, **begun._asdict())


def part_of_element(
    crew: Crew, element: int, number: int, n_parts: int, team: Team, pieces: Ledger
) -> None:
    """Do a part of an element's last phase and put it down, unless it is."""
    name = f"part-{element}-{n_parts}-{number}"
    if pieces.get(name) is None:
        begun = _begun(element, pieces)
        with crew.interval(element, team) as (problem, places, window):
            found = part(problem, places, begun, number, n_parts, team, window)
        pieces.put(name, **found._asdict())


def finish_element(element: int, n_parts: int, min_samples: int, pieces: Ledger) -> Clustered:
    """Merge the parts of an element."""
    names = [f"part-{element}-{n_parts}-{number}" for number in range(n_parts)]
    parts = (Part(**_whole(pieces, name)) for name in names)
    return finish(_begun(element, pieces), parts, min_samples)


def _begun(element: int, pieces: Ledger) -> Begun:
    found = _whole(pieces, f"begun-{element}")
    return Begun(**(found | {"n_open": int(found["n_open"])}))


def _whole(pieces: Ledger, name: str) -> dict[str, Any]:
    found = pieces.get(name)
    if found is None:
        raise StoreError(
            f"what was put down in {pieces.folder} as {name} is not to be read; start again: "
            "the rest is kept"
        )
    return found


def _as_empty(prepared: Prepared) -> Prepared:
    """The same without rows: for what depends on their kind and length only."""
    data: Any = prepared.data
    array = np.empty((1, data.rows.n_cols), data.dtype)
    norms = None if prepared.norms is None else np.ones(1)
    return replace(
        prepared, data=Resident(Rows(array.shape, array.dtype, array=array), array, ""), norms=norms
    )
