"""Which device kernels run on."""

from __future__ import annotations

import pytest

from topoact_gpu.kernels import launch

torch = pytest.importorskip("torch")


def test_the_device_is_the_one_that_is_current(monkeypatch):
    """Asked for again each time, since it changes."""
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    for number in (0, 1, 0, 3):
        monkeypatch.setattr(torch.cuda, "current_device", lambda number=number: number)
        assert launch.torch_device() == torch.device("cuda", number)


def test_the_interpreter_never_asks_for_a_device(monkeypatch):
    def asked():
        raise AssertionError("there may be no device")

    monkeypatch.setattr(launch, "interpreted", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", asked)
    assert launch.torch_device() == torch.device("cpu")


@pytest.mark.gpu
def test_the_current_device_of_this_machine():
    for number in range(torch.cuda.device_count()):
        with torch.cuda.device(number):
            assert launch.torch_device() == torch.device("cuda", number)
