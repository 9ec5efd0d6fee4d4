"""Draws: in range, off the edges, no repeats, uniform, and the same whatever surrounds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from topoact_gpu.activations.sampling import Sampling, aligned_draw, draw, parse_sampling
from topoact_gpu.errors import ParameterError

SIDES = st.integers(1, 20)
COUNTS = st.integers(1, 12)
IDS = st.text(max_size=12)


def random(k: int) -> Sampling:
    return Sampling("random", k)


def inner(side: int) -> range:
    return range(1, side - 1) if side > 2 else range(side)


@pytest.mark.parametrize(
    "text",
    ["random:1", "random:16", "top-norm:3", "all", "center", "mean", "tokens", "tokens+special"],
)
def test_a_sampling_reads_back(text):
    assert str(parse_sampling(text)) == text
    assert str(parse_sampling(f" {text.upper()} ")) == text


@pytest.mark.parametrize(
    "text", ["", "random", "random:0", "random:-1", "random:1.5", "all:2", "top-norm", "centre"]
)
def test_another_text_is_refused(text):
    with pytest.raises(ParameterError, match=r"random:K, top-norm:K, all, .*; got"):
        parse_sampling(text)


def test_what_a_sampling_says_of_itself():
    assert parse_sampling("tokens+special").special
    assert not parse_sampling("tokens").special
    assert [parse_sampling(t).of_tokens for t in ("tokens", "all", "mean")] == [True, False, False]
    aligned = {t: parse_sampling(t).aligned for t in ("random:2", "center", "all", "top-norm:1")}
    assert aligned == {"random:2": True, "center": True, "all": False, "top-norm:1": False}


@given(SIDES, SIDES, COUNTS, st.integers(-5, 2**70), IDS, IDS)
def test_random_draws_stay_inside_without_repeats(height, width, k, seed, input_id, layer):
    found = draw(random(k), height, width, seed=seed, input_id=input_id, layer=layer)
    rows, columns = inner(height), inner(width)
    assert found.dtype == np.int64
    assert found.shape == (min(k, len(rows) * len(columns)), 2)
    assert all(y in rows and x in columns for y, x in found.tolist())
    assert list(map(tuple, found.tolist())) == sorted(set(map(tuple, found.tolist())))


@given(st.permutations(range(12)), st.integers(1, 5))
def test_the_order_and_the_batch_change_nothing(order, batch):
    def drawn(number: int) -> bytes:
        place = {"seed": 3, "input_id": f"image{number}.jpg", "layer": "block.2"}
        return draw(random(3), 9, 7, **place).tobytes()

    alone = {number: drawn(number) for number in range(12)}
    batches = [order[start : start + batch] for start in range(0, 12, batch)]
    assert {number: drawn(number) for group in batches for number in group} == alone


@given(IDS, IDS, st.integers(0, 9))
def test_seed_input_and_layer_each_count(input_id, layer, seed):
    def drawn(**changed: object) -> bytes:
        place = {"seed": seed, "input_id": input_id, "layer": layer} | changed
        return draw(random(8), 1000, 1000, **place).tobytes()

    same = drawn()
    assert drawn() == same
    assert drawn(seed=seed + 1) != same
    assert drawn(layer=layer + "x") != same
    assert drawn(input_id=input_id + "x") != same
    if (input_id + "|", layer) != (input_id, "|" + layer):
        assert drawn(input_id=input_id + "|") != drawn(layer="|" + layer)


def test_a_draw_stays_what_it_was():
    # Stores are resumed by later versions: these values must never change.
    kept = draw(random(3), 14, 14, seed=0, input_id="cat/1.jpg", layer="blocks.10")
    assert kept.tolist() == [[8, 1], [8, 9], [9, 6]]
    both = aligned_draw(random(2), {"a": (28, 28), "b": (7, 7)}, seed=0, input_id="cat/1.jpg")
    assert both["a"].tolist() == [[4, 18], [20, 10]]
    assert both["b"].tolist() == [[1, 4], [4, 2]]


@pytest.mark.parametrize("aligned", [False, True])
def test_one_position_is_drawn_uniformly(aligned):
    counts = np.zeros((8, 6), dtype=np.int64)
    for number in range(12_000):
        name = f"n{number:08d}.JPEG"
        if aligned:
            ((y, x),) = aligned_draw(random(1), {"a": (8, 6)}, seed=0, input_id=name)["a"]
        else:
            ((y, x),) = draw(random(1), 8, 6, seed=0, input_id=name, layer="a")
        counts[y, x] += 1
    assert counts[1:-1, 1:-1].sum() == 12_000
    assert chisquare(counts[1:-1, 1:-1].ravel()).pvalue > 0.01


def test_pairs_are_drawn_uniformly():
    counts = np.zeros((6, 6), dtype=np.int64)
    for number in range(6_000):
        one, other = draw(random(2), 1, 4, seed=1, input_id=str(number), layer="a")[:, 1]
        counts[one, other] += 1
    pairs = counts[1:3, 1:3]
    assert counts.sum() == pairs[0, 1] == 6_000  # a row of 4 has two inner positions: one pair
    counts = np.zeros((7, 7), dtype=np.int64)
    for number in range(6_000):
        one, other = draw(random(2), 1, 7, seed=1, input_id=str(number), layer="a")[:, 1]
        counts[one, other] += 1
    upper = counts[np.triu_indices(7, 1)]
    assert chisquare(upper[upper > 0]).pvalue > 0.01
    assert np.count_nonzero(upper) == 10


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), COUNTS, IDS)
def test_aligned_rows_are_at_the_same_place(shapes, k, input_id):
    sizes = {str(number): shape for number, shape in enumerate(shapes)}
    found = aligned_draw(random(k), sizes, seed=7, input_id=input_id)
    assert list(found) == list(sizes)
    for name, (height, width) in sizes.items():
        rows, columns = inner(height), inner(width)
        assert found[name].shape == (k, 2)
        assert found[name].dtype == np.int64
        assert all(y in rows and x in columns for y, x in found[name].tolist())
        if k <= len(rows) * len(columns):
            assert len({tuple(row) for row in found[name].tolist()}) == k
    alone = aligned_draw(random(k), {"0": shapes[0]}, seed=7, input_id=input_id)
    assert np.array_equal(alone["0"], found["0"])


@given(st.integers(3, 40), st.integers(3, 40), IDS)
def test_one_aligned_row_is_within_a_cell_of_itself(first, second, input_id):
    sizes = {"a": (first, first), "b": (second, second)}
    found = aligned_draw(random(1), sizes, seed=0, input_id=input_id)
    inside = [(found[name] - 1) / (side - 2) for name, (side, _) in sizes.items()]
    assert np.abs(inside[0] - inside[1]).max() < 1 / (min(first, second) - 2)


def test_fixed_samplings():
    place = {"seed": 0, "input_id": "a", "layer": "b"}
    assert draw(Sampling("center"), 14, 7, **place).tolist() == [[7, 3]]
    assert draw(Sampling("center"), 1, 1, **place).tolist() == [[0, 0]]
    assert draw(Sampling("mean"), 5, 5, **place).tolist() == [[-1, -1]]
    assert draw(Sampling("all"), 2, 2, **place).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@given(SIDES, SIDES, COUNTS)
def test_the_longest_rows_are_taken(height, width, k):
    assume(height * width > 0)
    norms = np.random.default_rng(k).integers(0, 5, (height, width)).astype(np.float32)
    found = draw(Sampling("top-norm", k), height, width, **PLACE, norms=norms)
    order = sorted(np.ndindex(height, width), key=lambda at: (-norms[at], at))
    assert [tuple(row) for row in found.tolist()] == sorted(order[:k])


PLACE = {"seed": 0, "input_id": "a", "layer": "b"}


def test_a_row_that_is_no_number_is_never_the_longest():
    norms = np.array([[np.nan, 1.0], [2.0, np.nan]])
    assert draw(Sampling("top-norm", 1), 2, 2, **PLACE, norms=norms).tolist() == [[1, 0]]


def test_aligned_draws_layer_by_layer_where_it_must():
    shapes = {"a": (2, 2), "b": (1, 1)}
    every = aligned_draw(Sampling("all"), shapes, seed=0, input_id="i")
    assert [len(rows) for rows in every.values()] == [4, 1]
    norms = {"a": np.array([[0, 1], [3, 2]]), "b": np.array([[1]])}
    longest = aligned_draw(Sampling("top-norm", 1), shapes, seed=0, input_id="i", norms=norms)
    assert {name: rows.tolist() for name, rows in longest.items()} == {"a": [[1, 0]], "b": [[0, 0]]}


@pytest.mark.parametrize(
    ("sampling", "size", "norms", "message"),
    [
        ("random:1", (0, 3), None, "at least 1 x 1 is required, got 0 x 3"),
        ("tokens", (3, 3), None, "tokens chooses tokens of a text, the layer gives a map"),
        ("top-norm:1", (3, 3), None, r"norms of shape \(3, 3\), got none"),
        ("top-norm:1", (3, 3), np.ones((2, 3)), r"norms of shape \(3, 3\), got shape \(2, 3\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(sampling, size, norms, message):
    with pytest.raises(ParameterError, match=message):
        draw(parse_sampling(sampling), *size, **PLACE, norms=norms)


def test_aligned_refuses_the_same():
    with pytest.raises(ParameterError, match="at least 1 x 1"):
        aligned_draw(random(1), {"a": (3, 0)}, seed=0, input_id="i")
    with pytest.raises(ParameterError, match="chooses tokens"):
        aligned_draw(Sampling("tokens"), {"a": (3, 3)}, seed=0, input_id="i")
