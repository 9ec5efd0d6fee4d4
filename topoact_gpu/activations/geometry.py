"""From pixels of the preprocessed image back to pixels of the picture.

What the preprocessing did to places is read from what a capture records of it: a dict of settings,
or the text of a composition of torchvision's transforms. A preprocessing of your own can say it in
the record of its model: ``{"preprocessing": {"short_side": 256, "crop": 224}}``, or
``{"short_side": 480, "multiple": 32}`` where both sides become multiples and nothing is cut off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Geometry", "Placed", "geometry_of"]

Box = tuple[int, int, int, int]
Size = tuple[int, int]

_EPSILON = 1e-6
# Steps of a composition that leave every pixel where it is.
_STILL = frozenset(
    {"ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ConvertImageDtype"}
    | {"Normalize", "ToImage", "ToDtype", "ToPureTensor", "Grayscale"}
)


class Placed(NamedTuple):
    """Where the preprocessed image lies in one picture.

    Attributes
    ----------
    height, width : int
        Of the preprocessed image.
    scale_y, scale_x : float
        Pixels of the picture for one of its pixels.
    shift_y, shift_x : float
        Where it begins in the picture; negative where it was padded.
    picture : (int, int)
        Height and width of the picture.
    """

    height: int
    width: int
    scale_y: float
    scale_x: float
    shift_y: float
    shift_x: float
    picture: Size

    def back(self, box: Box) -> Box:
        """The pixels of the picture that a box of the preprocessed image touches.

        Parameters
        ----------
        box : (top, left, bottom, right)
            Ends excluded; cut off at the border of the preprocessed image.

        Examples
        --------
        >>> Geometry(short_side=256, crop=(224, 224)).place(512, 512).back((0, 0, 224, 112))
        (32, 32, 480, 256)
        """
        top, left = max(box[0], 0), max(box[1], 0)
        bottom, right = min(box[2], self.height), min(box[3], self.width)
        rows, columns = self.picture
        ends = (
            math.floor(self.shift_y + top * self.scale_y + _EPSILON),
            math.floor(self.shift_x + left * self.scale_x + _EPSILON),
            math.ceil(self.shift_y + bottom * self.scale_y - _EPSILON),
            math.ceil(self.shift_x + right * self.scale_x - _EPSILON),
        )
        y, x = max(min(ends[0], rows - 1), 0), max(min(ends[1], columns - 1), 0)
        return y, x, min(max(ends[2], y + 1), rows), min(max(ends[3], x + 1), columns)


@dataclass(frozen=True)
class Geometry:
    """What a preprocessing does to places: a resize, then a crop around the centre.

    Attributes
    ----------
    short_side : int, optional
        The shorter side becomes this long, the longer one in proportion.
    exact : (int, int), optional
        Or: height and width become this, whatever they were.
    multiple : int
        Both sides are rounded to multiples of this.
    crop : (int, int), optional
        Height and width of the centre that is kept.
    cut : {"half", "floor"}
        How torchvision rounds sizes and places (the longer side down, the crop's place to even),
        or how EfficientNet-Lite does (the longer side to the nearest, the place down).
    """

    short_side: int | None = None
    exact: Size | None = None
    multiple: int = 1
    crop: Size | None = None
    cut: str = "floor"

    def place(self, height: int, width: int) -> Placed:
        """Where the preprocessed image lies in a picture of this size."""
        resized = self._resized(height, width)
        scales = height / resized[0], width / resized[1]
        kept, starts = resized, (0, 0)
        if self.crop is not None:
            kept = self.crop
            starts = self._start(resized[0], kept[0]), self._start(resized[1], kept[1])
        return Placed(*kept, *scales, starts[0] * scales[0], starts[1] * scales[1], (height, width))

    def _resized(self, height: int, width: int) -> Size:
        if self.exact is not None:
            return self.exact
        if self.short_side is None:
            return height, width
        short = min(height, width)
        if self.multiple > 1:
            units = (side * (self.short_side / short) / self.multiple for side in (height, width))
            return _pair(max(1, round(unit)) * self.multiple for unit in units)
        if self.cut == "half":
            return _pair(
                self.short_side if side == short else int(self.short_side * side / short)
                for side in (height, width)
            )
        factor = self.short_side / short
        return _pair(max(self.short_side, round(side * factor)) for side in (height, width))

    def _start(self, length: int, kept: int) -> int:
        if self.cut == "floor":
            return (length - kept) // 2
        if kept > length:  # padded in front by half of what is missing, rounded down
            return -((kept - length) // 2)
        return round((length - kept) / 2.0)


def geometry_of(preprocessing: Any) -> Geometry | None:
    """What a recorded preprocessing does to places; None where the record does not say.

    Parameters
    ----------
    preprocessing : dict or str
        ``model["preprocessing"]`` of a captured store.

    Examples
    --------
    >>> geometry_of({"transform": "ImageClassification", "resize_size": [256], "crop_size": [224]})
    Geometry(short_side=256, exact=None, multiple=1, crop=(224, 224), cut='half')
    >>> geometry_of("Compose( Resize(size=(224, 224)) ToTensor())").exact
    (224, 224)
    >>> geometry_of("mine.prepare") is None
    True
    """
    try:
        if isinstance(preprocessing, Mapping):
            return _from_settings(preprocessing)
        return _from_text(preprocessing) if isinstance(preprocessing, str) else None
    except (TypeError, ValueError):
        return None


def _from_settings(settings: Mapping[str, Any]) -> Geometry | None:
    if "short_side" in settings:
        crop = settings.get("crop")
        return Geometry(
            int(settings["short_side"]),
            multiple=int(settings.get("multiple", 1)),
            crop=None if crop is None else _size(crop),
        )
    if "resize_size" in settings and "crop_size" in settings:
        resize = settings["resize_size"]
        crop = _size(settings["crop_size"])
        if isinstance(resize, list) and len(resize) == 2:
            return Geometry(exact=_size(resize), crop=crop, cut="half")
        return Geometry(_size(resize)[0], crop=crop, cut="half")
    text = settings.get("transform")
    return _from_text(text) if isinstance(text, str) else None


def _from_text(text: str) -> Geometry | None:
    """The steps of ``Compose(...)``; a step that is not known may move anything."""
    composed = re.fullmatch(r"\s*Compose\((.*)\)\s*", text, re.DOTALL)
    if composed is None:
        return None
    made: dict[str, Any] = {"cut": "half"}
    for name, arguments in re.findall(
        r"(\w+)\(((?:[^()]|\([^()]*\)|\([^()]*\([^()]*\)\))*)\)", composed[1]
    ):
        found = re.search(r"size=(\[[^\]]*\]|\([^)]*\)|\d+)", arguments)
        if name == "Resize" and found and "crop" not in made and len(made) == 1:
            made |= _resize(found[1], arguments)
        elif name == "CenterCrop" and found and "crop" not in made:
            made["crop"] = _size(_numbers(found[1]))
        elif name not in _STILL:
            return None
    return Geometry(**made)


def _resize(size: str, arguments: str) -> dict[str, Any]:
    if re.search(r"max_size=(?!None)", arguments):
        raise ValueError("the longer side is bounded as well")
    numbers = _numbers(size)
    return {"short_side": numbers[0]} if len(numbers) == 1 else {"exact": _size(numbers)}


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _size(value: Any) -> Size:
    numbers = [int(number) for number in (value if isinstance(value, list | tuple) else [value])]
    if len(numbers) not in (1, 2):
        raise ValueError(f"a size is one number or two, got {value}")
    return numbers[0], numbers[-1]


def _pair(values: Any) -> Size:
    first, second = values
    return first, second
