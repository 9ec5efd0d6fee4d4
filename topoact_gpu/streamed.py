"""Rows that are larger than the memory they may take: read block by block, never held whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError
from topoact_gpu.ledger import Ledger
from topoact_gpu.resident import BLOCK_ROWS, Resident, float_dtype, for_block
from topoact_gpu.rows import Rows

__all__ = ["Streamed", "block_bytes"]

T = TypeVar("T")
_LEAST_BLOCK, _MOST_BLOCK = 2**21, 2**25
_SHARE = 16
"""Of the budget a block takes one part in so many: several are under way at a time."""


def block_bytes(budget_bytes: int) -> int:
    """Bytes of a block of rows that suit a budget: 2 to 32 MiB."""
    return min(max(budget_bytes // _SHARE, _LEAST_BLOCK), _MOST_BLOCK)


class Streamed(Resident):
    """Rows that stay where they are.

    Attributes
    ----------
    rows : Rows
    where : str
    starts : range
        First rows of the blocks; they depend on the budget only.
    ledger : Ledger, optional
        Where results by block are put down.
    told : callable
        Told how many rows of how many are done.
    """

    def __init__(self, rows: Rows, budget_bytes: int) -> None:
        super().__init__(rows, None, "streamed")
        self.dtype = float_dtype(rows.dtype)
        row_bytes = rows.n_cols * self.dtype.itemsize
        step = max(block_bytes(budget_bytes) // row_bytes, 1)
        if BLOCK_ROWS * row_bytes <= _MOST_BLOCK:
            step = max(step // BLOCK_ROWS, 1) * BLOCK_ROWS
        self.starts = range(0, rows.n_rows, step)
        self.ledger: Ledger | None = None
        self.told: Callable[[int, int], None] = lambda done, total: None

    @property
    def array(self) -> NDArray[Any]:  # type: ignore[override]
        """Raises: what asks for all rows at once has no version for blocks."""
        raise CapacityError(
            f"this needs all {self.rows.n_rows:,} x {self.rows.n_cols:,} rows in memory, which "
            "memory_budget does not allow; raise it, or choose another lens or clusterer"
        )

    def block(self, start: int) -> NDArray[Any]:
        """The block that begins at a row of ``starts``."""
        return self.rows.block(start, start + self.starts.step).astype(self.dtype, copy=False)

    def blocks(self, starts: Sequence[int] | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """All blocks, or some, in order; the next one is read while one is worked on."""
        wanted = list(self.starts if starts is None else starts)
        with ThreadPoolExecutor(1, thread_name_prefix="topoact-read") as reader:
            ahead = reader.submit(self.block, wanted[0]) if wanted else None
            for at, start in enumerate(wanted, 1):
                assert ahead is not None
                block = ahead.result()
                ahead = reader.submit(self.block, wanted[at]) if at < len(wanted) else None
                yield start, block

    def map_blocks(
        self,
        function: Callable[[int, NDArray[Any], Team], T],
        team: Team,
        *,
        key: str = "",
        starts: Sequence[int] | None = None,
    ) -> list[T]:
        """Results of ``function(start, block, team)`` for all blocks, or some, in order.

        With a ledger, and a key that stands for what the function computes, results that are
        arrays are put down; blocks whose result is there already are not read.
        """
        wanted = list(self.starts if starts is None else starts)
        found = self._known(key, wanted)
        n_done = len(found)
        left = [start for start in wanted if start not in found]
        for start, result in self._results(function, left, team):
            found[start] = result
            if self.ledger is not None and key:
                self.ledger.put(self._unit(key, start), array=result)
            n_done += 1
            self.told(min(n_done * self.starts.step, self.rows.n_rows), self.rows.n_rows)
        return [found[start] for start in wanted]

    def _results(
        self, function: Callable[[int, NDArray[Any], Team], T], starts: list[int], team: Team
    ) -> Iterator[tuple[int, T]]:
        """Results for blocks, as they are done."""
        for start, block in self.blocks(starts):
            yield start, for_block(function, start, start + len(block))(start, block, team)

    def _unit(self, key: str, start: int) -> str:
        return f"block-{key}-{self.starts.step}-{start}"

    def _known(self, key: str, wanted: list[int]) -> dict[int, Any]:
        """Results by block that the ledger holds."""
        if self.ledger is None or not key:
            return {}
        units = {start: self.ledger.get(self._unit(key, start)) for start in wanted}
        return {start: unit["array"] for start, unit in units.items() if unit is not None}

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Copy of the rows ``ids``, adjacent in memory; one pass over what holds them."""
        return self.rows.take(ids).astype(self.dtype, copy=False)
