"""What every scan of pairs shares: its task, its scratch memory, and the end of every pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.compiled import helper
from topoact_gpu.kernels.dbscan.forest import find, found
from topoact_gpu.kernels.pairs.cpu import within
from topoact_gpu.kernels.product.cpu import BLOCK_ROWS, FLOAT32, LANES, PANEL_ROWS, Products
from topoact_gpu.kernels.table import aligned

__all__ = [
    "BLOCK_LIMITS",
    "BLOCK_WORD",
    "CHUNK_ROWS",
    "COUNTERS",
    "ENOUGH",
    "FULL",
    "PANEL_LIMITS",
    "PANEL_WORD",
    "PREFIX",
    "ROW",
    "SETTLED",
    "TESTED",
    "Scan",
    "Scratch",
    "common_run",
    "empty_scratch",
    "n_wanted",
    "report_candidates",
    "root_of_block",
    "root_of_run",
]

CHUNK_ROWS = 192
"""Left rows packed at a time, 4 panels: 192 x 512 bytes stay in the second-level cache."""

COUNTERS = ("tested", "settled", "undecided", "within", "prefix_tiles", "row_tiles", "full_tiles")
"""Names of the counters kept by :func:`.cpu.scan_positions`."""
PANEL_WORD = PANEL_ROWS * 4
"""Bytes of one word of all rows of a panel."""
BLOCK_WORD = BLOCK_ROWS * 4
"""The same of a block."""
PANEL_LIMITS = PANEL_ROWS * 16
"""Bytes of the four float32 coefficients of all rows of a panel, for one stage."""
BLOCK_LIMITS = BLOCK_ROWS * 16
TESTED, SETTLED, UNDECIDED, WITHIN, PREFIX, ROW, FULL = range(7)
ENOUGH = 4096
"""Pairs collected before they are decided: a call costs as much as some tiles."""
_N_CANDIDATES = ENOUGH + CHUNK_ROWS * PANEL_ROWS
"""Room for them, and for those of one more panel."""


class Scan(NamedTuple):
    """What a scan is to do; arrays shared by all threads."""

    multiply: Products
    words: NDArray[np.int64]
    """Ends of the prefix segments as packed, in words, from 0; [0] without a prefix."""
    n_segments: int
    """How many of them to use; 0 goes straight to all columns."""
    checks: NDArray[np.bool_]
    """Which segments end with a test."""
    few: int
    """Up to this many left rows with survivors are taken further one by one."""
    reach_low: float
    """eps * unit, rounded down; for accepting."""
    slack: float
    """Error of an estimated squared distance, relative to the rows' squared norms + 2**-60."""
    upper: bool
    """Left and right are the same panels: take position j > i only."""
    skip_block: bool
    """Pairs within one block have been reported already."""
    sampled: NDArray[np.uint8]
    """By local number: 1 for rows whose pairs were all reported, or are being reported."""
    sampling: bool
    """The left rows are those sampled."""


class Scratch(NamedTuple):
    """One thread's working memory."""

    full: NDArray[np.int32]
    prefix: NDArray[np.int32]
    left: NDArray[np.float32]
    sums: NDArray[np.int32]
    tile: NDArray[np.int32]
    floats: NDArray[np.float32]
    """The tile seen as floats where it holds such, else empty."""
    masks: NDArray[np.uint16]
    places: NDArray[np.int32]
    products: NDArray[np.float64]
    roots: NDArray[np.int32]
    blocks: NDArray[np.int32]


def empty_scratch(kind: int, n_words: int, n_prefix_words: int, n_stages: int) -> Scratch:
    """Working memory for one thread."""
    n_blocks = CHUNK_ROWS // BLOCK_ROWS
    tile = aligned(BLOCK_ROWS * PANEL_ROWS, np.int32)
    return Scratch(
        aligned(n_blocks * BLOCK_ROWS * n_words, np.int32),
        aligned(max(n_blocks * BLOCK_ROWS * n_prefix_words, 1), np.int32),
        aligned(n_blocks * n_stages * BLOCK_ROWS * 4, np.float32),
        aligned(n_blocks * n_stages * BLOCK_ROWS, np.int32),
        tile,
        tile.view(np.float32)[: len(tile) if kind == FLOAT32 else 0],
        aligned(BLOCK_ROWS * PANEL_ROWS // LANES, np.uint16),
        np.empty((_N_CANDIDATES, 2), np.int32),
        np.empty(_N_CANDIDATES, np.float64),
        np.empty(n_blocks, np.int32),
        np.empty(n_blocks, np.int32),
    )


@helper
def root_of_run(degree, parent, minimum, local, low, high):  # type: ignore[no-untyped-def]
    """Root shared by the rows local[low:high] when all are core and joined, else -1."""
    root = np.int32(-1)
    for p in range(low, high):
        row = local[p]
        if degree[row] < minimum:
            return np.int32(-1)
        own = find(parent, row)
        if p == low:
            root = own
        elif own != root:
            return np.int32(-1)
    return root


@helper
def root_of_block(degree, parent, minimum, local, positions, low):  # type: ignore[no-untyped-def]
    """The same for the rows at positions[low : low + 8]."""
    root = np.int32(-1)
    for p in range(low, min(low + BLOCK_ROWS, positions.size)):
        row = local[positions[p]]
        if degree[row] < minimum:
            return np.int32(-1)
        own = find(parent, row)
        if p == low:
            root = own
        elif own != root:
            return np.int32(-1)
    return root


@helper
def common_run(numbers, low, high):  # type: ignore[no-untyped-def]
    """The number shared by numbers[low:high], or -1."""
    for p in range(low + 1, high):
        if numbers[p] != numbers[low]:
            return np.int32(-1)
    return numbers[low]


@helper
def report_candidates(  # type: ignore[no-untyped-def]
    table, limits, forest, scan, left, right, places, products, n_candidates, counters
):
    """Decide the pairs collected so far and report those within eps.

    ``places`` int32[.., 2]: positions (i, j); ``products``: over all columns.
    """
    degree, parent, minimum = forest.degree, forest.parent, forest.min_samples
    left_local, left_block, left_lost = left.local, left.block, left.lost
    left_square, left_scale, left_rows = left.square, left.scale, left.rows
    right_local, right_block, right_lost = right.local, right.block, right.lost
    right_square, right_scale, right_rows = right.square, right.scale, right.rows
    sampled, upper, skip_block, sampling = scan.sampled, scan.upper, scan.skip_block, scan.sampling
    n_undecided, n_within = 0, 0
    for c in range(n_candidates):
        i, j = places[c, 0], places[c, 1]
        a, b = left_local[i], right_local[j]
        if degree[a] >= minimum and degree[b] >= minimum and find(parent, a) == find(parent, b):
            continue
        if (upper and j <= i) or (skip_block and left_block[i] == right_block[j]):
            continue
        if sampled[b] and not (sampling and b > a):
            continue
        inner = scan.reach_low - left_lost[i] - right_lost[j]
        squares = left_square[i] + right_square[j]
        estimate = squares - 2.0 * left_scale[i] * right_scale[j] * np.float64(products[c])
        accepted = inner * inner * (1 - 2.0**-40) - scan.slack * (squares + 2.0**-60)
        if not (inner > 0.0 and estimate <= accepted):
            n_undecided += 1
            if not within(table, limits, left_rows[i], right_rows[j]):
                continue
        n_within += 1
        found(forest, a, b)
    counters[UNDECIDED] += n_undecided
    counters[WITHIN] += n_within


@helper
def n_wanted(positions, start, low, high):  # type: ignore[no-untyped-def]
    """Pairs (i, j) of a tile with j > i."""
    total = 0
    for p in range(start, min(start + BLOCK_ROWS, positions.size)):
        total += high - max(low, min(positions[p] + 1, high))
    return total
