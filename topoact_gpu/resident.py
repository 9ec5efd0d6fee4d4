"""Rows where compiled code can reach them: in memory as they are, copied, or on scratch disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError
from topoact_gpu.kernels.table import RowTable, make_table
from topoact_gpu.rows import Rows, check_finite

__all__ = ["Resident", "float_dtype", "is_addressable", "resident"]

_FLOATS = ("float16", "float32", "float64")
_EXACT_IN_FLOAT32 = ("int8", "uint8", "int16", "uint16")


class Resident:
    """Rows as float16, float32 or float64 with adjacent columns.

    Attributes
    ----------
    rows : Rows
        The same rows, for whoever reads blocks.
    where : str
        "as given", "copied to memory", "scratch file" or "device memory".
    """

    def __init__(self, rows: Rows, array: NDArray[Any] | None, where: str) -> None:
        self.rows, self.where = rows, where
        self._array = array

    @cached_property
    def array(self) -> NDArray[Any]:
        """float16 | float32 | float64 [n_rows, n_cols] in host memory."""
        assert self._array is not None
        return self._array

    @cached_property
    def table(self) -> RowTable:
        """The same for kernels of the processor; valid as long as ``array`` lives."""
        return make_table(self.array)

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Copy of the rows ``ids``, adjacent in memory."""
        return np.ascontiguousarray(self.array[ids])

    def largest(self, team: Team) -> float:
        """Largest absolute value; raises when a value is not finite."""
        check_finite(self.rows)
        step = max(2**21 // self.array.shape[1], 1)

        def work(start: int) -> float:
            part = self.array[start : start + step]
            if part.dtype == np.float16:
                bits = np.bitwise_and(part.view(np.uint16), np.uint16(0x7FFF)).max()
                return float(bits.view(np.float16))
            return float(max(part.max(), -part.min()))

        return max(team.map(work, range(0, len(self.array), step)))


@contextmanager
def resident(rows: Rows, budget_bytes: int) -> Iterator[Resident]:
    """Make rows addressable without copying where that can be avoided.

    Parameters
    ----------
    rows : Rows
    budget_bytes : int
        Rows that must be copied and need more go to a scratch file, which is removed after.

    Raises
    ------
    CapacityError
        The scratch disk is too small.

    Notes
    -----
    Integers of 8 and 16 bits become float32, wider ones float64; both exactly up to 2**53.
    """
    array, where = rows.array, "as given"
    if array is not None and is_addressable(array):
        yield Resident(rows, array, where)
        return
    dtype = float_dtype(rows.dtype)
    n_bytes = rows.n_rows * rows.n_cols * dtype.itemsize
    with tempfile.TemporaryDirectory(prefix="topoact-") as folder:
        if n_bytes <= budget_bytes:
            where = "copied to memory"
            copy = np.empty((rows.n_rows, rows.n_cols), dtype)
        else:
            where = "scratch file"
            copy = _scratch(Path(folder), (rows.n_rows, rows.n_cols), dtype)
        for start, block in rows.blocks():
            copy[start : start + len(block)] = block
        yield Resident(Rows(copy.shape, dtype, array=copy), copy, where)


def is_addressable(array: NDArray[Any]) -> bool:
    """Whether kernels can read an array as it is: floats, and adjacent columns."""
    return array.dtype.name in _FLOATS and array.strides[1] == array.itemsize


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The float dtype in which rows of a dtype are held."""
    if dtype.name in _FLOATS:
        return dtype
    return np.dtype(np.float32 if dtype.name in _EXACT_IN_FLOAT32 else np.float64)


def _scratch(folder: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    needed = shape[0] * shape[1] * dtype.itemsize
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CapacityError(
            f"the rows need {needed:,} bytes of scratch space in {folder.parent}, "
            f"{free:,} are free; raise memory_budget or set TMPDIR to a larger disk"
        )
    return np.memmap(folder / "rows.bin", dtype, "w+", shape=shape)
