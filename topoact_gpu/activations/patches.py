"""Tokens of vision transformers: the grid of patches as which they began."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .layers import LayerInfo

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Patches", "find_patches"]

_MOST_OTHERS = 8
"""Tokens beside the patches: for the class, for distillation, registers."""


class Patches(NamedTuple):
    """A layer's tokens: a few of their own, then one for each patch of a grid, row by row.

    Attributes
    ----------
    layer : str
        The layer that put out the grid: the patch embedding.
    prefix : int
        Tokens before the patches.
    height, width : int
        Of the grid.
    """

    layer: str
    prefix: int
    height: int
    width: int

    def grid(self, tokens: Tensor) -> Tensor:
        """The patches of Tensor[N, 1, T, C] (see `spatial`) as Tensor[N, height, width, C].

        Raises
        ------
        ParameterError
            There is another number of tokens.
        """
        if tokens.shape[2] != self.prefix + self.height * self.width:
            raise ParameterError(
                f"a layer of {self.prefix} + {self.height} x {self.width} tokens puts out "
                f"{tokens.shape[2]} for another image; bring all images to one size"
            )
        return tokens[:, 0, self.prefix :].unflatten(1, (self.height, self.width))

    def number(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the token at a place in the grid; (-1, t) is token t of the prefix."""
        return np.where(y < 0, x, self.prefix + y * self.width + x)

    def others(self) -> NDArray[np.int64]:
        """Where the tokens of the prefix lie: int64[prefix, 2], (-1, 0), (-1, 1), ..."""
        return np.stack([np.full(self.prefix, -1), np.arange(self.prefix)], axis=1)


def find_patches(infos: Iterable[LayerInfo]) -> dict[str, Patches]:
    """Find the grids that the tokens of layers began as.

    Parameters
    ----------
    infos : iterable of LayerInfo
        All layers of a network, as `list_layers` saw them for one image.

    Returns
    -------
    dict of str to Patches
        Of each layer of tokens that has a grid.

    Notes
    -----
    The grid is that of the last map that was ready before the first tokens of this number were,
    among the maps with as many positions as there are tokens, or up to eight fewer. Tokens are
    taken to be in the order of ``flatten``, those of their own in front.

    Examples
    --------
    >>> import torch
    >>> from topoact_gpu.activations.layers import list_layers
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 4, stride=4), torch.nn.Flatten(2))
    >>> find_patches(list_layers(model, torch.zeros(1, 3, 8, 12)))
    {'1': Patches(layer='0', prefix=0, height=2, width=3)}
    """
    maps: list[tuple[str, int, int]] = []
    began: dict[int, Patches | None] = {}
    found = {}
    for info in sorted(infos, key=lambda info: info.order):
        shape = info.shape or ()
        if len(shape) == 4:
            maps.append((info.name, *(shape[1:3] if info.channels_last else shape[2:])))
        elif len(shape) == 3 and shape[0] == 1:
            n_tokens = shape[1] if info.channels_last else shape[2]
            patches = began.setdefault(n_tokens, _last_of(maps, n_tokens))
            if patches is not None:
                found[info.name] = patches
    return found


def _last_of(maps: list[tuple[str, int, int]], n_tokens: int) -> Patches | None:
    for layer, height, width in reversed(maps):
        prefix = n_tokens - height * width
        if 0 <= prefix <= min(_MOST_OTHERS, height * width - 1):
            return Patches(layer, prefix, height, width)
    return None
