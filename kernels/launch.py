"""Where GPU kernels run: on a CUDA device, or in Triton's interpreter on CPU tensors.

Everything in ``kernels/<op>/gpu.py`` is Triton on torch tensors and asks this module which device
that is. With ``TRITON_INTERPRET=1`` set before Triton is imported, the same kernels run on any
processor, one program after the other: slow, and good for proving that they are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import interpreted

if TYPE_CHECKING:
    import torch

__all__ = ["on_device", "on_host", "torch_device"]


def torch_device() -> torch.device:
    """The device that kernels run on: torch's current one; "cpu" in the interpreter.

    Asked for every time: each thread has a current device of its own, and may change it.
    """
    import torch

    if interpreted():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def on_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """A copy of an array there; on "cpu" the same memory wherever torch can take it."""
    import torch

    if not array.flags.writeable:
        array = array.copy()  # torch warns of memory that it may not write
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def on_host(tensor: torch.Tensor) -> NDArray[Any]:
    """The numbers of a tensor as an array."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
