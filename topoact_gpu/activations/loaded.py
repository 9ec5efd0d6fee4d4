"""A model with the preprocessing it was made for, and what loaders share."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ParameterError
from .torch_fixes import repair_torchvision

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Kind", "LoadedModel", "require", "seeded", "versions", "weights_digest"]

Kind = Literal["image", "text"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network, and what has to be known to feed it and to read its output.

    Attributes
    ----------
    module : torch.nn.Module
        On the CPU, in the mode in which its library hands it over.
    kind : {"image", "text"}
        What it reads.
    preprocess : callable or None
        Image models: RGB ``PIL.Image`` → float32 tensor [C, H, W]. None for text models, and for
        an image model that came without one: its inputs have to be tensors already.
    tokenizer : transformers.PreTrainedTokenizerFast or None
        Text models: as loaded (GPT-like ones have no padding token). None for a random network
        whose folder holds no tokenizer.
    n_outputs : int or None
        Number of classes, where the model classifies.
    class_names : list of str or None
        A name for each class, where known; None for random weights.
    record : dict
        JSON-able: spec, library, versions, weights with the SHA-256 of all of them, preprocessing.
    """

    module: nn.Module
    kind: Kind = "image"
    preprocess: Callable[[Any], Tensor] | None = None
    tokenizer: Any = None
    n_outputs: int | None = None
    class_names: list[str] | None = None
    record: dict[str, Any] = field(default_factory=dict)


def require(module: str, spec: str) -> Any:
    """Import a package that a spec needs, torchvision repaired first.

    Raises
    ------
    ParameterError
        The package is not installed.
    """
    try:
        repair_torchvision()
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (module, "torch"):
            raise
        raise ParameterError(
            f"model {spec!r} needs the package {error.name!r}, which is not installed; "
            "pip install 'topoact-gpu[capture]'"
        ) from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers on the CPU from `seed`, and leave its generator as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch every GPU
        yield


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, torch's among them."""
    return {name: version(name) for name in ("torch", *packages)}


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of everything in the state dictionary.

    Two runs can be told to have used the same network, whatever file it came from. Costs one read
    of the weights, about a second for each gigabyte.
    """
    import torch

    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):  # "extra state", which may be anything
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()
