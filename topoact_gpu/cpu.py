"""The backend that runs on the processor: numba kernels on all threads of a team."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.device import Team
from topoact_gpu.errors import ParameterError
from topoact_gpu.kernels.dbscan.filters import choose_filter
from topoact_gpu.kernels.dbscan.interval import Clustered, Problem, cluster_rows
from topoact_gpu.kernels.lens.cpu import row_lens
from topoact_gpu.kernels.lens.principal import principal_components
from topoact_gpu.kernels.neighbours.cpu import neighbour_squares
from topoact_gpu.kernels.nerve.levels import edges
from topoact_gpu.kernels.pairs.cpu import pair_limits
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.kernels.table import make_table
from topoact_gpu.resident import Resident, resident
from topoact_gpu.rows import Rows

__all__ = ["CpuBackend", "problem_of"]

_LENS_ROWS = 2048
_MIN_BUDGET = 2**24
_PACKED_BYTES = 160 * 10**6
"""Panels in memory at a time, all threads together; more would not make anything faster."""


class CpuBackend:
    """All threads of a team; see :class:`topoact_gpu.backend.Backend`."""

    name = "cpu"

    def __init__(self, team: Team) -> None:
        self.team = team
        self._ran: dict[str, list[str]] = {}

    def hold(self, rows: Rows, budget_bytes: int) -> AbstractContextManager[Resident]:
        """Rows in memory as they are, copied, or in a scratch file."""
        return resident(rows, budget_bytes)

    def row_lens(self, data: Resident, code: int) -> NDArray[np.float64]:
        """A lens of ROW_LENSES."""
        out = np.empty(data.rows.n_rows)

        def work(start: int) -> None:
            stop = min(start + _LENS_ROWS, len(out))
            row_lens(data.table, start, stop, code, out[start:stop])

        self.team.map(work, range(0, len(out), _LENS_ROWS))
        return out

    def pca(self, data: Resident, n_components: int) -> NDArray[np.float64]:
        """Principal components: sums over blocks in float64."""
        self.record("lens", "own", "cpu")
        return principal_components(data.array, n_components, self.team)

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
        progress: Callable[[int], None] | None = None,
    ) -> list[Clustered]:
        """DBSCAN in every element.

        Notes
        -----
        Elements go to threads whole, largest first; one that alone holds more than its share of
        the pairs is worked on by all threads together. Labels do not depend on that.
        """
        sizes = np.diff(indptr)
        work_of = sizes.astype(np.float64) ** 2
        order = np.argsort(-sizes, kind="stable")
        together = work_of[order] > work_of.sum() / (4 * self.team.n_threads)
        together &= self.team.n_threads > 1
        n_together = int(together.sum())
        results: list[Clustered | None] = [None] * len(sizes)

        def run(element: int, crew: Team) -> None:
            at_once = 1 if crew is self.team else self.team.n_threads
            superblock = _superblock_bytes(budget_bytes, at_once)
            problem = problem_of(prepared, float(eps[element]), min_samples, superblock)
            members = rows[indptr[element] : indptr[element + 1]]
            results[element] = cluster_rows(problem, members, crew)

        def tell(count: int) -> None:
            if progress is not None:
                progress(count)

        for count, element in enumerate(order[:n_together], 1):
            run(int(element), self.team)
            tell(count)
        solo = self.team.solo()
        self.team.map(
            lambda element: run(int(element), solo),
            order[n_together:],
            lambda count: tell(n_together + count),
        )
        return [result for result in results if result is not None]

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


def problem_of(prepared: Prepared, eps: float, min_samples: int, superblock: int) -> Problem:
    """The kernel's view of one eps."""
    return Problem(
        prepared.table,
        pair_limits(prepared.table, prepared.square(eps)),
        prepared.distance(eps),
        min_samples,
        prepared.frame,
        superblock,
        prepared.filter,
    )


def _superblock_bytes(budget_bytes: int, n_at_once: int) -> int:
    """Bytes for one superblock of panels; each interval at work holds up to three."""
    return max(min(budget_bytes // 4, _PACKED_BYTES), _MIN_BUDGET // 4) // (3 * n_at_once)
