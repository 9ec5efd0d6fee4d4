"""Scan blocks of pairs with the int8 filter and report those within eps.

The unit of work is a chunk of left positions against a run of right panels. Inside, 8 x 48
pairs at a time pass a cascade: settled at once; ruled out by a prefix of their principal
components; ruled out or accepted by all columns; decided pair by pair in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topoact_gpu.kernels.dbscan.forest import find, found, settled
from topoact_gpu.kernels.pairs.cpu import within
from topoact_gpu.kernels.quantise.cpu import pack_left
from topoact_gpu.kernels.simd import (
    BLOCK_ROWS,
    LANES,
    PANEL_ROWS,
    atomic_add,
    dot_block,
    survivors,
    trailing_zeros,
)

__all__ = [
    "CHUNK_ROWS",
    "COUNTERS",
    "Scan",
    "Scratch",
    "empty_scratch",
    "probe_prefix",
    "scan_chunk",
    "scan_positions",
]

CHUNK_ROWS = 192
"""Left rows packed at a time, 4 panels: 192 x 512 bytes stay in the second-level cache."""

COUNTERS = ("tested", "settled", "undecided", "within", "prefix_tiles", "full_tiles")
"""Names of the counters kept by :func:`scan_chunk`."""
_TESTED, _SETTLED, _UNDECIDED, _WITHIN, _PREFIX, _FULL = range(6)


class Scan(NamedTuple):
    """What a scan is to do; arrays shared by all threads."""

    quads: NDArray[np.int64]
    """Ends of the prefix segments as packed."""
    n_segments: int
    """How many of them to use; 0 goes straight to all columns."""
    checks: NDArray[np.bool_]
    """Which segments end with a test."""
    few: int
    """At most this many survivors of a tile's prefix are decided one by one."""
    reach_low: float
    """eps * unit, rounded down; for accepting."""
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
    root: NDArray[np.int32]
    block: NDArray[np.int32]


def empty_scratch(n_cols: int, quads: NDArray[np.int64]) -> Scratch:
    """Working memory for one thread."""
    n_blocks = CHUNK_ROWS // BLOCK_ROWS
    n_stages = len(quads)
    return Scratch(
        np.empty(n_blocks * BLOCK_ROWS * -(-n_cols // 4), np.int32),
        np.empty(max(n_blocks * BLOCK_ROWS * int(quads[-1]), 1), np.int32),
        np.empty(n_blocks * n_stages * BLOCK_ROWS * 4, np.float32),
        np.empty(n_blocks * n_stages * BLOCK_ROWS, np.int32),
        np.empty(BLOCK_ROWS * PANEL_ROWS, np.int32),
        np.empty(BLOCK_ROWS * PANEL_ROWS // LANES, np.uint16),
        np.empty(n_blocks, np.int32),
        np.empty(n_blocks, np.int32),
    )


@njit(nogil=True, cache=True)
def _common_root(forest, local, low, high):  # type: ignore[no-untyped-def]
    """Root shared by the rows local[low:high] when all are core and joined, else -1."""
    root = np.int32(-1)
    for p in range(low, high):
        row = local[p]
        if forest.degree[row] < forest.min_samples:
            return np.int32(-1)
        own = find(forest.parent, row)
        if p == low:
            root = own
        elif own != root:
            return np.int32(-1)
    return root


@njit(nogil=True, cache=True)
def _positions_root(forest, local, positions):  # type: ignore[no-untyped-def]
    """The same for rows at given positions."""
    root = np.int32(-1)
    for p in range(positions.size):
        row = local[positions[p]]
        if forest.degree[row] < forest.min_samples:
            return np.int32(-1)
        own = find(forest.parent, row)
        if p == 0:
            root = own
        elif own != root:
            return np.int32(-1)
    return root


@njit(nogil=True, cache=True)
def _common(numbers, positions):  # type: ignore[no-untyped-def]
    """The number shared by all positions, or -1."""
    first = numbers[positions[0]]
    for p in range(1, positions.size):
        if numbers[positions[p]] != first:
            return np.int32(-1)
    return first


@njit(nogil=True, cache=True)
def _common_run(numbers, low, high):  # type: ignore[no-untyped-def]
    """The number shared by numbers[low:high], or -1."""
    for p in range(low + 1, high):
        if numbers[p] != numbers[low]:
            return np.int32(-1)
    return numbers[low]


@njit(nogil=True, cache=True)
def _pack_chunk(forest, scan, panels, positions, scratch):  # type: ignore[no-untyped-def]
    """Bring the left rows of a chunk into the form that dot_block and survivors read."""
    n_stages = panels.left.shape[1]
    n_full = scratch.full.size // CHUNK_ROWS
    n_prefix = scan.quads[-1]
    for b in range(-(-positions.size // BLOCK_ROWS)):
        some = positions[b * BLOCK_ROWS : (b + 1) * BLOCK_ROWS]
        pack_left(panels, some, panels.full, n_full, scratch.full[b * BLOCK_ROWS * n_full :])
        if n_prefix:
            pack_left(
                panels, some, panels.prefix, n_prefix, scratch.prefix[b * BLOCK_ROWS * n_prefix :]
            )
        for stage in range(n_stages):
            at = (b * n_stages + stage) * BLOCK_ROWS
            for lane in range(BLOCK_ROWS):
                if lane < some.size:
                    scratch.sums[at + lane] = panels.sums[some[lane], stage]
                    for term in range(4):
                        scratch.left[(at + lane) * 4 + term] = panels.left[some[lane], stage, term]
                else:
                    scratch.sums[at + lane] = 0
                    for term in range(4):
                        scratch.left[(at + lane) * 4 + term] = np.inf if term == 1 else 0.0
        scratch.root[b] = _positions_root(forest, panels.local, some)
        scratch.block[b] = _common(panels.block, some)


@njit(nogil=True, cache=True)
def _prefix_survivors(scan, right, panel, b, scratch, n_stages):  # type: ignore[no-untyped-def]
    """Number of pairs that no prefix rules out (masks set)."""
    n_prefix = scan.quads[-1]
    scratch.tile[:] = 0
    for stage in range(scan.n_segments):
        low, high = scan.quads[stage], scan.quads[stage + 1]
        at = (b * n_stages + stage) * BLOCK_ROWS
        dot_block(
            scratch.prefix,
            (b * n_prefix + low) * BLOCK_ROWS,
            right.prefix,
            (panel * n_prefix + low) * PANEL_ROWS * 4,
            high - low,
            scratch.sums,
            at,
            scratch.tile,
        )
        if scan.checks[stage]:
            alive = survivors(
                scratch.tile,
                0,
                PANEL_ROWS,
                scratch.left,
                at * 4,
                right.right,
                (panel * n_stages + stage) * 4 * PANEL_ROWS,
                scratch.masks,
            )
            if alive == 0:
                return 0
    return _count(scratch.masks)


@njit(nogil=True, cache=True)
def _count(masks):  # type: ignore[no-untyped-def]
    total = 0
    for word in range(masks.size):
        bits = masks[word]
        while bits:
            bits &= np.uint16(bits - np.uint16(1))
            total += 1
    return total


@njit(nogil=True, cache=True)
def _full_survivors(right, panel, b, scratch, n_stages):  # type: ignore[no-untyped-def]
    """Whether any pair may lie within eps by all columns (masks and products set)."""
    n_full = scratch.full.size // CHUNK_ROWS
    stage = n_stages - 1
    at = (b * n_stages + stage) * BLOCK_ROWS
    scratch.tile[:] = 0
    dot_block(
        scratch.full,
        b * n_full * BLOCK_ROWS,
        right.full,
        panel * n_full * PANEL_ROWS * 4,
        n_full,
        scratch.sums,
        at,
        scratch.tile,
    )
    return survivors(
        scratch.tile,
        0,
        PANEL_ROWS,
        scratch.left,
        at * 4,
        right.right,
        (panel * n_stages + stage) * 4 * PANEL_ROWS,
        scratch.masks,
    )


@njit(nogil=True, cache=True)
def _wanted(scan, left, right, i, j):  # type: ignore[no-untyped-def]
    """Whether the pair at positions (i, j) is to be reported by this scan."""
    if scan.upper and j <= i:
        return False
    if scan.skip_block and left.block[i] == right.block[j]:
        return False
    if scan.sampled[right.local[j]]:
        return scan.sampling and right.local[j] > left.local[i]
    return True


@njit(nogil=True, cache=True)
def _surely_within(scan, left, right, i, j, product):  # type: ignore[no-untyped-def]
    """Accept a pair by its int8 distance alone."""
    inner = scan.reach_low - left.lost[i] - right.lost[j]
    if inner <= 0.0:
        return False
    square = left.square[i] + right.square[j]
    square -= 2.0 * left.scale[i] * right.scale[j] * np.float64(product)
    return square <= inner * inner * (1 - 2.0**-40) - 2.0**-45 * (left.square[i] + right.square[j])


@njit(nogil=True, cache=True)
def _report_tile(  # type: ignore[no-untyped-def]
    rows, norms, limits, forest, scan, left, right, some, panel, scratch, whole, counters
):
    """Decide the marked pairs of a tile and report those within eps."""
    for word in range(scratch.masks.size):
        bits = np.int64(scratch.masks[word])
        i = some[word // 3] if bits else some[0]
        while bits:
            column = (word % 3) * LANES + trailing_zeros(bits)
            bits &= bits - 1
            j = panel * PANEL_ROWS + column
            if not _wanted(scan, left, right, i, j):
                continue
            a, b = left.local[i], right.local[j]
            if settled(forest, a, b):
                continue
            if not (
                whole
                and _surely_within(
                    scan, left, right, i, j, scratch.tile[(word // 3) * PANEL_ROWS + column]
                )
            ):
                counters[_UNDECIDED] += 1
                if not within(rows, norms, limits, left.rows[i], right.rows[j]):
                    continue
            counters[_WITHIN] += 1
            found(forest, a, b)


@njit(nogil=True, cache=True)
def _n_wanted(scan, some, low, high):  # type: ignore[no-untyped-def]
    """Pairs of a tile that a scan of the upper triangle looks at."""
    if not scan.upper:
        return some.size * (high - low)
    total = 0
    for p in range(some.size):
        total += high - max(low, min(some[p] + 1, high))
    return total


@njit(nogil=True, cache=True)
def scan_chunk(  # type: ignore[no-untyped-def]
    rows, norms, limits, forest, scan, left, right, positions, panel_range, scratch, counters, stop
):
    """Report all pairs within eps of the left rows at ``positions`` and a run of panels.

    Parameters
    ----------
    rows, norms, limits
        See :mod:`~topoact_gpu.kernels.pairs.cpu`.
    forest : Forest
    scan : Scan
    left, right : Panels
    positions : int32[at most CHUNK_ROWS], ascending
    panel_range : (int, int)
    scratch : Scratch
    counters : int64[len(COUNTERS)]
    stop : int64[1]
        Set by the caller to end the scan early; the result is then useless.
    """
    n_stages = left.left.shape[1]
    n_right = right.rows.size
    _pack_chunk(forest, scan, left, positions, scratch)
    for panel in range(panel_range[0], panel_range[1]):
        if stop[0]:
            return
        low = panel * PANEL_ROWS
        high = min(low + PANEL_ROWS, n_right)
        root = _common_root(forest, right.local, low, high)
        block = _common_run(right.block, low, high) if scan.skip_block else np.int32(-1)
        for b in range(-(-positions.size // BLOCK_ROWS)):
            some = positions[b * BLOCK_ROWS : (b + 1) * BLOCK_ROWS]
            if scan.upper and high - 1 <= some[0]:
                continue
            if scan.skip_block and block >= 0 and block == scratch.block[b]:
                continue
            n_pairs = _n_wanted(scan, some, low, high)
            if root >= 0:
                if scratch.root[b] < 0:
                    scratch.root[b] = _positions_root(forest, left.local, some)
                if scratch.root[b] >= 0 and find(forest.parent, scratch.root[b]) == root:
                    counters[_SETTLED] += n_pairs
                    continue
            counters[_TESTED] += n_pairs
            if scan.n_segments:
                counters[_PREFIX] += 1
                alive = _prefix_survivors(scan, right, panel, b, scratch, n_stages)
                if alive == 0:
                    continue
                if alive <= scan.few:
                    _report_tile(
                        rows, norms, limits, forest, scan, left, right, some, panel, scratch,
                        False, counters,
                    )
                    continue
            counters[_FULL] += 1
            if _full_survivors(right, panel, b, scratch, n_stages):
                _report_tile(
                    rows, norms, limits, forest, scan, left, right, some, panel, scratch,
                    True, counters,
                )


@njit(nogil=True, cache=True)
def scan_positions(  # type: ignore[no-untyped-def]
    rows, norms, limits, forest, scan, left, right, positions, panel_range, block_panels,
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
            rows, norms, limits, forest, scan, left, right, some, (low, high), scratch,
            counters, stop,
        )


@njit(nogil=True, cache=True)
def probe_prefix(forest, scan, left, right, positions, places, scratch):  # type: ignore[no-untyped-def]
    """Try sample tiles against the prefix and against all columns.

    Parameters
    ----------
    scan : Scan
        With all segments; ``checks`` is overwritten.
    places : int64[n_tiles, 2]
        (place of the first of 8 left rows in ``positions``, right panel) of each tile.

    Returns
    -------
    int64[n_tiles, n_stages]
        Pairs that survive each stage's test taken alone.
    """
    n_stages = left.left.shape[1]
    alive = np.zeros((places.shape[0], n_stages), np.int64)
    for t in range(places.shape[0]):
        some = positions[places[t, 0] : places[t, 0] + BLOCK_ROWS]
        _pack_chunk(forest, scan, left, some, scratch)
        for stage in range(n_stages - 1):
            scan.checks[:] = False
            scan.checks[stage] = True
            alive[t, stage] = _prefix_survivors(scan, right, places[t, 1], 0, scratch, n_stages)
        _full_survivors(right, places[t, 1], 0, scratch, n_stages)
        alive[t, n_stages - 1] = _count(scratch.masks)
    return alive
