"""Packed rows: storage, and the coefficients that turn a product into a verdict.

Rows lie in panels of 48, word by word (:mod:`topoact_gpu.kernels.product.cpu` says what a word
is), so that a tile product reads them in one stream. Beside the words stand, for each prefix and
for all columns, four numbers a row by which the product of two rows is compared with eps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper, kernel
from topoact_gpu.kernels.product.cpu import BLOCK_ROWS, PANEL_ROWS, Coding, padded_words
from topoact_gpu.kernels.table import aligned

__all__ = [
    "HALF_ULP",
    "NORM_ERROR",
    "NORM_FLOOR",
    "SLACK",
    "Buffers",
    "Panels",
    "close_last_panel",
    "coefficients",
    "empty_buffers",
    "empty_panels",
    "pack_left",
    "permute_panels",
    "remainder",
    "write_words",
]

HALF_ULP = 2.0**-24
NORM_ERROR = 2.0**-16
"""Relative error of a norm taken from sums of up to 128 float32 squares: 130 * 2**-24 / 2 and
room to spare; :data:`NORM_FLOOR` is its absolute error, from squares below 2**-126."""
NORM_FLOOR = 2.0**-54
SLACK = 2.0**-19
"""Relative error of the float32 comparison: 12 roundings of 2**-24, and room to spare."""


class Panels(NamedTuple):
    """Packed rows; position p lies in panel p // 48, lane p % 48."""

    coding: Coding
    n_words: int
    """Of a row, all columns."""
    rows: NDArray[np.int64]
    local: NDArray[np.int32]
    block: NDArray[np.int32]
    full: NDArray[np.int32]
    """Words of all columns, panel after panel: [n_panels, n_words, 48]."""
    prefix: NDArray[np.int32]
    sums: NDArray[np.int32]
    """int32[n, n_stages]: minus the offset times the sum of a segment's int8 numbers."""
    left: NDArray[np.float32]
    right: NDArray[np.float32]
    scale: NDArray[np.float64]
    square: NDArray[np.float64]
    lost: NDArray[np.float64]
    norm: NDArray[np.float64]


def empty_panels(n_rows: int, n_cols: int, n_stages: int, coding: Coding) -> Panels:
    """Storage for ``n_rows`` packed rows, without a prefix; only ``sums`` is initialised."""
    n_panels = -(-n_rows // PANEL_ROWS)
    n_words = padded_words(n_cols, coding.columns)
    return Panels(
        coding,
        n_words,
        np.empty(n_rows, np.int64),
        np.empty(n_rows, np.int32),
        np.empty(n_rows, np.int32),
        aligned(n_panels * PANEL_ROWS * n_words, np.int32),
        aligned(0, np.int32),
        np.zeros((n_rows, n_stages), np.int32),
        np.empty((n_rows, n_stages, 4), np.float32),
        aligned(n_panels * n_stages * 4 * PANEL_ROWS, np.float32),
        np.empty(n_rows, np.float64),
        np.empty(n_rows, np.float64),
        np.empty(n_rows, np.float64),
        np.empty(n_rows, np.float64),
    )


class Buffers(NamedTuple):
    """Room for one row on its way into its panel."""

    floats: NDArray[np.float32]
    bytes: NDArray[np.int8]
    words: NDArray[np.int32]
    """The row's words: ``bytes`` seen as such, or ``floats``."""


def empty_buffers(n_words: int, coding: Coding) -> Buffers:
    """Buffers for rows of ``n_words`` words; padding is zero."""
    numbers = np.zeros(4 * n_words, np.int8)
    floats = np.zeros(n_words * coding.columns, np.float32)
    return Buffers(floats, numbers, (numbers if coding.columns > 1 else floats).view(np.int32))


@helper
def write_words(words, source, position, coding):  # type: ignore[no-untyped-def]
    """Put one row's words in its lane of its panel, in the form of right rows."""
    n_words, flip, add = source.size, coding.flip, coding.add
    # From a slice on, indices are known not to count from the end: four times as fast.
    lane = words[(position // PANEL_ROWS) * n_words * PANEL_ROWS + position % PANEL_ROWS :]
    for word in range(n_words):
        lane[word * PANEL_ROWS] = (source[word] ^ flip) - add


@helper
def coefficients(  # type: ignore[no-untyped-def]
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


@helper
def close_last_panel(right, n_rows, n_stages):  # type: ignore[no-untyped-def]
    """Give lanes that hold no row limits that no product can meet (their words are arbitrary)."""
    for position in range(n_rows, -(-n_rows // PANEL_ROWS) * PANEL_ROWS):
        for stage in range(n_stages):
            at = ((position // PANEL_ROWS) * n_stages + stage) * 4 * PANEL_ROWS
            at += position % PANEL_ROWS
            right[at] = np.nan
            for term in range(1, 4):
                right[at + term * PANEL_ROWS] = 0.0


@helper
def remainder(z_norm, length, blur):  # type: ignore[no-untyped-def]
    """Bounds on the norm of what a prefix of norm ``length`` (up to ``blur``) leaves out.

    Both norms are up to NORM_ERROR and NORM_FLOOR wrong.
    """
    outer = z_norm * (1 + NORM_ERROR) + NORM_FLOOR
    inner = max(length * (1 - NORM_ERROR) - blur, 0.0)
    high = np.sqrt(max(outer * outer - inner * inner, 0.0))
    outer, inner = z_norm * (1 - NORM_ERROR), length * (1 + NORM_ERROR) + NORM_FLOOR + blur
    return np.sqrt(max(outer * outer - inner * inner, 0.0)), high


@kernel
def _move_lanes(old, positions, n_words, new):  # type: ignore[no-untyped-def]
    """new[p] = old[positions[p]], for rows of ``n_words`` numbers in panels."""
    for p in range(positions.size):
        q = positions[p]
        row = old[(q // PANEL_ROWS) * n_words * PANEL_ROWS + q % PANEL_ROWS :]
        own = new[(p // PANEL_ROWS) * n_words * PANEL_ROWS + p % PANEL_ROWS :]
        for word in range(n_words):
            own[word * PANEL_ROWS] = row[word * PANEL_ROWS]


def permute_panels(panels: Panels, positions: NDArray[np.int64], n_cols: int) -> Panels:
    """Rows at ``positions`` (all columns, no prefix), in that order."""
    n_rows, n_stages = len(positions), panels.left.shape[1]
    out = empty_panels(n_rows, n_cols, n_stages, panels.coding)
    for name in ("rows", "local", "block", "sums", "left", "scale", "square", "lost", "norm"):
        np.take(getattr(panels, name), positions, axis=0, out=getattr(out, name), mode="clip")
    _move_lanes(panels.full, positions, panels.n_words, out.full)
    old, new = panels.right.view(np.int32), out.right.view(np.int32)
    _move_lanes(old, positions, 4 * n_stages, new)
    # Lanes that hold no row: limits that no product can meet; see close_last_panel.
    limits = out.right.reshape(-1, n_stages, 4, PANEL_ROWS)
    if n_rows % PANEL_ROWS:
        limits[-1, :, 0, n_rows % PANEL_ROWS :] = np.nan
        limits[-1, :, 1:, n_rows % PANEL_ROWS :] = 0.0
    return out


@helper
def pack_left(words, coding, positions, n_words, out, out_at):  # type: ignore[no-untyped-def]
    """Gather up to 8 rows as the left operand: int32[n_words, 8] in ``out``."""
    flip, add = coding.flip, coding.add
    for lane in range(BLOCK_ROWS):
        own = out[out_at + lane : out_at + n_words * BLOCK_ROWS]
        if lane >= positions.size:
            for word in range(n_words):
                own[word * BLOCK_ROWS] = 0
            continue
        position = positions[lane]
        row = words[(position // PANEL_ROWS) * n_words * PANEL_ROWS + position % PANEL_ROWS :]
        for word in range(n_words):
            own[word * BLOCK_ROWS] = (row[word * PANEL_ROWS] + add) ^ flip
