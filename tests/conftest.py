"""Settings for the whole suite, and what several files use."""

from __future__ import annotations

import inspect
import itertools
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings

from topoact_gpu.device import interpreted

# Seeded, so a run can be repeated; no deadline, because the first call of a kernel compiles it.
settings.register_profile("topoact", deadline=None, derandomize=True, database=None)
settings.load_profile("topoact")

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts in turn: then
# no test could interrupt anything.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
    """Let Triton's interpreter do once what it does again and again.

    At every call of a helper it looks through the namespaces of the language for what it has to
    replace, though it has replaced it already: three quarters of the time of our kernels. And it
    makes a table of types each time it needs one.
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

    of_scalar = cache(interpreter._get_np_dtype)
    of_pointer = interpreter._get_np_dtype(language.pointer_type(language.int8))

    def np_dtype(kind: Any) -> Any:
        return of_pointer if kind.scalar.is_ptr() else of_scalar(kind.scalar)

    patch_lang, ready = interpreter._patch_lang, set()

    def patch_for_kernel(kernel: Any) -> Any:
        ready.clear()
        return patch_lang(kernel)

    def call(helper: Any, *args: Any, **kwargs: Any) -> Any:
        if helper not in ready:
            patch_lang(helper.fn)
            ready.add(helper)
        return helper.rewrite()(*args, **kwargs)

    interpreter._patch_builtin, interpreter._patch_lang = patch_builtin, patch_for_kernel
    interpreter._get_np_dtype = np_dtype
    interpreter.InterpretedFunction.__call__ = call


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


class _Turns:
    """Programs of a kernel as threads, of which one runs at a time."""

    def __init__(self, seed: int, builder: Any) -> None:
        self.generator, self.builder = random.Random(seed), builder
        self.live: list[threading.Semaphore] = []

    def run(self, programs: list[tuple[int, ...]], work: Callable[[], Any]) -> None:
        """Do ``work`` once for each program, for some of them at once."""
        self.generator.shuffle(programs)
        self.waiting, self.work, self.done = programs, work, threading.Event()
        self.results: list[Future[None]] = []
        n_at_once = self.generator.randint(2, 6)
        with ThreadPoolExecutor(n_at_once) as self.pool:
            for _ in range(min(n_at_once, len(programs))):
                self._start()
            self._next().release()
            self.done.wait()
        for result in self.results:
            result.result()

    def _start(self) -> None:
        turn = threading.Semaphore(0)
        self.live.append(turn)
        self.results.append(self.pool.submit(self._one, self.waiting.pop(), turn))

    def _one(self, program: tuple[int, ...], turn: threading.Semaphore) -> None:
        turn.acquire()
        try:
            self.own = turn
            self.builder.set_grid_idx(*program)
            self.work()
        finally:
            self.live.remove(turn)
            if self.waiting:
                self._start()
            if self.live:
                self._next().release()
            else:
                self.done.set()

    def _next(self) -> threading.Semaphore:
        return self.generator.choice(self.live)

    def pass_on(self) -> None:
        """Let any program run on, this one or another."""
        own, program, following = self.own, self.builder.grid_idx, self._next()
        if following is not own:
            following.release()
            own.acquire()
            self.own = own
            self.builder.set_grid_idx(*program)


@pytest.fixture(scope="session")
def interleaved() -> Callable[[int], AbstractContextManager[None]]:
    """``with interleaved(seed):`` some programs run at once, and take turns at every atomic.

    Atomics of many elements are done in two parts, with others' in between. A device needs none
    of that: nothing is changed there.
    """
    return _interleaved


@contextmanager
def _interleaved(seed: int) -> Iterator[None]:
    if not interpreted():
        yield
        return
    import numpy as np
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    turns, atomic = _Turns(seed, builder), builder.create_atomic_rmw

    def in_parts(op: Any, ptr: Any, val: Any, mask: Any, *how: Any) -> Any:
        turns.pass_on()
        shape = np.shape(mask.data)
        if not shape:
            return atomic(op, ptr, val, mask, *how)
        early = np.array([turns.generator.random() < 0.5 for _ in range(mask.data.size)])
        early = early.reshape(shape)
        first = atomic(op, ptr, val, interpreter.TensorHandle(mask.data & early, mask.dtype), *how)
        turns.pass_on()
        rest = interpreter.TensorHandle(mask.data & ~early, mask.dtype)
        result = atomic(op, ptr, val, rest, *how)
        result.data = np.where(early, first.data, result.data)
        return result

    def call(executor: Any, *args: Any, **kwargs: Any) -> None:
        """As the interpreter's own, for arguments in host memory."""
        names = inspect.getfullargspec(executor.fn).args
        given = {name: value for name, value in kwargs.items() if name in names}
        scope = interpreter._patch_lang(executor.fn)
        try:
            bound = inspect.getcallargs(executor.fn, *args, **given)
            for name in set(bound) - set(executor.constexprs):
                bound[name] = interpreter._implicit_cvt(bound[name])
            grid = executor.grid(bound) if callable(executor.grid) else executor.grid
            grid = (*grid, 1, 1)[:3]
            builder.set_grid_dim(*grid)
            programs = list(itertools.product(*map(range, grid)))
            turns.run(programs, lambda: executor.fn(**bound))
        finally:
            scope.restore()

    with (
        mock.patch.object(interpreter.GridExecutor, "__call__", call),
        mock.patch.object(builder, "create_atomic_rmw", in_parts),
    ):
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


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Write a store and a run on it, of random nodes: texts with classes, words and predictions."""
    return _write_run


def _write_run(
    folder: Path, *, seed: int = 0, n_rows: int = 200, n_nodes: int = 12, name: str = "run"
) -> Path:
    """Nodes hold every row with chance 0.1; a tenth of the classes and words is unknown."""
    from topoact_gpu import MapperGraph, create_store
    from topoact_gpu.runs import save_run

    rng = np.random.default_rng(seed)
    held = [np.flatnonzero(rng.random(n_rows) < 0.1) for _ in range(n_nodes)]
    indptr = np.cumsum([0, *(rows.size for rows in held)])
    lens = rng.standard_normal((n_rows, 2))
    graph = MapperGraph.build(
        indptr, np.concatenate(held), np.arange(n_nodes) // 2, lens, indptr[-1] + 20
    )
    columns = {
        "class_id": rng.integers(-1, 9, n_rows).astype(np.int32),
        "token": rng.integers(-1, 30, n_rows).astype(np.int32),
        "prediction": rng.integers(0, 9, n_rows).astype(np.int32),
        "confidence": np.where(rng.random(n_rows) < 0.2, np.nan, rng.random(n_rows)),
        "input": np.sort(rng.integers(0, 20, n_rows)),
        "few": rng.integers(0, 3, n_rows),
    }
    animals = [*("ant", "<b>bee</b>", "Cat", "concat", "dog"), '"; drop', "emu", "fly", "ünï"]
    names = {
        "class_id": animals,
        "token": [f"word{i}" for i in range(29)] + ["<script>alert(1)</script>"],
        "prediction": animals[::-1],
    }
    with create_store(folder / f"{name}-acts.zarr") as store:
        layer = store.create_layer("layer1", 7, "float32")
        layer.append(rng.standard_normal((n_rows, 7)).astype(np.float32))
    path = folder / f"{name}.zarr"
    source = {"path": str(folder / f"{name}-acts.zarr"), "layer": "layer1"}
    save_run(path, graph, lens_values=lens, report={}, columns=columns, names=names, source=source)
    return path
