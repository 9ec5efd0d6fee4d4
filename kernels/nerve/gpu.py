"""The edges of the nerve on a device: one number for each pair of nodes in a row, sorted, counted.

Pairs are made a block at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.tally import blocks_of, offsets_of, tally

__all__ = ["ahead", "edges", "find_edges", "row_nodes"]

_BLOCK = 128
_BYTES_A_PAIR = 40
"""A key, before and after sorting, what sorting needs, and a count."""
_OPTIONS = {"num_warps": 4}
_Ints = NDArray[np.int64]


@triton.jit
def _write_pairs(  # type: ignore[no-untyped-def]
    nodes, offsets, n_entries, n_nodes, keys, BLOCK: tl.constexpr
):
    """keys[...] = source * n_nodes + target, for the nodes after each entry in its row."""
    entry = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = entry < n_entries
    start = tl.load(offsets + entry, inside, other=0)
    n_later = tl.load(offsets + entry + 1, inside, other=0) - start
    at = keys + (start - tl.load(offsets))
    source = tl.load(nodes + entry, inside, other=0).to(tl.int64) * n_nodes
    for later in range(tl.max(n_later, 0)):
        more = later < n_later
        target = tl.load(nodes + entry + 1 + later, more, other=0)
        tl.store(at + later, source + target, more)


def row_nodes(indptr: Tensor, rows: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """List the nodes of each row, ascending.

    Parameters
    ----------
    indptr : int64[n_nodes + 1]
        Node ``a`` holds ``rows[indptr[a]:indptr[a + 1]]``.
    rows : int32 | int64 [nnz]
        Row ids from 0 to below ``n_rows``, unique within a node.
    n_rows : int

    Returns
    -------
    indptr : int64[n_rows + 1]
    nodes : int32[nnz]
        The arrays of :class:`topoact_gpu.nerve.RowNodes`.
    """
    numbers = torch.arange(len(indptr) - 1, dtype=torch.int32, device=rows.device)
    order = torch.sort(rows, stable=True).indices
    nodes = torch.repeat_interleave(numbers, indptr.diff())[order]
    return offsets_of(torch.bincount(rows, minlength=n_rows)), nodes


def edges(
    row_indptr: Tensor,
    nodes: Tensor,
    n_nodes: int,
    *,
    min_intersection: int = 1,
    block_bytes: int = 2**28,
) -> Tensor:
    """Pairs of nodes that share rows.

    Parameters
    ----------
    row_indptr, nodes
        From `row_nodes`.
    n_nodes : int
    min_intersection : int
        Rows that the nodes of an edge must share.
    block_bytes : int
        Memory for pairs; beside it there are a few numbers for each membership and edge, and one
        membership's pairs, fewer than there are nodes, always fit.

    Returns
    -------
    int64[n_edges, 3]
        (source, target, shared), source < target, sorted by (source, target).

    Notes
    -----
    Work is the sum over the rows of (nodes holding the row) squared, times that of sorting.
    """
    ends = torch.repeat_interleave(row_indptr[1:], row_indptr.diff())
    offsets = offsets_of(ends - torch.arange(1, len(nodes) + 1, device=nodes.device))
    keys, shared = tally(_counted_pairs(nodes, offsets, n_nodes, block_bytes))
    enough = shared >= min_intersection
    keys, shared = keys[enough], shared[enough]
    return torch.stack([keys // n_nodes, keys % n_nodes, shared], 1)


def _counted_pairs(
    nodes: Tensor, offsets: Tensor, n_nodes: int, block_bytes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Keys of the pairs of a block of memberships, and how often each occurs."""
    blocks = blocks_of(offsets, block_bytes // _BYTES_A_PAIR)
    for start, stop in blocks or [(0, 0)]:
        part = offsets[start : stop + 1]
        keys = torch.empty(int(part[-1] - part[0]), dtype=torch.int64, device=nodes.device)
        grid = (triton.cdiv(stop - start, _BLOCK),)
        _write_pairs[grid](
            nodes[start:], part, stop - start, n_nodes, keys, BLOCK=_BLOCK, **_OPTIONS
        )
        yield torch.unique(keys, return_counts=True)


def find_edges(indptr: _Ints, rows: _Ints, n_rows: int, *, min_intersection: int) -> _Ints:
    """`edges` of arrays on the host, as int64[n_edges, 3] there."""
    device = torch_device()
    row_indptr, nodes = row_nodes(on_device(indptr, device), on_device(rows, device), n_rows)
    return on_host(edges(row_indptr, nodes, len(indptr) - 1, min_intersection=min_intersection))


def ahead() -> list[tuple[str, Any, dict[str, str], dict[str, Any], dict[str, Any]]]:
    """What is compiled here: name, function, signature, constants and options of each kernel."""
    signature = {
        "nodes": "*i32", "offsets": "*i64", "n_entries": "i32", "n_nodes": "i32", "keys": "*i64",
        "BLOCK": "constexpr",
    }  # fmt: skip
    return [("pairs", _write_pairs, signature, {"BLOCK": _BLOCK}, _OPTIONS)]
