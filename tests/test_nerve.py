"""Nerve: against the definition, on any thread count, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topoact_gpu.cover import UniformCover
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.kernels.nerve.reference import simplices
from topoact_gpu.nerve import Nerve, nerve


@st.composite
def memberships(draw):
    """Nodes as CSR: any subsets of a few rows, some of them empty."""
    n_rows = draw(st.integers(1, 12))
    nodes = draw(st.lists(st.sets(st.integers(0, n_rows - 1)), max_size=8))
    indptr = np.cumsum([0] + [len(node) for node in nodes], dtype=np.int64)
    rows = np.array([row for node in nodes for row in sorted(node)], dtype=np.int64)
    return indptr, rows, n_rows


def random_memberships(seed, n_nodes=60, n_rows=300, size=25):
    rng = np.random.default_rng(seed)
    nodes = [np.sort(rng.choice(n_rows, rng.integers(0, size), False)) for _ in range(n_nodes)]
    indptr = np.cumsum([0] + [node.size for node in nodes], dtype=np.int64)
    return indptr, np.concatenate(nodes).astype(np.int64), n_rows


def check_equal(found: Nerve, indptr, rows, max_dimension, min_intersection):
    """Compare with the definition, dimension by dimension."""
    assert len(found.higher) == max_dimension - 1
    for dimension, simplex in enumerate((found.edges, *found.higher), start=1):
        expected = simplices(indptr, rows, dimension, min_intersection)
        assert simplex.dtype == np.int64
        assert simplex.shape == (len(expected), dimension + 2)
        assert simplex.tolist() == [list(e) for e in expected]
    sizes = np.diff(indptr)
    for (a, b, shared), jaccard in zip(found.edges.tolist(), found.jaccard, strict=True):
        assert jaccard == shared / (sizes[a] + sizes[b] - shared)


def as_bytes(found: Nerve) -> list[bytes]:
    return [a.tobytes() for a in (found.edges, found.jaccard, *found.higher)]


@given(memberships(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_equals_the_definition(nodes, max_dimension, min_intersection, n_threads):
    found = nerve(
        *nodes,
        max_dimension=max_dimension,
        min_intersection=min_intersection,
        n_threads=n_threads,
    )
    check_equal(found, nodes[0], nodes[1], max_dimension, min_intersection)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition_on_many_nodes(seed):
    indptr, rows, n_rows = random_memberships(seed)
    found = nerve(indptr, rows, n_rows, max_dimension=2, min_intersection=1 + seed)
    check_equal(found, indptr, rows, 2, 1 + seed)
    assert found.edges.size


def test_the_comparison_with_the_definition_can_fail():
    indptr, rows, n_rows = random_memberships(0)
    right = nerve(indptr, rows, n_rows)
    off_by_one = right.edges.copy()
    off_by_one[3, 2] += 1
    missing = Nerve(right.edges[:-1], right.jaccard[:-1], ())
    for wrong in (Nerve(off_by_one, right.jaccard, ()), missing):
        with pytest.raises(AssertionError):
            check_equal(wrong, indptr, rows, 1, 1)
    with pytest.raises(AssertionError):
        check_equal(right, indptr, rows, 1, 2)


def test_same_bytes_for_any_thread_count(monkeypatch):
    indptr, rows, n_rows = random_memberships(7, n_nodes=200)
    one = as_bytes(nerve(indptr, rows, n_rows, max_dimension=3, n_threads=1))
    for n_threads in (2, 3, 8, 64):
        many = nerve(indptr, rows, n_rows, max_dimension=3, n_threads=n_threads)
        assert as_bytes(many) == one
    monkeypatch.setattr("topoact_gpu.kernels.nerve.levels._ROWS_A_BLOCK", 7)
    assert as_bytes(nerve(indptr, rows, n_rows, max_dimension=3)) == one


def test_same_bytes_however_little_is_stored_at_a_time(monkeypatch):
    """Extensions stop where their store is full, in the middle of a range, and go on in another."""
    indptr, rows, n_rows = random_memberships(7, n_nodes=200)
    whole = as_bytes(nerve(indptr, rows, n_rows, max_dimension=3))
    monkeypatch.setattr("topoact_gpu.kernels.nerve.levels._FOUND_A_PART", 0)
    for n_threads in (1, 2):
        found = nerve(indptr, rows, n_rows, max_dimension=3, n_threads=n_threads)
        assert as_bytes(found) == whole


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_any_integers_give_the_same(dtype):
    indptr, rows, n_rows = random_memberships(1)
    found = nerve(indptr.astype(dtype), rows.astype(dtype), n_rows)
    assert as_bytes(found) == as_bytes(nerve(indptr, rows, n_rows))


def test_read_only_arrays():
    indptr, rows, n_rows = random_memberships(1)
    expected = as_bytes(nerve(indptr, rows, n_rows, max_dimension=2))
    indptr.flags.writeable = rows.flags.writeable = False
    assert as_bytes(nerve(indptr, rows, n_rows, max_dimension=2)) == expected


def test_nothing_to_connect():
    for nodes in ([], [[]], [[0, 1]], [[0], [1]]):
        indptr = np.cumsum([0] + [len(node) for node in nodes])
        rows = np.array([row for node in nodes for row in node], dtype=np.int64)
        found = nerve(indptr, rows, 3, max_dimension=2)
        assert found.edges.shape == (0, 3)
        assert found.jaccard.shape == (0,)
        assert found.higher[0].shape == (0, 4)


def test_one_dimensional_cover_gives_a_chain():
    elements = UniformCover(50, 0.3).fit(np.random.default_rng(0).uniform(size=100_000))
    found = nerve(elements.indptr, elements.rows, 100_000)
    assert found.edges[:, :2].tolist() == [[i, i + 1] for i in range(49)]


def test_a_hundred_thousand_nodes():
    indptr = np.arange(0, 200_001, 2)
    rows = np.repeat(np.arange(100_001), 2)[1:-1]  # node a holds rows a and a + 1
    found = nerve(indptr, rows, 100_001)
    assert found.edges[:, 0].tolist() == list(range(99_999))
    assert (found.edges[:, 1] == found.edges[:, 0] + 1).all()
    assert (found.edges[:, 2] == 1).all()
    assert (found.jaccard == 1 / 3).all()


@pytest.mark.parametrize("name", ["max_dimension", "min_intersection"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None])
def test_parameters_out_of_range(name, value):
    with pytest.raises(ParameterError, match=f"{name} must be a whole number of at least 1, got"):
        nerve(*random_memberships(0), **{name: value})


@pytest.mark.parametrize("rows", [[0, 9], [-1, 2], [2, 2], [2, 1]])
def test_rows_that_are_no_memberships(rows):
    with pytest.raises(DataError, match="rows of a node must ascend from 0 to at most 3"):
        nerve(np.array([0, 2]), np.array(rows), 4)


@pytest.mark.parametrize("indptr", [[], [1, 2], [0, 1], [0, 3], [0, 2, 1, 2]])
def test_indptr_that_does_not_cut_the_rows(indptr):
    with pytest.raises(DataError, match="indptr must rise from 0 to the number of memberships, 2"):
        nerve(np.array(indptr, dtype=np.int64), np.array([0, 1]), 4)
