"""Sorting inside compiled loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper


@helper
def sort(table: NDArray[np.int64], n: int) -> None:
    """Sort the first ``n`` of table[1] (Shell's way: no memory, and little to compile)."""
    gap = 1
    while 3 * gap < n:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(gap, n):
            number, place = table[1, at], at
            while place >= gap and table[1, place - gap] > number:
                table[1, place] = table[1, place - gap]
                place -= gap
            table[1, place] = number
        gap //= 3
