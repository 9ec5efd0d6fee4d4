"""Rows relative to the frame that all rows of a run share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topoact_gpu.kernels.table import FLOAT32, FLOAT64, HALF, norm_of, number, row_at

__all__ = ["Frame", "centre_rows"]


class Frame(NamedTuple):
    """What all rows of one run share; plain numbers and arrays, see :mod:`.frame`."""

    mean: NDArray[np.float64]
    """Of rows times ``unit``."""
    unit: float
    basis: NDArray[np.float32]
    """float32[n_cols, n_components], orthonormal columns up to ``basis_error``."""
    basis_error: float
    """Bound on the error of a computed component vector, relative to |z|."""
    ends: NDArray[np.int64]
    """Ends of the prefix segments, in components: 0, then multiples of 8."""


def _centre_for(kind: int) -> Any:
    """The loop over columns for one kind of number."""

    @njit(nogil=True, cache=True)
    def centre(address, norm, mean, unit, out):  # type: ignore[no-untyped-def]
        if norm > 0.0:
            for k in range(mean.size):
                out[k] = number(address, k, kind) / norm * unit - mean[k]
        else:
            for k in range(mean.size):
                out[k] = number(address, k, kind) * unit - mean[k]

    return centre


_HALF, _FLOAT32, _FLOAT64 = (_centre_for(kind) for kind in (HALF, FLOAT32, FLOAT64))


@njit(nogil=True, cache=True)
def centre_rows(table, ids, mean, unit, out):  # type: ignore[no-untyped-def]
    """out[r] = float32(row ids[r] * unit - mean), the subtraction in float64."""
    for r in range(ids.size):
        address, norm = row_at(table, ids[r]), norm_of(table, ids[r])
        if table.kind == HALF:
            _HALF(address, norm, mean, unit, out[r])
        elif table.kind == FLOAT32:
            _FLOAT32(address, norm, mean, unit, out[r])
        else:
            _FLOAT64(address, norm, mean, unit, out[r])
