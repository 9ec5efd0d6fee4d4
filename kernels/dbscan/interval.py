"""DBSCAN of one set of rows: the phases around the scanning kernel.

1. Order rows in space (k-d splits on a few principal components).
2. Report the pairs inside each block of 192 neighbours: most core rows show up here.
3. Report all pairs of a few hubs (the blocks' best-connected rows): they join the blocks.
4. Put the largest component last. Its rows are core and joined: pairs among them are done.
5. Report what remains: everything else against itself, then against that component.

Only int8 panels of two *superblocks* of rows are in memory at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError
from topoact_gpu.kernels.compiled import kernel
from topoact_gpu.kernels.dbscan.cpu import scan_positions
from topoact_gpu.kernels.dbscan.forest import (
    Forest,
    empty_forest,
    find,
    found,
    labels_from_forest,
    settled,
)
from topoact_gpu.kernels.dbscan.packing import Packer, Problem, Window
from topoact_gpu.kernels.dbscan.plan import Plan, best_plan, probe_prefix
from topoact_gpu.kernels.dbscan.tiles import (
    CHUNK_ROWS,
    COUNTERS,
    Scan,
    empty_scratch,
)
from topoact_gpu.kernels.order.cpu import split_order
from topoact_gpu.kernels.pairs.cpu import within
from topoact_gpu.kernels.product.cpu import (
    BLOCK_ROWS,
    FLOAT32,
    PANEL_ROWS,
    Coding,
    padded_words,
    products_of,
)
from topoact_gpu.kernels.quantise.panels import Panels, permute_panels

__all__ = ["TINY", "Clustered", "PanelRun", "Problem", "Rectangle", "cluster_rows"]

BLOCK_PANELS = CHUNK_ROWS // PANEL_ROWS
_MOST_ROWS = 2**31 - 1
"""Rows of an interval are numbered in int32."""
TINY = 64
"""At most this many rows are compared directly."""
_N_HUBS = CHUNK_ROWS
_N_PROBES = 6
"""Left blocks, and panels, of which all tiles are tried."""
_HUBS_SHARE = 0.4
"""Hubs are worth their pairs when this share of the rows is known to be core."""
_REGROUP_SHARE = 0.1


@dataclass(frozen=True)
class Clustered:
    """Labels of one interval and what finding them took."""

    labels: NDArray[np.int64]
    core: NDArray[np.bool_]
    n_clusters: int
    counters: dict[str, int]


def cluster_rows(
    problem: Problem, ids: NDArray[np.int64], team: Team, window: Window | None = None
) -> Clustered:
    """DBSCAN labels of rows ``ids``, by all threads of ``team`` together.

    Parameters
    ----------
    problem : Problem
    ids : int64[n]
        Places of the rows in the problem's table, in the order of their row numbers.
    team : Team
    window : Window, optional
        Brings rows into the table; ``ids`` then says only how many there are.
    """
    if len(ids) > _MOST_ROWS:
        raise CapacityError(
            f"one interval may have at most {_MOST_ROWS:,} rows, got {len(ids):,}; "
            "use more intervals"
        )
    forest = empty_forest(len(ids), problem.min_samples)
    if len(ids) <= TINY:
        ids = ids if window is None else window.load(np.arange(len(ids), dtype=np.int32), 2)
        _all_pairs(problem.table, problem.limits, forest, ids)
        n_pairs = len(ids) * (len(ids) - 1) // 2
        counters = dict.fromkeys(COUNTERS, 0) | {"tested": n_pairs, "undecided": n_pairs}
    else:
        run = PanelRun(problem, ids, forest, team, window)
        run.everything()
        counters = dict(zip(COUNTERS, run.counters.sum(0).tolist(), strict=True))
    labels, n_clusters = labels_from_forest(forest)
    return Clustered(labels, forest.degree >= problem.min_samples, n_clusters, counters)


class Rectangle(NamedTuple):
    """Open rows of one superblock against some panels of another."""

    span: tuple[int, int]
    other: tuple[int, int]
    panels: tuple[int, int]
    beyond: bool
    """The panels lie in the largest component."""

    @property
    def n_pairs(self) -> int:
        """Roughly the pairs it holds."""
        return (self.span[1] - self.span[0]) * (self.panels[1] - self.panels[0]) * PANEL_ROWS


@kernel
def _all_pairs(table, limits, forest, ids):  # type: ignore[no-untyped-def]
    for i in range(ids.size):
        for j in range(i + 1, ids.size):
            if settled(forest, np.int32(i), np.int32(j)):
                continue
            if within(table, limits, ids[i], ids[j]):
                found(forest, np.int32(i), np.int32(j))


@kernel
def _fill_roots(forest, roots):  # type: ignore[no-untyped-def]
    for row in range(roots.size):
        if forest.degree[row] >= forest.min_samples:
            roots[row] = find(forest.parent, np.int32(row))


def _core_roots(forest: Forest) -> NDArray[np.int32]:
    """Root of each core row known so far, -1 for the others."""
    roots = np.full(len(forest.degree), -1, np.int32)
    _fill_roots(forest, roots)
    return roots


def _best_connected(
    order: NDArray[np.int32], degree: NDArray[np.int32], block_rows: int, n_wanted: int
) -> NDArray[np.int32]:
    """About ``n_wanted`` rows, ascending: those of highest degree in each block of the order."""
    n_blocks = -(-len(order) // block_rows)
    per_block, step = max(n_wanted // n_blocks, 1), max(n_blocks / n_wanted, 1.0)
    blocks = np.arange(0.0, n_blocks, step).astype(np.int64)
    places = blocks[:, None] * block_rows + np.arange(block_rows)
    degrees = np.where(places < len(order), degree[order[places.clip(max=len(order) - 1)]], -1)
    best = np.argpartition(-degrees, per_block - 1, axis=1)[:, :per_block]
    chosen = np.take_along_axis(places, best, axis=1).ravel()
    return np.sort(order[chosen[chosen < len(order)]])


def _acceptance_slack(coding: Coding, n_cols: int) -> float:
    """Error of an estimated squared distance, relative to the rows' squared norms.

    For floats that of the products, and of squares taken of rounded rows.
    """
    return (2 * n_cols + 64) * 2.0**-24 if coding.kind == FLOAT32 else 2.0**-45


@dataclass
class PanelRun:
    """One interval being worked on."""

    problem: Problem
    ids: NDArray[np.int64]
    forest: Forest
    team: Team
    window: Window | None = None

    def __post_init__(self) -> None:
        frame, n_rows, n_cols = self.problem.frame, len(self.ids), self.problem.table.n_cols
        self.coding, n_stages = self.problem.coding, len(frame.ends)
        self.multiply = products_of(self.coding.kind)
        self.slack = _acceptance_slack(self.coding, n_cols)
        self.packer = Packer(self.problem, self.ids, self.team, self.window)
        words = padded_words(n_cols, self.coding.columns), int(self.packer.words(frame.ends)[-1])
        threads = range(self.team.n_threads)
        self.counters = np.zeros((len(threads), len(COUNTERS)), np.int64)
        self.scratch = [empty_scratch(self.coding.kind, *words, n_stages) for _ in threads]
        self.sampled = np.zeros(n_rows, np.uint8)
        self.no_plan = Plan(0, np.zeros(n_stages, np.bool_), 0)
        self.ends = frame.ends[:1]
        self.packed: dict[tuple[int, int], Panels] = {}
        self.slots: dict[tuple[int, int], int] = {}
        self.block_of = np.empty(n_rows, np.int32)
        self.order = np.empty(0, np.int32)

    def _bring_in_order(self) -> None:
        """Rows in spatial order; where they all fit in one superblock they are packed as well."""
        n_rows = len(self.ids)
        if self.window is None and n_rows <= self.problem.superblock_rows:
            panels, coordinates = self.packer.everything()
        else:
            panels, coordinates = None, self.packer.coordinates()
        self.order = split_order(coordinates, PANEL_ROWS, BLOCK_ROWS)
        self.block_of[self.order] = np.arange(n_rows) // CHUNK_ROWS
        if panels is not None:
            panels = permute_panels(panels, self.order.astype(np.int64), self.problem.table.n_cols)
            panels.block[:] = self.block_of[self.order]
            self.packed[(0, n_rows)] = panels

    def everything(self) -> None:
        """All phases."""
        self.report_rest(self.begin())

    def begin(self) -> int:
        """The phases before the last; the number of rows before the largest component."""
        self._bring_in_order()
        spans = self._spans()
        for span in spans:
            panels = self._panels(span)
            self._scan(panels, panels, self._positions(span), block_panels=BLOCK_PANELS)
        roots = _core_roots(self.forest)
        if (roots >= 0).mean() >= _HUBS_SHARE:
            self._report_hubs(roots, spans)
        return self._regroup()

    def _spans(self) -> list[tuple[int, int]]:
        step = self.problem.superblock_rows
        n_rows = len(self.order)
        return [(low, min(low + step, n_rows)) for low in range(0, n_rows, step)]

    def _positions(self, span: tuple[int, int]) -> NDArray[np.int32]:
        return np.arange(span[1] - span[0], dtype=np.int32)

    def _panels(self, span: tuple[int, int]) -> Panels:
        """Packed rows order[span]; the two superblocks used last are kept."""
        panels = self.packed.pop(span, None)
        if panels is None:
            while len(self.packed) > 1:
                del self.packed[next(iter(self.packed))]
            # Of the two slots of a window, the one that the superblock still held does not use.
            self.slots[span] = 1 - max((self.slots.get(held, 0) for held in self.packed), default=1)
            panels = self._pack(self.order[span[0] : span[1]], self.slots[span])
        if len(self.ends) > 1 and not len(panels.prefix):
            panels = self.packer.with_prefix(panels, self.ends)
        self.packed[span] = panels
        return panels

    def _pack(self, local: NDArray[np.int32], slot: int = 2) -> Panels:
        panels = self.packer.some(local, slot)
        panels.block[:] = self.block_of[local]
        return panels

    def _scan(
        self,
        left: Panels,
        right: Panels,
        positions: NDArray[np.int32],
        *,
        panel_range: tuple[int, int] | None = None,
        block_panels: int = 0,
        plan: Plan | None = None,
        upper: bool = True,
        skip_block: bool = False,
        sampling: bool = False,
    ) -> None:
        """Run the scanning kernel on all threads."""
        problem = self.problem
        plan = plan or self.no_plan
        scan = Scan(
            self.multiply, self.packer.words(self.ends), plan.n_segments, plan.checks, plan.few,
            problem.reach_low, self.slack, upper, skip_block, self.sampled, sampling,
        )
        if panel_range is None:
            panel_range = (0, -(-len(right.rows) // PANEL_ROWS))
        next_chunk = np.zeros(1, np.int64)

        def work(thread: int) -> None:
            scan_positions(
                problem.table, problem.limits, self.forest, scan, left, right,
                positions, panel_range, block_panels, next_chunk, self.scratch[thread],
                self.counters[thread], self.team.stop,
            )

        self.team.each(work)

    def _report_hubs(self, roots: NDArray[np.int32], spans: list[tuple[int, int]]) -> None:
        """All pairs of the best-connected rows, spread over the blocks."""
        hubs = _best_connected(self.order, self.forest.degree, CHUNK_ROWS, _N_HUBS)
        hubs = hubs[roots[hubs] >= 0]
        self.sampled[hubs] = 1
        left = self._pack(hubs)
        positions = np.arange(len(hubs), dtype=np.int32)
        for span in reversed(spans):
            right = self._panels(span)
            self._scan(left, right, positions, upper=False, skip_block=True, sampling=True)

    def _regroup(self) -> int:
        """Put the largest component last when that pays; the number of rows before it."""
        n_rows = len(self.ids)
        roots = _core_roots(self.forest)
        known = roots[roots >= 0]
        if not len(known):
            return n_rows
        sizes = np.bincount(known, minlength=1)
        giant = int(sizes.argmax())
        if sizes[giant] < _REGROUP_SHARE * n_rows:
            return n_rows
        kept = np.flatnonzero(self.sampled[self.order] == 0)
        inside = roots[self.order[kept]] == giant
        positions = np.concatenate([kept[~inside], kept[inside]])
        whole = self.packed.get((0, n_rows))
        self.order = self.order[positions]
        self.packed.clear()
        if whole is not None:
            n_cols = self.problem.table.n_cols
            self.packed[(0, len(positions))] = permute_panels(whole, positions, n_cols)
        return int((~inside).sum())

    def rectangles(self, n_open: int) -> list[Rectangle]:
        """What the last phase has to scan: pairs of superblocks, before and in the component."""
        n_panels, spans = -(-n_open // PANEL_ROWS), self._spans()
        found = []
        for beyond in (False, True):
            for at, span in enumerate(spans):
                for other in spans[at:]:
                    first = max(n_panels - other[0] // PANEL_ROWS, 0)
                    last = -(-(other[1] - other[0]) // PANEL_ROWS)
                    panels = (first, last) if beyond else (0, min(first, last))
                    if panels[0] < panels[1]:
                        found.append(Rectangle(span, other, panels, beyond))
        return found

    def report_rest(self, n_open: int, some: list[Rectangle] | None = None) -> None:
        """Rows order[:n_open] against themselves, then against all that follow; or some of it."""
        plans = [self._plan(0, n_open, n_open), self._plan(n_open, len(self.order), n_open)]
        n_segments = max(plan.n_segments for plan in plans)
        self.ends = self.problem.frame.ends[: n_segments + 1]
        for span, other, panels, beyond in self.rectangles(n_open) if some is None else some:
            positions = self._open_positions(span, n_open, beyond)
            if len(positions):
                self._scan(
                    self._panels(span), self._panels(other), positions,
                    panel_range=panels, upper=span == other, skip_block=True, plan=plans[beyond],
                )

    def _open_positions(
        self, span: tuple[int, int], n_open: int, beyond: bool
    ) -> NDArray[np.int32]:
        """Positions in a superblock of rows whose pairs are still to be reported.

        Against the largest component (``beyond``) rows that joined it meanwhile drop out.
        """
        local = self.order[span[0] : min(span[1], n_open)]
        wanted = self.sampled[local] == 0
        if beyond and len(local):
            roots = _core_roots(self.forest)
            wanted &= roots[local] != roots[self.order[-1]]
        return np.flatnonzero(wanted).astype(np.int32)

    def _plan(self, low: int, high: int, n_open: int) -> Plan:
        """How to use the prefix for rows order[:n_open] against order[low:high]."""
        ends = self.problem.frame.ends
        words = self.packer.words(ends)
        if len(ends) == 1 or n_open < 4 * CHUNK_ROWS or high - low < 4 * CHUNK_ROWS:
            return self.no_plan
        starts = np.linspace(0, n_open - BLOCK_ROWS, _N_PROBES).astype(np.int64)
        left = self.order[(starts[:, None] + np.arange(BLOCK_ROWS)).ravel()]
        starts = np.linspace(low, high - PANEL_ROWS, _N_PROBES).astype(np.int64)
        starts -= starts % PANEL_ROWS
        right = self.order[(starts[:, None] + np.arange(PANEL_ROWS)).ravel()]
        scan = Scan(
            self.multiply, words, len(words) - 1, self.no_plan.checks, 0, 0.0, 0.0, False, False,
            self.sampled, False,
        )
        alive = probe_prefix(
            scan,
            self.packer.with_prefix(self._pack(left), ends),
            self.packer.with_prefix(self._pack(right), ends),
            np.arange(len(left), dtype=np.int32),
            np.arange(_N_PROBES),
            self.scratch[0],
        )
        n_tiles = n_open * (high - low) / (BLOCK_ROWS * PANEL_ROWS)
        per_tile = (n_open + high - low) / n_tiles
        n_cols = self.problem.table.n_cols
        return best_plan(alive, words, n_cols, per_tile, self.coding) or self.no_plan
