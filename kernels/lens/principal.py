"""Principal directions from the sums of rows and of their products, however these were summed.

And the principal components of rows in memory, summed by the threads of a team.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team

__all__ = ["SHIFT_ROWS", "loading_signs", "principal_components", "principal_directions"]

SHIFT_ROWS = 2048
"""First rows whose mean is taken away before anything is summed; any would do."""
_BLOCK_ROWS = 2048
_SQUARES_BYTES = 2**28
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
        By falling variance, each as `loading_signs` turns it.
    """
    from scipy.linalg import eigh

    n_cols = len(total)
    mean = total / n_rows
    covariance = square / n_rows - np.outer(mean, mean)
    wanted = [n_cols - n_components, n_cols - 1]
    directions = eigh(covariance, subset_by_index=wanted)[1][:, ::-1]
    return mean, directions * loading_signs(directions)


def loading_signs(directions: NDArray[Any]) -> _Floats:
    """Signs that make the largest loading of each direction (a column) positive, float64.

    The first of those that are largest but for rounding, so that sums with other last bits do not
    turn a direction round.
    """
    sizes = np.abs(directions)
    largest = (sizes >= (1 - 1e-6) * sizes.max(0)).argmax(0)
    signs: _Floats = np.sign(directions[largest, np.arange(directions.shape[1])], dtype=np.float64)
    return signs


def principal_components(array: NDArray[Any], n_components: int, team: Team) -> _Floats:
    """Principal components of rows, float64[n_rows, n_components]; the same for any team.

    Parameters
    ----------
    array : float16 | float32 | float64 [n_rows, n_cols]
    n_components : int
    team : Team

    Notes
    -----
    Two reads of the rows; memory for n_cols squared numbers, a few times.
    """
    n_rows, n_cols = array.shape
    shift = array[:SHIFT_ROWS].astype(np.float64).mean(0)

    def block(start: int) -> _Floats:
        return array[start : start + _BLOCK_ROWS].astype(np.float64) - shift

    def moments(start: int) -> tuple[_Floats, _Floats]:
        centred = block(start)
        return centred.sum(0), centred.T @ centred

    total, square = np.zeros(n_cols), np.zeros((n_cols, n_cols))
    starts = range(0, n_rows, _BLOCK_ROWS)
    at_once = max(1, min(4 * team.n_threads, _SQUARES_BYTES // (8 * n_cols * n_cols)))
    for at in range(0, len(starts), at_once):
        # Added in the blocks' order, so that the threads do not show in the sum.
        for part, part_square in team.map(moments, starts[at : at + at_once]):
            total += part
            square += part_square
    mean, directions = principal_directions(total, square, n_rows, n_components)
    return np.vstack(team.map(lambda start: (block(start) - mean) @ directions, starts))
