"""Row lenses of the GPU backend have the CPU's bytes; its principal components nearly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team, single_threaded_blas
from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.lens import cpu
from topoact_gpu.kernels.lens.cpu import ROW_LENSES
from topoact_gpu.kernels.table import make_table
from topoact_gpu.lens import compute_lens
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.lens.gpu")
pytestmark = pytest.mark.usefixtures("poisoned")

KINDS = ["f2", "f4", "f8"]
LARGEST = {"f2": 65504.0, "f4": 2.0**127, "f8": 2.0**500}


@st.composite
def tables(draw):
    """Any finite numbers whose squares are finite too, often equal, small and odd in number."""
    kind = draw(st.sampled_from(KINDS))
    shape = draw(st.tuples(st.sampled_from([1, 2, 3, 63]), st.integers(1, 19)))
    limit = LARGEST[kind]
    number = st.floats(-limit, limit, width=8 * np.dtype(kind).itemsize)
    ties = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5])
    return draw(hnp.arrays(kind, shape, elements=number | ties, fill=ties))


def make(n_rows, n_cols, kind, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n_rows, n_cols)) * 10.0 ** rng.integers(-3, 3, n_cols)).astype(kind)


def on_cpu(X, name):
    out = np.empty(len(X))
    cpu.row_lens(make_table(X), 0, len(X), ROW_LENSES.index(name), out)
    return out


def check_equal(X, name, **options):
    found = on_host(gpu.row_lens(on_device(X, torch_device()), name, **options))
    assert found.dtype == np.float64
    assert found.tobytes() == on_cpu(X, name).tobytes()


@settings(max_examples=40)
@given(tables(), st.sampled_from(ROW_LENSES), st.integers(0, 9))
def test_same_bytes_as_the_cpu(shuffled, X, name, seed):
    with shuffled(seed):
        check_equal(X, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_rows", [1, 2, 63, 500, 1000])
def test_same_bytes_for_odd_sizes_and_any_chunk(shuffled, n_rows, kind):
    X = make(n_rows, 3, kind)
    for name in ROW_LENSES:
        with shuffled(n_rows):
            check_equal(X, name, chunk_bytes=1 if name in ("std", "max") else 2**25)


@pytest.mark.parametrize("name", ROW_LENSES)
def test_subnormal_halves_and_large_norms(name):
    subnormal = np.arange(-7, 14, dtype=np.int16).reshape(3, 7).astype("f2") * np.float16(2**-24)
    assert (np.abs(subnormal) < np.finfo("f2").tiny).all()
    check_equal(subnormal, name)
    check_equal(make(9, 17, "f8") + 2.0**40, name)
    check_equal(np.full((3, 40), 65504, "f2"), name)


@pytest.mark.parametrize("name", ["l2norm", "std"])
def test_rows_with_any_strides(name):
    wide = make(70, 12, "f4")
    X = np.ascontiguousarray(wide[::2, 1:10])
    device = torch_device()
    views = (
        on_device(wide, device)[::2, 1:10],
        on_device(np.ascontiguousarray(X.T), device).t(),
    )
    for view in views:
        assert on_host(gpu.row_lens(view, name)).tobytes() == on_cpu(X, name).tobytes()
    one_column = on_device(wide, device)[:, 3:4]
    expected = on_cpu(np.ascontiguousarray(wide[:, 3:4]), name)
    assert on_host(gpu.row_lens(one_column, name)).tobytes() == expected.tobytes()


def test_no_rows():
    for name in ROW_LENSES:
        found = gpu.row_lens(torch.empty((0, 3), device=torch_device()), name)
        assert (found.shape, found.dtype) == ((0,), torch.float64)


def test_the_comparison_with_the_cpu_can_fail():
    """Sums in another order, or fused, have other bytes on such data."""
    X = make(63, 19, "f8")
    assert np.sqrt((X * X).sum(1)).tobytes() != on_cpu(X, "l2norm").tobytes()
    backwards = np.ascontiguousarray(X[:, ::-1])
    assert on_cpu(backwards, "l1norm").tobytes() != on_cpu(X, "l1norm").tobytes()


def components(X, n_components):
    with resident(as_rows(X), 10**9) as data, single_threaded_blas(), Team(1) as team:
        return compute_lens(f"pca:{n_components}", data, CpuBackend(team))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_rows", "n_cols"), [(2, 3), (63, 5), (500, 40), (3000, 7)])
def test_principal_components_are_the_cpus_but_for_rounding(n_rows, n_cols, kind):
    X = (make(n_rows, n_cols, "f8") * np.arange(1, n_cols + 1) + 20).astype(kind)
    n_components = min(n_rows - 1, 3)
    x = on_device(X, torch_device())
    found = on_host(gpu.pca(lambda: [x], n_components))
    expected = components(X, n_components)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_a_direction_with_equal_loadings_keeps_its_sign():
    """The loadings of both columns are largest, but for rounding, and of opposite signs."""
    line = np.random.default_rng(0).normal(size=500)
    X = np.stack([line, -line], 1) + np.random.default_rng(1).normal(size=(500, 2)) * 1e-9
    for shift in (0.0, 0.1, 1e3):
        x = on_device(X + shift, torch_device())
        found = on_host(gpu.pca(lambda x=x: x.split(150), 1))[:, 0]
        assert np.corrcoef(found, line)[0, 1] > 0.99
        assert np.corrcoef(components(X + shift, 1)[:, 0], line)[0, 1] > 0.99


def test_moments_of_parts_may_be_added_and_blocks_only_round():
    X = on_device(make(300, 6, "f4"), torch_device())
    shift = X[:50].double().mean(0)
    whole = gpu.moments(X, shift)
    parts = [gpu.moments(part, shift, block_bytes=1000) for part in X.split(77)]
    for one, *several in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(on_host(sum(several)), on_host(one), rtol=1e-12)
    directions, mean = torch.eye(6, dtype=torch.float64, device=X.device)[:, :2], shift / 3
    small = gpu.project(X, shift, directions, mean=mean, block_bytes=1000)
    large = gpu.project(X, shift, directions, mean=mean)
    assert on_host(small).tobytes() == on_host(large).tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROW_LENSES)
def test_many_rows_on_a_device(name, kind):
    check_equal(make(100_003, 257, kind), name)
