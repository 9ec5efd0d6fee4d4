"""Quantisation by the definition, and the two facts that the filters rest on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["distance_bounds", "quantise", "quantise_together"]


def quantise(
    rows: NDArray[np.float32], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows as whole numbers up to ``top``, each with a scale of its own.

    Parameters
    ----------
    rows : float32[n_rows, n_cols]
        Centred; no row of zeros.
    top : int

    Returns
    -------
    numbers : int64[n_rows, n_cols]
    scale : float64[n_rows]
        float32 numbers: the largest of a row over ``top``.
    lost : float64[n_rows]
        Norm of ``rows - scale * numbers``.
    """
    wide = rows.astype(np.float64)
    largest = np.abs(rows).max(1)
    scale = (largest / np.float32(top)).astype(np.float32).astype(np.float64)
    numbers = np.rint(wide / scale[:, None]).astype(np.int64)
    return numbers, scale, np.linalg.norm(wide - scale[:, None] * numbers, axis=1)


def distance_bounds(
    numbers: NDArray[np.int64], scale: NDArray[np.float64], lost: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest distance that each pair of rows may have.

    Returns
    -------
    (float64[n_rows, n_rows], the same)
        ``| |x - y| - |x' - y'| | <= |x - x'| + |y - y'|`` for rows x, y and what was kept of
        them.
    """
    kept = scale[:, None] * numbers
    apart = np.linalg.norm(kept[:, None] - kept, axis=2)
    lost_together = lost[:, None] + lost
    return apart - lost_together, apart + lost_together


def quantise_together(
    rows: NDArray[np.float64], *, halves: bool
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Rows of one block as the GPU backend keeps them, with one scale.

    Parameters
    ----------
    rows : float64[n_rows, n_cols]
        Centred.
    halves : bool
        float16 numbers, and a power of two above the largest number as scale; else whole numbers
        up to 127.

    Returns
    -------
    numbers : float64[n_rows, n_cols]
    scale : float
        A float32 number, 2**-40 at least.
    lost : float64[n_rows]
        Norm of ``rows - scale * numbers``.
    """
    largest = np.float32(np.abs(rows).max(initial=0.0) / (1 if halves else 127))
    scale = 2.0 ** float(np.frexp(largest)[1]) if halves and largest else float(largest)
    scale = max(scale, 2.0**-40)
    if halves:
        numbers = (rows / scale).astype(np.float32).astype(np.float16).astype(np.float64)
    else:
        numbers = np.floor(rows / scale + 0.5)
    return numbers, scale, np.linalg.norm(rows - scale * numbers, axis=1)
