"""Pack rows as int8 panels together with proven bounds on what quantisation lost.

A row x becomes z = (x - mean) * unit, with unit a power of two. Two int8 copies are kept: all
columns of z (*full*), and its leading principal components V'z (*prefix*), whose remainder is
represented by its norm t. With q the int8 numbers, s the row's scale and e a bound on
|z - s q| (for a prefix: on the error of (V'z, t) as one vector), the triangle inequality gives

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
from topoact_gpu.kernels.table import FLOAT32, FLOAT64, HALF, norm_of, number, row_at

__all__ = [
    "Frame",
    "Panels",
    "centre_rows",
    "empty_panels",
    "pack_left",
    "pack_panels",
    "padded_quads",
]

_SCALE_FLOOR = 2.0**-40
_HALF_ULP = 2.0**-24
_SLACK = 2.0**-19
"""Relative error of the float32 comparison: 12 roundings of 2**-24, and room to spare."""


class Frame(NamedTuple):
    """What all rows of one run share; plain numbers and arrays, see :mod:`.frame`."""

    mean: NDArray[np.float64]
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


def empty_panels(n_rows: int, n_cols: int, quads: NDArray[np.int64]) -> Panels:
    """Uninitialised storage for ``n_rows`` packed rows."""
    n_panels = -(-n_rows // PANEL_ROWS)
    n_stages = len(quads)
    return Panels(
        np.empty(n_rows, np.int64),
        np.empty(n_rows, np.int32),
        np.empty(n_rows, np.int32),
        np.empty(n_panels * PANEL_ROWS * 4 * padded_quads(n_cols), np.uint8),
        np.empty(n_panels * PANEL_ROWS * 4 * int(quads[-1]), np.uint8),
        np.empty((n_rows, n_stages), np.int32),
        np.empty((n_rows, n_stages, 4), np.float32),
        np.empty(n_panels * n_stages * 4 * PANEL_ROWS, np.float32),
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
                out[k] = (number(address, k, kind) / norm - mean[k]) * unit
        else:
            for k in range(mean.size):
                out[k] = (number(address, k, kind) - mean[k]) * unit

    return centre


_HALF, _FLOAT32, _FLOAT64 = (_centre_for(kind) for kind in (HALF, FLOAT32, FLOAT64))


@njit(nogil=True, cache=True)
def centre_rows(table, ids, mean, unit, out):  # type: ignore[no-untyped-def]
    """out[r] = float32((row ids[r] - mean) * unit), the subtraction in float64."""
    for r in range(ids.size):
        address, norm = row_at(table, ids[r]), norm_of(table, ids[r])
        if table.kind == HALF:
            _HALF(address, norm, mean, unit, out[r])
        elif table.kind == FLOAT32:
            _FLOAT32(address, norm, mean, unit, out[r])
        else:
            _FLOAT64(address, norm, mean, unit, out[r])


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _largest(numbers):  # type: ignore[no-untyped-def]
    largest = np.float32(0.0)
    for k in range(numbers.size):
        largest = max(largest, abs(numbers[k]))
    return largest


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _quantise(numbers, start, end, scale, out):  # type: ignore[no-untyped-def]
    """Round numbers[start:end] / scale to int8; returns their sum and squares, and the loss.

    The last two results are sums of squares: of the numbers, and of what rounding lost.
    """
    inverse = np.float32(1.0) / scale
    total, squares = np.int32(0), np.int32(0)
    norm, lost = 0.0, 0.0
    for k in range(start, end):
        number = numbers[k]
        step = np.int32(np.rint(number * inverse))
        step = min(max(step, np.int32(-127)), np.int32(127))
        out[k] = np.int8(step)
        total += step
        squares += step * step
        rest = np.float64(number) - np.float64(scale) * np.float64(step)
        lost += rest * rest
        norm += np.float64(number) * np.float64(number)
    return total, squares, norm, lost


@njit(nogil=True, cache=True)
def _write(panels_bytes, quantised, position, n_columns):  # type: ignore[no-untyped-def]
    """Put one row's bytes, 128 added, in its lane of its panel."""
    n_quads = (n_columns + 7) // 8 * 2
    quantised[n_columns : 4 * n_quads] = 0
    source, words = quantised.view(np.int32), panels_bytes.view(np.int32)
    base = (position // PANEL_ROWS) * n_quads * PANEL_ROWS + position % PANEL_ROWS
    for quad in range(n_quads):
        words[base + quad * PANEL_ROWS] = source[quad] ^ np.int32(-2139062144)


@njit(nogil=True, cache=True)
def _coefficients(panels, stage, position, eps, scale, square, rest, lost):  # type: ignore[no-untyped-def]
    """Both sides of 'within eps is possible' for one row; see simd.survivors.

    N_i + N_j - 2 t_i t_j - (eps + e_i + e_j)^2 <= 2 s_i s_j p, divided by 2 s_i s_j.
    """
    reach = eps + lost
    left = panels.left[position, stage]
    own = square + reach * reach
    left[0] = 0.5 / scale
    left[1] = (square - reach * reach - _SLACK * own) * 0.5 / scale
    left[2] = -rest / scale
    left[3] = -reach / scale
    n_stages = panels.left.shape[1]
    at = ((position // PANEL_ROWS) * n_stages + stage) * 4 * PANEL_ROWS + position % PANEL_ROWS
    other = square + lost * lost
    panels.right[at] = (square - lost * lost - _SLACK * other) / scale
    panels.right[at + PANEL_ROWS] = 1.0 / scale
    panels.right[at + 2 * PANEL_ROWS] = rest / scale
    panels.right[at + 3 * PANEL_ROWS] = lost / scale


@njit(nogil=True, cache=True)
def _pack_prefix(panels, position, eps, z_norm, components, quads, error, scratch):  # type: ignore[no-untyped-def]
    """Quantise the leading components; one stage for each end in ``quads``."""
    n_components = 4 * quads[-1]
    scale = np.float64(np.float32(max(_largest(components) / 127.0, _SCALE_FLOOR)))
    blur = error * z_norm
    squares, norm, lost = 0.0, 0.0, 0.0
    for stage in range(quads.size - 1):
        total, more_squares, more_norm, more_lost = _quantise(
            components, 4 * quads[stage], 4 * quads[stage + 1], np.float32(scale), scratch
        )
        panels.sums[position, stage] = -128 * total
        squares += more_squares
        norm += more_norm
        lost += more_lost
        length = np.sqrt(norm)
        outer, inner = z_norm * (1 + 4 * _HALF_ULP), max(length - blur, 0.0)
        high = np.sqrt(max(outer * outer - inner * inner, 0.0))
        outer, inner = z_norm * (1 - 4 * _HALF_ULP), length + blur
        low = np.sqrt(max(outer * outer - inner * inner, 0.0))
        rest = 0.5 * (low + high)
        total_lost = np.sqrt(lost) * (1 + 2.0**-30) + blur + (0.5 + 2.0**-30) * (high - low)
        total_lost += 2.0**-40 * z_norm
        square = scale * scale * squares + rest * rest
        _coefficients(panels, stage, position, eps, scale, square, rest, total_lost)
    _write(panels.prefix, scratch, position, n_components)


@njit(nogil=True, cache=True)
def _pack_full(panels, position, eps, centred, scratch):  # type: ignore[no-untyped-def]
    """Quantise all columns; returns |z|."""
    stage = panels.left.shape[1] - 1
    scale = np.float64(np.float32(max(_largest(centred) / 127.0, _SCALE_FLOOR)))
    total, squares, norm, lost = _quantise(centred, 0, centred.size, np.float32(scale), scratch)
    z_norm = np.sqrt(norm)
    panels.sums[position, stage] = -128 * total
    panels.scale[position] = scale
    panels.square[position] = scale * scale * squares
    panels.lost[position] = np.sqrt(lost) * (1 + 2.0**-30) + 2 * _HALF_ULP * z_norm + 2.0**-140
    _coefficients(
        panels, stage, position, eps, scale, panels.square[position], 0.0, panels.lost[position]
    )
    _write(panels.full, scratch, position, centred.size)
    return z_norm


@njit(nogil=True, cache=True)
def pack_panels(panels, start, centred, components, quads, error, eps):  # type: ignore[no-untyped-def]
    """Pack float32 rows ``centred`` (and their components) from position ``start`` on.

    Lanes of the last panel that hold no row get limits that no pair can meet.
    """
    scratch = np.empty((max(centred.shape[1], components.shape[1]) + 7) // 8 * 8, np.int8)
    n_rows = panels.rows.size
    for r in range(centred.shape[0]):
        position = start + r
        z_norm = _pack_full(panels, position, eps, centred[r], scratch)
        if quads.size > 1:
            _pack_prefix(panels, position, eps, z_norm, components[r], quads, error, scratch)
    if start + centred.shape[0] == n_rows:
        n_stages = panels.left.shape[1]
        for position in range(n_rows, -(-n_rows // PANEL_ROWS) * PANEL_ROWS):
            for stage in range(n_stages):
                at = ((position // PANEL_ROWS) * n_stages + stage) * 4 * PANEL_ROWS
                at += position % PANEL_ROWS
                panels.right[at] = np.inf
                for term in range(1, 4):
                    panels.right[at + term * PANEL_ROWS] = 0.0


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
            word = words[base + quad * PANEL_ROWS] ^ np.int32(-2139062144)
            out[out_at + quad * BLOCK_ROWS + lane] = word
