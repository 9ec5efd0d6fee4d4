"""Verdicts on tiles of pairs: none is ever wrong, and most pairs get one.

Distances are taken in extended precision, of the rows as stored, and by the definition. Bounds are
tried at eps equal to distances that occur and one number beside them, where the slightest lie
would show.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.kernels.launch import interpreted, on_device, on_host, torch_device
from topoact_gpu.kernels.pairs.reference import normalised, pair_squares, within
from topoact_gpu.kernels.product.accumulator import LEAST_NORM, accumulator_of, product_error
from topoact_gpu.kernels.product.reference import tile_products
from topoact_gpu.kernels.quantise.reach import reaches

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
gpu = pytest.importorskip("topoact_gpu.kernels.product.gpu")

import triton.language as tl  # noqa: E402

from topoact_gpu.kernels.pairs.gpu import Rows, limits_for  # noqa: E402
from topoact_gpu.kernels.pairs.gpu import within as decide  # noqa: E402
from topoact_gpu.kernels.product.gpu import _product  # noqa: E402
from topoact_gpu.kernels.quantise.gpu import (  # noqa: E402
    HALF,
    INT8,
    pack_rows,
    padded_width,
    step_of,
)

pytestmark = pytest.mark.usefixtures("poisoned")
CAPABILITY = None if interpreted() else torch.cuda.get_device_capability()
ACCUMULATOR = accumulator_of(CAPABILITY)
KNOWN = pytest.mark.skipif(ACCUMULATOR is None, reason="nobody knows how this device adds up")
KINDS = [INT8, pytest.param(HALF, marks=KNOWN)]
SIDE = 16


# Products


@triton.jit
def _multiply(
    numbers, out, WIDTH: tl.constexpr, STEP: tl.constexpr, SIDE: tl.constexpr,
    HALVES: tl.constexpr,
):  # fmt: skip
    at = tl.arange(0, SIDE)
    product = _product(numbers, at, SIDE + at, WIDTH, STEP, HALVES)
    tl.store(out + at[:, None] * SIDE + at[None, :], product)


def products(numbers, kind, n_cols):
    """Of the first SIDE rows with the other SIDE, by the kernel."""
    width = padded_width(kind, n_cols)
    padded = np.pad(numbers, ((0, 0), (0, width - n_cols)))
    out = torch.empty((SIDE, SIDE), dtype=torch.float32, device=torch_device())
    _multiply[(1,)](
        on_device(padded, torch_device()), out, WIDTH=width, STEP=step_of(kind, n_cols),
        SIDE=SIDE, HALVES=kind == HALF,
    )  # fmt: skip
    return on_host(out)


@pytest.mark.parametrize("n_cols", [1, 2, 31, 32, 33, 127, 128, 129, 300, 700])
def test_products_of_whole_numbers_are_exact(n_cols):
    rng = np.random.default_rng(n_cols)
    numbers = rng.integers(-127, 128, (2 * SIDE, n_cols)).astype(np.int8)
    numbers[:3], numbers[SIDE : SIDE + 3] = 127, [[127], [-127], [0]]
    exact = tile_products(numbers[:SIDE], numbers[SIDE:])
    assert np.abs(exact).max() == 127 * 127 * n_cols
    np.testing.assert_array_equal(products(numbers, INT8, n_cols), exact.astype(np.float32))


def halves(rng, n_cols):
    """Rows of many magnitudes: equal signs, subnormal numbers, alternating signs."""
    numbers = rng.uniform(-1, 1, (2 * SIDE, n_cols))
    numbers[::4] = np.abs(numbers[::4])
    numbers[1::4] *= 2.0 ** -rng.integers(0, 24, (SIDE // 2, n_cols))
    numbers[2::4] = 2.0**-24
    numbers[3::4] *= (-1) ** np.arange(n_cols)
    return numbers.astype(np.float16)


@KNOWN
@pytest.mark.parametrize("n_cols", [1, 2, 15, 16, 17, 64, 65, 300, 700])
def test_products_of_halves_err_no_more_than_their_bound(n_cols):
    numbers = halves(np.random.default_rng(n_cols), n_cols)
    exact = tile_products(*np.split(numbers.astype(np.float64), 2))
    norms = np.maximum(np.linalg.norm(numbers.astype(np.float64), axis=1), LEAST_NORM)
    most = product_error(n_cols, ACCUMULATOR) * np.multiply.outer(*np.split(norms, 2))
    error = np.abs(products(numbers, HALF, n_cols) - exact)
    assert (error <= most + 2.0**-48 * np.abs(exact)).all()
    assert n_cols < 64 or error.max() > 0


# Verdicts


@dataclass
class Case:
    """Rows of one interval, packed in their order, and the tiles asked about."""

    X: np.ndarray
    eps: float
    kind: str
    block: int = SIDE
    cosine: bool = False
    tiles: np.ndarray = field(init=False)

    def __post_init__(self):
        n_blocks = -(-len(self.X) // self.block)
        self.tiles = np.argwhere(np.triu(np.ones((n_blocks, n_blocks), bool))).astype(np.int32)

    @property
    def square(self):
        with np.errstate(over="ignore", under="ignore"):
            return float(2.0 * self.eps if self.cosine else np.float64(self.eps) * self.eps)

    @property
    def distance(self):
        return float(np.sqrt(self.square)) if self.cosine else self.eps

    def packed(self):
        wide = self.X.astype(np.float64)
        norms = None
        if self.cosine:
            norms = np.sqrt(column_sums(wide))
            wide = wide / norms[:, None]
        n_cols = wide.shape[1]
        largest = max(np.abs(wide).max(), 2.0**-500)
        unit = float(2.0 ** -np.ceil(np.log2(largest)))
        row_of = np.arange(-(-len(wide) // self.block) * self.block)
        row_of[len(wide) :] = -1
        reach = np.repeat(reaches(self.distance, self.square, unit, n_cols), len(row_of))
        device = torch_device()
        return pack_rows(
            self.kind,
            on_device(self.X, device),
            on_device(row_of, device),
            mean=on_device((wide * unit).mean(0), device),
            unit=on_device(np.array([unit]), device),
            norms=None if norms is None else on_device(norms, device),
            reach=on_device(reach.reshape(2, -1), device),
            block=self.block,
            product_error=product_error(n_cols, ACCUMULATOR) if self.kind == HALF else 0.0,
        )


def column_sums(wide):
    """Sums of squares in column order."""
    total = np.zeros(len(wide))
    for column in wide.T:
        total += column * column
    return total


def judge(case, packed=None, *, roots=None, seed=0, shuffled=None, **options):
    """Verdicts int8[n, n] with -1 for those not asked for or not kept, and what was found."""
    packed = case.packed() if packed is None else packed
    n_blocks, device = packed.block_terms.shape[1], torch_device()
    roots = np.full(n_blocks, -1) if roots is None else np.asarray(roots)
    room = gpu.empty_verdicts(len(case.tiles), gpu.Shape(case.block, 4, 2), device)
    arguments = (room, packed, on_device(case.tiles, device))
    arguments += (on_device(roots.astype(np.int32), device),)
    if shuffled is None:
        found = gpu.judge_tiles(*arguments, n_cols=case.X.shape[1], **options)
    else:
        with shuffled(seed):
            found = gpu.judge_tiles(*arguments, n_cols=case.X.shape[1], **options)
    table = np.full((n_blocks, n_blocks, case.block, case.block), -1, np.int8)
    kept = on_host(found.kept)
    assert len({tuple(tile) for tile in kept.tolist()}) == len(kept)
    table[kept[:, 0], kept[:, 1]] = on_host(found.table)
    n = len(case.X)
    table = table.swapaxes(1, 2).reshape(n_blocks * case.block, -1)
    assert not (table[n:] > 0).any()
    assert not (table[:, n:] > 0).any()
    return table[:n, :n], found


def true_within(case):
    """Pairs within eps beyond all doubt or by the definition, and pairs beyond eps by either."""
    rows = normalised(case.X) if case.cosine else case.X
    wide = rows.astype(np.longdouble)
    scale = np.abs(wide).max() or 1
    distances = np.sqrt((((wide[:, None] - wide) / scale) ** 2).sum(-1)) * scale
    defined = pair_squares(rows) <= case.square
    if not 1e-140 < case.distance < 1e140:  # squares that under- or overflow
        return defined, ~defined
    return defined | (distances <= case.distance), ~defined | (distances > case.distance)


def check_verdicts(table, case):
    """No pair within eps is ruled out and none beyond it accepted; pairs once each."""
    within, beyond = true_within(case)
    above = np.triu(np.ones(within.shape, bool), 1)
    out = table <= gpu.OUTSIDE
    assert not (out & within & above).any(), np.argwhere(out & within & above)[0]
    wrong = (table == gpu.INSIDE) & beyond
    assert not wrong.any(), np.argwhere(wrong)[0]
    assert not (table[~above] > 0).any()
    assert np.isin(table, [-1, gpu.OUTSIDE, gpu.INSIDE, gpu.OPEN]).all()


def normal(rng, n_rows, n_cols):
    return rng.normal(size=(n_rows, n_cols))


def corners(rng, n_rows, n_cols):
    X = (rng.integers(-127, 127, (n_rows, n_cols)) + 0.5) / 127
    X[::2, 0], X[1::2, 0] = 1.0, -1.0
    return X


def near_duplicates(rng, n_rows, n_cols):
    return rng.normal(size=(1, n_cols)) + 1e-3 * rng.normal(size=(n_rows, n_cols))


def repeated(rng, n_rows, n_cols):
    return rng.normal(size=(5, n_cols))[rng.integers(5, size=n_rows)]


def outlier(rng, n_rows, n_cols):
    X = rng.normal(size=(n_rows, n_cols))
    X[0] *= 1e4
    X[:, -1] *= 1e3
    return X


def offset(rng, n_rows, n_cols):
    return rng.normal(size=(n_rows, n_cols)) + 1e3


def whole(rng, n_rows, n_cols):
    return rng.integers(-2, 3, (n_rows, n_cols)).astype(float)


DATA = {f.__name__: f for f in (normal, corners, near_duplicates, repeated, outlier, offset, whole)}
SCALES = [("f2", 1.0), ("f2", 2.0**-20), ("f4", 1.0), ("f4", 1e30), ("f8", 1e100), ("f8", 1e-100)]


def make(name, n_rows, n_cols, dtype="f4", scale=1.0, seed=0):
    X = DATA[name](np.random.default_rng(seed), n_rows, n_cols) * scale
    return X.clip(-6e4, 6e4).astype(dtype) if dtype == "f2" else X.astype(dtype)


def distance_at(X, share, ulps=0):
    """A distance that occurs, or its neighbour among the floats."""
    distances = np.unique(np.sqrt(pair_squares(X)))
    eps = distances[int(share * (len(distances) - 1))]
    return max(float(np.nextafter(eps, np.inf * ulps) if ulps else eps), 1e-300)


@pytest.mark.parametrize("kind", KINDS)
def test_no_verdict_is_wrong(shuffled, kind):
    @settings(max_examples=35)
    @given(
        name=st.sampled_from(sorted(DATA)),
        n_rows=st.integers(2, 40),
        n_cols=st.sampled_from([1, 2, 3, 17, 64, 65, 130, 300, 700]),
        dtype_scale=st.sampled_from(SCALES),
        share=st.floats(0, 1),
        ulps=st.integers(-1, 1),
        block=st.sampled_from([16, 32, 64, 128]),
        seed=st.integers(0, 10**6),
    )
    def check(name, n_rows, n_cols, dtype_scale, share, ulps, block, seed):
        X = make(name, n_rows, n_cols, *dtype_scale, seed)
        case = Case(X, distance_at(X, share, ulps), kind, block)
        table, _ = judge(case, shuffled=shuffled, seed=seed)
        check_verdicts(table, case)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_no_verdict_is_wrong_for_angles(kind):
    @settings(max_examples=15)
    @given(st.sampled_from(sorted(DATA)), st.floats(0, 1), st.integers(0, 99))
    def check(name, share, seed):
        X = make(name, 30, 40, "f4", 1.0, seed)
        X[:, 0] += 3
        unit = normalised(X)
        case = Case(X, max(distance_at(unit, share) ** 2 / 2, 1e-12), kind, cosine=True)
        table, _ = judge(case)
        check_verdicts(table, case)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_most_pairs_are_decided(kind):
    """A bound may be safe because it decides nothing: these don't."""
    X = np.maximum(make("normal", 120, 300), 0)
    case = Case(X, distance_at(X, 0.3), kind, 64)
    table, found = judge(case)
    check_verdicts(table, case)
    above = np.triu(np.ones(table.shape, bool), 1)
    assert (table[above] == gpu.OPEN).mean() < (0.4 if kind == INT8 else 0.02)
    apart = np.concatenate([X[:64], X[:56] + 1])
    far = Case(apart, 5.0, kind, 64)
    table, found = judge(far)
    assert len(found.kept) == 2  # the tile of rows far apart ends early
    assert (table[:64, 64:] == -1).all()


def relation_of(table, case):
    """Which pairs are within eps: the filter's word, and the definition's where it has none."""
    n, device = len(case.X), torch_device()
    rows = Rows(on_device(case.X, device), torch.arange(n, device=device), None)
    limit_of = torch.zeros(n, dtype=torch.int32, device=device)
    limits = limits_for([case.square], limit_of, rows.x, normed=False)
    undecided = np.argwhere(table == gpu.OPEN).astype(np.int32)
    relation = np.eye(n, dtype=bool) | (table == gpu.INSIDE)
    relation[tuple(undecided.T)] = on_host(decide(rows, limits, on_device(undecided, device)))
    return relation | relation.T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_cols", "side", "square"), [(1, 40, 9), (2, 9, 25), (3, 5, 1)])
def test_ties_on_a_grid_are_left_to_the_definition(shuffled, kind, n_cols, side, square):
    """Distances of whole numbers in a few columns: hundreds of pairs lie at eps exactly."""
    X = np.random.default_rng(n_cols).integers(0, side, (100, n_cols)).astype(np.float32)
    ties = np.triu(pair_squares(X) == square, 1)
    assert ties.sum() > 150
    for ulps in (-1, 0, 1):
        eps = float(np.nextafter(np.sqrt(square), np.inf * ulps)) if ulps else np.sqrt(square)
        case = Case(X, eps, kind, 32)
        table, _ = judge(case, shuffled=shuffled, seed=n_cols)
        assert (table[ties] == gpu.OPEN).all()
        check_verdicts(table, case)
        relation = relation_of(table, case)
        np.testing.assert_array_equal(relation, within(X, eps))
        assert (relation[ties] == (ulps >= 0)).all()


def lied(packed, reach, factor):
    """The first question's terms for another loss than there was (the formulas of the module)."""
    terms, block_terms = packed.terms.double(), packed.block_terms.clone()
    high = terms[1]
    lost = high - reach
    other = reach + factor * lost
    terms[0] += high**2 - other**2
    terms[1] = other
    terms[4] += (1 - factor**2) * lost**2
    block_terms[1] *= factor
    return packed._replace(terms=terms.float(), block_terms=block_terms)


def test_verdicts_that_lie_are_seen():
    """With a quarter of the loss some pair gets a wrong verdict; with all of it none does."""
    X = np.random.default_rng(0).uniform(-0.9, 0.9, (64, 2))
    X[::2, 0], X[1::2, 0] = 1.0, -1.0
    caught = 0
    for share in np.linspace(0.01, 0.4, 20):
        case = Case(X, distance_at(X, share), INT8, 64)
        packed = case.packed()
        check_verdicts(judge(case, lied(packed, case.eps, 1.0))[0], case)
        try:
            check_verdicts(judge(case, lied(packed, case.eps, 0.25))[0], case)
        except AssertionError:
            caught += 1
    assert caught > 0


def test_the_check_sees_each_fault():
    X = make("normal", 30, 5)
    case = Case(X, distance_at(X, 0.5), INT8)
    table, _ = judge(case)
    check_verdicts(table, case)
    within, beyond = true_within(case)
    above = np.triu(np.ones(table.shape, bool), 1)
    for where, verdict in (
        (within & above, gpu.OUTSIDE),
        (within & above, -1),
        (beyond & above, gpu.INSIDE),
        (within & ~above, gpu.INSIDE),
        (above, 3),
    ):
        wrong = table.copy()
        wrong[tuple(np.argwhere(where)[0])] = verdict
        with pytest.raises(AssertionError):
            check_verdicts(wrong, case)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [1e160, 1e-170])
def test_squares_beyond_float64_are_left_open(kind, eps):
    """The cap of the first reach rules nothing out, 0 for the second accepts nothing."""
    above = np.triu(np.ones((40, 40), bool), 1)
    for name in ("whole", "outlier"):
        case = Case(make(name, 40, 9, "f8", 1e150 if eps > 1 else 1e-170), eps, kind)
        assert case.square in (0.0, np.inf)
        table, _ = judge(case)
        assert (table[above] == gpu.OPEN).all()


@pytest.mark.parametrize("kind", KINDS)
def test_everything_and_nothing_within(kind):
    X = make("normal", 50, 20)
    above = np.triu(np.ones((50, 50), bool), 1)
    table, found = judge(Case(X, 1e6, kind))
    assert (table[above] == gpu.INSIDE).all()
    assert len(found.table) == 10
    table, found = judge(Case(X, 1e-6, kind))
    assert not (table[above] == gpu.INSIDE).any()
    assert {(i, i) for i in range(4)} == {tuple(tile) for tile in found.kept.tolist()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_order_of_programs_shows(shuffled, kind):
    X = make("normal", 60, 20)
    case = Case(X, distance_at(X, 0.4), kind)
    expected, _ = judge(case)
    for seed in range(3):
        table, _ = judge(case, shuffled=shuffled, seed=seed)
        assert table.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_settled_tiles_are_passed_over(kind):
    X = make("repeated", 80, 6)
    case = Case(X, 0.5, kind)
    expected, whole = judge(case)
    assert whole.n_settled == 0
    roots = [7, -1, 7, -1, 0]
    table, found = judge(case, roots=roots)
    assert found.n_settled == 4  # three tiles of a block with itself, one of two blocks of root 7
    assert len(found.kept) == len(case.tiles) - 4
    for i, j in case.tiles:
        own = np.s_[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        passed = roots[i] == roots[j] >= 0
        assert (table[own] == (-1 if passed else expected[own])).all()


def test_tiles_with_many_open_pairs_are_put_off(shuffled):
    X = make("normal", 90, 60)
    case = Case(X, distance_at(X, 0.5), INT8)
    expected, _ = judge(case)
    n_open = [
        int((expected[16 * i : 16 * i + 16, 16 * j : 16 * j + 16] == gpu.OPEN).sum())
        for i, j in case.tiles
    ]
    for most in (0, int(np.median(n_open)), max(n_open) - 1, max(n_open)):
        table, found = judge(case, most_open=most, shuffled=shuffled, seed=most)
        put_off = case.tiles[np.array(n_open) > most].tolist()
        assert sorted(found.coarse.tolist()) == put_off
        assert len(found.kept) == len(found.table) == len(case.tiles) - len(put_off)
        for i, j in case.tiles.tolist():
            own = np.s_[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
            assert (table[own] == (-1 if [i, j] in put_off else expected[own])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_list_of_tiles(kind):
    """In any order, some left out; and of a single row."""
    X = make("normal", 48, 10)
    case = Case(X, distance_at(X, 0.5), kind)
    expected, _ = judge(case)
    case.tiles = case.tiles[[5, 0, 3]]
    table, found = judge(case)
    assert len(found.kept) == 3
    for i, j in case.tiles:
        own = np.s_[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        assert (table[own] == expected[own]).all()
    one = Case(X[:1], 1.0, kind)
    table, _ = judge(one)
    assert table.tolist() == [[gpu.OUTSIDE]]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_cols", [128, 512, 2048])
def test_large_tiles_on_a_device(kind, n_cols):
    X = np.maximum(make("normal", 3000, n_cols), 0)
    squares = torch.cdist(*[on_device(X, torch_device()).double()] * 2).square().cpu().numpy()
    eps = float(np.sqrt(np.quantile(squares, 0.2)))
    case = Case(X, eps, kind, 128)
    packed, shape = case.packed(), gpu.Shape()
    room = gpu.empty_verdicts(len(case.tiles), shape, torch_device())
    roots = torch.full((24,), -1, dtype=torch.int32, device=torch_device())
    tiles = on_device(case.tiles, torch_device())
    found = gpu.judge_tiles(room, packed, tiles, roots, n_cols=n_cols)
    clear = np.abs(squares - eps * eps) > 1e-9 * eps * eps
    n_open = 0
    for (i, j), table in zip(on_host(found.kept), on_host(found.table), strict=True):
        own = np.s_[128 * i : 128 * i + 128, 128 * j : 128 * j + 128]
        there, table = squares[own], table[: len(squares[own]), : squares[own].shape[1]]
        inside = (there <= eps * eps) & clear[own]
        outside = (there > eps * eps) & clear[own]
        if i == j:
            inside &= np.triu(np.ones(inside.shape, bool), 1)
        assert not (inside & (table == gpu.OUTSIDE)).any()
        assert not (outside & (table == gpu.INSIDE)).any()
        n_open += (table == gpu.OPEN).sum()
    assert n_open < (0.2 if kind == INT8 else 0.01) * len(X) ** 2 / 2
