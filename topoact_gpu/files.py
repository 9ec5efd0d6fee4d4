"""Outputs that appear whole or not at all: a temporary sibling, renamed when it is complete."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import StoreError

__all__ = [
    "check_absent",
    "move_into_place",
    "os_errors",
    "read_format",
    "replaced_directory",
    "replaced_file",
    "temporary_folder",
    "temporary_sibling",
    "to_jsonable",
]


@contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Turn an OSError under ``what`` (``"writing PATH"``) into a one-line `StoreError`."""
    try:
        yield
    except OSError as error:
        raise StoreError(_os_message(what, error)) from error


def _os_message(what: str, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{what} failed: the disk is full; free some space or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{what} failed: no permission ({error.strerror}); choose a writable place"
    return f"{what} failed: {error.strerror or error}"


def read_format(path: Path) -> str | None:
    """The ``format`` attribute of the Zarr group at ``path``; None where there is no such thing."""
    try:
        metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    attributes = metadata.get("attributes") if isinstance(metadata, dict) else None
    found = attributes.get("format") if isinstance(attributes, dict) else None
    return found if isinstance(found, str) else None


@contextmanager
def replaced_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a new directory beside ``path`` to fill; it becomes ``path`` when the block ends well.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Whether an existing store, run or graph of ours at ``path`` is replaced. Anything else
        that is there is never removed.

    Raises
    ------
    StoreError
        ``path`` exists, or the disk refuses; nothing is left behind then.
    """
    check_absent(path, overwrite=overwrite)
    with os_errors(f"writing {path}"), temporary_sibling(path) as temporary:
        yield temporary
        move_into_place(temporary, path)


@contextmanager
def temporary_sibling(path: Path) -> Iterator[Path]:
    """Give a new directory beside ``path``, on the same disk; it is gone after the block."""
    temporary = _sibling(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a new folder where the system keeps such (TMPDIR); it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="topoact-") as folder:
        yield Path(folder)


@contextmanager
def replaced_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a new file name beside ``path``; what is written there becomes ``path`` at the end."""
    if path.is_dir():
        raise StoreError(f"{path} is a directory, a file name is required; choose another name")
    if path.exists() and not overwrite:
        raise StoreError(f"{path} exists; choose another name or overwrite it (--overwrite)")
    temporary = _sibling(path)
    with os_errors(f"writing {path}"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Raise unless ``path`` is free, or holds something of ours that may be replaced.

    Called before long work too, so that it is not done in vain.
    """
    parent = next(p for p in path.absolute().parents if p.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise StoreError(f"{path} cannot be made: {parent} is no writable folder; write elsewhere")
    if not (path.exists() or path.is_symlink()):
        return
    if not overwrite:
        raise StoreError(f"{path} exists; choose another name or overwrite it (--overwrite)")
    if not (read_format(path) or "").startswith("topoact-gpu/"):
        raise StoreError(
            f"{path} exists and is no store, run or graph of topoact-gpu, so it is not "
            "overwritten; choose another name or remove it yourself"
        )


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename ``temporary`` to ``path``; what was there is put aside first and removed after."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.rename(temporary, path)
        return
    aside = _sibling(path)
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sibling(path: Path) -> Path:
    # the suffix stays last, since writers choose a format by it
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")


def to_jsonable(value: Any) -> Any:
    """``value`` with numpy scalars, arrays, tuples and paths turned into what JSON has."""
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return to_jsonable(value.tolist())
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value if isinstance(value, str | int | float | bool | type(None)) else repr(value)
