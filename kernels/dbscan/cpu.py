"""Scan blocks of pairs with the fused int8 filter and report those within eps.

The unit of work is a chunk of left positions against a run of right panels. Inside, 8 x 48
pairs at a time pass a cascade: settled at once; ruled out by a prefix of their principal
components; ruled out or accepted by all columns; decided pair by pair in float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from topoact_gpu.kernels.dbscan.forest import find
from topoact_gpu.kernels.dbscan.tiles import (
    CHUNK_ROWS,
    FULL,
    PANEL_QUAD,
    PREFIX,
    ROW,
    SETTLED,
    TESTED,
    common_run,
    n_wanted,
    report_candidates,
    root_of_block,
    root_of_run,
)
from topoact_gpu.kernels.quantise.cpu import pack_left
from topoact_gpu.kernels.simd import (
    BLOCK_ROWS,
    LANES,
    PANEL_ROWS,
    atomic_add,
    dot_block,
    dot_row,
    survivors,
    trailing_zeros,
)

__all__ = ["pack_chunk", "rows_alive", "scan_chunk", "scan_positions"]


@njit(nogil=True, cache=True)
def pack_chunk(scan, panels, positions, scratch):  # type: ignore[no-untyped-def]
    """Bring the left rows of a chunk into the form that dot_block and survivors read."""
    n_stages = panels.left.shape[1]
    n_full = scratch.full.size // CHUNK_ROWS
    n_prefix = scan.quads[-1]
    for b in range(-(-positions.size // BLOCK_ROWS)):
        some = positions[b * BLOCK_ROWS : (b + 1) * BLOCK_ROWS]
        pack_left(panels.full, some, n_full, scratch.full, b * BLOCK_ROWS * n_full)
        if scan.n_segments:
            pack_left(panels.prefix, some, n_prefix, scratch.prefix, b * BLOCK_ROWS * n_prefix)
        for lane in range(BLOCK_ROWS):
            for stage in range(n_stages):
                at = (b * n_stages + stage) * BLOCK_ROWS + lane
                if lane < some.size:
                    scratch.sums[at] = panels.sums[some[lane], stage]
                    for term in range(4):
                        scratch.left[at * 4 + term] = panels.left[some[lane], stage, term]
                else:
                    scratch.sums[at] = 0
                    for term in range(4):
                        scratch.left[at * 4 + term] = np.inf if term == 1 else 0.0


@njit(nogil=True, cache=True)
def rows_alive(masks):  # type: ignore[no-untyped-def]
    """Bit for each left row with a surviving pair, and the number of them."""
    bits, count = 0, 0
    for lane in range(BLOCK_ROWS):
        if masks[3 * lane] | masks[3 * lane + 1] | masks[3 * lane + 2]:
            bits |= 1 << lane
            count += 1
    return bits, count


@njit(nogil=True, cache=True)
def scan_chunk(  # type: ignore[no-untyped-def]
    table, limits, forest, scan, left, right, positions, panel_range, scratch, counters, stop
):
    """Report all pairs within eps of the left rows at ``positions`` and a run of panels.

    Parameters
    ----------
    table : RowTable
    limits : Limits
    forest : Forest
    scan : Scan
    left, right : Panels
    positions : int32[at most CHUNK_ROWS], ascending
    panel_range : (int, int)
    scratch : Scratch
    counters : int64[len(COUNTERS)]
    stop : int64[1]
        Set by the caller to end the scan early; the result is then useless.

    Notes
    -----
    Arrays are taken out of their records before the loops: numba counts references in and
    out, atomically, wherever an array crosses a call or leaves a tuple.
    """
    pack_chunk(scan, left, positions, scratch)
    n_stages, n_right, n_rows = left.left.shape[1], right.rows.size, positions.size
    degree, parent, minimum = forest.degree, forest.parent, forest.min_samples
    left_local, right_local, right_block = left.local, right.local, right.block
    quads, checks, n_segments = scan.quads, scan.checks, scan.n_segments
    n_full, n_prefix = scratch.full.size // CHUNK_ROWS, quads[-1]
    tile, masks, places, products = scratch.tile, scratch.masks, scratch.places, scratch.products
    n_candidates = 0
    tile_at, masks_at = tile.ctypes.data, masks.ctypes.data
    sums_at, left_at = scratch.sums.ctypes.data, scratch.left.ctypes.data
    full_at, prefix_at = scratch.full.ctypes.data, scratch.prefix.ctypes.data
    right_full_at, right_prefix_at = right.full.ctypes.data, right.prefix.ctypes.data
    right_at = right.right.ctypes.data
    n_blocks = -(-n_rows // BLOCK_ROWS)
    roots = np.empty(n_blocks, np.int32)
    blocks = np.full(n_blocks, -1, np.int32)
    for b in range(n_blocks):
        start = b * BLOCK_ROWS
        roots[b] = root_of_block(degree, parent, minimum, left_local, positions, start)
        blocks[b] = left.block[positions[start]]
        for p in range(start, min(start + BLOCK_ROWS, n_rows)):
            if left.block[positions[p]] != blocks[b]:
                blocks[b] = -1
    tested, skipped, n_prefix_tiles, n_row_tiles, n_full_tiles = 0, 0, 0, 0, 0
    for panel in range(panel_range[0], panel_range[1]):
        if stop[0]:
            return
        low = panel * PANEL_ROWS
        high = min(low + PANEL_ROWS, n_right)
        root = root_of_run(degree, parent, minimum, right_local, low, high)
        block = common_run(right_block, low, high) if scan.skip_block else np.int32(-1)
        for b in range(n_blocks):
            start = b * BLOCK_ROWS
            if scan.upper and high - 1 <= positions[start]:
                break
            if block >= 0 and block == blocks[b]:
                continue
            n_pairs = min(BLOCK_ROWS, n_rows - start) * (high - low)
            if scan.upper and low <= positions[min(start + BLOCK_ROWS, n_rows) - 1]:
                n_pairs = n_wanted(positions, start, low, high)
            if root >= 0:
                if roots[b] < 0:
                    roots[b] = root_of_block(degree, parent, minimum, left_local, positions, start)
                if roots[b] >= 0 and find(parent, roots[b]) == root:
                    skipped += n_pairs
                    continue
            tested += n_pairs
            alive, bits, n_alive = 1, 0, BLOCK_ROWS
            if n_segments:
                n_prefix_tiles += 1
                for stage in range(n_segments):
                    at = b * n_stages + stage
                    left_quad = prefix_at + (b * n_prefix + quads[stage]) * (BLOCK_ROWS * 4)
                    right_quad = right_prefix_at + (panel * n_prefix + quads[stage]) * PANEL_QUAD
                    n_quads = quads[stage + 1] - quads[stage]
                    start_at = sums_at + at * (BLOCK_ROWS * 4)
                    if stage == 0:
                        dot_block(left_quad, right_quad, n_quads, start_at, tile_at, True)
                    else:
                        dot_block(left_quad, right_quad, n_quads, start_at, tile_at, False)
                    if checks[stage]:
                        alive = survivors(
                            tile_at, PANEL_ROWS, left_at + at * (BLOCK_ROWS * 16),
                            right_at + (panel * n_stages + stage) * (PANEL_ROWS * 16),
                            masks_at, BLOCK_ROWS, True,
                        )
                        if alive == 0:
                            break
                if alive == 0:
                    continue
                bits, n_alive = rows_alive(masks)
            at = b * n_stages + n_stages - 1
            limits_at = right_at + (panel * n_stages + n_stages - 1) * (PANEL_ROWS * 16)
            if n_alive <= scan.few:
                alive = 0
                n_row_tiles += n_alive
                masks[:] = 0
                while bits:
                    lane = trailing_zeros(bits)
                    bits &= bits - 1
                    dot_row(
                        full_at + (b * n_full * BLOCK_ROWS + lane) * 4,
                        right_full_at + panel * n_full * PANEL_QUAD,
                        n_full,
                        sums_at + (at * BLOCK_ROWS + lane) * 4,
                        tile_at + lane * (PANEL_ROWS * 4),
                    )
                    alive |= survivors(
                        tile_at + lane * (PANEL_ROWS * 4), PANEL_ROWS,
                        left_at + (at * BLOCK_ROWS + lane) * 16, limits_at,
                        masks_at + lane * 6, 1, True,
                    )
            else:
                n_full_tiles += 1
                dot_block(
                    full_at + b * n_full * (BLOCK_ROWS * 4),
                    right_full_at + panel * n_full * PANEL_QUAD,
                    n_full,
                    sums_at + at * (BLOCK_ROWS * 4),
                    tile_at,
                    True,
                )
                alive = survivors(
                    tile_at, PANEL_ROWS, left_at + at * (BLOCK_ROWS * 16), limits_at,
                    masks_at, BLOCK_ROWS, True,
                )
            if alive:
                if n_candidates > places.shape[0] - BLOCK_ROWS * PANEL_ROWS:
                    report_candidates(
                        table, limits, forest, scan, left, right, places, products,
                        n_candidates, counters,
                    )
                    n_candidates = 0
                for word in range(masks.size):
                    found_bits = np.int64(masks[word])
                    if not found_bits:
                        continue
                    lane = word // 3
                    i = positions[start + lane]
                    first = (word - 3 * lane) * LANES
                    while found_bits:
                        column = first + trailing_zeros(found_bits)
                        found_bits &= found_bits - 1
                        places[n_candidates, 0] = i
                        places[n_candidates, 1] = low + column
                        products[n_candidates] = tile[lane * PANEL_ROWS + column]
                        n_candidates += 1
    report_candidates(
        table, limits, forest, scan, left, right, places, products, n_candidates, counters
    )
    counters[TESTED] += tested
    counters[SETTLED] += skipped
    counters[PREFIX] += n_prefix_tiles
    counters[ROW] += n_row_tiles
    counters[FULL] += n_full_tiles


@njit(nogil=True, cache=True)
def scan_positions(  # type: ignore[no-untyped-def]
    table, limits, forest, scan, left, right, positions, panel_range, block_panels,
    next_chunk, scratch, counters, stop
):
    """Scan chunk after chunk of ``positions`` until none is left; threads share ``next_chunk``.

    ``block_panels`` > 0 keeps each chunk to the panels of its own block of that many panels.
    """
    while not stop[0]:
        start = atomic_add(next_chunk, 0, np.int64(1)) * CHUNK_ROWS
        if start >= positions.size:
            return
        some = positions[start : start + CHUNK_ROWS]
        low, high = panel_range
        if scan.upper:
            low = max(low, some[0] // PANEL_ROWS)
        if block_panels:
            high = min(high, (some[0] // PANEL_ROWS // block_panels + 1) * block_panels)
        scan_chunk(
            table, limits, forest, scan, left, right, some, (low, high), scratch,
            counters, stop,
        )
