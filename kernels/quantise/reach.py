"""eps as the filters use it: in the frame's unit, rounded to the safe side."""

from __future__ import annotations

import math

from topoact_gpu.kernels.pairs.limits import is_ordinary

__all__ = ["reaches"]


def reaches(eps: float, square: float, unit: float, n_cols: int) -> tuple[float, float]:
    """eps in the frame's unit, rounded up for ruling out and down for accepting.

    Parameters
    ----------
    eps : float
        As a distance between (normalised) rows.
    square : float
        What the definition compares with.
    unit : float
        A power of two; no number of a row times it exceeds 2 in size.
    n_cols : int

    Returns
    -------
    (float, float)
        No two rows are further apart than a cap; where the definition's own sum may under- or
        overflow the first is the cap, which rules nothing out, and the second 0, which accepts
        nothing.
    """
    cap = 8.0 * math.sqrt(n_cols)
    if not is_ordinary(square):
        return cap, 0.0
    return min(eps * unit * (1 + 2.0**-40), cap), eps * unit * (1 - 2.0**-40)
