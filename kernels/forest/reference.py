"""Components by the definition (naive)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["components"]


def components(n: int, pairs: NDArray[np.integer]) -> NDArray[np.int64]:
    """The smallest member of each number's component, int64[n]; ``pairs`` [m, 2] are joined."""
    roots = np.arange(n)
    changed = True
    while changed:
        before = roots.copy()
        for a, b in pairs:
            roots[a] = roots[b] = min(roots[a], roots[b])
        changed = bool((roots != before).any())
    return roots
