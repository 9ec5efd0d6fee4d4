"""Intervals over the devices of a machine: groups of small ones, and parts of large ones.

Every device takes from one queue whatever it can do next, the largest first. An interval with more
than its share of all tiles is begun by one device; then all of them scan parts of its second
round, and whoever is last makes the labels. What passes from device to device goes through host
memory, so that nothing but rows stays on one between two jobs.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.dbscan.groups import (
    COUNTERS,
    Begun,
    Element,
    GroupResult,
    Part,
    Room,
    Setting,
    begin,
    can_be_shared,
    cluster_group,
    finish,
    scan_part,
)
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.kernels.dbscan.schedule import deal_rows

__all__ = ["Done", "Gpu", "cluster_elements"]

T = TypeVar("T")
_FEWEST_BLOCKS = 4
"""Of a window, after running out of memory."""
_GROUPS = 4
"""For each device: so that none waits long for the last one."""
_WORTH = 2**14
"""Tiles for each device; with fewer, rows are not sent to another one."""
_INTERPRETER = threading.Lock()


@dataclass
class Done:
    """What a device did: whole elements, and parts of large ones."""

    elements: int = 0
    parts: int = 0


class Gpu:
    """One device at work.

    Parameters
    ----------
    device : torch.device
    memory : str
        What messages call its memory.
    make_setting : callable
        Makes what all its work needs, rows included; called when there is work.
    make_room : callable
        Sets device memory aside.
    note : callable
        Told what did not go as planned.
    done : Done
        Counts what it did.
    """

    def __init__(
        self,
        device: torch.device,
        memory: str,
        *,
        make_setting: Callable[[], Setting],
        make_room: Callable[[Setting], Room],
        note: Callable[[str], None],
        done: Done,
    ) -> None:
        self.device, self.memory, self.note, self.done = device, memory, note, done
        self._make_setting, self._make_room = make_setting, make_room
        self._setting: Setting | None = None
        self._room: Room | None = None

    def opened(self) -> tuple[Setting, Room]:
        """Setting and room, made when first asked for."""
        if self._setting is None or self._room is None:
            with _at_work(self.device):
                self._setting = self._make_setting()
                self._room = self._make_room(self._setting)
        return self._setting, self._room

    def attempt(self, work: Callable[[Setting, Room], T]) -> T | None:
        """Result of some work; None where memory ran out: the room is half of what it was then."""
        setting, room = self.opened()
        with _at_work(self.device):
            found = _attempt(work, setting, room)
            if found is not None:
                return found
            sizes = self._half_of(room)
            self._room = None  # with the next line, before the smaller one is made
            del room
            torch.cuda.empty_cache()
            self._room = Room.make(*sizes, setting.shape, self.device)
        return None

    def do(self, work: Callable[[Setting, Room], T]) -> T:
        """Result of some work, begun again as often as memory runs out."""
        while (found := self.attempt(work)) is None:
            pass
        return found

    def _half_of(self, room: Room) -> tuple[int, int, int]:
        """Half of everything; the device's own error where that is too little."""
        most = room.most_blocks // 2
        if most < _FEWEST_BLOCKS:
            raise torch.OutOfMemoryError(
                f"{_FEWEST_BLOCKS} blocks of rows do not fit in {self.memory}; free some of it"
            )
        self.note(f"out of {self.memory}: windows of {most:,} blocks from then on")
        return max(len(room.verdicts.kept) // 2, 1), len(room.reports.listed) // 2, most


@contextmanager
def _at_work(device: torch.device) -> Iterator[None]:
    """The calling thread's kernels run on this device.

    Triton's interpreter keeps the program that is running, and the language that it replaced, in
    objects that all threads share. There one thread works at a time.
    """
    with torch.cuda.device(device) if device.type == "cuda" else _INTERPRETER:
        yield


def _attempt(work: Callable[[Setting, Room], T], setting: Setting, room: Room) -> T | None:
    """Result of some work; None where device memory ran out.

    A function of its own, so that what it held is free again once the error is gone.
    """
    try:
        return work(setting, room)
    except torch.OutOfMemoryError:
        return None


def cluster_elements(
    elements: dict[int, Element],
    gpus: list[Gpu],
    team: Team,
    *,
    block: int,
    keep: Callable[[int, Clustered], None],
) -> None:
    """DBSCAN in some elements.

    Parameters
    ----------
    elements : dict of int to Element
        By their numbers. With one device they are worked on in this order.
    gpus : list of Gpu
    team : Team
        Its flag stops the work early.
    block : int
        Rows of a block.
    keep : callable
        Given each element's number and result, in any order, by one thread at a time.
    """
    tiles = sum(_n_blocks(element, block) ** 2 for element in elements.values())
    n_gpus = min(max(tiles // _WORTH, 1), len(gpus))
    queue = _Queue(elements, n_gpus, block, keep, team.stop)
    if n_gpus == 1:
        queue.work(gpus[0])
        return
    with Team(n_gpus) as crew:
        crew.stop = team.stop
        crew.each(lambda at: queue.work(gpus[at]))


def _n_blocks(element: Element, block: int) -> int:
    return -(-len(element.ids) // block)


@dataclass
class _Large:
    """An element whose second round is shared out."""

    at: int
    begun: Begun
    n_parts: int
    parts: list[Part] = field(default_factory=list)


_Job = Callable[[Gpu], None]


class _Queue:
    """Elements and parts that wait for a device."""

    def __init__(
        self,
        elements: dict[int, Element],
        n_gpus: int,
        block: int,
        keep: Callable[[int, Clustered], None],
        stop: NDArray[np.int64],
    ) -> None:
        self.elements, self.n_gpus, self.keep, self.stop = elements, n_gpus, keep, stop
        self.blocks = {at: _n_blocks(element, block) for at, element in elements.items()}
        self.n_tiles = sum(n * n for n in self.blocks.values())
        several = n_gpus > 1
        # One device goes through them in the order they came in.
        order = sorted(elements, key=lambda at: -self.blocks[at] * several)
        large = {at for at in order if several and self._is_large(at, block)}
        self.large = deque(at for at in order if at in large)
        self.small = deque(at for at in order if at not in large)
        self.parts: deque[_Job] = deque()
        self.n_open = 0
        """Large elements that are begun and not finished: there may be more parts to come."""
        self.changed = threading.Condition()

    def _is_large(self, at: int, block: int) -> bool:
        """Whether others would be done while one device still worked on this element."""
        more = 2 * self.n_gpus * self.blocks[at] ** 2 > self.n_tiles
        return more and can_be_shared(len(self.elements[at].ids), block)

    def work(self, gpu: Gpu) -> None:
        """Do what there is to do, until there will be no more."""
        while (job := self._next()) is not None:
            job(gpu)

    def _next(self) -> _Job | None:
        with self.changed:
            while not self.stop[0]:
                if self.parts:
                    return self.parts.popleft()
                if self.large:
                    self.n_open += 1
                    return partial(self._begin, self.large.popleft())
                if self.small:
                    return self._group
                if not self.n_open:
                    return None
                self.changed.wait(0.1)  # to see the flag, should nobody tell
        return None

    def _group(self, gpu: Gpu) -> None:
        """Some small elements, as many as fit a window together."""
        _, room = gpu.opened()
        with self.changed:
            some = self._take(room.most_blocks)
        del room  # it may have to be made smaller
        if not some:
            return
        chosen = [self.elements[at] for at in some]
        found = gpu.attempt(lambda setting, room: cluster_group(setting, chosen, room))
        if found is None:
            with self.changed:
                self.small.extendleft(reversed(some))
            return
        gpu.done.elements += len(some)
        self._keep(some, found)

    def _take(self, most_blocks: int) -> list[int]:
        """The next small elements: one at least, and no more than a fair share of all tiles."""
        most_tiles = self.n_tiles if self.n_gpus == 1 else self.n_tiles / (_GROUPS * self.n_gpus)
        some: list[int] = []
        n_blocks = n_tiles = 0
        while self.small:
            own = self.blocks[self.small[0]]
            n_blocks, n_tiles = n_blocks + own, n_tiles + own * own
            if some and (n_blocks > most_blocks or n_tiles > most_tiles):
                break
            some.append(self.small.popleft())
        return some

    def _begin(self, at: int, gpu: Gpu) -> None:
        """The first round of a large element, which makes parts for everybody."""
        element = self.elements[at]
        begun = gpu.do(lambda setting, room: begin(setting, element, room))
        dealt = deal_rows(begun.n_blocks, self.n_gpus)
        large = _Large(at, begun, len(dealt))
        with self.changed:
            self.parts.extend(partial(self._part, large, rows) for rows in dealt)
            self.changed.notify_all()

    def _part(self, large: _Large, rows: NDArray[np.int64], gpu: Gpu) -> None:
        """A part of a large element's second round; the last one to be done makes the labels."""
        part = gpu.do(lambda setting, room: scan_part(setting, large.begun, rows, room))
        with self.changed:
            gpu.done.parts += 1
            large.parts.append(part)
            if len(large.parts) < large.n_parts:
                return
        found = gpu.do(lambda setting, _: finish(setting, large.begun, large.parts))
        self._keep([large.at], found)
        with self.changed:
            self.n_open -= 1
            self.changed.notify_all()

    def _keep(self, some: list[int], found: GroupResult) -> None:
        """Hand on results, unless the work was stopped halfway."""
        counters = found.counters
        with self.changed:
            if self.stop[0]:
                return
            for at, labels, core in zip(some, found.labels, found.core, strict=True):
                n_clusters = int(labels.max(initial=-1)) + 1
                self.keep(at, Clustered(labels, core, n_clusters, counters))
                counters = dict.fromkeys(COUNTERS, 0)  # the group's, once
