"""The data every contestant gets: real activations from a folder, synthetic ones made here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = [
    "Case",
    "MissingDataError",
    "column_order_norm",
    "open_case",
    "synthetic_eps",
    "written_whole",
]

CHUNK = 20_000
N_CLASSES = 1000
# The real sets: the file's name in the data folder and the eps its benchmark is stated at.
REAL = {"minilm_layer4": 11.0, "lite0_block8": 17.0}
SYNTHETIC = re.compile(r"synthetic-(\d+)(k?)x(\d+)(-float16)?")


class MissingDataError(FileNotFoundError):
    """A real set that is not there: the case is skipped with a plain line."""


@dataclass(frozen=True)
class Case:
    """One data set on disk.

    Attributes
    ----------
    name : str
    path : Path
        ``.npy`` of the rows as stored, float16 or float32 [n_rows, n_cols].
    lens : Path
        ``.npy`` of the L2 norms, float64[n_rows].
    eps : float
    shape : tuple of int
    dtype : str
    """

    name: str
    path: Path
    lens: Path
    eps: float
    shape: tuple[int, int]
    dtype: str

    def rows(self) -> np.ndarray:
        """Memory-mapped rows."""
        return np.load(self.path, mmap_mode="r")

    def lens_values(self) -> np.ndarray:
        return np.load(self.lens)


def open_case(name: str, cache: Path, data: Path | None = None) -> Case:
    """Find or make a case by its name.

    Parameters
    ----------
    name : str
        ``minilm_layer4``, ``lite0_block8``, or ``synthetic-<rows>x<columns>`` with rows such as
        ``5000`` or ``100k``; ``-float16`` at the end stores float16 instead of float32.
    cache : Path
        Folder for the ``.npy`` files, made once.
    data : Path, optional
        Folder with the real sets; default the environment variable ``TOPOACT_BENCH_DATA``.

    Raises
    ------
    MissingDataError
        A real set whose file is not in the folder.
    """
    folder = Path(cache) / "data"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npy"
    if name in REAL:
        if not path.exists():
            _unpack_real(_real_file(name, data), path)
        eps = REAL[name]
    else:
        rows, cols, dtype = _parse_synthetic(name)
        if not path.exists():
            written_whole(path, lambda part: make_synthetic(part, rows, cols, dtype))
        eps = synthetic_eps(np.load(path, mmap_mode="r"))
    lens = folder / f"{name}.lens.npy"
    rows_ = np.load(path, mmap_mode="r")
    if not lens.exists():
        written_whole(lens, lambda part: np.save(part, column_order_norm(rows_)))
    return Case(name, path, lens, float(eps), rows_.shape, str(rows_.dtype))


def _real_file(name: str, data: Path | None) -> Path:
    folder = data or os.environ.get("TOPOACT_BENCH_DATA")
    if folder is None:
        raise MissingDataError(
            f"{name}: a real set, and no folder was given; pass --data DIR or set "
            f"TOPOACT_BENCH_DATA to a folder with {name}.npz"
        )
    file = Path(folder) / f"{name}.npz"
    if not file.exists():
        raise MissingDataError(f"{name}: no {name}.npz in the data folder")
    return file


def _unpack_real(file: Path, path: Path) -> None:
    with np.load(file, allow_pickle=False) as archive:
        rows = archive["activations"]
    written_whole(path, lambda part: np.save(part, rows))


def _parse_synthetic(name: str) -> tuple[int, int, np.dtype]:
    found = SYNTHETIC.fullmatch(name)
    if found is None:
        raise ValueError(
            f"unknown case {name!r}; known: {', '.join(REAL)}, synthetic-<rows>x<columns> "
            "such as synthetic-100kx512"
        )
    rows = int(found[1]) * (1000 if found[2] else 1)
    return rows, int(found[3]), np.dtype(np.float16 if found[4] else np.float32)


def written_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the name and rename, so that a killed run leaves no half data set."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.part.npy")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_synthetic(path: Path, n_rows: int, n_cols: int, dtype: np.dtype) -> None:
    """Write synthetic activations: 1000 Gaussian classes, rectified, of lognormal scales.

    Centres are relu(N(0, 1)) times a scale per class, lognormal with sigma 0.35; noise has sigma
    0.25 times that scale; then relu. Seed 0, chunks of 20,000 rows.
    """
    rng = np.random.default_rng(0)
    scale = rng.lognormal(0.0, 0.35, N_CLASSES)
    centres = np.maximum(rng.standard_normal((N_CLASSES, n_cols)), 0) * scale[:, None]
    out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n_rows, n_cols))
    for start in range(0, n_rows, CHUNK):
        stop = min(start + CHUNK, n_rows)
        label = rng.integers(0, N_CLASSES, stop - start)
        noise = rng.standard_normal((stop - start, n_cols))
        out[start:stop] = np.maximum(centres[label] + 0.25 * scale[label, None] * noise, 0)
    out.flush()


def synthetic_eps(rows: np.ndarray, sample: int = 2000, neighbour: int = 5) -> float:
    """1.1 times the median distance to the 5th neighbour within a seeded sample of 2,000 rows."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(rows), min(sample, len(rows)), replace=False))
    points = np.asarray(rows[chosen], np.float64)
    squares = (points**2).sum(1)
    d2 = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(d2, np.inf)
    fifth = np.partition(d2, neighbour - 1, axis=1)[:, neighbour - 1]
    # Rounded, so that the last bits of this machine's BLAS are no part of the case.
    return round(1.1 * float(np.median(np.sqrt(np.maximum(fifth, 0)))), 6)


def column_order_norm(rows: np.ndarray) -> np.ndarray:
    """L2 norms summed in column order in float64, as the definition of the lens has it."""
    norms = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        block = np.ascontiguousarray(np.asarray(rows[start : start + CHUNK], np.float64).T)
        total = np.zeros(block.shape[1])
        for column in block:
            total += column * column
        norms[start : start + CHUNK] = np.sqrt(total)
    return norms
