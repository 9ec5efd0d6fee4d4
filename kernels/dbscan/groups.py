"""DBSCAN of many intervals at once on the device: the rounds around the kernels.

1. The rows of each interval are put in spatial order, after a block of rows drawn at random.
2. First round: each block with itself, and the drawn rows with everybody. That finds most core
   rows and joins most of what belongs together.
3. Rows are regrouped by component: tiles whose rows are core and joined are passed over.
4. Second round: all other tiles. Those of a large interval may be shared out to several devices,
   each with a forest of its own; see :mod:`topoact_gpu.kernels.forest.gpu`.

A slot is a row's place in the first round; the forest knows rows by their slots. What a round
scans is a window: packed rows, of which every place knows its slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.kernels.dbscan.gpu import (
    Reports,
    empty_reports,
    report_strips,
    strips_of,
)
from topoact_gpu.kernels.dbscan.schedule import (
    first_round_tiles,
    in_launches,
    later_tiles,
    row_tiles,
    superblocks,
    upper_tiles,
)
from topoact_gpu.kernels.forest.gpu import (
    Forest,
    Share,
    added_to,
    empty_forest,
    forest_on_host,
    grown_from,
    labels_from_forest,
    merge_forests,
    report_pairs,
    roots_of,
)
from topoact_gpu.kernels.order.gpu import split_orders
from topoact_gpu.kernels.pairs.gpu import Limits, Rows, limits_for, within
from topoact_gpu.kernels.product.gpu import (
    Judged,
    Shape,
    Verdicts,
    empty_verdicts,
    judge_tiles,
)
from topoact_gpu.kernels.quantise.gpu import HALF, Packed, pack_rows

__all__ = [
    "COUNTERS",
    "Begun",
    "Element",
    "GroupResult",
    "Part",
    "Room",
    "RowSource",
    "Setting",
    "begin",
    "can_be_shared",
    "cluster_group",
    "finish",
    "scan_part",
]

COUNTERS = ("tested", "settled", "undecided", "within", "tiles", "settled_tiles", "coarse_tiles")
_TWO_ROUNDS = 16
"""Blocks from which on an interval is worth a first round."""
_N_AXES = 8


class RowSource(Protocol):
    """Where rows come from: device memory, or the host's, a window at a time."""

    n_cols: int
    device: torch.device

    def rows(self, ids: torch.Tensor) -> Rows:
        """Rows whose place p holds row ids[p] of the table; below 0: none."""


@dataclass(frozen=True)
class Setting:
    """What all intervals of a run share."""

    source: RowSource
    mean: torch.Tensor
    """float64[n_cols], of rows times ``unit``."""
    unit: torch.Tensor
    """float64[1]"""
    basis: torch.Tensor
    """float32[n_cols, n_axes]: directions by which rows are ordered."""
    kind: str
    """The product that judges pairs first: INT8 or HALF."""
    half_error: float | None
    """Bound on the error of float16 products, relative to the rows' norms; None: not to be had."""
    min_samples: int
    seed: int = 0
    shape: Shape = field(default_factory=Shape)
    most_open: int = 512
    """Undecided pairs from which on a tile is judged again by float16 products."""
    stop: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    """Where this is not 0 scans end early; nobody wants their results then."""


@dataclass(frozen=True)
class Element:
    """One interval: its rows (ascending), eps as the definition compares it, and in the frame."""

    ids: NDArray[np.int64]
    square: float
    reach: tuple[float, float]


@dataclass(frozen=True)
class Room:
    """Device memory that is set aside."""

    verdicts: Verdicts
    reports: Reports
    most_blocks: int
    """Blocks of rows in a window; two at least."""

    @classmethod
    def make(
        cls, n_tiles: int, n_pairs: int, most_blocks: int, shape: Shape, device: torch.device
    ) -> Room:
        """Room for launches of ``n_tiles`` and lists of ``n_pairs``."""
        return cls(
            empty_verdicts(n_tiles, shape, device),
            empty_reports(n_pairs, n_tiles, shape.block, device),
            most_blocks,
        )


@dataclass(frozen=True)
class GroupResult:
    """Labels and core rows of each interval, in the order of its rows, and what it took."""

    labels: list[NDArray[np.int64]]
    core: list[NDArray[np.bool_]]
    counters: dict[str, int]


@dataclass(frozen=True)
class _Slots:
    """Slots of a group of intervals, whole blocks for each."""

    ids: torch.Tensor
    """int64[n]: row, or -1."""
    group: torch.Tensor
    """int32[n]: interval, or -1."""
    order: torch.Tensor
    """int64[n]: place of the row among those of its interval."""
    blocks: NDArray[np.int64]
    """int64[n_elements + 1]: first block of each interval."""
    two_rounds: NDArray[np.bool_]

    def to(self, device: torch.device) -> _Slots:
        """The same on another device."""
        ids, group, order = (each.to(device) for each in (self.ids, self.group, self.order))
        return _Slots(ids, group, order, self.blocks, self.two_rounds)


@dataclass(frozen=True)
class Begun:
    """A large interval after its first round, in host memory: what parts of the second need."""

    element: Element
    slots: _Slots
    forest: Forest
    places: torch.Tensor
    """int32[n]: slots of the second round."""
    n_blocks: int
    """Of these slots."""
    counters: dict[str, int]


@dataclass(frozen=True)
class Part:
    """What some block rows of a second round gave, in host memory."""

    share: Share
    counters: dict[str, int]


@dataclass(frozen=True)
class _Window:
    """Packed rows; tiles speak of its blocks."""

    slots: torch.Tensor
    """int32[n_places], -1 for none."""
    rows: Rows
    limits: Limits
    packed: Packed
    reach: torch.Tensor


def cluster_group(setting: Setting, elements: list[Element], room: Room) -> GroupResult:
    """DBSCAN of some intervals, together.

    Parameters
    ----------
    setting : Setting
    elements : list of Element
        None of them empty. Where they need more blocks than fit a window, there must be only one.
    room : Room
    """
    group = _Group(setting, elements, room)
    group.first_round()
    group.second_round()
    return _result(group.forest, group.slots, elements, group.counters)


def can_be_shared(n_rows: int, block: int) -> bool:
    """Whether an interval is large enough for `begin`."""
    return -(-n_rows // block) >= _TWO_ROUNDS


def begin(setting: Setting, element: Element, room: Room) -> Begun:
    """The first round of an interval whose second is shared out.

    Parameters
    ----------
    setting : Setting
    element : Element
        One that `can_be_shared`.
    room : Room

    Returns
    -------
    Begun
        For `scan_part` and `finish`, on any devices.
    """
    return _Group(setting, [element], room).begun()


def scan_part(setting: Setting, begun: Begun, rows: NDArray[np.int64], room: Room) -> Part:
    """Tiles (i, j), i <= j, of the second round.

    Parameters
    ----------
    setting : Setting
        With the same rows and ``min_samples`` as when the interval was begun.
    begun : Begun
    rows : int64[n]
        Block rows i of this part, ascending; those of all parts together are
        0 .. begun.n_blocks - 1, each once.
    room : Room
        What fits a window may differ from part to part.
    """
    return _Group(setting, [begun.element], room, begun).part(begun, rows)


def finish(setting: Setting, begun: Begun, parts: list[Part]) -> GroupResult:
    """Labels of an interval of which all parts of the second round are done."""
    device = setting.source.device
    forest = merge_forests(begun.forest, [part.share for part in parts], device)
    every = [begun.counters, *(part.counters for part in parts)]
    counters = {name: sum(each[name] for each in every) for name in COUNTERS}
    return _result(forest, begun.slots.to(device), [begun.element], counters)


class _Group:
    """Some intervals being worked on."""

    def __init__(
        self,
        setting: Setting,
        elements: list[Element],
        room: Room,
        begun: Begun | None = None,
    ) -> None:
        self.setting, self.elements, self.room = setting, elements, room
        self.device, self.block = setting.source.device, setting.shape.block
        self.counters = dict.fromkeys(COUNTERS, 0)
        most = max(len(element.ids) for element in elements) - 1
        if begun is None:
            self.slots = self._make_slots()
            n_slots = len(self.slots.ids)
            self.forest = empty_forest(n_slots, setting.min_samples, most, self.device)
        else:
            self.slots = begun.slots.to(self.device)
            self.forest = grown_from(begun.forest, most, self.device)
        reaches = torch.tensor([element.reach for element in elements], dtype=torch.float64)
        self.reaches = reaches.T.contiguous().to(self.device)
        self.squares = [element.square for element in elements]

    def first_round(self) -> None:
        """What finds most core rows; all of an interval that is not worth two rounds."""
        every = torch.arange(len(self.slots.ids), dtype=torch.int32, device=self.device)
        every[self.slots.group < 0] = -1
        if len(self._blocks(every)) <= self.room.most_blocks:
            self._scan(every, self._first_tiles(), second=False)
        else:
            self._first_in_parts(every)

    def second_round(self) -> None:
        """What is left."""
        if not self.slots.two_rounds.any():
            return
        places, firsts = self._regrouped()
        blocks = self._blocks(places)
        if len(blocks) > self.room.most_blocks:
            self._in_parts(blocks, np.arange(len(blocks)))
            return
        every = (
            tiles
            for first, end in pairwise(firsts.tolist())
            for tiles in upper_tiles(first, end - first)
        )
        self._scan(places, every, second=True)

    def begun(self) -> Begun:
        """The first round, for others to go on from."""
        self.first_round()
        places = self._regrouped()[0].cpu()
        n_blocks, host = len(self._blocks(places)), self.slots.to(torch.device("cpu"))
        forest = forest_on_host(self.forest)
        return Begun(self.elements[0], host, forest, places, n_blocks, self.counters)

    def part(self, begun: Begun, rows: NDArray[np.int64]) -> Part:
        """Some block rows of the second round."""
        places = begun.places.to(self.device)
        if begun.n_blocks > self.room.most_blocks:
            self._in_parts(self._blocks(places), rows)
        else:
            self._scan(places, row_tiles(rows, begun.n_blocks), second=True)
        return Part(added_to(begun.forest, self.forest), self.counters)

    def _blocks(self, slots: torch.Tensor) -> torch.Tensor:
        return slots.view(-1, self.block)

    # Slots and windows

    def _make_slots(self) -> _Slots:
        sizes = np.array([len(element.ids) for element in self.elements], np.int64)
        n_blocks = -(-sizes // self.block)
        # What no window holds whole has its second round in parts.
        two_rounds = n_blocks >= min(_TWO_ROUNDS, self.room.most_blocks + 1)
        order = self._spatial_order(sizes, two_rounds)
        group = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(self.device)
        starts = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])).to(self.device)
        blocks = np.concatenate([[0], np.cumsum(n_blocks)])
        first_slots = torch.from_numpy(blocks[:-1] * self.block).to(self.device)
        places = first_slots[group] + torch.arange(len(group), device=self.device) - starts[group]
        n_slots = int(blocks[-1]) * self.block
        ids = torch.full((n_slots,), -1, dtype=torch.int64, device=self.device)
        ids[places] = self._ids()[order]
        groups = torch.full((n_slots,), -1, dtype=torch.int32, device=self.device)
        groups[places] = group.to(torch.int32)
        orders = torch.zeros(n_slots, dtype=torch.int64, device=self.device)
        orders[places] = order - starts[group]
        return _Slots(ids, groups, orders, blocks, two_rounds)

    def _ids(self) -> torch.Tensor:
        ids = np.concatenate([element.ids for element in self.elements])
        return torch.from_numpy(ids).to(self.device)

    def _spatial_order(
        self, sizes: NDArray[np.int64], two_rounds: NDArray[np.bool_]
    ) -> torch.Tensor:
        """Order of the rows of each interval: a random block where it pays, then neighbours."""
        order = split_orders(self._coordinates(), sizes, self.block)
        generator = np.random.default_rng(self.setting.seed)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        for element in np.flatnonzero(two_rounds):
            own = order[starts[element] : starts[element + 1]].clone()
            drawn = np.zeros(len(own), np.bool_)
            drawn[generator.choice(len(own), self.block, replace=False)] = True
            mask = torch.from_numpy(drawn).to(self.device)
            order[starts[element] : starts[element + 1]] = torch.cat([own[mask], own[~mask]])
        return order

    def _coordinates(self) -> torch.Tensor:
        """Leading components of all rows, float32[n, n_axes]; a piece at a time."""
        setting, ids = self.setting, self._ids()
        basis = setting.basis[:, :_N_AXES]
        out = torch.empty((len(ids), basis.shape[1]), dtype=torch.float32, device=self.device)
        step = max(2**26 // setting.source.n_cols, 1)
        for low in range(0, len(ids), step):
            rows = setting.source.rows(ids[low : low + step])
            x = rows.x[rows.row_of].to(torch.float64)
            if rows.norms is not None:
                x /= rows.norms[rows.row_of][:, None]
            z = (x * setting.unit - setting.mean).to(torch.float32)
            out[low : low + step] = z @ basis
        return out

    def _window(self, slots: torch.Tensor, kind: str) -> _Window:
        """Pack the rows of some slots, whole blocks of one interval each."""
        setting, live = self.setting, slots >= 0
        at = slots.clamp(min=0).long()
        group = torch.where(live, self.slots.group[at], 0)
        rows = setting.source.rows(torch.where(live, self.slots.ids[at], -1))
        limits = limits_for(self.squares, group, rows.x, normed=rows.norms is not None)
        reach = self.reaches[:, group.long()]
        return _Window(slots, rows, limits, self._pack(rows, reach, kind), reach)

    def _pack(self, rows: Rows, reach: torch.Tensor, kind: str) -> Packed:
        setting = self.setting
        error = 0.0
        if kind == HALF:
            assert setting.half_error is not None
            error = setting.half_error
        return pack_rows(
            kind, rows.x, rows.row_of, mean=setting.mean, unit=setting.unit, norms=rows.norms,
            reach=reach, block=self.block, product_error=error,
        )  # fmt: skip

    # Rounds

    def _first_tiles(self) -> Iterator[NDArray[np.int32]]:
        blocks = self.slots.blocks.tolist()
        for element, two_rounds in enumerate(self.slots.two_rounds):
            first, n_blocks = blocks[element], blocks[element + 1] - blocks[element]
            yield from (first_round_tiles if two_rounds else upper_tiles)(first, n_blocks)

    def _first_in_parts(self, every: torch.Tensor) -> None:
        """The first round of one large interval: its drawn rows with some of the others."""
        blocks = self._blocks(every)
        for low, high in superblocks(len(blocks) - 1, self.room.most_blocks - 1):
            slots = torch.cat([blocks[0], blocks[low + 1 : high + 1].reshape(-1)])
            tiles = first_round_tiles(0, high - low + 1, again=low > 0)
            self._scan(slots, tiles, second=False)

    def _regrouped(self) -> tuple[torch.Tensor, NDArray[np.int64]]:
        """Slots of the second round, rows of one component together, and first blocks.

        The drawn rows have met everybody. Components of a block or more come last, one after
        another; the rest stays in spatial order.
        """
        key = self._known_roots().long()
        sizes = torch.bincount(key[key >= 0], minlength=len(key))
        key[sizes[key] < self.block] = -1
        parts, blocks = [], [0]
        for element in np.flatnonzero(self.slots.two_rounds):
            low, high = self.slots.blocks[element : element + 2] * self.block
            own = torch.arange(low + self.block, high, device=self.device)
            own = own[self.slots.group[own] >= 0]
            own = own[torch.argsort(key[own], stable=True)].to(torch.int32)
            n_blocks = -(-len(own) // self.block)
            padding = own.new_full((n_blocks * self.block - len(own),), -1)
            parts += [own, padding]
            blocks.append(blocks[-1] + n_blocks)
        return torch.cat(parts), np.array(blocks)

    def _known_roots(self) -> torch.Tensor:
        """Root of each slot that is known to be core, else -1; int32[n_slots]."""
        forest = self.forest
        core = (forest.degree >= forest.min_samples) & (self.slots.group >= 0)
        return torch.where(core, roots_of(forest.parent), -1)

    def _in_parts(self, blocks: torch.Tensor, rows: NDArray[np.int64]) -> None:
        """Block rows of one large interval's second round: some at a time, with all after them."""
        most = self.room.most_blocks // 2
        for low, high in superblocks(len(rows), most):
            own = rows[low:high]
            self._scan(blocks[own].reshape(-1), upper_tiles(0, len(own)), second=True)
            others = np.setdiff1d(np.arange(own[0] + 1, len(blocks)), own)
            for start, end in superblocks(len(others), self.room.most_blocks - len(own)):
                columns = others[start:end]
                slots = blocks[np.concatenate([own, columns])].reshape(-1)
                self._scan(slots, later_tiles(own, columns), second=True)

    def _scan(
        self, slots: torch.Tensor, tiles: Iterable[NDArray[np.int32]], *, second: bool
    ) -> None:
        """Scan tiles of a window that holds all of their rows."""
        window = self._window(slots, self.setting.kind)
        finer: Packed | None = None
        for some in in_launches(tiles, len(self.room.verdicts.kept)):
            if self.setting.stop[0]:
                return
            launch = torch.from_numpy(some).to(self.device)
            known = self._known_roots()
            open_ = self._most_open(window.packed.kind)
            coarse = self._judge(window, window.packed, launch, known, open_, second=second)
            if len(coarse):
                if finer is None:
                    finer = self._pack(window.rows, window.reach, HALF)
                self.counters["coarse_tiles"] += len(coarse)
                self._judge(window, finer, coarse, known, 2**31 - 1, second=second)

    def _most_open(self, kind: str) -> int:
        """Undecided pairs from which on a finer product is worth its while, if there is one."""
        finer = kind != HALF and self.setting.half_error is not None
        return self.setting.most_open if finer else 2**31 - 1

    def _block_roots(self, slots: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Root of each block of the window whose rows are all core and joined, else -1."""
        own = torch.where(slots >= 0, known[slots.clamp(min=0).long()], -1).view(-1, self.block)
        # Where there is no row, anything agrees.
        some = torch.where((slots >= 0).view(-1, self.block), own, own.amax(1, keepdim=True))
        return torch.where(some.amin(1) == some.amax(1), some.amin(1), -1)

    def _judge(
        self,
        window: _Window,
        packed: Packed,
        tiles: torch.Tensor,
        known: torch.Tensor,
        most_open: int,
        *,
        second: bool,
    ) -> torch.Tensor:
        """Judge and report tiles; those put off for a finer product are returned."""
        n_cols = self.setting.source.n_cols
        roots = self._block_roots(window.slots, known)
        judged = judge_tiles(
            self.room.verdicts, packed, tiles, roots, n_cols=n_cols, most_open=most_open
        )
        coarse = judged.coarse.clone()
        pairs = self.block * self.block
        self.counters["tiles"] += len(tiles) - judged.n_settled
        self.counters["settled_tiles"] += judged.n_settled
        self.counters["tested"] += (len(tiles) - judged.n_settled) * pairs
        self._report(window, judged, known, second=second)
        return coarse

    def _report(
        self, window: _Window, judged: Judged, known: torch.Tensor, *, second: bool
    ) -> None:
        strips = strips_of(judged)
        while len(strips):
            reported = report_strips(
                self.room.reports, self.forest, judged, strips, window.slots, known, second=second
            )
            strips = reported.again.clone()
            undecided = reported.undecided
            inside = undecided[within(window.rows, window.limits, undecided)]
            report_pairs(self.forest, window.slots[inside.long()])
            self.counters["settled"] += reported.n_settled
            self.counters["undecided"] += len(undecided)
            self.counters["within"] += reported.n_inside + len(inside)
            if len(strips):
                known = self._known_roots()


def _result(
    forest: Forest, slots: _Slots, elements: list[Element], counters: dict[str, int]
) -> GroupResult:
    """Labels and core rows of each interval, in the order of its rows."""
    labels, core = labels_from_forest(forest, slots.group, slots.order)
    blocks = slots.blocks * (len(slots.ids) // int(slots.blocks[-1]))
    all_labels, all_core = [], []
    for low, high, element in zip(blocks[:-1], blocks[1:], elements, strict=True):
        live = slots.group[low:high] >= 0
        places = slots.order[low:high][live]
        own = torch.empty(len(element.ids), dtype=torch.int64, device=labels.device)
        cores = torch.empty(len(element.ids), dtype=torch.bool, device=labels.device)
        own[places] = labels[low:high][live]
        cores[places] = core[low:high][live]
        all_labels.append(own.cpu().numpy())
        all_core.append(cores.cpu().numpy())
    return GroupResult(all_labels, all_core, counters)
