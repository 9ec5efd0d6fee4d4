"""How surprising a class is in a group of rows: chances of counts, corrected for their number."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.device import Team

__all__ = ["corrected", "upper_tail"]

_TESTS_A_PART = 4096


def upper_tail(
    counts: ArrayLike,
    drawn: ArrayLike,
    marked: ArrayLike,
    total: int,
    *,
    team: Team | None = None,
) -> NDArray[np.float64]:
    """Chance of at least this many marked rows among rows drawn at random.

    Parameters
    ----------
    counts : int64[n]
        Marked rows that were found.
    drawn : int64[n]
        Rows that were drawn.
    marked : int64[n]
        Marked rows there are, among all.
    total : int
        All rows.
    team : Team, optional
        Threads; the result does not depend on them.

    Returns
    -------
    float64[n]
        Upper tail of the hypergeometric distribution, ``P(X >= counts)``.

    Notes
    -----
    The first term is exact to some 1e-14 of its logarithm (Loader 2000), the others follow by
    their ratios; a test takes as many steps as the distribution is wide.

    Examples
    --------
    >>> upper_tail([2], [2], [2], 4).round(6).tolist()
    [0.166667]
    """
    from topoact_gpu.kernels.summary import cpu

    arrays = [np.asarray(each, dtype=np.int64) for each in (counts, drawn, marked)]
    k, n, m = (np.ascontiguousarray(each) for each in np.broadcast_arrays(*arrays))
    chance = np.empty(k.size)
    cuts = [*range(0, k.size, _TESTS_A_PART), k.size]
    (team or Team(1)).map(
        lambda cut: cpu.upper_tail(k, n, m, int(total), *cut, chance), itertools.pairwise(cuts)
    )
    return chance


def corrected(p: ArrayLike) -> NDArray[np.float64]:
    """Correct chances for the number of tests, by their false discovery rate.

    Parameters
    ----------
    p : float64[n]

    Returns
    -------
    float64[n]
        The least false discovery rate at which each test is still called significant.

    Notes
    -----
    Benjamini & Hochberg 1995, step-up: the i-th smallest of n is multiplied by n / i, and no
    chance is above that of a larger one.

    Examples
    --------
    >>> corrected([0.01, 0.5, 0.02]).tolist()
    [0.03, 0.5, 0.03]
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)
    scaled = p[order] * (p.size / np.arange(1, p.size + 1))
    result = np.empty(p.size)
    result[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(result, 1.0)
