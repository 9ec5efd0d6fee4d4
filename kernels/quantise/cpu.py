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

from topoact_gpu.kernels.quantise.panels import (
    HALF_ULP,
    SLACK,
    close_last_panel,
    coefficients,
    remainder,
    write_words,
)

__all__ = ["pack_full", "pack_prefix"]

_SCALE_FLOOR = 2.0**-40


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz", "nnan"})
def _largest(numbers, r):  # type: ignore[no-untyped-def]
    largest = np.float32(0.0)
    for k in range(numbers.shape[1]):
        largest = max(largest, abs(numbers[r, k]))
    return largest


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _quantise(numbers, r, start, end, scale, top, out):  # type: ignore[no-untyped-def]
    """Round numbers[r, start:end] / scale to int8; returns their sum and squares, and the loss.

    The last two results are sums of squares: of the numbers, and of what rounding lost.
    """
    inverse, top = np.float32(1.0) / np.float32(scale), np.int32(top)
    total, squares = np.int32(0), np.int32(0)
    norm, lost = 0.0, 0.0
    for k in range(start, end):
        one = numbers[r, k]
        step = np.int32(np.rint(one * inverse))
        step = min(max(step, -top), top)
        out[k] = np.int8(step)
        total += step
        squares += step * step
        rest = np.float64(one) - scale * np.float64(step)
        lost += rest * rest
        norm += np.float64(one) * np.float64(one)
    return total, squares, norm, lost


@njit(nogil=True, cache=True)
def pack_full(panels, start, centred, picks, eps):  # type: ignore[no-untyped-def]
    """Pack all columns of float32 rows ``centred[picks]`` from position ``start`` on."""
    n_rows, n_stages = panels.left.shape[0], panels.left.shape[1]
    left, right, sums, words = panels.left, panels.right, panels.sums, panels.full.view(np.int32)
    scales, squares, losses, norms = panels.scale, panels.square, panels.lost, panels.norm
    coding, n_cols = panels.coding, centred.shape[1]
    numbers = np.zeros(4 * panels.n_words, np.int8)
    source = numbers.view(np.int32)
    stage = n_stages - 1
    for p in range(picks.size):
        position, r = start + p, picks[p]
        scale = np.float64(np.float32(max(_largest(centred, r) / coding.top, _SCALE_FLOOR)))
        total, square, norm, lost = _quantise(centred, r, 0, n_cols, scale, coding.top, numbers)
        norms[position] = np.sqrt(norm)
        sums[position, stage] = -coding.offset * total
        scales[position] = scale
        squares[position] = scale * scale * square
        losses[position] = np.sqrt(lost) * (1 + 2.0**-30) + 2 * HALF_ULP * norms[position]
        losses[position] += 2.0**-140
        coefficients(
            left, right, stage, position, eps, scale, squares[position], 0.0, losses[position],
            SLACK, 0.0,
        )
        write_words(words, source, position, coding)
    if start + picks.size == n_rows:
        close_last_panel(right, n_rows, n_stages)


@njit(nogil=True, cache=True)
def pack_prefix(panels, start, components, picks, ends, error, eps):  # type: ignore[no-untyped-def]
    """Pack leading components of rows whose columns are packed; a stage for each end."""
    left, right, sums, words = panels.left, panels.right, panels.sums, panels.prefix.view(np.int32)
    coding = panels.coding
    numbers = np.zeros(ends[-1], np.int8)
    source = numbers.view(np.int32)
    for p in range(picks.size):
        position, r = start + p, picks[p]
        z_norm = panels.norm[position]
        scale = np.float64(np.float32(max(_largest(components, r) / coding.top, _SCALE_FLOOR)))
        blur = error * z_norm
        squares, norm, lost = 0.0, 0.0, 0.0
        for stage in range(ends.size - 1):
            total, more_squares, more_norm, more_lost = _quantise(
                components, r, ends[stage], ends[stage + 1], scale, coding.top, numbers
            )
            sums[position, stage] = -coding.offset * total
            squares += more_squares
            norm += more_norm
            lost += more_lost
            low, high = remainder(z_norm, np.sqrt(norm), blur)
            rest = 0.5 * (low + high)
            all_lost = np.sqrt(lost) * (1 + 2.0**-30) + blur + (0.5 + 2.0**-30) * (high - low)
            all_lost += 2.0**-40 * z_norm
            square = scale * scale * squares + rest * rest
            coefficients(
                left, right, stage, position, eps, scale, square, rest, all_lost, SLACK, 0.0
            )
        write_words(words, source, position, coding)
