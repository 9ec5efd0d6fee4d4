"""The first and last pixel that each position of a layer sees, found by asking about stretches.

A question is a set of pixels along one axis of the input; the answer says of each position whether
it sees any of them. Nothing here knows how a question is put to a network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError

__all__ = ["Edges", "Line", "Pixels", "Seen", "measure_edges"]

Pixels = NDArray[np.bool_]
"""bool[length]: a question."""

Seen = NDArray[np.bool_]
"""bool[n_positions]: its answer."""

_FIRST, _END = 0, 1


class Edges(NamedTuple):
    """Where the fields of the measured positions begin and end.

    Attributes
    ----------
    firsts, ends : dict of int to int
        By position; the first pixel that it sees, and one more than the last.
    """

    firsts: dict[int, int]
    ends: dict[int, int]


class Line:
    """What is known of the pixels that the positions along an axis see.

    Parameters
    ----------
    ask : callable
        Answers a list of questions, bool[length] each, by bool[n_positions] each.
    length : int
        Pixels along the axis.
    top, bottom : bool[n_positions]
        Whether a position sees the first pixel, and the last.

    Notes
    -----
    Every position is taken to see something, and some pixels of a set exactly if it sees one of
    them alone. So a no clears every pixel of the question; a yes says that one of those not
    cleared, also by a later no, is seen.
    """

    def __init__(
        self, ask: Callable[[list[Pixels]], list[Seen]], length: int, top: Seen, bottom: Seen
    ) -> None:
        self.length, self.n_positions = length, len(top)
        self.top, self.bottom = top, bottom
        last = self.n_positions - 1
        self.measured = sorted({0, min(1, last), last // 2, max(0, last - 1), last})
        self._ask = ask
        self._answers: list[tuple[Pixels, Seen]] = []
        self.unseen = np.zeros((self.n_positions, length), dtype=bool)
        self._learn(self.stretch(0, 1), top)
        self._learn(self.stretch(length - 1, length), bottom)

    def ask(self, questions: list[Pixels]) -> None:
        """Put questions, all at once."""
        if questions:
            for pixels, seen in zip(questions, self._ask(questions), strict=True):
                self._learn(pixels, seen)

    def _learn(self, pixels: Pixels, seen: Seen) -> None:
        self.unseen[~seen] |= pixels
        self._answers.append((pixels, seen))

    def bounds(self, position: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Lowest and highest number that the first pixel can have, and the end."""
        unseen = self.unseen[position]
        left = np.flatnonzero(~unseen)
        if len(left) == 0:
            raise ParameterError("a position sees a set of pixels, but none of it alone")
        first, end = left[-1], left[0] + 1
        for pixels, seen in self._answers:
            candidates = np.flatnonzero(pixels & ~unseen) if seen[position] else left[:0]
            if len(candidates):
                first, end = min(first, candidates[-1]), max(end, candidates[0] + 1)
        return (int(left[0]), int(first)), (int(end), int(left[-1]) + 1)

    def allows(self, edges: Edges, position: int) -> bool:
        """Whether nothing that is known contradicts these edges of a position."""
        return all(
            low <= edge[position] <= high
            for edge, (low, high) in zip(edges, self.bounds(position), strict=True)
        )

    def stretch(self, start: int, stop: int) -> Pixels:
        """The pixels from `start` up to `stop`."""
        pixels = np.zeros(self.length, dtype=bool)
        pixels[start:stop] = True
        return pixels

    def by(self, side: int, number: int) -> Pixels:
        """The question whether a first pixel, or an end, is `number` or lower.

        Yes means that the first pixel is, no that the end is.
        """
        if side == _FIRST:
            return self.stretch(0, number + 1)
        return self.stretch(number, self.length)


def measure_edges(line: Line, hint: Edges | None = None) -> Edges:
    """Find the edges of up to five positions: both ends, their neighbours, the middle.

    Parameters
    ----------
    line : Line
    hint : Edges, optional
        A guess; the other axis of a square image often has the same.

    Returns
    -------
    Edges
        Of ``line.measured``; the same whatever the hint.

    Raises
    ------
    ParameterError
        Answers contradict each other.

    Notes
    -----
    A right guess of all edges is confirmed by some ten questions, put at once. It comes from the
    stride: of the positions that do not see the first pixel, the lowest begins within one stride
    of it. What a wrong guess leaves open is found by bisection, position by position.
    """
    if hint is None or not all(line.allows(hint, position) for position in line.measured):
        hint = _regular(line)
    line.ask(_confirming(line, hint))
    while open_questions := _bisecting(line):
        line.ask(open_questions)
    found = {position: line.bounds(position) for position in line.measured}
    return Edges(
        {position: first for position, ((first, _), _) in found.items()},
        {position: end for position, (_, (end, _)) in found.items()},
    )


def _regular(line: Line) -> Edges:
    """Guess all edges: one position on each side is measured, the others follow in strides."""
    stride = max(1, line.length // line.n_positions)
    references: dict[int, tuple[int, range]] = {}
    if not line.top.all():
        references[_FIRST] = int(np.argmin(line.top)), range(1, stride + 1)
    if not line.bottom.all():
        position = line.n_positions - 1 - int(np.argmin(line.bottom[::-1]))
        references[_END] = position, range(line.length - stride, line.length)
    known = {side: _within(line, side, *where) for side, where in references.items()}
    while wanted := {side: span for side, span in known.items() if len(span) > 1}:
        line.ask([line.by(side, _middle(span)) for side, span in wanted.items()])
        known |= {side: _within(line, side, *references[side]) for side in wanted}
    edges = Edges({}, {})
    for position, side in product(line.measured, (_FIRST, _END)):
        number = line.length * side
        if side in known:
            number = known[side][0] + (position - references[side][0]) * stride
        edges[side][position] = min(max(number, side), line.length - 1 + side)
    return edges


def _within(line: Line, side: int, position: int, span: range) -> range:
    """What is left of the numbers that an edge may have; never empty."""
    low, high = line.bounds(position)[side]
    left = range(max(low, span[0]), min(high, span[-1]) + 1)
    return left or span[-1:]


def _middle(span: range) -> int:
    return span[(len(span) - 1) // 2]


def _confirming(line: Line, edges: Edges) -> list[Pixels]:
    """Questions that leave nothing open if a guess is right."""
    outsides, claims = [], []
    for position in filter(partial(line.allows, edges), line.measured):
        first, end = (side[position] for side in edges)
        outside = ~line.stretch(first, end)
        if (outside & ~line.unseen[position]).any():
            outsides.append(outside)
        (_, latest), (earliest, _) = line.bounds(position)
        if latest != first:
            claims.append((position, first))
        if earliest != end:
            claims.append((position, end - 1))
    return outsides + [
        np.isin(np.arange(line.length), list(question.values()))
        for question in _packed(claims, edges)
    ]


def _packed(claims: list[tuple[int, int]], edges: Edges) -> list[dict[int, int]]:
    """Put claims that a position sees a pixel into few questions, {position: pixel} each.

    Within a question no position sees, by the guess, another's pixel.
    """

    def sees(position: int, pixel: int) -> bool:
        return edges.firsts[position] <= pixel < edges.ends[position]

    questions: list[dict[int, int]] = []
    for position, pixel in claims:
        for question in questions:
            if position not in question and all(
                pixel == other or not (sees(position, other) or sees(owner, pixel))
                for owner, other in question.items()
            ):
                question[position] = pixel
                break
        else:
            questions.append({position: pixel})
    return questions


def _bisecting(line: Line) -> list[Pixels]:
    """Questions about the first position on either side whose edge is still open."""
    questions = []
    bounds = {position: line.bounds(position) for position in line.measured}
    for side in (_FIRST, _END):
        known = {p: b[side][0] for p, b in bounds.items() if b[side][0] == b[side][1]}
        open_positions = [position for position in line.measured if position not in known]
        if open_positions:
            low, high = bounds[open_positions[0]][side]
            guess = _extrapolated(known, open_positions[0], line.length)
            numbers = [n for n in (guess - 1, guess) if low <= n < high and guess <= high]
            numbers = numbers or [(low + high) // 2]
            questions += [line.by(side, number) for number in numbers]
    return questions


def _extrapolated(edges: dict[int, int], position: int, length: int) -> int:
    """Where an edge lies if edges follow one another regularly; -1 where none is known."""
    nearest = sorted(edges, key=lambda known: abs(known - position))[:2]
    if len(nearest) < 2:
        return edges[nearest[0]] if nearest else -1
    near, far = nearest
    guess = edges[near] + (edges[far] - edges[near]) * (position - near) // (far - near)
    return min(length, max(0, guess))
