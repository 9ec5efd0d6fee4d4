"""Pictures of the inputs of a store: read from where its records say, or the small one it keeps."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.activations.entries import Inputs, UnreadableInput, read_part
from topoact_gpu.activations.geometry import Geometry, geometry_of
from topoact_gpu.activations.pixels import decode_image, pillow, thumbnail
from topoact_gpu.errors import TopoactError
from topoact_gpu.store import Store

from .cache import Cache
from .faults import NotFound

__all__ = ["Picture", "Pictures", "encode"]

CACHE_BYTES = 256 << 20
_SMALL = 64
"""Pictures of at most so many pixels a side are sent as they are, without loss."""
_QUALITY = 88
_MOST_DIFFERENT = 24.0
"""Mean difference of grey values from which two small pictures show something else."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """The pixels of an input, and how large it was.

    Attributes
    ----------
    pixels : uint8[height, width, 3]
        Fewer than ``size`` says where only a small picture was kept.
    size : (int, int)
        Height and width of the input.
    """

    pixels: Pixels
    size: tuple[int, int]

    def cut(self, box: tuple[int, int, int, int]) -> Pixels:
        """The part in a box of pixels of the input, at least one pixel."""
        spans = []
        for low, high, length, there in zip(
            box[:2], box[2:], self.size, self.pixels.shape, strict=False
        ):
            first = min(int(low * there / length), there - 1)
            spans.append(slice(first, max(first + 1, round(high * there / length))))
        return self.pixels[spans[0], spans[1]]


class Kept(NamedTuple):
    """What a store says of an input."""

    id: str
    size: tuple[int, int] | None
    thumbnail: tuple[int, int] | None


class Pictures:
    """The pictures of a store's inputs; nothing is read before it is asked for.

    Parameters
    ----------
    store : Store
    inputs : list of dict, optional
        As `topoact_gpu.capturing.read_inputs` gives them; None for a store that was not captured.
    cache_bytes : int
        What decoded pictures may take; those used least are forgotten.

    Attributes
    ----------
    geometry : Geometry or None
        What the preprocessing did to places, where that is recorded.
    column : str
        The row column that says which input a row is of.

    Notes
    -----
    A path is made of what the store itself records, never of what a request says. A picture that
    is gone or shows something else by now is replaced by the small one that the capture kept.
    """

    def __init__(
        self,
        store: Store,
        inputs: list[dict[str, Any]] | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.store = store
        self.geometry: Geometry | None = geometry_of(_dict(store, "model").get("preprocessing"))
        self._record = _dict(store, "data")
        self._cache = Cache(cache_bytes)
        self.column, self._kept = "input", _kept(inputs or [])
        if inputs is None and isinstance(self._record.get("column"), str):
            self.column = self._record["column"]
            self._kept = self._named(self.column)

    def _named(self, column: str) -> dict[int, Kept]:
        """Inputs whose ids are the names of a row column."""
        layers = [self.store.layer(name) for name in self.store.layers]
        names = max((layer.names.get(column, []) for layer in layers), key=len, default=[])
        return {number: Kept(name, None, None) for number, name in enumerate(names)}

    @property
    def any(self) -> bool:
        """Whether there may be pictures at all."""
        return self._record.get("kind") == "image" and bool(self._kept)

    def id(self, number: int) -> str:
        """The name of an input; its number where it has none."""
        kept = self._kept.get(number)
        return kept.id if kept is not None else str(number)

    def size(self, number: int) -> tuple[int, int] | None:
        """Height and width of an input in pixels; None where they cannot be had."""
        kept = self._kept.get(number)
        if kept is not None and kept.size is not None:
            return kept.size
        try:
            return self.picture(number).size
        except TopoactError:
            return None

    def picture(self, number: int) -> Picture:
        """The picture of an input.

        Raises
        ------
        NotFound
            There is none, with the reason.
        ParameterError
            Pillow is not installed.
        """
        pillow()
        found: Picture = self._cache.get(("picture", number), partial(self._read, number))
        return found

    def _read(self, number: int) -> Picture:
        kept = self._kept.get(number)
        if kept is None or not self.any:
            raise NotFound(
                f"input {number} has no picture: {self.store.path.name} was not captured from "
                "images; nothing can be shown"
            )
        small = self._thumbnail(kept)
        try:
            pixels = self._original(kept)
            _check_same(kept, pixels, small)
        except TopoactError as error:
            if small is None:
                raise NotFound(f"the picture {kept.id} cannot be shown: {error}") from error
            return Picture(small, kept.size or small.shape[:2])
        return Picture(pixels, pixels.shape[:2])

    def _thumbnail(self, kept: Kept) -> Pixels | None:
        if kept.thumbnail is None:
            return None
        start, length = kept.thumbnail
        path = self.store.path / "capture" / "thumbnails.bin"
        try:
            return _pixels(
                decode_image(read_part(path, kept.id, offset=start, size=length), kept.id)
            )
        except UnreadableInput:
            return None

    def _original(self, kept: Kept) -> Pixels:
        spec = self._record.get("spec")
        if not isinstance(spec, str):
            raise NotFound("the store does not say where its inputs were")
        load: Callable[[str], Any] = self._cache.get("source", partial(self._source, spec))
        return _pixels(load(kept.id))

    def _source(self, spec: str) -> Callable[[str], Any]:
        """What loads an input by its id."""
        from topoact_gpu.activations.inputs import parse_spec

        if spec.startswith("dataset:"):
            raise NotFound(
                "the inputs were a data set in memory, of which no files are known; "
                "capture with --thumbnails to keep small pictures"
            )
        name, rest, options = parse_spec(self._absolute(spec))
        if name == "folder":
            return partial(_from_folder, Path(rest))
        if name == "list":
            return partial(_from_list, Path(rest).parent)
        if name == "skimage":
            return _photo
        if name == "tar":
            ext = options.get("ext", _options(self._record).get("ext"))
            return _Shards(rest, ext).load
        if name == "sklearn" and rest == "digits":
            return _Numbered("digit:").load
        raise NotFound(f"inputs of the kind {name}: are no pictures")

    def _absolute(self, spec: str) -> str:
        """The spec with its path counted from the folder in which the capture ran."""
        name, colon, rest = spec.partition(":")
        if name in ("skimage", "sklearn"):
            return spec
        prefix = f"{name}:" if colon and name in ("folder", "list", "tar") else ""
        path = rest if prefix else spec
        folder = self.store.attributes.get("folder")
        if os.path.isabs(path) or not isinstance(folder, str):
            return spec
        return prefix + os.path.join(glob.escape(folder) if name == "tar" else folder, path)


def encode(pixels: Pixels, side: int) -> tuple[bytes, str]:
    """A picture as a file, shrunk to fit.

    Parameters
    ----------
    pixels : uint8[height, width, 3]
    side : int
        Most pixels of the longer side; a smaller picture keeps its size.

    Returns
    -------
    data : bytes
    kind : str
        ``image/png`` for tiny pictures, whose every pixel is wanted, else ``image/jpeg``.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    if max(height, width) <= _SMALL:
        image.save(buffer, "PNG")
        return buffer.getvalue(), "image/png"
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue(), "image/jpeg"


def _check_same(kept: Kept, pixels: Pixels, small: Pixels | None) -> None:
    """Raise where a file shows something else than when it was captured."""
    from PIL import Image

    if kept.size is not None and pixels.shape[:2] != kept.size:
        raise NotFound(
            f"it has {pixels.shape[0]} x {pixels.shape[1]} pixels by now, and had "
            f"{kept.size[0]} x {kept.size[1]} when it was captured; put the old file back"
        )
    if small is None:
        return
    now = _pixels(decode_image(thumbnail(Image.fromarray(pixels)), kept.id))
    differ = now.shape != small.shape or np.abs(now.astype(int) - small).mean() > _MOST_DIFFERENT
    if differ:
        raise NotFound("the file shows something else than when it was captured")


def _from_folder(root: Path, id: str) -> Any:
    path = (root / id).resolve()
    if os.path.isabs(id) or ".." in Path(id).parts:
        raise NotFound("its record leads out of the folder of the inputs")
    return decode_image(read_part(path, id), id)


def _from_list(folder: Path, id: str) -> Any:
    return decode_image(read_part(folder / id, id), id)


def _photo(id: str) -> Any:
    from topoact_gpu.activations.photos import PHOTOS, photo_path

    if id not in PHOTOS:
        raise NotFound("there is no such photograph in the installed packages")
    return decode_image(read_part(photo_path(*PHOTOS[id]), id), id)


class _Numbered:
    """Digits, of which the ids end in their numbers."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._inputs: Inputs | None = None

    def load(self, id: str) -> Any:
        from topoact_gpu.activations.images import DigitImages

        if self._inputs is None:
            self._inputs = DigitImages()
        number = id.removeprefix(self._prefix)
        if not number.isdecimal() or int(number) >= len(self._inputs):
            raise NotFound("there is no such digit")
        return self._inputs.load(int(number))


class _Shards:
    """Members of archives; an archive is listed when one of its members is first asked for."""

    def __init__(self, pattern: str, ext: Any) -> None:
        from topoact_gpu.activations.shards import short_names

        found = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
        if not found:
            raise NotFound(f"no archive matches {pattern} any more; put them back")
        paths = [Path(path) for path in found]
        self._paths = dict(zip(short_names(paths), paths, strict=True))
        self._ext = ext
        self._open: dict[str, tuple[Inputs, dict[str, int]]] = {}

    def load(self, id: str) -> Any:
        shard = next((name for name in self._paths if id.startswith(f"{name}:")), None)
        if shard is None:
            raise NotFound("its archive is gone; put it back")
        inputs, places = self._open.get(shard) or self._listed(shard)
        member = id[len(shard) + 1 :]
        if member not in places:
            raise NotFound(f"the archive {shard} holds it no more")
        return inputs.load(places[member])

    def _listed(self, shard: str) -> tuple[Inputs, dict[str, int]]:
        from topoact_gpu.activations.shards import open_tar

        path = self._paths[shard]
        inputs = open_tar(glob.escape(str(path)), ext=self._ext)
        start = len(path.name) + 1
        places = {inputs.entry(i).id[start:]: i for i in range(len(inputs))}
        self._open[shard] = inputs, places
        return inputs, places


def _kept(inputs: list[dict[str, Any]]) -> dict[int, Kept]:
    return {
        line["input"]: Kept(
            str(line.get("id", line["input"])), _two(line.get("size")), _two(line.get("thumbnail"))
        )
        for line in inputs
        if isinstance(line.get("input"), int)
    }


def _two(value: Any) -> tuple[int, int] | None:
    whole = isinstance(value, list) and len(value) == 2 and all(isinstance(v, int) for v in value)
    return (value[0], value[1]) if whole else None


def _dict(store: Store, name: str) -> dict[str, Any]:
    found = store.attributes.get(name)
    return found if isinstance(found, dict) else {}


def _options(record: dict[str, Any]) -> dict[str, Any]:
    found = record.get("options")
    return found if isinstance(found, dict) else {}


def _pixels(image: Any) -> Pixels:
    return np.asarray(image, dtype=np.uint8)
