"""Capture beside a plain loop that loads, preprocesses and forwards the same images.

The images are crops of the photographs that the scikit-image and scikit-learn wheels ship, written
as JPEGs into the cache. Both read with the same number of threads and run the same network to the
end in batches of the same size; the loop keeps nothing, capture takes three layers and writes a
store.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks import measure

LAYERS = ["_blocks.3", "_blocks.8", "_blocks.13"]
BATCH = 4
"""What capture finds for this network; larger batches cost page faults (both sides)."""
SIDE = 320


def crops(folder: Path, count: int) -> Path:
    """A folder of JPEGs, two hundred a class; made once."""
    from PIL import Image

    from topoact_gpu.activations.inputs import open_inputs

    target = folder / f"crops-{count}"
    if target.exists():
        return target
    part = folder / f"crops-{count}.partial"
    shutil.rmtree(part, ignore_errors=True)
    rng, photos = np.random.default_rng(0), open_inputs("skimage:photos")
    for number in range(count):
        photo = photos.load(number % len(photos))
        left, top = (int(rng.integers(0, max(side - SIDE, 1))) for side in photo.size)
        home = part / f"{number // 200:03d}"
        home.mkdir(parents=True, exist_ok=True)
        crop = photo.crop((left, top, left + SIDE, top + SIDE)).resize((SIDE, SIDE))
        assert isinstance(crop, Image.Image)
        crop.save(home / f"{number:06d}.jpg", quality=90)
    part.rename(target)
    return target


def plain(folder: Path, workers: int) -> float:
    """Seconds of the loop."""
    import torch

    from topoact_gpu.activations.inputs import open_inputs
    from topoact_gpu.activations.models import load_model

    model, inputs = load_model("efficientnet-lite0"), open_inputs(folder)
    network = model.module.eval()
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool, torch.inference_mode():
        for batch in _batches(pool, lambda i: model.preprocess(inputs.load(i)), len(inputs)):
            network(torch.stack(batch))
    return time.perf_counter() - start


def _batches(pool: ThreadPoolExecutor, read, count: int) -> Iterator[list]:
    """Batches in order, the next one read while one is used."""
    ahead = None
    for first in range(0, count, BATCH):
        following = [pool.submit(read, i) for i in range(first, min(first + BATCH, count))]
        if ahead is not None:
            yield [future.result() for future in ahead]
        ahead = following
    if ahead is not None:
        yield [future.result() for future in ahead]


def captured(folder: Path, workers: int, store: Path) -> float:
    """Seconds of capture."""
    from topoact_gpu.activations.models import load_model
    from topoact_gpu.capturing import capture

    model = load_model("efficientnet-lite0")
    start = time.perf_counter()
    capture(model, LAYERS, folder, store, batch_size=BATCH, workers=workers, overwrite=True)
    return time.perf_counter() - start


def peak_bytes(folder: Path, workers: int, store: Path) -> int:
    """Highest resident size of a process that captures."""
    code = (
        "import sys, pathlib; from benchmarks.capture import captured, own_peak; "
        "captured(pathlib.Path(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])); "
        "print(own_peak())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(workers), str(store)],
        capture_output=True, text=True, check=True, cwd=measure.ROOT,
        env=measure.thread_environment(workers),
    )  # fmt: skip
    return int(done.stdout.split()[-1])


def own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(options) -> int:
    """``python -m benchmarks capture``: returns 0."""
    import torch

    torch.set_num_threads(options.threads)
    home = Path(options.cache) / "capture"
    home.mkdir(parents=True, exist_ok=True)
    store, name = home / "acts.zarr", measure.run_name()
    few, many = (crops(home, count) for count in (options.images, 4 * options.images))
    plain(few, options.threads), captured(few, options.threads, store)
    pairs = []
    for repeat in range(options.repeats):
        pairs.append((plain(few, options.threads), captured(few, options.threads, store)))
        record = {
            "run": name, "repeat": repeat, "threads": options.threads, "images": options.images,
            "layers": len(LAYERS), "plain_s": pairs[-1][0], "wall_s": pairs[-1][1],
            "over_plain": pairs[-1][1] / pairs[-1][0], "machine": measure.machine(),
            "versions": {"torch": torch.__version__},
        }  # fmt: skip
        if repeat == 0:
            peaks = [peak_bytes(folder, options.threads, store) for folder in (few, many)]
            record |= {"peak_bytes": peaks[0], "peak_bytes_4x": peaks[1]}
        measure.append_result(Path(options.results), "capture", record)
    middle, low, high = measure.spread([own / loop for loop, own in pairs])
    print(
        f"  {options.images:,} images: {middle:.3f} of the plain loop's time ({low:.3f} to "
        f"{high:.3f}); peak {peaks[0] / 1e6:,.0f} MB, with four times the images "
        f"{peaks[1] / 1e6:,.0f} MB"
    )
    return 0
