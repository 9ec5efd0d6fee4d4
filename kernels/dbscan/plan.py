"""How to use the prefix: which tests pay, judged by sample tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import kernel
from topoact_gpu.kernels.dbscan.cpu import pack_chunk, rows_alive
from topoact_gpu.kernels.dbscan.tiles import BLOCK_LIMITS, BLOCK_WORD, PANEL_LIMITS, PANEL_WORD
from topoact_gpu.kernels.product.cpu import (
    AVX2,
    BLOCK_ROWS,
    FLOAT32,
    PORTABLE,
    VNNI,
    Coding,
    dot_block,
    padded_words,
    survivors,
)

__all__ = ["Plan", "best_plan", "probe_prefix"]


class Costs(NamedTuple):
    """Rough nanoseconds of one kind of product."""

    block: float
    """One word of 8 x 48 pairs."""
    row: float
    """One word of one row x 48 pairs."""


COSTS = {
    VNNI: Costs(6.5, 1.0),
    AVX2: Costs(13.0, 2.0),
    FLOAT32: Costs(9.0, 1.4),
    PORTABLE: Costs(60.0, 8.0),
}
_TEST_NS, _ROW_NS = 50.0, 30.0
"""A test of a whole tile; of one row."""
_BUILD_NS, _BUILD_ROW_NS = 0.02, 1.0
"""A component of a row: for each column, and for packing it."""


@dataclass(frozen=True)
class Plan:
    """Segments of the prefix to use, those that end with a test, and when to go row by row."""

    n_segments: int
    checks: NDArray[np.bool_]
    few: int


@kernel
def probe_prefix(scan, left, right, positions, panels, scratch):  # type: ignore[no-untyped-def]
    """Try the tiles of some left rows with some panels, by each prefix.

    Parameters
    ----------
    positions : int32[8 * n_blocks]
        Left rows.
    panels : int64[n_panels]

    Returns
    -------
    int64[n_blocks * n_panels, n_segments]
        Left rows of a tile with a pair that survives, for each test taken alone.
    """
    pack_chunk(scan, left, positions, scratch)
    n_stages = left.left.shape[1]
    n_prefix = scan.words[-1]
    n_blocks = positions.size // BLOCK_ROWS
    alive = np.zeros((n_blocks * panels.size, n_stages - 1), np.int64)
    tile_at, masks_at = scratch.tile.ctypes.data, scratch.masks.ctypes.data
    for t in range(alive.shape[0]):
        b, panel = t // panels.size, panels[t % panels.size]
        scratch.tile[:] = 0
        for stage in range(n_stages - 1):
            at, first = b * n_stages + stage, scan.words[stage]
            dot_block(
                scan.multiply, scratch.prefix.ctypes.data + (b * n_prefix + first) * BLOCK_WORD,
                right.prefix.ctypes.data + (panel * n_prefix + first) * PANEL_WORD,
                scan.words[stage + 1] - first,
                scratch.sums.ctypes.data + at * BLOCK_WORD,
                tile_at,
                False,
            )
            survivors(
                scan.multiply, tile_at, scratch.left.ctypes.data + at * BLOCK_LIMITS,
                right.right.ctypes.data + (panel * n_stages + stage) * PANEL_LIMITS,
                masks_at, BLOCK_ROWS,
            )
            alive[t, stage] = rows_alive(scratch.masks)[1]
    return alive


@kernel
def _cheapest_plan(alive, words, few, full, row, word, test, build):  # type: ignore[no-untyped-def]
    """The cheapest set of prefix tests for sample tiles, given rough costs in nanoseconds.

    ``build``: making one word of components of all rows, shared out over the tiles.

    Returns
    -------
    (int, int)
        Segments used (0: no prefix), and a bit for each segment that ends with a test.
    """
    n_tiles, n_segments = alive.shape[0], words.size - 1
    best, best_used, best_checks = float(n_tiles * full), 0, 0
    for checks in range(1, 2**n_segments):
        used = n_segments
        while not (checks >> (used - 1)) & 1:
            used -= 1
        cost = n_tiles * build * words[used]
        for t in range(n_tiles):
            going = True
            for stage in range(used):
                cost += (words[stage + 1] - words[stage]) * word
                if (checks >> stage) & 1:
                    cost += test
                    if alive[t, stage] == 0:
                        going = False
                        break
            if going:
                cost += alive[t, used - 1] * row if alive[t, used - 1] <= few else full
        if cost < best:
            best, best_used, best_checks = cost, used, checks
    return best_used, best_checks


def best_plan(
    alive: NDArray[np.int64],
    words: NDArray[np.int64],
    n_cols: int,
    rows_per_tile: float,
    coding: Coding,
) -> Plan | None:
    """The cheapest set of tests for the sample tiles.

    Notes
    -----
    A wrong choice costs time only, so the costs need not be exact.
    """
    costs, n_words = COSTS[coding.kind], padded_words(n_cols, coding.columns)
    full = n_words * costs.block + _TEST_NS
    row = n_words * costs.row + _ROW_NS
    few = min(int(full / row), BLOCK_ROWS - 1)
    build = rows_per_tile * coding.columns * (n_cols * _BUILD_NS + _BUILD_ROW_NS)
    used, bits = _cheapest_plan(alive, words, few, full, row, costs.block, _TEST_NS, build)
    checks = np.array([(bits >> stage) & 1 for stage in range(len(words))], np.bool_)
    return Plan(used, checks, few) if used else None
