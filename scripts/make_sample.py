"""Make the bundled sample: ``topoact_gpu/data/lite0_block10.npz``.

Activations of the ImageNet-trained EfficientNet-Lite0 at the output of block 10, on the colour
photographs that the scikit-image and scikit-learn wheels ship. Nothing is downloaded, and the
photographs are read from the installed packages. Rerun it with::

    pip install '.[capture]'
    python scripts/make_sample.py

The same file comes out again on the same kind of machine; on another one the last bit of some
float16 values may differ, because convolutions sum in another order there.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from topoact_gpu.activations.blocks import blocks
from topoact_gpu.activations.inputs import open_inputs
from topoact_gpu.activations.models import load_model
from topoact_gpu.activations.photos import PHOTOS
from topoact_gpu.activations.plan import make_plan
from topoact_gpu.activations.sampling import parse_sampling
from topoact_gpu.sample import PREPROCESSING

BLOCK = 10
SHORT_SIDE = int(PREPROCESSING["short_side"])
# the network halves its input five times; other sizes would be padded unevenly
STRIDE = int(PREPROCESSING["multiple"])
N_ROWS = 10_000
SEED = 0
MAX_BYTES = 3_000_000
TARGET = Path(__file__).resolve().parent.parent / "topoact_gpu" / "data" / "lite0_block10.npz"

# ImageNet classes: what a model that is loaded and fed rightly must say.
EXPECTED = {
    "coffee": {967: "espresso"},
    "chelsea": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
}


def as_input(image: Any) -> Any:
    """An RGB photograph as network input, a float32 tensor [3, height, width].

    The shorter side becomes ``SHORT_SIDE``, the longer one the nearest multiple of ``STRIDE``.
    """
    import torch
    from PIL import Image

    scale = SHORT_SIDE / min(image.size)
    width, height = (max(1, round(side * scale / STRIDE)) * STRIDE for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return torch.from_numpy(((pixels - 127.0) / 128.0).transpose(2, 0, 1).copy())


def check_class(name: str, found: int) -> None:
    """Stop when the network's class is not what the photograph shows."""
    expected = EXPECTED.get(name)
    if expected is not None and found not in expected:
        raise SystemExit(
            f"refusing to write: the model sees class {found} in {name}, expected one of "
            f"{expected}; check the weights and the preprocessing"
        )


def capture() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Run every photograph through the network.

    Returns
    -------
    activations : float32[n_positions, 112]
    photo, y, x : int16[n_positions]
        Number of the photograph, and the position in the block's output.
    """
    import torch

    torch.set_num_threads(1)  # the thread count changes the order of sums, and so last bits
    model = replace(load_model("efficientnet-lite0"), preprocess=as_input)
    plan = make_plan(
        model, [f"_blocks.{BLOCK}"], open_inputs("skimage:photos"), sampling=parse_sampling("all"),
        seed=SEED, batch_size=1,
    )  # fmt: skip
    parts = []
    for block in blocks(plan):
        for photo in block.inputs:
            print(f"{photo['id']:18s} class {photo['prediction']}, {photo['confidence']:.2f}")
            check_class(photo["id"], photo["prediction"])
        parts.append(block.layers[f"_blocks.{BLOCK}"])
    columns = (
        np.concatenate([part.columns[name] for part in parts]).astype(np.int16)
        for name in ("input", "y", "x")
    )
    return np.concatenate([part.values for part in parts]), *columns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TARGET, help="file to write")
    target = parser.parse_args().out
    activations, photo, y, x = capture()
    drawn = np.random.default_rng(SEED).choice(len(activations), N_ROWS, replace=False)
    drawn.sort()
    arrays = {
        "activations": activations[drawn].astype(np.float16),
        "photo": photo[drawn],
        "y": y[drawn],
        "x": x[drawn],
        "photo_names": np.array(list(PHOTOS)),
        "sources": np.array(
            [f"{name} {version(name)}" for name in ("scikit-image", "scikit-learn", "torch")]
        ),
    }
    if not np.isfinite(arrays["activations"]).all():
        raise SystemExit("refusing to write: activations beyond float16")
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **arrays)
    size = target.stat().st_size
    print(f"{len(drawn):,} of {len(activations):,} positions, {size:,} bytes: {target}")
    if size > MAX_BYTES:
        target.unlink()
        raise SystemExit(f"refusing to keep it: {size:,} bytes, at most {MAX_BYTES:,} allowed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
