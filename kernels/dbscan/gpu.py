"""Report judged pairs: degrees, joins, pairs that wait, and the list of undecided ones.

A program takes a strip of a judged tile, all its columns and a few of its rows. It does all of
that or nothing: where the list of undecided pairs has no room for its own, it names itself, to be
run again from the same verdicts when the list has been worked off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from topoact_gpu.kernels.forest.gpu import Forest, find, unite
from topoact_gpu.kernels.product.gpu import Judged

__all__ = ["Reported", "Reports", "ahead", "empty_reports", "report_strips", "strips_of"]

_ROWS = 8
"""Rows of a strip."""
_REGISTERS = 96
"""At most: left to itself the assembler takes fewer and spills."""


class Reports(NamedTuple):
    """What strips write to, beside the forest."""

    listed: torch.Tensor
    """int32[capacity, 2]: undecided pairs, as places in the window of rows."""
    again: torch.Tensor
    """int32[n_strips]: strips for which the list had no room."""
    ends: torch.Tensor
    """int64[5]: pairs reserved in the list, where the first reservation that failed began, strips
    to be run again; pairs within eps, and pairs that were settled."""


class Reported(NamedTuple):
    """What a launch left to be done; views of `Reports`, good until the next."""

    undecided: torch.Tensor
    """int32[n, 2]: places of pairs to be decided and reported."""
    again: torch.Tensor
    """int32[n]: strips to be run again when these are."""
    n_inside: int
    n_settled: int


def empty_reports(capacity: int, n_tiles: int, block: int, device: torch.device) -> Reports:
    """Room for ``capacity`` undecided pairs (a strip's at least) and launches of some tiles."""
    capacity, n_strips = max(capacity, _ROWS * block), n_tiles * (block // _ROWS)
    return Reports(
        torch.empty((capacity, 2), dtype=torch.int32, device=device),
        torch.empty(n_strips, dtype=torch.int32, device=device),
        torch.zeros(5, dtype=torch.int64, device=device),
    )


def strips_of(judged: Judged) -> torch.Tensor:
    """All strips of the tiles that were kept, int32[n]."""
    block = judged.table.shape[1]
    n_strips = len(judged.table) * (block // _ROWS)
    return torch.arange(n_strips, dtype=torch.int32, device=judged.table.device)


@triton.jit
def _append(target, end, marked, first, second):
    """Write the marked pairs of a strip to a list, from place ``end`` on."""
    ones = marked.to(tl.int32)
    in_row = tl.sum(ones, 1)
    before = tl.cumsum(in_row, 0) - in_row
    own = target + 2 * end + 2 * (before[:, None] + tl.cumsum(ones, 1) - 1)
    tl.store(own, first[:, None] + 0 * ones, mask=marked)
    tl.store(own + 1, second[None, :] + 0 * ones, mask=marked)


@triton.jit
def _join(parent, slot_i, slot_j, marked, NONE: tl.constexpr):
    """Join both ends of all marked pairs: each root to its smallest partner, until all agree."""
    some_i = tl.max(marked.to(tl.int32), 1) > 0
    some_j = tl.max(marked.to(tl.int32), 0) > 0
    root_i = find(parent, slot_i, some_i)
    root_j = find(parent, slot_j, some_j)
    apart = marked & (root_i[:, None] != root_j[None, :])
    moving = tl.max(tl.max(apart.to(tl.int32), 1), 0)
    while moving > 0:
        partner = tl.min(tl.where(apart, root_j[None, :], NONE), 1)
        unite(parent, root_i, partner, partner < NONE)
        partner = tl.min(tl.where(apart, root_i[:, None], NONE), 0)
        unite(parent, root_j, partner, partner < NONE)
        root_i = find(parent, root_i, some_i)
        root_j = find(parent, root_j, some_j)
        apart = marked & (root_i[:, None] != root_j[None, :])
        moving = tl.max(tl.max(apart.to(tl.int32), 1), 0)


@triton.jit
def _report_inside(
    slot_i, slot_j, inside, degree, parent, pending, n_pending, min_samples, NONE: tl.constexpr
):  # fmt: skip
    """Report all pairs marked ``inside``, as :func:`.forest.gpu.report_pairs` does."""
    count_i = tl.sum(inside.to(tl.int32), 1)
    count_j = tl.sum(inside.to(tl.int32), 0)
    degree_i = tl.atomic_add(degree + slot_i, count_i, mask=count_i > 0) + count_i
    degree_j = tl.atomic_add(degree + slot_j, count_j, mask=count_j > 0) + count_j
    core_i = (count_i > 0) & (degree_i >= min_samples)
    core_j = (count_j > 0) & (degree_j >= min_samples)
    joins = inside & core_i[:, None] & core_j[None, :]
    waits = inside & ((core_i[:, None] & core_j[None, :]) == 0)
    n_waiting = tl.sum(tl.sum(waits.to(tl.int32), 1), 0)
    if n_waiting > 0:
        end = tl.atomic_add(n_pending, n_waiting.to(tl.int64))
        _append(pending, end, waits, slot_i, slot_j)
    _join(parent, slot_i, slot_j, joins, NONE)


@triton.jit
def _report_strip(
    strips, table, kept, slots, known, degree, parent, pending, n_pending, min_samples, listed,
    capacity, again, ends, BLOCK: tl.constexpr, ROWS: tl.constexpr, SECOND: tl.constexpr,
    NONE: tl.constexpr,
):  # fmt: skip
    strip = tl.load(strips + tl.program_id(0))
    tile, start = strip // (BLOCK // ROWS), strip % (BLOCK // ROWS) * ROWS
    row, column = start + tl.arange(0, ROWS), tl.arange(0, BLOCK)
    own = table + tile.to(tl.int64) * BLOCK * BLOCK
    verdict = tl.load(own + row[:, None] * BLOCK + column[None, :])
    # Most strips of sparse data hold nothing.
    if tl.max(tl.max(verdict.to(tl.int32), 1), 0) > 0:
        place_i = tl.load(kept + 2 * tile) * BLOCK + row
        place_j = tl.load(kept + 2 * tile + 1) * BLOCK + column
        some_i, some_j = tl.max(verdict, 1) > 0, tl.max(verdict, 0) > 0
        slot_i = tl.load(slots + place_i, mask=some_i, other=-1)
        slot_j = tl.load(slots + place_j, mask=some_j, other=-1)
        possible = verdict > 0
        if SECOND:  # pairs inside a block of slots were reported in the first round
            possible = possible & ((slot_i // BLOCK)[:, None] != (slot_j // BLOCK)[None, :])
        known_i = tl.load(known + slot_i, mask=some_i, other=-1)
        known_j = tl.load(known + slot_j, mask=some_j, other=-1)
        settled = possible & (known_i[:, None] == known_j[None, :]) & (known_i >= 0)[:, None]
        possible = possible & (settled == 0)
        undecided = possible & (verdict == 2)
        inside = possible & (verdict == 1)
        n_undecided = tl.sum(tl.sum(undecided.to(tl.int32), 1), 0).to(tl.int64)
        n_inside = tl.sum(tl.sum(inside.to(tl.int32), 1), 0)
        fits = n_undecided == 0
        if n_undecided > 0:
            end = tl.atomic_add(ends, n_undecided)
            fits = end + n_undecided <= capacity
            if fits:
                _append(listed, end, undecided, place_i, place_j)
            else:
                tl.atomic_min(ends + 1, end)
                tl.store(again + tl.atomic_add(ends + 2, 1), strip)
        if fits:
            n_settled = tl.sum(tl.sum(settled.to(tl.int32), 1), 0)
            if n_settled > 0:
                tl.atomic_add(ends + 4, n_settled.to(tl.int64))
            if n_inside > 0:
                tl.atomic_add(ends + 3, n_inside.to(tl.int64))
                _report_inside(
                    slot_i, slot_j, inside, degree, parent, pending, n_pending, min_samples, NONE
                )


def report_strips(
    reports: Reports,
    forest: Forest,
    judged: Judged,
    strips: torch.Tensor,
    slots: torch.Tensor,
    known: torch.Tensor,
    *,
    second: bool,
) -> Reported:
    """Report the pairs of some strips of judged tiles.

    Parameters
    ----------
    reports : Reports
    forest : Forest
    judged : Judged
    strips : int32[n]
        See `strips_of`.
    slots : int32[n_places]
        Slot of the row at each place.
    known : int32[n_slots]
        Root of each slot that is known to be core, -1 for the others, as it was before (what is
        so stays so); `forest` changes meanwhile, and is not asked for it.
    second : bool
        Pairs whose slots lie in one block were reported before: leave them out.

    Returns
    -------
    Reported

    Notes
    -----
    Room in the list is reserved: whoever finds none says where its own would have begun, and what
    was reserved before that is complete. Pairs of core rows in one component are left out: they
    can't change anything.
    """
    capacity = len(reports.listed)
    reports.ends.zero_()
    reports.ends[1] = capacity
    if len(strips):
        _report_strip[(len(strips),)](
            strips, judged.table, judged.kept, slots, known, forest.degree, forest.parent,
            forest.pending, forest.n_pending, forest.min_samples, reports.listed, capacity,
            reports.again, reports.ends, BLOCK=judged.table.shape[1], ROWS=_ROWS, SECOND=second,
            NONE=2**31 - 1, maxnreg=_REGISTERS,
        )  # fmt: skip
    reserved, full_at, n_again, n_inside, n_settled = reports.ends.tolist()
    return Reported(
        reports.listed[: min(reserved, full_at)], reports.again[:n_again], n_inside, n_settled
    )


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is launched, for compiling it ahead of time."""
    types = {
        "strips": "*i32", "table": "*i8", "kept": "*i32", "slots": "*i32", "known": "*i32",
        "degree": "*i32", "parent": "*i32", "pending": "*i32", "n_pending": "*i64",
        "min_samples": "i32", "listed": "*i32", "capacity": "i64", "again": "*i32",
        "ends": "*i64",
    }  # fmt: skip
    entries: list[Any] = []
    for second in (False, True):
        constants = {"BLOCK": 128, "ROWS": _ROWS, "SECOND": second, "NONE": 2**31 - 1}
        own = types | dict.fromkeys(constants, "constexpr")
        options = {"maxnreg": _REGISTERS}
        name = f"report strips, round {1 + second}"
        entries.append((name, _report_strip, own, constants, options))
    return entries
