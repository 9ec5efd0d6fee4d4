"""The pair filter: tiles of products on tensor cores, and a verdict on every pair of them.

A program takes one tile of ``block`` x ``block`` pairs. The product of the packed rows says of
each pair whether it is surely within eps, surely not, or neither. Most tiles of real data hold
only the second kind, or are known to be settled, and end there; verdicts of the others are kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from topoact_gpu.kernels.quantise.gpu import HALF, INT8, Packed, step_of

__all__ = [
    "INSIDE",
    "OPEN",
    "OUTSIDE",
    "Judged",
    "Shape",
    "Verdicts",
    "ahead",
    "empty_verdicts",
    "judge_tiles",
]

OUTSIDE, INSIDE, OPEN = 0, 1, 2
"""Verdicts on a pair: surely not within eps, surely within, undecided."""


class Shape(NamedTuple):
    """How a tile is cut up; chosen once."""

    block: int = 128
    """Rows on either side; a power of two of at least 16."""
    n_warps: int = 8
    """Eight make do with 128 registers on Hopper, so that two programs share a multiprocessor:
    one multiplies while the other judges."""
    n_stages: int = 3


class Verdicts(NamedTuple):
    """Room for what a launch finds."""

    table: torch.Tensor
    """int8[n_tiles, block, block]"""
    kept: torch.Tensor
    """int32[n_tiles, 2]: the tile that each entry of the table belongs to."""
    coarse: torch.Tensor
    """int32[n_tiles, 2]: tiles put off for a finer product."""
    counts: torch.Tensor
    """int32[3]: tiles kept, put off, and passed over because their rows are settled."""
    shape: Shape


class Judged(NamedTuple):
    """What a launch found; views of `Verdicts`, good until the next."""

    table: torch.Tensor
    kept: torch.Tensor
    coarse: torch.Tensor
    n_settled: int


def empty_verdicts(n_tiles: int, shape: Shape, device: torch.device) -> Verdicts:
    """Room for launches of up to ``n_tiles`` tiles: block * block + 16 bytes each."""
    tiles = torch.empty((2, n_tiles, 2), dtype=torch.int32, device=device)
    table = torch.empty((n_tiles, shape.block, shape.block), dtype=torch.int8, device=device)
    return Verdicts(
        table, tiles[0], tiles[1], torch.zeros(3, dtype=torch.int32, device=device), shape
    )


@triton.jit
def _product(numbers, at_i, at_j, WIDTH: tl.constexpr, STEP: tl.constexpr, HALVES: tl.constexpr):
    """Products of packed rows, as float32 [block, block]."""
    columns = tl.arange(0, STEP)
    left = numbers + at_i[:, None] * WIDTH + columns[None, :]
    right = numbers + at_j[None, :] * WIDTH + columns[:, None]
    if HALVES:
        total = tl.zeros([at_i.shape[0], at_j.shape[0]], dtype=tl.float32)
    else:
        total = tl.zeros([at_i.shape[0], at_j.shape[0]], dtype=tl.int32)
    for low in range(0, WIDTH, STEP):
        a = tl.load(left + low)
        b = tl.load(right + low)
        if HALVES:
            total = tl.dot(a, b, total, input_precision="ieee", out_dtype=tl.float32)
        else:
            total = tl.dot(a, b, total, out_dtype=tl.int32)
    return total.to(tl.float32)


@triton.jit
def _judge(
    numbers, terms, block_terms, n, tiles, block_root, table, kept, coarse, counts, most_open,
    WIDTH: tl.constexpr, STEP: tl.constexpr, BLOCK: tl.constexpr, HALVES: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    block_i = tl.load(tiles + 2 * tile)
    block_j = tl.load(tiles + 2 * tile + 1)
    root = tl.load(block_root + block_i)
    if (root >= 0) & (root == tl.load(block_root + block_j)):
        tl.atomic_add(counts + 2, 1)
    else:
        at_i = block_i.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        at_j = block_j.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        product = _product(numbers, at_i, at_j, WIDTH, STEP, HALVES)
        # The terms are those of quantise.gpu: one number a column, since a thread holds a tile's
        # product for many columns and few rows.
        n_blocks = n // BLOCK
        per_product = 0.5 / tl.load(block_terms + block_i) / tl.load(block_terms + block_j)
        lost = tl.load(block_terms + n_blocks + block_j)
        left = terms + at_i
        limit = tl.load(left) - 2.0 * lost * tl.load(left + n)
        other = per_product * tl.load(terms + 4 * n + at_j)
        product -= other[None, :]
        limit = per_product * limit
        if tl.max(tl.max(product - limit[:, None], 1), 0) >= 0:
            within = tl.arange(0, BLOCK)
            above = (block_i != block_j) | (within[None, :] > within[:, None])
            low = tl.load(left + 3 * n)
            surely = tl.load(left + 2 * n) + 2.0 * lost * low
            surely += tl.load(block_terms + 2 * n_blocks + block_j)
            surely = tl.where(low > lost, per_product * surely, float("inf"))
            verdict = tl.where(product >= surely[:, None], 1, 2)
            verdict = tl.where(above & (product >= limit[:, None]), verdict, 0)
            n_open = tl.sum(tl.sum(verdict >> 1, 1), 0)
            if n_open > most_open:
                place = tl.atomic_add(counts + 1, 1)
                tl.store(coarse + 2 * place, block_i)
                tl.store(coarse + 2 * place + 1, block_j)
            else:
                place = tl.atomic_add(counts, 1)
                tl.store(kept + 2 * place, block_i)
                tl.store(kept + 2 * place + 1, block_j)
                own = table + place.to(tl.int64) * BLOCK * BLOCK
                inner = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
                tl.store(own + inner, verdict.to(tl.int8))


def judge_tiles(
    verdicts: Verdicts,
    packed: Packed,
    tiles: torch.Tensor,
    block_root: torch.Tensor,
    *,
    n_cols: int,
    most_open: int = 2**31 - 1,
) -> Judged:
    """Judge the pairs of some tiles.

    Parameters
    ----------
    verdicts : Verdicts
        Room for as many tiles.
    packed : Packed
        Rows in whole blocks; the two sides of a tile are of one interval.
    tiles : int32[n_tiles, 2]
        Blocks (i, j); of a tile (i, i) only pairs above the diagonal count.
    block_root : int32[n_blocks]
        Where both blocks of a tile have the same number, not below 0, the tile is settled.
    n_cols : int
        Columns of the rows before packing.
    most_open : int
        Tiles with more undecided pairs are put off instead of kept.

    Returns
    -------
    Judged
        Tiles with a pair that may be within eps, in any order.
    """
    verdicts.counts.zero_()
    shape = verdicts.shape
    _judge[(len(tiles),)](
        packed.numbers, packed.terms, packed.block_terms, packed.terms.shape[1], tiles, block_root,
        verdicts.table, verdicts.kept, verdicts.coarse, verdicts.counts, most_open,
        WIDTH=packed.numbers.shape[1], STEP=step_of(packed.kind, n_cols), BLOCK=shape.block,
        HALVES=packed.kind == HALF, num_warps=shape.n_warps, num_stages=shape.n_stages,
    )  # fmt: skip
    n_kept, n_coarse, n_settled = verdicts.counts.tolist()
    return Judged(
        verdicts.table[:n_kept], verdicts.kept[:n_kept], verdicts.coarse[:n_coarse], n_settled
    )


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is launched, for compiling it ahead of time."""
    shape = Shape()
    entries: list[Any] = []
    for kind in (INT8, HALF):
        for width in (128, 512):
            constants = {
                "WIDTH": width, "STEP": step_of(kind, width), "BLOCK": shape.block,
                "HALVES": kind == HALF,
            }  # fmt: skip
            types = {
                "numbers": "*fp16" if kind == HALF else "*i8", "terms": "*fp32",
                "block_terms": "*fp32", "n": "i64",
                "tiles": "*i32", "block_root": "*i32", "table": "*i8", "kept": "*i32",
                "coarse": "*i32", "counts": "*i32", "most_open": "i32",
            }  # fmt: skip
            types |= dict.fromkeys(constants, "constexpr")
            options = {"num_warps": shape.n_warps, "num_stages": shape.n_stages}
            entries.append((f"tile {kind}, {width} columns", _judge, types, constants, options))
    return entries
