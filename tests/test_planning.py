"""A plan says what the fit then does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from topoact_gpu import DBSCAN, BalancedCover, Mapper, UniformCover, create_store, open_store
from topoact_gpu.cli import app
from topoact_gpu.errors import ParameterError
from topoact_gpu.planning import _between, _dealt_out, _spread_out, plan


def activations(n_rows: int = 20_000, n_cols: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 2.0 * rng.normal(size=(40, n_cols))
    return (centres[rng.integers(0, 40, n_rows)] + rng.normal(size=(n_rows, n_cols))).astype(
        np.float16
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "acts.zarr"
    with create_store(path) as made:
        made.create_layer("block", 64, "float16").append(activations())
    return path


@pytest.mark.parametrize("budget", [None, 60_000_000, 2**21])
@pytest.mark.parametrize("eps", [9.0, "knee"])
def test_a_plan_is_what_the_fit_does(store, budget, eps, monkeypatch):
    for module in ("mapper", "planning"):  # budgets smaller than a user may give
        monkeypatch.setattr(f"topoact_gpu.{module}.resolve_budget", lambda given: given or 2**31)
    layer = open_store(store).layer("block")
    given = {"cover": UniformCover(20, 0.3), "clusterer": DBSCAN(eps), "memory_budget": budget}
    found = plan(layer, **given)
    report = Mapper(**given).fit(layer).report_
    assert found.looked_at == found.n_rows == 20_000
    assert found.way == report["implementation"]["rows"]
    assert found.pairs == report["clustering"]["pairs_total"]
    assert found.largest_interval == report["clustering"]["largest_interval"]
    assert found.memberships == report["n_memberships_offered"]
    assert found.eps == pytest.approx(report["clustering"]["eps"])
    bucketed = found.way == "bucketed on disk"
    assert found.scratch_bytes == (20_000 * 64 * 2 if bucketed else 0)
    seconds = sum(stage["seconds"] for stage in report["stages"].values())
    assert found.seconds["total"] < 5 * seconds + 0.5
    assert found.seconds["total"] == pytest.approx(
        sum(value for name, value in found.seconds.items() if name != "total")
    )


@pytest.mark.parametrize("stage", ["compute_lens", "prepare", "knee_of"])
def test_what_only_the_first_call_takes_is_no_work(store, monkeypatch, stage):
    """A first plan compiles; taken for work, that grew with the rows."""
    from topoact_gpu import planning

    calls, real = [], getattr(planning, stage)

    def slow_at_first(*args, **kwargs):
        calls.append(stage)
        if len(calls) == 1:
            time.sleep(0.8)
        return real(*args, **kwargs)

    monkeypatch.setattr(planning, stage, slow_at_first)
    found = plan(open_store(store).layer("block"), cover=UniformCover(20, 0.3))
    assert len(calls) > 1
    named = {"compute_lens": "lens", "knee_of": "knee"}.get(stage, stage)
    assert found.seconds[named] < 0.5


def test_a_lens_of_all_rows_is_planned_for(store):
    lens = np.linspace(0, 1, 20_000)
    layer = open_store(store).layer("block")
    assert plan(layer, lens=lens, cover=UniformCover(20, 0.3)).memberships > 20_000


def test_scratch_is_what_parts_take(tmp_path, store, monkeypatch):
    """Rows in no element are not written, and not planned for."""
    from topoact_gpu import ExplicitCover

    monkeypatch.setattr("topoact_gpu.planning.resolve_budget", lambda given: 2**20)
    monkeypatch.setattr("topoact_gpu.mapper.resolve_budget", lambda given: 2**20)
    layer = open_store(store).layer("block")
    lens = np.linalg.norm(activations().astype(np.float64), axis=1)
    cover = ExplicitCover([tuple(np.quantile(lens, [0.2, 0.5]))])
    found = plan(layer, cover=cover, clusterer=DBSCAN(9.0))
    written: list[int] = []

    from topoact_gpu.cpu import CpuBackend

    original = CpuBackend.cluster

    def cluster(self, prepared, *args, **options):
        folder = prepared.data.buckets.folder
        written.extend(path.stat().st_size for path in folder.glob("*.rows"))
        return original(self, prepared, *args, **options)

    monkeypatch.setattr(CpuBackend, "cluster", cluster)
    Mapper(cover=cover, clusterer=DBSCAN(9.0)).fit(layer)
    assert sum(written) == found.scratch_bytes > 0


def test_what_is_larger_is_looked_at_in_part(store, monkeypatch):
    monkeypatch.setattr("topoact_gpu.planning._LOOK_BYTES", (2**19, 2**19))
    monkeypatch.setattr("topoact_gpu.planning._BLOCK_BYTES", 2**17)
    monkeypatch.setattr("topoact_gpu.planning.resolve_budget", lambda given: 2**20)
    found = plan(open_store(store).layer("block"), cover=BalancedCover(10), clusterer=DBSCAN(9.0))
    assert 1000 < found.looked_at < 8000
    assert found.memberships == pytest.approx(20_000 * 10 / (10 - 9 * 0.3), rel=0.02)


def test_the_command(store):
    given = ["plan", str(store), "--eps", "9", "--intervals", "12"]
    shown = CliRunner().invoke(app, given)
    assert shown.exit_code == 0, shown.output
    assert "time: total" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert found["n_rows"] == 20_000
    for wrong, message in ((["--metric", "manhattan"], "metric"), (["--lens", "l3norm"], "l2norm")):
        refused = CliRunner().invoke(app, [*given, *wrong])
        assert refused.exit_code == 2
        assert len(refused.stderr.splitlines()) == 1
        assert message in refused.stderr


def test_another_clusterer_is_refused():
    from sklearn.cluster import KMeans

    with pytest.raises(ParameterError, match="our DBSCAN"):
        plan(activations(100), clusterer=KMeans())


def test_how_seconds_are_put_together():
    assert sorted(_spread_out(9)) == list(range(9))
    assert _spread_out(9)[:3] == [0, 8, 4]
    assert _spread_out(1) == [0]
    sizes = np.array([100, 200, 300, 400])
    every = _between({0: 1.0, 3: 8.0}, sizes, sizes)  # 400 ** 1.5 is 8 times 100 ** 1.5
    assert every == pytest.approx((sizes / 100) ** 1.5)
    assert _dealt_out(np.array([1.0] * 20), 2) == pytest.approx(10.0)
    assert _dealt_out(np.array([30.0, 1.0, 1.0]), 2) == pytest.approx(16.0)
