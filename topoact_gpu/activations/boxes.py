"""The regular boxes that hold the fields of the positions along one axis."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

from .edges import Edges

__all__ = ["Boxes", "FieldKind", "fit_boxes"]

FieldKind = Literal["exact", "covering", "whole", "patch"]


class Boxes(NamedTuple):
    """Position p has the pixels from ``offset + p * stride`` on, ``size`` of them.

    Attributes
    ----------
    stride, size, offset : int
    kind : str
        See `ReceptiveField`.
    """

    stride: int
    size: int
    offset: int
    kind: FieldKind

    def reaching(self, length: int) -> Boxes:
        """Where every field is whole, boxes so long that the first and last hold the whole axis."""
        if self.kind != "whole":
            return self
        return self._replace(size=2 * length, offset=-length)


def fit_boxes(edges: Edges, length: int, n_positions: int) -> Boxes:
    """The smallest regular boxes that hold all measured fields."""
    firsts, ends = edges
    cell = max(1, length // n_positions)
    fields = set(zip(firsts.values(), ends.values(), strict=True))
    if fields == {(0, length)} or (len(fields) == 1 and n_positions > 1):
        return Boxes(cell, length, 0, "whole")
    # What the border cuts off says nothing about the stride.
    slopes = _slopes({position: first for position, first in firsts.items() if first > 0})
    slopes |= _slopes({position: end for position, end in ends.items() if end < length})
    fits = [
        fit
        for stride in sorted(slopes or {cell})
        if (fit := _around(edges, stride, length)) is not None
    ]
    if not fits:
        begin = min(first - position * cell for position, first in firsts.items())
        end = max(end - position * cell for position, end in ends.items())
        return Boxes(cell, end - begin, begin, "covering")
    return min(fits, key=lambda fit: (fit.kind != "exact", fit.size))


def _around(edges: Edges, stride: int, length: int) -> Boxes | None:
    """Boxes of this stride around all measured fields; None if some do not fit."""
    firsts, ends = edges
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
    return Boxes(stride, size, offset, "exact" if exact else "covering")


def _slopes(edges: dict[int, int]) -> set[int]:
    """Pixels from one position to the next, between neighbours among the measured."""
    slopes = set()
    for (low, before), (high, value) in pairwise(sorted(edges.items())):
        stride, rest = divmod(value - before, high - low)
        if rest == 0 and stride > 0:
            slopes.add(stride)
    return slopes
