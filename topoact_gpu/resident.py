"""Rows where compiled code can reach them: in memory as they are, copied, or on scratch disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError, DataError
from topoact_gpu.kernels.table import RowTable, make_table
from topoact_gpu.rows import Rows, finite_rows, nonfinite_message, rows_of_file

__all__ = [
    "BLOCK_ROWS",
    "Resident",
    "float_dtype",
    "for_block",
    "is_addressable",
    "resident",
    "written",
]

T = TypeVar("T")
BLOCK_ROWS = 2048
"""Blocks of rows hold a multiple of so many wherever that fits, so that sums over pieces of this
length add up in the same order whatever the blocks are."""

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

    def map_blocks(
        self, function: Callable[[int, NDArray[Any], Team], T], team: Team, *, key: str = ""
    ) -> list[T]:
        """Call ``function(start, block, team)`` on consecutive blocks that make up all rows.

        Parameters
        ----------
        function : callable
            Gets the number of the first row, rows ``[n, n_cols]`` as float16, float32 or float64,
            never to be written, and the threads it may use. It may have a method ``at(start,
            stop)`` that gives what does the work for these rows and holds no more than they need.
        team : Team
        key : str
            Stands for what the function computes, in a run that can be continued.

        Returns
        -------
        list
            Results in the rows' order. Here all rows are one block.
        """
        return [for_block(function, 0, self.rows.n_rows)(0, self.array, team)]

    def largest(self, team: Team) -> float:
        """Largest absolute value; raises when a value is not finite."""
        found = self.map_blocks(_extremes, team)
        n_bad = sum(bad for _, bad, _ in found)
        if n_bad:
            first = min(at for _, bad, at in found if bad)
            raise DataError(nonfinite_message("X", n_bad, self.rows.n_rows, first))
        return max(most for most, _, _ in found)


def for_block(function: Any, start: int, stop: int) -> Any:
    """What does the work of a function for ``map_blocks`` on some rows."""
    return function.at(start, stop) if hasattr(function, "at") else function


def _extremes(start: int, block: NDArray[Any], team: Team) -> tuple[float, int, int]:
    """Largest absolute value of a block, how many rows are not finite, and the first of those."""
    step = max(2**21 // block.shape[1], 1)
    found = team.map(partial(_extremes_of, block, step), range(0, len(block), step))
    n_bad = sum(bad for _, bad, _ in found)
    first = start + min((at for _, bad, at in found if bad), default=0)
    return max(most for most, _, _ in found), n_bad, first


def _extremes_of(block: NDArray[Any], step: int, start: int) -> tuple[float, int, int]:
    part = block[start : start + step]
    good = finite_rows(part)
    if good is not None:
        return 0.0, len(good) - int(good.sum()), start + int(np.argmin(good))
    if part.dtype == np.float16:
        bits = np.bitwise_and(part.view(np.uint16), np.uint16(0x7FFF)).max()
        return float(bits.view(np.float16)), 0, 0
    return float(max(part.max(), -part.min())), 0, 0


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


def written(rows: Rows, path: Path) -> Rows:
    """Write rows to a file as the floats they are held as; the same rows, read from there.

    Raises
    ------
    CapacityError
        The disk is too small.
    """
    dtype = float_dtype(rows.dtype)
    _check_free(path.parent, rows.n_rows * rows.n_cols * dtype.itemsize)
    with open(path, "wb") as file:
        for _, block in rows.blocks():
            np.ascontiguousarray(block, dtype).tofile(file)
    return rows_of_file(path, 0, rows.shape, dtype)


def is_addressable(array: NDArray[Any]) -> bool:
    """Whether kernels can read an array as it is: floats, and adjacent columns."""
    return array.dtype.name in _FLOATS and array.strides[1] == array.itemsize


def float_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The float dtype in which rows of a dtype are held."""
    if dtype.name in _FLOATS:
        return dtype
    return np.dtype(np.float32 if dtype.name in _EXACT_IN_FLOAT32 else np.float64)


def _scratch(folder: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    _check_free(folder, shape[0] * shape[1] * dtype.itemsize)
    return np.memmap(folder / "rows.bin", dtype, "w+", shape=shape)


def _check_free(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CapacityError(
            f"the rows need {needed:,} bytes of scratch space in {folder.parent}, "
            f"{free:,} are free; raise memory_budget or set TMPDIR to a larger disk"
        )
