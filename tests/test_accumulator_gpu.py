"""Tensor cores add up as the model says, to the bit; in Triton's interpreter, within its bound.

The bound on float16 products rests on what others found out about the hardware. This asks the
device itself.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402

from topoact_gpu.kernels.launch import interpreted, on_device, on_host, torch_device  # noqa: E402
from topoact_gpu.kernels.product.accumulator import (  # noqa: E402
    ALIGNED,
    LEAST_NORM,
    accumulator_of,
    product_error,
)
from topoact_gpu.kernels.product.reference import aligned_products  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not (interpreted() or torch.cuda.is_available()),
        reason="neither a CUDA device nor TRITON_INTERPRET=1",
    ),
]
SIDE, STEP = 64, 64


@triton.jit
def _multiply(left, right, out, WIDTH: tl.constexpr, SIDE: tl.constexpr, STEP: tl.constexpr):
    rows, columns = tl.arange(0, SIDE), tl.arange(0, STEP)
    total = tl.zeros([SIDE, SIDE], dtype=tl.float32)
    for low in range(0, WIDTH, STEP):
        a = tl.load(left + rows[:, None] * WIDTH + low + columns[None, :])
        b = tl.load(right + rows[None, :] * WIDTH + low + columns[:, None])
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=tl.float32)
    tl.store(out + rows[:, None] * SIDE + rows[None, :], total)


def numbers(rng, n_cols):
    """Rows of several kinds, padded with zeros to whole steps."""
    rows = rng.normal(size=(SIDE, n_cols))
    rows[::4] = np.abs(rows[::4])
    rows[1::4] *= 2.0 ** rng.integers(-20, 10, (SIDE // 4, n_cols))
    rows[2::4] = 1.7e-4
    rows[2::4, 0] = 1
    return np.pad(rows.astype(np.float16), ((0, 0), (0, -n_cols % STEP)))


@pytest.mark.parametrize("n_cols", [1, 16, 33, 512, 4096])
def test_products_are_the_models(n_cols):
    device = torch_device()
    rng = np.random.default_rng(n_cols)
    left, right = numbers(rng, n_cols), numbers(rng, n_cols)
    out = torch.empty((SIDE, SIDE), dtype=torch.float32, device=device)
    width = left.shape[1]
    _multiply[(1,)](
        on_device(left, device), on_device(right, device), out, WIDTH=width, SIDE=SIDE, STEP=STEP
    )
    found = on_host(out)
    capability = None if interpreted() else torch.cuda.get_device_capability(device)
    accumulator = accumulator_of(capability)
    if accumulator is None:
        pytest.skip(f"no bound for a device of capability {capability}")
    if accumulator in ALIGNED:
        pairs = np.repeat(left, SIDE, 0), np.tile(right, (SIDE, 1))
        model = aligned_products(*pairs, *ALIGNED[accumulator]).reshape(SIDE, SIDE)
        np.testing.assert_array_equal(found, model)
    wide = left.astype(np.float64), right.astype(np.float64)
    norms = (np.maximum(np.linalg.norm(rows, axis=1), LEAST_NORM) for rows in wide)
    most = product_error(n_cols, accumulator) * np.multiply.outer(*norms) * (1 + 2.0**-40)
    rounded = 2.0**-50 * np.abs(wide[0]) @ np.abs(wide[1]).T  # by float64 itself
    assert (np.abs(found - wide[0] @ wide[1].T) <= most + rounded).all()
