"""Pack rows for tensor cores, with proven bounds on what packing lost.

A row x becomes z = x * unit - mean, in float64. What is kept of it is s q: q whole numbers up to
127 in int8, or float16 numbers up to 1, and s a scale that a block of rows shares (neighbours in
space, so little is lost, and a tile of products needs one number a column less). With e a bound on
|z - s q|,

    | |x - y| * unit  -  |s q_x - s q_y| |  <=  e_x + e_y

so that the product of two packed rows says whether they are surely within eps, surely not, or
neither. The numbers by which that is asked are float32; ``SLACK`` covers their roundings.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from topoact_gpu.kernels.product.accumulator import LEAST_NORM
from topoact_gpu.kernels.quantise.panels import SLACK

__all__ = ["HALF", "INT8", "Packed", "ahead", "pack_rows", "padded_width", "step_of"]

INT8, HALF = "int8", "half"
TOP = 127
N_TERMS, N_BLOCK_TERMS = 5, 3
"""float32 numbers beside each packed row and each block of rows."""
_ROWS, _STEP = 8, 128


class Packed(NamedTuple):
    """Rows ready for the tile products."""

    kind: str
    """INT8 or HALF."""
    numbers: torch.Tensor
    """int8 or float16 [n, width], the columns padded with zeros."""
    terms: torch.Tensor
    """float32[N_TERMS, n]; see :func:`_terms`."""
    block_terms: torch.Tensor
    """float32[N_BLOCK_TERMS, n // block]; see :func:`_block_terms`."""


def step_of(kind: str, n_cols: int) -> int:
    """Columns that a tile product takes at a time."""
    least, most = (32, 128) if kind == INT8 else (16, 64)
    return min(max(triton.next_power_of_2(n_cols), least), most)


def padded_width(kind: str, n_cols: int) -> int:
    """Columns of packed rows: whole steps."""
    step = step_of(kind, n_cols)
    return -(-n_cols // step) * step


@triton.jit
def _centred(x, places, norms, mean, unit, columns, live, n_cols, NORMED: tl.constexpr):
    """float64[rows, columns] of z, 0 beyond the last column and for rows that are none."""
    inside = live[:, None] & (columns < n_cols)[None, :]
    z = tl.load(x + places[:, None] + columns[None, :], mask=inside, other=0.0).to(tl.float64)
    if NORMED:
        z = z / norms[:, None]
    z = z * unit - tl.load(mean + columns, mask=columns < n_cols, other=0.0)[None, :]
    return tl.where(inside, z, 0.0)


@triton.jit
def _pack(
    x, stride, row_of, norms, mean, unit_at, numbers, scales, squares, losses, n_cols,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr,
    NORMED: tl.constexpr, HALVES: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0).to(tl.int64)
    unit = tl.load(unit_at)
    largest = tl.zeros([ROWS], dtype=tl.float64)
    for start in range(0, BLOCK, ROWS):
        rows = tl.load(row_of + block * BLOCK + start + tl.arange(0, ROWS))
        norm = tl.load(norms + rows, mask=rows >= 0, other=1.0) if NORMED else unit
        for low in range(0, WIDTH, STEP):
            columns = low + tl.arange(0, STEP)
            z = _centred(x, rows * stride, norm, mean, unit, columns, rows >= 0, n_cols, NORMED)
            largest = tl.maximum(largest, tl.max(tl.abs(z), 1))
    most = tl.max(largest, 0)
    if HALVES:  # the power of two above the largest number
        exponent = most.to(tl.float32).to(tl.int32, bitcast=True) >> 23
        scale = ((exponent + 1) << 23).to(tl.float32, bitcast=True)
    else:
        scale = (most / 127.0).to(tl.float32)
    scale = tl.maximum(scale, 9.094947017729282e-13).to(tl.float64)  # 2**-40
    tl.store(scales + block, scale)
    for start in range(0, BLOCK, ROWS):
        at = block * BLOCK + start + tl.arange(0, ROWS)
        rows = tl.load(row_of + at)
        norm = tl.load(norms + rows, mask=rows >= 0, other=1.0) if NORMED else unit
        square = tl.zeros([ROWS], dtype=tl.float64)
        norm_square = tl.zeros([ROWS], dtype=tl.float64)
        lost = tl.zeros([ROWS], dtype=tl.float64)
        for low in range(0, WIDTH, STEP):
            columns = low + tl.arange(0, STEP)
            z = _centred(x, rows * stride, norm, mean, unit, columns, rows >= 0, n_cols, NORMED)
            if HALVES:
                packed = (z / scale).to(tl.float32).to(tl.float16)
            else:
                packed = tl.floor(z / scale + 0.5).to(tl.int8)
            kept = packed.to(tl.float64)
            rest = z - scale * kept
            square += tl.sum(kept * kept, 1)
            norm_square += tl.sum(z * z, 1)
            lost += tl.sum(rest * rest, 1)
            tl.store(
                numbers + at[:, None] * WIDTH + columns[None, :], packed,
                mask=(columns < WIDTH)[None, :] & (at >= 0)[:, None],
            )  # fmt: skip
        tl.store(squares + at, scale * scale * square)
        # Sums of float64 in any order (2**-30), z itself rounded once (2**-50), and a floor
        # (2**-54) that keeps all limits far from float32's smallest numbers. Literals are float32
        # to Triton: powers of two, added, lose nothing.
        bound = tl.sqrt(lost)
        bound += 9.313225746154785e-10 * bound + 8.881784197001252e-16 * tl.sqrt(norm_square)
        tl.store(losses + at, bound + 5.551115123125783e-17)


def pack_rows(
    kind: str,
    x: torch.Tensor,
    row_of: torch.Tensor,
    *,
    mean: torch.Tensor,
    unit: torch.Tensor,
    norms: torch.Tensor | None,
    reach: torch.Tensor,
    block: int,
    product_error: float,
) -> Packed:
    """Pack rows x[row_of].

    Parameters
    ----------
    kind : INT8 or HALF
    x : float16 | float32 | float64 [n_rows, n_cols]
        Adjacent columns.
    row_of : int64[n]
        Below 0: no row; its terms are such that it is within eps of nothing.
    mean : float64[n_cols]
    unit : float64[1]
        A power of two.
    norms : float64[n_rows], optional
        What rows are divided by first (the cosine metric).
    reach : float64[2, n]
        eps in the frame's unit for each row, rounded up and down (:func:`.reach.reaches`); of two
        rows that are ever compared it is the same.
    block : int
        Rows that a tile takes; divides n.
    product_error : float
        Bound on the error of a product of packed rows, relative to their norms
        (:func:`.accumulator.product_error`); 0 for INT8.

    Returns
    -------
    Packed
    """
    n, n_cols = len(row_of), x.shape[1]
    width = padded_width(kind, n_cols)
    dtype = torch.float16 if kind == HALF else torch.int8
    numbers = torch.empty((n, width), dtype=dtype, device=x.device)
    square, lost = torch.empty((2, n), dtype=torch.float64, device=x.device)
    scale = torch.empty(n // block, dtype=torch.float64, device=x.device)
    if n:
        _pack[(n // block,)](
            x, x.stride(0), row_of, mean if norms is None else norms, mean, unit, numbers,
            scale, square, lost, n_cols, WIDTH=width, BLOCK=block, ROWS=min(_ROWS, block),
            STEP=min(_STEP, width), NORMED=norms is not None, HALVES=kind == HALF,
        )  # fmt: skip
    live = row_of >= 0
    # The error of a product is relative to norms that count as LEAST_NORM at least.
    mass = square + (LEAST_NORM * scale.repeat_interleave(block)) ** 2
    slack = SLACK * square + product_error * mass
    terms = _terms(square, lost, live, reach, slack)
    slack, lost = (torch.where(live, each, 0.0).view(-1, block) for each in (slack, lost))
    return Packed(kind, numbers, terms, _block_terms(scale, lost, slack))


def _terms(
    square: torch.Tensor,
    lost: torch.Tensor,
    live: torch.Tensor,
    reach: torch.Tensor,
    slack: torch.Tensor,
) -> torch.Tensor:
    """Both sides of two questions about the product p of rows i and j, float32[N_TERMS, n].

    Within eps is possible: N_i + N_j - (r_i + e_j)^2 <= 2 s_i s_j p, with N the squared norm of
    what is kept and r = reach + e. With E no smaller than any e_j of a block it follows that
    ``(t0_i - 2 t1_i E) + t4_j <= 2 s_i s_j p``. Surely within: the same with (r'_i - e_j)^2,
    r' = reach_low - e, where r' > E: ``(t2_i + 2 t3_i E + M) + t4_j <= 2 s_i s_j p``; M makes up
    for t4 being rounded to the other side. E and M are those of `_block_terms`.
    """
    high, low = reach[0] + lost, reach[1] - lost
    terms = torch.stack(
        [
            square - high * high - (slack + SLACK * high * high),
            high,
            square - low * low + (slack + SLACK * low * low),
            low * (1 - 2.0**-20),
            square - lost * lost - (slack + SLACK * lost * lost),
        ]
    )
    nothing = torch.zeros(N_TERMS, 1, dtype=torch.float64, device=terms.device)
    nothing[[0, 2, 4]] = float("inf")
    return torch.where(live, terms, nothing).to(torch.float32)


def _block_terms(scale: torch.Tensor, lost: torch.Tensor, slack: torch.Tensor) -> torch.Tensor:
    """For each block its scale, E (the largest loss) and M (twice the largest slack).

    ``lost`` and ``slack`` are [n_blocks, block], 0 where there is no row.
    """
    most, most_slack = lost.amax(1), (slack + SLACK * lost * lost).amax(1)
    terms = [scale, most * (1 + 2.0**-20), 2 * (1 + 2.0**-20) * most_slack]
    return torch.stack(terms).to(torch.float32)


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is launched, for compiling it ahead of time."""
    signature = {
        "x": "*fp16", "stride": "i64", "row_of": "*i64", "norms": "*fp64", "mean": "*fp64",
        "unit_at": "*fp64", "numbers": "*i8", "scales": "*fp64", "squares": "*fp64",
        "losses": "*fp64", "n_cols": "i32",
    }  # fmt: skip
    entries: list[Any] = []
    for halves in (False, True):
        for dtype, normed in (("*fp16", False), ("*fp32", True)):
            constants = {
                "WIDTH": 512, "BLOCK": 128, "ROWS": _ROWS, "STEP": _STEP, "NORMED": normed,
                "HALVES": halves,
            }  # fmt: skip
            types = signature | {"x": dtype, "numbers": "*fp16" if halves else "*i8"}
            types |= dict.fromkeys(constants, "constexpr")
            name = f"pack {'half' if halves else 'int8'} from {dtype[1:]}"
            entries.append((name, _pack, types, constants, {}))
    return entries
