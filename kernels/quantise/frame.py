"""The frame that all rows of a run share: mean, unit and leading principal directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.quantise.cpu import Frame, centre_rows

__all__ = ["SEGMENTS", "components_of", "make_frame"]

SEGMENTS = (32, 64, 96, 128, 192)
"""Prefix lengths, in components, after which a tile may be given up."""
_N_SAMPLE = 4096
_N_AXES = 8
"""Components used to order rows, kept even where no prefix is."""


def make_frame(
    rows: NDArray[np.generic], norms: NDArray[np.float64], ids: NDArray[np.int64], seed: int
) -> Frame:
    """Mean, unit and basis from a seeded sample of the rows.

    Parameters
    ----------
    rows : array [n_rows, n_cols], float16 as uint16
    norms : float64[n_rows] or empty
    ids : int64[n]
        The rows that matter.
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
    n_cols = rows.shape[1]
    if len(ids) > _N_SAMPLE:
        ids = np.sort(generator.choice(ids, _N_SAMPLE, replace=False))
    sample = np.empty((len(ids), n_cols), np.float32)
    largest = max(_largest(rows, norms), 2.0**-500)
    unit = 2.0 ** -np.ceil(np.log2(largest))
    centre_rows(rows, norms, ids, np.zeros(n_cols), unit, sample)
    scaled_mean = sample.mean(0, dtype=np.float64)
    mean = scaled_mean / unit
    sample -= scaled_mean.astype(np.float32)
    basis = _directions(sample, _n_components(n_cols), generator)
    narrow = basis.astype(np.float32)
    quads = [0, *(end // 4 for end in SEGMENTS if end <= narrow.shape[1])]
    if narrow.shape[1] <= _N_AXES:
        quads = [0]
    return Frame(mean, float(unit), narrow, _basis_error(basis, narrow), np.array(quads))


def _largest(rows: NDArray[np.generic], norms: NDArray[np.float64]) -> float:
    """Upper bound on the absolute values."""
    if norms.size:
        return 1.0
    if rows.dtype == np.uint16:
        return 65504.0 if rows.size == 0 else _half_bound(rows)
    return max(
        (float(np.abs(rows[at : at + 4096]).max()) for at in range(0, len(rows), 4096)),
        default=1.0,
    )


def _half_bound(rows: NDArray[np.generic]) -> float:
    """Largest absolute float16, from the bits (their order is that of the magnitudes)."""
    step = max(1, 2**22 // rows.shape[1])
    bits = max(
        int(np.bitwise_and(rows[at : at + step], np.uint16(0x7FFF)).max())
        for at in range(0, len(rows), step)
    )
    return float(np.uint16(bits).view(np.float16))


def _n_components(n_cols: int) -> int:
    """A prefix pays only where it is much shorter than the row."""
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


def components_of(centred: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """float32[n, n_components] of centred rows."""
    return centred @ frame.basis
