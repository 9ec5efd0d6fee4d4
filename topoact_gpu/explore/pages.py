"""The page's own files."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["STATIC", "page_file"]

STATIC = Path(str(files("topoact_gpu.explore"))) / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
}
MISSING = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>topoact explorer</title>
<body><h1>The page is not built</h1>
<p>The server runs, but this checkout has no built page. Build it with
<code>python setup.py build_page</code> and reload.</p>
"""


def page_file(name: str, folder: Path = STATIC) -> tuple[bytes, str] | None:
    """Content and type of one of the page's files; None if there is no such file.

    Parameters
    ----------
    name : str
        As in the address; empty for the page itself.
    folder : Path

    Notes
    -----
    The name is looked up among the files that are there, so that none outside can be named.
    """
    name = name or "index.html"
    root = folder.resolve()
    known = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and path.resolve().is_relative_to(root)
    }
    if name in known:
        path = known[name]
        return path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream")
    return (MISSING.encode(), TYPES[".html"]) if name == "index.html" else None
