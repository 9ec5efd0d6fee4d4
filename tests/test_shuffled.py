"""The order of a kernel's programs: `shuffled` changes it, `interleaved` has some run at once."""

from __future__ import annotations

import numpy as np
import pytest

from topoact_gpu.kernels.launch import interpreted

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
tl = triton.language


@triton.jit
def _take_numbers(counter, out, n_columns):
    """out[program] = how many programs came before."""
    at = tl.program_id(0) * n_columns + tl.program_id(1)
    tl.store(out + at, tl.atomic_add(counter, 1))


def take_numbers() -> list[int]:
    counter, out = torch.zeros(1, dtype=torch.int32), torch.full((12,), -1, dtype=torch.int32)
    _take_numbers[(4, 3)](counter, out, 3)
    return out.tolist()


@pytest.mark.skipif(not interpreted(), reason="a device chooses the order itself")
def test_programs_run_once_each_in_an_order_of_the_seed(shuffled):
    assert take_numbers() == list(range(12))
    orders = []
    for seed in (0, 0, 1):
        with shuffled(seed):
            orders.append(take_numbers())
            assert sorted(take_numbers()) == list(range(12))
    assert orders[0] == orders[1] != orders[2]
    assert list(range(12)) not in orders
    assert take_numbers() == list(range(12))


@triton.jit
def _add_carelessly(total, counter, N: tl.constexpr):
    """One to each counter by an atomic, and to each total by a load and a store."""
    at = tl.arange(0, N)
    before = tl.load(total + at)
    tl.atomic_add(counter + at, 1)
    tl.store(total + at, before + 1)


@triton.jit
def _fail(counter):
    if tl.atomic_add(counter, 1) == 3:
        tl.load(counter).no_such_thing()


@pytest.mark.skipif(not interpreted(), reason="a device does so by itself")
def test_interleaved_programs_meet_at_atomics(interleaved):
    orders = []
    for seed in (0, 0, 1):
        with interleaved(seed):
            orders.append(take_numbers())
        assert sorted(orders[-1]) == list(range(12))
    assert orders[0] == orders[1] != orders[2]
    total, counter = torch.zeros((2, 8), dtype=torch.int32)
    _add_carelessly[(20,)](total, counter, N=8)
    assert total.tolist() == counter.tolist() == [20] * 8
    with interleaved(0):
        _add_carelessly[(20,)](total, counter, N=8)
    assert counter.tolist() == [40] * 8
    assert total.max() < 40
    with interleaved(0), pytest.raises(AttributeError, match="no_such_thing"):
        _fail[(9,)](torch.zeros(1, dtype=torch.int32))
    assert take_numbers() == list(range(12))


@pytest.mark.skipif(not interpreted(), reason="memory of a device is as it is")
def test_new_tensors_are_poisoned(poisoned):
    assert np.isnan(torch.empty(5, dtype=torch.float64).numpy()).all()
    assert (torch.empty(5, dtype=torch.int64) == 2**63 - 1).all()
