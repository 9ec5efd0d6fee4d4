"""Principal directions from the sums of rows and of their products, however these were summed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["principal_directions"]

_Floats = NDArray[np.float64]


def principal_directions(
    total: _Floats, square: _Floats, n_rows: int, n_components: int
) -> tuple[_Floats, _Floats]:
    """Mean and leading eigenvectors of the covariance.

    Parameters
    ----------
    total : float64[n_cols]
        Sum of the rows, less a shift that keeps the numbers small.
    square : float64[n_cols, n_cols]
        Sum of their outer products.
    n_rows, n_components : int

    Returns
    -------
    mean : float64[n_cols]
        Of the shifted rows.
    directions : float64[n_cols, n_components]
        By falling variance; the largest loading of each is positive (the first of those that are
        largest but for rounding, so that sums with other last bits do not turn a direction round).
    """
    from scipy.linalg import eigh

    n_cols = len(total)
    mean = total / n_rows
    covariance = square / n_rows - np.outer(mean, mean)
    wanted = [n_cols - n_components, n_cols - 1]
    directions = eigh(covariance, subset_by_index=wanted)[1][:, ::-1]
    sizes = np.abs(directions)
    largest = (sizes >= (1 - 1e-6) * sizes.max(0)).argmax(0)
    return mean, directions * np.sign(directions[largest, np.arange(n_components)])
