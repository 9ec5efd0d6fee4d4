"""Rows of one interval on their way into panels; centred rows exist a cacheful at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.dbscan.filters import coding_for
from topoact_gpu.kernels.dbscan.tiles import CHUNK_ROWS
from topoact_gpu.kernels.pairs.cpu import Limits
from topoact_gpu.kernels.product.cpu import FLOAT32, PANEL_ROWS, Coding
from topoact_gpu.kernels.quantise.centre import Frame, centre_rows
from topoact_gpu.kernels.quantise.cpu import pack_full, pack_prefix
from topoact_gpu.kernels.quantise.floats import pack_full_floats, pack_prefix_floats
from topoact_gpu.kernels.quantise.panels import Panels, empty_buffers, empty_panels
from topoact_gpu.kernels.quantise.reach import reaches
from topoact_gpu.kernels.table import RowTable, aligned

__all__ = ["SMALL_ROWS", "Packer", "Problem", "Window"]

_N_AXES = 8
"""Leading components that rows are ordered by."""
_PIECE_BYTES = 2**19
"""float32 rows centred at a time: they stay in the second-level cache."""
SMALL_ROWS = 512
"""Room in a window for a few rows beside two superblocks."""


class Window(Protocol):
    """Rows of an interval that never are in memory all at once.

    The problem's table has room for three sets of rows: two superblocks (slots 0 and 1) and at
    most `SMALL_ROWS` more (slot 2).
    """

    def load(self, local: NDArray[np.int32], slot: int) -> NDArray[np.int64]:
        """Bring rows into a slot; their places in the table."""
        ...

    def scan(self, low: int, high: int) -> tuple[RowTable, NDArray[np.int64], Any]:
        """Some of the rows, in the order in which they are stored: a table of them, their local
        numbers, and what keeps the table alive."""
        ...


@dataclass(frozen=True)
class Problem:
    """What is the same for all intervals of a run."""

    table: RowTable
    limits: Limits
    eps: float
    """As a distance between (normalised) rows."""
    min_samples: int
    frame: Frame
    superblock_bytes: int
    filter: str = "float32"
    """One of :mod:`.filters`."""

    @property
    def coding(self) -> Coding:
        return coding_for(self.filter)

    @property
    def reach(self) -> float:
        """eps in the frame's unit, rounded up; see :func:`reaches`."""
        return self._reaches[0]

    @property
    def reach_low(self) -> float:
        """The same rounded down, for accepting."""
        return self._reaches[1]

    @property
    def _reaches(self) -> tuple[float, float]:
        return reaches(self.eps, self.limits.square, self.frame.unit, self.table.n_cols)

    @property
    def superblock_rows(self) -> int:
        """Rows whose panels fit ``superblock_bytes``; whole blocks."""
        return max(self.superblock_bytes // (self.packed_bytes * CHUNK_ROWS), 1) * CHUNK_ROWS

    @property
    def packed_bytes(self) -> int:
        """Bytes of a row in panels."""
        stages, width = len(self.frame.ends), 4 // self.coding.columns
        return width * (self.table.n_cols + int(self.frame.ends[-1])) + 36 * stages + 50


@dataclass(frozen=True)
class Packer:
    """Makes panels of rows ``ids``: places in the table, or, with a window, only a number."""

    problem: Problem
    ids: NDArray[np.int64]
    team: Team
    window: Window | None = None

    def words(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ends of prefix segments in words."""
        return ends // self.problem.coding.columns

    def coordinates(self) -> NDArray[np.float32]:
        """Leading principal components of all rows, for ordering them."""
        basis, out = self._axes()

        def work(piece: slice) -> None:
            np.matmul(self._centre(self.ids[piece]), basis, out=out[piece])

        def work_stored(piece: slice) -> None:
            assert self.window is not None
            table, local, _alive = self.window.scan(piece.start, piece.stop)
            out[local] = self._centre(np.arange(len(local)), table) @ basis

        self.team.map(work_stored if self.window else work, self._pieces(len(self.ids)))
        return out

    def everything(self) -> tuple[Panels, NDArray[np.float32]]:
        """All rows in the order they come in, and their coordinates, in one read."""
        basis, out = self._axes()
        panels = self._empty(np.arange(len(self.ids), dtype=np.int32))

        def work(piece: slice) -> None:
            rows = self._centre(self.ids[piece])
            np.matmul(rows, basis, out=out[piece])
            self._pack_rows(panels, piece.start, rows)

        self.team.map(work, self._pieces(len(self.ids)))
        return panels, out

    def some(self, local: NDArray[np.int32], slot: int = 2) -> Panels:
        """Rows by local number, all columns; ``slot``: where a window keeps them."""
        panels = self._empty(local, slot)

        def work(piece: slice) -> None:
            self._pack_rows(panels, piece.start, self._centre(panels.rows[piece]))

        self.team.map(work, self._pieces(len(local)))
        return panels

    def with_prefix(self, panels: Panels, ends: NDArray[np.int64]) -> Panels:
        """The same panels with their leading components packed too."""
        frame, reach, n_rows = self.problem.frame, self.problem.reach, len(panels.rows)
        coding = self.problem.coding
        n_panels, n_words = -(-n_rows // PANEL_ROWS), int(self.words(ends)[-1])
        panels = panels._replace(prefix=aligned(n_panels * PANEL_ROWS * n_words, np.int32))
        basis = np.ascontiguousarray(frame.basis[:, : int(ends[-1])])
        pack = pack_prefix_floats if coding.kind == FLOAT32 else pack_prefix

        def work(piece: slice) -> None:
            components = self._centre(panels.rows[piece]) @ basis
            buffers = empty_buffers(n_words, coding)
            pack(panels, piece.start, components, ends, frame.basis_error, reach, buffers)

        self.team.map(work, self._pieces(n_rows))
        return panels

    def _axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        basis = np.ascontiguousarray(self.problem.frame.basis[:, :_N_AXES])
        return basis, np.empty((len(self.ids), basis.shape[1]), np.float32)

    def _pieces(self, n_rows: int) -> list[slice]:
        """Runs of whole panels."""
        row_bytes = 4 * self.problem.table.n_cols
        step = max(_PIECE_BYTES // (row_bytes * PANEL_ROWS), 1) * PANEL_ROWS
        return [slice(at, min(at + step, n_rows)) for at in range(0, n_rows, step)]

    def _centre(
        self, ids: NDArray[np.int64], table: RowTable | None = None
    ) -> NDArray[np.float32]:
        frame = self.problem.frame
        out = np.empty((len(ids), len(frame.mean)), np.float32)
        centre_rows(table or self.problem.table, ids, frame.mean, frame.unit, out)
        return out

    def _empty(self, local: NDArray[np.int32], slot: int = 2) -> Panels:
        n_cols, n_stages = self.problem.table.n_cols, len(self.problem.frame.ends)
        panels = empty_panels(len(local), n_cols, n_stages, self.problem.coding)
        panels.local[:] = local
        panels.rows[:] = self.window.load(local, slot) if self.window else self.ids[local]
        return panels

    def _pack_rows(self, panels: Panels, start: int, rows: NDArray[np.float32]) -> None:
        buffers = empty_buffers(panels.n_words, panels.coding)
        pack = pack_full_floats if panels.coding.kind == FLOAT32 else pack_full
        pack(panels, start, rows, self.problem.reach, buffers)
