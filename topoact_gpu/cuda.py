"""The backend that runs on a CUDA device, or in Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, interpreted
from topoact_gpu.device_rows import DeviceResident, on_device
from topoact_gpu.errors import ParameterError
from topoact_gpu.kernels.cover import gpu as cover
from topoact_gpu.kernels.dbscan.groups import (
    COUNTERS,
    Element,
    GroupResult,
    Room,
    Setting,
    cluster_group,
)
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.kernels.launch import on_host, torch_device
from topoact_gpu.kernels.lens.cpu import ROW_LENSES
from topoact_gpu.kernels.lens.gpu import pca, row_lens
from topoact_gpu.kernels.neighbours import gpu as neighbours
from topoact_gpu.kernels.nerve import gpu as nerve
from topoact_gpu.kernels.product.accumulator import accumulator_of, product_error
from topoact_gpu.kernels.product.gpu import Shape
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.kernels.quantise.gpu import HALF, INT8, padded_width
from topoact_gpu.kernels.quantise.reach import reaches
from topoact_gpu.ledger import Ledger
from topoact_gpu.libraries import MOST_FAISS, cuml_pca, cuml_umap, faiss_search, find_cuml
from topoact_gpu.resident import Resident, float_dtype, resident
from topoact_gpu.rows import Rows
from topoact_gpu.source import DeviceSource, HostSource, Source, as_tensor, sent_in_parts

__all__ = ["CudaBackend"]

T = TypeVar("T")
_VARIABLE = "TOPOACT_FILTER"
_FILTERS = {"int8": INT8, "float16": HALF}
_MOST_INT8_COLUMNS = 131_072
"""127 * 127 times as many still fits int32."""
_ROWS_SHARE, _SHARE, _FAISS_SHARE = 0.6, 0.8, 0.3
"""Of the device memory that is free: what rows may take, and what work may take of the rest."""
_LENS_BYTES = 2**28
_MOST_PARTS = 64
_MOST_TILES, _MOST_PAIRS = 2**15, 2**22
_LEAST_TILES = 2**8
_LEAST_BLOCKS, _FEWEST_BLOCKS = 64, 4
"""Of a window: at first, and after running out of memory."""
_SLOT_BYTES = 300
"""Of device memory for a row in a window, beside its packed numbers: terms, and what making them
takes for a moment."""


class CudaBackend(CpuBackend):
    """One device; what has no kernel there runs on the processor as in `CpuBackend`."""

    name = "cuda"

    def __init__(self, team: Team) -> None:
        super().__init__(team)
        self.device = torch_device()
        self.shape = Shape() if self.device.type == "cuda" else Shape(64, 4, 2)
        self.notes: list[str] = []

    def hold(self, rows: Rows, budget_bytes: int) -> AbstractContextManager[Resident]:
        """Rows in device memory if they take at most 60% of what is free, else in the host's."""
        n_bytes = rows.n_rows * rows.n_cols * float_dtype(rows.dtype).itemsize
        if rows.tensor is not None or n_bytes <= _ROWS_SHARE * self._free_bytes():
            return nullcontext(on_device(rows, self.device))
        self._note("rows do not fit in device memory: sent a window at a time")
        return resident(rows, budget_bytes)

    def row_lens(self, data: Resident, code: int) -> NDArray[np.float64]:
        """A lens of ROW_LENSES, with the processor's bytes."""
        return np.concatenate(
            [on_host(row_lens(part, ROW_LENSES[code])) for part in self._parts(data)]
        )

    def pca(self, data: Resident, n_components: int) -> NDArray[np.float64]:
        """Principal components by cuML, if it is there and the rows are; else by our own kernels.

        Notes
        -----
        Ours sum in float64; rows that stayed on the host are sent twice, part by part.
        """
        cuml, x = find_cuml(), self._on_device(data)
        if cuml is not None and x is not None:
            self.record("lens", "cuml", self.name)
            return cuml_pca(cuml, x, n_components)
        self.record("lens", "own", self.name)

        def work(parts: int) -> NDArray[np.float64]:
            block_bytes = _LENS_BYTES // parts
            return on_host(pca(lambda: self._parts(data), n_components, block_bytes=block_bytes))

        return self._in_memory("pca", work)

    def umap(self, data: Resident, n_components: int, seed: int) -> NDArray[np.float64]:
        """Coordinates by cuML, if it is there and the rows are; else by umap-learn."""
        cuml, x = find_cuml(), self._on_device(data)
        if cuml is None or x is None:
            why = "cuml is not installed" if cuml is None else "the rows do not fit in its memory"
            self._note(f"umap ran on the processor, not on the device: {why}")
            return super().umap(data, n_components, seed)
        self.record("lens", "cuml", self.name)
        return cuml_umap(cuml, x, n_components, seed)

    def cells(
        self, column: NDArray[np.float64], ends: NDArray[np.float64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Cell of each row, and which cells hold rows."""
        return self._or_on_cpu("cover", cover.find_cells, super().cells, column, ends)

    def group(
        self,
        cells: NDArray[np.int32],
        indptr: NDArray[np.int64],
        items: NDArray[np.int64],
        n_grid: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows of each element of a cover."""
        there, here = cover.group, super().group
        return self._or_on_cpu("cover", there, here, cells, indptr, items, n_grid)

    def edges(
        self,
        indptr: NDArray[np.int64],
        rows: NDArray[np.int64],
        n_rows: int,
        *,
        min_intersection: int,
    ) -> NDArray[np.int64]:
        """Nodes that share rows."""
        there = partial(nerve.find_edges, min_intersection=min_intersection)
        here = partial(super().edges, min_intersection=min_intersection)
        return self._or_on_cpu("nerve", there, here, indptr, rows, n_rows)

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
        source = self._source(data, norms)
        search = self._search(source, len(targets), k)
        given = source.rows, self._sent(queries), self._sent(targets), k
        mean, unit = self._sent(frame.mean), frame.unit

        def work(parts: int) -> NDArray[np.float64]:
            blocks, limits = neighbours.blocks_for(source.n_cols, k).divided(parts), None
            if search is not None:
                limits = neighbours.start_limits(
                    *given, mean=mean, unit=unit, search=search, blocks=blocks
                )
            found = neighbours.neighbour_squares(
                *given, mean=mean, unit=unit, blocks=blocks, limits=limits
            )
            return on_host(found)

        found = self._in_memory("neighbours", work)
        self.record("neighbours", "own" if search is None else "faiss candidates", self.name)
        return found

    def _search(
        self, source: Source, n_targets: int, k: int
    ) -> Callable[[Any, Any, int], Any] | None:
        """FAISS's search if there is one, and room for all targets as float32 beside the rows."""
        n_bytes = 4 * n_targets * source.n_cols
        fits = isinstance(source, DeviceSource) and n_bytes <= _FAISS_SHARE * self._free_bytes()
        if not fits or n_targets == 0 or k >= MOST_FAISS:
            return None
        return faiss_search()

    def _in_memory(self, what: str, work: Callable[[int], T]) -> T:
        """``work(1)``; where device memory runs out, in twice as many parts, and so on."""
        parts = 1
        while True:
            try:
                return work(parts)
            except torch.OutOfMemoryError:
                if parts >= _MOST_PARTS:
                    raise
            torch.cuda.empty_cache()
            parts *= 2
            self._note(f"out of device memory: blocks of {what} made {parts} times smaller")

    def _or_on_cpu(
        self, stage: str, there: Callable[..., T], here: Callable[..., T], *given: Any
    ) -> T:
        """The device's result; where its memory runs out the processor's, which is the same."""
        try:
            found = there(*given)
        except torch.OutOfMemoryError:
            self._note(f"out of device memory: {stage} ran on the processor")
            return here(*given)
        self.record(stage, "own", self.name)
        return found

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def choose_filter(self, n_cols: int) -> str:
        """The product that judges pairs first: TOPOACT_FILTER if it is set, else int8.

        Raises
        ------
        ParameterError
            The variable names another filter, or one that this device or the rows' length rules
            out.
        """
        wanted = os.environ.get(_VARIABLE, "")
        exact = self._half_error(n_cols) is not None
        if not wanted:
            wanted = "int8" if n_cols <= _MOST_INT8_COLUMNS or not exact else "float16"
        if wanted not in _FILTERS:
            raise ParameterError(
                f"{_VARIABLE} must be {' or '.join(_FILTERS)} on this device, got {wanted!r}"
            )
        if wanted == "int8" and n_cols > _MOST_INT8_COLUMNS:
            raise ParameterError(
                f"int8 takes rows of at most {_MOST_INT8_COLUMNS:,} columns, got {n_cols:,}; "
                'use device="cpu"'
            )
        if wanted == "float16" and not exact:
            raise ParameterError(
                "how this device adds up float16 products is not known, so they prove nothing; "
                f"unset {_VARIABLE} or set it to int8"
            )
        return wanted

    def _half_error(self, n_cols: int) -> float | None:
        """Bound on float16 products; None where there is none."""
        capability = None
        if self.device.type == "cuda":
            capability = torch.cuda.get_device_capability(self.device)
        accumulator = accumulator_of(capability)
        if accumulator is None:
            return None
        error = product_error(n_cols, accumulator)
        return error if error < 0.5 else None

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
        Elements are worked on in groups, as many at a time as device memory holds. Where that
        turns out to be less than it looked, everything is halved and the group begun again.
        """
        setting = self._setting(prepared, min_samples)
        elements = [
            Element(rows[low:high], *_limits(prepared, float(limit)))
            for low, high, limit in zip(indptr[:-1], indptr[1:], eps, strict=True)
        ]
        waiting = [at for at in todo.tolist() if len(elements[at].ids)]
        for at in set(todo.tolist()) - set(waiting):
            keep(at, _nothing())
        room = self._room(setting)
        while waiting:
            some = _group(waiting, elements, room, setting.shape.block)
            found = _attempt(setting, [elements[at] for at in some], room)
            if found is None:
                sizes = self._half_of(room)
                del room  # before the smaller one is made
                torch.cuda.empty_cache()
                room = Room.make(*sizes, self.shape, self.device)
                continue
            counters = found.counters
            for at, labels, core in zip(some, found.labels, found.core, strict=True):
                n_clusters = int(labels.max(initial=-1)) + 1
                keep(at, Clustered(labels, core, n_clusters, counters))
                counters = dict.fromkeys(COUNTERS, 0)  # the group's, once
            waiting = waiting[len(some) :]

    def _setting(self, prepared: Prepared, min_samples: int) -> Setting:
        frame = prepared.frame
        return Setting(
            self._source(prepared.data, prepared.norms),
            self._sent(frame.mean),
            torch.tensor([frame.unit], dtype=torch.float64, device=self.device),
            self._sent(np.ascontiguousarray(frame.basis)),
            _FILTERS[prepared.filter],
            self._half_error(prepared.data.rows.n_cols),
            min_samples,
            shape=self.shape,
            most_open=self.shape.block**2 // 32,
        )

    def _source(self, data: Resident, norms: NDArray[np.float64] | None) -> Source:
        """The rows in device memory if they fit, else in the host's; with their norms."""
        sent = None if norms is None else self._sent(norms)
        x = self._on_device(data)
        if x is None:
            return HostSource(as_tensor(data.array), sent, self.device)
        return DeviceSource(x, sent)

    def _sent(self, array: NDArray[Any]) -> torch.Tensor:
        return as_tensor(array).to(self.device)

    def _parts(self, data: Resident) -> Iterator[torch.Tensor]:
        """All rows on the device: at once if they are there, else part by part."""
        x = self._on_device(data)
        return iter([x]) if x is not None else sent_in_parts(as_tensor(data.array), self.device)

    def _on_device(self, data: Resident) -> torch.Tensor | None:
        """The rows in device memory; None where they stayed in the host's."""
        return data.tensor if isinstance(data, DeviceResident) else None

    def _free_bytes(self) -> int:
        if self.device.type == "cpu":
            return 2**33
        free, _ = torch.cuda.mem_get_info(self.device)
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(free + cached)

    def _room(self, setting: Setting) -> Room:
        """Lists and tables, and what is left for windows of rows."""
        block = self.shape.block
        n_tiles = _MOST_TILES if self.device.type == "cuda" else _LEAST_TILES
        free = int(_SHARE * self._free_bytes())
        while n_tiles > _LEAST_TILES and n_tiles * block * block > free // 8:
            n_tiles //= 2
        n_pairs = min(_MOST_PAIRS, free // 64)
        free -= n_tiles * block * block + 24 * n_pairs
        most = max(free // _bytes_per_block(setting), _LEAST_BLOCKS)
        return Room.make(n_tiles, n_pairs, most, self.shape, self.device)

    def _half_of(self, room: Room) -> tuple[int, int, int]:
        """Half of everything; the device's own error where that is too little."""
        most = room.most_blocks // 2
        if most < _FEWEST_BLOCKS:
            raise torch.OutOfMemoryError(
                f"{_FEWEST_BLOCKS} blocks of rows do not fit in device memory; free some of it"
            )
        self.notes.append(f"out of device memory: windows of {most:,} blocks from then on")
        return max(len(room.verdicts.kept) // 2, 1), len(room.reports.listed) // 2, most

    def describe(self) -> dict[str, Any]:
        """Device, and what did not go as planned."""
        name = "Triton's interpreter"
        if not interpreted():
            name = torch.cuda.get_device_name(self.device)
        return super().describe() | {"device": "cuda", "gpu": name, "notes": self.notes}


def _attempt(setting: Setting, elements: list[Element], room: Room) -> GroupResult | None:
    """Labels of some elements; None where device memory ran out.

    A function of its own, so that what it held is free again once the error is gone.
    """
    try:
        return cluster_group(setting, elements, room)
    except torch.OutOfMemoryError:
        return None


def _limits(prepared: Prepared, eps: float) -> tuple[float, tuple[float, float]]:
    square, unit = prepared.square(eps), prepared.frame.unit
    return square, reaches(prepared.distance(eps), square, unit, prepared.data.rows.n_cols)


def _nothing() -> Clustered:
    """The result for an element without rows."""
    counters = dict.fromkeys(COUNTERS, 0)
    return Clustered(np.empty(0, np.int64), np.empty(0, np.bool_), 0, counters)


def _bytes_per_block(setting: Setting) -> int:
    """Device memory that a block of rows takes: two windows, one of them in both products."""
    n_cols = setting.source.n_cols
    packed = 2 * padded_width(INT8, n_cols) + 2 * padded_width(HALF, n_cols)
    pending = 8 * max(setting.min_samples - 2, 0)
    sent = 8 * n_cols if isinstance(setting.source, HostSource) else 0
    return setting.shape.block * (packed + pending + sent + _SLOT_BYTES)


def _group(waiting: list[int], elements: list[Element], room: Room, block: int) -> list[int]:
    """As many of the waiting elements, in order, as fit a window together; one at least."""
    n_blocks = 0
    some: list[int] = []
    for at in waiting:
        n_blocks += -(-len(elements[at].ids) // block)
        if some and n_blocks > room.most_blocks:
            break
        some.append(at)
    return some
