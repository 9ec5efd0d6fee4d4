"""Notes on nodes, kept in a file beside the run.

Format ``topoact-gpu/notes``, version 1: for ``run.zarr`` the file ``run.zarr.notes.json``, an
object with ``format``, ``version``, ``graph`` (a checksum of the memberships that the node numbers
belong to) and ``notes``.
"""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

from topoact_gpu.errors import ParameterError, StoreError
from topoact_gpu.files import replaced_file

from .checks import ids_of
from .run_view import RunView

__all__ = ["FORMAT", "notes_file", "read_notes", "write_notes"]

FORMAT = "topoact-gpu/notes"
VERSION = 1
MOST_NOTES = 1_000
MOST_TEXT = 10_000
MOST_BYTES = 16_000_000


def notes_file(run: Path) -> Path:
    """Where the notes of a run are."""
    return run.with_name(f"{run.name}.notes.json")


def read_notes(run: RunView) -> dict[str, Any]:
    """The notes of a run.

    Returns
    -------
    dict
        ``notes``, and ``stale``: whether they were made for another graph, which has since been
        replaced; node numbers that this one does not have are left out.

    Raises
    ------
    StoreError
        The file is damaged, foreign or of a newer version.
    """
    if run.path is None:
        return {"notes": run.notes, "stale": False}
    path = notes_file(run.path)
    if not path.exists():
        return {"notes": [], "stale": False}
    found = _read(path)
    stale = found.get("graph") != _checksum(run)
    n_nodes = run.header.n_nodes
    kept = [
        {**note, "nodes": [node for node in note["nodes"] if 0 <= node < n_nodes]}
        for note in found["notes"]
    ]
    return {"notes": kept, "stale": stale}


def write_notes(run: RunView, given: Any) -> dict[str, Any]:
    """Replace the notes of a run.

    Parameters
    ----------
    run : RunView
    given : list of {"nodes", "text", "when"}

    Returns
    -------
    dict
        As `read_notes`.

    Raises
    ------
    Forbidden
        The explorer may only read.
    ParameterError
        A note is not as it should be.
    StoreError
        What is in the file is no notes of ours, or it cannot be written.
    """
    run.session.check_writable()
    notes = _checked(given, run.header.n_nodes)
    if run.path is None:
        run.notes = notes
        return {"notes": notes, "stale": False}
    path = notes_file(run.path)
    if path.exists():
        _read(path)  # what is not ours is never written over
    content = {"format": FORMAT, "version": VERSION, "graph": _checksum(run), "notes": notes}
    with replaced_file(path, overwrite=True) as temporary:
        text = json.dumps(content, ensure_ascii=False, indent=1)
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return {"notes": notes, "stale": False}


def _checksum(run: RunView) -> int:
    def compute() -> int:
        return zlib.crc32(run.graph.rows.data, zlib.crc32(run.graph.indptr.data))

    found: int = run.once("graph checksum", compute)
    return found


def _read(path: Path) -> dict[str, Any]:
    advice = "move it away, or mend it"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise StoreError(f"{path} has more than {MOST_BYTES:,} bytes: {advice}")
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise StoreError(f"{path} has format {found['format']!r}, not {FORMAT!r}: {advice}")
        if found["version"] != VERSION:
            raise StoreError(f"{path} has version {found['version']!r}; update topoact-gpu")
        found["notes"] = _checked(found["notes"], 2**53)
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"the notes in {path} are damaged ({reason}): {advice}") from error
    return dict(found)


def _checked(given: Any, n_nodes: int) -> list[dict[str, Any]]:
    if not isinstance(given, list) or len(given) > MOST_NOTES:
        raise ParameterError(f"notes must be a list of at most {MOST_NOTES:,} notes")
    return [_checked_note(note, n_nodes) for note in given]


def _checked_note(note: Any, n_nodes: int) -> dict[str, Any]:
    if not isinstance(note, dict):
        raise ParameterError("a note must have nodes, text and when")
    text, when = note.get("text"), note.get("when")
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise ParameterError(f"the text of a note may have {MOST_TEXT:,} characters")
    try:
        datetime.fromisoformat(when if isinstance(when, str) else "")
    except ValueError as error:
        raise ParameterError(f"when must be a time as in ISO 8601, got {when!r:.60}") from error
    return {
        "nodes": ids_of(note.get("nodes"), n_nodes, "nodes").tolist(),
        "text": text,
        "when": when,
    }
