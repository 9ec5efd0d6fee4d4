"""The backend that runs on a CUDA device, or in Triton's interpreter."""

from __future__ import annotations

import os
import threading
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
from topoact_gpu.gpus import Done, Gpu, cluster_elements
from topoact_gpu.kernels.cover import gpu as cover
from topoact_gpu.kernels.dbscan.groups import COUNTERS, Element, Room, Setting
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
from topoact_gpu.source import DeviceSource, HostSource, Source, as_tensor, send, sent_in_parts

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
_LEAST_BLOCKS = 64
"""Of a window, at first."""
_SLOT_BYTES = 300
"""Of device memory for a row in a window, beside its packed numbers: terms, and what making them
takes for a moment."""


class CudaBackend(CpuBackend):
    """The devices of this machine; what has no kernel there runs on the processor.

    Clustering is spread over all of them; the first, which is torch's current one, does the rest.

    Parameters
    ----------
    team : Team
        For what runs on the processor as in `CpuBackend`.
    devices : list of torch.device, optional
        Default: all that torch sees (CUDA_VISIBLE_DEVICES says which).
    """

    name = "cuda"

    def __init__(self, team: Team, devices: list[torch.device] | None = None) -> None:
        super().__init__(team)
        self.devices = _all_devices() if devices is None else devices
        self.device = self.devices[0]
        self.shape = Shape() if self.device.type == "cuda" else Shape(64, 4, 2)
        self.notes: list[str] = []
        self._done = [Done() for _ in self.devices]
        self._host_lock = threading.Lock()

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
        """Bound on float16 products that holds on every device; None where there is none."""
        errors = [_half_error_of(device, n_cols) for device in self.devices]
        known = [error for error in errors if error is not None]
        return max(known) if len(known) == len(errors) else None

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
        Several devices take groups from one queue, and parts of elements that would keep one of
        them busy when the others are done; see :mod:`topoact_gpu.gpus`.
        """
        elements: dict[int, Element] = {}
        for at in todo.tolist():
            low, high = indptr[at : at + 2]
            if low == high:
                keep(at, _nothing())
            else:
                elements[at] = Element(rows[low:high], *_limits(prepared, float(eps[at])))
        gpus = [self._gpu(number, prepared, min_samples) for number, _ in enumerate(self.devices)]
        cluster_elements(elements, gpus, self.team, block=self.shape.block, keep=keep)

    def _gpu(self, number: int, prepared: Prepared, min_samples: int) -> Gpu:
        """A device for clustering; what it needs is made when it has something to do."""
        return Gpu(
            self.devices[number],
            self._memory(number),
            make_setting=lambda: self._setting(number, prepared, min_samples),
            make_room=self._room,
            note=self.notes.append,
            done=self._done[number],
        )

    def _memory(self, number: int) -> str:
        """What messages call a device's memory."""
        return "device memory" if len(self.devices) == 1 else f"the memory of device {number}"

    def _setting(self, number: int, prepared: Prepared, min_samples: int) -> Setting:
        frame, device = prepared.frame, self.devices[number]
        return Setting(
            self._source(prepared.data, prepared.norms, number),
            self._sent(frame.mean, device),
            torch.tensor([frame.unit], dtype=torch.float64, device=device),
            self._sent(np.ascontiguousarray(frame.basis), device),
            _FILTERS[prepared.filter],
            self._half_error(prepared.data.rows.n_cols),
            min_samples,
            shape=self.shape,
            most_open=self.shape.block**2 // 32,
            stop=self.team.stop,
        )

    def _source(self, data: Resident, norms: NDArray[np.float64] | None, number: int = 0) -> Source:
        """The rows in a device's memory if they fit, else in the host's; with their norms."""
        device = self.devices[number]
        sent = None if norms is None else self._sent(norms, device)
        x = self._on_device(data) if number == 0 else self._copied(data, number)
        if x is not None:
            return DeviceSource(x, sent)
        with self._host_lock:  # the first to ask may have to bring them there
            array = data.array
        return HostSource(as_tensor(array), sent, device)

    def _copied(self, data: Resident, number: int) -> torch.Tensor | None:
        """The rows in the memory of another device than the first; None where they don't fit."""
        device, x = self.devices[number], self._on_device(data)
        n_bytes = data.rows.n_rows * data.rows.n_cols * float_dtype(data.rows.dtype).itemsize
        if n_bytes > _ROWS_SHARE * self._free_bytes(device):
            self._note(f"rows do not fit in {self._memory(number)}: sent a window at a time")
            return None
        if x is not None:
            return x.to(device)
        array = as_tensor(data.array)
        return send(array, torch.arange(len(array)), device)

    def _sent(self, array: NDArray[Any], device: torch.device | None = None) -> torch.Tensor:
        return as_tensor(array).to(self.device if device is None else device)

    def _parts(self, data: Resident) -> Iterator[torch.Tensor]:
        """All rows on the device: at once if they are there, else part by part."""
        x = self._on_device(data)
        return iter([x]) if x is not None else sent_in_parts(as_tensor(data.array), self.device)

    def _on_device(self, data: Resident) -> torch.Tensor | None:
        """The rows in device memory; None where they stayed in the host's."""
        return data.tensor if isinstance(data, DeviceResident) else None

    def _free_bytes(self, device: torch.device | None = None) -> int:
        """Of a device's memory; of the first's if none is named."""
        device = self.device if device is None else device
        if device.type == "cpu":
            return 2**33
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + cached)

    def _room(self, setting: Setting) -> Room:
        """Lists and tables, and what is left for windows of rows."""
        block, device = self.shape.block, setting.source.device
        n_tiles = _MOST_TILES if device.type == "cuda" else _LEAST_TILES
        free = int(_SHARE * self._free_bytes(device))
        while n_tiles > _LEAST_TILES and n_tiles * block * block > free // 8:
            n_tiles //= 2
        n_pairs = min(_MOST_PAIRS, free // 64)
        free -= n_tiles * block * block + 24 * n_pairs
        most = max(free // _bytes_per_block(setting), _LEAST_BLOCKS)
        return Room.make(n_tiles, n_pairs, most, self.shape, device)

    def describe(self) -> dict[str, Any]:
        """Devices and what they clustered, and what did not go as planned.

        ``gpus`` has for each device its name, how many elements it clustered, and how many parts
        of elements that were shared out.
        """
        names = [_name_of(device) for device in self.devices]
        gpus = [
            {"name": name, "elements": done.elements, "parts": done.parts}
            for name, done in zip(names, self._done, strict=True)
        ]
        own = {"device": "cuda", "gpu": names[0], "gpus": gpus, "notes": self.notes}
        return super().describe() | own


def _all_devices() -> list[torch.device]:
    """The current device, and the others that torch sees."""
    first = torch_device()
    if first.type == "cpu":
        return [first]
    others = [torch.device("cuda", at) for at in range(torch.cuda.device_count())]
    return [first, *(device for device in others if device != first)]


def _half_error_of(device: torch.device, n_cols: int) -> float | None:
    """Bound on a device's float16 products; None where there is none."""
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    accumulator = accumulator_of(capability)
    if accumulator is None:
        return None
    error = product_error(n_cols, accumulator)
    return error if error < 0.5 else None


def _name_of(device: torch.device) -> str:
    return "Triton's interpreter" if interpreted() else torch.cuda.get_device_name(device)


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
