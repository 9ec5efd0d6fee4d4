"""Where numba keeps compiled kernels, and when it must forget them.

numba caches beside the source when it can. Two things it leaves to us: a place to write when
neither that folder nor the home folder is writable (it raises otherwise), and sources that changed
below a kernel. It notices that a kernel's own file changed, but not a file whose functions are
compiled into it, and would go on running the old code.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["forget_changed", "prepare", "writable_cache"]

_RECORD = "numba-sources.json"


def prepare(folder: Path, package: str) -> None:
    """Make numba's cache usable and true for the kernels in ``folder``.

    Does nothing when the user has chosen a place with ``NUMBA_CACHE_DIR``.

    Parameters
    ----------
    folder : Path
        Folder of the package whose functions numba compiles.
    package : str
        Its import name, such as ``"topoact_gpu.kernels"``.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    sources = {path: path.read_bytes() for path in sorted(folder.rglob("*.py"))}
    if _is_writable(folder / "__pycache__"):
        forget_changed(folder, package, sources)
        return
    digest = hashlib.sha256(b"\0".join(sources.values())).hexdigest()[:16]
    chosen = str(writable_cache() / digest)
    os.environ["NUMBA_CACHE_DIR"] = chosen
    if "numba" in sys.modules:  # it read the environment when it was imported
        sys.modules["numba"].config.CACHE_DIR = chosen


def writable_cache() -> Path:
    """Folder for compiled kernels that this user, and nobody else, can write to.

    Returns
    -------
    Path
        ``topoact-gpu/numba`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``),
        or a private folder under the system's temporary one where that cannot be written.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # no home folder
        base = Path(cache_home) if cache_home else Path.home() / ".cache"
        wanted = base / "topoact-gpu" / "numba"
        if _is_writable(wanted):
            return wanted
    return _private_temporary()


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in ``folder``; it is made first where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private_temporary() -> Path:
    """Temporary folder that is ours alone: cached kernels are run, so nobody may plant any."""
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    folder = Path(tempfile.gettempdir()) / f"topoact-gpu-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if hasattr(os, "getuid"):
        ours = stat.S_ISDIR(state.st_mode) and state.st_uid == user and not state.st_mode & 0o077
        if not ours:
            return Path(tempfile.mkdtemp(prefix="topoact-gpu-"))
    return folder


def forget_changed(folder: Path, package: str, sources: dict[Path, bytes]) -> list[Path]:
    """Delete the compiled kernels that rest on a source which has changed.

    Parameters
    ----------
    folder : Path
        Folder of the package.
    package : str
        Its import name.
    sources : dict of Path to bytes
        Every source file in `folder` with its content.

    Returns
    -------
    list of Path
        Sources whose compiled kernels were dropped: they, or something they import from the
        package, changed since the last call.
    """
    record = folder / "__pycache__" / _RECORD
    known = _read_record(record)
    contents = sorted((_key(folder, path), text) for path, text in sources.items())
    raw = hashlib.sha256(repr(contents).encode()).hexdigest()
    if known.get("all") == raw:
        return []
    digests = _digests(folder, package, sources)
    changed = [path for path in sources if known.get(_key(folder, path)) != digests[path]]
    for path in changed:
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.nb[ic]"):
            compiled.unlink(missing_ok=True)
    entries = {_key(folder, path): digest for path, digest in digests.items()}
    _write_record(record, {"all": raw, **entries})
    return changed


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _read_record(record: Path) -> dict[str, str]:
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_record(record: Path, entries: dict[str, str]) -> None:
    """Replace the record in one step: several processes may start at once."""
    handle, temporary = tempfile.mkstemp(dir=record.parent)
    with os.fdopen(handle, "w") as stream:
        json.dump(entries, stream)
    os.replace(temporary, record)


def _digests(folder: Path, package: str, sources: dict[Path, bytes]) -> dict[Path, str]:
    """Digest of each source together with all that it imports from the package."""
    imports = {
        path: set(_imported(folder, package, path, sources)) & sources.keys() for path in sources
    }
    result = {}
    for path in sources:
        reached, todo = {path}, [path]
        while todo:
            found = imports[todo.pop()] - reached
            reached |= found
            todo.extend(found)
        content = b"\0".join(sources[one] for one in sorted(reached))
        result[path] = hashlib.sha256(content).hexdigest()
    return result


def _imported(folder: Path, package: str, path: Path, sources: dict[Path, bytes]) -> Iterator[Path]:
    """Yield the files that ``path`` may import from the package (some may not exist)."""
    try:
        tree = ast.parse(sources[path])
    except SyntaxError:  # half-edited; importing it will say so
        return
    here = [package, *path.relative_to(folder).parent.parts]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            if name == package or name.startswith(f"{package}."):
                target = folder.joinpath(*name[len(package) + 1 :].split("."))
                yield target.with_name(f"{target.name}.py")
                yield target / "__init__.py"
