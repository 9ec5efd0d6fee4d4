"""Rows relative to the frame that all rows of a run share."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import kernel
from topoact_gpu.kernels.table import RowTable, number

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


@cache
def _centre_for(kind: int, normed: bool) -> Any:
    """The loop for one kind of number, compiled when it is first wanted."""

    @kernel
    def centre(address, stride, norms, ids, mean, unit, out):  # type: ignore[no-untyped-def]
        for r in range(ids.size):
            at, own = address + ids[r] * stride, out[r]
            if normed:
                norm = norms[ids[r]]
                for k in range(mean.size):
                    own[k] = number(at, k, kind) / norm * unit - mean[k]
            else:
                for k in range(mean.size):
                    own[k] = number(at, k, kind) * unit - mean[k]

    return centre


def centre_rows(
    table: RowTable,
    ids: NDArray[np.int64],
    mean: NDArray[np.float64],
    unit: float,
    out: NDArray[np.float32],
) -> None:
    """out[r] = float32(row ids[r] * unit - mean), the subtraction in float64."""
    centre = _centre_for(table.kind, table.norms.size > 0)
    centre(table.address, table.stride, table.norms, ids, mean, unit, out)
