"""Batches of inputs through the network: blocks of rows.

Where they are stored is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ParameterError
from .entries import Inputs, UnreadableInput
from .layers import Recorder, list_layers, match_layers
from .loaded import LoadedModel
from .outputs import predictions, spatial
from .pixels import thumbnail
from .receptive import ReceptiveField, receptive_field
from .sampling import Sampling, aligned_draw
from .tokens import tokenize

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Block", "LayerRows", "Plan", "blocks", "make_plan", "receptive_fields"]

_AHEAD = 2
"""Batches read while one is in the network."""


@dataclass(frozen=True, eq=False)
class LayerRows:
    """Rows of one layer.

    Attributes
    ----------
    values : float32[n_rows, n_cols]
    columns : dict of str to array
        A value for each row: ``input``, ``class_id``, ``y`` and ``x`` (or ``position``), ...
    """

    values: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]


@dataclass(eq=False)
class Block:
    """What inputs ``start`` to ``stop`` gave.

    Attributes
    ----------
    start, stop : int
        Numbers of the inputs.
    layers : dict of str to LayerRows
    inputs : list of dict
        For each input that could be read: ``input``, ``id``, ``class_id``, what the source says
        of it, its text, and the network's ``prediction``, ``confidence`` and ``correct``.
    thumbnails : dict of int to bytes
        JPEG by number of the input.
    unreadable : list of (id, reason)
    """

    start: int
    stop: int
    layers: dict[str, LayerRows] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


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
    inputs: Inputs
    sampling: Sampling
    seed: int
    batch_size: int
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
    plan = Plan(model, [], {}, inputs, sampling, **settings)
    for number in range(len(inputs)):
        read = _read(plan, number)
        if not isinstance(read, UnreadableInput):
            break
    else:
        raise DataError("none of the inputs can be read; check the data")
    plan.model.module.to(plan.device)
    example = _example(plan, read)
    found = list_layers(model.module, example)
    layers = match_layers([info.name for info in found if info.shape is not None], patterns)
    where = {info.name: info.channels_last for info in found}
    return replace(
        plan, layers=layers, channels_last={name: where[name] for name in layers}, example=example
    )


def receptive_fields(plan: Plan) -> dict[str, ReceptiveField]:
    """What the positions of each layer see of an image; empty for texts and flat outputs.

    Some seventy forwards a layer, as far as that layer; one thread, since they are small.
    """
    import torch

    if plan.model.kind != "image" or plan.sampling.method == "mean" or plan.example.ndim != 4:
        return {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            name: receptive_field(
                plan.model.module, plan.example, name, channels_last=plan.channels_last[name]
            )
            for name in plan.layers
        }
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class _Read:
    """One input, ready for the network."""

    number: int
    value: Any
    """Tensor[C, H, W], or a TextRecord."""
    small: bytes | None = None


def _read(plan: Plan, number: int) -> _Read | UnreadableInput:
    try:
        loaded = plan.inputs.load(number)
    except UnreadableInput as error:
        return error
    if plan.model.kind == "text":
        return _Read(number, loaded)
    if not hasattr(loaded, "convert"):  # a data set's own tensor: preprocessed already
        return _Read(number, loaded)
    if plan.model.preprocess is None:
        raise ParameterError(
            "the model came without preprocessing and the inputs are images; give preprocess with "
            "the model (load_model), or a data set of float tensors"
        )
    small = thumbnail(loaded) if plan.thumbnails else None
    return _Read(number, plan.model.preprocess(loaded), small)


def _example(plan: Plan, read: _Read) -> Any:
    """One input as the network takes it."""
    if plan.model.kind == "image":
        return read.value[None].to(plan.device)
    return _text_arguments(plan, _tokens(plan, [read]))


def blocks(
    plan: Plan,
    *,
    start: int = 0,
    workers: int = 2,
    note_split: Callable[[int, int], None] | None = None,
) -> Iterator[Block]:
    """Run the inputs from number ``start`` on through the network, batch by batch.

    Parameters
    ----------
    plan : Plan
    start : int
        A multiple of the batch size: batches are always the same, because another batch changes
        last bits.
    workers : int
        Threads that read and preprocess.
    note_split : callable, optional
        Told (number of the first input, inputs in a forward from then on) when a batch did not
        fit in the device's memory and was halved.

    Yields
    ------
    Block
        In the order of the inputs; every input is in exactly one.
    """
    runner = _Runner(plan, note_split)
    size, total = plan.batch_size, len(plan.inputs)
    starts = iter(range(start, total, size))
    with (
        Recorder(plan.model.module, plan.layers, need_output=plan.model.n_outputs is not None) as (
            recorder
        ),
        ThreadPoolExecutor(max(workers, 1), thread_name_prefix="topoact-read") as pool,
    ):
        waiting: deque[tuple[int, list[Future[Any]]]] = deque()

        def read_ahead() -> None:
            for first in starts:
                numbers = range(first, min(first + size, total))
                waiting.append((first, [pool.submit(_read, plan, n) for n in numbers]))
                if len(waiting) > _AHEAD:
                    return

        read_ahead()
        while waiting:
            first, futures = waiting.popleft()
            block = runner.run(recorder, first, [future.result() for future in futures])
            read_ahead()
            yield block


class _Runner:
    """Forwards, and the rows taken from them."""

    def __init__(self, plan: Plan, note_split: Callable[[int, int], None] | None) -> None:
        self.plan = plan
        self.note_split = note_split or (lambda _start, _size: None)
        self.most = plan.batch_size

    def run(self, recorder: Recorder, start: int, found: list[Any]) -> Block:
        """The block of one batch."""
        block = Block(start, start + len(found))
        good = []
        for read in found:
            if isinstance(read, UnreadableInput):
                block.unreadable.append((read.id, read.reason))
            else:
                good.append(read)
        rows: dict[str, list[LayerRows]] = {name: [] for name in self.plan.layers}
        for group in _alike(good, self.plan.model.kind):
            self._group(recorder, group, rows, block)
        block.layers = {name: _joined(parts) for name, parts in rows.items() if parts}
        return block

    def _group(
        self, recorder: Recorder, group: list[_Read], rows: dict[str, list[LayerRows]], block: Block
    ) -> None:
        """One forward, or several where it does not fit in memory."""
        import torch

        for at in range(0, len(group), self.most):
            part = group[at : at + self.most]
            try:
                self._forward(recorder, part, rows, block)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.most = -(-len(part) // 2)
                self.note_split(part[0].number, self.most)
                self._group(recorder, group[at:], rows, block)
                return

    def _forward(
        self, recorder: Recorder, group: list[_Read], rows: dict[str, list[LayerRows]], block: Block
    ) -> None:
        plan = self.plan
        if plan.model.kind == "image":
            kept, output = self._call(recorder, _stacked(group).to(plan.device))
            known = _known(plan, group, output)
            parts = _image_rows(plan, known, kept)
        else:
            tokens = _tokens(plan, group)
            kept, output = self._call(recorder, **_text_arguments(plan, tokens))
            known = _known(plan, group, output)
            parts = _token_rows(plan, known, tokens, kept)
        described = _describe(plan, known)
        if plan.model.kind == "text":
            _add_cuts(described, tokens)
        block.inputs += described
        block.thumbnails |= {read.number: read.small for read in group if read.small is not None}
        for name, part in parts.items():
            rows[name].append(part)

    def _call(self, recorder: Recorder, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], Any]:
        import torch

        plan = self.plan
        with torch.autocast(
            torch.device(plan.device).type,
            dtype=getattr(torch, plan.precision),
            enabled=plan.precision != "float32",
        ):
            return recorder.forward(*args, **kwargs)


def _alike(reads: list[_Read], kind: str) -> Iterator[list[_Read]]:
    """Neighbours of one size go through the network together; texts always do."""
    group: list[_Read] = []
    for read in reads:
        if group and kind == "image" and read.value.shape != group[0].value.shape:
            yield group
            group = []
        group.append(read)
    if group:
        yield group


def _stacked(group: list[_Read]) -> Tensor:
    import torch

    return torch.stack([read.value for read in group])


def _joined(parts: list[LayerRows]) -> LayerRows:
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


@dataclass(frozen=True, eq=False)
class _Known:
    """A group and what is known of each of its inputs."""

    group: list[_Read]
    ids: list[str]
    columns: dict[str, NDArray[Any]]
    """``input``, ``class_id`` and, of a classifier, ``prediction``, ``confidence``, ``correct``."""


def _known(plan: Plan, group: list[_Read], output: Any) -> _Known:
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
    return _Known(group, [entry.id for entry in entries], columns)


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


def _image_rows(plan: Plan, known: _Known, kept: dict[str, Any]) -> dict[str, LayerRows]:
    """Rows at the drawn positions; position r of an input is r in every layer where that holds."""
    maps = {
        name: spatial(kept[name], channels_last=plan.channels_last[name]) for name in plan.layers
    }
    shapes = {name: (int(value.shape[1]), int(value.shape[2])) for name, value in maps.items()}
    norms: dict[str, NDArray[np.float32]] = {}
    if plan.sampling.method == "top-norm":
        norms = {name: _to_numpy(value.float().norm(dim=-1)) for name, value in maps.items()}
    drawn = [
        aligned_draw(
            plan.sampling,
            shapes,
            seed=plan.seed,
            input_id=input_id,
            norms={name: norms[name][at] for name in norms} or None,
        )
        for at, input_id in enumerate(known.ids)
    ]
    return {
        name: _positions(plan, known, value, [positions[name] for positions in drawn])
        for name, value in maps.items()
    }


def _positions(
    plan: Plan, known: _Known, maps: Tensor, drawn: list[NDArray[np.int64]]
) -> LayerRows:
    """Values at positions (y, x) of each input; (-1, -1) is the mean over the map."""
    import torch

    counts = [len(positions) for positions in drawn]
    y, x = np.concatenate(drawn).T
    which = np.repeat(np.arange(len(known.group)), counts)
    if plan.sampling.method == "mean":
        values = maps.float().mean(dim=(1, 2))
    else:
        index = [torch.from_numpy(np.ascontiguousarray(a)).to(maps.device) for a in (which, y, x)]
        values = maps[index[0], index[1], index[2]]
    columns = _whose(known, which) | {"y": y.astype(np.int32), "x": x.astype(np.int32)}
    return LayerRows(_to_numpy(values), columns)


def _whose(known: _Known, which: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """What is known of the input of each row."""
    return {name: values[which] for name, values in known.columns.items()}


def _tokens(plan: Plan, group: list[_Read]) -> Any:
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


def _text_arguments(plan: Plan, tokens: Any) -> dict[str, Tensor]:
    import torch

    return {
        "input_ids": torch.from_numpy(tokens.input_ids).to(plan.device),
        "attention_mask": torch.from_numpy(tokens.attention_mask).to(plan.device),
    }


def _token_rows(
    plan: Plan, known: _Known, tokens: Any, kept: dict[str, Any]
) -> dict[str, LayerRows]:
    """A row for each token or word, the same in every layer."""
    columns = _whose(known, tokens.text) | {
        "position": tokens.position.astype(np.int32),
        "word": tokens.word.astype(np.int32),
        "start": tokens.start.astype(np.int32),
        "end": tokens.end.astype(np.int32),
        "token": np.array(tokens.strings, dtype=np.str_),
    }
    columns |= _word_columns(known.group, tokens)
    maps = {
        name: spatial(kept[name], channels_last=plan.channels_last[name]) for name in plan.layers
    }
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


def _word_columns(group: list[_Read], tokens: Any) -> dict[str, NDArray[Any]]:
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


def _add_cuts(described: list[dict[str, Any]], tokens: Any) -> None:
    """Say of each text what its length cost it."""
    for at, line in enumerate(described):
        line["truncated"] = int(tokens.truncated[at])
        line["words_lost"] = int(tokens.words_lost[at])


def _describe(plan: Plan, known: _Known) -> list[dict[str, Any]]:
    """What is kept of each input."""
    described = []
    for at, read in enumerate(known.group):
        line: dict[str, Any] = {"id": known.ids[at]}
        line |= {name: values[at].item() for name, values in known.columns.items()}
        line |= plan.inputs.entry(read.number).columns
        if plan.model.kind == "text":
            line["text"] = read.value.text
        described.append(line)
    return described
