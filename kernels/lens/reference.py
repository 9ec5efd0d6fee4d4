"""The row lenses by their definition (naive): sums in column order, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["row_lens"]


def row_lens(rows: NDArray[np.generic], name: str) -> NDArray[np.float64]:
    """float64[n_rows] for one of the names of :data:`topoact_gpu.kernels.lens.cpu.ROW_LENSES`."""
    values = np.asarray(rows, np.float64)
    if name == "linf":
        return np.abs(values).max(1)
    if name == "max":
        return values.max(1)
    total = np.zeros(len(values))
    for column in values.T:
        total = total + {"l2norm": column * column, "l1norm": np.abs(column)}.get(name, column)
    if name == "l2norm":
        return np.sqrt(total)
    if name == "l1norm":
        return total
    mean = total / values.shape[1]
    if name == "mean":
        return mean
    squares = np.zeros(len(values))
    for column in values.T:
        squares = squares + (column - mean) * (column - mean)
    return np.sqrt(squares / values.shape[1])
