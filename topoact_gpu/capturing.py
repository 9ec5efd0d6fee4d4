"""Capture into a store: blocks of rows are appended, and a killed run goes on where it was.

Beside the layers the store gets a folder ``capture`` (version 1 of its format):

    lock               held by the process that writes
    state.json         settings, receptive fields or why there are none, inputs done, rows of each
                       layer then, lengths of the files below
    inputs.jsonl       a line for each input that could be read, in their order
    unreadable.jsonl   a line for each that could not
    thumbnails.bin     JPEGs one after another; ``thumbnail`` in inputs.jsonl is [start, length]

``state.json`` is replaced in one step after everything it speaks of is on disk. What lies beyond it
is never read; the next run takes the layers and files back to it and writes the same again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, ParameterError, StoreError
from .files import check_absent, move_into_place, os_errors, temporary_sibling, to_jsonable
from .store import create_store, open_store

if TYPE_CHECKING:
    from .activations.blocks import Block
    from .activations.entries import Inputs
    from .activations.loaded import LoadedModel
    from .activations.plan import Plan

__all__ = ["CaptureResult", "capture", "read_inputs", "read_unreadable"]

VERSION = 1
_FOLDER, _STATE = "capture", "state.json"
_FILES = ("inputs.jsonl", "unreadable.jsonl", "thumbnails.bin")
_CHECKPOINT_SECONDS = 15.0
_DEFAULT_BATCH = {"image": 16, "text": 32}


@dataclass(frozen=True)
class CaptureResult:
    """What a capture did.

    Attributes
    ----------
    path : Path
    n_inputs, n_unreadable : int
    rows : dict of str to int
        Rows of each layer.
    resumed_at : int
        Number of the input at which this run began; all of them: it had nothing to do.
    """

    path: Path
    n_inputs: int
    n_unreadable: int
    rows: dict[str, int]
    resumed_at: int


def capture(
    model: Any,
    layers: str | Sequence[str],
    data: Any,
    store: str | Path,
    *,
    sampling: str | None = None,
    seed: int = 0,
    n_inputs: int | None = None,
    batch_size: int | None = None,
    dtype: str = "float16",
    words: str | None = None,
    max_length: int | None = None,
    thumbnails: bool = False,
    strict: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    workers: int = 2,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> CaptureResult:
    """Capture activations of layers of a network into a store.

    Parameters
    ----------
    model : str, torch.nn.Module or LoadedModel
        See `topoact_gpu.activations.models.load_model`.
    layers : str or sequence of str
        Names or globs; see ``topoact layers``.
    data : str, path, data set or Inputs
        See `topoact_gpu.activations.inputs.open_inputs`.
    store : str or Path
        Made, or gone on with where a run with the same settings was interrupted.
    sampling : str, optional
        Default ``random:1`` for images, ``tokens`` for texts; see `parse_sampling`. The draw
        depends on the seed, the input and the layer only.
    seed : int
        For random weights, the choice of `n_inputs`, and the draw.
    n_inputs : int, optional
        A random choice of this many inputs.
    batch_size : int, optional
        Default 16 images, 32 texts. Recorded: another batch changes last bits.
    dtype : "float16" or "float32"
        Of the stored rows. A number beyond float16 is an error, never an infinity.
    words : "first" or "mean", optional
        One row for each word of the source instead of each token.
    max_length : int, optional
        Tokens of a text.
    thumbnails : bool
        Keep a small JPEG of each image.
    strict : bool
        Stop at an input that cannot be read, instead of listing it.
    device : str
        As torch names it.
    precision : "float32", "float16" or "bfloat16"
        Of the forward, by autocast.
    workers : int
        Threads that read and preprocess.
    overwrite : bool
        Start anew, whatever store is there.
    progress : callable, optional
        Called with ("capture", inputs done, inputs).

    Returns
    -------
    CaptureResult

    Raises
    ------
    ParameterError, DataError, StoreError

    Notes
    -----
    Each layer's attribute ``receptive_field`` says which box of the preprocessed image a position
    sees (`topoact_gpu.activations.receptive.ReceptiveField`); measuring it takes forwards of some
    twenty images a layer at the start. Where that can't be done, ``receptive_field_missing`` says
    why. Tokens of a vision transformer have the box of the patch that they began as, and
    ``patches`` says on which grid (`topoact_gpu.activations.patches.Patches`). Killed at any moment
    and called again with the same arguments, it ends with the same bytes as a run that was not, on
    the same machine with the same number of threads. Memory does not grow with the number of
    inputs, but for their names.
    """
    _check(dtype=dtype, precision=precision, words=words, batch_size=batch_size, workers=workers)
    plan, settings = _plan(
        model, layers, data, sampling=sampling, seed=seed, n_inputs=n_inputs, batch_size=batch_size,
        words=words, max_length=max_length, thumbnails=thumbnails, device=device,
        precision=precision,
    )  # fmt: skip
    settings["dtype"] = dtype
    writer = _Writer(Path(store), plan, settings, overwrite=overwrite)
    begun = writer.done
    total = len(plan.inputs)
    tell = progress or (lambda _stage, _done, _total: None)
    tell("capture", begun, total)
    with writer:
        if begun < total:
            writer.write_all(plan, strict=strict, workers=workers, tell=tell)
    return CaptureResult(writer.path, total, writer.n_unreadable, writer.row_counts(), begun)


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "dtype": ("float16", "float32"),
    "precision": ("float32", "float16", "bfloat16"),
    "words": (None, "first", "mean"),
}


def _check(*, batch_size: int | None, workers: int, **chosen: str | None) -> None:
    """Raise before anything is loaded."""
    for name, value in chosen.items():
        if value not in _CHOICES[name]:
            known = " or ".join(str(choice) for choice in _CHOICES[name])
            raise ParameterError(f"{name} must be {known}, got {value!r}")
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None and number < 1:
            raise ParameterError(f"{name} must be at least 1, got {number}")


def _plan(model: Any, layers: Any, data: Any, **given: Any) -> tuple[Plan, dict[str, Any]]:
    """The plan, and the settings that decide what the rows are."""
    from .activations.entries import Inputs
    from .activations.inputs import open_inputs
    from .activations.models import load_model
    from .activations.plan import make_plan
    from .activations.sampling import parse_sampling

    seed, n_inputs = given.pop("seed"), given.pop("n_inputs")
    loaded: LoadedModel = load_model(model, seed=seed)
    inputs: Inputs = data if isinstance(data, Inputs) else open_inputs(
        data, seed=seed, n_inputs=n_inputs
    )  # fmt: skip
    default = "random:1" if loaded.kind == "image" else "tokens"
    sampling = parse_sampling(given.pop("sampling") or default)
    size = given.pop("batch_size") or _DEFAULT_BATCH[loaded.kind]
    patterns = [layers] if isinstance(layers, str) else list(layers)
    plan = make_plan(
        loaded, patterns, inputs, sampling=sampling, seed=seed, batch_size=size, **given
    )
    settings = {
        "model": loaded.record,
        "layers": plan.layers,
        "data": inputs.record,
        "sampling": str(sampling),
        "seed": seed,
        "batch_size": size,
        **{name: given[name] for name in ("words", "max_length", "thumbnails", "precision")},
    }
    return plan, to_jsonable(settings)


class _Writer:
    """The store and the files beside its layers."""

    def __init__(
        self, path: Path, plan: Plan, settings: dict[str, Any], *, overwrite: bool
    ) -> None:
        from .activations.plan import receptive_fields

        self.path, self.settings = path, settings
        self.folder = path / _FOLDER
        state = None if overwrite else _read_state(path)
        if state is None:
            state = {"version": VERSION, "settings": settings, "done": 0, "rows": {}, "splits": []}
            state |= {"lengths": dict.fromkeys(_FILES, 0), "unreadable": 0, "complete": False}
            fields, missing = receptive_fields(plan)
            state["receptive_fields"] = {name: field._asdict() for name, field in fields.items()}
            state["receptive_fields_missing"] = missing
            _make_store(path, plan, state, overwrite=overwrite)
        else:
            _check_same(path, state["settings"], settings)
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

    def __enter__(self) -> _Writer:
        """Take everything back to the last checkpoint."""
        with os_errors(f"opening {self.path}"):
            self._files["lock"] = _locked(self.path)
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
            if name in plan.patches:
                attributes["patches"] = plan.patches[name]._asdict()
            if name in self.state["receptive_fields"]:
                attributes["receptive_field"] = self.state["receptive_fields"][name]
            if name in self.state["receptive_fields_missing"]:
                attributes["receptive_field_missing"] = self.state["receptive_fields_missing"][name]
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
            self._files["inputs.jsonl"].write(_line(line))
        for input_id, reason in block.unreadable:
            line = {"id": input_id, "reason": reason}
            self._files["unreadable.jsonl"].write(_line(line))
        self.state["unreadable"] += len(block.unreadable)

    def _checkpoint(self, done: int, *, complete: bool) -> None:
        """Everything up to input ``done`` is on disk from here on."""
        self.store.close()
        with os_errors(f"writing {self.path}"):
            for name in _FILES:
                self._files[name].flush()
                os.fsync(self._files[name].fileno())
        layers = {name: self.store.layer(name).n_rows for name in self.store.layers}
        self.state |= {"done": done, "rows": layers, "complete": complete}
        self.state["lengths"] = {name: self._files[name].tell() for name in _FILES}
        _save_state(self.folder, self.state)
        self._saved_at = time.monotonic()


def _locked(path: Path) -> Any:
    """An open file that only one process can hold; it lets go when it ends, however it ends."""
    file = (path / _FOLDER / "lock").open("a")
    try:
        import fcntl
    except ImportError:  # not a Unix: nobody is kept out
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise StoreError(
            f"{path} is being written by another process; wait for it, or choose another name"
        ) from None
    return file


def _save_state(folder: Path, state: dict[str, Any]) -> None:
    target = folder / _STATE
    with os_errors(f"writing {target}"):
        partial = target.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(to_jsonable(dict(value)), ensure_ascii=False) + "\n").encode()


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
            (made / _FOLDER).mkdir()
        _save_state(made / _FOLDER, state)
        with os_errors(f"writing {path}"):
            move_into_place(made, path)


def _read_state(path: Path) -> dict[str, Any] | None:
    """The state of an earlier run at a path; None where nothing is there."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = json.loads((path / _FOLDER / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} is there and holds no capture that can go on; "
            "choose another name or overwrite it (--overwrite)"
        ) from error
    if state.get("version") != VERSION:
        raise StoreError(
            f"{path} holds a capture of version {state.get('version')}, this program knows "
            f"{VERSION}; choose another name"
        )
    return state


def _check_same(path: Path, there: Any, wanted: Any, name: str = "") -> None:
    """Refuse to go on with other settings, naming the first difference."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in [*there, *(key for key in wanted if key not in there)]:
            _check_same(path, there.get(key), wanted.get(key), f"{name}.{key}" if name else key)
    elif there != wanted:
        raise StoreError(
            f"{path} was captured with {name} = {_short(there)}, asked for is {_short(wanted)}; "
            "ask for the same, choose another name, or overwrite it (--overwrite)"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_inputs(store: str | Path) -> list[dict[str, Any]]:
    """The inputs of a captured store, in their order: id, class, prediction, text, ..."""
    return _lines(Path(store), "inputs.jsonl")


def read_unreadable(store: str | Path) -> list[dict[str, Any]]:
    """Inputs that could not be read, with the reason."""
    return _lines(Path(store), "unreadable.jsonl")


def _lines(store: Path, name: str) -> list[dict[str, Any]]:
    state = _read_state(store)
    if state is None:
        raise StoreError(f"there is no store at {store}; check the path")
    with os_errors(f"reading {store}"), (store / _FOLDER / name).open("rb") as file:
        text = file.read(int(state["lengths"][name]))
    return [json.loads(line) for line in text.splitlines()]
