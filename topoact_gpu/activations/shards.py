"""Images in tar archives, read at random: an index of the members is made once."""

from __future__ import annotations

import glob
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, StoreError
from ..files import os_errors
from .entries import Entry, Inputs, PackedStrings, fingerprint, number_labels, read_part
from .images import IMAGE_SUFFIXES
from .pixels import decode_image, pillow

__all__ = ["TarImages", "open_tar", "short_names"]

_LABEL_SUFFIXES = (".cls", ".json")
_MAX_LABEL_BYTES = 1 << 20


@dataclass(frozen=True)
class _Member:
    name: str
    offset: int
    size: int

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]

    @property
    def key(self) -> str:
        """What the parts of one sample share in WebDataset: all up to the first dot."""
        folder, slash, base = self.name.rpartition("/")
        return folder + slash + base.split(".", 1)[0]

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1].lower()


class TarImages(Inputs):
    """Image members of uncompressed tar archives, as `open_tar` lists them."""

    kind = "image"
    column_names = ("shard",)

    def __init__(self, shards: list[Path], found: list[list[tuple[_Member, str | None]]]) -> None:
        pillow()
        self._shards, self._names = shards, short_names(shards)
        flat = [(number, *pair) for number, part in enumerate(found) for pair in part]
        self._shard = np.array([number for number, _, _ in flat], dtype=np.int32)
        self._members = PackedStrings(_encoded(member.name) for _, member, _ in flat)
        self._places = np.array([(m.offset, m.size) for _, m, _ in flat], dtype="<i8")
        self.class_names, self._class_ids = number_labels([label for *_, label in flat])
        self.record = {
            "shards": len(shards),
            "digest": fingerprint(
                *self._members.parts(),
                *(array.tobytes() for array in (self._shard, self._places, self._class_ids)),
                *self._names,
                *self.class_names,
            ),
        }

    def __len__(self) -> int:
        return len(self._members)

    def entry(self, i: int) -> Entry:
        shard = self._names[self._shard[i]]
        return Entry(f"{shard}:{self._members.text(i)}", int(self._class_ids[i]), {"shard": shard})

    def load(self, i: int) -> Any:
        id = self.entry(i).id
        offset, size = (int(number) for number in self._places[i])
        path = self._shards[self._shard[i]]
        return decode_image(read_part(path, id, offset=offset, size=size), id)


def open_tar(pattern: str, *, ext: str | None = None, label: str = "label") -> TarImages:
    """List the images in the archives that a pattern names.

    Parameters
    ----------
    pattern : str
        Path of uncompressed tar archives, with ``*``, ``?``, ``[...]`` and ``**``.
    ext : str, optional
        Take members that end in this only (``"jpg"``, ``"seg.png"``), where samples hold several
        images. Otherwise each image is an input.
    label : str
        Field of the label in ``KEY.json``.

    Returns
    -------
    TarImages
        Sorted by (archive, member). The class is the content of ``KEY.cls`` or that field of
        ``KEY.json``, where KEY is the member's name without its suffix, or up to its first dot as
        in WebDataset. Archives without a label of that kind take the folder that holds the member.

    Notes
    -----
    Reads the headers of all members, and the labels; not the images.
    """
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not paths:
        raise DataError(f"no file matches {pattern}; give the path of tar archives")
    shards = [Path(path) for path in paths]
    listed = [_list_shard(path, label) for path in shards]
    labelled = any(labels for _, labels in listed)
    wanted = "" if ext is None else "." + ext.lower().lstrip(".")
    found = []
    for members, labels in listed:
        images = sorted(members, key=lambda member: member.name)
        images = [member for member in images if member.name.lower().endswith(wanted)]
        known = [labels.get(image.stem, labels.get(image.key)) for image in images]
        found.append(list(zip(images, known if labelled else map(_folder, images), strict=True)))
    if not any(found):
        ending = f" ending in {wanted}" if wanted else ""
        raise DataError(f"{len(shards)} archives match {pattern}, none holds an image{ending}")
    return TarImages(shards, found)


def _list_shard(path: Path, field: str) -> tuple[list[_Member], dict[str, str]]:
    """Image members of an archive (the last of equal names, as tar has it), and labels by key."""
    images: dict[str, _Member] = {}
    labels: dict[str, str] = {}
    with os_errors(f"reading {path}"), open(path, "rb") as stream:
        for member in _members(path):
            if member.suffix in IMAGE_SUFFIXES:
                images[member.name] = member
            elif member.suffix in _LABEL_SUFFIXES and member.size <= _MAX_LABEL_BYTES:
                stream.seek(member.offset)
                found = _label(stream.read(member.size), member.suffix, field)
                if found is not None and (member.suffix == ".cls" or member.stem not in labels):
                    labels[member.stem] = found
    return list(images.values()), labels


def _members(path: Path) -> Iterator[_Member]:
    """Yield the regular files of an archive that stand in it as one piece."""
    count = 0
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                count += 1
                name = member.name.removeprefix("./")
                if member.isreg() and not member.issparse() and not _hidden(name):
                    yield _Member(name, member.offset_data, member.size)
            _check_end(path, archive.offset)
    except tarfile.TarError as error:
        raise StoreError(
            f"{path} is no complete, uncompressed tar archive: {error} after {count:,} members; "
            "decompress it, make it again, or leave it out"
        ) from error


def _check_end(path: Path, offset: int) -> None:
    """Raise unless zeros or nothing follow: tarfile takes a damaged header for the end."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"damaged header at byte {offset:,}")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _label(data: bytes, suffix: str, field: str) -> str | None:
    """The class that a label member gives; None for what cannot be understood."""
    try:
        text = data.decode("utf-8").strip()
        if suffix == ".cls":
            return text or None
        content = json.loads(text)
    except ValueError:
        return None
    found = content.get(field) if isinstance(content, dict) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else None


def _folder(member: _Member) -> str | None:
    return member.name.rpartition("/")[0].rpartition("/")[2] or None


def short_names(shards: list[Path]) -> list[str]:
    """Paths of the archives from the folder that holds all of them."""
    parents = [os.path.abspath(path.parent) for path in shards]
    root = os.path.commonpath(parents)
    return [Path(os.path.relpath(os.path.abspath(path), root)).as_posix() for path in shards]


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
