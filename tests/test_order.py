"""The order of rows is a permutation whose leaves lie close together."""

from __future__ import annotations

import numpy as np
import pytest

from topoact_gpu.kernels.order.cpu import split_order
from topoact_gpu.kernels.order.reference import split_leaves


@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 47, 48, 49, 193, 1000, 5003])
@pytest.mark.parametrize("kind", ["random", "constant", "sorted", "few values", "one column"])
def test_it_is_a_permutation(n_rows, kind):
    rng = np.random.default_rng(n_rows)
    coordinates = {
        "random": rng.normal(size=(n_rows, 8)),
        "constant": np.zeros((n_rows, 3)),
        "sorted": np.arange(2.0 * n_rows).reshape(n_rows, 2),
        "few values": rng.integers(0, 3, (n_rows, 4)),
        "one column": rng.normal(size=(n_rows, 1)),
    }[kind].astype(np.float32)
    order = split_order(coordinates, 48, 8)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(n_rows))


@pytest.mark.parametrize("n_rows", [0, 5, 8, 9, 47, 100, 193, 1000])
@pytest.mark.parametrize("n_axes", [1, 2, 8])
def test_leaves_are_the_references(n_rows, n_axes):
    coordinates = np.random.default_rng(n_rows).normal(size=(n_rows, n_axes)).astype(np.float32)
    order, start = split_order(coordinates, 48, 8), 0
    for leaf in split_leaves(coordinates, 48, 8):
        np.testing.assert_array_equal(np.sort(order[start : start + len(leaf)]), leaf)
        start += len(leaf)
    assert start == n_rows


def test_one_column_is_sorted_by_leaves():
    column = np.random.default_rng(0).permutation(1000).astype(np.float32)[:, None]
    leaves = column[split_order(column, 48, 8), 0][:992].reshape(-1, 8)
    assert (leaves[:-1].max(1) < leaves[1:].min(1)).all()


def test_panels_are_closer_than_chance():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4800, 3)).astype(np.float32)
    panels = points[split_order(points, 48, 8)].reshape(-1, 48, 3)
    assert panels.std(1).mean() < 0.5 * points.std()
