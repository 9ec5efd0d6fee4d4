"""Pack rows as float32 panels: the same coefficients where products are taken of the numbers.

The sums of products of n terms err by at most ``n * 2**-24 * |x||y|``, in any order, and where
products underflow by ``2**-126`` each (some processors are set to flush subnormals to 0).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from topoact_gpu.kernels.compiled import helper, kernel
from topoact_gpu.kernels.quantise.panels import (
    HALF_ULP,
    NORM_ERROR,
    NORM_FLOOR,
    SLACK,
    close_last_panel,
    coefficients,
    remainder,
    write_words,
)

__all__ = ["pack_full_floats", "pack_prefix_floats"]


@njit(
    nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True,
    fastmath={"reassoc", "contract", "nsz"},
)
def _copy(numbers, r, start, end, out):  # type: ignore[no-untyped-def]
    """Copy numbers[r, start:end]; returns the sum of their squares."""
    total = 0.0
    for k in range(start, end):
        one = numbers[r, k]
        out[k] = one
        total += np.float64(one) * np.float64(one)
    return total


@helper
def _slacks(n_cols):  # type: ignore[no-untyped-def]
    return SLACK + (2 * n_cols + 16) * HALF_ULP, n_cols * 2.0**-122


@kernel
def pack_full_floats(panels, start, rows, eps, buffers):  # type: ignore[no-untyped-def]
    """Pack all columns of float32 rows from position ``start`` on."""
    n_rows, n_stages, n_cols = panels.left.shape[0], panels.left.shape[1], rows.shape[1]
    left, right, words = panels.left, panels.right, panels.full
    scales, squares, losses, norms = panels.scale, panels.square, panels.lost, panels.norm
    slack, tiny = _slacks(n_cols)
    numbers, source = buffers.floats, buffers.words
    for p in range(rows.shape[0]):
        position = start + p
        square = _copy(rows, p, 0, n_cols, numbers)
        norms[position] = np.sqrt(square)
        scales[position], squares[position] = 1.0, square
        losses[position] = 2 * HALF_ULP * norms[position] + 2.0**-140
        coefficients(
            left, right, n_stages - 1, position, eps, 1.0, square, 0.0, losses[position], slack,
            tiny,
        )
        write_words(words, source, position, panels.coding)
    if start + rows.shape[0] == n_rows:
        close_last_panel(right, n_rows, n_stages)


@kernel
def pack_prefix_floats(  # type: ignore[no-untyped-def]
    panels, start, components, ends, error, eps, buffers
):
    """Pack leading components of rows whose columns are packed; a stage for each end."""
    left, right, words = panels.left, panels.right, panels.prefix
    slack, tiny = _slacks(panels.n_words)
    numbers, source = buffers.floats, buffers.words
    for p in range(components.shape[0]):
        position = start + p
        z_norm = panels.norm[position] * (1 + NORM_ERROR) + NORM_FLOOR
        blur, inside = error * z_norm, 0.0
        for stage in range(ends.size - 1):
            inside += _copy(components, p, ends[stage], ends[stage + 1], numbers)
            low, high = remainder(panels.norm[position], np.sqrt(inside), blur)
            rest = 0.5 * (low + high)
            lost = blur + (0.5 + 2.0**-30) * (high - low) + 2.0**-40 * z_norm
            coefficients(
                left, right, stage, position, eps, 1.0, inside + rest * rest, rest, lost, slack,
                tiny,
            )
        write_words(words, source, position, panels.coding)
