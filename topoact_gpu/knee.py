"""eps by the elbow of the sorted k-th neighbour distances (Kneedle)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import DataError

__all__ = ["Knee", "find_knee"]


@dataclass(frozen=True)
class Knee:
    """The chosen eps and the curve it was read from.

    Attributes
    ----------
    eps : float
    k : int
        Which neighbour's distance; the row itself does not count.
    distances : float64[n_sampled]
        Ascending.
    position : int
        Place of the elbow in ``distances``.
    n_rows : int
        Rows the neighbours were sought among.
    """

    eps: float
    k: int
    distances: NDArray[np.float64]
    position: int
    n_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return {
            "eps": self.eps,
            "k": self.k,
            "position": self.position,
            "n_sampled": len(self.distances),
            "n_rows": self.n_rows,
            "distances": self.distances.tolist(),
        }


def find_knee(distances: NDArray[np.float64], k: int, n_rows: int) -> Knee:
    """Read eps off the sorted k-th neighbour distances.

    Parameters
    ----------
    distances : float64[n_sampled]
        k-th neighbour distance of each sampled row, in any order.
    k, n_rows : int
        Recorded.

    Returns
    -------
    Knee

    Raises
    ------
    DataError
        There is no elbow, or it lies at distance 0; the message shows the quantiles.

    Notes
    -----
    Kneedle (Satopaa et al. 2011) for a convex, increasing curve with sensitivity 1.

    Examples
    --------
    >>> find_knee(np.r_[np.linspace(1, 2, 90), np.linspace(2, 30, 10)], 5, 100).position
    90
    """
    from kneed import KneeLocator

    ordered = np.sort(distances)
    position = None
    if len(ordered) > 2 and np.isfinite(ordered[-1]) and ordered[0] < ordered[-1]:
        with warnings.catch_warnings():
            # kneed warns where it finds nothing; that is reported as an error below.
            warnings.simplefilter("ignore")
            position = KneeLocator(
                np.arange(len(ordered)), ordered, S=1.0, curve="convex", direction="increasing"
            ).elbow
    if position is None or ordered[position] <= 0:
        found = "no elbow" if position is None else "an elbow at distance 0"
        raise DataError(
            f'eps="knee" needs an elbow in the sorted distances to neighbour {k}, found {found}; '
            f"their quantiles are {_quantiles(ordered)}; choose eps by hand"
        )
    return Knee(float(ordered[position]), k, ordered, int(position), n_rows)


def _quantiles(ordered: NDArray[np.float64]) -> str:
    finite = ordered[np.isfinite(ordered)]
    if not len(finite):
        return "not to be had (too few rows)"
    shares = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
    return ", ".join(f"{s:.0%}: {np.quantile(finite, s):.6g}" for s in shares)
