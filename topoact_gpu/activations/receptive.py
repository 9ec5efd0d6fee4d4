"""Receptive fields: the pixels of the input that a position of a layer sees."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import ParameterError
from .layers import Recorder, list_layers
from .outputs import spatial

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ["ReceptiveField", "receptive_field"]

FieldKind = Literal["exact", "covering", "whole"]


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
    kind : {"exact", "covering", "whole"}
        ``exact``: the boxes are the fields of the measured positions, to the pixel. ``covering``:
        the fields do not follow one another regularly (windows of a Swin transformer, adaptive
        pooling, gaps of a dilated convolution at the border); the boxes hold those of the measured
        positions. ``whole``: every position sees
        all that any sees (attention, squeeze-and-excitation, global pooling), or has no place in
        the input (tokens); the stride is then the cell that belongs to a position.
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
        """Rows and columns that a position sees: (top, left, bottom, right), ends excluded."""
        if self.kind == "whole":
            return 0, 0, self.height, self.width
        top, left = self.offset_y + y * self.stride_y, self.offset_x + x * self.stride_x
        return (
            max(0, top),
            max(0, left),
            min(self.height, top + self.size_y),
            min(self.width, left + self.size_x),
        )


class _Axis(NamedTuple):
    """One axis of a receptive field."""

    stride: int
    size: int
    offset: int
    kind: FieldKind


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
    NaN in the upper rows of an input spreads to exactly those positions that depend on one of
    them, whatever the weights and values are: a ReLU that is off, or a maximum that another pixel
    wins, hides a pixel from a gradient, but not from NaN. The first and last row that a position
    sees is found by bisection, for five positions on each axis: some fifty forwards up to the
    layer. A function that swallows NaN (``nan_to_num``, a comparison) hides what lies before
    it; where that leaves a position without any input, it is an error.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 5, stride=2, padding=2))
    >>> receptive_field(model, torch.zeros(1, 1, 32, 32), "0")[:6]
    (2, 2, 5, 5, -2, -2)
    """
    import torch

    if not isinstance(example, torch.Tensor) or example.ndim != 4:
        raise ParameterError(
            "a receptive field needs an image as input, a float Tensor[N, C, H, W]"
        )
    if channels_last is None:
        found = {info.name: info.channels_last for info in list_layers(module, example[:1])}
        channels_last = found.get(layer)
    height, width = example.shape[2:]
    with Recorder(module, [layer]) as recorder:
        probe = _Probe(recorder, example[:1], channels_last)
        if probe.n_axes != 4:
            return ReceptiveField(height, width, height, width, 0, 0, height, width, "whole")
        rows, columns = (_measure(probe, axis) for axis in (0, 1))
    return _joined(rows, columns, height, width)


def _joined(y: _Axis, x: _Axis, height: int, width: int) -> ReceptiveField:
    """Both axes as one; where only one of them is whole, its boxes reach over the input."""
    kind: FieldKind = "exact" if y.kind == x.kind == "exact" else "covering"
    if y.kind == x.kind == "whole":
        kind = "whole"
    elif "whole" in (y.kind, x.kind):
        y, x = (_reaching(axis, size) for axis, size in ((y, height), (x, width)))
    return ReceptiveField(
        y.stride, x.stride, y.size, x.size, y.offset, x.offset, height, width, kind
    )


def _reaching(axis: _Axis, length: int) -> _Axis:
    """Boxes so long that the first and the last position's both hold the whole axis."""
    if axis.kind != "whole":
        return axis
    return axis._replace(size=2 * length, offset=-length)


class _Probe:
    """Which positions depend on a stretch of rows or columns of the input."""

    def __init__(self, recorder: Recorder, example: Tensor, channels_last: bool | None) -> None:
        self._recorder = recorder
        self._example = example
        self._channels_last = channels_last
        self.sees = cache(self._sees)  # bisections of several positions ask the same at first
        runs = recorder.forward(example)[0]
        if len(runs) > 1:
            raise ParameterError(f"layer must be one run of a module: one of {', '.join(runs)}")
        (kept,) = runs.values()
        self.n_axes = kept.ndim
        self.shape = spatial(kept, channels_last=channels_last).shape[1:3]
        if bool(kept.isnan().any()):
            raise ParameterError(
                "the layer puts out NaN for the example itself; give a finite example"
            )

    def length(self, axis: int) -> int:
        """Pixels along an axis of the input."""
        return int(self._example.shape[2 + axis])

    def _sees(self, axis: int, start: int, stop: int) -> NDArray[np.bool_]:
        """For each position along the axis, whether a pixel of [start, stop) reaches it."""
        changed = self._example.clone()
        changed.narrow(2 + axis, start, stop - start).fill_(float("nan"))
        (kept,) = self._recorder.forward(changed)[0].values()
        marked = spatial(kept, channels_last=self._channels_last)[0].isnan().any(dim=2)
        return marked.any(dim=1 - axis).cpu().numpy()

    def starts_by(self, axis: int, position: int, row: int) -> bool:
        """Whether the first row (or column) that a position sees is `row` or an earlier one."""
        return bool(self.sees(axis, 0, row + 1)[position])

    def stops_by(self, axis: int, position: int, row: int) -> bool:
        """Whether a position sees nothing from `row` on."""
        return not self.sees(axis, row, self.length(axis))[position]


def _measure(probe: _Probe, axis: int) -> _Axis:
    """Measure the fields of up to five positions along an axis and fit all of them."""
    length, n_positions = probe.length(axis), int(probe.shape[axis])
    if not probe.sees(axis, 0, length).all():
        raise ParameterError(
            "the layer's values must depend on the input through functions that pass NaN on; some "
            "of them do not: keep no receptive field for this layer"
        )
    last = n_positions - 1
    firsts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for position in sorted({0, min(1, last), last // 2, max(0, last - 1), last}):
        start, stop = (partial(f, axis, position) for f in (probe.starts_by, probe.stops_by))
        firsts[position] = _first_true(start, length, _extrapolated(firsts, position, length))
        ends[position] = _first_true(stop, length, _extrapolated(ends, position, length))
    return _fit(firsts, ends, length, n_positions)


def _first_true(predicate: Callable[[int], bool], length: int, guess: int) -> int:
    """Smallest number for which a monotone predicate holds, else `length`; a good guess is quick.

    The predicate is not asked about `length`.
    """
    if guess == length or predicate(guess):
        if guess == 0 or not predicate(guess - 1):
            return guess
        return bisect_left(range(guess - 1), True, key=predicate)
    return bisect_left(range(length), True, lo=guess + 1, key=predicate)


def _extrapolated(edges: dict[int, int], position: int, length: int) -> int:
    """Where the edge of a position lies if edges follow one another regularly."""
    if len(edges) < 2:
        return next(iter(edges.values()), 0)
    (low, before), (high, value) = list(edges.items())[-2:]
    guess = value + (value - before) * (position - high) // (high - low)
    return min(length, max(0, guess))


def _fit(firsts: dict[int, int], ends: dict[int, int], length: int, n_positions: int) -> _Axis:
    """The smallest regular boxes that hold all measured fields."""
    cell = max(1, length // n_positions)
    fields = set(zip(firsts.values(), ends.values(), strict=True))
    if fields == {(0, length)} or (len(fields) == 1 and n_positions > 1):
        return _Axis(cell, length, 0, "whole")
    # What the border cuts off says nothing about the stride.
    slopes = _slopes({position: first for position, first in firsts.items() if first > 0})
    slopes |= _slopes({position: end for position, end in ends.items() if end < length})
    fits = [
        fit
        for stride in sorted(slopes or {cell})
        if (fit := _boxes(stride, firsts, ends, length)) is not None
    ]
    if not fits:
        begin = min(first - position * cell for position, first in firsts.items())
        end = max(end - position * cell for position, end in ends.items())
        return _Axis(cell, end - begin, begin, "covering")
    return min(fits, key=lambda fit: (fit.kind != "exact", fit.size))


def _boxes(stride: int, firsts: dict[int, int], ends: dict[int, int], length: int) -> _Axis | None:
    """Boxes of this stride around all measured fields; None if some do not fit."""
    last = max(firsts)
    free = [first - position * stride for position, first in firsts.items() if first > 0]
    # Where every field begins at the border, all of these offsets give the same boxes.
    offset = min(free, default=-last * stride)
    free = [end - position * stride for position, end in ends.items() if end < length]
    size = max(free, default=length) - offset
    exact = True
    for position, first in firsts.items():
        top, bottom = offset + position * stride, offset + position * stride + size
        box, field = (max(0, top), min(length, bottom)), (first, ends[position])
        if box[0] > field[0] or box[1] < field[1]:
            return None
        exact &= box == field
    return _Axis(stride, size, offset, "exact" if exact else "covering")


def _slopes(edges: dict[int, int]) -> set[int]:
    """Pixels from one position to the next, between neighbours among the measured."""
    slopes = set()
    for (low, before), (high, value) in pairwise(sorted(edges.items())):
        stride, rest = divmod(value - before, high - low)
        if rest == 0 and stride > 0:
            slopes.add(stride)
    return slopes
