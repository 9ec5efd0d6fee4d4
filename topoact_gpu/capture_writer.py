"""The writer of a capture: blocks of rows are appended to a store, checkpoint by checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .capture_state import (
    FILES,
    FOLDER,
    VERSION,
    as_line,
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


class Writer:
    """The store and the files beside its layers."""

    def __init__(
        self, path: Path, plan: Plan, settings: dict[str, Any], *, overwrite: bool
    ) -> None:
        from .activations.plan import receptive_fields

        self.path, self.settings = path, settings
        self.folder = path / FOLDER
        state = None if overwrite else read_state(path)
        if state is None:
            state = {"version": VERSION, "settings": settings, "done": 0, "rows": {}, "splits": []}
            state |= {"lengths": dict.fromkeys(FILES, 0), "unreadable": 0, "complete": False}
            state["receptive_fields"] = {
                name: field._asdict() for name, field in receptive_fields(plan).items()
            }
            _make_store(path, plan, state, overwrite=overwrite)
        else:
            check_same(path, state["settings"], settings)
        self.store = open_store(path, mode="a")
        self.state = state
        self._files: dict[str, Any] = {}
        self._saved_at = time.monotonic()

    @property
    def done(self) -> int:
        """Inputs that need not be looked at again."""
        return int(self.state["done"])

    @property
    def n_unreadable(self) -> int:
        return int(self.state["unreadable"])

    def row_counts(self) -> dict[str, int]:
        return {name: int(n) for name, n in self.state["rows"].items()}

    def __enter__(self) -> Writer:
        """Take everything back to the last checkpoint."""
        with os_errors(f"opening {self.path}"):
            self._files["lock"] = locked(self.path)
            for left in self.path.rglob("*.partial"):  # by a writer that was killed
                left.unlink()
            for name, length in self.state["lengths"].items():
                file = (self.folder / name).open("ab")
                file.truncate(length)
                file.seek(length)
                self._files[name] = file
        for name in self.store.layers:
            self.store.layer(name).rewind(int(self.state["rows"].get(name, 0)))
        return self

    def __exit__(self, *_exception: object) -> None:
        for file in self._files.values():
            file.close()

    def write_all(
        self, plan: Plan, *, strict: bool, workers: int, tell: Callable[[str, int, int], None]
    ) -> None:
        """Write all blocks that are left; one is written while the next is in the network."""
        from .activations.blocks import blocks
        from .activations.entries import UnreadableInput

        total = len(plan.inputs)
        with ThreadPoolExecutor(1, thread_name_prefix="topoact-write") as pool:
            writing: Future[None] | None = None
            for block in blocks(plan, start=self.done, workers=workers, note_split=self._split):
                if strict and block.unreadable:
                    raise UnreadableInput(*block.unreadable[0])
                if writing is not None:
                    writing.result()
                writing = pool.submit(self._write, block, plan)
                tell("capture", block.stop, total)
            if writing is not None:
                writing.result()
        self._checkpoint(self._stop, complete=True)

    def _split(self, first: int, size: int) -> None:
        self.state["splits"].append([first, size])

    def _write(self, block: Block, plan: Plan) -> None:
        with os_errors(f"writing {self.path}"):
            self._write_inputs(block)
        for name, rows in block.layers.items():
            self._append(name, rows, plan)
        self._stop = block.stop
        if time.monotonic() - self._saved_at > _CHECKPOINT_SECONDS:
            self._checkpoint(block.stop, complete=False)

    def _append(self, name: str, rows: Any, plan: Plan) -> None:
        dtype = self.settings["dtype"]
        if name not in self.store.layers:
            names = {"class_id": plan.inputs.class_names} if plan.inputs.class_names else {}
            attributes: dict[str, Any] = {"sampling": str(plan.sampling)}
            if name in self.state["receptive_fields"]:
                attributes["receptive_field"] = self.state["receptive_fields"][name]
            self.store.create_layer(name, rows.values.shape[1], dtype, names=names, **attributes)
        layer = self.store.layer(name)
        layer.append(_narrowed(name, rows.values, dtype), **rows.columns)

    def _write_inputs(self, block: Block) -> None:
        small = self._files["thumbnails.bin"]
        for line in block.inputs:
            jpeg = block.thumbnails.get(line["input"])
            if jpeg is not None:
                line["thumbnail"] = [small.tell(), len(jpeg)]
                small.write(jpeg)
            self._files["inputs.jsonl"].write(as_line(line))
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
        layers = {name: self.store.layer(name).n_rows for name in self.store.layers}
        self.state |= {"done": done, "rows": layers, "complete": complete}
        self.state["lengths"] = {name: self._files[name].tell() for name in FILES}
        save_state(self.folder, self.state)
        self._saved_at = time.monotonic()


def _narrowed(name: str, values: Any, dtype: str) -> Any:
    """Rows in their stored dtype; what that can't hold is an error that names the layer."""
    if not np.isfinite(values).all():
        raise DataError(
            f"layer {name!r} put out NaN or infinity; the network or its precision is at fault"
        )
    if dtype == "float32":
        return values
    largest = float(np.abs(values).max(initial=0.0))
    if largest > float(np.finfo(np.float16).max):
        raise DataError(
            f"layer {name!r} put out {largest:.6g}, float16 ends at 65,504; "
            "capture it as float32 (--dtype float32) into another store"
        )
    return values.astype(np.float16)


def _make_store(path: Path, plan: Plan, state: dict[str, Any], *, overwrite: bool) -> None:
    """A store with its first state appears at ``path`` in one step."""
    settings = state["settings"]
    attributes = {
        "model": settings["model"],
        "data": settings["data"],
        "label_names": plan.inputs.class_names,
        "output_names": plan.model.class_names,
    }
    check_absent(path, overwrite=overwrite)
    with temporary_sibling(path) as temporary:
        made = temporary / "store.zarr"
        with create_store(made, **attributes):
            (made / FOLDER).mkdir()
        save_state(made / FOLDER, state)
        with os_errors(f"writing {path}"):
            move_into_place(made, path)
