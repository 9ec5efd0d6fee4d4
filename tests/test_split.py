"""One interval in parts: the labels of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team
from topoact_gpu.intervals import problem_of
from topoact_gpu.kernels.dbscan import reference
from topoact_gpu.kernels.dbscan.forest import empty_forest
from topoact_gpu.kernels.dbscan.interval import cluster_rows
from topoact_gpu.kernels.dbscan.split import Begun, Part, begin, finish, part
from topoact_gpu.prepare import prepare
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows


def rows(seed: int, n_rows: int, n_cols: int, n_centres: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 4 * rng.normal(size=(n_centres, n_cols))
    X = centres[rng.integers(0, n_centres, n_rows)] + spread * rng.normal(size=(n_rows, n_cols))
    X[rng.integers(0, n_rows, n_rows // 10)] = X[0]  # duplicates
    return X.astype(np.float32)


def in_parts(X, eps, min_samples, n_parts, n_threads=1, superblock=10**6):
    with resident(as_rows(X), 10**9) as data, Team(n_threads) as team:
        prepared = prepare(data, "euclidean", CpuBackend(team))
        problem = problem_of(prepared, eps, min_samples, superblock)
        ids = np.arange(len(X))
        begun = begin(problem, ids, team)
        parts = [part(problem, ids, begun, at, n_parts, team) for at in range(n_parts)]
        return finish(begun, parts[::-1], min_samples), cluster_rows(problem, ids, team)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.integers(65, 1500), st.integers(1, 12), st.integers(1, 6),
    st.sampled_from([0.1, 1.0]), st.floats(0.05, 9.0), st.sampled_from([1, 2, 3, 5, 12]),
    st.integers(1, 5),
)  # fmt: skip
def test_parts_give_the_labels_of_the_whole(
    seed, n_rows, n_cols, n_centres, spread, eps, min_samples, n_parts
):
    X = rows(seed, n_rows, n_cols, n_centres, spread)
    merged, whole = in_parts(X, eps, min_samples, n_parts)
    expected = reference.dbscan(X, eps, min_samples)
    assert np.array_equal(merged.labels, expected)
    assert np.array_equal(merged.core, whole.core)
    assert merged.n_clusters == whole.n_clusters


@pytest.mark.parametrize("n_parts", [2, 7])
def test_many_superblocks_and_threads(n_parts):
    X = rows(3, 9000, 24, 20, 1.0)
    merged, whole = in_parts(X, 6.0, 5, n_parts, n_threads=2, superblock=40_000)
    assert whole.n_clusters > 1
    assert np.array_equal(merged.labels, whole.labels)
    assert np.array_equal(merged.core, whole.core)


def test_a_row_that_is_core_only_by_the_sum_of_two_parts():
    """Rows 0-1-2 in a chain; each pair is found by another part, and neither sees a core row."""
    start, nothing = empty_forest(3, 3), np.zeros(7, np.int64)
    none = np.empty((0, 2), np.int32)
    begun = Begun(
        np.arange(3, dtype=np.int32), 3, np.zeros(3, np.uint8), np.zeros(3, np.int32),
        start.degree, start.parent, none, nothing,
    )  # fmt: skip
    one = Part(np.array([1, 1, 0], np.int32), start.parent, np.array([[0, 1]], np.int32), nothing)
    two = Part(np.array([0, 1, 1], np.int32), start.parent, np.array([[1, 2]], np.int32), nothing)
    found = finish(begun, [one, two], 3)
    assert found.core.tolist() == [False, True, False]
    assert found.labels.tolist() == [0, 0, 0]
