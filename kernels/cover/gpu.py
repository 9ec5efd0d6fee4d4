"""Cover kernels for a device: a row's memberships are written out, sorted by element and joined.

Rows are taken in blocks, so that beside the result only the memberships of one block need room.
A stable sort leaves the rows of an element ascending.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.tally import blocks_of, offsets_of, tally

__all__ = ["ahead", "element_rows", "find_cells", "group", "row_cells"]

_BLOCK = 128
_BYTES_A_MEMBERSHIP = 64
"""Element, row and place, before and after sorting, and what sorting needs."""
_OPTIONS = {"num_warps": 4}
_Ints = NDArray[np.int64]


@triton.jit
def _write_memberships(  # type: ignore[no-untyped-def]
    cells, indptr, items, offsets, n_rows, n_columns, keys, BLOCK: tl.constexpr
):
    """keys[...] = the elements of each row: a choice from each column's list, added up."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < n_rows
    first = tl.load(offsets + row, inside, other=0)
    n_elements = tl.load(offsets + row + 1, inside, other=0) - first
    at = keys + (first - tl.load(offsets))
    for number in range(tl.max(n_elements, 0)):
        more = number < n_elements
        left = tl.zeros([BLOCK], tl.int64) + number
        element = tl.zeros([BLOCK], tl.int64)
        for column in range(n_columns):
            cell = tl.load(cells + row * n_columns + column, more, other=0)
            start = tl.load(indptr + cell, more, other=0)
            length = tl.load(indptr + cell + 1, more, other=1) - start
            element += tl.load(items + start + left % length, more, other=0)
            left = left // length
        tl.store(at + number, element, more)


def row_cells(column: Tensor, ends: Tensor) -> Tensor:
    """Number of interval ends at or below each value.

    Parameters
    ----------
    column : float64[n_rows]
    ends : float64[n_ends]
        Ascending.

    Returns
    -------
    int32[n_rows]
    """
    return torch.searchsorted(ends, column.contiguous(), right=True, out_int32=True)


def element_rows(
    cells: Tensor, indptr: Tensor, items: Tensor, n_grid: int, *, block_bytes: int = 2**28
) -> tuple[Tensor, Tensor, Tensor]:
    """Group the rows by the product elements that hold them.

    Parameters
    ----------
    cells : int32[n_rows, n_columns]
        Cell of each row in each column, numbered through all columns.
    indptr, items : int64
        Cell ``c`` lies in the intervals ``items[indptr[c]:indptr[c + 1]]``, each times the
        number of elements that differ in later columns only: an element is a sum of items.
    n_grid : int
        All elements are below.
    block_bytes : int
        Memory for the memberships of a block of rows, beside two numbers for each membership.

    Returns
    -------
    element_id : int64[n_elements]
        The elements that hold rows, ascending.
    starts : int64[n_elements + 1]
    rows : int64[nnz]
        Element ``e`` holds ``rows[starts[e]:starts[e + 1]]``, ascending.
    """
    n_of_row = indptr.diff()[cells[:, 0]]
    for column in cells.t()[1:]:
        n_of_row = n_of_row * indptr.diff()[column]
    offsets = offsets_of(n_of_row)
    blocks = blocks_of(offsets, block_bytes // _BYTES_A_MEMBERSHIP) or [(0, 0)]
    # Half as long keys take half as long to sort.
    kind = torch.int32 if n_grid < 2**31 else torch.int64
    parts = [_grouped(cells, indptr, items, offsets, block, kind) for block in blocks]
    element_id, counts = tally((keys, sizes) for keys, sizes, _ in parts)
    starts = offsets_of(counts)
    return element_id, starts, _joined(parts, element_id, starts)


def _grouped(
    cells: Tensor,
    indptr: Tensor,
    items: Tensor,
    offsets: Tensor,
    block: tuple[int, int],
    kind: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Elements that hold rows of a block, how many, and these rows, by element and row."""
    start, stop = block
    part = offsets[start : stop + 1]
    keys = torch.empty(int(part[-1] - part[0]), dtype=kind, device=cells.device)
    grid = (triton.cdiv(stop - start, _BLOCK),)
    _write_memberships[grid](
        cells[start:], indptr, items, part, stop - start, cells.shape[1], keys,
        BLOCK=_BLOCK, **_OPTIONS,
    )  # fmt: skip
    rows = torch.repeat_interleave(torch.arange(start, stop, device=cells.device), part.diff())
    keys, order = torch.sort(keys, stable=True)
    found, sizes = torch.unique_consecutive(keys, return_counts=True)
    return found.to(torch.int64), sizes, rows[order]


def _joined(
    parts: list[tuple[Tensor, Tensor, Tensor]], element_id: Tensor, starts: Tensor
) -> Tensor:
    """The rows of the blocks by element: each block's after those of the blocks before it."""
    out = torch.empty(int(starts[-1]), dtype=torch.int64, device=starts.device)
    cursor = starts[:-1].clone()
    for keys, sizes, rows in parts:
        at = torch.searchsorted(element_id, keys)
        shift = torch.repeat_interleave(cursor[at] - offsets_of(sizes)[:-1], sizes)
        out[shift + torch.arange(len(rows), device=rows.device)] = rows
        cursor[at] += sizes
    return out


def find_cells(
    column: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Cell of each row and whether each cell holds any, of arrays on the host."""
    device = torch_device()
    cells = row_cells(on_device(column, device), on_device(ends, device))
    held = torch.bincount(cells, minlength=ends.size + 1) > 0
    return on_host(cells), on_host(held)


def group(
    cells: NDArray[np.int32], indptr: _Ints, items: _Ints, n_grid: int
) -> tuple[_Ints, _Ints, _Ints]:
    """`element_rows` of arrays on the host, as arrays there."""
    device = torch_device()
    element_id, starts, rows = element_rows(
        on_device(cells, device), on_device(indptr, device), on_device(items, device), n_grid
    )
    return on_host(element_id), on_host(starts), on_host(rows)


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is compiled here: name, function, signature, constants and options of each kernel."""
    found = []
    for kind in ("i32", "i64"):
        signature = {
            "cells": "*i32", "indptr": "*i64", "items": "*i64", "offsets": "*i64",
            "n_rows": "i32", "n_columns": "i32", "keys": f"*{kind}", "BLOCK": "constexpr",
        }  # fmt: skip
        name = f"memberships_{kind}"
        found.append((name, _write_memberships, signature, {"BLOCK": _BLOCK}, _OPTIONS))
    return found
