"""Two selections beside each other: classes and columns that tell them apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.lift import corrected, upper_tail

from .checks import rows_in
from .run_view import RunView
from .selecting import sampled

__all__ = ["compare", "effects", "log_odds"]

MOST = 30


def compare(
    run: RunView, a: NDArray[np.int64], b: NDArray[np.int64], label: str | None = None
) -> dict[str, Any]:
    """Compare the rows of two selections of nodes; rows in both are left out of both.

    Parameters
    ----------
    run : RunView
    a, b : int64[n]
        Nodes.
    label : str, optional
        The row column whose values are the classes.

    Returns
    -------
    dict
        As ``POST compare`` answers. ``p`` is the chance of so uneven a split of the class's rows
        if the rows of both were dealt out at random (hypergeometric, twice the smaller tail),
        corrected over the classes (Benjamini-Hochberg).
    """
    label = run.checked_label(label)
    rows_a, rows_b = rows_in(run, a), rows_in(run, b)
    both = np.intersect1d(rows_a, rows_b, assume_unique=True)
    only_a = np.setdiff1d(rows_a, both, assume_unique=True)
    only_b = np.setdiff1d(rows_b, both, assume_unique=True)
    return {
        "n_a": len(only_a),
        "n_b": len(only_b),
        "n_both": len(both),
        "classes": _classes(run, only_a, only_b, label),
        "columns": _columns(run, only_a, only_b),
    }


def _classes(
    run: RunView, rows_a: NDArray[np.int64], rows_b: NDArray[np.int64], label: str | None
) -> list[dict[str, Any]]:
    """The classes that differ most: the least likely split first."""
    if label is None:
        return []
    codes, names = run.class_codes(label)
    in_a, in_b = (
        np.bincount(c[c >= 0], minlength=len(names)) for c in (codes[rows_a], codes[rows_b])
    )
    n_a, n_b = int(in_a.sum()), int(in_b.sum())
    there = np.flatnonzero(in_a + in_b) if n_a and n_b else np.zeros(0, dtype=np.int64)
    in_a, in_b = in_a[there], in_b[there]
    odds = log_odds(in_a, n_a, in_b, n_b)
    p = corrected(_two_sided(in_a, n_a, in_b, n_b))
    order = np.lexsort((there, -np.abs(odds), p))[:MOST]
    return [
        {
            "id": int(there[i]),
            "name": names[there[i]],
            "a": in_a[i] / n_a,
            "b": in_b[i] / n_b,
            "log_odds": odds[i],
            "p": p[i],
        }
        for i in order.tolist()
    ]


def log_odds(
    in_a: NDArray[np.int64], n_a: int, in_b: NDArray[np.int64], n_b: int
) -> NDArray[np.float64]:
    """Natural logarithm of the ratio of odds, with half a row added everywhere.

    Examples
    --------
    >>> log_odds(np.array([3]), 6, np.array([3]), 6).tolist()
    [0.0]
    """
    odds_a = (in_a + 0.5) / (n_a - in_a + 0.5)
    odds_b = (in_b + 0.5) / (n_b - in_b + 0.5)
    return np.log(odds_a / odds_b)


def _two_sided(
    in_a: NDArray[np.int64], n_a: int, in_b: NDArray[np.int64], n_b: int
) -> NDArray[np.float64]:
    total = n_a + n_b
    marked = in_a + in_b
    more_a = upper_tail(in_a, np.full(len(in_a), n_a), marked, total)
    more_b = upper_tail(in_b, np.full(len(in_b), n_b), marked, total)
    return np.minimum(1.0, 2 * np.minimum(more_a, more_b))


def _columns(
    run: RunView, rows_a: NDArray[np.int64], rows_b: NDArray[np.int64]
) -> list[dict[str, Any]]:
    if run.activations is None or not len(rows_a) or not len(rows_b):
        return []
    a, b = (run.activations[sampled(run, rows)].astype(np.float64) for rows in (rows_a, rows_b))
    effect = effects(a, b)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    order = np.lexsort((np.arange(len(effect)), -np.abs(effect)))
    return [
        {"column": c, "mean_a": mean_a[c], "mean_b": mean_b[c], "effect": effect[c]}
        for c in order[:MOST].tolist()
    ]


def effects(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cohen's d of each column: difference of the means over the pooled standard deviation.

    Returns
    -------
    float64[n_cols]
        0 where nothing varies and the means are the same; NaN where only nothing varies.

    Examples
    --------
    >>> effects(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])).round(3).tolist()
    [-0.707]
    """
    apart = a.mean(axis=0) - b.mean(axis=0)
    squares = ((a - a.mean(axis=0)) ** 2).sum(axis=0) + ((b - b.mean(axis=0)) ** 2).sum(axis=0)
    pooled = np.sqrt(squares / max(len(a) + len(b) - 2, 1))
    unknown = np.where(apart == 0, 0.0, np.nan)
    return np.divide(apart, pooled, out=unknown, where=pooled > 0)
