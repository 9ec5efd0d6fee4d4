"""Nearest neighbours by float32 matrix products, decided by exact distances.

A product gives each squared distance up to a proven error; only pairs that could be among the
k nearest by that bound are measured exactly, and only exact values are kept.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.device import Team
from topoact_gpu.kernels.compiled import helper, kernel
from topoact_gpu.kernels.pairs.cpu import pair_square, square_address
from topoact_gpu.kernels.quantise.centre import centre_rows
from topoact_gpu.kernels.table import RowTable

__all__ = ["neighbour_squares"]

_QUERIES, _TARGETS = 128, 1024


@helper
def _insert(nearest, i, square):  # type: ignore[no-untyped-def]
    """Put a square in its place among the ascending k smallest of row i."""
    place = nearest.shape[1] - 1
    while place > 0 and nearest[i, place - 1] > square:
        nearest[i, place] = nearest[i, place - 1]
        place -= 1
    nearest[i, place] = square


@helper
def _scaled(square, n_cols, unit):  # type: ignore[no-untyped-def]
    """The square that no nearer row has more than, in the frame's unit; the unit's may be 0.

    Of a sum of squares below float64's normal numbers each term may have lost half of 2**-1074.
    """
    distance = math.sqrt(square + n_cols * 2.0**-1073) * unit
    return distance * distance * (1 + 1e-9)


@kernel
def _keep_nearest(  # type: ignore[no-untyped-def]
    table, sum_at, queries, own_place, targets, products, left, right, unit, nearest
):
    """Look at one block of products; nearest float64[n_queries, k] is ascending.

    ``own_place``: where each query itself lies in the table among the targets, or below 0.

    ``left`` and ``right`` are lower bounds: squares less what the products may be wrong by.
    """
    last, n_cols = nearest.shape[1] - 1, table.n_cols
    for i in range(queries.size):
        limit, own, query = _scaled(nearest[i, last], n_cols, unit), left[i], queries[i]
        itself = own_place[i]
        for j in range(targets.size):
            lowest = own + right[j] - 2.0 * products[i, j]
            if lowest <= limit and itself != targets[j]:
                square = pair_square(table, sum_at, query, targets[j])
                if square < nearest[i, last]:
                    _insert(nearest, i, square)
                    limit = _scaled(nearest[i, last], n_cols, unit)


def neighbour_squares(
    table: RowTable,
    queries: NDArray[np.int64],
    targets: NDArray[np.int64],
    k: int,
    *,
    mean: NDArray[np.float64],
    unit: float,
    team: Team,
    own_place: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Squared distances of each query row to its k nearest target rows, by the definition.

    Parameters
    ----------
    table : RowTable
    queries, targets : int64
        Places of rows in the table; a row is not its own neighbour.
    k : int
    mean, unit
        The frame: products are taken of row * unit - mean.
    team : Team
    own_place : int64[n_queries], optional
        For rows that the table holds twice: the place of each query among the targets, or -1.

    Returns
    -------
    float64[n_queries, k]
        Ascending; inf where there are fewer than k other targets.

    Notes
    -----
    Time n_queries * n_targets * n_cols multiply-adds at the speed of sgemm (one BLAS thread
    a team member); memory a few MB a thread. The bound: products of n_cols terms err by at most
    ``n_cols * 2**-24 * |x||y|``, and centring by ``2**-24`` of each row; where products are
    subnormal, by ``2**-149`` each.
    """
    out, sum_at = np.full((len(queries), k), np.inf), square_address(table)
    own_place = queries if own_place is None else own_place
    slack, underflow = (2 * table.n_cols + 64) * 2.0**-24, table.n_cols * 2.0**-147

    def centred(ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        rows = np.empty((len(ids), table.n_cols), np.float32)
        centre_rows(table, ids, mean, unit, rows)
        wide = rows.astype(np.float64)
        return rows, np.einsum("ij,ij->i", wide, wide) * (1 - slack)

    def work(start: int) -> None:
        some, itself = (ids[start : start + _QUERIES] for ids in (queries, own_place))
        left, left_squares = centred(some)
        left_squares -= underflow
        nearest = out[start : start + _QUERIES]
        for at in range(0, len(targets), _TARGETS):
            if team.stop[0]:
                return
            others = targets[at : at + _TARGETS]
            right, right_squares = centred(others)
            products = left @ right.T
            _keep_nearest(
                table, sum_at, some, itself, others, products, left_squares, right_squares,
                unit, nearest,
            )  # fmt: skip

    team.map(work, range(0, len(queries), _QUERIES))
    return out
