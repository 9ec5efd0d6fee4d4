"""Median splits by the definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["split_leaves"]


def split_leaves(
    coordinates: NDArray[np.float32], panel: int, block: int
) -> list[NDArray[np.int64]]:
    """Rows of each leaf, left to right.

    Parameters
    ----------
    coordinates : float32[n_rows, n_axes]
    panel, block : int
        Sets of more than ``panel`` rows are split at a multiple of it, then of ``block``.

    Returns
    -------
    list of int64
        Of at most ``block`` rows each, ascending. Unique where no two coordinates are equal.
    """
    leaves: list[NDArray[np.int64]] = []

    def split(rows: NDArray[np.int64]) -> None:
        if len(rows) <= block:
            leaves.append(np.sort(rows))
            return
        own = coordinates[rows].astype(np.float64)
        ordered = rows[np.argsort(own[:, own.var(0).argmax()], kind="stable")]
        unit = panel if len(rows) > panel else block
        middle = max(len(rows) // (2 * unit), 1) * unit
        split(ordered[:middle])
        split(ordered[middle:])

    split(np.arange(len(coordinates)))
    return leaves
