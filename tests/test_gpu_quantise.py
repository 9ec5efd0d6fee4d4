"""Packed rows of the GPU backend: what is kept, and that no more is lost than they say.

What was lost is taken in extended precision, of the rows as stored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.kernels.launch import on_device, on_host, torch_device
from topoact_gpu.kernels.quantise.reference import quantise_together

torch = pytest.importorskip("torch")
gpu = pytest.importorskip("topoact_gpu.kernels.quantise.gpu")
pytestmark = pytest.mark.usefixtures("poisoned")

BLOCK = 16
SHARE_LOST = {gpu.INT8: 2.0**-6, gpu.HALF: 2.0**-11}
"""Of the norm of a row as large as the others."""


def corners(rng, n_rows, n_cols):
    """Numbers halfway between two steps of the scale: quantisation loses most there."""
    X = (rng.integers(-127, 127, (n_rows, n_cols)) + 0.5) / 127
    X[::2, 0], X[1::2, 0] = 1.0, -1.0
    return X


def half_corners(rng, n_rows, n_cols):
    """Numbers halfway between two float16 numbers, large and subnormal ones."""
    exponent = rng.integers(-30, 0, (n_rows, n_cols))
    step = 2.0 ** (np.maximum(exponent, -14) - 10)
    return np.floor(rng.uniform(1, 2, (n_rows, n_cols)) * 2.0**exponent / step) * step + step / 2


def one_large_row(rng, n_rows, n_cols):
    X = rng.normal(size=(n_rows, n_cols))
    X[n_rows // 2] *= 1e6
    return X


def zeros_beside(rng, n_rows, n_cols):
    X = rng.normal(size=(n_rows, n_cols))
    X[::2] = 0
    return X


def all_zeros(rng, n_rows, n_cols):
    return np.zeros((n_rows, n_cols))


def relu(rng, n_rows, n_cols):
    return np.maximum(rng.normal(size=(n_rows, n_cols)), 0)


def wide_range(rng, n_rows, n_cols):
    return rng.normal(size=(n_rows, n_cols)) * 10.0 ** rng.integers(-12, 1, (n_rows, 1))


def offset(rng, n_rows, n_cols):
    return rng.normal(size=(n_rows, n_cols)) + 1e3


KINDS = {
    f.__name__: f
    for f in (
        corners, half_corners, one_large_row, zeros_beside, all_zeros, relu, wide_range, offset
    )
}  # fmt: skip
SCALES = [
    ("f2", 1.0), ("f2", 2.0**-22), ("f4", 1.0), ("f4", 1e-42), ("f4", 1e30), ("f8", 1e200),
    ("f8", 1e-200), ("f8", 1e-311),
]  # fmt: skip


def make(kind, n_rows, n_cols, dtype, scale, seed=0):
    X = KINDS[kind](np.random.default_rng(seed), n_rows, n_cols)
    with np.errstate(under="ignore"):
        X = X * scale
        return X.clip(-6e4, 6e4).astype(dtype) if dtype == "f2" else X.astype(dtype)


class Case(NamedTuple):
    """Rows to be packed, row_of[place] at each place."""

    x: object
    row_of: np.ndarray
    mean: np.ndarray
    unit: float
    norms: np.ndarray | None = None

    def centred(self):
        """longdouble z of the row at each place; 0 where there is none."""
        x = on_host(self.x).astype(np.float64)
        if self.norms is not None:
            x = x / self.norms[:, None]
        z = x.astype(np.longdouble) * self.unit - self.mean
        z = z[self.row_of]  # -1 takes any row
        z[self.row_of < 0] = 0
        return z


def frame_of(X, *, cosine=False):
    """Mean and unit as a frame has them, and norms."""
    wide = X.astype(np.float64)
    norms = None
    if cosine:
        norms = np.sqrt((wide * wide).sum(1))
        wide = wide / norms[:, None]
    largest = max(np.abs(wide).max(initial=0), 2.0**-500)
    unit = float(2.0 ** -np.ceil(np.log2(largest)))
    return (wide * unit).mean(0), unit, norms


def case_of(X, row_of=None, *, cosine=False):
    """All rows in order, then places without one."""
    if row_of is None:
        row_of = np.arange(-(-len(X) // BLOCK) * BLOCK)
        row_of[len(X) :] = -1
    mean, unit, norms = frame_of(X, cosine=cosine)
    return Case(on_device(X, torch_device()), row_of, mean, unit, norms)


def pack(kind, case, reach=(0.0, 0.0), product_error=0.0, block=BLOCK):
    device = torch_device()
    reach = np.repeat(np.array(reach)[:, None], len(case.row_of), 1)
    return gpu.pack_rows(
        kind,
        case.x,
        on_device(case.row_of, device),
        mean=on_device(case.mean, device),
        unit=on_device(np.array([case.unit]), device),
        norms=None if case.norms is None else on_device(case.norms, device),
        reach=on_device(reach, device),
        block=block,
        product_error=product_error,
    )


def lost_by(packed, case, block=BLOCK):
    """|z - s q| of each place, longdouble."""
    z = case.centred()
    numbers = on_host(packed.numbers).astype(np.longdouble)[:, : z.shape[1]]
    scale = np.repeat(on_host(packed.block_terms)[0].astype(np.longdouble), block)
    return np.sqrt(((z - scale[:, None] * numbers) ** 2).sum(1)), np.sqrt((z * z).sum(1))


def check_losses(packed, case, block=BLOCK):
    """No more is lost than stated, and not much less.

    With a reach of 0 the second term of a row is its bound, rounded to float32.
    """
    lost, norm = lost_by(packed, case, block)
    live = case.row_of >= 0
    stated = on_host(packed.terms)[1].astype(np.float64)
    most = np.repeat(on_host(packed.block_terms)[1].astype(np.float64), block)
    assert (lost <= stated * (1 + 2.0**-24))[live].all()
    assert (lost <= most)[live].all()
    assert (stated <= lost * (1 + 2.0**-20) + 2.0**-49 * norm + 2.0**-53)[live].all()
    assert (stated == 0)[~live].all()


def check_numbers(packed, case, kind, block=BLOCK):
    """The reference's numbers and scale in every block."""
    z = case.centred().astype(np.float64)
    numbers = on_host(packed.numbers)
    assert numbers.dtype == (np.int8 if kind == gpu.INT8 else np.float16)
    assert numbers.shape == (len(z), gpu.padded_width(kind, z.shape[1]))
    for at in range(0, len(z), block):
        own = slice(at, at + block)
        expected, scale, _ = quantise_together(z[own], halves=kind == gpu.HALF)
        assert on_host(packed.block_terms)[0, at // block] == np.float32(scale)
        np.testing.assert_array_equal(numbers[own, : z.shape[1]], expected)
        assert (numbers[own, z.shape[1] :] == 0).all()


@pytest.mark.parametrize("kind", sorted(SHARE_LOST))
def test_the_numbers_of_the_reference_and_no_more_lost_than_stated(shuffled, kind):
    @settings(max_examples=40)
    @given(
        name=st.sampled_from(sorted(KINDS)),
        n_rows=st.integers(1, 40),
        n_cols=st.sampled_from([1, 2, 3, 31, 63, 64, 65, 130, 193, 300]),
        dtype_scale=st.sampled_from(SCALES),
        cosine=st.booleans(),
        seed=st.integers(0, 10**6),
    )
    def check(name, n_rows, n_cols, dtype_scale, cosine, seed):
        X = make(name, n_rows, n_cols, *dtype_scale, seed)
        if cosine:
            wide = X.astype(np.float64)
            with np.errstate(under="ignore", over="ignore"):
                squares = (wide * wide).sum(1)
            X[(squares < 1e-290) | ~np.isfinite(squares)] = 1
        case = case_of(X, cosine=cosine)
        with shuffled(seed):
            packed = pack(kind, case)
        check_numbers(packed, case, kind)
        check_losses(packed, case)

    check()


def test_lies_are_seen():
    case = case_of(make("corners", 20, 30, "f4", 1.0))
    packed = pack(gpu.INT8, case)
    for factor in (0.999, 1.001):
        with pytest.raises(AssertionError):
            check_losses(packed._replace(terms=packed.terms * factor), case)
    with pytest.raises(AssertionError):
        check_losses(packed._replace(block_terms=packed.block_terms * 0.99), case)
    other = packed.numbers.clone()
    other[3, 4] += 1
    for wrong in (packed._replace(numbers=other), packed._replace(numbers=packed.numbers.float())):
        with pytest.raises(AssertionError):
            check_numbers(wrong, case, gpu.INT8)
    with pytest.raises(AssertionError):
        check_losses(packed._replace(numbers=other), case)


@pytest.mark.parametrize("kind", sorted(SHARE_LOST))
def test_a_large_row_costs_only_its_own_block(kind):
    """The others of its block lose what its scale loses; other blocks lose what they would."""
    X = np.random.default_rng(0).normal(size=(3 * BLOCK, 40))
    X[3] *= 1e6
    case = case_of(X)._replace(mean=np.zeros(40))
    stated = on_host(pack(kind, case).terms)[1].reshape(3, BLOCK)
    norm = np.sqrt((case.centred() ** 2).sum(1)).astype(float).reshape(3, BLOCK)
    worst = SHARE_LOST[kind]
    assert (stated[1:] < worst * norm[1:]).all()
    if kind == gpu.INT8:
        assert (np.delete(stated[0], 3) > 0.9 * np.delete(norm[0], 3)).all()
    assert stated[0, 3] < worst * norm[0, 3]


def test_halves_below_the_least_normal_number_are_kept():
    X = np.ones((BLOCK, 3))
    X[1] = 2.0**-24 * np.array([1, 2, 3])
    case = Case(on_device(X, torch_device()), np.arange(BLOCK), np.zeros(3), 0.5)
    packed = pack(gpu.HALF, case)
    assert on_host(packed.block_terms)[0].tolist() == [1.0]
    assert on_host(packed.numbers)[1, :3].tolist() == [0, 2.0**-24, 2 * 2.0**-24]
    check_losses(packed, case)


def test_places_may_hold_any_row_or_none():
    X = make("relu", 9, 20, "f4", 1.0)
    row_of = np.random.default_rng(1).integers(-3, 9, 4 * BLOCK).clip(-1)
    row_of[BLOCK : 2 * BLOCK] = -1
    for kind in sorted(SHARE_LOST):
        case = case_of(X, row_of)
        packed = pack(kind, case, reach=(0.5, 0.4))
        check_numbers(packed, case, kind)
        dead = row_of < 0
        terms = on_host(packed.terms)
        assert (terms[:, dead] == [[np.inf], [0], [np.inf], [0], [np.inf]]).all()
        assert np.isfinite(terms[:, ~dead]).all()
        assert (on_host(packed.numbers)[dead] == 0).all()
        scale, most, slack = on_host(packed.block_terms)[:, 1]
        assert (scale, most, slack) == (np.float32(2.0**-40), 0, 0)


@pytest.mark.parametrize("kind", sorted(SHARE_LOST))
def test_strides_do_not_show(kind):
    wide = make("relu", 60, 50, "f4", 1.0)
    device = torch_device()
    view = on_device(wide, device)[::3, 7:44]
    case = case_of(np.ascontiguousarray(wide[::3, 7:44]))
    for one, other in zip(pack(kind, case), pack(kind, case._replace(x=view)), strict=True):
        if one is not kind:
            assert on_host(one).tobytes() == on_host(other).tobytes()


@pytest.mark.parametrize("kind", sorted(SHARE_LOST))
def test_other_blocks(kind):
    X = make("relu", 100, 70, "f2", 1.0)
    for block in (16, 32, 64, 128):
        row_of = np.full(128, -1)
        row_of[:100] = np.arange(100)
        case = case_of(X, row_of)
        packed = pack(kind, case, block=block)
        assert packed.block_terms.shape == (gpu.N_BLOCK_TERMS, 128 // block)
        check_numbers(packed, case, kind, block)
        check_losses(packed, case, block)


def test_no_rows():
    for kind in sorted(SHARE_LOST):
        packed = pack(kind, case_of(np.ones((2, 5)), np.empty(0, np.int64)))
        assert packed.numbers.shape == (0, gpu.padded_width(kind, 5))
        assert packed.terms.shape == (gpu.N_TERMS, 0)
        assert packed.block_terms.shape == (gpu.N_BLOCK_TERMS, 0)


@pytest.mark.parametrize("n_cols", [1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 4096, 5000])
def test_widths_are_whole_steps(n_cols):
    for kind, least, most in ((gpu.INT8, 32, 128), (gpu.HALF, 16, 64)):
        step, width = gpu.step_of(kind, n_cols), gpu.padded_width(kind, n_cols)
        assert step & (step - 1) == 0
        assert least <= step <= most
        assert width % step == 0
        assert n_cols <= width < n_cols + step


@pytest.mark.gpu
@pytest.mark.parametrize("kind", sorted(SHARE_LOST))
@pytest.mark.parametrize(("dtype", "cosine"), [("f2", False), ("f4", True), ("f8", False)])
def test_many_rows_on_a_device(kind, dtype, cosine):
    X = make("relu", 20_001, 513, dtype, 1.0)
    row_of = np.arange(-(-len(X) // 128) * 128)
    row_of[len(X) :] = -1
    case = case_of(X, row_of, cosine=cosine)
    packed = pack(kind, case, block=128)
    check_numbers(packed, case, kind, 128)
    check_losses(packed, case, 128)
