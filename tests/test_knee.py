"""The knee: the elbow of exact neighbour distances, or an error that shows them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from kneed import KneeLocator

from topoact_gpu.cluster import knee_of
from topoact_gpu.cpu import CpuBackend
from topoact_gpu.device import Team
from topoact_gpu.errors import DataError
from topoact_gpu.knee import find_knee
from topoact_gpu.prepare import prepare
from topoact_gpu.resident import resident
from topoact_gpu.rows import as_rows


def bent(n=200):
    return np.r_[np.linspace(1, 2, n - n // 10), np.linspace(2, 30, n // 10)]


def test_the_elbow_is_kneeds():
    distances = np.random.default_rng(0).permutation(bent())
    knee = find_knee(distances, 5, 1000)
    ordered = np.sort(distances)
    locator = KneeLocator(np.arange(200), ordered, curve="convex", direction="increasing")
    assert knee.position == locator.elbow
    assert knee.eps == ordered[knee.position]
    np.testing.assert_array_equal(knee.distances, ordered)
    told = json.loads(json.dumps(knee.to_dict()))
    assert told["eps"] == knee.eps
    assert (told["k"], told["n_rows"], told["n_sampled"]) == (5, 1000, 200)


@pytest.mark.parametrize(
    ("distances", "found"),
    [
        (np.ones(50), "no elbow.*50%: 1,"),
        (np.r_[np.zeros(180), np.linspace(0, 9, 20)], "an elbow at distance 0|no elbow"),
        (np.array([1.0, 2.0]), "no elbow"),
        (np.full(9, np.inf), "too few rows"),
        (np.empty(0), "too few rows"),
        (np.linspace(0, 1, 50), "no elbow"),
    ],
)
def test_without_an_elbow_the_quantiles_are_shown(distances, found):
    with pytest.raises(DataError, match=f"neighbour 7, found.*({found}).*choose eps by hand"):
        find_knee(distances, 7, 1000)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_rows", [300, 1500])
def test_distances_are_exact_and_leave_the_row_out(metric, n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 5)) * rng.lognormal(size=(n_rows, 1))
    rows = X / np.linalg.norm(X, axis=1)[:, None] if metric == "cosine" else X
    apart = np.sqrt(np.maximum(((rows[:, None] - rows) ** 2).sum(-1), 0))
    wanted = np.sort(apart, 1)[:, 4]  # its own distance comes first
    wanted = wanted**2 / 2 if metric == "cosine" else wanted
    with resident(as_rows(X), 10**9) as data, Team(2) as team:
        backends = [CpuBackend(each) for each in (team, Team(1))]
        prepared = prepare(data, metric, backends[0])
        knees = [knee_of(prepared, np.arange(n_rows), 4, backend, 3) for backend in backends]
    assert knees[0].distances.tobytes() == knees[1].distances.tobytes()
    assert len(knees[0].distances) == min(n_rows, 1000)
    assert knees[0].n_rows == n_rows
    found = knees[0].distances
    nearest = np.abs(np.sort(wanted)[:, None] - found).min(0)
    assert nearest.max() <= 1e-12
    if n_rows <= 1000:
        np.testing.assert_allclose(found, np.sort(wanted), rtol=1e-9)
