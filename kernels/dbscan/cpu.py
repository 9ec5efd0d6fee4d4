"""Scan blocks of pairs with the filter's tile products and report those within eps.

The unit of work is a chunk of left positions against a run of right panels. Inside, 8 x 48
pairs at a time pass a cascade: settled at once; ruled out by a prefix of their principal
components; ruled out or accepted by all columns; decided pair by pair in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from topoact_gpu.kernels.compiled import helper, kernel
from topoact_gpu.kernels.dbscan.forest import find
from topoact_gpu.kernels.dbscan.tiles import (
    BLOCK_LIMITS,
    BLOCK_WORD,
    CHUNK_ROWS,
    ENOUGH,
    FULL,
    PANEL_LIMITS,
    PANEL_WORD,
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
from topoact_gpu.kernels.product.cpu import (
    BLOCK_ROWS,
    LANES,
    PANEL_ROWS,
    dot_block,
    dot_row,
    survivors,
)
from topoact_gpu.kernels.quantise.panels import pack_left
from topoact_gpu.kernels.simd import atomic_add, trailing_zeros

__all__ = ["pack_chunk", "rows_alive", "scan_positions"]


@helper
def pack_chunk(scan, panels, positions, scratch):  # type: ignore[no-untyped-def]
    """Bring the left rows of a chunk into the form that dot_block and survivors read."""
    n_stages = panels.left.shape[1]
    n_full, n_prefix, coding = panels.n_words, scan.words[-1], panels.coding
    for b in range(-(-positions.size // BLOCK_ROWS)):
        some = positions[b * BLOCK_ROWS : (b + 1) * BLOCK_ROWS]
        pack_left(panels.full, coding, some, n_full, scratch.full, b * BLOCK_ROWS * n_full)
        if scan.n_segments:
            out_at = b * BLOCK_ROWS * n_prefix
            pack_left(panels.prefix, coding, some, n_prefix, scratch.prefix, out_at)
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


@helper
def rows_alive(masks):  # type: ignore[no-untyped-def]
    """Bit for each left row with a surviving pair, and the number of them."""
    bits, count = 0, 0
    for lane in range(BLOCK_ROWS):
        if masks[3 * lane] | masks[3 * lane + 1] | masks[3 * lane + 2]:
            bits |= 1 << lane
            count += 1
    return bits, count


class _Places(NamedTuple):
    """Addresses of what a tile reads and writes."""

    tile: int
    masks: int
    sums: int
    left: int
    full: int
    prefix: int
    right: int
    right_full: int
    right_prefix: int


@njit(inline="always")
def _places_of(scratch, right):  # type: ignore[no-untyped-def]
    return _Places(
        scratch.tile.ctypes.data, scratch.masks.ctypes.data, scratch.sums.ctypes.data,
        scratch.left.ctypes.data, scratch.full.ctypes.data, scratch.prefix.ctypes.data,
        right.right.ctypes.data, right.full.ctypes.data, right.prefix.ctypes.data,
    )


@njit(inline="always")
def _by_prefix(multiply, at, words, checks, n_segments, n_stages, b, panel):  # type: ignore[no-untyped-def]
    """Try the prefix's segments one by one; 0 when one rules the whole tile out."""
    alive, n_prefix = 1, words[-1]
    for stage in range(n_segments):
        left = at.prefix + (b * n_prefix + words[stage]) * BLOCK_WORD
        right = at.right_prefix + (panel * n_prefix + words[stage]) * PANEL_WORD
        n_words = words[stage + 1] - words[stage]
        start = at.sums + (b * n_stages + stage) * BLOCK_WORD
        dot_block(multiply, left, right, n_words, start, at.tile, stage == 0)
        if checks[stage]:
            alive = survivors(
                multiply, at.tile, at.left + (b * n_stages + stage) * BLOCK_LIMITS,
                at.right + (panel * n_stages + stage) * PANEL_LIMITS, at.masks, BLOCK_ROWS,
            )
            if alive == 0:
                break
    return alive


@njit(inline="always")
def _by_all_columns(multiply, at, n_words, n_stages, b, panel):  # type: ignore[no-untyped-def]
    """Try a whole tile; 0 when it is ruled out."""
    stage = b * n_stages + n_stages - 1
    dot_block(
        multiply, at.full + b * n_words * BLOCK_WORD,
        at.right_full + panel * n_words * PANEL_WORD, n_words, at.sums + stage * BLOCK_WORD,
        at.tile, True,
    )
    return survivors(
        multiply, at.tile, at.left + stage * BLOCK_LIMITS,
        at.right + (panel * n_stages + n_stages - 1) * PANEL_LIMITS, at.masks, BLOCK_ROWS,
    )


@njit(inline="always")
def _row_by_row(multiply, at, n_words, n_stages, b, panel, bits):  # type: ignore[no-untyped-def]
    """The same for the left rows in ``bits`` alone; masks of the others must be 0."""
    alive, stage = 0, b * n_stages + n_stages - 1
    while bits:
        lane = trailing_zeros(bits)
        bits &= bits - 1
        tile = at.tile + lane * PANEL_WORD
        dot_row(
            multiply, at.full + (b * n_words * BLOCK_ROWS + lane) * 4,
            at.right_full + panel * n_words * PANEL_WORD, n_words,
            at.sums + (stage * BLOCK_ROWS + lane) * 4, tile,
        )
        alive |= survivors(
            multiply, tile, at.left + (stage * BLOCK_ROWS + lane) * 16,
            at.right + (panel * n_stages + n_stages - 1) * PANEL_LIMITS, at.masks + lane * 6, 1,
        )
    return alive


@njit(inline="always")
def _collect(masks, tile, floats, positions, start, low, places, products, count):  # type: ignore[no-untyped-def]
    """Add the surviving pairs of a tile to those to be decided; the number there are then."""
    for word in range(masks.size):
        bits = np.int64(masks[word])
        lane = word // 3
        while bits:
            column = (word - 3 * lane) * LANES + trailing_zeros(bits)
            bits &= bits - 1
            places[count, 0] = positions[start + lane]
            places[count, 1] = low + column
            product = tile[lane * PANEL_ROWS + column]
            products[count] = product if floats.size == 0 else floats[lane * PANEL_ROWS + column]
            count += 1
    return count


@helper
def _describe_blocks(forest, panels, positions, roots, blocks):  # type: ignore[no-untyped-def]
    """Root and block number shared by the rows of each left block, or -1; how many there are."""
    n_blocks = -(-positions.size // BLOCK_ROWS)
    for b in range(n_blocks):
        start = b * BLOCK_ROWS
        roots[b] = root_of_block(
            forest.degree, forest.parent, forest.min_samples, panels.local, positions, start
        )
        blocks[b] = panels.block[positions[start]]
        for p in range(start, min(start + BLOCK_ROWS, positions.size)):
            if panels.block[positions[p]] != blocks[b]:
                blocks[b] = -1
    return n_blocks


@kernel
def scan_positions(  # type: ignore[no-untyped-def]
    table, limits, forest, scan, left, right, all_positions, panel_range, block_panels,
    next_chunk, scratch, counters, stop
):
    """Report all pairs within eps of the left rows at ``all_positions`` and a run of panels.

    Parameters
    ----------
    table : RowTable
    limits : Limits
    forest : Forest
    scan : Scan
    left, right : Panels
    all_positions : int32, ascending
    panel_range : (int, int)
    block_panels : int
        Above 0: each chunk meets only the panels of its own block of that many panels.
    next_chunk : int64[1]
        Shared by the threads: they take chunk after chunk of the positions.
    scratch : Scratch
    counters : int64[len(COUNTERS)]
    stop : int64[1]
        Set by the caller to end the scan early; the result is then useless.

    Notes
    -----
    Arrays are taken out of their records before the loops: numba counts references in and
    out, atomically, wherever an array crosses a call or leaves a tuple.
    """
    n_stages, n_right = left.left.shape[1], right.rows.size
    degree, parent, minimum = forest.degree, forest.parent, forest.min_samples
    left_local, right_local, right_block = left.local, right.local, right.block
    words, checks, n_segments = scan.words, scan.checks, scan.n_segments
    masks, places, products = scratch.masks, scratch.places, scratch.products
    tile, floats, roots, blocks = scratch.tile, scratch.floats, scratch.roots, scratch.blocks
    at, n_full, multiply = _places_of(scratch, right), left.n_words, scan.multiply
    tested, skipped, n_prefix_tiles, n_row_tiles, n_full_tiles = 0, 0, 0, 0, 0
    while not stop[0]:
        first = atomic_add(next_chunk, 0, np.int64(1)) * CHUNK_ROWS
        if first >= all_positions.size:
            break
        positions = all_positions[first : first + CHUNK_ROWS]
        first_panel, end_panel = panel_range
        own_panel = positions[0] // PANEL_ROWS
        if scan.upper:
            first_panel = max(first_panel, own_panel)
        if block_panels:
            end_panel = min(end_panel, (own_panel // block_panels + 1) * block_panels)
        pack_chunk(scan, left, positions, scratch)
        n_blocks = _describe_blocks(forest, left, positions, roots, blocks)
        n_rows, n_candidates = positions.size, np.int64(0)
        for panel in range(first_panel, end_panel):
            if stop[0]:
                break
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
                        roots[b] = root_of_block(
                            degree, parent, minimum, left_local, positions, start
                        )
                    if roots[b] >= 0 and find(parent, roots[b]) == root:
                        skipped += n_pairs
                        continue
                tested += n_pairs
                bits, n_alive = 0, BLOCK_ROWS
                if n_segments:
                    n_prefix_tiles += 1
                    if not _by_prefix(
                        multiply, at, words, checks, n_segments, n_stages, b, panel
                    ):
                        continue
                    bits, n_alive = rows_alive(masks)
                if n_alive <= scan.few:
                    n_row_tiles += n_alive
                    for word in range(masks.size):
                        masks[word] = 0
                    alive = _row_by_row(multiply, at, n_full, n_stages, b, panel, bits)
                else:
                    n_full_tiles += 1
                    alive = _by_all_columns(multiply, at, n_full, n_stages, b, panel)
                if not alive:
                    continue
                n_candidates = _collect(
                    masks, tile, floats, positions, start, low, places, products, n_candidates
                )
            if n_candidates > ENOUGH or panel == end_panel - 1:
                report_candidates(
                    table, limits, forest, scan, left, right, places, products, n_candidates,
                    counters,
                )
                n_candidates = np.int64(0)
    counters[TESTED] += tested
    counters[SETTLED] += skipped
    counters[PREFIX] += n_prefix_tiles
    counters[ROW] += n_row_tiles
    counters[FULL] += n_full_tiles
