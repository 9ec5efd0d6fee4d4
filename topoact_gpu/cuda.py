"""The backend that runs on a CUDA device, or in Triton's interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.backend import Prepared
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, interpreted
from topoact_gpu.errors import ParameterError
from topoact_gpu.kernels.dbscan.groups import (
    COUNTERS,
    Element,
    GroupResult,
    Room,
    Setting,
    cluster_group,
)
from topoact_gpu.kernels.dbscan.interval import Clustered
from topoact_gpu.kernels.launch import torch_device
from topoact_gpu.kernels.product.accumulator import accumulator_of, product_error
from topoact_gpu.kernels.product.gpu import Shape
from topoact_gpu.kernels.quantise.gpu import HALF, INT8, padded_width
from topoact_gpu.kernels.quantise.reach import reaches
from topoact_gpu.resident import Resident
from topoact_gpu.source import DeviceSource, HostSource, Source, as_tensor, upload

__all__ = ["CudaBackend"]

_VARIABLE = "TOPOACT_FILTER"
_FILTERS = {"int8": INT8, "float16": HALF}
_MOST_INT8_COLUMNS = 131_072
"""127 * 127 times as many still fits int32."""
_SHARE = 0.8
"""Of the device memory that is free."""
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
        self._held: tuple[NDArray[Any], torch.Tensor] | None = None
        self.notes: list[str] = []

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
        progress: Callable[[int], None] | None = None,
    ) -> list[Clustered]:
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
        results: list[Clustered | None] = [None] * len(elements)
        waiting = [at for at, element in enumerate(elements) if len(element.ids)]
        for at in set(range(len(elements))) - set(waiting):
            results[at] = _nothing()
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
                results[at] = Clustered(labels, core, n_clusters, counters)
                counters = dict.fromkeys(COUNTERS, 0)  # the group's, once
            waiting = waiting[len(some) :]
            if progress is not None:
                progress(len(elements) - len(waiting))
        return [result for result in results if result is not None]

    def _setting(self, prepared: Prepared, min_samples: int) -> Setting:
        frame, device = prepared.frame, self.device
        return Setting(
            self._source(prepared),
            torch.from_numpy(frame.mean).to(device),
            torch.tensor([frame.unit], dtype=torch.float64, device=device),
            torch.from_numpy(np.ascontiguousarray(frame.basis)).to(device),
            _FILTERS[prepared.filter],
            self._half_error(prepared.table.n_cols),
            min_samples,
            shape=self.shape,
            most_open=self.shape.block**2 // 32,
        )

    def _source(self, prepared: Prepared) -> Source:
        """The rows in device memory if they fit, else in the host's."""
        norms = None
        if prepared.metric == "cosine":
            norms = torch.from_numpy(prepared.table.norms).to(self.device)
        x = self._on_device(prepared.data)
        if x is None:
            self.notes.append("rows did not fit in device memory")
            return HostSource(as_tensor(prepared.data.array), norms, self.device)
        return DeviceSource(x, norms)

    def _on_device(self, data: Resident) -> torch.Tensor | None:
        """The rows in device memory, uploaded once; None where they would fill it."""
        if self._held is None or self._held[0] is not data.array:
            self._held = None
            if data.array.nbytes > 0.6 * self._free_bytes():
                return None
            self._held = (data.array, upload(data.array, self.device))
        return self._held[1]

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
    return square, reaches(prepared.distance(eps), square, unit, prepared.table.n_cols)


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
