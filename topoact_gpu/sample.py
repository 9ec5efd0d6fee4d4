"""The bundled sample: real activations of a small network, to try everything on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PREPROCESSING", "RECEPTIVE_FIELD", "Sample", "load_sample"]

_FILE = "lite0_block10.npz"

PREPROCESSING: dict[str, Any] = {
    "channels": "RGB",
    "short_side": 480,
    "multiple": 32,
    "resampling": "bicubic",
    "mean": 127.0,
    "scale": 128.0,
}
"""What scripts/make_sample.py does to a photograph."""

# Measured by ``receptive_fields(module, image, ["_blocks.10"])`` of topoact_gpu.activations on
# photographs of four sizes, as make_sample.py feeds them: the same in all, and exact. Only height
# and width, at which boxes end, are those of the photograph; here they are a square one's.
RECEPTIVE_FIELD: dict[str, Any] = {
    "stride_y": 16,
    "stride_x": 16,
    "size_y": 339,
    "size_x": 339,
    "offset_y": -154,
    "offset_x": -154,
    "height": 480,
    "width": 480,
    "kind": "exact",
}
"""The box of pixels that a row of the sample sees, as a capture records it."""

_DESCRIPTION = """\
EfficientNet-Lite0, trained on ImageNet, output of block 10: one row per position of the feature
map. Inputs: the {n_photos} colour photographs inside the scikit-image and scikit-learn wheels,
shorter side 480 pixels, (x - 127) / 128. {n_rows:,} positions drawn with seed 0 by
scripts/make_sample.py ({sources}). The label of a row is the photograph it comes from;
it does not say what the patch shows. The motorcycle is a stereo pair: two of the photographs are
nearly equal."""


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """Activations with the place each row comes from.

    Attributes
    ----------
    activations : float16[n_rows, 112]
        One row per position of the feature map, as the network put it out.
    photo : int16[n_rows]
        Index into `photo_names`. It tells which photograph, not what is seen there.
    y, x : int16[n_rows]
        Position in the feature map; one step is 16 pixels of the network's input.
    photo_names : tuple of str
        Names of the photographs, in alphabetical order.
    description : str
        Where the data come from.
    """

    activations: NDArray[np.float16]
    photo: NDArray[np.int16]
    y: NDArray[np.int16]
    x: NDArray[np.int16]
    photo_names: tuple[str, ...]
    description: str

    def __repr__(self) -> str:
        n_rows, n_cols = self.activations.shape
        return f"Sample({n_rows:,} rows × {n_cols} columns, {len(self.photo_names)} photographs)"


def load_sample() -> Sample:
    """Load the activations that come with the package.

    Returns
    -------
    Sample
        10,000 rows × 112 columns, float16, sorted by (photo, y, x).

    Notes
    -----
    Reads a file of 2 MB inside the package; nothing is downloaded. The photographs themselves are
    not part of the package: scikit-image and scikit-learn ship them.

    Examples
    --------
    >>> from topoact_gpu import load_sample
    >>> sample = load_sample()
    >>> sample
    Sample(10,000 rows × 112 columns, 11 photographs)
    >>> sample.photo_names[sample.photo[0]]
    'astronaut'
    """
    with (
        (files("topoact_gpu") / "data" / _FILE).open("rb") as stream,
        np.load(stream, allow_pickle=False) as stored,
    ):
        arrays = {name: stored[name] for name in stored.files}
    names = tuple(str(name) for name in arrays["photo_names"])
    description = _DESCRIPTION.format(
        n_photos=len(names),
        n_rows=len(arrays["activations"]),
        sources=", ".join(str(source) for source in arrays["sources"]),
    )
    columns = {name: arrays[name] for name in ("activations", "photo", "y", "x")}
    return Sample(**columns, photo_names=names, description=description)
