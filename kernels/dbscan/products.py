"""The same phases where a library makes the products: float32 BLAS, or torch's int8 product.

Tiles are larger (a library call has its price), rows lie one after another instead of in panels,
and a pair that survives the prefix is decided at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.dbscan.filters import int8_product, top_number
from topoact_gpu.kernels.dbscan.interval import BLOCK_PANELS, PanelRun
from topoact_gpu.kernels.dbscan.plan import Plan
from topoact_gpu.kernels.dbscan.product_scan import (
    scan_float_products,
    scan_int_products,
    wanted_tile,
)
from topoact_gpu.kernels.dbscan.tiles import CHUNK_ROWS, Scan
from topoact_gpu.kernels.quantise.cpu import (
    Panels,
    describe_floats,
    empty_panels,
    pack_full,
    pack_prefix,
    padded_quads,
)
from topoact_gpu.kernels.simd import PANEL_ROWS
from topoact_gpu.kernels.table import aligned

__all__ = ["ProductRun"]

_TILE_PANELS = 12
_FEW = 0.01
"""A prefix pays when fewer pairs than this survive it: each is measured alone."""
_N_PROBES = 4 * PANEL_ROWS


class ProductRun(PanelRun):
    """One interval being worked on, with products by BLAS or torch."""

    permutes = False

    def __post_init__(self) -> None:
        self.floats = self.problem.filter == "float32"
        super().__post_init__()
        if self.floats:
            # The products' own error, and that of squares taken of rounded rows.
            self.slack = (2 * self.problem.table.n_cols + 64) * 2.0**-24

    def _rows_of(self, panels: Panels, *, prefix: bool) -> NDArray[Any]:
        """Packed numbers as a matrix, a row for each position."""
        data = panels.prefix if prefix else panels.full
        flat = data.view(np.float32 if self.floats else np.int8)
        return flat.reshape(len(panels.rows), -1)

    def _pack(self, local: NDArray[np.int32]) -> Panels:
        frame, n_cols = self.problem.frame, self.problem.table.n_cols
        panels = empty_panels(len(local), n_cols, len(frame.quads))
        width = 4 * n_cols if self.floats else 4 * padded_quads(n_cols)
        panels = panels._replace(full=aligned(len(local) * width, np.uint8))
        panels.local[:] = local
        panels.rows[:] = self.ids[local]
        panels.block[:] = self.block_of[local]

        def work(piece: slice) -> None:
            rows, picks = self._centred(local[piece])
            if self.floats:
                self._rows_of(panels, prefix=False)[piece] = rows[picks]
                self._describe(panels, piece, np.empty((0, 0), np.float32), frame.quads[:1])
            else:
                reach = self.problem.reach
                pack_full(panels, piece.start, rows, picks, reach, top_number(), False)

        self.team.map(work, self._pieces(len(local)))
        return panels

    def _describe(
        self, panels: Panels, piece: slice, parts: NDArray[np.float32], quads: NDArray[np.int64]
    ) -> None:
        centred = self._rows_of(panels, prefix=False)[piece]
        error = self.problem.frame.basis_error
        describe_floats(panels, piece.start, centred, parts, quads, error, self.problem.reach)

    def _with_prefix(self, panels: Panels, quads: NDArray[np.int64]) -> Panels:
        frame, reach, n_rows = self.problem.frame, self.problem.reach, len(panels.rows)
        n_components = 4 * int(quads[-1])
        width = 4 * n_components if self.floats else n_components
        panels = panels._replace(prefix=aligned(n_rows * width, np.uint8))
        basis = np.ascontiguousarray(frame.basis[:, :n_components])

        def work(piece: slice) -> None:
            components, picks = self._projected(panels.local[piece], basis)
            if self.floats:
                parts = components[picks]
                self._rows_of(panels, prefix=True)[piece] = parts
                self._describe(panels, piece, parts, quads)
            else:
                pack_prefix(
                    panels, piece.start, components, picks, quads, frame.basis_error, reach,
                    top_number(), False,
                )

        self.team.map(work, self._pieces(n_rows))
        return panels

    def _multiply(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        return left @ right.T if self.floats else int8_product(left, right)

    def _scan_all(
        self,
        scan: Scan,
        left: Panels,
        right: Panels,
        positions: NDArray[np.int32],
        panel_range: tuple[int, int],
        block_panels: int,
    ) -> None:
        problem, prefix = self.problem, scan.n_segments > 0
        stage = scan.n_segments - 1 if prefix else len(problem.frame.quads) - 1
        left_rows = self._rows_of(left, prefix=prefix)
        right_rows = self._rows_of(right, prefix=prefix)
        scan_products = scan_float_products if self.floats else scan_int_products
        starts = iter(range(0, len(positions), CHUNK_ROWS))

        def work(thread: int) -> None:
            for start in starts:
                some = positions[start : start + CHUNK_ROWS]
                first, end = panel_range
                if scan.upper:
                    first = max(first, int(some[0]) // PANEL_ROWS)
                if block_panels:
                    end = min(end, (int(some[0]) // PANEL_ROWS // block_panels + 1) * block_panels)
                own = left_rows[some]
                for panel in range(first, end, _TILE_PANELS):
                    last = min(panel + _TILE_PANELS, end)
                    if self.team.stop[0]:
                        return
                    if not wanted_tile(self.forest, scan, left, right, some, panel, last):
                        continue
                    others = right_rows[panel * PANEL_ROWS : last * PANEL_ROWS]
                    matrix = self._padded(own, others, last - panel)
                    scan_products(
                        problem.table, problem.limits, self.forest, scan, left, right, some,
                        panel, stage, matrix, self.scratch[thread], self.counters[thread],
                    )

        self.team.each(work)

    def _padded(self, own: NDArray[Any], others: NDArray[Any], n_panels: int) -> NDArray[Any]:
        """Products, with room for whole blocks and panels."""
        matrix = self._multiply(own, others)
        shape = (-(-len(own) // 8) * 8, n_panels * PANEL_ROWS)
        if matrix.shape == shape and matrix.flags.c_contiguous:
            return matrix
        padded = np.zeros(shape, matrix.dtype)
        padded[: matrix.shape[0], : matrix.shape[1]] = matrix
        return padded

    def _plan(self, low: int, high: int, n_open: int) -> Plan:
        """The shortest prefix that leaves few pairs, if it is short enough to pay."""
        quads = self.problem.frame.quads
        if len(quads) == 1 or n_open < 4 * CHUNK_ROWS or high - low < 4 * CHUNK_ROWS:
            return self.no_plan
        picks = np.linspace(0, n_open - 1, _N_PROBES).astype(np.int64)
        others = np.linspace(low, high - 1, _N_PROBES).astype(np.int64)
        left = self._with_prefix(self._pack(self.order[picks]), quads)
        right = self._with_prefix(self._pack(self.order[others]), quads)
        limits = right.right.reshape(-1, len(quads), 4, PANEL_ROWS)
        for stage in range(len(quads) - 1):
            n = 4 * int(quads[stage + 1])
            products = (
                self._rows_of(left, prefix=True)[:, :n].astype(np.float32)
                @ self._rows_of(right, prefix=True)[:, :n].astype(np.float32).T
            )
            least = left.left[:, stage] @ limits[:, stage].transpose(1, 0, 2).reshape(4, -1)
            if (least <= products).mean() < _FEW and n <= 0.7 * self.problem.table.n_cols:
                return Plan(stage + 1, np.zeros(len(quads), np.bool_), 0)
        return self.no_plan


assert CHUNK_ROWS == BLOCK_PANELS * PANEL_ROWS
