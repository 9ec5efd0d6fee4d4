"""Edges of the GPU backend: the CPU's array, however few pairs are held at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.nerve import nerve, transpose

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.nerve.gpu")
pytestmark = pytest.mark.usefixtures("poisoned")


def as_csr(nodes):
    indptr = np.cumsum([0] + [len(node) for node in nodes], dtype=np.int64)
    return indptr, np.array([row for node in nodes for row in sorted(node)], dtype=np.int64)


@st.composite
def memberships(draw):
    """Nodes as CSR: any subsets of a few rows, some of them empty or equal."""
    n_rows = draw(st.integers(1, 12))
    nodes = draw(st.lists(st.sets(st.integers(0, n_rows - 1)), max_size=9))
    return *as_csr(nodes + nodes[:2]), n_rows


def random_memberships(n_rows, n_nodes=30, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, min(n_rows, 120) + 1, n_nodes)
    return *as_csr([rng.choice(n_rows, size, False) for size in sizes]), n_rows


def edges(indptr, rows, n_rows, **options):
    given = (on_device(each, torch_device()) for each in (indptr, rows))
    held = gpu.row_nodes(*given, n_rows)
    return on_host(gpu.edges(*held, len(indptr) - 1, **options))


def check_equal(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@settings(max_examples=25)
@given(memberships(), st.integers(1, 3), st.sampled_from([0, 100, 1000, 2**28]), st.integers(0, 9))
def test_same_edges_as_the_cpu(shuffled, nodes, min_intersection, block_bytes, seed):
    expected = nerve(*nodes, min_intersection=min_intersection, n_threads=1).edges
    with shuffled(seed):
        found = edges(*nodes, min_intersection=min_intersection, block_bytes=block_bytes)
    check_equal(found, expected)


@pytest.mark.parametrize("n_rows", [1, 2, 63, 500, 1000])
def test_odd_sizes_with_rows_of_32_and_64_bits(shuffled, n_rows):
    indptr, rows, _ = nodes = random_memberships(n_rows)
    expected = nerve(*nodes).edges
    assert len(expected) > 50
    with shuffled(n_rows):
        check_equal(edges(*nodes), expected)
        check_equal(edges(indptr, rows.astype(np.int32), n_rows, block_bytes=5000), expected)
    fewer = nerve(*nodes, min_intersection=2).edges
    check_equal(gpu.find_edges(*nodes, min_intersection=2), fewer)


@settings(max_examples=25)
@given(memberships())
def test_same_nodes_of_each_row(nodes):
    given = (on_device(each, torch_device()) for each in nodes[:2])
    indptr, row_nodes = (on_host(each) for each in gpu.row_nodes(*given, nodes[2]))
    expected = transpose(*nodes, n_threads=1)
    check_equal(indptr, expected.indptr)
    check_equal(row_nodes, expected.nodes)


def test_pairs_are_numbered_above_32_bits():
    nodes = [[]] * 70_000
    for number in (0, 5, 46_341, 69_998, 69_999):
        nodes[number] = [1, 2, number % 3]
    nodes = [set(node) for node in nodes]
    indptr, rows = as_csr(nodes)
    found = edges(indptr, rows, 3)
    assert found[:, :2].tolist() == [
        list(pair) for pair in itertools.combinations((0, 5, 46_341, 69_998, 69_999), 2)
    ]
    check_equal(found, nerve(indptr, rows, 3).edges)


def test_one_row_in_many_nodes_is_cut_as_well(monkeypatch):
    nodes = as_csr([{0}] * 60 + [{0, 1}])
    lengths = []
    unique = torch.unique

    def watched(keys, **options):
        lengths.append(len(keys))
        return unique(keys, **options)

    monkeypatch.setattr(torch, "unique", watched)
    counted = list(gpu._counted_pairs(*entries(*nodes, 2), 61, 400 * gpu._BYTES_A_PAIR))
    assert sum(lengths) == 61 * 60 // 2
    assert max(lengths) <= 400 + 60
    assert [int(count.max()) for _, count in counted] == [1] * len(lengths)
    check_equal(edges(*nodes, 2, block_bytes=400 * gpu._BYTES_A_PAIR), nerve(*nodes, 2).edges)


def entries(indptr, rows, n_rows):
    """Nodes of the rows, and where the pairs of each entry start."""
    given = (on_device(each, torch_device()) for each in (indptr, rows))
    row_indptr, nodes = gpu.row_nodes(*given, n_rows)
    ends = torch.repeat_interleave(row_indptr[1:], row_indptr.diff())
    n_later = ends - torch.arange(1, len(nodes) + 1, device=ends.device)
    return nodes, torch.cat([n_later.new_zeros(1), n_later.cumsum(0)])


def test_nothing_to_connect():
    for nodes in ([], [[]], [[0, 1]], [[0], [1]]):
        check_equal(edges(*as_csr(nodes), 3), np.empty((0, 3), np.int64))


def test_the_comparison_can_fail():
    nodes = random_memberships(63)
    right = nerve(*nodes).edges
    for wrong in (right[:-1], right[:, [1, 0, 2]], right.astype(np.int32)):
        with pytest.raises(AssertionError):
            check_equal(wrong, right)


@pytest.mark.gpu
@pytest.mark.parametrize("block_bytes", [2**22, 2**28])
def test_many_memberships_on_a_device(block_bytes):
    rng = np.random.default_rng(0)
    nodes = [np.unique(rng.integers(0, 200_000, 5000)) for _ in range(1500)]
    indptr = np.cumsum([0] + [node.size for node in nodes])
    rows = np.concatenate(nodes)
    expected = nerve(indptr, rows, 200_000).edges
    check_equal(edges(indptr, rows, 200_000, block_bytes=block_bytes), expected)
