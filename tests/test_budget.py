"""A memory budget is kept: resident memory, sampled from outside, for data twenty times larger."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from topoact_gpu import create_store

BUDGET, N_ROWS, N_COLS = 17_000_000, 21_000, 8192
SLACK = 100_000_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """344 MB of rows."""
    path = tmp_path_factory.mktemp("budget") / "acts.zarr"
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, N_COLS)).astype(np.float16)
    with create_store(path) as made:
        layer = made.create_layer("layer", N_COLS, "float16")
        for _ in range(0, N_ROWS, 1000):
            scale = rng.uniform(0.5, 2.0, size=(1000, 1)).astype(np.float16)
            layer.append(noise[rng.permutation(2000)[:1000]] * scale)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("n_intervals", [50, 1], ids=["gathered", "through a window"])
def test_resident_memory_stays_within_the_budget(store, n_intervals):
    from benchmarks.fit_store import watched

    spec = {
        "store": str(store), "n_intervals": n_intervals, "overlap": 0.3 if n_intervals > 1 else 0.0,
        "eps": 20.0, "threads": 2, "budget": BUDGET,
    }  # fmt: skip
    if n_intervals == 1:
        spec["rows"] = 5000
    found = watched(spec, timeout=300)
    assert N_ROWS * N_COLS * 2 > 20 * BUDGET
    assert found["rows"] == "bucketed on disk"
    assert found["peak_bytes"] - found["idle_bytes"] <= BUDGET + SLACK
