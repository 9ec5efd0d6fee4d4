"""Row lenses with the bytes of the CPU's, and principal components, on a device.

A sum must run in column order, so one thread owns one row; that it and its neighbours read
memory side by side, rows are first turned into columns, a chunk at a time. Products and sums are
rounded one by one: the kernel is compiled without fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from topoact_gpu.kernels.launch import on_device, on_host
from topoact_gpu.kernels.lens.cpu import ROW_LENSES
from topoact_gpu.kernels.lens.principal import SHIFT_ROWS, principal_directions

__all__ = ["ahead", "moments", "pca", "project", "row_lens"]

_BLOCK = 128
_TOGETHER = 8
_OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit
def _with(total, one, mean, LENS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The total with one more number."""
    if LENS == "l2norm":
        total += one * one
    elif LENS == "l1norm":
        total += tl.abs(one)
    elif LENS == "mean":
        total += one
    elif LENS == "std":
        total += (one - mean) * (one - mean)
    else:
        size = tl.abs(one) if LENS == "linf" else one
        total = tl.where(total > size, total, size)
    return total


@triton.jit
def _lens_of_columns(  # type: ignore[no-untyped-def]
    columns, n_rows, n_cols, mean, out,
    LENS: tl.constexpr, BLOCK: tl.constexpr, TOGETHER: tl.constexpr,
):
    """out[r] = lens of row r of a [n_cols, n_rows] table."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < n_rows
    middle = tl.load(mean + row, inside, other=0.0)
    total = tl.full([BLOCK], float("-inf") if LENS == "max" else 0.0, tl.float64)
    at = columns + row
    for _ in range(n_cols // TOGETHER):
        for j in tl.static_range(TOGETHER):
            one = tl.load(at + j * n_rows, inside, other=0.0)
            total = _with(total, one.to(tl.float64), middle, LENS)
        at += TOGETHER * n_rows
    for _ in range(n_cols % TOGETHER):
        one = tl.load(at, inside, other=0.0)
        total = _with(total, one.to(tl.float64), middle, LENS)
        at += n_rows
    # Here rather than in torch, which divides with the reciprocal on a device and whose roots on
    # the host are not always the nearest number.
    if LENS == "mean" or LENS == "std":
        total = total / n_cols
    if LENS == "l2norm" or LENS == "std":
        total = tl.sqrt(total)
    tl.store(out + row, total, inside)


def row_lens(rows: Tensor, name: str, *, chunk_bytes: int = 2**25) -> Tensor:
    """One number a row; sums run in column order in float64, as on the CPU.

    Parameters
    ----------
    rows : float16 | float32 | float64 [n_rows, n_cols]
        With any strides.
    name : str
        One of :data:`topoact_gpu.kernels.lens.cpu.ROW_LENSES`; "l2norm" is also what the cosine
        metric divides by.
    chunk_bytes : int
        Rows that are turned into columns at a time; best when they stay in the second-level cache.

    Returns
    -------
    float64[n_rows]
    """
    n_rows, n_cols = rows.shape
    out = torch.empty(n_rows, dtype=torch.float64, device=rows.device)
    step = max(chunk_bytes // (n_cols * rows.element_size()), _BLOCK)
    for start in range(0, n_rows, step):
        columns = rows[start : start + step].t().contiguous()
        out[start : start + step] = _of_columns(columns, name)
    return out


def _of_columns(columns: Tensor, name: str) -> Tensor:
    """float64[n_rows] of a contiguous [n_cols, n_rows]."""
    n_cols, n_rows = columns.shape
    out = torch.empty(n_rows, dtype=torch.float64, device=columns.device)
    mean = _of_columns(columns, "mean") if name == "std" else torch.zeros_like(out)
    grid = (triton.cdiv(n_rows, _BLOCK),)
    _lens_of_columns[grid](
        columns, n_rows, n_cols, mean, out,
        LENS=name, BLOCK=_BLOCK, TOGETHER=_TOGETHER, **_OPTIONS,
    )  # fmt: skip
    return out


def moments(rows: Tensor, shift: Tensor, *, block_bytes: int = 2**28) -> tuple[Tensor, Tensor]:
    """Sum of the rows less a shift, and of their outer products, in float64.

    Parameters
    ----------
    rows : float16 | float32 | float64 [n_rows, n_cols]
    shift : float64[n_cols]
    block_bytes : int
        Rows that are turned into float64 at a time.

    Returns
    -------
    total : float64[n_cols]
    square : float64[n_cols, n_cols]
        Moments of parts of the rows, for the same shift, may be added.
    """
    total = torch.zeros_like(shift)
    square = torch.zeros((len(shift), len(shift)), dtype=torch.float64, device=rows.device)
    for block in rows.split(_rows_in(block_bytes, rows)):
        centred = block.to(torch.float64) - shift
        total += centred.sum(0)
        square.addmm_(centred.t(), centred)
    return total, square


def project(
    rows: Tensor, shift: Tensor, directions: Tensor, *, mean: Tensor, block_bytes: int = 2**28
) -> Tensor:
    """(rows - shift - mean) @ directions, float64[n_rows, n_components]."""
    out = torch.empty((len(rows), directions.shape[1]), dtype=torch.float64, device=rows.device)
    step = _rows_in(block_bytes, rows)
    for start in range(0, len(rows), step):
        block = rows[start : start + step].to(torch.float64)
        torch.mm(block - shift - mean, directions, out=out[start : start + step])
    return out


def _rows_in(n_bytes: int, rows: Tensor) -> int:
    """Rows of float64 that fit."""
    return max(n_bytes // (8 * rows.shape[1]), 1)


def pca(
    parts: Callable[[], Iterable[Tensor]], n_components: int, *, block_bytes: int = 2**28
) -> Tensor:
    """Principal components; the last bits may differ from the CPU's.

    Parameters
    ----------
    parts : callable
        Gives the rows, float16 | float32 | float64 [n, n_cols] in order, as often as it is
        called: twice. One part that is all rows, or several where these do not fit a device.
    n_components : int
    block_bytes : int
        Rows that are turned into float64 at a time.

    Returns
    -------
    float64[n_rows, n_components]

    Notes
    -----
    Sums over blocks of rows and the projection run on the device in float64, the eigenvectors on
    the host (:func:`topoact_gpu.kernels.lens.principal.principal_directions`).
    """
    shift = next(iter(parts()))[:SHIFT_ROWS].to(torch.float64).mean(0)
    n_rows, total, square = 0, torch.zeros_like(shift), shift.new_zeros(len(shift), len(shift))
    for rows in parts():
        part, part_square = moments(rows, shift, block_bytes=block_bytes)
        total, square, n_rows = total + part, square.add_(part_square), n_rows + len(rows)
    found = principal_directions(on_host(total), on_host(square), n_rows, n_components)
    mean, directions = (on_device(each, shift.device) for each in found)
    projected = [
        project(rows, shift, directions, mean=mean, block_bytes=block_bytes) for rows in parts()
    ]
    return torch.cat(projected)


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is compiled here: name, function, signature, constants and options of each kernel."""
    variants = [("fp16", name) for name in ROW_LENSES] + [("fp32", "l2norm"), ("fp64", "l2norm")]
    found = []
    for kind, name in variants:
        signature = {
            "columns": f"*{kind}", "n_rows": "i32", "n_cols": "i32", "mean": "*fp64",
            "out": "*fp64", "LENS": "constexpr", "BLOCK": "constexpr", "TOGETHER": "constexpr",
        }  # fmt: skip
        constants = {"LENS": name, "BLOCK": _BLOCK, "TOGETHER": _TOGETHER}
        found.append((f"{name}_{kind}", _lens_of_columns, signature, constants, _OPTIONS))
    return found
