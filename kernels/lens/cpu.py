"""Row lenses in one read of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from topoact_gpu.kernels.table import FLOAT32, FLOAT64, HALF, number, row_at

__all__ = ["ROW_LENSES", "row_lens"]

ROW_LENSES = ("l2norm", "l1norm", "linf", "mean", "max", "std")
"""Lenses by name; their places are the codes that the kernel takes."""
_L2, _L1, _LINF, _MEAN, _MAX, _STD = range(6)
_TOGETHER = 8


def _rows_for(kind: int) -> Any:
    """The loops for one kind of number: 8 rows at a time, so that their sums overlap."""

    @njit(nogil=True, cache=True)
    def lens_rows(address, stride, n_rows, n_cols, code, out):  # type: ignore[no-untyped-def]
        total = np.empty(_TOGETHER)
        for start in range(0, n_rows, _TOGETHER):
            count = min(_TOGETHER, n_rows - start)
            base = address + start * stride
            total[:] = -np.inf if code == _MAX else 0.0
            if code == _L2:
                for k in range(n_cols):
                    for r in range(count):
                        one = number(base + r * stride, k, kind)
                        total[r] += one * one
            elif code == _MAX:
                for k in range(n_cols):
                    for r in range(count):
                        total[r] = max(total[r], number(base + r * stride, k, kind))
            elif code == _LINF:
                for k in range(n_cols):
                    for r in range(count):
                        total[r] = max(total[r], abs(number(base + r * stride, k, kind)))
            else:
                for k in range(n_cols):
                    for r in range(count):
                        one = number(base + r * stride, k, kind)
                        total[r] += abs(one) if code == _L1 else one
            if code == _STD:
                for r in range(count):
                    mean, squares = total[r] / n_cols, 0.0
                    for k in range(n_cols):
                        step = number(base + r * stride, k, kind) - mean
                        squares += step * step
                    total[r] = squares / n_cols
            for r in range(count):
                if code == _L2 or code == _STD:
                    out[start + r] = np.sqrt(total[r])
                else:
                    out[start + r] = total[r] / n_cols if code == _MEAN else total[r]

    return lens_rows


_HALF, _FLOAT32, _FLOAT64 = (_rows_for(kind) for kind in (HALF, FLOAT32, FLOAT64))


@njit(nogil=True, cache=True)
def row_lens(table, start, stop, code, out):  # type: ignore[no-untyped-def]
    """out[r] = lens of row start + r; sums run in column order in float64.

    Parameters
    ----------
    table : RowTable
    start, stop : int
    code : int
        Place of the lens in ROW_LENSES.
    out : float64[stop - start]
    """
    address, count = row_at(table, start), stop - start
    if table.kind == HALF:
        _HALF(address, table.stride, count, table.n_cols, code, out)
    elif table.kind == FLOAT32:
        _FLOAT32(address, table.stride, count, table.n_cols, code, out)
    else:
        _FLOAT64(address, table.stride, count, table.n_cols, code, out)
