"""Edges of fields: what every pixel asked alone would tell, in few questions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topoact_gpu.activations.edges import Edges, Line, measure_edges
from topoact_gpu.errors import ParameterError


class Fields:
    """Positions with fields that are known; answers questions and counts them."""

    def __init__(self, sees):
        self.sees = np.asarray(sees, dtype=bool)  # [n_positions, length]
        self.n_questions = self.n_rounds = 0

    def ask(self, questions):
        self.n_questions += len(questions)
        self.n_rounds += 1
        return [(self.sees & pixels).any(axis=1) for pixels in questions]

    def line(self):
        return Line(self.ask, self.sees.shape[1], self.sees[:, 0], self.sees[:, -1])

    def edges(self, positions):
        rows = [np.flatnonzero(self.sees[position]) for position in positions]
        return Edges(
            {p: int(row[0]) for p, row in zip(positions, rows, strict=True)},
            {p: int(row[-1]) + 1 for p, row in zip(positions, rows, strict=True)},
        )


def boxes(n_positions, length, *, stride, size, offset):
    numbers = np.arange(length) - (offset + stride * np.arange(n_positions))[:, None]
    return Fields((numbers >= 0) & (numbers < size))


@st.composite
def any_fields(draw):
    """Pixels in any pattern, at least one for each position."""
    n_positions, length = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sees = rng.random((n_positions, length)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    sees[np.arange(n_positions), rng.integers(0, length, n_positions)] = True
    return Fields(sees)


@given(any_fields(), st.data())
def test_any_fields_whatever_the_hint(fields, data):
    line = fields.line()
    expected = fields.edges(line.measured)
    assert measure_edges(line) == expected
    assert measure_edges(fields.line(), expected) == expected
    length = line.length
    firsts = {p: data.draw(st.integers(0, length - 1)) for p in line.measured}
    ends = {p: data.draw(st.integers(first + 1, length)) for p, first in firsts.items()}
    assert measure_edges(fields.line(), Edges(firsts, ends)) == expected


def test_both_ends_and_the_middle_are_measured():
    def measured(n_positions):
        return boxes(n_positions, 8, stride=1, size=8, offset=0).line().measured

    assert [measured(n) for n in (1, 2, 3, 10)] == [[0], [0, 1], [0, 1, 2], [0, 1, 4, 8, 9]]


@pytest.mark.parametrize(
    ("size", "offset", "most"), [(11, -5, 11), (35, -10, 13), (211, -90, 18), (4, 0, 11)]
)
def test_regular_fields_take_few_questions(size, offset, most):
    stride, length = (16, 224) if size > 100 else (4, 224)
    fields = boxes(length // stride, length, stride=stride, size=size, offset=offset)
    line = fields.line()
    expected = fields.edges(line.measured)
    assert measure_edges(line) == expected
    assert fields.n_questions <= most
    again = boxes(length // stride, length, stride=stride, size=size, offset=offset)
    assert measure_edges(again.line(), expected) == expected
    assert (again.n_rounds, again.n_questions <= 11) == (1, True)


def test_a_whole_field_takes_none():
    fields = Fields(np.ones((7, 50)))
    measure_edges(fields.line())
    assert fields.n_questions == 0


def test_irregular_fields_take_no_more_than_bisection():
    rng = np.random.default_rng(0)
    starts = np.sort(rng.integers(0, 200, 20))
    numbers = np.arange(224) - starts[:, None]
    fields = Fields((numbers >= 0) & (numbers < rng.integers(1, 25, 20)[:, None]))
    line = fields.line()
    assert measure_edges(line) == fields.edges(line.measured)
    assert fields.n_questions < 5 * 2 * np.ceil(np.log2(224))


def test_answers_that_contradict_each_other():
    line = Line(lambda questions: [np.zeros(1, bool)] * len(questions), 8, *[np.zeros(1, bool)] * 2)
    with pytest.raises(ParameterError, match="none of it alone"):
        measure_edges(line)
