"""Degrees, union-find and the pending list on the device: the state of one DBSCAN pass.

Rows are called by their *slots*. Parents only ever fall: a row hangs itself below a smaller one by
an atomic minimum, and what that minimum replaced is united in turn, so that no link is lost
whatever the order of the programs; the root of a component is its smallest slot. A stale read
only costs another step. The same tie and bound rules as :mod:`topoact_gpu.kernels.dbscan.forest`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

__all__ = [
    "Forest",
    "Share",
    "added_to",
    "ahead",
    "empty_forest",
    "find",
    "forest_on_host",
    "grown_from",
    "labels_from_forest",
    "link_pairs",
    "merge_forests",
    "report_pairs",
    "roots_of",
    "unite",
]

_PAIRS = 128


class Forest(NamedTuple):
    """State of the slots 0 .. n - 1."""

    degree: torch.Tensor
    """int32[n], 1 at first: a row is its own neighbour."""
    parent: torch.Tensor
    """int32[n]"""
    pending: torch.Tensor
    """int32[capacity, 2]"""
    n_pending: torch.Tensor
    """int64[1]"""
    min_samples: int


def empty_forest(n_slots: int, min_samples: int, most: int, device: torch.device) -> Forest:
    """Every slot alone; no row has more than ``most`` others in its interval.

    Notes
    -----
    A pair waits on the pending list only if one of its rows had a degree below ``min_samples``
    after the pair was added to it; all pairs that a row is charged with were added before it had
    so many. So a row is charged with at most ``min_samples - 2``, and the list can't overflow.
    """
    per_slot = max(min(min_samples - 2, most), 0)
    return Forest(
        torch.ones(n_slots, dtype=torch.int32, device=device),
        torch.arange(n_slots, dtype=torch.int32, device=device),
        torch.empty((max(n_slots * per_slot, 1), 2), dtype=torch.int32, device=device),
        torch.zeros(1, dtype=torch.int64, device=device),
        min_samples,
    )


# Several forests of the same slots
#
# Pairs that are left after a while may be shared out: each part goes on from a copy of the forest
# as it was then (the base) and reports pairs that no other part reports. `merge_forests` makes of
# all of them a forest with the same labels and core rows as if one had had every pair:
#
# - Degrees. Every pair is counted by the base or by exactly one part, so the base's degrees and
#   what each part added make the degrees of all pairs that were counted, and the row's own 1.
# - Settled pairs. What a part leaves out uncounted had both ends core in that part, and in one
#   component of its parents. Degrees only grow in the sum: both are core in the merged forest,
#   where counting the pair would change nothing, and the part's parents, which are united into
#   the merged ones, join them.
# - Pairs on no list. A pair that was counted and does not wait had both ends core in its part (or
#   in the base, from which all parents come) and was united there.
# - Pairs that wait. The merged list holds those of the base once and those of each part.
#   `labels_from_forest` looks at all of them again with the degrees of the merge. So a row that
#   is core only by the sum of several parts is joined there with the core rows around it: the
#   pairs that made it core were reported while it was not, and wait. A row that is not core at
#   the end was core in no part: all its pairs wait, and it finds the core rows it borders on.
# - Room. Each part's forest is one that began empty and was told of the base's pairs and of its
#   own, so it keeps the bound of `empty_forest`: the merged list is at most as many times longer
#   as there are parts.


class Share(NamedTuple):
    """What a part of the pairs did to its copy of a forest; in host memory."""

    degree: torch.Tensor
    """int32[n]: added to the base's."""
    parent: torch.Tensor
    """int32[n]: the base's, and joined further."""
    pending: torch.Tensor
    """int32[n_waiting, 2]: pairs that wait beside those of the base."""


def forest_on_host(forest: Forest) -> Forest:
    """A copy in host memory, whose list is as long as there are pairs that wait."""
    waiting = forest.pending[: int(forest.n_pending.item())]
    parts = forest.degree, forest.parent, waiting, forest.n_pending
    degree, parent, pending, n_pending = (part.to("cpu", copy=True) for part in parts)
    return Forest(degree, parent, pending, n_pending, forest.min_samples)


def grown_from(base: Forest, most: int, device: torch.device) -> Forest:
    """A forest on a device that goes on from one on the host; ``most`` as for `empty_forest`."""
    forest = empty_forest(len(base.degree), base.min_samples, most, device)
    forest.degree.copy_(base.degree)
    forest.parent.copy_(base.parent)
    forest.pending[: len(base.pending)].copy_(base.pending)
    forest.n_pending.copy_(base.n_pending)
    return forest


def added_to(base: Forest, forest: Forest) -> Share:
    """What a forest that went on from ``base`` has beside it."""
    grown = forest_on_host(forest)
    pending = grown.pending[len(base.pending) :]
    return Share(grown.degree - base.degree, grown.parent, pending)


def merge_forests(base: Forest, shares: list[Share], device: torch.device) -> Forest:
    """One forest of the base and of what each part added to it, on a device.

    Parameters
    ----------
    base : Forest
        On the host.
    shares : list of Share
        Of parts that went on from ``base``; no pair was reported to two of them.
    device : torch.device

    Returns
    -------
    Forest
        Its list has no room for more pairs.
    """
    degree, parent = (part.to(device, copy=True) for part in (base.degree, base.parent))
    slots = torch.arange(len(parent), dtype=torch.int32, device=device)
    for share in shares:
        degree += share.degree.to(device)
        link_pairs(parent, torch.stack([slots, share.parent.to(device)], dim=1))
    pending = torch.cat([base.pending, *(share.pending for share in shares)]).to(device)
    n_pending = torch.tensor([len(pending)], dtype=torch.int64, device=device)
    return Forest(degree, parent, pending, n_pending, base.min_samples)


@triton.jit
def find(parent, slots, live):
    """Roots of slots.

    What other programs change is read by atomics. Several threads hold the same element of a
    small tensor, and each would load for itself: some would then leave the loop before others.
    An atomic has one answer for all of them.
    """
    at = slots
    moving = live
    while tl.max(moving.to(tl.int32), 0) > 0:
        above = tl.atomic_add(parent + at, 0, mask=moving, sem="relaxed")
        moving = moving & (above != at)
        at = tl.where(moving, above, at)
    return at


@triton.jit
def unite(parent, a, b, live):
    """Join the components of a and b, element by element."""
    high = tl.maximum(a, b)
    low = tl.minimum(a, b)
    live = live & (high != low)
    moving = tl.max(live.to(tl.int32), 0)
    while moving > 0:
        before = tl.atomic_min(parent + high, low, mask=live)
        # What hung there before is in the same component: unless it was high itself (a root) or
        # low, it has to be united with low as well.
        live = live & (before != high) & (before != low)
        high = tl.where(live, tl.maximum(before, low), high)
        low = tl.where(live, tl.minimum(before, low), low)
        moving = tl.max(live.to(tl.int32), 0)


@triton.jit
def _report(
    pairs, n_pairs, degree, parent, pending, n_pending, min_samples, PAIRS: tl.constexpr
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    live = at < n_pairs
    a = tl.load(pairs + 2 * at, mask=live, other=0)
    b = tl.load(pairs + 2 * at + 1, mask=live, other=0)
    one = tl.full([PAIRS], 1, dtype=tl.int32)
    degree_a = tl.atomic_add(degree + a, one, mask=live) + 1
    degree_b = tl.atomic_add(degree + b, one, mask=live) + 1
    both = live & (degree_a >= min_samples) & (degree_b >= min_samples)
    unite(parent, find(parent, a, both), find(parent, b, both), both)
    waits = live & ((degree_a < min_samples) | (degree_b < min_samples))
    places = tl.cumsum(waits.to(tl.int32), 0)
    n_waiting = tl.max(places, 0)
    if n_waiting > 0:
        place = tl.atomic_add(n_pending, n_waiting.to(tl.int64)) + places - 1
        tl.store(pending + 2 * place, a, mask=waits)
        tl.store(pending + 2 * place + 1, b, mask=waits)


def report_pairs(forest: Forest, pairs: torch.Tensor) -> None:
    """Report pairs within eps, int32[n, 2] slots, each for the first and only time."""
    if len(pairs):
        _report[(triton.cdiv(len(pairs), _PAIRS),)](
            pairs, len(pairs), forest.degree, forest.parent, forest.pending, forest.n_pending,
            forest.min_samples, PAIRS=_PAIRS,
        )  # fmt: skip


@triton.jit
def _link(pairs, n_pairs, parent, PAIRS: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    live = at < n_pairs
    a = tl.load(pairs + 2 * at, mask=live, other=0)
    b = tl.load(pairs + 2 * at + 1, mask=live, other=0)
    unite(parent, find(parent, a, live), find(parent, b, live), live)


def link_pairs(parent: torch.Tensor, pairs: torch.Tensor) -> None:
    """Join the components of both slots of each pair, int32[n, 2]."""
    if len(pairs):
        _link[(triton.cdiv(len(pairs), _PAIRS),)](pairs, len(pairs), parent, PAIRS=_PAIRS)


def roots_of(parent: torch.Tensor) -> torch.Tensor:
    """Root of every slot, int32[n]; paths are shortened on the way (log n rounds)."""
    while True:
        above = parent[parent.long()]
        if torch.equal(above, parent):
            return above
        parent.copy_(above)


def labels_from_forest(
    forest: Forest, group_of: torch.Tensor, order_of: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels after all pairs have been reported.

    Parameters
    ----------
    forest : Forest
    group_of : int32[n]
        Interval of each slot, ascending from 0; below 0 for a slot without a row.
    order_of : int64[n]
        Place of the slot's row among the rows of its interval.

    Returns
    -------
    labels : int64[n]
        In each interval clusters are numbered by their first core row; a border row takes the
        smallest label among the core rows within eps; noise is -1.
    core : bool[n]
    """
    core = (forest.degree >= forest.min_samples) & (group_of >= 0)
    pairs = forest.pending[: int(forest.n_pending.item())]
    core_ends = core[pairs.long()]
    link_pairs(forest.parent, pairs[core_ends.all(1)])
    roots = roots_of(forest.parent).long()
    labels = _number_clusters(roots, core, group_of.long(), order_of)
    _adopt_borders(labels, pairs.long(), core_ends)
    return labels, core


def _number_clusters(
    roots: torch.Tensor, core: torch.Tensor, group_of: torch.Tensor, order_of: torch.Tensor
) -> torch.Tensor:
    """Labels of core rows, -1 for the others."""
    n = len(roots)
    labels = torch.full((n,), -1, dtype=torch.int64, device=roots.device)
    cores = torch.nonzero(core)[:, 0]
    first = torch.full((n,), n, dtype=torch.int64, device=roots.device)
    first.scatter_reduce_(0, roots[cores], order_of[cores], "amin")
    own = torch.unique(roots[cores])
    # Sorted by interval, then by first core row: two stable sorts, the last key first.
    own = own[torch.argsort(first[own], stable=True)]
    own = own[torch.argsort(group_of[own], stable=True)]
    starts = torch.searchsorted(group_of[own], group_of[own])
    number = torch.arange(len(own), device=own.device) - starts
    labels[own] = number
    labels[cores] = labels[roots[cores]]
    return labels


def _adopt_borders(labels: torch.Tensor, pairs: torch.Tensor, core_ends: torch.Tensor) -> None:
    """Give border rows the smallest label of the core rows they wait with."""
    most = torch.iinfo(torch.int64).max
    smallest = torch.full_like(labels, most)
    for own, other in ((0, 1), (1, 0)):
        chosen = core_ends[:, own] & ~core_ends[:, other]
        cores, borders = pairs[chosen, own], pairs[chosen, other]
        smallest.scatter_reduce_(0, borders, labels[cores], "amin")
    adopted = smallest < most
    labels[adopted] = smallest[adopted]


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is launched, for compiling it ahead of time."""
    pairs = {"pairs": "*i32", "n_pairs": "i32", "parent": "*i32", "PAIRS": "constexpr"}
    report = pairs | {
        "degree": "*i32", "pending": "*i32", "n_pending": "*i64", "min_samples": "i32",
    }  # fmt: skip
    constants = {"PAIRS": _PAIRS}
    return [
        ("report pairs", _report, report, constants, {}),
        ("link pairs", _link, pairs, constants, {}),
    ]
