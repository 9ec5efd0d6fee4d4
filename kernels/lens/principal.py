"""Principal directions from the sums of rows and of their products, however these were summed.

And the principal components of rows in memory, summed by the threads of a team.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team

__all__ = ["SHIFT_ROWS", "loading_signs", "principal_components", "principal_directions"]

SHIFT_ROWS = 2048
"""First rows whose mean is taken away before anything is summed; any would do."""
_BLOCK_ROWS = 2048
_SQUARES_BYTES = 2**28
_Floats = NDArray[np.float64]
T = TypeVar("T")


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


class _Blocks(Protocol):
    """Rows that are handed out in blocks, whole multiples of ``BLOCK_ROWS`` but for the last."""

    def map_blocks(
        self, function: Callable[[int, NDArray[Any], Team], T], team: Team
    ) -> list[T]: ...


def principal_components(data: _Blocks, n_components: int, team: Team) -> _Floats:
    """Principal components of rows, float64[n_rows, n_components]; the same for any team.

    Parameters
    ----------
    data : has ``map_blocks``, as :class:`topoact_gpu.resident.Resident`
    n_components : int
    team : Team

    Notes
    -----
    Two reads of the rows; memory for n_cols squared numbers, a few times.
    """
    moments = _Moments()
    data.map_blocks(moments.add, team)
    mean, directions = principal_directions(
        moments.total, moments.square, moments.n_rows, n_components
    )
    project = partial(_project, moments.shift, mean, directions)
    return np.vstack(data.map_blocks(project, team))


class _Moments:
    """Sums over blocks of rows, added in the order of the rows: the threads do not show."""

    def __init__(self) -> None:
        self.n_rows = 0

    def add(self, start: int, block: NDArray[Any], team: Team) -> None:
        """Add a block, in pieces of ``_BLOCK_ROWS``."""
        n_cols = block.shape[1]
        if start == 0:
            self.shift = block[:SHIFT_ROWS].astype(np.float64).mean(0)
            self.total, self.square = np.zeros(n_cols), np.zeros((n_cols, n_cols))
        starts = range(0, len(block), _BLOCK_ROWS)
        at_once = max(1, min(4 * team.n_threads, _SQUARES_BYTES // (8 * n_cols * n_cols)))
        for at in range(0, len(starts), at_once):
            some = partial(_moments_of, self.shift, block)
            for total, square in team.map(some, starts[at : at + at_once]):
                self.total += total
                self.square += square
        self.n_rows += len(block)


def _moments_of(shift: _Floats, block: NDArray[Any], start: int) -> tuple[_Floats, _Floats]:
    centred = block[start : start + _BLOCK_ROWS].astype(np.float64) - shift
    return centred.sum(0), centred.T @ centred


def _project(
    shift: _Floats,
    mean: _Floats,
    directions: _Floats,
    start: int,
    block: NDArray[Any],
    team: Team,
) -> _Floats:
    """Components of the rows of a block."""

    def work(low: int) -> _Floats:
        piece: _Floats = block[low : low + _BLOCK_ROWS].astype(np.float64) - shift
        return (piece - mean) @ directions

    return np.vstack(team.map(work, range(0, len(block), _BLOCK_ROWS)))
