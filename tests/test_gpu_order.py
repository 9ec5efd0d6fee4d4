"""Median splits of many intervals at once: permutations, and where nothing ties the reference's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.order.reference import split_leaves

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.order.gpu")
pytestmark = pytest.mark.usefixtures("poisoned")

SIZES = [[1], [2], [16], [17], [63], [500], [1000], [5, 0, 40, 1, 16, 0, 333], [0], [7, 7, 7]]
KINDS = ["normal", "constant", "sorted", "few values", "signed zeros", "wide"]


def make(kind, n, n_axes=3):
    rng = np.random.default_rng(n)
    coordinates = {
        "normal": rng.normal(size=(n, n_axes)),
        "constant": np.zeros((n, n_axes)),
        "sorted": np.arange(1.0 * n * n_axes).reshape(n, n_axes),
        "few values": rng.integers(-1, 2, (n, n_axes)),
        "signed zeros": rng.choice([0.0, -0.0, 1e-45, -1e-45], (n, n_axes)),
        "wide": rng.normal(size=(n, n_axes)) * 10.0 ** rng.integers(-38, 38, (n, n_axes)),
    }[kind]
    return coordinates.astype(np.float32)


def order_of(coordinates, sizes, block):
    found = gpu.split_orders(on_device(coordinates, torch_device()), np.array(sizes), block)
    assert found.dtype == torch.int64
    return on_host(found)


def check_permutation(order, sizes):
    """Each interval's places hold its own rows."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    assert len(order) == starts[-1]
    for start, stop in pairwise(starts):
        np.testing.assert_array_equal(np.sort(order[start:stop]), np.arange(start, stop))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_permutation_of_each_interval(kind, sizes):
    coordinates = make(kind, sum(sizes))
    for block in (1, 16, 128):
        check_permutation(order_of(coordinates, sizes, block), sizes)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("n_axes", [1, 2, 8])
@pytest.mark.parametrize("block", [1, 7, 16])
def test_leaves_are_the_references(sizes, n_axes, block):
    coordinates = make("normal", sum(sizes), n_axes)
    order, start = order_of(coordinates, sizes, block), 0
    for at, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        for leaf in split_leaves(coordinates[at : at + size], block, block):
            own = order[start : start + len(leaf)]
            np.testing.assert_array_equal(np.sort(own), at + leaf)
            start += len(leaf)
    assert start == sum(sizes)


def test_numbers_are_sorted_as_floats():
    numbers = make("wide", 500, 1)[:, 0]
    numbers[:4] = 0.0, -0.0, 1e-45, -1e-45
    keys = on_host(gpu._ascending(on_device(numbers, torch_device())))
    assert keys.min() >= 0
    assert keys.max() < 2**32
    np.testing.assert_array_equal(numbers[np.argsort(keys, kind="stable")], np.sort(numbers))


def test_leaves_are_closer_than_chance():
    points = make("normal", 2048)
    leaves = points[order_of(points, [2048], 128)].reshape(-1, 128, 3)
    assert leaves.std(1).mean() < 0.6 * points.std()


def test_what_is_no_permutation_is_seen():
    for wrong in ([0, 0, 2], [0, 2, 1], [0, 1]):
        with pytest.raises(AssertionError):
            check_permutation(np.array(wrong), [2, 1])


@pytest.mark.gpu
def test_many_rows_on_a_device():
    sizes = [300_001, 5, 0, 70_000]
    coordinates = make("normal", sum(sizes), 8)
    check_permutation(order_of(coordinates, sizes, 128), sizes)
    leaves = split_leaves(coordinates[:300_001], 128, 128)
    order = order_of(coordinates, sizes, 128)
    np.testing.assert_array_equal(np.sort(order[: len(leaves[0])]), leaves[0])
