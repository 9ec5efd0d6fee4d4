"""Tile products by the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["tile_products"]


def tile_products(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Products of every left row with every right row.

    Parameters
    ----------
    left : int8 | float32 [n_left, n_cols]
    right : the same [n_right, n_cols]

    Returns
    -------
    int64 | float64 [n_left, n_right]
        Whole numbers exactly; floats summed in column order, each step rounded.
    """
    wide = np.float64 if left.dtype.kind == "f" else np.int64
    products: NDArray[Any] = np.zeros((len(left), len(right)), wide)
    for column in range(left.shape[1]):
        products += left[:, column, None].astype(wide) * right[:, column].astype(wide)
    return products
