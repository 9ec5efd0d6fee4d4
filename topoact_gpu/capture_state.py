"""What a capture keeps beside the layers of its store: version 1 of the folder ``capture``.

    lock               held by the process that writes
    state.json         settings, receptive fields or why there are none, inputs done, rows of each
                       layer then, lengths of the files below, layers that float16 cannot hold
    inputs.jsonl       a line for each input that could be read, in their order
    unreadable.jsonl   a line for each that could not
    thumbnails.bin     JPEGs one after another; ``thumbnail`` in inputs.jsonl is [start, length]

``state.json`` is replaced in one step after everything it speaks of is on disk. What lies beyond it
is never read; the next run takes the layers and files back to it and writes the same again. A layer
that turns out to need float32 is one more setting: with it the state is taken back to the first
input, and the capture goes on from there like one that was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import StoreError
from .files import os_errors, to_jsonable

__all__ = [
    "FILES",
    "FOLDER",
    "VERSION",
    "as_line",
    "beginning",
    "check_same",
    "locked",
    "read_lines",
    "read_state",
    "save_state",
]

VERSION = 1
FOLDER, _STATE = "capture", "state.json"
FILES = ("inputs.jsonl", "unreadable.jsonl", "thumbnails.bin")


def beginning() -> dict[str, Any]:
    """What a state says before the first input."""
    return {
        "done": 0,
        "rows": {},
        "splits": [],
        "lengths": dict.fromkeys(FILES, 0),
        "unreadable": 0,
        "truncated": 0,
        "words_lost": 0,
        "complete": False,
    }


def read_state(path: Path) -> dict[str, Any] | None:
    """The state of an earlier run at a path; None where nothing is there."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = json.loads((path / FOLDER / _STATE).read_text(encoding="utf-8"))
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


def save_state(folder: Path, state: dict[str, Any]) -> None:
    target = folder / _STATE
    with os_errors(f"writing {target}"):
        partial = target.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)


def check_same(path: Path, there: Any, wanted: Any, name: str = "") -> None:
    """Refuse to go on with other settings, naming the first difference."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in [*there, *(key for key in wanted if key not in there)]:
            check_same(path, there.get(key), wanted.get(key), f"{name}.{key}" if name else key)
    elif there != wanted:
        raise StoreError(
            f"{path} was captured with {name} = {_short(there)}, asked for is {_short(wanted)}; "
            "ask for the same, choose another name, or overwrite it (--overwrite)"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def locked(path: Path) -> Any:
    """An open file that only one process can hold; it lets go when it ends, however it ends."""
    file = (path / FOLDER / "lock").open("a")
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


def as_line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(to_jsonable(dict(value)), ensure_ascii=False) + "\n").encode()


def read_lines(store: Path, name: str) -> list[dict[str, Any]]:
    state = read_state(store)
    if state is None:
        raise StoreError(f"there is no store at {store}; check the path")
    with os_errors(f"reading {store}"), (store / FOLDER / name).open("rb") as file:
        text = file.read(int(state["lengths"][name]))
    return [json.loads(line) for line in text.splitlines()]
