"""Receptive fields: the pixels of the input that a position of a layer sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ParameterError
from .boxes import FieldKind, fit_boxes
from .edges import Edges, Line, Pixels, Seen, measure_edges
from .layers import LayerInfo, list_layers, match_layers
from .outputs import spatial
from .patches import find_patches
from .probing import Probe, Prober

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ReceptiveField", "receptive_field", "receptive_fields"]


class ReceptiveField(NamedTuple):
    """Boxes of input pixels: position (y, x) sees rows from ``offset_y + y * stride_y`` on.

    Attributes
    ----------
    stride_y, stride_x : int
        Pixels from one position to the next.
    size_y, size_x : int
        Of the box.
    offset_y, offset_x : int
        Where the box of position 0 begins; negative where it reaches into the padding.
    height, width : int
        Of the input, to which `box` clips.
    kind : {"exact", "covering", "whole", "patch"}
        ``exact``: the boxes are the fields of the measured positions, to the pixel. ``covering``:
        the fields do not follow one another regularly (windows of a Swin transformer, adaptive
        pooling, gaps of a dilated convolution at the border); the boxes hold those of the measured
        positions. ``whole``: every position sees
        all that any sees (attention, squeeze-and-excitation, global pooling), or has no place in
        the input; the stride is then the cell that belongs to a position. ``patch``: a token of a
        transformer, which sees the whole image through attention; the box is the patch that it
        began as. Positions are then places in the grid of patches (`Patches`).
    """

    stride_y: int
    stride_x: int
    size_y: int
    size_x: int
    offset_y: int
    offset_x: int
    height: int
    width: int
    kind: FieldKind

    def box(self, y: int, x: int) -> tuple[int, int, int, int]:
        """Rows and columns that a position sees: (top, left, bottom, right), ends excluded.

        The whole image for y = -1, which stands for what has no place in it: a mean over positions,
        or a token that began as no patch.
        """
        if self.kind == "whole" or y < 0:
            return 0, 0, self.height, self.width
        top, left = self.offset_y + y * self.stride_y, self.offset_x + x * self.stride_x
        return (
            max(0, top),
            max(0, left),
            min(self.height, top + self.size_y),
            min(self.width, left + self.size_x),
        )


def receptive_field(
    module: nn.Module, example: Tensor, layer: str, *, channels_last: bool | None = None
) -> ReceptiveField:
    """Measure which pixels the positions of a layer depend on.

    Parameters
    ----------
    module : torch.nn.Module
    example : float Tensor[N, C, H, W]
        One input; only the first is used.
    layer : str
    channels_last : bool, optional
        As in `spatial`; found by `list_layers` when not given.

    Returns
    -------
    ReceptiveField
        Its first six entries are stride, size and offset, y before x.

    Raises
    ------
    ParameterError
        The input is no image, the layer does not depend on it, or NaN does not pass through.

    Notes
    -----
    See `receptive_fields`, which measures several layers in less time.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 5, stride=2, padding=2))
    >>> receptive_field(model, torch.zeros(1, 1, 32, 32), "0")[:6]
    (2, 2, 5, 5, -2, -2)
    """
    known = {} if channels_last is None else {layer: channels_last}
    fields, missing = receptive_fields(module, example, [layer], channels_last=known)
    if layer in missing:
        raise ParameterError(missing[layer])
    return fields[layer]


def receptive_fields(
    module: nn.Module,
    example: Tensor,
    layers: Sequence[str],
    *,
    channels_last: Mapping[str, bool | None] | None = None,
    batch_size: int = 16,
) -> tuple[dict[str, ReceptiveField], dict[str, str]]:
    """Measure which pixels the positions of several layers depend on.

    Parameters
    ----------
    module : torch.nn.Module
    example : float Tensor[N, C, H, W]
        One input; only the first is used.
    layers : sequence of str
    channels_last : mapping of str to bool, optional
        As in `spatial`, by layer; found by `list_layers` where not given.
    batch_size : int
        Most images in a forward; 1 for a network that takes one at a time.

    Returns
    -------
    fields : dict of str to ReceptiveField
        Tokens that began as patches of the image (`find_patches`) are positions of their grid.
    missing : dict of str to str
        Of each layer that can't be measured the reason, a sentence.

    Raises
    ------
    ParameterError
        The input is no image, or there is no such layer.

    Notes
    -----
    NaN in some rows of an input spreads to exactly those positions that depend on one of them,
    whatever the weights and values are: a ReLU that is off, or a maximum that another pixel wins,
    hides a pixel from a gradient, but not from NaN. The first and last row that a position sees
    is found for five positions on each axis (`measure_edges`). Where fields follow one another
    regularly, that takes some twenty images a layer, as far as that layer; otherwise up to four
    times as many. Images of a batch must not depend on each other, which is checked once. A
    function that swallows NaN (``nan_to_num``, a comparison) hides what lies before it; where that
    leaves a position without any input, the layer has no field.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())
    >>> fields, missing = receptive_fields(model, torch.zeros(1, 1, 32, 32), ["0", "1"])
    >>> fields["0"].box(5, 0), fields["1"].kind, missing
    ((5, 0, 8, 3), 'whole', {})
    """
    import torch

    if not isinstance(example, torch.Tensor) or example.ndim != 4:
        raise ParameterError(
            "a receptive field needs an image as input, a float Tensor[N, C, H, W]"
        )
    known = channels_last or {}
    infos = [
        replace(info, channels_last=known.get(info.name, info.channels_last))
        for info in list_layers(module, example[:1])
        if info.shape is not None
    ]
    wanted = {layer: _one_run(layer, infos) for layer in layers}
    measuring = _Measuring(module, example[:1], infos, list(wanted.values()), batch_size)
    fields: dict[str, ReceptiveField] = {}
    missing: dict[str, str] = {}
    for layer, info in wanted.items():
        try:
            fields[layer] = measuring.field(info)
        except ParameterError as error:
            missing[layer] = str(error)
    return fields, missing


def _one_run(layer: str, infos: Iterable[LayerInfo]) -> LayerInfo:
    """The one run of a module that a name means."""
    runs = {info.run: info for info in infos}
    found = match_layers(runs, layer)
    if len(found) > 1:
        raise ParameterError(f"layer must be one run of a module: one of {', '.join(found)}")
    return runs[found[0]]


class _Measuring:
    """Receptive fields of runs of layers; what all of them are asked is asked once."""

    def __init__(
        self,
        module: nn.Module,
        example: Tensor,
        infos: Sequence[LayerInfo],
        wanted: Sequence[LayerInfo],
        batch_size: int,
    ) -> None:
        self._size = int(example.shape[2]), int(example.shape[3])
        self._patches = find_patches(infos)
        named = {info.name: info for info in infos}
        self._embeddings = {
            info.name: named[self._patches[info.name].layer]
            for info in wanted
            if info.name in self._patches
        }
        asked = {info.run: info for info in [*wanted, *self._embeddings.values()]}
        asked = {run: info for run, info in asked.items() if info.shape and info.shape[0] == 1}
        views = {run: partial(self._maps, info) for run, info in asked.items()}
        self._prober = Prober(module, example, views, batch_size)
        self._checked = self._prober.check(list(asked))
        borders = [
            Probe(axis, np.arange(length) == pixel)
            for axis, length in enumerate(self._size)
            for pixel in (0, length - 1)
        ]
        placed = [run for run, info in asked.items() if self._has_places(info)]
        self._borders = self._prober.ask(placed, borders)
        self._measured = cache(self._measure)  # layers of tokens share their embedding

    def _has_places(self, info: LayerInfo) -> bool:
        """Whether positions lie in the image."""
        return len(info.shape or ()) == 4 or info.name in self._patches

    def _maps(self, info: LayerInfo, output: Tensor) -> Tensor:
        """What a layer put out as Tensor[N, n_y, n_x, C]."""
        maps = spatial(output, channels_last=info.channels_last)
        patches = self._patches.get(info.name)
        return maps if patches is None else patches.grid(maps)

    def field(self, info: LayerInfo) -> ReceptiveField:
        """Measure one; ParameterError where that can't be done."""
        field = self._measured(info)
        if field.kind != "whole" or info.name not in self._embeddings:
            return field
        began = self._measured(self._embeddings[info.name])
        return field if began.kind == "whole" else began._replace(kind="patch")

    def _measure(self, info: LayerInfo) -> ReceptiveField:
        height, width = self._size
        if info.run not in self._checked:
            raise ParameterError(f"a layer must put out one entry for one input, not {info.shape}")
        example, everything = self._checked[info.run]
        if example.any():
            raise ParameterError(
                "the layer puts out NaN for the example itself; give a finite example"
            )
        if info.run not in self._borders:
            return ReceptiveField(height, width, height, width, 0, 0, height, width, "whole")
        if not all(everything.any(axis=1 - axis).all() for axis in (0, 1)):
            raise ParameterError(
                "the layer's values must depend on the input through functions that pass NaN on; "
                "some of them do not"
            )
        rows, columns = self._line(info.run, 0), self._line(info.run, 1)
        y = measure_edges(rows)
        alike = (rows.length, rows.n_positions) == (columns.length, columns.n_positions)
        x = measure_edges(columns, y if alike else None)
        return _joined(rows, columns, (y, x))

    def _line(self, run: str, axis: int) -> Line:
        """One axis of a layer."""
        top, bottom = (
            mark.any(axis=1 - axis) for mark in self._borders[run][2 * axis : 2 * axis + 2]
        )

        def ask(questions: list[Pixels]) -> list[Seen]:
            probes = [Probe(axis, pixels) for pixels in questions]
            return [mark.any(axis=1 - axis) for mark in self._prober.ask([run], probes)[run]]

        return Line(ask, self._size[axis], top, bottom)


def _joined(rows: Line, columns: Line, edges: tuple[Edges, Edges]) -> ReceptiveField:
    """Both axes as one; where only one of them is whole, its boxes reach over the input."""
    height, width = rows.length, columns.length
    y = fit_boxes(edges[0], height, rows.n_positions)
    x = fit_boxes(edges[1], width, columns.n_positions)
    kind: FieldKind = "exact" if y.kind == x.kind == "exact" else "covering"
    if y.kind == x.kind == "whole":
        kind = "whole"
    elif "whole" in (y.kind, x.kind):
        y, x = y.reaching(height), x.reaching(width)
    return ReceptiveField(
        y.stride, x.stride, y.size, x.size, y.offset, x.offset, height, width, kind
    )
