"""From the bytes of an image file to upright RGB pixels, and from those to a thumbnail."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ParameterError
from .entries import UnreadableInput

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["decode_image", "pillow", "thumbnail", "to_rgb"]

_ORIENTATION = 0x0112  # the EXIF tag
_JPEG_QUALITY = 85
# What Pillow's decoders raise on damaged files, besides OSError (and DecompressionBombError).
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError),
    *(OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error),
)


def pillow() -> None:
    """Raise unless Pillow is installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ParameterError(
            "images need Pillow, which is not installed; pip install 'topoact-gpu[capture]'"
        ) from error


def decode_image(data: bytes, id: str) -> Image:
    """Decode an image file.

    Parameters
    ----------
    data : bytes
        The whole file: any format that Pillow reads. Of several frames the first is taken.
    id : str
        Name for the error.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, turned as its EXIF orientation says, without metadata; see `to_rgb`.

    Raises
    ------
    UnreadableInput
        Not an image, truncated, damaged, or of more pixels than twice
        ``PIL.Image.MAX_IMAGE_PIXELS`` (a decompression bomb).
    """
    from PIL import Image

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            upright = _upright(opened)
    except bombs as error:
        raise UnreadableInput(id, f"a decompression bomb? {error}") from error
    except Image.UnidentifiedImageError as error:
        # its own message holds an address in memory, another one in each run
        raise UnreadableInput(id, "not an image in a format that Pillow reads") from error
    except _DAMAGE as error:
        raise UnreadableInput(id, f"damaged: {str(error) or type(error).__name__}") from error
    return to_rgb(upright, id)


def to_rgb(image: Image, id: str) -> Image:
    """Convert an image of any mode to RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Transparency is laid on white. 16-bit grey values are divided by 257. Float grey values
        must lie in [0, 1], and 32-bit ones in [0, 65535], since their white is not defined
        otherwise. Colour profiles are not applied.
    id : str
        Name for the error.

    Returns
    -------
    PIL.Image.Image
        A new image, mode RGB, without metadata.

    Raises
    ------
    UnreadableInput
        There is no rule for its mode or its values.
    """
    try:
        converted = _converted(image, id)
    except (ValueError, OSError) as error:
        if isinstance(error, UnreadableInput):
            raise
        raise UnreadableInput(id, f"mode {image.mode} cannot become RGB: {error}") from error
    converted.info.clear()
    return converted


def thumbnail(image: Image, side: int = 96) -> bytes:
    """Shrink an image to a small JPEG file.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.
    side : int
        Pixels of the longer side; a smaller image keeps its size.

    Returns
    -------
    bytes
        JPEG without metadata; the same for the same pixels and version of Pillow.

    Examples
    --------
    >>> from PIL import Image
    >>> small = Image.open(io.BytesIO(thumbnail(Image.new("RGB", (640, 480), "teal"))))
    >>> small.format, small.size
    ('JPEG', (96, 72))
    """
    from PIL import Image

    if side < 1:
        raise ParameterError(f"the side of a thumbnail must be at least 1 pixel, got {side}")
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    # reducing first by whole factors is several times faster and looks the same at this size
    small = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small.info.clear()  # Pillow would write a comment found there
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _upright(image: Image) -> Image:
    """Turn the pixels as EXIF says; damaged EXIF says nothing, as viewers see it."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        orientation = 1
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _converted(image: Image, id: str) -> Image:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_grey_bytes(image, id)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def _grey_bytes(image: Image, id: str) -> np.ndarray:
    """Grey values of more than eight bits as uint8."""
    values = np.asarray(image)
    white = 1.0 if image.mode == "F" else 65535.0
    low, high = float(values.min()), float(values.max())
    if not 0.0 <= low <= high <= white:
        raise UnreadableInput(
            id, f"grey values of mode {image.mode} must lie in [0, {white:g}], got [{low}, {high}]"
        )
    return np.rint(values * (255.0 / white)).astype(np.uint8)
