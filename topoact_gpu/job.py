"""An unfinished run on disk: what it is to compute, who works on it, and what is done.

Format ``topoact-gpu/unfinished``, version 1, in a hidden folder beside the run (for ``run.zarr``
it is ``.run.zarr.work``)::

    job.json        format, version, settings, progress
    lock            held by the process that works on it
    units/          finished pieces, see `topoact_gpu.ledger`
    scratch/        rows by cell, see `topoact_gpu.buckets`
    run             the run, when it is whole; then it moves into place and the folder is removed
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from topoact_gpu.errors import DataError, ParameterError, StoreError
from topoact_gpu.files import check_absent, move_into_place, os_errors, read_format, replaced_file
from topoact_gpu.ledger import Ledger
from topoact_gpu.runs import FORMAT, run_settings

__all__ = ["Job", "differences", "open_job", "progress_of", "work_folder"]

_FORMAT, _VERSION = "topoact-gpu/unfinished", 1
_TELL_SECONDS = 0.5


def work_folder(out: Path) -> Path:
    """Where the work for a run is kept."""
    return out.with_name(f".{out.name}.work")


class Job:
    """A run being computed; made by `open_job`.

    Attributes
    ----------
    out : Path
    folder : Path
    ledger : Ledger
    complete : bool
        The run is there already, with the same settings: nothing is left to do.
    """

    def __init__(self, out: Path, settings: dict[str, Any], *, complete: bool) -> None:
        self.out, self.settings, self.complete = out, settings, complete
        self.folder = work_folder(out)
        self.ledger = Ledger(self.folder / "units")
        self._told = 0.0
        self._progress: dict[str, Any] = {}

    @property
    def scratch(self) -> Path:
        """A folder for rows by cell."""
        folder = self.folder / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def staged(self) -> Path:
        """Where the run is written before it moves into place."""
        return self.folder / "run"

    def tell(self, **progress: Any) -> None:
        """Note progress for ``topoact info``; at most twice a second."""
        self._progress |= progress
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            self._write()

    def _write(self) -> None:
        known = {
            "format": _FORMAT,
            "version": _VERSION,
            "settings": self.settings,
            "progress": {**self._progress, "time": time.time(), "pid": os.getpid()},
        }
        with replaced_file(self.folder / "job.json", overwrite=True) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")

    def begin(self) -> None:
        """Say what is computed here, before any of it is."""
        self._write()

    def finish(self) -> None:
        """Move the run, which is whole, into place; the folder goes."""
        with os_errors(f"writing {self.out}"):
            move_into_place(self.staged, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def open_job(out: Path, settings: dict[str, Any], *, overwrite: bool) -> Iterator[Job]:
    """Begin a run, or go on with one.

    Parameters
    ----------
    out : Path
        Where the run will be.
    settings : dict
        What decides its bytes; values that JSON can hold.
    overwrite : bool
        Start anew, whatever is there of ours.

    Raises
    ------
    StoreError
        Another process works on it; it was begun or made with other settings (the message names
        the first difference); something else is there; the disk refuses.
    """
    settings = json.loads(json.dumps(settings))
    folder = work_folder(out)
    if not overwrite and _is_complete(out, settings):
        yield Job(out, settings, complete=True)
        return
    check_absent(out, overwrite=overwrite)
    with _locked(folder, out):
        job = Job(out, settings, complete=False)
        _look_at_earlier(job, overwrite=overwrite)
        if read_format(job.staged) == FORMAT and run_settings(job.staged) == settings:
            job.finish()
            job.complete = True
        else:
            shutil.rmtree(job.staged, ignore_errors=True)
            job.begin()
        try:
            yield job
        except (ParameterError, DataError):
            # The same command would fail again: there is nothing to go on with.
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _is_complete(out: Path, settings: dict[str, Any]) -> bool:
    """Whether the run is there; another run of ours, with other settings, is an error."""
    if read_format(out) != FORMAT:
        return False
    found = run_settings(out)
    if found == settings:
        return True
    if found is None:
        raise StoreError(f"{out} exists; choose another name or overwrite it (--overwrite)")
    raise StoreError(
        f"{out} exists and was made with other settings: {differences(found, settings)}; "
        "choose another name or overwrite it (--overwrite)"
    )


def _look_at_earlier(job: Job, *, overwrite: bool) -> None:
    """Keep what an earlier process left if it computed the same; else it is an error, or goes."""
    found = _read(job.folder)
    if found is not None and found["settings"] == job.settings and not overwrite:
        return
    if found is not None and not overwrite:
        raise StoreError(
            f"{job.out} was begun with other settings: "
            f"{differences(found['settings'], job.settings)}; "
            "choose another name or start anew (--overwrite)"
        )
    for path in job.folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "lock":
            path.unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Any] | None:
    """job.json, if it is one of ours."""
    try:
        found = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        return None
    return found if found.get("version") == _VERSION else None


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Hold the lock of a folder; the system lets go of it when the process ends, however."""
    with os_errors(f"writing {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "lock", "a+")  # noqa: SIM115 - held as long as the block
    try:
        # Whoever finished in the meantime took the folder away, and this lock with it.
        if not (_try_lock(file) and _is_still(folder / "lock", file)):
            raise StoreError(
                f"another process is computing {out}; wait for it, or choose another name"
            )
        yield
    finally:
        file.close()


def _is_still(path: Path, file: Any) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except OSError:
        return False


def _try_lock(file: Any) -> bool:
    """Take an exclusive lock; False where another process has it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def differences(found: Any, wanted: Any, name: str = "") -> str:
    """The first difference between two settings, in words.

    Examples
    --------
    >>> differences({"cover": {"n": 70}}, {"cover": {"n": 80}})
    'cover.n is 70 there, 80 here'
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                return differences(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} is {found!r} there, {wanted!r} here"


def progress_of(out: Path) -> dict[str, Any] | None:
    """Progress of a run that is being computed, or was interrupted; None where there is none.

    Returns
    -------
    dict
        What `Job.tell` noted, ``settings``, and ``running``: whether a process is at it now.
    """
    folder = work_folder(out)
    found = _read(folder)
    if found is None:
        return None
    running = False
    with contextlib.suppress(OSError), open(folder / "lock", "a+") as file:
        running = not _try_lock(file)
    return {**found["progress"], "settings": found["settings"], "running": running}
