"""k-th neighbour distances by full sorting (naive)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.pairs.reference import normalised, pair_squares

__all__ = ["neighbour_squares"]


def neighbour_squares(
    rows: NDArray[np.generic],
    queries: NDArray[np.int64],
    targets: NDArray[np.int64],
    k: int,
    metric: str = "euclidean",
) -> NDArray[np.float64]:
    """Squared distances float64[n_queries, k], ascending; a row is not its own neighbour."""
    values = normalised(rows) if metric == "cosine" else rows
    squares = pair_squares(values)
    np.fill_diagonal(squares, np.inf)
    return np.sort(squares[np.ix_(queries, targets)], axis=1)[:, :k]
