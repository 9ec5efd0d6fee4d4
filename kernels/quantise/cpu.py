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

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topoact_gpu.kernels.simd import BLOCK_ROWS, PANEL_ROWS
from topoact_gpu.kernels.table import FLOAT32, FLOAT64, HALF, aligned, norm_of, number, row_at

__all__ = [
    "Frame",
    "Panels",
    "centre_rows",
    "describe_floats",
    "empty_panels",
    "pack_full",
    "pack_left",
    "pack_prefix",
    "padded_quads",
    "permute_panels",
]

_SCALE_FLOOR = 2.0**-40
_HALF_ULP = 2.0**-24
_OFFSET = np.int32(-2139062144)
"""128 in each of four bytes: turns signed bytes into unsigned ones with 128 added, and back."""
_SLACK = 2.0**-19
"""Relative error of the float32 comparison: 12 roundings of 2**-24, and room to spare."""


class Frame(NamedTuple):
    """What all rows of one run share; plain numbers and arrays, see :mod:`.frame`."""

    mean: NDArray[np.float64]
    """Of rows times ``unit``."""
    unit: float
    basis: NDArray[np.float32]
    """float32[n_cols, n_components], orthonormal columns up to ``basis_error``."""
    basis_error: float
    """Bound on the error of a computed component vector, relative to |z|."""
    quads: NDArray[np.int64]
    """Ends of the prefix segments in groups of four components, from 0; then unused."""


class Panels(NamedTuple):
    """Packed rows; position p lies in panel p // 48, lane p % 48."""

    rows: NDArray[np.int64]
    local: NDArray[np.int32]
    block: NDArray[np.int32]
    full: NDArray[np.uint8]
    prefix: NDArray[np.uint8]
    sums: NDArray[np.int32]
    """int32[n, n_stages]: minus 128 times the sum of a segment's bytes."""
    left: NDArray[np.float32]
    right: NDArray[np.float32]
    scale: NDArray[np.float64]
    square: NDArray[np.float64]
    lost: NDArray[np.float64]
    norm: NDArray[np.float64]


def empty_panels(n_rows: int, n_cols: int, n_stages: int) -> Panels:
    """Uninitialised storage for ``n_rows`` packed rows, without a prefix."""
    n_panels = -(-n_rows // PANEL_ROWS)
    return Panels(
        np.empty(n_rows, np.int64),
        np.empty(n_rows, np.int32),
        np.empty(n_rows, np.int32),
        aligned(n_panels * PANEL_ROWS * 4 * padded_quads(n_cols), np.uint8),
        aligned(0, np.uint8),
        np.empty((n_rows, n_stages), np.int32),
        np.empty((n_rows, n_stages, 4), np.float32),
        aligned(n_panels * n_stages * 4 * PANEL_ROWS, np.float32),
        np.empty(n_rows, np.float64),
        np.empty(n_rows, np.float64),
        np.empty(n_rows, np.float64),
        np.empty(n_rows, np.float64),
    )


def padded_quads(n_cols: int) -> int:
    """Groups of four columns, an even number of them."""
    return -(-n_cols // 8) * 2


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
def _write(words, source, position, n_quads, panels):  # type: ignore[no-untyped-def]
    """Put one row's bytes in its lane of its panel (128 added), or one after another."""
    if panels:
        base = (position // PANEL_ROWS) * n_quads * PANEL_ROWS + position % PANEL_ROWS
        for quad in range(n_quads):
            words[base + quad * PANEL_ROWS] = source[quad] ^ _OFFSET
    else:
        for quad in range(n_quads):
            words[position * n_quads + quad] = source[quad]


@njit(nogil=True, cache=True)
def _coefficients(  # type: ignore[no-untyped-def]
    left, right, stage, position, eps, scale, square, rest, lost, slack, tiny
):
    """Both sides of 'within eps is possible' for one row; see simd.survivors.

    N_i + N_j - 2 t_i t_j - (eps + e_i + e_j)^2 <= 2 s_i s_j p, divided by 2 s_i s_j.
    """
    reach, inverse = eps + lost, 1.0 / scale
    own, other = square + reach * reach, square + lost * lost
    left[position, stage, 0] = 0.5 * inverse
    left[position, stage, 1] = (square - reach * reach - slack * own - tiny) * 0.5 * inverse
    left[position, stage, 2] = -rest * inverse
    left[position, stage, 3] = -reach * inverse
    at = ((position // PANEL_ROWS) * left.shape[1] + stage) * 4 * PANEL_ROWS
    at += position % PANEL_ROWS
    right[at] = (square - lost * lost - slack * other - tiny) * inverse
    right[at + PANEL_ROWS] = inverse
    right[at + 2 * PANEL_ROWS] = rest * inverse
    right[at + 3 * PANEL_ROWS] = lost * inverse


@njit(nogil=True, cache=True)
def _close_last_panel(right, n_rows, n_stages):  # type: ignore[no-untyped-def]
    """Give lanes that hold no row limits that no pair can meet."""
    for position in range(n_rows, -(-n_rows // PANEL_ROWS) * PANEL_ROWS):
        for stage in range(n_stages):
            at = ((position // PANEL_ROWS) * n_stages + stage) * 4 * PANEL_ROWS
            at += position % PANEL_ROWS
            right[at] = np.inf
            for term in range(1, 4):
                right[at + term * PANEL_ROWS] = 0.0


@njit(nogil=True, cache=True)
def pack_full(panels, start, centred, picks, eps, top, in_panels):  # type: ignore[no-untyped-def]
    """Pack all columns of float32 rows ``centred[picks]`` from position ``start`` on.

    ``top``: the largest int8 number to use; ``in_panels``: for dot_block, or row after row.
    """
    n_rows, n_stages = panels.left.shape[0], panels.left.shape[1]
    left, right, sums, words = panels.left, panels.right, panels.sums, panels.full.view(np.int32)
    scales, squares, losses, norms = panels.scale, panels.square, panels.lost, panels.norm
    n_quads = (centred.shape[1] + 7) // 8 * 2
    scratch = np.zeros(4 * n_quads, np.int8)
    source = scratch.view(np.int32)
    stage = n_stages - 1
    for p in range(picks.size):
        position, r = start + p, picks[p]
        scale = np.float64(np.float32(max(_largest(centred, r) / top, _SCALE_FLOOR)))
        total, square, norm, lost = _quantise(centred, r, 0, centred.shape[1], scale, top, scratch)
        norms[position] = np.sqrt(norm)
        sums[position, stage] = -128 * total
        scales[position] = scale
        squares[position] = scale * scale * square
        losses[position] = np.sqrt(lost) * (1 + 2.0**-30) + 2 * _HALF_ULP * norms[position]
        losses[position] += 2.0**-140
        _coefficients(
            left, right, stage, position, eps, scale, squares[position], 0.0, losses[position],
            _SLACK, 0.0,
        )
        _write(words, source, position, n_quads, in_panels)
    if start + picks.size == n_rows:
        _close_last_panel(right, n_rows, n_stages)


@njit(nogil=True, cache=True)
def _remainder(z_norm, length, blur):  # type: ignore[no-untyped-def]
    """Bounds on the norm of what a prefix of norm ``length`` (up to ``blur``) leaves out."""
    outer, inner = z_norm * (1 + 4 * _HALF_ULP), max(length - blur, 0.0)
    high = np.sqrt(max(outer * outer - inner * inner, 0.0))
    outer, inner = z_norm * (1 - 4 * _HALF_ULP), length + blur
    return np.sqrt(max(outer * outer - inner * inner, 0.0)), high


@njit(nogil=True, cache=True)
def pack_prefix(  # type: ignore[no-untyped-def]
    panels, start, components, picks, quads, error, eps, top, in_panels
):
    """Pack leading components of rows whose columns are packed; a stage for each end in quads."""
    left, right, sums, words = panels.left, panels.right, panels.sums, panels.prefix.view(np.int32)
    scratch = np.zeros(4 * quads[-1], np.int8)
    source = scratch.view(np.int32)
    for p in range(picks.size):
        position, r = start + p, picks[p]
        z_norm = panels.norm[position]
        scale = np.float64(np.float32(max(_largest(components, r) / top, _SCALE_FLOOR)))
        blur = error * z_norm
        squares, norm, lost = 0.0, 0.0, 0.0
        for stage in range(quads.size - 1):
            total, more_squares, more_norm, more_lost = _quantise(
                components, r, 4 * quads[stage], 4 * quads[stage + 1], scale, top, scratch
            )
            sums[position, stage] = -128 * total
            squares += more_squares
            norm += more_norm
            lost += more_lost
            low, high = _remainder(z_norm, np.sqrt(norm), blur)
            rest = 0.5 * (low + high)
            all_lost = np.sqrt(lost) * (1 + 2.0**-30) + blur + (0.5 + 2.0**-30) * (high - low)
            all_lost += 2.0**-40 * z_norm
            square = scale * scale * squares + rest * rest
            _coefficients(
                left, right, stage, position, eps, scale, square, rest, all_lost, _SLACK, 0.0
            )
        _write(words, source, position, quads[-1], in_panels)


@njit(nogil=True, cache=True)
def describe_floats(panels, start, centred, components, quads, error, eps):  # type: ignore[no-untyped-def]
    """The same coefficients where the products are taken of float32 numbers as they are.

    The sums of products of n terms err by at most ``n * 2**-24 * |x||y|``, in any order, and
    where products underflow by ``2**-126`` each (some libraries flush subnormals to 0).
    """
    n_rows, n_stages = panels.left.shape[0], panels.left.shape[1]
    for r in range(centred.shape[0]):
        position = start + r
        norm = 0.0
        for k in range(centred.shape[1]):
            norm += np.float64(centred[r, k]) * np.float64(centred[r, k])
        z_norm = np.sqrt(norm)
        lost = 2 * _HALF_ULP * z_norm + 2.0**-140
        panels.scale[position], panels.square[position] = 1.0, norm
        panels.lost[position], panels.norm[position] = lost, z_norm
        slack = _SLACK + (2 * centred.shape[1] + 16) * _HALF_ULP
        tiny = centred.shape[1] * 2.0**-122
        _coefficients(
            panels.left, panels.right, n_stages - 1, position, eps, 1.0, norm, 0.0, lost, slack,
            tiny,
        )
        blur, inside = error * z_norm, 0.0
        for stage in range(quads.size - 1):
            for k in range(4 * quads[stage], 4 * quads[stage + 1]):
                inside += np.float64(components[r, k]) * np.float64(components[r, k])
            low, high = _remainder(z_norm, np.sqrt(inside), blur)
            rest = 0.5 * (low + high)
            lost = blur + (0.5 + 2.0**-30) * (high - low) + 2.0**-40 * z_norm
            _coefficients(
                panels.left, panels.right, stage, position, eps, 1.0, inside + rest * rest,
                rest, lost, slack, tiny,
            )
    if start + centred.shape[0] == n_rows:
        _close_last_panel(panels.right, n_rows, n_stages)


@njit(nogil=True, cache=True)
def permute_panels(panels, positions, n_quads, out):  # type: ignore[no-untyped-def]
    """Copy rows at ``positions`` (all columns, no prefix) to the front of ``out``."""
    n_stages = panels.left.shape[1]
    stage = n_stages - 1
    old_words, words = panels.full.view(np.int32), out.full.view(np.int32)
    old_right, right = panels.right, out.right
    for p in range(positions.size):
        q = positions[p]
        out.rows[p], out.local[p], out.block[p] = panels.rows[q], panels.local[q], panels.block[q]
        out.scale[p], out.square[p] = panels.scale[q], panels.square[q]
        out.lost[p], out.norm[p] = panels.lost[q], panels.norm[q]
        out.sums[p, stage] = panels.sums[q, stage]
        source = (q // PANEL_ROWS) * n_quads * PANEL_ROWS + q % PANEL_ROWS
        base = (p // PANEL_ROWS) * n_quads * PANEL_ROWS + p % PANEL_ROWS
        for quad in range(n_quads):
            words[base + quad * PANEL_ROWS] = old_words[source + quad * PANEL_ROWS]
        source = ((q // PANEL_ROWS) * n_stages + stage) * 4 * PANEL_ROWS + q % PANEL_ROWS
        base = ((p // PANEL_ROWS) * n_stages + stage) * 4 * PANEL_ROWS + p % PANEL_ROWS
        for term in range(4):
            out.left[p, stage, term] = panels.left[q, stage, term]
            right[base + term * PANEL_ROWS] = old_right[source + term * PANEL_ROWS]
    _close_last_panel(right, positions.size, n_stages)


@njit(nogil=True, cache=True)
def pack_left(panel_bytes, positions, n_quads, out, out_at):  # type: ignore[no-untyped-def]
    """Gather up to 8 rows as the left operand: signed bytes, int32[n_quads, 8] in ``out``."""
    words = panel_bytes.view(np.int32)
    for lane in range(BLOCK_ROWS):
        if lane >= positions.size:
            for quad in range(n_quads):
                out[out_at + quad * BLOCK_ROWS + lane] = 0
            continue
        base = (positions[lane] // PANEL_ROWS) * n_quads * PANEL_ROWS + positions[lane] % PANEL_ROWS
        for quad in range(n_quads):
            word = words[base + quad * PANEL_ROWS] ^ _OFFSET
            out[out_at + quad * BLOCK_ROWS + lane] = word
