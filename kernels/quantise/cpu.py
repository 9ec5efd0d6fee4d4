"""Pack rows as int8 panels together with proven bounds on what quantisation lost.

A row x becomes z = x * unit - mean, with unit a power of two (so that nothing overflows). Two
int8 copies are kept: all columns of z (*full*), and its leading principal components V'z
(*prefix*), whose remainder is represented by its norm t. With q the int8 numbers, s the row's
scale and e a bound on |z - s q| (for a prefix: on the error of (V'z, t) as one vector), the
triangle inequality gives

    | |x - y| * unit  -  |s q_x - s q_y| |  <=  e_x + e_y

from below only for a prefix, from both sides for the full copy. The remainders' norms enter as
one more coordinate because | |r_x| - |r_y| | <= |r_x - r_y|.
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

__all__ = ["pack_full", "pack_prefix"]

_SCALE_FLOOR = 2.0**-40
_CHUNK = 128
"""Columns summed in float32 before float64 takes over; see NORM_ERROR."""


@njit(
    nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, fastmath={"reassoc", "nsz", "nnan"}
)
def _scale_of(numbers, top):  # type: ignore[no-untyped-def]
    """Scale by which a row fits int8 numbers up to ``top``."""
    largest = np.float32(0.0)
    for k in range(numbers.size):
        largest = max(largest, abs(numbers[k]))
    return np.float64(np.float32(max(largest / top, _SCALE_FLOOR)))


@njit(
    nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True,
    fastmath={"reassoc", "contract", "nsz"},
)
def _quantise(numbers, scale, steps):  # type: ignore[no-untyped-def]
    """Steps of ``scale`` nearest to the numbers: their sum, squares, and the loss.

    The last two results are sums of squares: of the numbers, and of what rounding lost. The
    first two are exact (whole numbers below 2**24 in a chunk).
    """
    inverse, scale = np.float32(1.0) / np.float32(scale), np.float32(scale)
    total, squares, norm, lost = 0.0, 0.0, 0.0, 0.0
    for low in range(0, numbers.size, _CHUNK):
        some, some_squares = np.float32(0.0), np.float32(0.0)
        some_norm, some_lost = np.float32(0.0), np.float32(0.0)
        for k in range(low, min(low + _CHUNK, numbers.size)):
            one = numbers[k]
            step = np.rint(one * inverse)
            steps[k] = step
            some += step
            some_squares += step * step
            rest = one - scale * step
            some_lost += rest * rest
            some_norm += one * one
        total += np.float64(some)
        squares += np.float64(some_squares)
        norm += np.float64(some_norm)
        lost += np.float64(some_lost)
    return total, squares, norm, lost


@helper
def _narrow(steps, out):  # type: ignore[no-untyped-def]
    for k in range(steps.size):
        out[k] = np.int8(steps[k])


@kernel
def pack_full(panels, start, rows, eps, buffers):  # type: ignore[no-untyped-def]
    """Pack all columns of float32 rows from position ``start`` on.

    Notes
    -----
    What rounding lost is itself summed in float32: up to NORM_ERROR wrong, and each term by
    2**-24 of twice the number, with or without fused multiply-add.
    """
    n_rows, n_stages = panels.left.shape[0], panels.left.shape[1]
    left, right, sums, words = panels.left, panels.right, panels.sums, panels.full
    scales, squares, losses, norms = panels.scale, panels.square, panels.lost, panels.norm
    coding, steps, numbers, source = panels.coding, buffers.floats, buffers.bytes, buffers.words
    stage = n_stages - 1
    for p in range(rows.shape[0]):
        position = start + p
        scale = _scale_of(rows[p], coding.top)
        total, square, norm, lost = _quantise(rows[p], scale, steps)
        _narrow(steps, numbers)
        norms[position] = np.sqrt(norm)
        sums[position, stage] = -coding.offset * np.int32(total)
        scales[position] = scale
        squares[position] = scale * scale * square
        losses[position] = np.sqrt(lost) * (1 + NORM_ERROR) + 4 * HALF_ULP * norms[position]
        losses[position] += NORM_FLOOR
        coefficients(
            left, right, stage, position, eps, scale, squares[position], 0.0, losses[position],
            SLACK, 0.0,
        )
        write_words(words, source, position, coding)
    if start + rows.shape[0] == n_rows:
        close_last_panel(right, n_rows, n_stages)


@kernel
def pack_prefix(  # type: ignore[no-untyped-def]
    panels, start, components, ends, error, eps, buffers
):
    """Pack leading components of rows whose columns are packed; a stage for each end."""
    left, right, sums, words = panels.left, panels.right, panels.sums, panels.prefix
    coding, steps, numbers, source = panels.coding, buffers.floats, buffers.bytes, buffers.words
    for p in range(components.shape[0]):
        position = start + p
        z_norm = panels.norm[position] * (1 + NORM_ERROR) + NORM_FLOOR
        scale = _scale_of(components[p], coding.top)
        blur = error * z_norm
        squares, norm, lost = 0.0, 0.0, 0.0
        for stage in range(ends.size - 1):
            low, high = ends[stage], ends[stage + 1]
            total, more_squares, more_norm, more_lost = _quantise(
                components[p, low:high], scale, steps[low:high]
            )
            sums[position, stage] = -coding.offset * np.int32(total)
            squares += more_squares
            norm += more_norm
            lost += more_lost
            least, most = remainder(panels.norm[position], np.sqrt(norm), blur)
            rest = 0.5 * (least + most)
            all_lost = np.sqrt(lost) * (1 + NORM_ERROR) + 4 * HALF_ULP * np.sqrt(norm)
            all_lost += blur + (0.5 + 2.0**-30) * (most - least) + 2.0**-40 * z_norm + NORM_FLOOR
            square = scale * scale * squares + rest * rest
            coefficients(
                left, right, stage, position, eps, scale, square, rest, all_lost, SLACK, 0.0
            )
        _narrow(steps, numbers)
        write_words(words, source, position, coding)
