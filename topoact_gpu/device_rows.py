"""Rows in device memory: sent there chunk by chunk, or handed over by the caller."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.errors import DataError
from topoact_gpu.resident import Resident, float_dtype, for_block, is_addressable
from topoact_gpu.rows import Rows, check_finite, nonfinite_message
from topoact_gpu.source import PIECE_BYTES, Sender, as_tensor

__all__ = ["DeviceResident", "on_device"]

T = TypeVar("T")


class DeviceResident(Resident):
    """Rows that a device holds.

    Attributes
    ----------
    rows : Rows
    tensor : float16 | float32 | float64 [n_rows, n_cols]
    where : "device memory"
    """

    def __init__(self, rows: Rows, tensor: torch.Tensor) -> None:
        super().__init__(rows, None, "device memory")
        self.tensor = tensor

    @cached_property
    def array(self) -> NDArray[Any]:
        """The rows in host memory: as they were given, or copied back when first asked for."""
        given = self.rows.array
        if given is not None and is_addressable(given):
            return given
        self.where = "device memory, copied to the host for a stage that runs there"
        copy: NDArray[Any] = self.tensor.cpu().numpy()
        return copy

    def map_blocks(
        self, function: Callable[[int, NDArray[Any], Team], T], team: Team, *, key: str = ""
    ) -> list[T]:
        """Results for consecutive blocks, in order; on the host, as the rows were given."""
        if self.rows.array is not None:
            return [for_block(function, 0, self.rows.n_rows)(0, self.rows.array, team)]
        return [
            for_block(function, start, start + len(block))(start, block, team)
            for start, block in self.rows.blocks(PIECE_BYTES)
        ]

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Copy of the rows ``ids`` in host memory."""
        chosen: NDArray[Any] = (
            self.tensor[torch.from_numpy(ids).to(self.tensor.device)].cpu().numpy()
        )
        return chosen

    def largest(self, team: Team) -> float:
        """Largest absolute value; raises when a value is not finite."""
        step = max(PIECE_BYTES // max(self.tensor.shape[1] * self.tensor.element_size(), 1), 1)
        parts = [self.tensor[low : low + step] for low in range(0, len(self.tensor), step)]
        most = float(torch.stack([part.abs().amax() for part in parts]).max())  # NaN stays NaN
        if not np.isfinite(most):
            self._name_what_is_not_finite()
        return most

    def _name_what_is_not_finite(self) -> None:
        if self.rows.tensor is None:
            check_finite(self.rows)
        bad = torch.nonzero(~torch.isfinite(self.tensor).all(1))[:, 0]
        first = int(bad[0])
        raise DataError(nonfinite_message("X", len(bad), len(self.tensor), first))


def on_device(rows: Rows, device: torch.device) -> DeviceResident:
    """Bring rows to a device, or take them where they are.

    Notes
    -----
    A tensor that is there already is used as it is, unless its columns are not adjacent. From
    anywhere else rows are read in blocks, so that no copy is made in host memory: while one block
    is on its way the next is read and decoded.
    """
    given = rows.tensor
    if given is not None and given.device == device:
        adjacent = given.stride(1) == 1 and given.is_floating_point()
        return DeviceResident(rows, given if adjacent else _as_floats(given, rows).contiguous())
    array = rows.array
    if device.type == "cpu" and array is not None and is_addressable(array):
        return DeviceResident(rows, as_tensor(array))
    dtype = float_dtype(rows.dtype)
    out = torch.empty((rows.n_rows, rows.n_cols), dtype=_torch_dtype(dtype), device=device)
    step = max(PIECE_BYTES // max(rows.n_cols * dtype.itemsize, 1), 1)
    with Sender(out, step) as sender:
        for start, block in rows.blocks(PIECE_BYTES):
            for low in range(0, len(block), step):
                part = block[low : low + step]
                np.copyto(sender.buffer(len(part)).numpy(), part, casting="unsafe")
                sender.send(start + low, len(part))
    return DeviceResident(rows, out)


def _as_floats(given: torch.Tensor, rows: Rows) -> torch.Tensor:
    return given.to(_torch_dtype(float_dtype(rows.dtype)))


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype.name)
    return found
