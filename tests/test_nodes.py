"""Nodes from labels, and their lens statistics, against the definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import cluster

from topoact_gpu.cover import CoverElements, UniformCover
from topoact_gpu.errors import DataError
from topoact_gpu.kernels.nodes import reference
from topoact_gpu.nodes import lens_statistics, minimum_rows, nodes_from_labels


def elements_of(sizes, n_rows=40, seed=0) -> CoverElements:
    """Elements with these many random rows, numbered 3, 5, 7, ..."""
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.choice(n_rows, size, replace=False)) for size in sizes]
    bounds = np.zeros((len(sizes), 1))
    return CoverElements(
        np.cumsum([0, *sizes]).astype(np.int64),
        np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64),
        np.arange(3, 3 + 2 * len(sizes), 2, dtype=np.int64),
        bounds,
        bounds,
        1000,
    )


def check_nodes(found, labels, elements):
    indptr, rows, node_interval = found
    flat = np.concatenate([*labels, np.zeros(0, np.int64)])
    expected = reference.group_labels(np.maximum(flat, -1), elements.indptr, elements.rows)
    assert indptr.dtype == rows.dtype == node_interval.dtype == np.int64
    assert node_interval.tolist() == [int(elements.element_id[e]) for e, _ in expected]
    nodes = [rows[a:b].tolist() for a, b in itertools.pairwise(indptr)]
    assert nodes == [members for _, members in expected]


@given(st.lists(st.lists(st.integers(-2, 5), min_size=1, max_size=20), max_size=8), st.booleans())
def test_equals_the_definition(labels, large):
    labels = [np.array(each, dtype=np.int64) for each in labels]
    if large:  # labels need not be small or consecutive
        labels = [np.where(each > 0, each * 10**15, each) for each in labels]
    elements = elements_of([each.size for each in labels])
    check_nodes(nodes_from_labels(labels, elements), labels, elements)


def test_the_comparison_can_fail():
    labels = [np.array([0, 0, 1])]
    elements = elements_of([3])
    indptr, rows, node_interval = nodes_from_labels(labels, elements)
    with pytest.raises(AssertionError):
        check_nodes((indptr, rows[::-1], node_interval), labels, elements)
    with pytest.raises(AssertionError):
        check_nodes((indptr, rows, node_interval + 1), labels, elements)


def test_nan_is_noise():
    labels = [np.array([0.0, np.nan, 1.0])]
    assert nodes_from_labels(labels, elements_of([3]))[1].size == 2


def test_labels_that_do_not_match():
    elements = UniformCover(2, 0.5).fit([0.0, 1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="labels must match the 2 elements and their 6 rows, got 1"):
        nodes_from_labels([np.zeros(3, np.int64)], elements)


@pytest.mark.parametrize("n_columns", [1, 3])
def test_lens_statistics(n_columns):
    elements = elements_of([5, 1, 30, 2])
    lens_values = np.random.default_rng(1).normal(size=(40, n_columns)) + 1e6
    found = lens_statistics(elements.indptr, elements.rows, lens_values)
    expected = reference.lens_statistics(elements.indptr, elements.rows, lens_values)
    for statistic, wanted in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(statistic, np.array(wanted), rtol=1e-12, atol=1e-9)
    assert (found[2] == np.array([e[2] for e in expected])).all()
    assert (found[3] == np.array([e[3] for e in expected])).all()


def test_lens_statistics_of_nothing():
    empty = np.zeros(2, np.int64)
    for statistic in lens_statistics(empty, np.zeros(0, np.int64), np.zeros((3, 2))):
        assert np.isnan(statistic).all()
        assert statistic.shape == (1, 2)


@pytest.mark.parametrize(
    ("clusterer", "rows"),
    [
        (cluster.DBSCAN(min_samples=7), 7),
        (cluster.KMeans(3), 3),
        (cluster.AgglomerativeClustering(n_clusters=None, distance_threshold=1.0), 2),
        (cluster.HDBSCAN(min_cluster_size=4, min_samples=9), 4),
        (cluster.MeanShift(), 2),
    ],
)
def test_minimum_rows_is_keplermappers(clusterer, rows):
    assert minimum_rows(clusterer) == rows
