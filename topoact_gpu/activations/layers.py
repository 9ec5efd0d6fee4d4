"""Layers of a network: which there are, which a pattern means, and what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import count
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError, nearest_name
from .outputs import all_tensors, first_tensor

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["LayerInfo", "Recorder", "list_layers", "match_layers"]


@dataclass(frozen=True)
class LayerInfo:
    """One output of a layer, as `list_layers` saw it.

    Attributes
    ----------
    name : str
        The module's name in its model. A module that runs several times in one forward has an
        entry for each run: ``name#1``, ``name#2`` and so on.
    type : str
        Class of the module.
    shape : tuple of int, or None
        Of the tensor that `first_tensor` picks; None where the output holds no tensor.
    shapes : tuple of tuple of int
        Of every tensor in the output.
    n_calls : int
        How often the module runs in one forward.
    channels_last : bool or None
        Where the columns of a tensor with three or four axes stand; None for other tensors.
        A guess, see the notes of `list_layers`.
    order : int
        How many outputs of layers were ready before; not compared.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    shapes: tuple[tuple[int, ...], ...]
    n_calls: int
    channels_last: bool | None
    order: int = field(default=0, compare=False)

    @property
    def run(self) -> str:
        """The name with a number, also where the module runs once: ``name#1``."""
        return self.name if self.n_calls > 1 else f"{self.name}#1"


def list_layers(module: nn.Module, example: Any) -> list[LayerInfo]:
    """List the layers that run in a forward, with the shapes of what they put out.

    Parameters
    ----------
    module : torch.nn.Module
        Left in the mode and with the hooks it had.
    example : Tensor, tuple or mapping
        One input: the argument, the arguments, or the keyword arguments of the forward.

    Returns
    -------
    list of LayerInfo
        In the model's order (``named_modules``), without the model itself and without modules
        that do not run. A module with several names is listed under its first.

    Notes
    -----
    Where the columns stand (`LayerInfo.channels_last`) is found by comparison with the last
    layer with a known number of columns that ran before the output was ready (a convolution,
    linear, normalising or embedding layer): they stand along the axis of that length. Where both
    axes or neither has it, a plain Linear or LayerNorm, or a tensor of three axes, means last, and
    anything else first. An operation that moves the axes afterwards, outside of any module, can
    mislead it only in that second case.
    """
    import torch

    outputs: dict[str, list[LayerInfo]] = {}
    columns, order = _Columns(), count()

    def hook_for(name: str) -> Callable[[Any, Any, Any], None]:
        def look(layer: Any, _inputs: Any, output: Any) -> None:
            columns.ran(layer)
            info = replace(_look_at(name, layer, output, columns), order=next(order))
            outputs.setdefault(name, []).append(info)

        return look

    named = {name: layer for name, layer in module.named_modules() if name}
    with _evaluating(module), _hooked(named, hook_for), torch.no_grad():
        _call(module, example)
    return [info for name in named for info in _numbered(outputs.get(name, []))]


def _call(module: nn.Module, example: Any) -> Any:
    """Run a forward on an argument, a tuple of them, or keyword arguments."""
    if isinstance(example, Mapping):
        return module(**example)
    return module(*example) if isinstance(example, tuple | list) else module(example)


def _look_at(name: str, layer: Any, output: Any, columns: _Columns) -> LayerInfo:
    shapes = tuple(tuple(tensor.shape) for tensor in all_tensors(output))
    shape = shapes[0] if shapes else None
    return LayerInfo(name, type(layer).__name__, shape, shapes, 1, columns.are_last(shape))


def _numbered(infos: list[LayerInfo]) -> list[LayerInfo]:
    """Tell several runs of one module apart."""
    if len(infos) < 2:
        return infos
    return [
        replace(info, name=f"{info.name}#{call}", n_calls=len(infos))
        for call, info in enumerate(infos, 1)
    ]


class _Columns:
    """Follows, through a forward, the last layer with a known number of columns."""

    _COUNTS = (
        *("out_channels", "out_features", "num_features", "num_channels", "embedding_dim"),
        *("normalized_shape", "bias", "weight"),  # a shape; the first axis of a parameter
    )

    def __init__(self) -> None:
        self._count: int | None = None
        self._means_last = False

    def ran(self, layer: Any) -> None:
        """Take note of a layer without layers inside."""
        from torch import nn

        if next(layer.children(), None) is not None:
            return
        for attribute in self._COUNTS:
            if (count := _length(getattr(layer, attribute, None))) is not None:
                self._count = count
                # Subclasses of LayerNorm turn the axes around, to work on images.
                self._means_last = type(layer) in (nn.Linear, nn.LayerNorm)
                return

    def are_last(self, shape: tuple[int, ...] | None) -> bool | None:
        """Whether the columns of an output that is ready now are its last axis."""
        if shape is None or len(shape) not in (3, 4):
            return None
        second, last = shape[1] == self._count, shape[-1] == self._count
        return last if second != last else self._means_last or len(shape) == 3


def _length(value: Any) -> int | None:
    """Number of columns that an attribute of a layer tells."""
    import torch

    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, torch.Tensor):
        return value.shape[0] if value.ndim == 1 else None
    return value[-1] if isinstance(value, tuple | list) and value else None


def match_layers(names: Iterable[str], patterns: str | Iterable[str]) -> list[str]:
    """Choose layers by name or glob.

    Parameters
    ----------
    names : iterable of str
        Of all layers, as in `LayerInfo.name`.
    patterns : str or iterable of str
        Exact names or globs; ``*`` also matches dots. The name of a module without ``#`` means
        all its runs.

    Returns
    -------
    list of str
        In the order of `names`, each once.

    Raises
    ------
    ParameterError
        A pattern matches nothing, or there is no pattern.

    Examples
    --------
    >>> match_layers(["stem", "block.0", "block.1", "act#1", "act#2"], ["act", "block.*"])
    ['block.0', 'block.1', 'act#1', 'act#2']
    """
    names = list(names)
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not patterns:
        raise ParameterError("layers must be one name or pattern at least, got none")
    wanted: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if _matches(name, pattern)]
        if not found:
            raise ParameterError(f"no layer matches {pattern!r}{nearest_name(pattern, names)}")
        wanted.update(found)
    return [name for name in dict.fromkeys(names) if name in wanted]


def _matches(name: str, pattern: str) -> bool:
    """Exact first, so that a name with brackets is not read as a glob."""
    module = _split(name)[0]
    return pattern in (name, module) or fnmatchcase(name, pattern) or fnmatchcase(module, pattern)


def _split(name: str) -> tuple[str, int | None]:
    """``"act#2"`` → ``("act", 2)``; without a number ``(name, None)``."""
    module, mark, call = name.rpartition("#")
    return (module, int(call)) if mark and call.isdecimal() and int(call) else (name, None)


class Recorder:
    """Record what layers compute, without changing the model.

    Inside ``with``, the model is in eval mode and its wanted layers carry hooks; afterwards, also
    after an exception, every submodule is in the mode it was in and the hooks are gone.

    Parameters
    ----------
    module : torch.nn.Module
    layers : iterable of str
        Names of modules. Of a module that runs several times in one forward, every run is kept
        under ``name#1``, ``name#2`` and so on; ``name#2`` asks for the second alone.
    need_output : bool
        Run to the end and return the model's output too. Otherwise a forward ends as soon as the
        last wanted layer is computed.

    Raises
    ------
    ParameterError
        The model has no such layer; when forward runs: a layer did not run, or ran more often
        than in the first forward, or put out no tensor.

    Notes
    -----
    How often a module runs is known only after a whole forward, so the first one is not cut
    short, unless every name has a number. An operation in place that follows a layer (ReLU after a
    normalisation, a sum) does not reach what is recorded: it is copied, except the last.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU())
    >>> with Recorder(model, ["1"]) as recorder:
    ...     kept, output = recorder.forward(torch.zeros(2, 2, 2))
    >>> kept["1"].shape, output
    (torch.Size([2, 3]), None)
    """

    def __init__(
        self, module: nn.Module, layers: Iterable[str], *, need_output: bool = False
    ) -> None:
        self.module = module
        self.need_output = need_output
        modules = dict(module.named_modules(remove_duplicate=False))
        names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
        if not names and not need_output:
            raise ParameterError("layers must name one layer at least, got none")
        self._wanted = [_resolve(name, modules) for name in names]
        self._modules = {name: modules[name] for name, _ in self._wanted}
        # (module, run) → key of the result, in the order of the result; None until it is known.
        self._keys: dict[tuple[str, int], str] | None = None
        if all(call is not None for _, call in self._wanted):
            self._keys = {(name, call or 0): f"{name}#{call}" for name, call in self._wanted}
        self._open: ExitStack | None = None
        self._runs: dict[str, int] = {}
        self._kept: dict[tuple[str, int], Tensor] = {}

    def __enter__(self) -> Recorder:
        with ExitStack() as stack:
            stack.enter_context(_evaluating(self.module))
            stack.enter_context(_hooked(self._modules, self._hook_for))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        stack, self._open = self._open, None
        self._kept = {}
        if stack is not None:
            stack.close()

    def forward(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Tensor], Any]:
        """Run the model once.

        Returns
        -------
        kept : dict of str to Tensor
            What each wanted layer put out (`first_tensor`), in the order asked for.
        output : Any
            What the model returned; None without `need_output`.
        """
        import torch

        if self._open is None:
            raise ParameterError("Recorder.forward runs inside its context: with Recorder(…) as r")
        self._runs, self._kept = dict.fromkeys(self._modules, 0), {}
        output = None
        with torch.inference_mode(), suppress(_Enough):
            output = self.module(*args, **kwargs)
        return self._take(), output if self.need_output else None

    def _hook_for(self, name: str) -> Callable[[Any, Any, Any], None]:
        every_run = (name, None) in self._wanted

        def keep(_layer: Any, _inputs: Any, output: Any) -> None:
            self._runs[name] += 1
            run = name, self._runs[name]
            if not (every_run or run in self._wanted):
                return
            tensor = first_tensor(output)
            if self._is_last(run):
                self._kept[run] = tensor
                raise _Enough
            self._kept[run] = tensor.clone()  # what follows may work in place

        return keep

    def _is_last(self, run: tuple[str, int]) -> bool:
        """Whether nothing is left to wait for once `run` is kept."""
        if self.need_output or self._keys is None or run not in self._keys:
            return False
        return len(self._kept) == len(self._keys) - 1

    def _take(self) -> dict[str, Tensor]:
        """Name what was kept, and let go of it."""
        kept, self._kept = self._kept, {}
        keys = self._keys or self._count_runs()
        if kept.keys() != keys.keys():
            odd = sorted(f"{name}#{call}" for name, call in kept.keys() ^ keys.keys())
            raise ParameterError(
                "every wanted layer must run as often in each forward as in the first; missing or "
                f"new in this one: {', '.join(odd)}. Leave it out, or ask for one run (name#1)"
            )
        self._keys = keys
        return {key: kept[run] for run, key in keys.items()}

    def _count_runs(self) -> dict[tuple[str, int], str]:
        """Keys of all results, now that a whole forward has run."""
        keys = {}
        for name, call in self._wanted:
            n_runs = self._runs[name]
            if n_runs < (call or 1):
                raise ParameterError(
                    f"layer {name!r} ran {n_runs} times in the forward, wanted was "
                    f"{'one run at least' if call is None else f'run {call}'}; list_layers shows "
                    "the layers that run"
                )
            for run in [call] if call else range(1, n_runs + 1):
                keys[name, run] = name if call is None and n_runs == 1 else f"{name}#{run}"
        return keys


class _Enough(BaseException):
    """Ends a forward. No Exception, so that a model's own ``except Exception`` lets it pass."""


def _resolve(name: str, modules: Mapping[str, nn.Module]) -> tuple[str, int | None]:
    """The module, and which of its runs, that a name means."""
    if name and name in modules:
        return name, None
    module, call = _split(name)
    if module and module in modules:
        return module, call
    known = [known for known in modules if known]
    raise ParameterError(f"the model has no layer {name!r}{nearest_name(name, known)}")


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, then every submodule's own mode again (some may be frozen in another one)."""
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextmanager
def _hooked(
    layers: Mapping[str, nn.Module], hook_for: Callable[[str], Callable[[Any, Any, Any], None]]
) -> Iterator[None]:
    """Put a hook on each layer and take it off again."""
    handles: list[Any] = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(hook_for(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
