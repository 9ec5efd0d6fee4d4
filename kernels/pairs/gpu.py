"""Exact decisions on listed pairs of rows: a rough sum first, the definition for what it leaves."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from topoact_gpu.kernels.pairs.limits import fits_single, rough_limits

__all__ = ["Limits", "Rows", "ahead", "limits_for", "pair_squares", "within"]

_PAIRS = 8
_STEPS = {True: 128, False: 64}
"""Columns at a time, of float32 and of float64: what the registers hold."""
_EXACT_PAIRS = 32
_UNKNOWN = 2


class Rows(NamedTuple):
    """Rows as they are stored, and which of them stands at which place."""

    x: torch.Tensor
    """float16 | float32 | float64 [n_rows, n_cols], adjacent columns."""
    row_of: torch.Tensor
    """int64[n_places]"""
    norms: torch.Tensor | None
    """float64[n_rows]: what rows are divided by first (the cosine metric)."""


class Limits(NamedTuple):
    """What decides pairs by their squared distance; one entry for each eps."""

    table: torch.Tensor
    """float64[3, n_limits]: the definition's, and what a rough sum settles on either side."""
    limit_of: torch.Tensor
    """int32[n_places]: which of them; rows that meet have the same."""
    single: bool
    """The rough sum is float32's."""


def limits_for(
    squares: list[float], limit_of: torch.Tensor, x: torch.Tensor, *, normed: bool
) -> Limits:
    """Limits for some squares of eps."""
    n_cols = x.shape[1]
    single = x.dtype != torch.float64 and not normed
    single = single and all(fits_single(square, n_cols) for square in squares)
    entries = [(square, *rough_limits(square, n_cols, single=single)) for square in squares]
    table = torch.tensor(entries, dtype=torch.float64).T.contiguous()
    return Limits(table.to(x.device), limit_of, single)


@triton.jit
def _rough(
    x, stride, row_of, norms, limits, limit_of, n_limits, pairs, n_pairs, n_cols, verdicts,
    PAIRS: tl.constexpr, STEP: tl.constexpr, NORMED: tl.constexpr, SINGLE: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    live = at < n_pairs
    first = tl.load(pairs + 2 * at, mask=live, other=0)
    second = tl.load(pairs + 2 * at + 1, mask=live, other=0)
    row_a = tl.load(row_of + first, mask=live, other=0)
    row_b = tl.load(row_of + second, mask=live, other=0)
    if NORMED:
        norm_a = tl.load(norms + row_a, mask=live, other=1.0)[:, None]
        norm_b = tl.load(norms + row_b, mask=live, other=1.0)[:, None]
    total = tl.zeros([PAIRS], dtype=tl.float32 if SINGLE else tl.float64)
    for low in range(0, n_cols, STEP):
        columns = low + tl.arange(0, STEP)
        inside = live[:, None] & (columns < n_cols)[None, :]
        a = tl.load(x + (row_a * stride)[:, None] + columns[None, :], mask=inside, other=0.0)
        b = tl.load(x + (row_b * stride)[:, None] + columns[None, :], mask=inside, other=0.0)
        if SINGLE:
            step = a.to(tl.float32) - b.to(tl.float32)
        elif NORMED:
            step = a.to(tl.float64) / norm_a - b.to(tl.float64) / norm_b
        else:
            step = a.to(tl.float64) - b.to(tl.float64)
        total += tl.sum(step * step, 1)
    limit = tl.load(limit_of + first, mask=live, other=0)
    surely = tl.load(limits + n_limits + limit, mask=live, other=0.0)
    never = tl.load(limits + 2 * n_limits + limit, mask=live, other=0.0)
    wide = total.to(tl.float64)
    # Asked this way round, so that a sum that is no number stays unknown.
    verdict = tl.where(wide <= surely, 1, tl.where(wide > never, 0, 2))
    tl.store(verdicts + at, verdict.to(tl.int8), mask=live)


@triton.jit
def _squares(
    x, stride, row_of, norms, pairs, n_pairs, n_cols, squares,
    PAIRS: tl.constexpr, NORMED: tl.constexpr,
):  # fmt: skip
    """The definition's sum; launched without fused multiply-add. One pair, one thread."""
    at = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    live = at < n_pairs
    row_a = tl.load(row_of + tl.load(pairs + 2 * at, mask=live, other=0), mask=live, other=0)
    row_b = tl.load(row_of + tl.load(pairs + 2 * at + 1, mask=live, other=0), mask=live, other=0)
    if NORMED:
        norm_a = tl.load(norms + row_a, mask=live, other=1.0)
        norm_b = tl.load(norms + row_b, mask=live, other=1.0)
    total = tl.zeros([PAIRS], dtype=tl.float64)
    for k in range(n_cols):
        a = tl.load(x + row_a * stride + k, mask=live, other=0.0).to(tl.float64)
        b = tl.load(x + row_b * stride + k, mask=live, other=0.0).to(tl.float64)
        if NORMED:
            a = a / norm_a
            b = b / norm_b
        step = a - b
        total = total + step * step
    tl.store(squares + at, total, mask=live)


def pair_squares(rows: Rows, pairs: torch.Tensor) -> torch.Tensor:
    """Squared distances by the definition, float64[n_pairs], of pairs of places int32[n_pairs, 2].

    Column order, each step rounded in float64: the same bytes as anywhere.
    """
    x = rows.x
    squares = torch.empty(len(pairs), dtype=torch.float64, device=x.device)
    if len(pairs):
        _squares[(triton.cdiv(len(pairs), _EXACT_PAIRS),)](
            x, x.stride(0), rows.row_of, squares if rows.norms is None else rows.norms, pairs,
            len(pairs), x.shape[1], squares, PAIRS=_EXACT_PAIRS, NORMED=rows.norms is not None,
            num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip
    return squares


def within(rows: Rows, limits: Limits, pairs: torch.Tensor) -> torch.Tensor:
    """Whether each pair lies within its eps, exactly as the definition says; bool[n_pairs].

    Parameters
    ----------
    rows : Rows
    limits : Limits
    pairs : int32[n_pairs, 2]
        Places.

    Notes
    -----
    A rough sum reads both rows once, 8 pairs side by side; what it leaves open (one pair in 1e4
    of those that a filter left open) is summed in column order by one thread each.
    """
    x, n_limits = rows.x, limits.table.shape[1]
    verdicts = torch.empty(len(pairs), dtype=torch.int8, device=x.device)
    if not len(pairs):
        return verdicts.to(torch.bool)
    _rough[(triton.cdiv(len(pairs), _PAIRS),)](
        x, x.stride(0), rows.row_of, limits.table if rows.norms is None else rows.norms,
        limits.table, limits.limit_of, n_limits, pairs, len(pairs), x.shape[1], verdicts,
        PAIRS=_PAIRS, STEP=_STEPS[limits.single], NORMED=rows.norms is not None,
        SINGLE=limits.single,
    )  # fmt: skip
    unknown = torch.nonzero(verdicts == _UNKNOWN)[:, 0]
    result = verdicts == 1
    if len(unknown):
        left = pairs[unknown]
        limit = limits.table[0][limits.limit_of[left[:, 0].long()].long()]
        result[unknown] = pair_squares(rows, left) <= limit
    return result


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is launched, for compiling it ahead of time."""
    shared = {
        "x": "*fp16", "stride": "i64", "row_of": "*i64", "norms": "*fp64", "pairs": "*i32",
        "n_pairs": "i32", "n_cols": "i32",
    }  # fmt: skip
    rough = shared | {
        "limits": "*fp64", "limit_of": "*i32", "n_limits": "i32", "verdicts": "*i8",
    }  # fmt: skip
    entries: list[Any] = []
    for dtype, normed in (("*fp16", False), ("*fp32", True), ("*fp64", False)):
        single = dtype != "*fp64" and not normed
        constants: dict[str, Any] = {"PAIRS": _PAIRS, "STEP": _STEPS[single]}
        constants |= {"NORMED": normed, "SINGLE": single}
        types = rough | {"x": dtype} | dict.fromkeys(constants, "constexpr")
        entries.append((f"rough sums of {dtype[1:]}", _rough, types, constants, {}))
        constants = {"PAIRS": _EXACT_PAIRS, "NORMED": normed}
        types = shared | {"x": dtype, "squares": "*fp64"} | dict.fromkeys(constants, "constexpr")
        options = {"num_warps": 1, "enable_fp_fusion": False}
        entries.append((f"definition of {dtype[1:]}", _squares, types, constants, options))
    return entries
