"""Where the device finds rows: in its own memory, or in the host's, a window at a time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.kernels.pairs.gpu import Rows

__all__ = ["DeviceSource", "HostSource", "Source", "as_tensor", "upload"]

_PIECE_BYTES = 64 << 20


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


def upload(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """All rows in device memory; in the interpreter the same memory."""
    x = as_tensor(array)
    return x if device.type == "cpu" else send(x, None, device)


def send(x: torch.Tensor, ids: torch.Tensor | None, device: torch.device) -> torch.Tensor:
    """Rows ``ids`` of a host tensor (None: all) on the device.

    Notes
    -----
    Through two pinned buffers: while one is on its way, the processor fills the other.
    """
    n_rows = len(x) if ids is None else len(ids)
    out = torch.empty((n_rows, x.shape[1]), dtype=x.dtype, device=device)
    step = max(_PIECE_BYTES // max(x.shape[1] * x.element_size(), 1), 1)
    pinned = device.type == "cuda"
    shape = (min(step, n_rows), x.shape[1])
    buffers = [torch.empty(shape, dtype=x.dtype, pin_memory=pinned) for _ in range(2)]
    sent: list[Any] = [None, None]
    for count, low in enumerate(range(0, n_rows, step)):
        at, high = count % 2, min(low + step, n_rows)
        if sent[at] is not None:
            sent[at].synchronize()
        part = buffers[at][: high - low]
        if ids is None:
            part.copy_(x[low:high])
        else:
            torch.index_select(x, 0, ids[low:high], out=part)
        out[low:high].copy_(part, non_blocking=pinned)
        if pinned:
            sent[at] = torch.cuda.Event()
            sent[at].record()
    if pinned:
        torch.cuda.current_stream(device).synchronize()
    return out
