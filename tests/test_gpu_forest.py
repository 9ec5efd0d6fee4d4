"""The forest on a device: components, degrees, waiting pairs, whatever the order of programs."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from topoact_gpu.kernels.dbscan.reference import labels_from_neighbours
from topoact_gpu.kernels.forest.reference import components
from topoact_gpu.kernels.launch import on_device, on_host, torch_device

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
gpu = pytest.importorskip("topoact_gpu.kernels.forest.gpu")

import triton.language as tl  # noqa: E402

from topoact_gpu.kernels.forest.gpu import find  # noqa: E402

pytestmark = pytest.mark.usefixtures("poisoned")
KERNELS = Path(__file__).resolve().parent.parent / "kernels"


def pairs_of(draw, n, most):
    some = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=most))
    return np.array(some, np.int32).reshape(-1, 2)


@st.composite
def graphs(draw):
    """A number of slots and pairs of them: few, all over, in chains, repeated, with themselves."""
    n = draw(st.sampled_from([1, 2, 3, 63, 200]))
    pairs = pairs_of(draw, n, 60)
    if draw(st.booleans()):
        chain = np.random.default_rng(draw(st.integers(0, 99))).permutation(n).astype(np.int32)
        pairs = np.concatenate([pairs, np.column_stack([chain[:-1], chain[1:]])])
    return n, np.concatenate([pairs, pairs[: draw(st.integers(0, 5))]])


def linked(n, pairs, parent=None):
    """Roots after linking pairs."""
    parent = np.arange(n, dtype=np.int32) if parent is None else parent
    parent = on_device(parent.copy(), torch_device())
    gpu.link_pairs(parent, on_device(pairs, torch_device()))
    return on_host(gpu.roots_of(parent))


def check_roots(found, n, pairs):
    """Each slot's root is the smallest slot of its component."""
    np.testing.assert_array_equal(found, components(n, pairs))
    assert found.dtype == np.int32


@settings(max_examples=60)
@given(graphs(), st.integers(0, 9))
def test_links_make_the_components_of_the_definition(shuffled, graph, seed):
    n, pairs = graph
    with shuffled(seed):
        check_roots(linked(n, pairs), n, pairs)


@pytest.fixture
def small_programs(monkeypatch):
    """Eight pairs a program, so that a few pairs make many programs (on a device all at once)."""
    monkeypatch.setattr(gpu, "_PAIRS", 8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([2, 5, 20, 63]), st.integers(2, 60), st.integers(0, 2**31))
def test_links_of_programs_that_run_at_once(interleaved, small_programs, n, n_pairs, seed):
    pairs = np.random.default_rng(seed).integers(0, n, (n_pairs, 2)).astype(np.int32)
    with interleaved(seed):
        found = linked(n, pairs)
    check_roots(found, n, pairs)


@pytest.mark.parametrize("n", [1, 2, 63, 500, 1000])
def test_chains_stars_and_cliques(shuffled, n):
    rng = np.random.default_rng(n)
    slots = rng.permutation(n).astype(np.int32)
    star = np.column_stack([np.full(n, slots[-1]), slots])
    chain = np.column_stack([slots[:-1], slots[1:]])
    downwards = np.column_stack([np.arange(n - 1), np.arange(1, n)])[::-1].astype(np.int32)
    both = np.concatenate([chain[::2], star[::3]])
    for pairs in (star, chain, downwards, both) if n < 1000 else (both,):
        with shuffled(n):
            check_roots(linked(n, np.ascontiguousarray(pairs)), n, pairs)


def test_a_forest_that_is_deep_already():
    """Every slot hangs below the one before it; links go on from there."""
    n = 300
    parent = np.maximum(np.arange(n, dtype=np.int32) - 1, 0)
    parent[100], parent[200] = 100, 200
    pairs = np.array([[299, 150]], np.int32)
    found = linked(n, pairs, parent)
    assert found.tolist() == [0] * 100 + [100] * 200
    assert linked(n, np.empty((0, 2), np.int32), parent).tolist() == (
        [0] * 100 + [100] * 100 + [200] * 100
    )


@triton.jit
def _find(parent, slots, live, out, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, find(parent, tl.load(slots + at), tl.load(live + at) != 0))


@pytest.mark.parametrize("n", [16, 128])
def test_finding_leaves_slots_alone_that_are_not_asked_for(n):
    """They may be -1. Sixteen of them are held by many threads at once."""
    parent = on_device(np.array([0, 0, 1, 2, 4, 4], np.int32), torch_device())
    rng = np.random.default_rng(0)
    slots = rng.integers(0, 6, n).astype(np.int32)
    live = rng.integers(0, 2, n).astype(np.int8)
    slots[live == 0] = -1
    out = torch.empty(n, dtype=torch.int32, device=parent.device)
    given = (on_device(each, parent.device) for each in (slots, live))
    _find[(1,)](parent, *given, out, N=n)
    expected = np.where(live, np.array([0, 0, 0, 0, 4, 4])[slots], -1)
    np.testing.assert_array_equal(on_host(out), expected)


def shared_reads(text):
    """Plain loads of what other programs change: arguments named ``parent`` or ``degree``."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "tl.load":
            names = {name.id for name in ast.walk(node.args[0]) if isinstance(name, ast.Name)}
            if names & {"parent", "degree", "pending"}:
                found.append(ast.unparse(node))
    return found


def test_what_others_change_is_read_by_atomics():
    """Each thread that holds a copy of an element would load another number; see `find`."""
    for op in ("forest", "dbscan"):
        assert shared_reads((KERNELS / op / "gpu.py").read_text()) == []
    lie = "def f(parent, at):\n    return tl.load(parent + at, mask=at > 0, volatile=True)"
    assert len(shared_reads(lie)) == 1


def forest_of(n, min_samples, most=None):
    return gpu.empty_forest(n, min_samples, n - 1 if most is None else most, torch_device())


def check_bound(forest, n, min_samples, most):
    """The list holds what it may hold, and it was never longer."""
    n_pending = int(forest.n_pending.item())
    bound = n * max(min(min_samples - 2, most), 0)
    assert n_pending <= bound
    assert len(forest.pending) == max(bound, 1)


def relation_of(n, pairs):
    relation = np.eye(n, dtype=bool)
    relation[pairs[:, 0], pairs[:, 1]] = relation[pairs[:, 1], pairs[:, 0]] = True
    return relation


def check_labels(labels, core, relation, min_samples):
    """Labels and core slots are those of DBSCAN's definition."""
    expected = labels_from_neighbours(relation, min_samples)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(core, relation.sum(1) >= min_samples)
    assert (labels.dtype, core.dtype) == (np.int64, np.bool_)


cases = {
    "n": st.sampled_from([1, 2, 3, 20, 63]),
    "min_samples": st.sampled_from([1, 2, 3, 5, 20, 100]),
    "share": st.floats(0, 1),
    "n_reports": st.integers(1, 3),
    "seed": st.integers(0, 2**31),
}


@settings(max_examples=50)
@given(**cases)
def test_labels_are_the_definitions(shuffled, **case):
    check_reports(shuffled, **case)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**cases | {"n": st.sampled_from([3, 10, 20])})
def test_labels_of_programs_that_run_at_once(interleaved, small_programs, **case):
    check_reports(interleaved, **case)


def check_reports(in_disorder, n, min_samples, share, n_reports, seed):
    """Pairs in any order, in one launch or some, of rows in another order than their slots'."""
    rng = np.random.default_rng(seed)
    relation = np.triu(rng.random((n, n)) < share * rng.random(), 1)
    pairs = rng.permutation(np.argwhere(relation)).astype(np.int32)
    swap = rng.random(len(pairs)) < 0.5
    pairs[swap] = pairs[swap, ::-1]
    forest = forest_of(n, min_samples)
    with in_disorder(seed):
        for some in np.array_split(pairs, n_reports):
            gpu.report_pairs(forest, on_device(some, torch_device()))
            check_bound(forest, n, min_samples, n - 1)
        order = rng.permutation(n)
        group = torch.zeros(n, dtype=torch.int32, device=torch_device())
        labels, core = gpu.labels_from_forest(forest, group, on_device(order, torch_device()))
    np.testing.assert_array_equal(on_host(forest.degree), relation_of(n, pairs).sum(1))
    back = np.argsort(order)  # the slot of each row
    labels, core = on_host(labels)[back], on_host(core)[back]
    check_labels(labels, core, relation_of(n, pairs)[np.ix_(back, back)], min_samples)


def test_every_pair_waits_at_most_once(shuffled):
    """All pairs of 40 slots, one row short of being core: the list is as long as it may be."""
    n = 40
    pairs = np.argwhere(np.triu(np.ones((n, n), bool), 1)).astype(np.int32)
    for min_samples in (2, 3, n, n + 1, n + 2):
        forest = forest_of(n, min_samples)
        with shuffled(min_samples):
            gpu.report_pairs(forest, on_device(pairs, torch_device()))
        check_bound(forest, n, min_samples, n - 1)
        waiting = on_host(forest.pending)[: int(forest.n_pending.item())]
        waiting = {tuple(pair) for pair in waiting.tolist()}
        assert len(waiting) == forest.n_pending.item()
        assert waiting <= {tuple(pair) for pair in pairs.tolist()}
        if min_samples > n:
            assert len(waiting) == len(pairs)


def test_intervals_are_numbered_each_by_itself():
    """Three intervals; between them, and at their ends, slots without a row."""
    rng = np.random.default_rng(3)
    sizes, starts, n = [30, 1, 45], [0, 32, 48], 96
    group, order = np.full(n, -1, np.int32), np.zeros(n, np.int64)
    orders = [rng.permutation(size) for size in sizes]
    relations = [np.triu(rng.random((size, size)) < 0.08, 1) for size in sizes]
    pairs = []
    for at, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        group[start : start + size] = at
        order[start : start + size] = orders[at]
        pairs.append(np.argwhere(relations[at]) + start)
    pairs = rng.permutation(np.concatenate(pairs)).astype(np.int32)
    for min_samples in (1, 2, 3, 6):
        forest = forest_of(n, min_samples, 44)
        gpu.report_pairs(forest, on_device(pairs, torch_device()))
        found = gpu.labels_from_forest(
            forest, on_device(group, torch_device()), on_device(order, torch_device())
        )
        labels, core = (on_host(each) for each in found)
        assert (labels[group < 0] == -1).all()
        assert not core[group < 0].any()
        for size, start, relation, places in zip(sizes, starts, relations, orders, strict=True):
            back = np.argsort(places)
            whole = (relation | relation.T | np.eye(size, dtype=bool))[np.ix_(back, back)]
            own = slice(start, start + size)
            check_labels(labels[own][back], core[own][back], whole, min_samples)


def shared_out(n, min_samples, base, parts):
    """A forest of the pairs ``base``, from which each of the parts goes on by itself; merged."""
    device, forest = torch_device(), forest_of(n, min_samples)
    gpu.report_pairs(forest, on_device(base, device))
    begun, shares = gpu.forest_on_host(forest), []
    for part in parts:
        own = gpu.grown_from(begun, n - 1, device)
        gpu.report_pairs(own, on_device(part, device))
        check_bound(own, n, min_samples, n - 1)
        shares.append(gpu.added_to(begun, own))
    return gpu.merge_forests(begun, shares, device)


def check_merged(forest, n, pairs):
    """Degrees and labels are those of one forest that was told of all pairs."""
    relation = relation_of(n, pairs)
    np.testing.assert_array_equal(on_host(forest.degree), relation.sum(1))
    device = torch_device()
    group = torch.zeros(n, dtype=torch.int32, device=device)
    labels, core = gpu.labels_from_forest(forest, group, torch.arange(n, device=device))
    check_labels(on_host(labels), on_host(core), relation, forest.min_samples)


@settings(max_examples=40)
@given(**cases | {"n_reports": st.integers(1, 5)})
def test_merged_forests_give_the_definitions_labels(
    shuffled, n, min_samples, share, n_reports, seed
):
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(np.triu(rng.random((n, n)) < share * rng.random(), 1))
    pairs = rng.permutation(pairs).astype(np.int32)
    base, *parts = np.array_split(pairs, n_reports)
    with shuffled(seed):
        check_merged(shared_out(n, min_samples, base, parts), n, pairs)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 6])
def test_rows_that_are_core_only_by_the_sum_of_parts(n_parts):
    """Two rows with six others each, which the parts deal out; then they meet.

    In no part does either have enough of them, nor do they before.
    """
    n, min_samples = 14, 8
    star = [(centre, at) for at in range(2, 8) for centre in (0, 1)]
    parts = [np.array(star[low::n_parts], np.int32) for low in range(n_parts)]
    meeting = np.array([[1, 0]], np.int32)
    every = np.concatenate([*parts, meeting])
    with_meeting = [*parts[:-1], np.concatenate([parts[-1], meeting])]
    for base, dealt in ((meeting, parts), (meeting[:0], with_meeting)):
        forest = shared_out(n, min_samples, base, dealt)
        assert n_parts == 1 or (on_host(forest.parent) == np.arange(n)).all()
        check_merged(forest, n, every)
        labels = labels_from_neighbours(relation_of(n, every), min_samples)
        assert labels.tolist() == [0] * 8 + [-1] * 6


def test_what_one_part_joins_stays_joined():
    """Chains that are joined in different parts, and one pair of core rows left out as settled."""
    n = 30
    chain = np.column_stack([np.arange(n - 1), np.arange(1, n)]).astype(np.int32)
    forest = shared_out(n, 2, chain[:0], [chain[::3], chain[1::3], chain[2::3]])
    check_merged(forest, n, chain)
    forest = shared_out(n, 1, chain[::2], [chain[1::4], chain[3::4]])
    assert (on_host(gpu.roots_of(forest.parent)) == 0).all()


@pytest.mark.parametrize(
    ("min_samples", "lost"),
    [
        (3, lambda share: share._replace(degree=0 * share.degree)),
        (3, lambda share: share._replace(pending=share.pending[:0])),
        (1, lambda share: share._replace(parent=torch.arange(14, dtype=torch.int32))),
    ],
    ids=["degrees", "pairs that wait", "joins"],
)
def test_a_faulty_merge_is_seen(min_samples, lost):
    n, device = 14, torch_device()
    base = gpu.forest_on_host(forest_of(n, min_samples))
    chain = np.column_stack([np.arange(n - 1), np.arange(1, n)]).astype(np.int32)
    shares = []
    for part in (chain[:7], chain[7:]):
        own = gpu.grown_from(base, n - 1, device)
        gpu.report_pairs(own, on_device(part, device))
        shares.append(gpu.added_to(base, own))
    check_merged(gpu.merge_forests(base, shares, device), n, chain)
    shares[1] = lost(shares[1])
    with pytest.raises(AssertionError):
        check_merged(gpu.merge_forests(base, shares, device), n, chain)


def test_nothing_reported():
    forest = forest_of(3, 2)
    gpu.report_pairs(forest, torch.empty((0, 2), dtype=torch.int32, device=torch_device()))
    group = torch.zeros(3, dtype=torch.int32, device=torch_device())
    order = torch.arange(3, device=torch_device())
    labels, core = gpu.labels_from_forest(forest, group, order)
    assert (labels.tolist(), core.tolist()) == ([-1] * 3, [False] * 3)
    labels, core = gpu.labels_from_forest(forest._replace(min_samples=1), group, order)
    assert (labels.tolist(), core.tolist()) == ([0, 1, 2], [True] * 3)


def test_the_comparisons_can_fail():
    pairs = np.array([[0, 1], [1, 2]], np.int32)
    for wrong in (np.array([0, 0, 1], np.int32), np.zeros(3, np.int64)):
        with pytest.raises(AssertionError):
            check_roots(wrong, 3, pairs)
    relation = relation_of(3, pairs)
    labels = labels_from_neighbours(relation, 2)
    core = np.ones(3, bool)
    check_labels(labels, core, relation, 2)
    for wrong in ((labels + 1, core), (labels, ~core), (labels.astype(np.int32), core)):
        with pytest.raises(AssertionError):
            check_labels(*wrong, relation, 2)
    forest = forest_of(3, 3)
    forest.n_pending.fill_(4)
    with pytest.raises(AssertionError):
        check_bound(forest, 3, 3, 2)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["chain", "star", "random", "clusters"])
def test_many_programs_at_once_on_a_device(kind):
    """Millions of links at the same few roots, from all programs at once, again and again."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, rng = 1_000_000, np.random.default_rng(0)
    slots = rng.permutation(n)
    pairs = {
        "chain": np.column_stack([slots[:-1], slots[1:]]),
        "star": np.column_stack([np.full(n, slots[0]), slots]),
        "random": rng.integers(0, n, (n // 2, 2)),
        "clusters": rng.integers(0, n // 100, (n, 1)) * 100 + rng.integers(0, 100, (n, 2)),
    }[kind]
    graph = coo_array((np.ones(len(pairs)), pairs.T), (n, n))
    count, own = connected_components(graph, directed=False)
    first = np.full(count, n)
    np.minimum.at(first, own, np.arange(n))
    for _ in range(5):
        np.testing.assert_array_equal(linked(n, pairs.astype(np.int32)), first[own])
        pairs = rng.permutation(pairs)
