"""How many inputs go through a network at once: found from bytes, never from times."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .entries import UnreadableInput
from .layers import Recorder, list_layers
from .plan import Plan, autocast, read_input, text_arguments, tokens_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["find_batch_size"]

# Above 32 MiB the C library gives a tensor's memory back after every use, and a forward spends its
# time on page faults: EfficientNet-Lite0 takes 27 ms an image in batches of 4 (a tensor of 20 MB)
# and 50 ms in batches of 16 (78 MB), but 26 ms where glibc is told to keep it. Below, more inputs
# gain little: ResNet-18 is as fast with 4 as with 8, a tiny ViT with 8 as with 32, MiniLM with 16
# as with 64 (one thread of an AMD EPYC), and long batches of texts are padded more.
_CPU_BYTES = 32 << 20
_CPU_BOUNDS = {"image": (1, 64), "text": (8, 64)}
# Of the device's memory, beside the weights; other processes may use the rest.
_CUDA_SHARE = 0.25
_CUDA_BOUNDS = {"image": (1, 256), "text": (8, 512)}
_CANDIDATES = 64
"""Texts looked at for the longest one."""


def find_batch_size(plan: Plan) -> int:
    """Find how many inputs should go through the network at once.

    Parameters
    ----------
    plan : Plan
        Its ``batch_size`` is not looked at.

    Returns
    -------
    int
        A power of two. The same in every run on the CPU, and on a device of the same kind.

    Notes
    -----
    On the CPU the largest output of any module, for the whole batch, stays within 32 MiB: from 1 to
    64 images, 8 to 64 texts. On a CUDA device the peak memory of forwards of one and of two inputs
    is measured, and a quarter of the device's memory filled: up to 256 images, 512 texts. A batch
    that does not fit there all the same is halved later on. Texts are counted as long as the
    longest of them: of those with most bytes in their file, or of some that lie evenly.
    """
    import torch

    example = _longest_text(plan) if plan.model.kind == "text" else plan.example
    if torch.device(plan.device).type == "cuda":
        return _within(_fit_on_device(plan, example), _CUDA_BOUNDS[plan.model.kind])
    largest = max(
        4 * math.prod(shape)
        for info in list_layers(plan.model.module, example)
        for shape in info.shapes
    )
    return _within(_CPU_BYTES // largest, _CPU_BOUNDS[plan.model.kind])


def _within(number: int, bounds: tuple[int, int]) -> int:
    """The largest power of two up to a number, inside bounds."""
    least, most = bounds
    return min(max(1 << max(number.bit_length() - 1, 0), least), most)


def _longest_text(plan: Plan) -> dict[str, Tensor]:
    """Arguments of a forward of the longest text."""
    inputs, count = plan.inputs, min(_CANDIDATES, len(plan.inputs))
    sizes = inputs.sizes()
    if sizes is None:
        numbers = np.linspace(0, len(inputs) - 1, count).astype(np.int64)
    else:
        numbers = np.argsort(-sizes, kind="stable")[:count]
    read = [read_input(plan, int(number)) for number in numbers]
    good = [found for found in read if not isinstance(found, UnreadableInput)]
    if not good:
        example: dict[str, Tensor] = plan.example
        return example
    tokens = tokens_of(plan, good)
    longest = good[int(tokens.attention_mask.sum(axis=1).argmax())]
    return text_arguments(plan, tokens_of(plan, [longest]))


def _fit_on_device(plan: Plan, example: Any) -> int:
    """Inputs whose forward fits into the share of a CUDA device's memory."""
    import torch

    need_output = plan.model.n_outputs is not None
    with Recorder(plan.model.module, plan.layers, need_output=need_output) as recorder:
        _peak_bytes(plan, recorder, example, 1)  # libraries take their workspaces in the first one
        one = _peak_bytes(plan, recorder, example, 1)
        try:
            two = _peak_bytes(plan, recorder, example, 2)
        except torch.OutOfMemoryError:
            return 1
    total = torch.cuda.get_device_properties(plan.device).total_memory
    return _fit(one, two, int(_CUDA_SHARE * total))


def _fit(one: int, two: int, budget: int) -> int:
    """Inputs that fit into a budget, given the bytes that one and two of them take."""
    each = max(two - one, 1)
    return max(1 + (budget - one) // each, 1)


def _peak_bytes(plan: Plan, recorder: Recorder, example: Any, number: int) -> int:
    """Bytes that a forward takes beside what was there before."""
    import torch

    before = torch.cuda.memory_allocated(plan.device)
    torch.cuda.reset_peak_memory_stats(plan.device)
    with autocast(plan):
        if plan.model.kind == "image":
            recorder.forward(example.repeat(number, *[1] * (example.ndim - 1)))
        else:
            recorder.forward(**{name: value.repeat(number, 1) for name, value in example.items()})
    return int(torch.cuda.max_memory_allocated(plan.device)) - before
