"""Covers: the laws they keep, the formulas they follow, and what they refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from topoact_gpu import cover as cover_module
from topoact_gpu.cover import (
    BalancedCover,
    CoverElements,
    ExplicitCover,
    KeplerCover,
    UniformCover,
)
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.kernels.cover import cpu
from topoact_gpu.kernels.cover.reference import memberships

REAL = st.floats(-1e6, 1e6, allow_nan=False, width=64)
TIED = st.integers(-3, 3).map(float)
SHARES = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75]), st.floats(0, 0.97))
COUNTS = st.integers(1, 9)


@st.composite
def lenses(draw, max_columns=1, min_columns=1):
    """Lens values with at least two different numbers in each column."""
    n_columns = draw(st.integers(min_columns, max_columns))
    n_rows = draw(st.integers(2, 30))
    numbers = draw(st.sampled_from([REAL, TIED]))
    column = st.lists(numbers, min_size=n_rows, max_size=n_rows)
    values = np.array([draw(column) for _ in range(n_columns)]).T
    assume((values.max(axis=0) > values.min(axis=0)).all())
    return values


@st.composite
def covers(draw, *, positive=False):
    """Any cover with parameters for all columns alike."""
    kind = draw(st.sampled_from([UniformCover, KeplerCover, BalancedCover]))
    overlap = draw(SHARES)
    if positive or kind is KeplerCover:  # KeplerMapper's intervals may leave gaps at overlap 0
        overlap = max(overlap, 0.01)
    return kind(draw(COUNTS), overlap)


def as_dict(elements: CoverElements) -> dict[int, list[int]]:
    return {
        int(number): elements.element_rows(e).tolist()
        for e, number in enumerate(elements.element_id)
    }


def check_laws(elements: CoverElements, values: np.ndarray) -> None:
    """Only non-empty elements by ascending number, ascending rows, and lo <= x <= hi exactly."""
    assert elements.indptr.dtype == elements.rows.dtype == elements.element_id.dtype == np.int64
    assert elements.indptr[0] == 0
    assert elements.indptr[-1] == elements.rows.size
    assert (elements.sizes > 0).all()
    assert (np.diff(elements.element_id) > 0).all()
    assert elements.element_id[-1] < elements.n_grid
    for e in range(elements.n_elements):
        rows = elements.element_rows(e)
        inside = (values >= elements.lower[e]) & (values <= elements.upper[e])
        assert rows.tolist() == np.flatnonzero(inside.all(axis=1)).tolist()


@given(lenses(max_columns=3), covers())
def test_laws(values, cover):
    elements = cover.fit(values)
    check_laws(elements, values)
    assert np.unique(elements.rows).size == values.shape[0], "a cover covers every row"


@given(lenses(max_columns=3), covers())
def test_equals_the_naive_reference(values, cover):
    columns = cover._intervals(values)
    assume(all(c.number.size == c.n_full for c in columns))  # the reference numbers what it sees
    found = memberships(values, [(c.lower, c.upper) for c in columns])
    assert as_dict(cover.fit(values)) == found


@given(lenses(max_columns=2), st.data())
def test_explicit_intervals_in_any_order_equal_the_reference(values, data):
    ends = st.tuples(REAL | TIED, REAL | TIED).map(sorted)
    lists = [
        np.array(data.draw(st.lists(ends, min_size=1, max_size=6))) for _ in range(values.shape[1])
    ]
    found = memberships(values, [tuple(c.T) for c in lists])
    cover = ExplicitCover(lists)
    if not found:
        with pytest.raises(DataError, match="no row lies in any interval"):
            cover.fit(values)
        return
    assert as_dict(cover.fit(values)) == found


def test_the_comparison_with_the_reference_can_fail():
    values = np.arange(5.0)[:, None]
    open_above = {0: [0, 1], 1: [2, 3]}  # half-open intervals would give this
    assert as_dict(ExplicitCover([(0, 2), (2, 4)]).fit(values)) != open_above
    wrong = UniformCover(2, 0.5).fit(values)
    wrong.rows[0] = 4
    with pytest.raises(AssertionError):
        check_laws(wrong, values)


@given(lenses(max_columns=3), covers())
def test_grouping_by_counters_equals_grouping_by_sorting(values, cover):
    columns = cover._intervals(values)
    cells, indptr, items = cover_module._cell_lists(values, columns, CpuBackend(Team(1)))
    n_grid = int(np.prod([c.n_full for c in columns]))
    nnz = int(cover.fit(values).rows.size)
    dense = cpu.group_dense(cells, indptr, items, n_grid, nnz)
    sparse = cpu.group_sparse(cells, indptr, items, nnz)
    for a, b in zip(dense, sparse, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@given(lenses(), COUNTS, SHARES)
def test_uniform_intervals_follow_the_formula(values, n, overlap):
    column = values[:, 0]
    low, high = column.min(), column.max()
    length = (high - low) / (n - (n - 1) * overlap)
    elements = UniformCover(n, overlap).fit(values)
    assert elements.n_grid == n
    start = low + elements.element_id * length * (1 - overlap)
    scale = max(abs(low), abs(high))
    assert np.array_equal(elements.lower[:, 0], np.minimum(start, high))
    np.testing.assert_allclose(
        elements.upper[:, 0], np.minimum(start + length, high), rtol=0, atol=1e-12 * scale
    )
    assert elements.upper[elements.element_id == n - 1].tolist() in ([], [[high]])


def test_uniform_neighbours_share_the_overlap():
    elements = UniformCover(5, 0.25).fit(np.linspace(0, 17, 1001))
    lower, upper = elements.lower[:, 0], elements.upper[:, 0]
    np.testing.assert_allclose((upper[:-1] - lower[1:]) / (upper - lower)[0], 0.25)
    assert upper[-1] == 17.0
    assert lower[0] == 0.0


@given(st.integers(1, 200), st.floats(1e-300, 1e279), st.floats(-1e279, 1e279))
def test_uniform_without_overlap_leaves_no_gap(n, extent, low):
    high = low + extent
    assume(high > low and np.isfinite(high))
    (intervals,) = UniformCover(n, 0.0)._intervals(np.array([[low], [high]]))
    reached = np.nextafter(intervals.upper[:-1], np.inf)
    assert (intervals.lower[1:] <= reached).all()
    assert intervals.upper[-1] == high


def test_a_range_of_one_rounding_step():
    values = np.array([1.0, np.nextafter(1.0, 2)])
    elements = UniformCover(70, 0.3).fit(values)
    check_laws(elements, values[:, None])
    assert np.unique(elements.rows).tolist() == [0, 1]


def test_extreme_values():
    tiny = np.array([0.0, -0.0, 5e-324, 1e-310, -5e-324])
    check_laws(UniformCover(7, 0.5).fit(tiny), tiny[:, None])
    largest = np.array([0.0, 1.0, 9e279])
    check_laws(UniformCover(7, 0.5).fit(largest), largest[:, None])
    check_laws(KeplerCover(7, 1 - 1e-16).fit(largest), largest[:, None])
    for wide in ([-1e308, 0.0, 1e308], [0.0, 1e281]):
        with pytest.raises(DataError, match=r"range of a lens must be at most 1e\+280"):
            UniformCover().fit(wide)


@settings(max_examples=30)
@given(st.integers(1, 12), SHARES, st.integers(2, 400), st.integers(0, 2**32 - 1))
def test_balanced_counts_are_equal_without_ties(n, overlap, n_rows, seed):
    column = np.random.default_rng(seed).permutation(n_rows).astype(float) ** 3
    count = n_rows / (n - (n - 1) * overlap)
    elements = BalancedCover(n, overlap).fit(column)
    assert (np.abs(elements.sizes - count) <= 1).all()
    shared = [
        np.intersect1d(elements.element_rows(e), elements.element_rows(e + 1)).size
        for e in range(elements.n_elements - 1)
    ]
    if elements.n_elements == n:
        assert (np.abs(np.array(shared) - overlap * count) <= 1).all()


def test_balanced_without_overlap_shares_nothing():
    elements = BalancedCover(7, 0.0).fit(np.arange(100.0))
    assert elements.rows.tolist() == list(range(100))


def test_balanced_keeps_equal_values_together_and_drops_repeats():
    column = np.array([0.0] * 50 + [1.0, 2.0, 3.0, 4.0, 5.0])
    elements = BalancedCover(11, 0.0).fit(column)
    assert elements.n_grid == 11
    assert elements.element_id.tolist() == [0, 10]
    assert elements.element_rows(0).tolist() == list(range(50))
    assert elements.element_rows(1).tolist() == list(range(50, 55))


def test_balanced_product_numbers_survive_dropped_intervals():
    rng = np.random.default_rng(0)
    values = np.stack([np.repeat([0.0, 1.0], [45, 5]), rng.normal(size=50)], axis=1)
    elements = BalancedCover([5, 4], 0.0).fit(values)
    check_laws(elements, values)
    assert elements.n_grid == 20
    first = elements.element_id // 4
    assert set(first.tolist()) == {0, 4}
    assert elements.lower[first == 4, 0].tolist() == [0.0] * int((first == 4).sum())


def test_kepler_intervals_are_keplermappers():
    kmapper = pytest.importorskip("kmapper")
    rng = np.random.default_rng(3)
    for trial in range(40):
        n_columns = 1 + trial % 2
        values = rng.normal(size=(50, n_columns)) * 10.0 ** rng.integers(-6, 6)
        counts = rng.integers(1, 9, n_columns).tolist()
        overlaps = rng.uniform(0, 0.95, n_columns).tolist()
        theirs = kmapper.Cover(counts, overlaps)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cubes = theirs.transform(
                np.c_[np.arange(50.0), values], theirs.fit(np.c_[np.arange(50.0), values])
            )
        ours = KeplerCover(counts, overlaps).fit(values)
        expected = [cube[:, 0].astype(int).tolist() for cube in cubes]
        assert [ours.element_rows(e).tolist() for e in range(ours.n_elements)] == expected


def test_parameters_of_each_column():
    values = np.random.default_rng(1).normal(size=(200, 2))
    elements = UniformCover([3, 5], [0.1, 0.4]).fit(values)
    assert elements.n_grid == 15
    check_laws(elements, values)


def test_a_large_grid_costs_only_its_memberships():
    values = np.random.default_rng(2).normal(size=(500, 6))
    elements = UniformCover(70, 0.3).fit(values)
    assert elements.n_grid == 70**6
    assert elements.n_elements <= elements.rows.size < 64 * 500
    check_laws(elements, values)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_other_dtypes_count_as_float64(dtype):
    column = np.random.default_rng(5).integers(0, 50, 100).astype(dtype)
    assert as_dict(UniformCover(9).fit(column)) == as_dict(
        UniformCover(9).fit(column.astype(float))
    )


@pytest.mark.parametrize("cover", [UniformCover(), KeplerCover(), BalancedCover()])
def test_constant_lens(cover):
    with pytest.raises(
        DataError, match=r"at least two values; column 1 is constant, 2\.0 in all 4 rows"
    ):
        cover.fit(np.column_stack([np.arange(4.0), np.full(4, 2.0)]))
    with pytest.raises(DataError, match="at least two values"):
        cover.fit([3.0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_lens_that_is_not_finite(value):
    column = np.arange(10.0)
    column[[4, 7]] = value
    with pytest.raises(DataError, match="2 of 10 rows are not, the first is row 4"):
        UniformCover().fit(column)


@pytest.mark.parametrize("shape", [(0,), (0, 2), (3, 0), (2, 2, 2)])
def test_lens_of_the_wrong_shape(shape):
    with pytest.raises(DataError, match="at least one row and one column"):
        UniformCover().fit(np.zeros(shape))


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5, np.nan, "0.3", None, True])
@pytest.mark.parametrize("kind", [UniformCover, KeplerCover, BalancedCover])
def test_overlap_out_of_range(kind, overlap):
    with pytest.raises(ParameterError, match=r"overlap must lie in \[0, 1\), got"):
        kind(5, overlap).fit([0.0, 1.0])


@pytest.mark.parametrize("count", [0, -3, 10**12, 2.5, "7", None, True])
@pytest.mark.parametrize("kind", [UniformCover, KeplerCover, BalancedCover])
def test_number_of_intervals_out_of_range(kind, count):
    with pytest.raises(ParameterError, match="whole number from 1 to 10,000,000, got"):
        kind(count, 0.3).fit([0.0, 1.0])


def test_wrong_number_of_parameters():
    with pytest.raises(ParameterError, match="one for each of the 1 lens columns, got 2"):
        UniformCover([3, 4]).fit([0.0, 1.0])
    with pytest.raises(ParameterError, match="intervals for 1 lens columns, the lens has 2"):
        ExplicitCover([(0, 1)]).fit(np.eye(2))
    with pytest.raises(ParameterError, match=r"fewer than 2\*\*62"):
        UniformCover(10**6).fit(np.arange(8.0).reshape(2, 4))


@pytest.mark.parametrize("intervals", [[], [1, 2], [(1, 2, 3)], [[(0, 1)], [(1, 2, 3)]]])
def test_explicit_intervals_of_the_wrong_shape(intervals):
    with pytest.raises(ParameterError, match="intervals must be a list of"):
        ExplicitCover(intervals).fit([0.0, 1.0])


def test_explicit_interval_upside_down():
    with pytest.raises(ParameterError, match=r"interval 1 of column 0 is \(3.0, 2.0\)"):
        ExplicitCover([(0, 1), (3, 2)]).fit([0.0, 1.0])


def test_explicit_infinite_ends_and_constant_lens():
    elements = ExplicitCover([(-np.inf, np.inf)]).fit([2.0, 2.0])
    assert elements.rows.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("cover", "text"),
    [
        (UniformCover(), "UniformCover(n_intervals=70, overlap=0.3)"),
        (KeplerCover(), "KeplerCover(n_cubes=10, perc_overlap=0.5)"),
        (BalancedCover([3, 4], 0.1), "BalancedCover(n_intervals=[3, 4], overlap=0.1)"),
        (ExplicitCover([(0, 1)]), "ExplicitCover(intervals=[(0, 1)])"),
    ],
)
def test_scikit_learn_manners(cover, text):
    assert repr(cover) == text
    copy = clone(cover)
    assert copy == cover
    assert copy is not cover
    assert cover.to_dict()["cover"] == type(cover).__name__
    name, value = next(iter(cover.get_params().items()))
    assert copy.set_params(**{name: [(5, 6)]}) is copy
    assert copy != cover
    assert copy.set_params(**{name: value}) == cover
    with pytest.raises(ParameterError, match="got 'colour'"):
        copy.set_params(colour=1)


def test_equality_looks_at_the_class_and_at_arrays():
    assert UniformCover(5, 0.2) != BalancedCover(5, 0.2)
    assert UniformCover() != "UniformCover"
    ends = np.array([[0.0, 1.0]])
    assert ExplicitCover(ends) == ExplicitCover(ends.copy())
    assert ExplicitCover(ends) != ExplicitCover(ends + 1)
