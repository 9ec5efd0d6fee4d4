"""Scan blocks of pairs with the int8 filter and report those within eps.

The unit of work is a chunk of left positions against a run of right panels. Inside, 8 x 48
pairs at a time pass a cascade: settled at once; ruled out by a prefix of their principal
components; ruled out or accepted by all columns; decided pair by pair in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topoact_gpu.kernels.dbscan.forest import find, found
from topoact_gpu.kernels.pairs.cpu import within
from topoact_gpu.kernels.quantise.cpu import pack_left, padded_quads
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
from topoact_gpu.kernels.table import aligned

__all__ = [
    "CHUNK_ROWS",
    "COUNTERS",
    "PANEL_QUAD",
    "Scan",
    "Scratch",
    "cheapest_plan",
    "empty_scratch",
    "probe_prefix",
    "scan_chunk",
    "scan_float_products",
    "scan_int_products",
    "scan_positions",
    "wanted_tile",
]

CHUNK_ROWS = 192
"""Left rows packed at a time, 4 panels: 192 x 512 bytes stay in the second-level cache."""

_N_CANDIDATES = 4096
"""Pairs collected before they are decided: a call costs as much as some tiles."""
COUNTERS = ("tested", "settled", "undecided", "within", "prefix_tiles", "row_tiles", "full_tiles")
"""Names of the counters kept by :func:`scan_chunk`."""
PANEL_QUAD = PANEL_ROWS * 4
"""Bytes of four columns of a panel."""
_TESTED, _SETTLED, _UNDECIDED, _WITHIN, _PREFIX, _ROW, _FULL = range(7)


class Scan(NamedTuple):
    """What a scan is to do; arrays shared by all threads."""

    quads: NDArray[np.int64]
    """Ends of the prefix segments as packed, from 0; [0] without a prefix."""
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
    masks: NDArray[np.uint16]
    places: NDArray[np.int32]
    products: NDArray[np.float64]


def empty_scratch(n_cols: int, quads: NDArray[np.int64]) -> Scratch:
    """Working memory for one thread."""
    n_blocks = CHUNK_ROWS // BLOCK_ROWS
    n_stages = len(quads)
    return Scratch(
        aligned(n_blocks * BLOCK_ROWS * padded_quads(n_cols), np.int32),
        aligned(max(n_blocks * BLOCK_ROWS * int(quads[-1]), 1), np.int32),
        aligned(n_blocks * n_stages * BLOCK_ROWS * 4, np.float32),
        aligned(n_blocks * n_stages * BLOCK_ROWS, np.int32),
        aligned(BLOCK_ROWS * PANEL_ROWS, np.int32),
        aligned(BLOCK_ROWS * PANEL_ROWS // LANES, np.uint16),
        np.empty((_N_CANDIDATES, 2), np.int32),
        np.empty(_N_CANDIDATES, np.float64),
    )


@njit(nogil=True, cache=True)
def _root_of_run(degree, parent, minimum, local, low, high):  # type: ignore[no-untyped-def]
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


@njit(nogil=True, cache=True)
def _root_of_block(degree, parent, minimum, local, positions, low):  # type: ignore[no-untyped-def]
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


@njit(nogil=True, cache=True)
def _common_run(numbers, low, high):  # type: ignore[no-untyped-def]
    """The number shared by numbers[low:high], or -1."""
    for p in range(low + 1, high):
        if numbers[p] != numbers[low]:
            return np.int32(-1)
    return numbers[low]


@njit(nogil=True, cache=True)
def _pack_chunk(scan, panels, positions, scratch):  # type: ignore[no-untyped-def]
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
def _rows_alive(masks):  # type: ignore[no-untyped-def]
    """Bit for each left row with a surviving pair, and the number of them."""
    bits, count = 0, 0
    for lane in range(BLOCK_ROWS):
        if masks[3 * lane] | masks[3 * lane + 1] | masks[3 * lane + 2]:
            bits |= 1 << lane
            count += 1
    return bits, count


@njit(nogil=True, cache=True)
def report_candidates(  # type: ignore[no-untyped-def]
    table, limits, forest, scan, left, right, places, products, n_candidates, counters
):
    """Decide the pairs collected so far and report those within eps.

    ``places`` int32[.., 2]: positions (i, j); ``products``: over all columns, or NaN.
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
    counters[_UNDECIDED] += n_undecided
    counters[_WITHIN] += n_within


@njit(nogil=True, cache=True)
def _n_wanted(positions, start, low, high):  # type: ignore[no-untyped-def]
    """Pairs (i, j) of a tile with j > i."""
    total = 0
    for p in range(start, min(start + BLOCK_ROWS, positions.size)):
        total += high - max(low, min(positions[p] + 1, high))
    return total


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
    _pack_chunk(scan, left, positions, scratch)
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
        roots[b] = _root_of_block(degree, parent, minimum, left_local, positions, start)
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
        root = _root_of_run(degree, parent, minimum, right_local, low, high)
        block = _common_run(right_block, low, high) if scan.skip_block else np.int32(-1)
        for b in range(n_blocks):
            start = b * BLOCK_ROWS
            if scan.upper and high - 1 <= positions[start]:
                break
            if block >= 0 and block == blocks[b]:
                continue
            n_pairs = min(BLOCK_ROWS, n_rows - start) * (high - low)
            if scan.upper and low <= positions[min(start + BLOCK_ROWS, n_rows) - 1]:
                n_pairs = _n_wanted(positions, start, low, high)
            if root >= 0:
                if roots[b] < 0:
                    roots[b] = _root_of_block(degree, parent, minimum, left_local, positions, start)
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
                bits, n_alive = _rows_alive(masks)
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
    counters[_TESTED] += tested
    counters[_SETTLED] += skipped
    counters[_PREFIX] += n_prefix_tiles
    counters[_ROW] += n_row_tiles
    counters[_FULL] += n_full_tiles


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
            root = _root_of_block(degree, parent, minimum, left_local, positions, start)
            for column in range(0, matrix.shape[1], PANEL_ROWS):
                panel = first_panel + column // PANEL_ROWS
                low = panel * PANEL_ROWS
                high = min(low + PANEL_ROWS, n_right)
                if scan.upper and high - 1 <= positions[start]:
                    continue
                if scan.skip_block and block >= 0 and block == _common_run(right_block, low, high):
                    continue
                n_pairs = count * (high - low)
                if scan.upper and low <= positions[start + count - 1]:
                    n_pairs = _n_wanted(positions, start, low, high)
                if root >= 0:
                    other = _root_of_run(degree, parent, minimum, right_local, low, high)
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
        counters[_TESTED] += tested
        counters[_SETTLED] += skipped

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
    root = _root_of_run(degree, parent, minimum, right.local, first_panel * PANEL_ROWS, high)
    if root < 0:
        return True
    for start in range(0, positions.size, BLOCK_ROWS):
        if _root_of_block(degree, parent, minimum, left.local, positions, start) != root:
            return True
    return False


@njit(nogil=True, cache=True)
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
    _pack_chunk(scan, left, positions, scratch)
    n_stages = left.left.shape[1]
    n_prefix = scan.quads[-1]
    n_blocks = positions.size // BLOCK_ROWS
    alive = np.zeros((n_blocks * panels.size, n_stages - 1), np.int64)
    tile_at, masks_at = scratch.tile.ctypes.data, scratch.masks.ctypes.data
    for t in range(alive.shape[0]):
        b, panel = t // panels.size, panels[t % panels.size]
        scratch.tile[:] = 0
        for stage in range(n_stages - 1):
            at, first = b * n_stages + stage, scan.quads[stage]
            dot_block(
                scratch.prefix.ctypes.data + (b * n_prefix + first) * (BLOCK_ROWS * 4),
                right.prefix.ctypes.data + (panel * n_prefix + first) * PANEL_QUAD,
                scan.quads[stage + 1] - first,
                scratch.sums.ctypes.data + at * (BLOCK_ROWS * 4),
                tile_at,
                False,
            )
            survivors(
                tile_at, PANEL_ROWS, scratch.left.ctypes.data + at * (BLOCK_ROWS * 16),
                right.right.ctypes.data + (panel * n_stages + stage) * (PANEL_ROWS * 16),
                masks_at, BLOCK_ROWS, True,
            )
            alive[t, stage] = _rows_alive(scratch.masks)[1]
    return alive


@njit(nogil=True, cache=True)
def cheapest_plan(alive, quads, few, full, row, quad, test, build):  # type: ignore[no-untyped-def]
    """The cheapest set of prefix tests for sample tiles, given rough costs in nanoseconds.

    ``build``: making four components of all rows, shared out over the tiles.

    Returns
    -------
    (int, int)
        Segments used (0: no prefix), and a bit for each segment that ends with a test.
    """
    n_tiles, n_segments = alive.shape[0], quads.size - 1
    best, best_used, best_checks = float(n_tiles * full), 0, 0
    for checks in range(1, 2**n_segments):
        used = n_segments
        while not (checks >> (used - 1)) & 1:
            used -= 1
        cost = n_tiles * build * quads[used]
        for t in range(n_tiles):
            going = True
            for stage in range(used):
                cost += (quads[stage + 1] - quads[stage]) * quad
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
