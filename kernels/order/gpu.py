"""Median splits of many intervals at once, by sorting (torch; no kernel of our own).

Where a split falls depends on sizes alone, so all intervals are split level by level together:
one sort a level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["ahead", "split_orders"]


def split_orders(
    coordinates: torch.Tensor, sizes: NDArray[np.int64], block: int
) -> torch.Tensor:
    """Order of the rows of each interval after median splits down to ``block`` rows.

    Parameters
    ----------
    coordinates : float32[n, n_axes]
        Of the rows of all intervals, one interval after another.
    sizes : int64[n_intervals]
    block : int
        Splits fall on multiples of it.

    Returns
    -------
    int64[n]
        A permutation of 0 .. n - 1 that leaves every interval where it is; any such permutation
        is correct, this one only makes the rest fast.

    Notes
    -----
    Each set is split along the coordinate in which it varies most. log2(largest / block) sorts.
    """
    order = torch.arange(len(coordinates), device=coordinates.device)
    sets = sizes[sizes > 0]
    while (sets > block).any():
        own = torch.from_numpy(np.repeat(np.arange(len(sets)), sets)).to(coordinates.device)
        here = coordinates[order]
        axis = _widest(here, own, len(sets))
        numbers = here.gather(1, axis[own][:, None])[:, 0]
        # The set's number above, the coordinate below: one sort does both.
        order = order[torch.sort((own << 32) + _ascending(numbers), stable=True).indices]
        sets = _split(sets, block)
    return order


def _widest(coordinates: torch.Tensor, own: torch.Tensor, n_sets: int) -> torch.Tensor:
    """The coordinate with the largest variance in each set, int64[n_sets]."""
    shape = (n_sets, coordinates.shape[1])
    wide = coordinates.to(torch.float64)
    count = torch.bincount(own, minlength=n_sets)[:, None].clamp(min=1)
    total, squares = (
        torch.zeros(shape, dtype=torch.float64, device=wide.device).index_add_(0, own, values)
        for values in (wide, wide * wide)
    )
    return (squares - total * total / count).argmax(1)


def _ascending(numbers: torch.Tensor) -> torch.Tensor:
    """int64 from 0 to 2**32 - 1 in the order of finite float32 numbers."""
    bits = numbers.contiguous().view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, -1 - (bits & 0x7FFFFFFF), bits) + 2**31


def _split(sets: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """Sizes after splitting each set of more than ``block`` near its middle."""
    left = np.where(sets > block, np.maximum(sets // (2 * block), 1) * block, sets)
    parts = np.column_stack([left, sets - left]).ravel()
    return parts[parts > 0]


def ahead() -> list[Any]:
    """Nothing is compiled here."""
    return []
