"""Filters' bounds: no pair within eps is ever ruled out, none is accepted that is not within.

Distances are taken in extended precision, of the rows as stored. Every bound is tried at eps equal
to each of many distances that occur, where the slightest lie would show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from threadpoolctl import threadpool_limits

from topoact_gpu.kernels.product.cpu import AVX2, FLOAT32, PANEL_ROWS, PORTABLE, VNNI, coding_of
from topoact_gpu.kernels.quantise.centre import Frame, centre_rows
from topoact_gpu.kernels.quantise.cpu import pack_full, pack_prefix
from topoact_gpu.kernels.quantise.floats import pack_full_floats, pack_prefix_floats
from topoact_gpu.kernels.quantise.frame import make_frame
from topoact_gpu.kernels.quantise.panels import (
    Panels,
    empty_buffers,
    empty_panels,
    pack_left,
    permute_panels,
)
from topoact_gpu.kernels.quantise.reference import distance_bounds, quantise
from topoact_gpu.kernels.table import aligned, make_table


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    with threadpool_limits(1):
        yield


def corners(rng, n_rows, n_cols):
    """Numbers halfway between two steps of the scale: quantisation loses most there."""
    X = (rng.integers(-127, 127, (n_rows, n_cols)) + 0.5) / 127
    X[::2, 0], X[1::2, 0] = 1.0, -1.0
    return X


def relu(rng, n_rows, n_cols):
    return np.maximum(rng.normal(size=(n_rows, n_cols)), 0)


def low_rank(rng, n_rows, n_cols):
    return rng.normal(size=(n_rows, 5)) @ rng.normal(size=(5, n_cols))


def outlier(rng, n_rows, n_cols):
    X = rng.normal(size=(n_rows, n_cols))
    X[0] *= 1e5
    X[:, -1] *= 1e4
    return X


def duplicates(rng, n_rows, n_cols):
    return np.repeat(rng.normal(size=(-(-n_rows // 6), n_cols)), 6, axis=0)[:n_rows]


def constant(rng, n_rows, n_cols):
    return np.full((n_rows, n_cols), 0.3)


def offset(rng, n_rows, n_cols):
    return rng.normal(size=(n_rows, n_cols)) + 1e3


def huge_row(rng, n_rows, n_cols):
    X = rng.normal(size=(n_rows, n_cols)) * 1e-23
    X[-1], X[-2] = 1.0, -1.0
    return X


KINDS = {
    f.__name__: f
    for f in (corners, relu, low_rank, outlier, duplicates, constant, offset, huge_row)
}
SCALES = [("f2", 1.0), ("f2", 2.0**-22), ("f4", 1.0), ("f4", 1e-30), ("f8", 1e60), ("f8", 1e-100)]


def make(kind, n_rows, n_cols, dtype, scale, seed):
    X = KINDS[kind](np.random.default_rng(seed), n_rows, n_cols) * scale
    return X.clip(-6e4, 6e4).astype(dtype) if dtype == "f2" else X.astype(dtype)


def true_distances(X):
    """Extended precision, float64 rows scaled so that no square leaves its range."""
    rows = X.astype(np.longdouble)
    scale = np.abs(rows).max() or 1
    return np.sqrt((((rows[:, None] - rows) / scale) ** 2).sum(-1)) * scale


@dataclass
class Packed:
    """Rows in a filter's form, and its products for each stage."""

    panels: Panels
    frame: Frame
    products: list
    """float64[n, n] for each prefix, then for all columns."""


WAYS = {"int8": VNNI, "int8 up to 63": AVX2, "float32": FLOAT32}


@njit
def gather(panel_words, coding, some, n_words, out):
    pack_left(panel_words, coding, some, n_words, out, 0)


def gathered(panel_words, coding, n_rows, n_words):
    """Packed rows as a matrix of numbers: the left operand, read back."""
    out, words = [], np.empty(8 * n_words, np.int32)
    dtype = np.float32 if coding.kind == FLOAT32 else np.int8
    for start in range(0, n_rows, 8):
        some = np.arange(start, min(start + 8, n_rows), dtype=np.int32)
        gather(panel_words, coding, some, n_words, words)
        rows = np.ascontiguousarray(words.reshape(n_words, 8).T).view(dtype)
        out.append(rows[: len(some)])
    return np.concatenate(out).astype(np.float64)


def make_packed(X, eps, how):
    """Rows packed as a filter packs them, and their products by numpy."""
    table, ids = make_table(X), np.arange(len(X))
    coding = coding_of(WAYS[how])
    frame = make_frame(table, ids, float(np.abs(X.astype(float)).max()), 0)
    centred = np.empty(X.shape, np.float32)
    centre_rows(table, ids, frame.mean, frame.unit, centred)
    reach, ends = eps * frame.unit * (1 + 2.0**-40), frame.ends
    panels = empty_panels(len(X), X.shape[1], len(ends), coding)
    n_prefix = int(ends[-1]) // coding.columns
    size = -(-len(X) // PANEL_ROWS) * PANEL_ROWS * n_prefix
    panels = panels._replace(prefix=aligned(size, np.int32))
    components = centred @ frame.basis[:, : int(ends[-1])]
    floats = coding.kind == FLOAT32
    pack = pack_full_floats if floats else pack_full
    pack(panels, 0, centred, reach, empty_buffers(panels.n_words, coding))
    pack = pack_prefix_floats if floats else pack_prefix
    buffers = empty_buffers(n_prefix, coding)
    pack(panels, 0, components, ends, frame.basis_error, reach, buffers)
    full = gathered(panels.full, coding, len(X), panels.n_words)
    products = [full @ full.T]
    if floats:
        products = [(full.astype(np.float32) @ full.astype(np.float32).T).astype(np.float64)]
    if n_prefix:
        prefix = gathered(panels.prefix, coding, len(X), n_prefix)
        prefix = prefix.astype(np.float32) if floats else prefix
        parts = [prefix[:, : int(end)] for end in ends[1:]]
        products = [(part @ part.T).astype(np.float64) for part in parts] + products
    return Packed(panels, frame, products)


def coefficients(panels, stage):
    """(left float32[n, 4], right float32[4, n]) of one stage."""
    n_rows, n_stages = panels.left.shape[:2]
    right = panels.right.reshape(-1, n_stages, 4, PANEL_ROWS)[:, stage]
    return panels.left[:, stage], right.transpose(1, 0, 2).reshape(4, -1)[:, :n_rows]


def survivors(panels, stage, products):
    """The kernel's float32 comparison, by numpy."""
    left, right = coefficients(panels, stage)
    limits = left[:, :1] * right[:1]
    for term in range(1, 4):
        # Fused: the product is exact in float64, and the sum is rounded once to float32.
        wide = left[:, term : term + 1].astype(np.float64) * right[term : term + 1]
        limits = (wide + limits).astype(np.float32)
    return limits <= products.astype(np.float32)


def accepted(packed, eps, how):
    """Pairs that the kernel takes without another look."""
    panels, unit = packed.panels, packed.frame.unit
    slack = (2 * len(packed.frame.mean) + 64) * 2.0**-24 if how == "float32" else 2.0**-45
    inner = eps * unit * (1 - 2.0**-40) - panels.lost[:, None] - panels.lost
    whole = panels.square[:, None] + panels.square
    scale = 2.0 * panels.scale[:, None] * panels.scale
    estimate = whole - scale * packed.products[-1]
    return (inner > 0) & (estimate <= inner * inner * (1 - 2.0**-40) - slack * (whole + 2.0**-60))


def check_bounds(X, eps, how):
    """Both directions, every stage."""
    within = true_distances(X) <= eps
    packed = make_packed(X, eps, how)
    for stage, products in enumerate(packed.products):
        ruled_out = within & ~survivors(packed.panels, stage, products)
        assert not ruled_out.any(), f"stage {stage} rules out {np.argwhere(ruled_out)[0]}"
    wrong = accepted(packed, eps, how) & ~within
    assert not wrong.any(), f"accepts {np.argwhere(wrong)[0]}"


@pytest.mark.parametrize("how", sorted(WAYS))
def test_bounds_hold(how):
    @settings(max_examples=150)
    @given(
        kind=st.sampled_from(sorted(KINDS)),
        n_rows=st.integers(2, 40),
        n_cols=st.sampled_from([1, 2, 3, 8, 40, 130, 300]),
        dtype_scale=st.sampled_from(SCALES),
        share=st.floats(0, 1),
        seed=st.integers(0, 10**6),
    )
    def check(kind, n_rows, n_cols, dtype_scale, share, seed):
        X = make(kind, n_rows, n_cols, *dtype_scale, seed)
        distances = np.unique(true_distances(X))
        eps = float(distances[int(share * (len(distances) - 1))])
        if not 1e-140 < eps < 1e140:
            return
        for limit in (eps, float(np.nextafter(eps, 0)), eps * (1 + 1e-12)):
            check_bounds(X, limit, how)

    check()


def test_float64_with_a_large_offset():
    X = np.random.default_rng(0).normal(size=(60, 40)) + 1e9
    for eps in true_distances(X)[0, 1:9]:
        for how in ("int8", "float32"):
            check_bounds(X, float(eps), how)


def test_integer_rows_whose_distances_all_tie():
    X = np.random.default_rng(0).integers(-3, 4, (80, 30)).astype(np.float32)
    for eps in np.unique(true_distances(X))[1::7]:
        for how in ("int8", "float32"):
            check_bounds(X, float(eps), how)


def test_filters_decide_most_pairs():
    """A bound may be safe because it decides nothing: these don't."""
    X = make("relu", 150, 300, "f4", 1.0, 0)
    distances = true_distances(X).astype(float)
    eps = float(np.quantile(distances, 0.3))
    for how, share in (("int8", 0.35), ("int8 up to 63", 0.6), ("float32", 0.01)):
        packed = make_packed(X, eps, how)
        alive = survivors(packed.panels, -1, packed.products[-1])
        undecided = alive & ~accepted(packed, eps, how)
        assert undecided.mean() < share


def lied(panels, stage, lost, reach):
    """Coefficients of all columns recomputed with another loss (the formulas of the module)."""
    inverse, square = 1 / panels.scale, panels.square
    far = reach + lost
    left = np.stack([
        0.5 * inverse,
        (square - far * far - 2.0**-19 * (square + far * far)) * 0.5 * inverse,
        0 * inverse,
        -far * inverse,
    ], axis=1)  # fmt: skip
    right = np.stack([
        (square - lost * lost - 2.0**-19 * (square + lost * lost)) * inverse,
        inverse,
        0 * inverse,
        lost * inverse,
    ])  # fmt: skip
    n_stages = panels.left.shape[1]
    new_left, new_right = panels.left.copy(), panels.right.copy()
    new_left[:, stage] = left
    grouped = new_right.reshape(-1, n_stages, 4, PANEL_ROWS)
    for position in range(len(square)):
        grouped[position // PANEL_ROWS, stage, :, position % PANEL_ROWS] = right[:, position]
    return panels._replace(left=new_left, right=new_right)


def test_a_false_bound_is_seen():
    X = np.random.default_rng(0).uniform(-0.9, 0.9, (60, 2))
    X[::2, 0], X[1::2, 0] = 1.0, -1.0
    distances = true_distances(X)
    caught = 0
    for eps in np.unique(distances)[1:200].astype(float):
        packed = make_packed(X, eps, "int8")
        panels, stage = packed.panels, packed.panels.left.shape[1] - 1
        reach = eps * packed.frame.unit * (1 + 2.0**-40)
        same, quarter = (lied(panels, stage, panels.lost * f, reach) for f in (1, 0.25))
        np.testing.assert_allclose(same.left[:, stage], panels.left[:, stage], rtol=1e-5)
        products, within = packed.products[-1], distances <= eps
        assert not (within & ~survivors(same, stage, products)).any()
        caught += (within & ~survivors(quarter, stage, products)).any()
    assert caught > 0


@pytest.mark.parametrize("kind", [VNNI, AVX2])
@pytest.mark.parametrize("n_cols", [1, 7, 40, 500])
def test_packed_rows_are_the_references(kind, n_cols):
    """The same scale and, but for ties, the same numbers; never less lost than was."""
    coding = coding_of(kind)
    rows = np.random.default_rng(n_cols).normal(size=(60, n_cols)).astype(np.float32)
    panels = empty_panels(60, n_cols, 1, coding)
    pack_full(panels, 0, rows, 1.0, empty_buffers(panels.n_words, coding))
    numbers, scale, lost = quantise(rows, coding.top)
    np.testing.assert_array_equal(panels.scale, scale)
    packed = gathered(panels.full, coding, 60, panels.n_words)[:, :n_cols]
    assert np.abs(packed - numbers).max() <= 1
    assert (packed != numbers).mean() < 0.001
    kept = np.linalg.norm(rows - scale[:, None] * packed, axis=1)
    assert (panels.lost >= kept).all()
    assert (panels.lost <= 1.001 * lost + 1e-5 * np.linalg.norm(rows, axis=1)).all()


def test_the_bounds_that_everything_rests_on():
    rows = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    least, most = distance_bounds(*quantise(rows, 63))
    apart = true_distances(rows).astype(float)
    assert (least <= apart + 1e-12).all()
    assert (apart <= most + 1e-12).all()
    assert (most - least).max() < 0.5 * apart[apart > 0].min()


@pytest.mark.parametrize("kind", [VNNI, AVX2, FLOAT32, PORTABLE])
def test_panels_hold_the_rows(kind):
    """Right words are what left words say; gathering and permuting keep them."""
    X = make("relu", 100, 37, "f4", 1.0, 0)
    table, ids = make_table(X), np.arange(100)
    coding, frame = coding_of(kind), make_frame(table, ids, float(X.max()), 0)
    centred = np.empty(X.shape, np.float32)
    centre_rows(table, ids, frame.mean, frame.unit, centred)
    panels = empty_panels(100, 37, len(frame.ends), coding)
    n_words = panels.n_words
    panels.rows[:] = panels.local[:] = panels.block[:] = ids
    pack = pack_full_floats if kind == FLOAT32 else pack_full
    buffers = empty_buffers(n_words, coding)
    pack(panels, 0, centred, frame.unit * (1 + 2.0**-40), buffers)
    numbers = gathered(panels.full, coding, 100, n_words)
    assert (numbers[:, 37:] == 0).all()
    scale = panels.scale[:, None]
    assert (np.abs(numbers[:, :37] * scale - centred) <= 0.5001 * scale).all()
    in_panels = panels.full.reshape(-1, n_words, PANEL_ROWS).swapaxes(1, 2)
    words = np.ascontiguousarray(in_panels.reshape(-1, n_words)[:100])
    if kind == FLOAT32:
        np.testing.assert_array_equal(words.view(np.float32), numbers.astype(np.float32))
        np.testing.assert_array_equal(numbers[:, :37], centred)
        assert (panels.sums == 0).all()
    else:
        unpacked = words.view(np.uint8).astype(np.int16) - coding.offset
        np.testing.assert_array_equal(unpacked, numbers)
        assert np.abs(numbers).max() == coding.top
        np.testing.assert_array_equal(panels.sums[:, -1], -coding.offset * numbers.sum(1))
    some = np.array([3, 99, 50, 7, 48], np.int32)
    moved = permute_panels(panels, some, 37)
    np.testing.assert_array_equal(gathered(moved.full, coding, 5, n_words), numbers[some])
    left = np.empty(8 * n_words, np.int32)
    gather(panels.full, coding, some, n_words, left)
    assert (left.reshape(n_words, 8)[:, 5:] == 0).all()
    for name in ("rows", "local", "block", "scale", "square", "lost", "norm"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(panels, name)[some])
    for mine, theirs in zip(coefficients(moved, -1), coefficients(panels, -1), strict=True):
        wanted = theirs[some] if theirs.shape[1] == 4 else theirs[:, some]
        np.testing.assert_array_equal(mine, wanted)


def test_lanes_without_a_row_never_survive():
    panels = make_packed(make("relu", 50, 9, "f4", 1.0, 0), 1e9, "int8").panels
    right = panels.right.reshape(-1, panels.left.shape[1], 4, PANEL_ROWS)[1, -1]
    assert np.isnan(right[0, 2:]).all()
    assert (right[1:, 2:] == 0).all()
    assert np.isfinite(right[:, :2]).all()


@pytest.mark.parametrize("n_cols", [1, 5, 127, 128, 400, 2100])
def test_the_frame_is_what_it_says(n_cols):
    X = make("relu", 300, n_cols, "f4", 1.0, 0)
    frame = make_frame(make_table(X), np.arange(300), float(np.abs(X).max()), 0)
    mantissa, _ = np.frexp(frame.unit)
    assert mantissa == 0.5
    assert 0.25 < frame.unit * np.abs(X).max() <= 1
    basis = frame.basis.astype(np.float64)
    gram = basis.T @ basis
    assert np.abs(gram - np.eye(len(gram))).max() < 2 * frame.basis_error
    assert frame.ends[0] == 0
    assert (np.diff(frame.ends) > 0).all()
    assert (frame.ends % 8 == 0).all()
    assert frame.ends[-1] <= basis.shape[1]
    centred = (X.astype(np.float64) * frame.unit - frame.mean).astype(np.float32)
    exact = centred.astype(np.float64) @ np.linalg.qr(basis)[0]
    exact *= np.sign((exact * (centred @ basis)).sum(0))
    norms = np.linalg.norm(centred.astype(np.float64), axis=1)
    error = np.linalg.norm(centred @ frame.basis - exact, axis=1)
    assert (error <= frame.basis_error * norms).all()
