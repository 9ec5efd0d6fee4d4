"""Settings for the whole suite, and what several files use."""

from __future__ import annotations

import inspect
import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings

from topoact_gpu.device import interpreted

# Seeded, so a run can be repeated; no deadline, because the first call of a kernel compiles it.
settings.register_profile("topoact", deadline=None, derandomize=True, database=None)
settings.load_profile("topoact")

# Triton reads this when it is imported. Without a device its interpreter runs the kernels, and
# every test but those marked gpu; set it yourself to have the interpreter beside a device too.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, visibly, what only a device can run."""
    if interpreted():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _quick_interpreter() -> None:
    """Let Triton's interpreter look through each namespace of the language once.

    At every call of a helper it looks for what it has to replace there, though it has replaced it
    already: three quarters of the time of our kernels.
    """
    try:
        from triton import language
        from triton.runtime import interpreter
    except ImportError:  # no Triton for this system; its tests are skipped
        return
    known: dict[Any, list[tuple[str, Any]]] = {}

    def patch_builtin(package: Any, builder: Any, scope: Any) -> None:
        if package not in known:
            members = inspect.getmembers(package)
            known[package] = [(n, m) for n, m in members if language.core.is_builtin(m)]
        for name, member in known[package]:
            if getattr(package, name) is member:
                interpreter._patch_attr(package, name, member, builder, scope)

    interpreter._patch_builtin = patch_builtin


@pytest.fixture(scope="session")
def shuffled() -> Callable[[int], AbstractContextManager[None]]:
    """``with shuffled(seed):`` the interpreter runs a kernel's programs in any order.

    A device does so by itself: nothing is changed there.
    """
    return _shuffled


@contextmanager
def _shuffled(seed: int) -> Iterator[None]:
    if not interpreted():
        yield
        return
    from triton.runtime.interpreter import interpreter_builder as builder

    generator = random.Random(seed)
    set_grid, set_program = builder.set_grid_dim, builder.set_grid_idx
    programs: list[tuple[int, ...]] = []

    def start(*grid: int) -> None:
        set_grid(*grid)
        programs[:] = itertools.product(*map(range, grid))
        generator.shuffle(programs)

    def go_on(*_: int) -> None:
        set_program(*programs.pop())

    with mock.patch.multiple(builder, set_grid_dim=start, set_grid_idx=go_on):
        yield


@pytest.fixture(scope="module")
def poisoned() -> Iterator[None]:
    """New tensors on the host are full of NaN or the largest number, never of zeros."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(interpreted())
    yield
    torch.use_deterministic_algorithms(before)


def _plain_hooks(model, names, *args, **kwargs):
    import torch

    from topoact_gpu.activations.outputs import first_tensor

    kept, modules = {}, dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(
            lambda _m, _i, out, name=name: kept.__setitem__(name, first_tensor(out).clone())
        )
        for name in names
    ]
    with torch.no_grad():
        output = model.eval()(*args, **kwargs)
    for handle in handles:
        handle.remove()
    return kept, output


@pytest.fixture(scope="session")
def plain_hooks():
    """The naive way to record: copies taken by hooks during one whole forward."""
    return _plain_hooks
