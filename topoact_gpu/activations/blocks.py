"""Batches of inputs through the network: blocks of rows.

Where they are stored is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .entries import UnreadableInput
from .layer_rows import (
    LayerRows,
    add_cuts,
    describe,
    image_rows,
    joined,
    known_of,
    token_rows,
)
from .layers import Recorder
from .plan import Plan, Read, autocast, read_input, text_arguments, tokens_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Block", "blocks"]

_AHEAD = 2
"""Batches read while one is in the network."""


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
        of it, its text or the ``size`` of its picture, and the network's ``prediction``,
        ``confidence`` and ``correct``.
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


def blocks(
    plan: Plan,
    *,
    start: int = 0,
    workers: int = 2,
    note_split: Callable[[int, int], None] | None = None,
) -> Generator[Block]:
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
                waiting.append((first, [pool.submit(read_input, plan, n) for n in numbers]))
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
        block.layers = {name: joined(parts) for name, parts in rows.items() if parts}
        return block

    def _group(
        self, recorder: Recorder, group: list[Read], rows: dict[str, list[LayerRows]], block: Block
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
        self, recorder: Recorder, group: list[Read], rows: dict[str, list[LayerRows]], block: Block
    ) -> None:
        plan = self.plan
        if plan.model.kind == "image":
            with autocast(plan):
                kept, output = recorder.forward(_stacked(group).to(plan.device))
            known = known_of(plan, group, output)
            parts = image_rows(plan, known, kept)
        else:
            tokens = tokens_of(plan, group)
            with autocast(plan):
                kept, output = recorder.forward(**text_arguments(plan, tokens))
            known = known_of(plan, group, output)
            parts = token_rows(plan, known, tokens, kept)
        described = describe(plan, known)
        if plan.model.kind == "text":
            add_cuts(described, tokens)
        block.inputs += described
        block.thumbnails |= {read.number: read.small for read in group if read.small is not None}
        for name, part in parts.items():
            rows[name].append(part)


def _alike(reads: list[Read], kind: str) -> Iterator[list[Read]]:
    """Neighbours of one size go through the network together; texts always do."""
    group: list[Read] = []
    for read in reads:
        if group and kind == "image" and read.value.shape != group[0].value.shape:
            yield group
            group = []
        group.append(read)
    if group:
        yield group


def _stacked(group: list[Read]) -> Tensor:
    import torch

    return torch.stack([read.value for read in group])
