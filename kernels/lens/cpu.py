"""Row lenses in one read of the rows (two for std), each compiled when it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper, kernel
from topoact_gpu.kernels.table import FLOAT32, FLOAT64, HALF, RowTable, four_numbers, number

__all__ = ["ROW_LENSES", "row_lens"]

ROW_LENSES = ("l2norm", "l1norm", "linf", "mean", "max", "std")
"""Lenses by name; their places are the codes that the kernel takes."""
_L2, _L1, _LINF, _MEAN, _MAX, _STD = range(6)
_TOGETHER = 8


@helper
def _with(total, one, mean, code):  # type: ignore[no-untyped-def]
    """The total with one more number."""
    if code == _L2:
        return total + one * one
    if code == _L1:
        return total + abs(one)
    if code == _MEAN:
        return total + one
    if code == _STD:
        return total + (one - mean) * (one - mean)
    size = abs(one) if code == _LINF else one
    return total if total > size else size


def _loop_for(kind: int, code: int) -> Any:
    """The loop for one kind of number and one lens: 8 rows at a time, so that sums overlap.

    What takes one step a row, such as the root of a norm, is left to numpy.
    """

    @kernel
    def lens_rows(address, stride, n_rows, n_cols, mean, out):  # type: ignore[no-untyped-def]
        n_fours = n_cols // 4 * 4
        for start in range(0, n_rows, _TOGETHER):
            stop = start + _TOGETHER if n_rows - start > _TOGETHER else n_rows
            for k in range(0, n_fours, 4):
                for row in range(start, stop):
                    a, b, c, d = four_numbers(address + row * stride, k, kind)
                    total = _with(out[row], a, mean[row], code)
                    total = _with(total, b, mean[row], code)
                    total = _with(total, c, mean[row], code)
                    out[row] = _with(total, d, mean[row], code)
            for row in range(start, stop):
                for k in range(n_fours, n_cols):
                    one = number(address + row * stride, k, kind)
                    out[row] = _with(out[row], one, mean[row], code)

    return lens_rows


_LOOPS = {
    (kind, code): _loop_for(kind, code)
    for kind in (HALF, FLOAT32, FLOAT64)
    for code in range(len(ROW_LENSES))
}


def row_lens(table: RowTable, start: int, stop: int, code: int, out: NDArray[np.float64]) -> None:
    """out[r] = lens of row start + r; sums run in column order in float64.

    Parameters
    ----------
    table : RowTable
    start, stop : int
    code : int
        Place of the lens in ROW_LENSES.
    out : float64[stop - start]
    """
    mean = np.zeros(stop - start)
    if code == _STD:
        row_lens(table, start, stop, _MEAN, mean)
    out[:] = -np.inf if code == _MAX else 0.0
    first = table.address + start * table.stride
    loop = _LOOPS[table.kind, code]
    loop(first, table.stride, stop - start, table.n_cols, mean, out)
    if code in (_MEAN, _STD):
        out /= table.n_cols
    if code in (_L2, _STD):
        np.sqrt(out, out=out)
