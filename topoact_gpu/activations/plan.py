"""What a capture does: its network, layers, inputs and sampling, and one input made ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import DataError, ParameterError
from .entries import Inputs, UnreadableInput
from .layers import list_layers, match_layers
from .loaded import LoadedModel
from .patches import Patches, find_patches
from .pixels import thumbnail
from .receptive import ReceptiveField
from .receptive import receptive_fields as measure_fields
from .sampling import Sampling
from .tokens import tokenize

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Plan",
    "Read",
    "autocast",
    "make_plan",
    "read_input",
    "receptive_fields",
    "text_arguments",
    "tokens_of",
]


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that decides what the rows are.

    Attributes
    ----------
    model : LoadedModel
    layers : list of str
        As `make_plan` resolved them.
    channels_last : dict of str to bool or None
        Of each layer; see `spatial`.
    patches : dict of str to Patches
        Of the layers of tokens that began as patches of an image: their rows lie on that grid.
    inputs : Inputs
    sampling : Sampling
    seed : int
    batch_size : int
    words : "first", "mean" or None
        Rows are words, not tokens; for sources that have them.
    max_length : int or None
        Tokens that a text may have.
    thumbnails : bool
    device : str
    precision : "float32", "float16" or "bfloat16"
        Of the forward; lower ones by autocast.
    example : Any
        One input as the network takes it.
    """

    model: LoadedModel
    layers: list[str]
    channels_last: dict[str, bool | None]
    patches: dict[str, Patches]
    inputs: Inputs
    sampling: Sampling
    seed: int
    batch_size: int = 1
    words: Any = None
    max_length: int | None = None
    thumbnails: bool = False
    device: str = "cpu"
    precision: str = "float32"
    example: Any = None


def make_plan(
    model: LoadedModel,
    patterns: Sequence[str],
    inputs: Inputs,
    *,
    sampling: Sampling,
    **settings: Any,
) -> Plan:
    """Resolve the layers by one forward of the first input that can be read.

    Raises
    ------
    ParameterError
        No such layer; the model reads images and the inputs are texts, or the other way round; a
        sampling of positions for texts, or of tokens for images.
    DataError
        No input can be read.
    """
    if model.kind != inputs.kind:
        raise ParameterError(
            f"the model reads {model.kind}s, the data hold {inputs.kind}s; "
            "choose a model or data of the same kind"
        )
    if sampling.of_tokens != (model.kind == "text"):
        raise ParameterError(
            f"sampling {sampling} does not go with {model.kind}s; take "
            + ("tokens or tokens+special" if model.kind == "text" else "random:K, all, center, ...")
        )
    plan = Plan(model, [], {}, {}, inputs, sampling, **settings)
    for number in range(len(inputs)):
        read = read_input(plan, number)
        if not isinstance(read, UnreadableInput):
            break
    else:
        raise DataError("none of the inputs can be read; check the data")
    plan.model.module.to(plan.device)
    example = example_of(plan, read)
    found = list_layers(model.module, example)
    layers = match_layers([info.name for info in found if info.shape is not None], patterns)
    where = {info.name: info.channels_last for info in found}
    patches = find_patches(found) if model.kind == "image" else {}
    return replace(
        plan,
        layers=layers,
        channels_last={name: where[name] for name in layers},
        patches={name: patches[name] for name in layers if name in patches},
        example=example,
    )


def receptive_fields(plan: Plan) -> tuple[dict[str, ReceptiveField], dict[str, str]]:
    """What the positions of each layer see of an image, and why where that can't be said.

    Both empty for texts and flat inputs, and where rows have no position. Costs forwards of some
    twenty images a layer, as far as that layer.
    """
    if plan.model.kind != "image" or plan.sampling.method == "mean" or plan.example.ndim != 4:
        return {}, {}
    return measure_fields(
        plan.model.module,
        plan.example,
        plan.layers,
        channels_last=plan.channels_last,
        batch_size=plan.batch_size,
    )


@dataclass(frozen=True, eq=False)
class Read:
    """One input, ready for the network."""

    number: int
    value: Any
    """Tensor[C, H, W], or a TextRecord."""
    small: bytes | None = None
    size: tuple[int, int] | None = None
    """Height and width of the picture, where there is one."""


def read_input(plan: Plan, number: int) -> Read | UnreadableInput:
    try:
        loaded = plan.inputs.load(number)
    except UnreadableInput as error:
        return error
    if plan.model.kind == "text":
        return Read(number, loaded)
    if not hasattr(loaded, "convert"):  # a data set's own tensor: preprocessed already
        return Read(number, loaded)
    if plan.model.preprocess is None:
        raise ParameterError(
            "the model came without preprocessing and the inputs are images; give preprocess with "
            "the model (load_model), or a data set of float tensors"
        )
    small = thumbnail(loaded) if plan.thumbnails else None
    return Read(number, plan.model.preprocess(loaded), small, (loaded.height, loaded.width))


def example_of(plan: Plan, read: Read) -> Any:
    """One input as the network takes it."""
    if plan.model.kind == "image":
        return read.value[None].to(plan.device)
    return text_arguments(plan, tokens_of(plan, [read]))


def tokens_of(plan: Plan, group: list[Read]) -> Any:
    records = [read.value for read in group]
    whole = any(record.words is None for record in records)
    return tokenize(
        plan.model.tokenizer,
        [record.text if whole else record.words for record in records],
        special=plan.sampling.special,
        words=plan.words,
        spans=None if whole else [record.spans for record in records],
        max_length=plan.max_length,
    )


def autocast(plan: Plan) -> Any:
    """Context in which a forward has the plan's precision."""
    import torch

    return torch.autocast(
        torch.device(plan.device).type,
        dtype=getattr(torch, plan.precision),
        enabled=plan.precision != "float32",
    )


def text_arguments(plan: Plan, tokens: Any) -> dict[str, Tensor]:
    import torch

    return {
        "input_ids": torch.from_numpy(tokens.input_ids).to(plan.device),
        "attention_mask": torch.from_numpy(tokens.attention_mask).to(plan.device),
    }
