"""The backend that runs on the processor: numba kernels on all threads of a team."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.bucketed import bucketed
from topoact_gpu.device import Team
from topoact_gpu.errors import ParameterError
from topoact_gpu.intervals import Crew
from topoact_gpu.kernels.dbscan.filters import choose_filter
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.kernels.lens.cpu import row_lens
from topoact_gpu.kernels.lens.principal import principal_components
from topoact_gpu.kernels.neighbours.cpu import neighbour_squares
from topoact_gpu.kernels.nerve.levels import edges
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.kernels.table import make_table
from topoact_gpu.ledger import Ledger
from topoact_gpu.near import streamed_squares
from topoact_gpu.resident import Resident, float_dtype, resident
from topoact_gpu.rows import Rows
from topoact_gpu.streamed import Streamed

if TYPE_CHECKING:
    from topoact_gpu.cover import CoverElements

__all__ = ["CpuBackend"]

_LENS_ROWS = 2048


class CpuBackend:
    """All threads of a team; see :class:`topoact_gpu.backend.Backend`."""

    name = "cpu"

    def __init__(self, team: Team) -> None:
        self.team = team
        self._ran: dict[str, list[str]] = {}

    def hold(self, rows: Rows, budget_bytes: int) -> AbstractContextManager[Resident]:
        """Rows in memory, as they are or copied; where the budget is too small, read in blocks."""
        in_memory = rows.array is not None and rows.mapped is None
        n_bytes = rows.n_rows * rows.n_cols * float_dtype(rows.dtype).itemsize
        if in_memory or n_bytes <= budget_bytes:
            return resident(rows, budget_bytes)
        return nullcontext(Streamed(rows.from_storage(), budget_bytes))

    def spread(self, data: Resident, elements: CoverElements, folder: Path) -> Resident:
        """Rows that are read in blocks are written to a folder, cell by cell; others stay."""
        if not isinstance(data, Streamed):
            return data
        return bucketed(data, elements, folder, self.team)

    def row_lens(self, data: Resident, code: int) -> NDArray[np.float64]:
        """A lens of ROW_LENSES."""
        found = data.map_blocks(partial(_lens_block, code), self.team, key=f"lens-{code}")
        return np.concatenate(found)

    def pca(self, data: Resident, n_components: int) -> NDArray[np.float64]:
        """Principal components: sums over blocks in float64."""
        self.record("lens", "own", "cpu")
        return principal_components(data, n_components, self.team)

    def umap(self, data: Resident, n_components: int, seed: int) -> NDArray[np.float64]:
        """Coordinates by umap-learn.

        Raises
        ------
        ParameterError
            It is not installed.
        """
        try:
            from umap import UMAP
        except ImportError:
            raise ParameterError(
                "lens 'umap' needs the package umap-learn; pip install 'topoact-gpu[umap]'"
            ) from None
        self.record("lens", "umap-learn", "cpu")
        model = UMAP(n_components=n_components, random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(data.array), np.float64)

    def cells(
        self, column: NDArray[np.float64], ends: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Cell of each row, and which cells hold rows."""
        from topoact_gpu.kernels.cover import cpu

        self.record("cover", "own", "cpu")
        return cpu.find_cells(column, ends)

    def group(
        self,
        cells: NDArray[np.int32],
        indptr: NDArray[np.int64],
        items: NDArray[np.int64],
        n_grid: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows of each element of a cover."""
        from topoact_gpu.kernels.cover import cpu

        self.record("cover", "own", "cpu")
        return cpu.group(cells, indptr, items, n_grid)

    def edges(
        self,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        n_rows: int,
        *,
        min_intersection: int,
    ) -> NDArray[np.int64]:
        """Nodes that share rows."""
        self.record("nerve", "own", "cpu")
        return edges(indptr, rows, n_rows, min_intersection=min_intersection, team=self.team)

    def choose_filter(self, n_cols: int) -> str:
        """The fastest filter that this processor has; see :mod:`.kernels.dbscan.filters`."""
        return choose_filter(n_cols)

    def neighbour_squares(
        self,
        data: Resident,
        norms: NDArray[np.float64] | None,
        queries: NDArray[np.int64],
        targets: NDArray[np.int64],
        k: int,
        frame: Frame,
    ) -> NDArray[np.float64]:
        """Exact squared distances to the k nearest targets."""
        self.record("neighbours", "own", "cpu")
        if isinstance(data, Streamed):
            return streamed_squares(data, norms, queries, targets, k, frame, self.team)
        return neighbour_squares(
            make_table(data.array, norms),
            queries,
            targets,
            k,
            mean=frame.mean,
            unit=frame.unit,
            team=self.team,
        )

    def cluster(
        self,
        prepared: Prepared,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        *,
        eps: NDArray[np.float64],
        min_samples: int,
        budget_bytes: int,
        todo: NDArray[np.int64],
        keep: Callable[[int, Clustered], None],
        pieces: Ledger | None = None,
    ) -> None:
        """DBSCAN in every element.

        Notes
        -----
        Elements go to threads whole, largest first; one that alone holds more than its share of
        the pairs is worked on by all threads together. Labels do not depend on that.
        """
        crew = Crew(
            prepared,
            lambda element: rows[indptr[element] : indptr[element + 1]],
            np.diff(indptr),
            eps,
            min_samples,
            budget_bytes,
            self.team,
            pieces,
        )
        crew.everything(todo, keep)

    def record(self, stage: str, who: str, where: str) -> None:
        """Remember who did a stage's work, and where if not on this device."""
        who = who if where == self.name else f"{who}, {where}"
        said = self._ran.setdefault(stage, [])
        if who not in said:
            said.append(who)

    def describe(self) -> dict[str, Any]:
        """Threads, and what ran."""
        ran = {stage: "; ".join(said) for stage, said in self._ran.items()}
        return {"device": "cpu", "n_threads": self.team.n_threads} | ran


def _lens_block(code: int, start: int, block: NDArray[Any], team: Team) -> NDArray[np.float64]:
    """A lens of ROW_LENSES on a block of rows."""
    table, out = make_table(block), np.empty(len(block))

    def work(low: int) -> None:
        high = min(low + _LENS_ROWS, len(out))
        row_lens(table, low, high, code, out[low:high])

    team.map(work, range(0, len(out), _LENS_ROWS))
    return out
