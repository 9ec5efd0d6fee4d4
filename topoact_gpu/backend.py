"""What a device does for the stages, behind one small interface.

Stages take a `Backend` and never ask which one it is. Both give the same bytes wherever a result
does not depend on the order of rounded sums; see `Backend`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.kernels.table import RowTable, make_table
from topoact_gpu.ledger import Ledger
from topoact_gpu.resident import Resident
from topoact_gpu.rows import Rows

if TYPE_CHECKING:
    from topoact_gpu.cover import CoverElements

__all__ = ["Backend", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """Rows ready for clustering in one metric.

    Attributes
    ----------
    data : Resident
    norms : float64[n_rows] or None
        What rows are divided by where the metric is cosine.
    frame : Frame
    metric : str
    filter : str
        What decides most pairs; see :mod:`topoact_gpu.kernels.dbscan.filters`.
    """

    data: Resident
    norms: NDArray[np.float64] | None
    frame: Frame
    metric: str
    filter: str

    @cached_property
    def table(self) -> RowTable:
        """The same rows for kernels of the processor; brings them there if need be."""
        return make_table(self.data.array, self.norms)

    def square(self, eps: float) -> float:
        """What squared distances are compared with (a Python float: it may overflow)."""
        return 2.0 * eps if self.metric == "cosine" else eps * eps

    def distance(self, eps: float) -> float:
        """eps as a distance between (normalised) rows."""
        return float(np.sqrt(self.square(eps))) if self.metric == "cosine" else eps


class Backend(Protocol):
    """One device.

    Attributes
    ----------
    name : "cpu" or "cuda"
    team : Team
        Threads for what runs on the processor whatever the device is.
    """

    name: str
    team: Team

    def hold(self, rows: Rows, budget_bytes: int) -> AbstractContextManager[Resident]:
        """Rows where this backend's kernels reach them; see :func:`.resident.resident`."""
        ...

    def spread(self, data: Resident, elements: CoverElements, folder: Path) -> Resident:
        """Rows where the elements of a cover are read quickly; the same rows, if they are held."""
        ...

    def row_lens(self, data: Resident, code: int) -> NDArray[np.float64]:
        """A lens of ROW_LENSES, float64[n_rows]: sums in column order, the same bytes anywhere."""
        ...

    def pca(self, data: Resident, n_components: int) -> NDArray[np.float64]:
        """Principal components, float64[n_rows, n_components]: by falling variance, the largest
        loading of each positive. Last bits may differ; with cuML, those of float32 sums."""
        ...

    def umap(self, data: Resident, n_components: int, seed: int) -> NDArray[np.float64]:
        """UMAP's coordinates, float64[n_rows, n_components]."""
        ...

    def cells(
        self, column: NDArray[np.float64], ends: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Cell of each row, and which cells hold rows; :func:`.kernels.cover.cpu.find_cells`."""
        ...

    def group(
        self,
        cells: NDArray[np.int32],
        indptr: NDArray[np.int64],
        items: NDArray[np.int64],
        n_grid: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows of each element of a cover; see :func:`.kernels.cover.cpu.group`."""
        ...

    def edges(
        self,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        n_rows: int,
        *,
        min_intersection: int,
    ) -> NDArray[np.int64]:
        """Nodes that share rows; see :func:`.kernels.nerve.levels.edges`."""
        ...

    def choose_filter(self, n_cols: int) -> str:
        """Name of what decides most pairs of rows of this length."""
        ...

    def neighbour_squares(
        self,
        data: Resident,
        norms: NDArray[np.float64] | None,
        queries: NDArray[np.int64],
        targets: NDArray[np.int64],
        k: int,
        frame: Frame,
    ) -> NDArray[np.float64]:
        """Exact squared distances of each query to its k nearest targets, ascending."""
        ...

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
        """DBSCAN in elements of a cover.

        Parameters
        ----------
        prepared : Prepared
        indptr, rows : int64
            Element e holds ``rows[indptr[e]:indptr[e + 1]]``, ascending.
        eps : float64[n_elements]
        min_samples : int
        budget_bytes : int
            Of host memory.
        todo : int64
            The elements to cluster.
        keep : callable
            Given each of them with its result, in any order, by one thread at a time. Labels and
            core rows are the same bytes anywhere; counters are not.
        pieces : Ledger, optional
            Where parts of large elements may be put down, to be taken up again.
        """
        ...

    def record(self, stage: str, who: str, where: str) -> None:
        """Remember for the report who did a stage's work, and on which device."""
        ...

    def describe(self) -> dict[str, Any]:
        """What ran, for the report; JSON can hold it.

        For each of the stages lens, cover, neighbours and nerve that ran: who did it ("own",
        "cuml", "umap-learn", "faiss candidates", ...), and ", cpu" after that where it was the
        processor though the device is another; several, where parts were done by several.
        """
        ...
