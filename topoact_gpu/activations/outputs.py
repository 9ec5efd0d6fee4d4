"""What layers and networks put out: the tensor, its positions, the class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["all_tensors", "first_tensor", "predictions", "spatial"]

_PREFERRED = ("last_hidden_state", "logits")


def first_tensor(output: Any) -> Tensor:
    """Pick the tensor that stands for an output.

    Parameters
    ----------
    output : Any
        A tensor: itself. A tuple or list: the first tensor in it. A mapping or dataclass
        (transformers' ModelOutput): ``last_hidden_state``, else ``logits``, else the first tensor.
        Nested ones are searched in depth, in their order.

    Returns
    -------
    torch.Tensor

    Raises
    ------
    ParameterError
        There is no tensor in it.

    Examples
    --------
    >>> import torch
    >>> first_tensor((None, {"mask": torch.zeros(1), "logits": torch.ones(2)}))
    tensor([1., 1.])
    """
    for tensor in all_tensors(output):
        return tensor
    raise ParameterError(
        f"an output must hold a tensor; {type(output).__name__} holds none: choose another layer"
    )


def all_tensors(output: Any) -> Iterator[Tensor]:
    """Yield every tensor of an output, the one that `first_tensor` picks first."""
    import torch

    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from all_tensors(part)
    elif isinstance(output, Mapping):
        ranked = sorted(output, key=_rank)  # stable: the rest keeps its order
        for key in ranked:
            yield from all_tensors(output[key])
    elif is_dataclass(output) and not isinstance(output, type):
        names = [field.name for field in fields(output)]
        yield from all_tensors({name: getattr(output, name, None) for name in names})


def _rank(key: Any) -> int:
    return _PREFERRED.index(key) if key in _PREFERRED else len(_PREFERRED)


def spatial(tensor: Tensor, *, channels_last: bool | None = None) -> Tensor:
    """Give every output the same axes.

    Parameters
    ----------
    tensor : Tensor[N, C, H, W], [N, H, W, C], [N, T, C], [N, C, T] or [N, C]
    channels_last : bool, optional
        Where the columns stand. A shape alone does not tell; `list_layers` finds it out from the
        layers (``LayerInfo.channels_last``). Default: torch's own habit, channels first in four
        axes ([N, C, H, W]) and last in three ([N, T, C], tokens).

    Returns
    -------
    Tensor[N, n_y, n_x, C]
        A view. Tokens lie at y = 0, x = token; [N, C] is one position.

    Raises
    ------
    ParameterError
        Another number of axes.

    Examples
    --------
    >>> import torch
    >>> spatial(torch.zeros(2, 8, 5, 7)).shape
    torch.Size([2, 5, 7, 8])
    >>> spatial(torch.zeros(2, 5, 7, 8), channels_last=True).shape
    torch.Size([2, 5, 7, 8])
    >>> spatial(torch.zeros(2, 11, 8)).shape
    torch.Size([2, 1, 11, 8])
    """
    if tensor.ndim == 4:
        return tensor if channels_last else tensor.permute(0, 2, 3, 1)
    if tensor.ndim == 3:
        tokens = tensor.transpose(1, 2) if channels_last is False else tensor
        return tokens[:, None]
    if tensor.ndim == 2:
        return tensor[:, None, None]
    raise ParameterError(
        f"an output must have 2, 3 or 4 axes, the first for the inputs; got {tuple(tensor.shape)}: "
        "choose another layer"
    )


def predictions(output: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the class and the confidence off a classifier's output.

    Parameters
    ----------
    output : Any
        What the network returned; ``logits`` in a mapping, else `first_tensor`: [N, n_classes].

    Returns
    -------
    classes : int64[N]
        The class with the largest logit, of equal ones the lowest.
    confidence : float32[N]
        Its share in the softmax over all classes.

    Raises
    ------
    ParameterError
        The output is not [N, n_classes].

    Examples
    --------
    >>> import torch
    >>> predictions(torch.tensor([[0.0, 100.0], [3.0, 3.0]]))
    (array([1, 0]), array([1. , 0.5], dtype=float32))
    """
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    logits = first_tensor(output)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ParameterError(
            f"a classifier must put out [inputs, classes], got {tuple(logits.shape)}; "
            "record no prediction for this model"
        )
    values = logits.detach().double().cpu().numpy()
    classes = values.argmax(axis=1)
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    confidence = shares[np.arange(len(shares)), classes] / shares.sum(axis=1)
    return classes.astype(np.int64), confidence.astype(np.float32)
