"""Make rows ready for clustering: norms where the metric needs them, and the filter's frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.backend import Backend, Prepared
from topoact_gpu.errors import DataError
from topoact_gpu.kernels.lens.cpu import ROW_LENSES
from topoact_gpu.kernels.quantise.centre import Frame
from topoact_gpu.kernels.quantise.frame import make_frame, sample_ids
from topoact_gpu.kernels.table import make_table
from topoact_gpu.resident import Resident

__all__ = ["frame_of", "prepare"]


def prepare(
    data: Resident, metric: str, backend: Backend, *, seed: int = 0, largest: float | None = None
) -> Prepared:
    """Norms for the cosine metric, and the frame of the filter.

    Parameters
    ----------
    data : Resident
    metric : "euclidean" or "cosine"
    backend : Backend
    seed : int
        For the sample that the filter's frame is made from; labels do not depend on it.
    largest : float, optional
        An upper bound on absolute values where it is known already; saves a pass.

    Raises
    ------
    DataError
        A value that is not finite; a row of zeros with the cosine metric.
    """
    bound = data.largest(backend.team) if largest is None else largest
    norms = None
    if metric == "cosine":
        norms, bound = _norms(data, backend), 1.0
    frame = frame_of(data, norms, bound, seed)
    return Prepared(data, norms, frame, metric, backend.choose_filter(data.rows.n_cols))


def frame_of(data: Resident, norms: NDArray[np.float64] | None, largest: float, seed: int) -> Frame:
    """The frame of all rows (divided by their norms), from a seeded sample of them."""
    ids = sample_ids(data.rows.n_rows, data.rows.n_cols, seed)
    rows = data.take(ids)  # a table holds an address, not the array
    table = make_table(rows, None if norms is None else norms[ids])
    return make_frame(table, np.arange(len(ids)), largest, seed)


def _norms(data: Resident, backend: Backend) -> NDArray[np.float64]:
    norms = backend.row_lens(data, ROW_LENSES.index("l2norm"))
    zero = np.flatnonzero((norms == 0) | ~np.isfinite(norms))
    if len(zero):
        raise DataError(
            f"the cosine metric needs rows with a norm above 0 and below infinity, "
            f"but {len(zero):,} of {len(norms):,} have none; the first is row {zero[0]:,}; "
            "drop these rows or use the euclidean metric"
        )
    return norms
