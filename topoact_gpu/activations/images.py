"""Images: folder trees, list files, what installed packages ship, and data sets in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ParameterError
from ..files import os_errors
from .entries import (
    Entry,
    Inputs,
    PackedStrings,
    UnreadableInput,
    fingerprint,
    number_labels,
    read_part,
)
from .photos import PHOTOS, photo_path
from .pixels import decode_image, pillow, to_rgb

__all__ = [
    "IMAGE_SUFFIXES",
    "DatasetInputs",
    "DigitImages",
    "ImageFiles",
    "open_folder",
    "open_list",
    "open_photos",
]

# Folders are listed, not read, so the name decides. Other files are counted in the record.
IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    }
)


class ImageFiles(Inputs):
    """Image files, one an input.

    Parameters
    ----------
    root : Path
        Paths count from here.
    paths : PackedStrings
        As the file system has them (bytes).
    labels : sequence of str or None
        The class of each; None where unknown.
    ids : PackedStrings, optional
        The paths themselves where omitted.
    record : dict, optional
        Further things to record.
    """

    kind = "image"

    def __init__(
        self,
        root: Path,
        paths: PackedStrings,
        labels: Sequence[str | None],
        *,
        ids: PackedStrings | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        pillow()
        self._root, self._paths, self._ids = root, paths, paths if ids is None else ids
        self.class_names, self._class_ids = number_labels(labels)
        digest = fingerprint(*self._ids.parts(), self._class_ids.tobytes(), *self.class_names)
        self.record = {"digest": digest, **(record or {})}

    def __len__(self) -> int:
        return len(self._paths)

    def entry(self, i: int) -> Entry:
        return Entry(self._ids.text(i), int(self._class_ids[i]))

    def load(self, i: int) -> Any:
        id = self._ids.text(i)
        return decode_image(read_part(self._root / os.fsdecode(self._paths[i]), id), id)


def open_folder(root: Path) -> ImageFiles:
    """List a tree of images; the class is the first folder, and directly in ``root`` there is none.

    Names that start with a dot are passed over, links are followed, other files counted.
    """
    with os_errors(f"listing {root}"):
        listed = list(_walk(root))
    names = sorted(name for name in listed if _suffix(name) in IMAGE_SUFFIXES)
    others = len(listed) - len(names)
    if not names:
        raise DataError(
            f"{root} and its folders hold no image ({others:,} other files); images are found by "
            f"their suffix: {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    labels = [name.split("/", 1)[0] if "/" in name else None for name in names]
    paths = PackedStrings(os.fsencode(name) for name in names)
    return ImageFiles(root, paths, labels, record={"other_files": others})


def _walk(root: Path) -> Iterator[str]:
    """Yield every file as a relative path with slashes."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        folder, above = waiting.pop()
        status = os.stat(root / folder)
        inode = (status.st_dev, status.st_ino)
        if inode in above:
            continue  # a link back to a folder that this one is in
        with os.scandir(root / folder) as items:
            for item in items:
                if item.name.startswith("."):
                    continue
                if item.is_dir():
                    waiting.append((f"{folder}{item.name}/", above | {inode}))
                else:
                    yield folder + item.name


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def open_list(file: Path) -> ImageFiles:
    """Read a list of images: ``path`` or ``path<TAB>class`` a line, paths relative to the list."""
    with os_errors(f"reading {file}"):
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    paths: dict[bytes, str | None] = {}
    for number, line in enumerate(lines, start=1):
        path, _, label = line.rstrip(b"\r").partition(b"\t")
        if not path.strip():
            continue
        if path in paths:
            raise DataError(
                f"{file}, line {number}: {os.fsdecode(path)} stands in an earlier line already; "
                "each image may be listed once"
            )
        paths[path] = label.strip().decode("utf-8", "backslashreplace") or None
    if not paths:
        raise DataError(f"{file} lists no image; one path a line is required")
    order = sorted(paths)
    return ImageFiles(file.parent, PackedStrings(order), [paths[path] for path in order])


def open_photos() -> ImageFiles:
    """The colour photographs of scikit-image and scikit-learn, each a class of its own."""
    names = sorted(PHOTOS)
    return ImageFiles(
        Path(),
        PackedStrings(os.fsencode(photo_path(*PHOTOS[name])) for name in names),
        names,
        ids=PackedStrings(name.encode() for name in names),
    )


class DigitImages(Inputs):
    """The handwritten digits of scikit-learn: 1,797 images of 8 x 8, classes "0" to "9"."""

    kind = "image"

    def __init__(self) -> None:
        pillow()
        from sklearn.datasets import load_digits

        digits = load_digits()
        # grey values 0 to 16; ink is light there, and stays so
        self._pixels = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
        self._class_ids = digits.target.astype(np.int32)
        self.class_names = [str(digit) for digit in range(10)]
        self.record = {"digest": fingerprint(self._pixels.tobytes(), self._class_ids.tobytes())}

    def __len__(self) -> int:
        return len(self._pixels)

    def entry(self, i: int) -> Entry:
        return Entry(f"digit:{i}", int(self._class_ids[i]))

    def load(self, i: int) -> Any:
        from PIL import Image

        return Image.fromarray(self._pixels[i]).convert("RGB")


class DatasetInputs(Inputs):
    """Any object with ``len`` and items ``(image, label)``, such as a torch Dataset.

    Parameters
    ----------
    dataset : object
        Items are an image or a text alone, or a tuple that starts with it and goes on with the
        label. An image is a PIL image, uint8[height, width, 3] (a numpy array), uint8[channels,
        height, width] (a tensor), or a floating tensor [channels, height, width]: that one is
        taken as preprocessed, and `load` returns it as it is. ``dataset.classes`` names the
        classes and ``dataset.targets`` holds the labels, where there are such.

    Notes
    -----
    Without ``targets``, the label is known only when the item has been read: `entry` reads it
    then. The last item is kept, so that `load` and `entry` of one input in one process read once.
    """

    def __init__(self, dataset: Any) -> None:
        numbered = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        if not numbered or not len(dataset):
            raise ParameterError(
                "inputs must be a spec (text) or a data set with a length and numbered items, at "
                f"least one; got {type(dataset).__name__}"
            )
        self._dataset = dataset
        self._last: tuple[int, tuple[Any, ...]] | None = None
        self.kind = self._first_kind()
        if self.kind == "image":
            pillow()
        self.class_names = [str(name) for name in getattr(dataset, "classes", None) or ()]
        targets = getattr(dataset, "targets", None)
        self._class_ids: NDArray[np.int32] | None = None
        if targets is not None and len(targets) == len(dataset):
            self._class_ids = np.fromiter((_class_id(target) for target in targets), np.int32)
        ids = b"" if self._class_ids is None else self._class_ids.tobytes()
        name = f"{type(dataset).__module__}.{type(dataset).__qualname__}"
        digest = fingerprint(name, str(len(dataset)), ids, *self.class_names)
        self.record = {"spec": f"dataset:{name}", "digest": digest}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}

    def __len__(self) -> int:
        return len(self._dataset)

    def entry(self, i: int) -> Entry:
        if self._class_ids is not None:
            return Entry(f"item:{i}", int(self._class_ids[i]))
        try:
            item = self._item(i)
        except UnreadableInput:  # `load` says so
            return Entry(f"item:{i}")
        return Entry(f"item:{i}", _class_id(item[1]) if len(item) > 1 else -1)

    def load(self, i: int) -> Any:
        value = self._item(i)[0]
        if self.kind == "text":
            from .text import TextRecord

            return TextRecord(str(value))
        return _as_image(value, f"item:{i}")

    def _first_kind(self) -> str:
        try:
            return "text" if isinstance(self._item(0)[0], str) else "image"
        except UnreadableInput:
            return "image"

    def _item(self, i: int) -> tuple[Any, ...]:
        if self._last is None or self._last[0] != i:
            try:
                item = self._dataset[i]
            except (OSError, SyntaxError) as error:  # what Pillow raises on damaged images
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise UnreadableInput(f"item:{i}", reason) from error
            self._last = (i, tuple(item) if isinstance(item, tuple | list) else (item,))
        return self._last[1]


def _class_id(label: Any) -> int:
    """The label as a number; -1 for what is none (a name, several values, nothing)."""
    if isinstance(label, str | bytes) or label is None or getattr(label, "ndim", None):
        return -1
    try:
        return int(label)
    except (TypeError, ValueError):
        return -1


def _as_image(value: Any, id: str) -> Any:
    """An item as RGB image; a floating tensor passes through."""
    from PIL import Image

    if isinstance(value, Image.Image):
        return to_rgb(value, id)
    tensor = hasattr(value, "detach")
    if tensor and value.ndim == 3 and value.is_floating_point():
        return value.detach().float()
    pixels = np.asarray(value.detach().cpu() if tensor else value)
    if tensor and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] in ((3,), (4,))):
        raise UnreadableInput(
            id,
            "an item must be a PIL image, a uint8 image or a floating tensor [channels, height, "
            f"width]; got {type(value).__name__} of {pixels.dtype}, shape {pixels.shape}",
        )
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels)), id)
