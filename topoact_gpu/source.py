"""Where the device finds rows: in its own memory, or in the host's, a window at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.kernels.pairs.gpu import Rows

__all__ = ["DeviceSource", "HostSource", "Source", "as_tensor", "send", "sent_in_parts"]

PIECE_BYTES = 64 << 20


class DeviceSource:
    """All rows in device memory."""

    where = "device memory"

    def __init__(self, x: torch.Tensor, norms: torch.Tensor | None) -> None:
        self.x, self.norms = x, norms
        self.n_cols, self.device = x.shape[1], x.device

    def rows(self, ids: torch.Tensor) -> Rows:
        """Rows ``ids``, int64[n]; below 0: none."""
        return Rows(self.x, ids, self.norms)


class HostSource:
    """Rows stay where they are; those of a window are gathered and sent."""

    where = "host memory, sent a window at a time"

    def __init__(self, x: torch.Tensor, norms: torch.Tensor | None, device: torch.device) -> None:
        self.x, self.norms = x, norms
        self.n_cols, self.device = x.shape[1], device

    def rows(self, ids: torch.Tensor) -> Rows:
        """Rows ``ids``, int64[n]; below 0: none."""
        live = ids >= 0
        wanted = ids[live]
        places = torch.full_like(ids, -1)
        places[live] = torch.arange(len(wanted), device=ids.device)
        own = wanted.cpu()
        x = send(self.x, own, self.device)
        norms = None if self.norms is None else self.norms[wanted]
        return Rows(x, places, norms)


Source = DeviceSource | HostSource


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """The same memory as a tensor, which nothing may write to; a copy where torch has no such."""
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        # torch warns of arrays that are read-only; nothing here writes to rows.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def send(x: torch.Tensor, ids: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Rows ``ids`` (on the host) of a host tensor, on the device."""
    out = torch.empty((len(ids), x.shape[1]), dtype=x.dtype, device=device)
    step = max(PIECE_BYTES // max(x.shape[1] * x.element_size(), 1), 1)
    with Sender(out, step) as sender:
        for low in range(0, len(ids), step):
            some = ids[low : low + step]
            torch.index_select(x, 0, some, out=sender.buffer(len(some)))
            sender.send(low, len(some))
    return out


def sent_in_parts(
    x: torch.Tensor, device: torch.device, *, part_bytes: int = 4 * PIECE_BYTES
) -> Iterator[torch.Tensor]:
    """All rows of a host tensor on the device, in order, a few of them at a time."""
    step = max(part_bytes // max(x.shape[1] * x.element_size(), 1), 1)
    for low in range(0, len(x), step):
        yield send(x, torch.arange(low, min(low + step, len(x))), device)


class Sender:
    """Fills a tensor on the device through two pinned buffers.

    While one buffer is on its way, on a stream of its own, the processor fills the other; what
    the device computes meanwhile is not held up. In the interpreter the buffers are plain memory.
    """

    def __init__(self, target: torch.Tensor, rows_at_once: int) -> None:
        self.target = target
        self._on_gpu = target.device.type == "cuda"
        shape = (min(rows_at_once, max(len(target), 1)), target.shape[1])
        self._buffers = [
            torch.empty(shape, dtype=target.dtype, pin_memory=self._on_gpu) for _ in range(2)
        ]
        self._sent: list[Any] = [None, None]
        self._next = 0
        self._stream = torch.cuda.Stream(target.device) if self._on_gpu else None

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever the device does from here on sees all rows."""
        if self._stream is not None:
            torch.cuda.current_stream(self.target.device).wait_stream(self._stream)
            self._stream.synchronize()  # the buffers go away

    def buffer(self, n_rows: int) -> torch.Tensor:
        """Room for the next rows, free to be written."""
        if self._sent[self._next] is not None:
            self._sent[self._next].synchronize()
        return self._buffers[self._next][:n_rows]

    def send(self, start: int, n_rows: int) -> None:
        """Send the rows last written to the buffer to rows ``start`` and following."""
        part = self._buffers[self._next][:n_rows]
        own = self.target[start : start + n_rows]
        if self._stream is None:
            own.copy_(part)
        else:
            with torch.cuda.stream(self._stream):
                own.copy_(part, non_blocking=True)
                self._sent[self._next] = self._stream.record_event()
        self._next = 1 - self._next
