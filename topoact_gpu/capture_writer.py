"""The writer of a capture: blocks of rows are appended to a store, checkpoint by checkpoint."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .capture_state import (
    FILES,
    FOLDER,
    VERSION,
    as_line,
    beginning,
    check_same,
    locked,
    read_state,
    save_state,
)
from .errors import DataError
from .files import check_absent, move_into_place, os_errors, temporary_sibling
from .store import create_store, open_store

if TYPE_CHECKING:
    from .activations.blocks import Block
    from .activations.plan import Plan

__all__ = ["Writer"]

_CHECKPOINT_SECONDS = 15.0
_FLOAT16_MAX = 65504.0


class _Overflow(Exception):
    """Layers that put out a number beyond float16, where float32 may be taken instead."""

    def __init__(self, layers: list[str]) -> None:
        super().__init__(layers)
        self.layers = layers


class Writer:
    """The store and the files beside its layers."""

    def __init__(
        self, path: Path, plan: Plan, settings: dict[str, Any], *, overwrite: bool
    ) -> None:
        self.path, self.plan, self.settings = path, plan, settings
        self.folder = path / FOLDER
        there = None if overwrite else read_state(path)
        if there is None:
            _make_store(path, plan, _first_state(plan, settings), overwrite=overwrite)
        else:
            check_same(path, there["settings"], settings)
        self.state: dict[str, Any] = {}
        self._files: dict[str, Any] = {}

    @property
    def done(self) -> int:
        """Inputs that need not be looked at again."""
        return int(self.state["done"])

    def __enter__(self) -> Writer:
        with os_errors(f"opening {self.path}"):
            self._files["lock"] = locked(self.path)
        self.state = read_state(self.path) or {}
        self._take_back()
        return self

    def __exit__(self, *_exception: object) -> None:
        for file in self._files.values():
            file.close()

    def _take_back(self) -> None:
        """Take the layers and files back to what the state says."""
        with os_errors(f"opening {self.path}"):
            for left in self.path.rglob("*.partial"):  # by a writer that was killed
                left.unlink()
            for name, length in self.state["lengths"].items():
                if name not in self._files:
                    self._files[name] = (self.folder / name).open("ab")
                self._files[name].truncate(length)
                self._files[name].seek(length)
            for name in self.plan.layers:
                layer = self.path / "layers" / name
                if name not in self.state["rows"] and layer.exists():
                    shutil.rmtree(layer)
        self.store = open_store(self.path, mode="a")
        for name, n_rows in self.state["rows"].items():
            self.store.layer(name).rewind(int(n_rows))
        self._saved_at = time.monotonic()

    def write_all(
        self, *, strict: bool, workers: int, tell: Callable[[str, int, int], None]
    ) -> None:
        """Write all that is left; again from the first input where float16 did not do."""
        total = len(self.plan.inputs)
        while True:
            stage = "capture again" if self.state["float32"] else "capture"
            tell(stage, self.done, total)
            if self.done == total:
                return
            try:
                self._write_blocks(strict=strict, workers=workers, tell=partial(tell, stage))
            except _Overflow as found:
                self._start_again(found.layers)

    def _write_blocks(
        self, *, strict: bool, workers: int, tell: Callable[[int, int], None]
    ) -> None:
        """One block is written while the next is in the network."""
        from .activations.blocks import blocks
        from .activations.entries import UnreadableInput

        found = blocks(self.plan, start=self.done, workers=workers, note_split=self._split)
        with (
            closing(found),  # takes the hooks off, also after an error
            ThreadPoolExecutor(1, thread_name_prefix="topoact-write") as pool,
        ):
            writing: Future[None] | None = None
            for block in found:
                if strict and block.unreadable:
                    raise UnreadableInput(*block.unreadable[0])
                if writing is not None:
                    writing.result()
                writing = pool.submit(self._write, block)
                tell(block.stop, len(self.plan.inputs))
            if writing is not None:
                writing.result()
        self._checkpoint(len(self.plan.inputs), complete=True)

    def _start_again(self, layers: list[str]) -> None:
        """Give layers float32, from their first row on.

        What is stored of them was rounded, and the forwards are most of the work: all is captured
        again. Which layers end as float32 does not depend on when the run was killed.
        """
        wide = {*self.state["float32"], *layers}
        self.state |= beginning()
        self.state["float32"] = [name for name in self.plan.layers if name in wide]
        save_state(self.folder, self.state)
        self._take_back()

    def _split(self, first: int, size: int) -> None:
        self.state["splits"].append([first, size])

    def _write(self, block: Block) -> None:
        self._check_range(block)
        with os_errors(f"writing {self.path}"):
            self._write_inputs(block)
        for name, rows in block.layers.items():
            self._append(name, rows)
        if time.monotonic() - self._saved_at > _CHECKPOINT_SECONDS:
            self._checkpoint(block.stop, complete=False)

    def _check_range(self, block: Block) -> None:
        """Raise where a layer put out what its rows cannot hold."""
        beyond = {}
        for name, rows in block.layers.items():
            largest = _largest(name, rows.values)
            if self._dtype(name) == "float16" and largest > _FLOAT16_MAX:
                beyond[name] = largest
        if beyond and self.settings["dtype"] == "float16":
            name, largest = next(iter(beyond.items()))
            raise DataError(
                f"layer {name!r} put out {largest:.6g}, float16 ends at 65,504; capture it as "
                "float32 (--dtype float32) or as what it needs (--dtype auto) into another store"
            )
        if beyond:
            raise _Overflow(list(beyond))

    def _dtype(self, name: str) -> str:
        """Of the stored rows of a layer."""
        wide = self.settings["dtype"] == "float32" or name in self.state["float32"]
        return "float32" if wide else "float16"

    def _append(self, name: str, rows: Any) -> None:
        inputs, dtype = self.plan.inputs, self._dtype(name)
        if name not in self.store.layers:
            names = {"class_id": inputs.class_names} if inputs.class_names else {}
            attributes: dict[str, Any] = {"sampling": str(self.plan.sampling)}
            if name in self.plan.patches:
                attributes["patches"] = self.plan.patches[name]._asdict()
            if name in self.state["receptive_fields"]:
                attributes["receptive_field"] = self.state["receptive_fields"][name]
            if name in self.state["receptive_fields_missing"]:
                attributes["receptive_field_missing"] = self.state["receptive_fields_missing"][name]
            self.store.create_layer(name, rows.values.shape[1], dtype, names=names, **attributes)
        self.store.layer(name).append(rows.values.astype(dtype, copy=False), **rows.columns)

    def _write_inputs(self, block: Block) -> None:
        small = self._files["thumbnails.bin"]
        for line in block.inputs:
            jpeg = block.thumbnails.get(line["input"])
            if jpeg is not None:
                line["thumbnail"] = [small.tell(), len(jpeg)]
                small.write(jpeg)
            self._files["inputs.jsonl"].write(as_line(line))
            self.state["truncated"] += line.get("truncated", 0) > 0
            self.state["words_lost"] += line.get("words_lost", 0)
        for input_id, reason in block.unreadable:
            line = {"id": input_id, "reason": reason}
            self._files["unreadable.jsonl"].write(as_line(line))
        self.state["unreadable"] += len(block.unreadable)

    def _checkpoint(self, done: int, *, complete: bool) -> None:
        """Everything up to input ``done`` is on disk from here on."""
        self.store.close()
        with os_errors(f"writing {self.path}"):
            for name in FILES:
                self._files[name].flush()
                os.fsync(self._files[name].fileno())
        begun = [name for name in self.plan.layers if name in self.store.layers]
        rows = {name: self.store.layer(name).n_rows for name in begun}
        self.state |= {"done": done, "rows": rows, "complete": complete}
        self.state["lengths"] = {name: self._files[name].tell() for name in FILES}
        save_state(self.folder, self.state)
        self._saved_at = time.monotonic()


def _largest(name: str, values: Any) -> float:
    """Largest absolute value; NaN or infinity is an error that names the layer."""
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise DataError(
            f"layer {name!r} put out NaN or infinity; the network or its precision is at fault"
        )
    return largest


def _first_state(plan: Plan, settings: dict[str, Any]) -> dict[str, Any]:
    from .activations.plan import receptive_fields

    fields, missing = receptive_fields(plan)
    return {
        "version": VERSION,
        "settings": settings,
        "receptive_fields": {name: field._asdict() for name, field in fields.items()},
        "receptive_fields_missing": missing,
        "float32": [],
        **beginning(),
    }


def _make_store(path: Path, plan: Plan, state: dict[str, Any], *, overwrite: bool) -> None:
    """A store with its first state appears at ``path`` in one step."""
    settings = state["settings"]
    attributes = {
        "model": settings["model"],
        "data": settings["data"],
        "label_names": plan.inputs.class_names,
        "output_names": plan.model.class_names,
        "folder": os.getcwd(),  # relative paths of the data count from here
    }
    check_absent(path, overwrite=overwrite)
    with temporary_sibling(path) as temporary:
        made = temporary / "store.zarr"
        with create_store(made, **attributes):
            (made / FOLDER).mkdir()
        save_state(made / FOLDER, state)
        with os_errors(f"writing {path}"):
            move_into_place(made, path)
