"""Covering on the GPU backend: the CPU's arrays, however little is held at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topoact_gpu import cover as cover_module
from topoact_gpu.cover import BalancedCover, ExplicitCover, KeplerCover, UniformCover
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team
from topoact_gpu.kernels.cover import cpu
from topoact_gpu.kernels.launch import on_device, on_host, torch_device

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.cover.gpu")
CudaBackend = pytest.importorskip("topoact_gpu.cuda").CudaBackend
pytestmark = pytest.mark.usefixtures("poisoned")

NUMBERS = st.floats(-1e6, 1e6, width=64) | st.integers(-3, 3).map(float) | st.just(-0.0)


@st.composite
def lenses(draw):
    """Lens values with at least two different numbers in each column, many of them equal."""
    shape = (draw(st.sampled_from([2, 5, 63])), draw(st.integers(1, 2)))
    some = draw(st.lists(NUMBERS, min_size=2, max_size=9, unique=True))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    values = generator.choice(some, shape)
    assume((values.max(axis=0) > values.min(axis=0)).all())
    return values


@st.composite
def covers(draw):
    kind = draw(st.sampled_from([UniformCover, KeplerCover, BalancedCover]))
    return kind(draw(st.integers(1, 5)), draw(st.sampled_from([0.0, 0.3, 0.5, 0.9])))


def cell_lists(values, cover):
    columns = cover._intervals(values)
    lists = cover_module._cell_lists(values, columns, CpuBackend(Team(1)))
    return *lists, int(np.prod([column.n_full for column in columns]))


def on_the_device(cells, indptr, items, n_grid, **options):
    given = (on_device(each, torch_device()) for each in (cells, indptr, items))
    return [on_host(each) for each in gpu.element_rows(*given, n_grid, **options)]


def check_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@settings(max_examples=30)
@given(lenses(), covers(), st.sampled_from([1, 2, 5]), st.integers(0, 9))
def test_same_groups_as_the_cpu(shuffled, values, cover, n_blocks, seed):
    lists = cell_lists(values, cover)
    expected = cpu.group(*lists)
    block_bytes = expected[2].size * gpu._BYTES_A_MEMBERSHIP // n_blocks
    with shuffled(seed):
        check_equal(on_the_device(*lists, block_bytes=block_bytes), expected)


@pytest.mark.parametrize("n_rows", [1, 2, 63, 500, 1000])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_odd_sizes_with_numbers_of_32_and_64_bits(shuffled, n_rows, n_columns):
    values = np.random.default_rng(n_rows).normal(size=(n_rows, n_columns))
    intervals = np.linspace(-3, 3, 10)[:, None] + [-0.5, 0.5]
    *lists, n_grid = cell_lists(values, ExplicitCover([intervals] * n_columns))
    expected = cpu.group(*lists, n_grid)
    for bound in (n_grid, 2**40):
        with shuffled(n_rows):
            check_equal(on_the_device(*lists, bound, block_bytes=20_000), expected)
    check_equal(gpu.group(*lists, n_grid), expected)


def test_element_numbers_above_32_bits():
    values = np.random.default_rng(2).normal(size=(63, 6))
    *lists, n_grid = cell_lists(values, UniformCover(70, 0.3))
    assert n_grid > 2**32
    check_equal(on_the_device(*lists, n_grid, block_bytes=20_000), cpu.group(*lists, n_grid))


def test_rows_in_no_element():
    values = np.linspace(-9, 9, 150)[:, None]
    some = cell_lists(values, ExplicitCover([(0, 1), (0.5, 3)]))
    for block_bytes in (0, 2**28):
        check_equal(on_the_device(*some, block_bytes=block_bytes), cpu.group(*some))
    none = cell_lists(values, ExplicitCover([(20, 30)]))
    check_equal(on_the_device(*none), cpu.group(*none))
    assert cpu.group(*none)[2].size == 0


def test_cells_at_ties():
    ends = np.array([-1.0, 0.0, 0.0, np.nextafter(0.0, 1), 1.0, 1e300])
    column = np.concatenate([ends, -ends, [-0.0, 5e-324, -5e-324, np.finfo(float).max]])
    for given_ends in (ends, ends[:0]):
        check_equal(gpu.find_cells(column, given_ends), cpu.find_cells(column, given_ends))
    table = on_device(np.stack([column, -column], 1), torch_device())
    cells = gpu.row_cells(table[:, 0], on_device(ends, torch_device()))
    assert on_host(cells).tobytes() == cpu.find_cells(column, ends)[0].tobytes()


@pytest.mark.parametrize("n_columns", [1, 2])
def test_a_cover_fits_alike_with_either(monkeypatch, n_columns):
    values = np.random.default_rng(0).normal(size=(500, n_columns))
    cover = UniformCover(12, 0.4)
    expected = vars(cover.fit(values))
    monkeypatch.setattr(cpu, "find_cells", None)
    monkeypatch.setattr(cpu, "group", None)
    found = vars(cover.fit(values, backend=CudaBackend(Team(1))))
    assert found.pop("n_grid") == expected.pop("n_grid")
    check_equal(found.values(), expected.values())


def test_the_comparison_can_fail():
    lists = cell_lists(np.arange(9.0)[:, None], UniformCover(3, 0.5))
    element_id, starts, rows = cpu.group(*lists)
    for wrong in ((element_id, starts, rows[::-1]), (element_id, starts, rows.astype("i4"))):
        with pytest.raises(AssertionError):
            check_equal(wrong, (element_id, starts, rows))


@pytest.mark.gpu
@pytest.mark.parametrize(("n_columns", "n_intervals"), [(1, 70), (2, 70), (3, 2000)])
@pytest.mark.parametrize("block_bytes", [2**22, 2**28])
def test_many_rows_on_a_device(n_columns, n_intervals, block_bytes):
    values = np.random.default_rng(1).normal(size=(300_007, n_columns))
    lists = cell_lists(values, UniformCover(n_intervals, 0.3))
    check_equal(on_the_device(*lists, block_bytes=block_bytes), cpu.group(*lists))
