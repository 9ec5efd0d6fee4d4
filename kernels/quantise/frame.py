"""The frame that all rows of a run share: mean, unit and leading principal directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.quantise.centre import Frame, centre_rows
from topoact_gpu.kernels.table import RowTable

__all__ = ["SEGMENTS", "make_frame", "sample_ids"]

SEGMENTS = (32, 64, 96, 128, 192)
"""Prefix lengths, in components, after which a tile may be given up."""
_N_SAMPLE, _FEWEST_SAMPLED, _SAMPLE_NUMBERS = 2048, 512, 2**22
"""Rows a frame is made from: fewer where they are long, so that they take some 16 MB."""
_MOST_COLUMNS = 16_384
"""Beyond this a basis would take more memory than it is worth."""
_N_AXES = 8
"""Components used to order rows, kept even where no prefix is."""


def sample_ids(n_rows: int, n_cols: int, seed: int) -> NDArray[np.int64]:
    """Rows to make a frame from, ascending: all of them, or a seeded sample."""
    wanted = _sample_size(n_cols)
    if n_rows <= wanted:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, wanted, replace=False))


def _sample_size(n_cols: int) -> int:
    return min(max(_SAMPLE_NUMBERS // n_cols, _FEWEST_SAMPLED), _N_SAMPLE)


def make_frame(table: RowTable, ids: NDArray[np.int64], largest: float, seed: int) -> Frame:
    """Mean, unit and basis from a seeded sample of the rows.

    Parameters
    ----------
    table : RowTable
    ids : int64[n]
        The rows that matter.
    largest : float
        No number in the table is larger in absolute value.
    seed : int

    Returns
    -------
    Frame

    Notes
    -----
    Whatever the sample says, results are the same: the frame decides how many pairs the
    filter settles, the bounds hold for any mean, unit and orthonormal basis. Directions come
    from subspace iteration on the sample's covariance: O(sample * n_cols^2).
    """
    generator = np.random.default_rng(seed)
    n_cols = table.n_cols
    if len(ids) > _sample_size(n_cols):
        ids = np.sort(generator.choice(ids, _sample_size(n_cols), replace=False))
    sample = np.empty((len(ids), n_cols), np.float32)
    unit = 2.0 ** -np.ceil(np.log2(max(largest, 2.0**-500)))
    centre_rows(table, ids, np.zeros(n_cols), unit, sample)
    mean = sample.mean(0, dtype=np.float64)
    sample -= mean.astype(np.float32)
    basis = _directions(sample, _n_components(n_cols), generator)
    narrow = basis.astype(np.float32)
    ends = [0, *(end for end in SEGMENTS if end <= narrow.shape[1])]
    if narrow.shape[1] <= _N_AXES:
        ends = [0]
    return Frame(mean, float(unit), narrow, _basis_error(basis, narrow), np.array(ends))


def _n_components(n_cols: int) -> int:
    """A prefix pays only where it is much shorter than the row."""
    if n_cols > _MOST_COLUMNS:
        return _N_AXES
    fitting = [end for end in SEGMENTS if end <= n_cols // 2]
    return fitting[-1] if n_cols >= 128 else min(_N_AXES, n_cols)


def _directions(
    sample: NDArray[np.float32], n_components: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Orthonormal float64[n_cols, n_components], leading directions first."""
    n_cols = sample.shape[1]
    start = generator.standard_normal((n_cols, n_components)).astype(np.float32)
    if n_cols <= 2048:
        covariance = sample.T @ sample
        for _ in range(3):
            start = np.linalg.qr(covariance @ start)[0]
        image = covariance @ start
    else:
        for _ in range(2):
            start = np.linalg.qr(sample.T @ (sample @ start))[0]
        image = sample.T @ (sample @ start)
    start = start.astype(np.float64)
    _, turn = np.linalg.eigh(start.T @ image.astype(np.float64))
    return np.linalg.qr(start @ turn[:, ::-1])[0]


def _basis_error(basis: NDArray[np.float64], narrow: NDArray[np.float32]) -> float:
    """Bound on |computed components - exact ones of an orthonormal basis| / |z|.

    The sum of: float64 basis to the nearest orthonormal one; rounding it to float32; the
    float32 matrix product (n_cols * 2**-24 for each component, for any order of summation);
    rounding z.
    """
    n_cols, n_components = basis.shape
    skew = float(np.linalg.norm(basis.T @ basis - np.eye(n_components)))
    rounding = float(np.linalg.norm(basis - narrow))
    product = 1.1 * (n_cols + 2) * 2.0**-24 * float(np.sqrt(n_components))
    return 2 * skew + rounding + product + 2.0**-22

