"""Rows of layers: the drawn positions or tokens of a forward, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .outputs import predictions, spatial
from .plan import Plan, Read
from .sampling import aligned_draw

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Known",
    "LayerRows",
    "add_cuts",
    "describe",
    "image_rows",
    "joined",
    "known_of",
    "token_rows",
]


@dataclass(frozen=True, eq=False)
class LayerRows:
    """Rows of one layer.

    Attributes
    ----------
    values : float32[n_rows, n_cols]
    columns : dict of str to array
        A value for each row: ``input``, ``class_id``, ``y`` and ``x`` (or ``position``), ... With
        y = -1 a row has no place: x = -1 is the mean over the map, and x from 0 on the token of
        that number, which began as no patch of the image (the class token).
    """

    values: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Known:
    """A group and what is known of each of its inputs."""

    group: list[Read]
    ids: list[str]
    columns: dict[str, NDArray[Any]]
    """``input``, ``class_id`` and, of a classifier, ``prediction``, ``confidence``, ``correct``."""


def known_of(plan: Plan, group: list[Read], output: Any) -> Known:
    entries = [plan.inputs.entry(read.number) for read in group]
    classes = np.array([entry.class_id for entry in entries], np.int32)
    columns: dict[str, NDArray[Any]] = {
        "input": np.array([read.number for read in group], np.int64),
        "class_id": classes,
    }
    if plan.model.n_outputs is not None:
        predicted, confidence = predictions(output)
        columns["prediction"], columns["confidence"] = predicted.astype(np.int32), confidence
        truth = _as_outputs(plan)
        if truth is not None:
            right = (truth[classes] == predicted).astype(np.int8)
            columns["correct"] = np.where(classes < 0, np.int8(-1), right)
    return Known(group, [entry.id for entry in entries], columns)


def _as_outputs(plan: Plan) -> NDArray[np.int64] | None:
    """The model's class for each class of the data, by name; None where that can't be said.

    Without names of the model's classes: by number, if there are as many.
    """
    names, own = plan.inputs.class_names, plan.model.class_names
    if not names:
        return None
    if own is None:
        return np.arange(len(names)) if len(names) == plan.model.n_outputs else None
    numbers = {name: number for number, name in enumerate(own)}
    if not all(name in numbers for name in names):
        return None
    return np.array([numbers[name] for name in names], np.int64)


def image_rows(plan: Plan, known: Known, kept: dict[str, Any]) -> dict[str, LayerRows]:
    """Rows at the drawn positions; position r of an input is r in every layer where that holds."""
    maps = _maps(plan, known, kept)
    drawn = _drawn(plan, known.ids, maps)
    return {
        name: _positions(plan, known, maps[name], layer=name, drawn=places)
        for name, places in drawn.items()
    }


def _maps(plan: Plan, known: Known, kept: dict[str, Any]) -> dict[str, Tensor]:
    """What each layer put out, as Tensor[N, n_y, n_x, C]."""
    for name in plan.layers:
        if len(kept[name]) != len(known.group):
            raise ParameterError(
                f"layer {name!r} puts out {len(kept[name])} entries for {len(known.group)} inputs, "
                "one for each is required; choose a layer around it"
            )
    return {
        name: spatial(kept[name], channels_last=plan.channels_last[name]) for name in plan.layers
    }


def _drawn(
    plan: Plan, ids: list[str], maps: dict[str, Tensor]
) -> dict[str, list[NDArray[np.int64]]]:
    """Positions (y, x) of each input in each layer.

    Tokens that began as patches are drawn on their grid; ``all`` takes the others too, in front.
    """
    grids = maps | {name: patches.grid(maps[name]) for name, patches in plan.patches.items()}
    shapes = {name: (int(value.shape[1]), int(value.shape[2])) for name, value in grids.items()}
    norms: dict[str, NDArray[np.float32]] = {}
    if plan.sampling.method == "top-norm":
        norms = {name: _to_numpy(value.float().norm(dim=-1)) for name, value in grids.items()}
    drawn: dict[str, list[NDArray[np.int64]]] = {name: [] for name in maps}
    for at, input_id in enumerate(ids):
        own = {name: norms[name][at] for name in norms} or None
        positions = aligned_draw(
            plan.sampling, shapes, seed=plan.seed, input_id=input_id, norms=own
        )
        for name, places in positions.items():
            if plan.sampling.method == "all" and name in plan.patches:
                places = np.concatenate([plan.patches[name].others(), places])
            drawn[name].append(places)
    return drawn


def _positions(
    plan: Plan, known: Known, maps: Tensor, *, layer: str, drawn: list[NDArray[np.int64]]
) -> LayerRows:
    """Values at positions (y, x) of each input; (-1, -1) is the mean over the map."""
    import torch

    y, x = np.concatenate(drawn).T
    which = np.repeat(np.arange(len(drawn)), [len(positions) for positions in drawn])
    if plan.sampling.method == "mean":
        values = maps.float().mean(dim=(1, 2))
    else:
        at = (y, x)
        if layer in plan.patches:
            at = np.zeros_like(y), plan.patches[layer].number(y, x)
        index = [torch.from_numpy(np.ascontiguousarray(a)).to(maps.device) for a in (which, *at)]
        values = maps[index[0], index[1], index[2]]
    columns = _whose(known, which) | {"y": y.astype(np.int32), "x": x.astype(np.int32)}
    return LayerRows(_to_numpy(values), columns)


def _whose(known: Known, which: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What is known of the input of each row."""
    return {name: values[which] for name, values in known.columns.items()}


def token_rows(plan: Plan, known: Known, tokens: Any, kept: dict[str, Any]) -> dict[str, LayerRows]:
    """A row for each token or word, the same in every layer."""
    columns = _whose(known, tokens.text) | {
        "position": tokens.position.astype(np.int32),
        "word": tokens.word.astype(np.int32),
        "start": tokens.start.astype(np.int32),
        "end": tokens.end.astype(np.int32),
        "token": np.array(tokens.strings, dtype=np.str_),
    }
    columns |= _word_columns(known.group, tokens)
    maps = _maps(plan, known, kept)
    return {name: LayerRows(_pieces(value, tokens), columns) for name, value in maps.items()}


def _pieces(maps: Tensor, tokens: Any) -> NDArray[np.float32]:
    """Mean over the pieces of each row; one piece is taken as it is."""
    text = np.repeat(tokens.text, np.diff(tokens.indptr))
    values = _to_numpy(maps[:, 0][text, tokens.pieces])
    if len(values) == len(tokens):
        return values
    sums = np.add.reduceat(values.astype(np.float64), tokens.indptr[:-1], axis=0)
    counts = np.diff(tokens.indptr)[:, None]
    return (sums / counts).astype(np.float32)


def _word_columns(group: list[Read], tokens: Any) -> dict[str, NDArray[Any]]:
    """What the source says of the words (part of speech, ...); "" for special tokens."""
    names = list(group[0].value.columns) if group[0].value.words is not None else []
    found: dict[str, NDArray[Any]] = {}
    for name in names:
        values = [
            group[text].value.columns[name][word] if word >= 0 else ""
            for text, word in zip(tokens.text.tolist(), tokens.word.tolist(), strict=True)
        ]
        found[name] = np.array(values, dtype=np.str_)
    return found


def add_cuts(described: list[dict[str, Any]], tokens: Any) -> None:
    """Say of each text what its length cost it."""
    for at, line in enumerate(described):
        line["truncated"] = int(tokens.truncated[at])
        line["words_lost"] = int(tokens.words_lost[at])


def describe(plan: Plan, known: Known) -> list[dict[str, Any]]:
    """What is kept of each input."""
    described = []
    for at, read in enumerate(known.group):
        line: dict[str, Any] = {"id": known.ids[at]}
        line |= {name: values[at].item() for name, values in known.columns.items()}
        line |= plan.inputs.entry(read.number).columns
        if read.size is not None:
            line["size"] = list(read.size)
        if plan.model.kind == "text":
            line["text"] = read.value.text
        described.append(line)
    return described


def joined(parts: list[LayerRows]) -> LayerRows:
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    return LayerRows(np.concatenate([part.values for part in parts]), columns)


def _to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    import torch

    values: NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return values
