"""Which product decides the pairs that it can: chosen once, by what this machine has.

Every filter has a proven bound and gives the same labels; the choice is one of speed.

int8        our fused kernel; needs AVX-512 VNNI.
int8-torch  torch's int8 product (oneDNN), where torch is installed and its sums are exact.
float32     numpy's BLAS; always there.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError
from topoact_gpu.kernels.simd import BLOCK_ROWS, HAS_VNNI, PANEL_ROWS, dot_block

__all__ = ["FILTERS", "choose_filter", "int8_product", "single_threaded_torch", "top_number"]

FILTERS = ("int8", "int8-torch", "float32")
_MOST_INT8_COLUMNS = 2**17
"""127 * 127 * 2**17 is below 2**31."""
_VARIABLE = "TOPOACT_FILTER"
_TOPS = (127, 79)
"""Largest numbers to try: without VNNI, sums of two int16 products saturate above 79."""


@njit(nogil=True, cache=True)
def _fused_product(left, right, start, n_quads, tile):  # type: ignore[no-untyped-def]
    dot_block(
        left.ctypes.data, right.ctypes.data, n_quads, start.ctypes.data, tile.ctypes.data, True
    )


def _extremes(n_rows: int, n_cols: int, top: int) -> NDArray[np.int8]:
    """Rows of the largest numbers of either sign, where saturation would show."""
    signs = np.random.default_rng(0).choice(np.array([-top, top], np.int8), (n_rows, n_cols))
    signs[0], signs[1 % n_rows] = top, -top
    return signs


@cache
def fused_is_exact() -> bool:
    """Whether this processor has the instruction and our kernel's sums are right on it."""
    if not HAS_VNNI:
        return False
    left, right = _extremes(BLOCK_ROWS, 64, 127), _extremes(PANEL_ROWS, 64, 127)
    words = np.ascontiguousarray(left.reshape(BLOCK_ROWS, 16, 4).transpose(1, 0, 2)).view(np.int32)
    panel = (right.astype(np.int16) + 128).astype(np.uint8)
    panel = np.ascontiguousarray(panel.reshape(PANEL_ROWS, 16, 4).transpose(1, 0, 2))
    start = (-128 * left.sum(1, dtype=np.int64)).astype(np.int32)
    tile = np.empty(BLOCK_ROWS * PANEL_ROWS, np.int32)
    _fused_product(words.ravel(), panel.ravel(), start, 16, tile)
    wanted = left.astype(np.int64) @ right.T.astype(np.int64)
    return bool((tile.reshape(BLOCK_ROWS, PANEL_ROWS) == wanted).all())


def int8_product(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.int32]:
    """int32 products of the rows of two int8 matrices, by torch."""
    import torch

    product = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).T)
    result: NDArray[np.int32] = product.numpy()
    return result


@cache
def top_number() -> int:
    """Largest int8 number for which torch's sums are exact here; 0: none, or no torch."""
    if importlib.util.find_spec("torch") is None:
        return 0
    for top in _TOPS:
        left, right = _extremes(64, 512, top), _extremes(96, 512, top)
        wanted = left.astype(np.int64) @ right.T.astype(np.int64)
        if (int8_product(left, right) == wanted).all():
            return top
    return 0


def _seconds(work: Any) -> float:
    work()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@cache
def _faster_product() -> str:
    """torch's int8 product or float32 BLAS, whichever is faster here (a few milliseconds)."""
    if not top_number():
        return "float32"
    left, right = _extremes(192, 512, 79), _extremes(576, 512, 79)
    floats = left.astype(np.float32), right.astype(np.float32)
    with single_threaded_torch():
        int8 = _seconds(lambda: int8_product(left, right))
    return "int8-torch" if int8 < _seconds(lambda: floats[0] @ floats[1].T) else "float32"


def choose_filter(n_cols: int) -> str:
    """The filter for rows of this length: TOPOACT_FILTER if it is set, else the fastest there is.

    Rows of more than 131,072 columns get float32: their int8 sums might overflow.

    Raises
    ------
    ParameterError
        The variable names a filter that is unknown, or not to be had here or for such rows.
    """
    wanted = os.environ.get(_VARIABLE, "")
    too_long = n_cols > _MOST_INT8_COLUMNS
    if not wanted and too_long:
        return "float32"
    if not wanted:
        return "int8" if fused_is_exact() else _faster_product()
    if wanted not in FILTERS:
        raise ParameterError(f"{_VARIABLE} must be one of {', '.join(FILTERS)}, got {wanted!r}")
    if wanted != "float32" and too_long:
        raise ParameterError(
            f"{_VARIABLE}={wanted} takes rows of at most {_MOST_INT8_COLUMNS:,} columns, "
            f"got {n_cols:,}; use float32"
        )
    if wanted == "int8" and not fused_is_exact():
        raise ParameterError(
            f"{_VARIABLE}=int8 needs a processor with AVX-512 VNNI; use int8-torch or float32"
        )
    if wanted == "int8-torch" and not top_number():
        raise ParameterError(
            f"{_VARIABLE}=int8-torch needs torch with an exact int8 product; "
            "install torch or use float32"
        )
    return wanted


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """One torch thread for the calls within, and as many as before after them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
