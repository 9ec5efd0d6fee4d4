"""Scan a matrix of products that a library has made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from topoact_gpu.kernels.dbscan.forest import find
from topoact_gpu.kernels.dbscan.tiles import (
    SETTLED,
    TESTED,
    common_run,
    n_wanted,
    report_candidates,
    root_of_block,
    root_of_run,
)
from topoact_gpu.kernels.simd import (
    BLOCK_ROWS,
    LANES,
    PANEL_ROWS,
    survivors,
    trailing_zeros,
)

__all__ = ["scan_float_products", "scan_int_products", "wanted_tile"]


def _product_scanner(*, integers: bool) -> Any:
    """The scan of one matrix of products that somebody else has made."""

    @njit(nogil=True, cache=True)
    def scan_products(  # type: ignore[no-untyped-def]
        table, limits, forest, scan, left, right, positions, first_panel, stage, matrix, scratch,
        counters
    ):
        degree, parent, minimum = forest.degree, forest.parent, forest.min_samples
        left_local, right_local, right_block = left.local, right.local, right.block
        left_block, left_limits = left.block, left.left
        masks, places, products = scratch.masks, scratch.places, scratch.products
        own_limits = scratch.left
        n_stages, n_right, n_rows = left.left.shape[1], right.rows.size, positions.size
        whole = stage == n_stages - 1
        n_candidates, tested, skipped = 0, 0, 0
        for b in range(-(-n_rows // BLOCK_ROWS)):
            start = b * BLOCK_ROWS
            count = min(BLOCK_ROWS, n_rows - start)
            block = left_block[positions[start]]
            for lane in range(BLOCK_ROWS):
                if lane < count and left_block[positions[start + lane]] != block:
                    block = -1
                for term in range(4):
                    if lane < count:
                        own = left_limits[positions[start + lane], stage, term]
                    else:
                        own = np.float32(np.inf if term == 1 else 0.0)
                    own_limits[lane * 4 + term] = own
            root = root_of_block(degree, parent, minimum, left_local, positions, start)
            for column in range(0, matrix.shape[1], PANEL_ROWS):
                panel = first_panel + column // PANEL_ROWS
                low = panel * PANEL_ROWS
                high = min(low + PANEL_ROWS, n_right)
                if scan.upper and high - 1 <= positions[start]:
                    continue
                if scan.skip_block and block >= 0 and block == common_run(right_block, low, high):
                    continue
                n_pairs = count * (high - low)
                if scan.upper and low <= positions[start + count - 1]:
                    n_pairs = n_wanted(positions, start, low, high)
                if root >= 0:
                    other = root_of_run(degree, parent, minimum, right_local, low, high)
                    if other >= 0 and find(parent, root) == other:
                        skipped += n_pairs
                        continue
                tested += n_pairs
                if not survivors(
                    matrix.ctypes.data + (start * matrix.shape[1] + column) * 4,
                    matrix.shape[1],
                    own_limits.ctypes.data,
                    right.right.ctypes.data + (panel * n_stages + stage) * (PANEL_ROWS * 16),
                    masks.ctypes.data,
                    BLOCK_ROWS,
                    integers,
                ):
                    continue
                if n_candidates > places.shape[0] - BLOCK_ROWS * PANEL_ROWS:
                    report_candidates(
                        table, limits, forest, scan, left, right, places, products,
                        n_candidates, counters,
                    )
                    n_candidates = 0
                for word in range(masks.size):
                    bits = np.int64(masks[word])
                    lane = word // 3
                    while bits:
                        at = (word - 3 * lane) * LANES + trailing_zeros(bits)
                        bits &= bits - 1
                        places[n_candidates, 0] = positions[start + lane]
                        places[n_candidates, 1] = low + at
                        product = np.float64(matrix[start + lane, column + at])
                        products[n_candidates] = product if whole else np.nan
                        n_candidates += 1
        report_candidates(
            table, limits, forest, scan, left, right, places, products, n_candidates, counters
        )
        counters[TESTED] += tested
        counters[SETTLED] += skipped

    return scan_products


scan_float_products = _product_scanner(integers=False)
scan_int_products = _product_scanner(integers=True)


@njit(nogil=True, cache=True)
def wanted_tile(forest, scan, left, right, positions, first_panel, end_panel):  # type: ignore[no-untyped-def]
    """Whether any pair of a tile may still need its distance."""
    degree, parent, minimum = forest.degree, forest.parent, forest.min_samples
    high = min(end_panel * PANEL_ROWS, right.rows.size)
    if scan.upper and high - 1 <= positions[0]:
        return False
    root = root_of_run(degree, parent, minimum, right.local, first_panel * PANEL_ROWS, high)
    if root < 0:
        return True
    for start in range(0, positions.size, BLOCK_ROWS):
        if root_of_block(degree, parent, minimum, left.local, positions, start) != root:
            return True
    return False
