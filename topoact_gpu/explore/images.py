"""What a row saw: its box in the picture, the patch in it, the whole picture, and means of patches.

A position of a layer sees a box of the preprocessed image, as the capture measured it; the box is
led back through crop and resize into the picture. Where one of these is not recorded there is no
box, and the picture stands for the patch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.activations.geometry import Placed
from topoact_gpu.activations.pixels import pillow
from topoact_gpu.activations.receptive import ReceptiveField
from topoact_gpu.errors import ParameterError, TopoactError

from .faults import NotFound
from .pictures import Pictures, encode
from .run_view import RunView

__all__ = ["average", "box_of", "check_side", "input_of", "patch", "pictures_of", "whole"]

AVERAGE_ROWS = 200
_GREY = 127
_SIDES = (8, 4096)

Box = tuple[int, int, int, int]


def pictures_of(run: RunView) -> Pictures | None:
    """The pictures of the store that a run's rows are from; None without a store."""
    store = run.store
    if store is None:
        return None
    key = (run.store_id, "pictures")
    found: Pictures = run.session.cache.get(key, lambda: Pictures(store, run.inputs))
    return found


def input_of(run: RunView) -> NDArray[np.int64] | None:
    """Number of the input of each row, int64[n_rows]; None where that is not known."""
    pictures = pictures_of(run)
    column = "input" if pictures is None else pictures.column
    found = run.columns.get(column)
    return None if found is None or found.dtype.kind not in "iu" else found.astype(np.int64)


def box_of(run: RunView, row: int) -> Box | None:
    """The pixels of its input that a row saw.

    Returns
    -------
    (top, left, bottom, right) or None
        In pixels of the picture, ends excluded. None where the field of the layer, the
        preprocessing or the size of the picture is not known.
    """
    found = _placed(run, row)
    if found is None:
        return None
    field, placed, y, x = found
    return placed.back(field.box(y, x))


def _placed(run: RunView, row: int) -> tuple[ReceptiveField, Placed, int, int] | None:
    field, pictures, numbers = _field(run), pictures_of(run), input_of(run)
    if field is None or pictures is None or numbers is None or pictures.geometry is None:
        return None
    y, x = run.columns.get("y"), run.columns.get("x")
    size = pictures.size(int(numbers[row]))
    if y is None or x is None or size is None:
        return None
    placed = pictures.geometry.place(*size)
    # pictures of several sizes may have gone through the network: boxes end where theirs does
    field = field._replace(height=placed.height, width=placed.width)
    return field, placed, int(y[row]), int(x[row])


def _field(run: RunView) -> ReceptiveField | None:
    """What a position of the run's layer sees."""

    def read() -> dict[str, Any]:
        layer = run.layer
        found = None if layer is None else layer.attributes.get("receptive_field")
        return {"field": ReceptiveField(**found) if isinstance(found, dict) else None}

    try:
        found: ReceptiveField | None = run.once("receptive field", read)["field"]
    except TypeError:  # of another version: other names
        return None
    return found


def patch(run: RunView, row: int, side: int = 96) -> tuple[bytes, str]:
    """The part of its picture that a row saw, as a file.

    Parameters
    ----------
    run : RunView
    row : int
    side : int
        Pixels of the longer side, at most.

    Returns
    -------
    data : bytes
    kind : str
        ``image/jpeg`` or ``image/png``.

    Raises
    ------
    NotFound
        There is no such row or no picture of it; the reason is in the message.
    """
    picture = _picture(run, row, check_side(side))
    box = box_of(run, row)
    return encode(picture.pixels if box is None else picture.cut(box), side)


def whole(run: RunView, row: int, side: int = 512) -> tuple[bytes, str]:
    """The whole picture of a row's input, as a file; see `patch`."""
    return encode(_picture(run, row, check_side(side)).pixels, side)


def _picture(run: RunView, row: int, _side: int) -> Any:
    pictures, numbers = pictures_of(run), input_of(run)
    if not 0 <= row < run.header.n_rows:
        raise NotFound(f"rows are 0 to {run.header.n_rows - 1:,}, got {row:,}")
    if pictures is None or numbers is None or not pictures.any:
        raise NotFound(
            f"{run.name} has no pictures: its rows are not of images whose place is known"
        )
    return pictures.picture(int(numbers[row]))


def check_side(side: int) -> int:
    """Raise unless a side in pixels is within reason."""
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise ParameterError(f"side must be {_SIDES[0]} to {_SIDES[1]} pixels, got {side}")
    return side


def average(
    run: RunView, rows: NDArray[np.int64], side: int = 96, *, seed: int = 0
) -> tuple[bytes, str]:
    """The mean of what rows saw, as a file.

    Parameters
    ----------
    run : RunView
    rows : int64[n]
        Above 200, a seeded choice of 200 of them.
    side : int
        Of the square that comes back.
    seed : int

    Notes
    -----
    Patches are laid on each other by the centre of what they would see if the picture had no end;
    where it ends, the mean is over the others. What no patch covers stays grey. Rows without a
    picture are left out.

    Raises
    ------
    NotFound
        No row has a picture; the message says why the first has none.
    """
    check_side(side)
    pillow()
    if len(rows) > AVERAGE_ROWS:
        chosen = np.random.default_rng(seed).choice(rows, AVERAGE_ROWS, replace=False)
        rows = np.sort(chosen)
    total, count = np.zeros((side, side, 3)), np.zeros((side, side, 1))
    reason: TopoactError = NotFound("no rows were asked for, so there is no mean")
    for row in rows.tolist():
        try:
            _lay_on(run, row, total, count)
        except NotFound as error:
            reason = error
    if not count.any():
        raise reason
    mean = np.where(count > 0, total / np.maximum(count, 1), _GREY)
    return encode(np.rint(mean).astype(np.uint8), side)


def _lay_on(run: RunView, row: int, total: NDArray[np.float64], count: NDArray[np.float64]) -> None:
    """Add a row's patch to the sums, at its place in a square around the centre of its field."""
    from PIL import Image

    side = len(total)
    picture, box = _picture(run, row, side), box_of(run, row)
    cut = picture.pixels if box is None else picture.cut(box)
    seen = box or (0, 0, *picture.size)
    top, left, bottom, right = _endless(run, row) or seen
    scale = side / max(bottom - top, right - left)
    middle = (top + bottom) / 2.0, (left + right) / 2.0
    spans = []
    for low, high, centre in zip(seen[:2], seen[2:], middle, strict=True):
        first = min(max(round((low - centre) * scale + side / 2), 0), side - 1)
        last = min(max(round((high - centre) * scale + side / 2), first + 1), side)
        spans.append(slice(first, last))
    size = spans[1].stop - spans[1].start, spans[0].stop - spans[0].start
    image = Image.fromarray(np.ascontiguousarray(cut)).resize(size, Image.Resampling.BILINEAR)
    total[spans[0], spans[1]] += np.asarray(image, dtype=np.float64)
    count[spans[0], spans[1]] += 1


def _endless(run: RunView, row: int) -> tuple[float, float, float, float] | None:
    """The box of a row in a picture without end; None where the field is not a box that moves."""
    found = _placed(run, row)
    if found is None or found[0].kind == "whole" or found[2] < 0:
        return None
    field, placed, y, x = found
    top, left = field.offset_y + y * field.stride_y, field.offset_x + x * field.stride_x
    return (
        placed.shift_y + top * placed.scale_y,
        placed.shift_x + left * placed.scale_x,
        placed.shift_y + (top + field.size_y) * placed.scale_y,
        placed.shift_x + (left + field.size_x) * placed.scale_x,
    )
