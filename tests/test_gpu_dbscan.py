"""DBSCAN of many intervals on a device: the definition's labels and the CPU's bytes.

Whatever the product that judges, the sizes of windows, launches and lists, and the order of the
programs.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, interpreted
from topoact_gpu.intervals import problem_of
from topoact_gpu.kernels.dbscan.interval import cluster_rows
from topoact_gpu.kernels.dbscan.reference import labels_from_neighbours
from topoact_gpu.kernels.dbscan.schedule import deal_rows, later_tiles, row_tiles, upper_tiles
from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.pairs.reference import normalised, pair_squares, within
from topoact_gpu.kernels.product.accumulator import accumulator_of, product_error
from topoact_gpu.prepare import prepare
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.dbscan.gpu")

from topoact_gpu import cuda, gpus  # noqa: E402
from topoact_gpu.kernels.dbscan import groups  # noqa: E402
from topoact_gpu.kernels.forest.gpu import (  # noqa: E402
    empty_forest,
    labels_from_forest,
    report_pairs,
)
from topoact_gpu.kernels.product.gpu import INSIDE, OPEN, Judged, Shape  # noqa: E402
from topoact_gpu.kernels.quantise.gpu import HALF, INT8  # noqa: E402
from topoact_gpu.source import DeviceSource, HostSource, as_tensor  # noqa: E402

pytestmark = pytest.mark.usefixtures("poisoned")
ACCUMULATOR = accumulator_of(None if interpreted() else torch.cuda.get_device_capability())
KNOWN = pytest.mark.skipif(ACCUMULATOR is None, reason="nobody knows how this device adds up")


# Strips of judged tiles


def judged_of(rng, tiles, block, share):
    """Random verdicts on tiles; of tiles (i, i) above the diagonal."""
    table = rng.choice(
        [0, INSIDE, OPEN], (len(tiles), block, block), p=[1 - share, *[share / 2] * 2]
    )
    for own, (i, j) in zip(table, tiles, strict=True):
        if i == j:
            own[np.tril_indices(block)] = 0
    return table.astype(np.int8)


def report_all(reports, forest, judged, slots, known, relation, *, second):
    """Report strips until none is left, deciding open pairs by ``relation``; open pairs' slots."""
    strips, asked, counts = gpu.strips_of(judged), [], np.zeros(2, np.int64)
    while len(strips):
        found = gpu.report_strips(reports, forest, judged, strips, slots, known, second=second)
        strips = found.again.clone()
        pairs = slots[found.undecided.long()]
        asked.append(on_host(pairs))
        own = on_host(pairs)
        decided = own[relation[own[:, 0], own[:, 1]]]
        report_pairs(forest, on_device(decided, pairs.device))
        counts += found.n_inside, found.n_settled
    return np.concatenate(asked), counts, len(asked)


def unordered(pairs):
    return sorted(map(tuple, np.sort(pairs, axis=1).tolist()))


@pytest.mark.parametrize("order", ["shuffled", "interleaved"])
@pytest.mark.parametrize("second", [False, True])
def test_strips_report_every_pair_once(request, order, second):
    """Verdicts at random, lists that are too short; some pairs settled before."""
    in_disorder = request.getfixturevalue(order)
    block, n = 16, 64

    @settings(max_examples=8)
    @given(
        share=st.sampled_from([0.02, 0.2, 0.9]),
        min_samples=st.sampled_from([1, 2, 3, 20]),
        seed=st.integers(0, 2**31),
    )
    def check(share, min_samples, seed):
        rng, device = np.random.default_rng(seed), torch_device()
        tiles = np.array([[0, 0], [0, 1], [1, 2], [2, 2], [1, 3]], np.int32)
        slots = rng.permutation(n).astype(np.int32)
        table = judged_of(rng, tiles, block, share)
        # Places without a row have no verdicts.
        nobody = np.zeros(n, bool)
        nobody[-5:] = True
        for own, (i, j) in zip(table, tiles, strict=True):
            own[nobody[i * block :][:block]] = 0
            own[:, nobody[j * block :][:block]] = 0
        slots[nobody] = -1
        relation = rng.random((n, n)) < 0.5
        relation |= relation.T
        expected = {INSIDE: [], OPEN: []}
        for own, tile in zip(table, tiles, strict=True):
            for a, b in np.argwhere(own):
                pair = slots[tile[0] * block + a], slots[tile[1] * block + b]
                if not (second and pair[0] // block == pair[1] // block):
                    expected[own[a, b]].append(pair)
        forest = empty_forest(n, min_samples, n - 1, device)
        reports = gpu.empty_reports(0, len(tiles), block, device)
        kept = on_device(tiles, device)
        judged = Judged(on_device(table, device), kept, kept[:0], 0)
        nothing = torch.full((n,), -1, dtype=torch.int32, device=device)
        arguments = reports, forest, judged, on_device(slots, device)
        with in_disorder(seed):
            asked, counts, n_passes = report_all(*arguments, nothing, relation, second=second)
        assert unordered(asked) == unordered(np.array(expected[OPEN]).reshape(-1, 2))
        assert counts.tolist() == [len(expected[INSIDE]), 0]
        assert n_passes > 1 or len(expected[OPEN]) <= 16 * block
        whole = np.eye(n, dtype=bool)
        for a, b in expected[INSIDE] + [p for p in expected[OPEN] if relation[p]]:
            whole[a, b] = whole[b, a] = True
        np.testing.assert_array_equal(on_host(forest.degree), whole.sum(1))
        group = torch.zeros(n, dtype=torch.int32, device=device)
        order_of = torch.arange(n, device=device)
        labels, core = labels_from_forest(forest, group, order_of)
        np.testing.assert_array_equal(on_host(core), whole.sum(1) >= min_samples)
        np.testing.assert_array_equal(on_host(labels), labels_from_neighbours(whole, min_samples))
        # Once more, with what is known now: pairs of core rows in one component are left out.
        known = torch.where(core, forest.parent, -1)
        before = on_host(known)
        settled = [
            pair
            for pairs in expected.values()
            for pair in pairs
            if before[pair[0]] == before[pair[1]] >= 0
        ]
        with in_disorder(seed):
            asked, counts, _ = report_all(*arguments, known, relation, second=second)
        assert len(asked) + counts.sum() == sum(map(len, expected.values()))
        assert counts[1] >= len(settled) > -1
        assert not set(unordered(asked)) & set(unordered(np.array(settled).reshape(-1, 2)))

    check()


# Groups of intervals


@dataclass(frozen=True)
class How:
    """What must not show."""

    kind: str = INT8
    halves: bool = ACCUMULATOR is not None
    block: int = 16
    most_open: int = 2**31 - 1
    n_tiles: int = 50
    n_pairs: int = 4096
    most_blocks: int = 10**6
    two_rounds: int = 16
    host: bool = False
    seed: int = 0
    windows: tuple = ()
    """Of each part, where the second round is shared out."""

    def room(self):
        shape = Shape(self.block, 4, 2)
        return groups.Room.make(self.n_tiles, self.n_pairs, self.most_blocks, shape, torch_device())


def setting_of(prepared, min_samples, how):
    device, frame, array = torch_device(), prepared.frame, prepared.data.array
    norms = None
    if prepared.metric == "cosine":
        norms = on_device(prepared.table.norms, device)
    source = DeviceSource(as_tensor(array).to(device), norms)
    if how.host:
        source = HostSource(as_tensor(array), norms, device)
    return groups.Setting(
        source,
        on_device(frame.mean, device),
        on_device(np.array([frame.unit]), device),
        on_device(frame.basis, device),
        how.kind,
        product_error(array.shape[1], ACCUMULATOR) if how.halves else None,
        min_samples,
        seed=how.seed,
        shape=Shape(how.block, 4, 2),
        most_open=how.most_open,
    )


def shared_out(setting, elements, how):
    """One interval as several devices do it: each with a window and a forest of its own."""
    (element,) = elements
    if not groups.can_be_shared(len(element.ids), how.block):
        return groups.cluster_group(setting, elements, how.room())
    begun = groups.begin(setting, element, how.room())
    parts = [
        groups.scan_part(setting, begun, rows, replace(how, most_blocks=most).room())
        for rows, most in zip(
            deal_rows(begun.n_blocks, len(how.windows)), how.windows, strict=False
        )
    ]
    return groups.finish(setting, begun, parts[::-1])


def cluster(X, intervals, min_samples, metric="euclidean", how=None):
    """Our result for intervals [(ids, eps), ...], and the CPU's for each."""
    how = How() if how is None else how
    team = Team(1)
    with resident(as_rows(X), 10**9) as data:
        prepared = prepare(data, metric, CpuBackend(team))
        elements = [groups.Element(ids, *cuda._limits(prepared, eps)) for ids, eps in intervals]
        setting = setting_of(prepared, min_samples, how)
        with mock.patch.object(groups, "_TWO_ROUNDS", how.two_rounds):
            if how.windows:
                found = shared_out(setting, elements, how)
            else:
                found = groups.cluster_group(setting, elements, how.room())
        theirs = [
            cluster_rows(problem_of(prepared, eps, min_samples, 10**8), ids, team)
            for ids, eps in intervals
        ]
    return found, theirs


def check_interval(labels, core, neighbours, min_samples):
    """Labels and core rows are the definition's."""
    np.testing.assert_array_equal(labels, labels_from_neighbours(neighbours, min_samples))
    np.testing.assert_array_equal(core, neighbours.sum(1) >= min_samples)
    assert (labels.dtype, core.dtype) == (np.int64, np.bool_)


def check(X, intervals, min_samples, metric="euclidean", how=None):
    """The definition's labels and the CPU's bytes in every interval; returns the counters."""
    found, theirs = cluster(X, intervals, min_samples, metric, how)
    assert len(found.labels) == len(found.core) == len(intervals)
    for labels, core, cpu, (ids, eps) in zip(
        found.labels, found.core, theirs, intervals, strict=True
    ):
        check_interval(labels, core, within(X[ids], eps, metric), min_samples)
        assert labels.tobytes() == cpu.labels.tobytes()
        assert core.tobytes() == cpu.core.tobytes()
    assert set(found.counters) == set(groups.COUNTERS)
    return found.counters


def whole(X, eps):
    return [(np.arange(len(X)), eps)]


def blobs(rng, n_rows, n_cols):
    centres = rng.normal(size=(max(n_rows // 15, 1), n_cols)) * 3
    return centres[rng.integers(len(centres), size=n_rows)] + rng.normal(size=(n_rows, n_cols))


def grid(rng, n_rows, n_cols):
    return rng.integers(-2, 3, (n_rows, n_cols)).astype(float)


def repeated(rng, n_rows, n_cols):
    return rng.normal(size=(7, n_cols))[rng.integers(7, size=n_rows)]


def outliers(rng, n_rows, n_cols):
    X = rng.normal(size=(n_rows, n_cols))
    X[:: max(n_rows // 3, 1), 0] = rng.choice([-1, 1]) * 3e4
    return X


def offset(rng, n_rows, n_cols):
    return blobs(rng, n_rows, n_cols) + 1000.0


def chain(rng, n_rows, n_cols):
    X = np.zeros((n_rows, n_cols))
    X[:, 0] = rng.permutation(n_rows)
    return X


KINDS = {f.__name__: f for f in (blobs, grid, repeated, outliers, offset, chain)}
SCALES = [
    ("f2", 1.0), ("f2", 2.0**-24), ("f4", 1.0), ("f4", 1e-42), ("f4", 1e30), ("f8", 1e100),
    ("f8", 1e-170),
]  # fmt: skip


def make(kind, n_rows, n_cols, dtype="f4", scale=1.0, seed=0):
    X = KINDS[kind](np.random.default_rng(seed), n_rows, n_cols)
    if scale == 2.0**-24:  # whole numbers of the smallest subnormal
        X = np.round(X)
    X = X * scale
    return X.clip(-6e4, 6e4).astype(dtype) if dtype == "f2" else X.astype(dtype)


def eps_at(X, share, ulps=0):
    """A distance that occurs, or its neighbour among the floats."""
    distances = np.unique(np.sqrt(pair_squares(X)))
    eps = distances[int(share * (len(distances) - 1))]
    return max(float(np.nextafter(eps, np.inf * ulps) if ulps else eps), 1e-300)


hows = st.builds(
    How,
    kind=st.sampled_from([INT8, HALF] if ACCUMULATOR else [INT8]),
    halves=st.just(True) if ACCUMULATOR else st.just(False),
    most_open=st.sampled_from([0, 10, 2**31 - 1]),
    n_tiles=st.sampled_from([1, 4, 50]),
    n_pairs=st.sampled_from([1, 4096]),
    most_blocks=st.sampled_from([2, 3, 4, 10**6]),
    two_rounds=st.sampled_from([2, 16]),
    host=st.booleans(),
    seed=st.integers(0, 9),
)
cases = {
    "kind": st.sampled_from(sorted(KINDS)),
    "n_rows": st.one_of(st.integers(1, 20), st.integers(17, 63)),
    "n_cols": st.sampled_from([1, 2, 5, 20, 70]),
    "dtype_scale": st.sampled_from(SCALES),
    "min_samples": st.sampled_from([1, 2, 3, 5, 20]),
    "share": st.floats(0, 0.6),
    "ulps": st.integers(-1, 1),
    "seed": st.integers(0, 2**31),
}


@settings(max_examples=25)
@given(how=hows, **cases)
def test_equals_the_definition_and_the_cpu(
    shuffled, how, kind, n_rows, n_cols, dtype_scale, min_samples, share, ulps, seed
):
    X = make(kind, n_rows, n_cols, *dtype_scale, seed)
    with shuffled(seed):
        check(X, whole(X, eps_at(X, share, ulps)), min_samples, how=how)


@settings(max_examples=8)
@given(how=hows, **cases)
def test_cosine_equals_the_definition_and_the_cpu(
    shuffled, how, kind, n_rows, n_cols, dtype_scale, min_samples, share, ulps, seed
):
    X = make(kind, n_rows, n_cols, "f4", 1.0, seed)
    X[(X == 0).all(1)] = 1
    eps = max(eps_at(normalised(X), share, ulps) ** 2 / 2, 1e-12)
    with shuffled(seed):
        check(X, whole(X, eps), min_samples, "cosine", how)


@settings(max_examples=5)
@given(
    how=hows,
    windows=st.lists(st.sampled_from([2, 3, 10**6]), min_size=1, max_size=4),
    **cases | {"n_rows": st.integers(33, 63)},
)
def test_a_second_round_in_parts(
    shuffled, how, windows, kind, n_rows, n_cols, dtype_scale, min_samples, share, ulps, seed
):
    X = make(kind, n_rows, n_cols, *dtype_scale, seed)
    how = replace(how, two_rounds=2, windows=tuple(windows))
    with shuffled(seed):
        check(X, whole(X, eps_at(X, share, ulps)), min_samples, how=how)


@settings(max_examples=6)
@given(how=hows, min_samples=st.sampled_from([1, 3]), seed=st.integers(0, 2**31))
def test_programs_that_run_at_once(interleaved, how, min_samples, seed):
    X = make("blobs", 40, 5, seed=seed)
    with interleaved(seed):
        check(X, whole(X, eps_at(X, 0.2)), min_samples, how=how)


@settings(max_examples=8)
@given(
    how=hows,
    sizes=st.lists(st.sampled_from([1, 2, 15, 16, 17, 33]), min_size=2, max_size=5),
    min_samples=st.sampled_from([1, 2, 3, 20]),
    seed=st.integers(0, 2**31),
)
def test_several_intervals_at_once(shuffled, how, sizes, min_samples, seed):
    """Each with an eps of its own, some of their rows in common."""
    rng = np.random.default_rng(seed)
    X = make("blobs", 60, 6, seed=seed)
    intervals = [
        (np.sort(rng.choice(60, size, replace=False)), eps_at(X, rng.uniform(0, 0.5)))
        for size in sizes
    ]
    with shuffled(seed):
        check(X, intervals, min_samples, how=replace(how, most_blocks=10**6))


@pytest.mark.parametrize("n_rows", [1, 2, 63, 500, 1000])
def test_odd_sizes(n_rows):
    """As they are run: blocks of 64, two rounds from 16 of them on."""
    X = make("blobs", n_rows, 12, seed=n_rows)
    X[: n_rows // 2] += 50.0  # many empty tiles
    counters = check(X, whole(X, 4.0), 4, how=How(block=64, n_tiles=300))
    assert (counters["tiles"] > 16 * 17 / 2) == (n_rows == 1000)  # in two rounds


@pytest.mark.parametrize("min_samples", [1, 2, 3, 20])
@pytest.mark.parametrize("two_rounds", [2, 16])
def test_min_samples(min_samples, two_rounds):
    X = make("blobs", 50, 3)
    check(X, whole(X, eps_at(X, 0.15)), min_samples, how=How(two_rounds=two_rounds))


@pytest.mark.parametrize("most_blocks", [2, 3, 5, 6])
@pytest.mark.parametrize("two_rounds", [2, 16])
def test_windows_smaller_than_an_interval(most_blocks, two_rounds):
    """The first round in parts, then squares and rectangles of blocks; two rounds in any case."""
    X = make("blobs", 90, 4, seed=most_blocks)
    how = How(most_blocks=most_blocks, two_rounds=two_rounds, host=most_blocks == 3)
    sizes, window = [], groups._Group._window

    def look(self, slots, kind):
        sizes.append(len(slots) // self.block)
        return window(self, slots, kind)

    with mock.patch.object(groups._Group, "_window", look):
        counters = check(X, whole(X, eps_at(X, 0.06)), 4, how=how)
    assert max(sizes) == most_blocks
    assert (len(sizes) > 1) == (most_blocks < 6 or two_rounds == 2)
    assert counters["tiles"] + counters["settled_tiles"] >= 6 * 7 / 2


@pytest.mark.parametrize("n_blocks", [1, 2, 5, 16, 63, 200])
@pytest.mark.parametrize("n_parts", [1, 2, 3, 8])
def test_parts_have_every_tile_once(n_blocks, n_parts):
    """And about as many each, where there are enough; window by window or all at once."""
    dealt = deal_rows(n_blocks, n_parts)
    parts = [np.concatenate(list(row_tiles(rows, n_blocks))) for rows in dealt]
    every = sorted(map(tuple, np.concatenate(parts).tolist()))
    assert every == [(i, j) for i in range(n_blocks) for j in range(i, n_blocks)]
    assert len(dealt) == min(n_parts, n_blocks)
    if n_blocks >= 16 * n_parts:
        sizes = [len(part) for part in parts]
        assert max(sizes) < 1.1 * min(sizes)
    for rows, part in zip(dealt, parts, strict=True):
        columns = np.setdiff1d(np.arange(n_blocks), rows)
        blocks = np.concatenate([rows, columns])
        tiles = [*upper_tiles(0, len(rows)), *later_tiles(rows, columns)]
        found = blocks[np.concatenate(tiles)]
        assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, part.tolist()))


def undecidable(n_rows):
    """Every pair is undecided by 8 bits: a column with outliers of 1e6, in all rows."""
    X = make("blobs", n_rows, 6)
    X[:, 0] = np.random.default_rng(1).choice([-1e6, 1e6], n_rows)
    return X


def test_lists_that_are_too_short_and_tiles_put_off():
    X = undecidable(60)
    intervals = whole(X, eps_at(X, 0.1))
    passes, original = [], groups.report_strips

    def report_strips(*arguments, **options):
        passes.append(len(arguments[3]))
        return original(*arguments, **options)

    with mock.patch.object(groups, "report_strips", report_strips):
        plain = check(X, intervals, 3, how=How(halves=False))
        assert plain["coarse_tiles"] == 0
        n_passes = len(passes)
        short = check(X, intervals, 3, how=How(halves=False, n_pairs=1))
        assert len(passes) > 2 * n_passes
    assert plain["undecided"] > 0.3 * 60 * 59 / 2
    assert short["within"] + short["settled"] <= plain["within"] + plain["settled"] + 60 * 59 / 2
    if ACCUMULATOR is not None:
        finer = check(X, intervals, 3, how=How(most_open=0))
        assert finer["coarse_tiles"] > 0
        assert check(X, intervals, 3, how=How(kind=HALF))["coarse_tiles"] == 0


def test_pairs_are_counted_once():
    """Nothing is settled early where no row is core: all pairs are found, each once."""
    X = make("blobs", 45, 5)
    eps = eps_at(X, 0.2)
    n_within = (np.triu(pair_squares(X) <= eps * eps, 1)).sum()
    hows = [How(), How(two_rounds=2), How(most_blocks=3), How(n_pairs=1, most_open=3)]
    hows += [How(two_rounds=2, windows=windows) for windows in ((2, 3), (9, 9, 9), (9, 2, 2, 9))]
    for how in hows:
        assert check(X, whole(X, eps), 46, how=how)["within"] == n_within


def test_one_large_component_is_settled_early():
    X = make("blobs", 100, 4)
    counters = check(X, whole(X, 1e3), 3, how=How(two_rounds=2, n_tiles=8))
    assert counters["settled_tiles"] > 10
    assert counters["within"] < 100 * 99 / 4


def test_a_wrong_label_is_seen():
    X = make("blobs", 40, 4)
    neighbours = within(X, 2.0)
    found, _ = cluster(X, whole(X, 2.0), 3)
    labels, core = found.labels[0], found.core[0]
    check_interval(labels, core, neighbours, 3)
    for wrong in ((labels + 1, core), (labels, ~core), (labels.astype(np.int32), core)):
        with pytest.raises(AssertionError):
            check_interval(*wrong, neighbours, 3)
    with pytest.raises(AssertionError):
        check_interval(labels, core, within(X, 1.0), 3)


# The backend


class Backends:
    """Both backends on the same rows."""

    def __init__(self, X, sizes, metric="euclidean", seed=0):
        rng = np.random.default_rng(seed)
        members = [np.sort(rng.choice(len(X), size, replace=False)) for size in sizes]
        self.X, self.metric = X, metric
        self.indptr = np.cumsum([0, *sizes])
        self.rows = np.concatenate(members).astype(np.int64)

    def run(self, kind, eps, min_samples=3, prepare_backend=None, **options):
        """Results of one backend and the backend itself."""
        backend = kind(Team(1))
        if prepare_backend is not None:
            prepare_backend(backend)
        with backend.hold(as_rows(self.X), 10**9) as data:
            prepared = prepare(data, self.metric, backend)
            found = {}
            backend.cluster(
                prepared,
                self.indptr,
                self.rows,
                eps=np.asarray(eps, float),
                min_samples=min_samples,
                budget_bytes=2**24,
                todo=np.arange(len(self.indptr) - 1),
                keep=found.__setitem__,
                **options,
            )
        return [found[at] for at in range(len(self.indptr) - 1)], backend


def check_same(ours, theirs):
    """Equal bytes in every element."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.labels.tobytes() == other.labels.tobytes()
        assert one.core.tobytes() == other.core.tobytes()
        assert (one.labels.dtype, one.core.dtype) == (other.labels.dtype, other.core.dtype)
        assert one.n_clusters == other.n_clusters


SIZES, EPS = (0, 1, 30, 90, 2, 0), (1.0, 1.0, 2.0, 2.5, 9.0, 1.0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("name", ["int8", pytest.param("float16", marks=KNOWN)])
def test_both_backends_give_the_same(monkeypatch, metric, name):
    X = make("blobs", 90, 6, "f2")
    both = Backends(X, SIZES, metric)
    eps = np.array(EPS) / (1 if metric == "euclidean" else 20)
    theirs, _ = both.run(CpuBackend, eps)
    monkeypatch.setenv("TOPOACT_FILTER", name)
    ours, backend = both.run(cuda.CudaBackend, eps)
    check_same(ours, theirs)
    described = backend.describe()
    assert (described["device"], described["notes"]) == ("cuda", [])
    assert ours[0].counters.keys() == ours[3].counters.keys()
    assert sum(result.counters["tested"] for result in ours) > 0


def test_groups_of_one_window_each():
    """As many elements at a time as fit; one that fits none comes alone."""
    X = make("blobs", 90, 6)
    both = Backends(X, (30, 20, 90, 17, 16, 5))
    theirs, _ = both.run(CpuBackend, [2.0] * 6)
    some, original = [], gpus.cluster_group

    def cluster_group(setting, elements, room):
        some.append([len(element.ids) for element in elements])
        return original(setting, elements, room)

    def small(backend):
        backend.shape = Shape(16, 4, 2)
        backend._room = lambda setting: groups.Room.make(9, 99, 4, backend.shape, backend.device)

    with mock.patch.object(gpus, "cluster_group", cluster_group):
        ours, _ = both.run(cuda.CudaBackend, [2.0] * 6, prepare_backend=small)
    assert some == [[30, 20], [90], [17, 16, 5]]
    check_same(ours, theirs)


def test_rows_that_do_not_fit_stay_in_host_memory():
    X = make("blobs", 90, 6)
    both = Backends(X, SIZES)
    theirs, _ = both.run(CpuBackend, EPS)

    def small(backend):
        backend._free_bytes = lambda *_: X.nbytes

    ours, backend = both.run(cuda.CudaBackend, EPS, prepare_backend=small)
    check_same(ours, theirs)
    assert backend.describe()["notes"] == [
        "rows do not fit in device memory: sent a window at a time"
    ]


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[::2], np.s_[:, 3:8], np.s_[:1]], ids=str)
def test_rows_with_any_strides(view):
    X = make("blobs", 60, 9)[view]
    both = Backends(X, (min(len(X), 50), 1))
    theirs, _ = both.run(CpuBackend, [2.0, 1.0])
    ours, _ = both.run(cuda.CudaBackend, [2.0, 1.0])
    check_same(ours, theirs)


def failing(times):
    """cluster_group that runs out of memory so often first, holding some; and what it held."""
    held, original = [], gpus.cluster_group

    def cluster_group(setting, elements, room):
        if len(held) < times:
            much = torch.zeros(1000)
            held.append([weakref.ref(much), weakref.ref(room.verdicts.table)])
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(setting, elements, room)

    return cluster_group, held


def test_out_of_memory_halves_the_room_and_goes_on():
    """What the failed attempt held, and the old room, are free when the new one is made."""
    X = make("blobs", 90, 6)
    both = Backends(X, SIZES)
    theirs, _ = both.run(CpuBackend, EPS)
    cluster_group, held = failing(3)
    make_room, made = groups.Room.make, []

    def make_and_look(*arguments):
        assert all(reference() is None for references in held for reference in references)
        made.append(arguments[:3])
        return make_room(*arguments)

    def few_blocks(backend):
        backend.shape = Shape(16, 4, 2)
        backend._room = lambda setting: make_and_look(64, 4096, 32, backend.shape, backend.device)

    gc.collect()
    gc.disable()
    try:
        with (
            mock.patch.object(gpus, "cluster_group", cluster_group),
            mock.patch.object(cuda.Room, "make", make_and_look),
        ):
            ours, backend = both.run(cuda.CudaBackend, EPS, prepare_backend=few_blocks)
    finally:
        gc.enable()
    check_same(ours, theirs)
    assert made == [(64, 4096, 32), (32, 2048, 16), (16, 1024, 8), (8, 512, 4)]
    assert backend.describe()["notes"][-1] == (
        "out of device memory: windows of 4 blocks from then on"
    )


def test_out_of_memory_for_good():
    cluster_group, held = failing(10**9)
    both = Backends(make("blobs", 90, 6), SIZES)

    def few_blocks(backend):
        backend._room = lambda setting: groups.Room.make(4, 64, 16, backend.shape, backend.device)

    with (
        mock.patch.object(gpus, "cluster_group", cluster_group),
        pytest.raises(torch.OutOfMemoryError, match="4 blocks of rows do not fit"),
    ):
        both.run(cuda.CudaBackend, EPS, prepare_backend=few_blocks)
    assert len(held) == 3


def test_a_difference_is_seen():
    both = Backends(make("blobs", 60, 6), (30, 60))
    theirs, _ = both.run(CpuBackend, [2.0, 2.0])
    check_same(theirs, theirs)
    other, _ = both.run(CpuBackend, [2.0, 0.5])
    for wrong in (other, theirs[:1], [theirs[0], replace(theirs[1], n_clusters=99)]):
        with pytest.raises(AssertionError):
            check_same(wrong, theirs)


# On a device


def activations(n_rows, n_cols, seed=0):
    """Clusters after a relu, as activations are, and dust."""
    rng = np.random.default_rng(seed)
    centres = np.maximum(rng.normal(size=(40, n_cols)), 0) * 2
    noise = rng.normal(size=(n_rows, n_cols)) * rng.choice([0.3, 0.6, 1.2], (n_rows, 1))
    return np.maximum(centres[rng.integers(40, size=n_rows)] + noise, 0).astype(np.float16)


@pytest.mark.gpu
@pytest.mark.parametrize("n_cols", [64, 512])
@pytest.mark.parametrize("name", ["int8", pytest.param("float16", marks=KNOWN)])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.3])
def test_large_intervals_on_a_device(monkeypatch, name, n_cols, share):
    """Again and again, for what goes wrong only now and then."""
    X = activations(20_000, n_cols)
    both = Backends(X, (1, 700, 20_000, 9_000))
    eps = [float(np.quantile(np.sqrt(pair_squares(X[:500])), share))] * 4
    theirs, _ = both.run(CpuBackend, eps, 5)
    monkeypatch.setenv("TOPOACT_FILTER", name)
    for _ in range(3):
        ours, _ = both.run(cuda.CudaBackend, eps, 5)
        check_same(ours, theirs)


@pytest.mark.gpu
def test_small_windows_lists_and_launches_on_a_device():
    X = activations(20_000, 96)
    both = Backends(X, (20_000, 300))
    eps = [float(np.quantile(np.sqrt(pair_squares(X[:500])), 0.02))] * 2
    theirs, _ = both.run(CpuBackend, eps, 5)
    for sizes in ((50, 1, 8), (1000, 10**5, 40), (4096, 10**6, 1000)):

        def small(backend, sizes=sizes):
            backend._room = lambda setting: groups.Room.make(*sizes, backend.shape, backend.device)

        ours, _ = both.run(cuda.CudaBackend, eps, 5, prepare_backend=small)
        check_same(ours, theirs)
