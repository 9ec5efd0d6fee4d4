"""Numbers that are made in blocks and counted: work of any size in bounded memory.

An *entry* makes some number of items (a row its memberships, a membership its pairs); where an
entry's items start is the sum of the counts before it. That sum cuts the entries in blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["blocks_of", "offsets_of", "tally"]

Counted = tuple["Tensor", "Tensor"]


def offsets_of(counts: Tensor) -> Tensor:
    """int64[n + 1]: the sum of the counts before each entry, and of all."""
    import torch

    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets


def blocks_of(offsets: Tensor, most: int) -> list[tuple[int, int]]:
    """Cut the entries in ranges with at most so many items, plus those of one entry."""
    import torch

    marks = torch.arange(0, int(offsets[-1]), max(most, 1), device=offsets.device)
    cuts = torch.searchsorted(offsets, marks).tolist()
    return list(pairwise(sorted({*cuts, len(offsets) - 1}))) if cuts else []


def tally(blocks: Iterable[Counted]) -> Counted:
    """Merge the counts of blocks.

    Parameters
    ----------
    blocks : iterable of (keys, counts)
        At least one; different int64 keys each.

    Returns
    -------
    keys, counts : int64[n_keys]
        Keys ascending; each with its counts from all blocks, added.

    Notes
    -----
    Blocks wait until together they are as long as what was merged before: memory is at most about
    three times that of the result and the longest block, and time that of sorting all keys a
    few times, however many blocks there are.
    """
    merged: list[Counted] = []
    waiting: list[Counted] = []
    for block in blocks:
        waiting.append(block)
        if _length(waiting) >= _length(merged):
            merged, waiting = [_merge([*merged, *waiting])], []
    return _merge([*merged, *waiting])


def _length(parts: list[Counted]) -> int:
    return sum(len(keys) for keys, _ in parts)


def _merge(parts: list[Counted]) -> Counted:
    import torch

    if len(parts) == 1:
        return parts[0]
    keys, places = torch.unique(torch.cat([keys for keys, _ in parts]), return_inverse=True)
    counts = torch.zeros_like(keys)
    return keys, counts.index_add_(0, places, torch.cat([counts for _, counts in parts]))
