"""Stores that lie behind a URL: as much of a path as reading them takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from topoact_gpu.errors import StoreError

__all__ = ["RemotePath", "place_of"]


def place_of(path: str | Path | RemotePath) -> Any:
    """A local path, or what stands for one where the text is a URL (``s3://bucket/acts.zarr``).

    Returns
    -------
    pathlib.Path or RemotePath

    Raises
    ------
    StoreError
        A package that this kind of URL needs is not installed.
    """
    return (
        RemotePath(path)
        if isinstance(path, str) and "://" in path
        else (path if isinstance(path, RemotePath) else Path(path))
    )


class RemotePath:
    """A place that fsspec reaches, with the methods of `pathlib.Path` that readers call."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs

            self._system, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise StoreError(
                f"{url} cannot be opened: {reason}; pip install 'topoact-gpu[distributed]' and "
                "what this kind of address needs, such as s3fs"
            ) from error
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemotePath({self._url!r})"

    def __truediv__(self, other: str | Path) -> RemotePath:
        tail = str(other).strip("/")
        return self if tail in ("", ".") else RemotePath(f"{self._url}/{tail}")

    @property
    def name(self) -> str:
        """Last part of the address."""
        return self._url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """What follows the last dot of the name, with it."""
        return Path(self.name).suffix

    def resolve(self) -> RemotePath:
        """Itself: an address is in full."""
        return self

    def exists(self) -> bool:
        """Whether something is there."""
        return bool(self._system.exists(self._root))

    def is_file(self) -> bool:
        """Whether an object is there."""
        return bool(self._system.isfile(self._root))

    def is_dir(self) -> bool:
        """Whether other objects are below."""
        return bool(self._system.isdir(self._root))

    def iterdir(self) -> Iterator[RemotePath]:
        """What lies directly below."""
        for found in self._system.ls(self._root, detail=False):
            yield self / str(found).rstrip("/").rpartition("/")[2]

    def stat(self) -> SimpleNamespace:
        """The size, as ``st_size``."""
        return SimpleNamespace(st_size=int(self._system.size(self._root) or 0))

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object as text."""
        text: str = self._system.cat_file(self._root).decode(encoding)
        return text
