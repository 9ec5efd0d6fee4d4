"""Recomputing in the explorer: what is asked is checked, runs beside the server, and stops."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from topoact_gpu import DBSCAN, BalancedCover, Mapper, UniformCover, create_store
from topoact_gpu.device import Stopped, Team, stopped_by
from topoact_gpu.errors import CapacityError, DataError, ParameterError, TopoactError
from topoact_gpu.explore import recompute as module
from topoact_gpu.explore.faults import Conflict, Forbidden, NotFound
from topoact_gpu.explore.jobs import MOST_WAITING, Jobs
from topoact_gpu.explore.recompute import knee_curve, read_settings, recompute, save
from topoact_gpu.explore.session import Session
from topoact_gpu.graph import MapperGraph
from topoact_gpu.runs import load_run

SECONDS = 60


@pytest.fixture
def path(tmp_path):
    X = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    with create_store(tmp_path / "acts.zarr") as store:
        layer = store.create_layer("a", 5, "float32")
        layer.append(X, label=np.array(["p", "q"])[np.arange(600) % 2])
    mapper = Mapper("column:0", cover=UniformCover(6, 0.3), clusterer=DBSCAN(1.2))
    mapper.fit(store.layer("a"), run=tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


@pytest.fixture
def run(path):
    return Session([path]).runs[0]


def same(graph, other):
    names = ("indptr", "rows", "edges", "node_interval")
    return all(np.array_equal(getattr(graph, n), getattr(other, n)) for n in names)


def test_the_same_settings_give_the_same_graph(run):
    found = recompute(run, read_settings(run, {}))
    assert same(found.graph, run.graph)
    assert found.origin == "recomputed"
    assert found.parent is run
    assert found.name == "run, again"
    assert found.columns.keys() == run.columns.keys()


@pytest.mark.parametrize(
    ("settings", "lens", "cover", "clusterer"),
    [
        ({"lens": "pca:2", "intervals": [4, 5]}, "pca:2", UniformCover([4, 5], 0.3), DBSCAN(1.2)),
        (
            {"intervals": [9], "overlap": [0.5], "eps": 0.9, "min_samples": 3, "metric": "cosine"},
            "column:0", UniformCover(9, 0.5), DBSCAN(0.9, min_samples=3, metric="cosine"),
        ),
        (
            {"eps": "knee-per-interval", "cover": "balanced"},
            "column:0", BalancedCover(6, 0.3), DBSCAN("knee-per-interval"),
        ),
    ],
)  # fmt: skip
def test_a_recomputed_run_is_what_the_estimator_gives(run, settings, lens, cover, clusterer):
    found = recompute(run, read_settings(run, settings))
    X = run.activations[np.arange(600)]
    expected = Mapper(lens, cover=cover, clusterer=clusterer).fit(X)
    assert same(found.graph, expected.graph_)
    np.testing.assert_array_equal(found.lens_values, expected.lens_values_)
    told = found.info()["settings"]
    assert {name: told[name] for name in settings} == settings
    assert all(name in found.name for name in settings)


def test_a_lens_that_was_given_is_kept(run):
    X = run.activations[np.arange(600)]
    values = X[:, 1].astype(np.float64) ** 2
    mapper = Mapper(cover=UniformCover(5, 0.2), clusterer=DBSCAN(1.0)).fit(X, lens_values=values)
    given = run.session.add_run(
        "given", mapper.graph_, lens_values=mapper.lens_values_, report=mapper.report_, parent=run
    )
    found = recompute(given, read_settings(given, {}))
    assert same(found.graph, given.graph)
    lost = run.session.add_run("lost", mapper.graph_, report=mapper.report_, parent=run)
    with pytest.raises(ParameterError, match="was not saved with it"):
        read_settings(lost, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lense": "max"}, "no setting 'lense'; did you mean 'lens'"),
        ({"lens": "l3norm"}, "lens must be one of"),
        ({"lens": 3}, "lens must be a name"),
        ({"lens": "column:5"}, "at most 4"),
        ({"lens": "pca:6"}, "at most 5"),
        ({"cover": "round"}, "cover must be uniform or kepler or balanced"),
        ({"intervals": [0]}, "intervals must be a whole number from 1 to 100,000"),
        ({"intervals": [100_001]}, "to 100,000, got 100001"),
        ({"intervals": [True]}, "intervals must be a whole number"),
        ({"intervals": [3, 4]}, "intervals must have one value, got 2"),
        ({"lens": "pca:2", "intervals": [2000, 2000]}, "4,000,000 cells"),
        ({"lens": "pca:3", "intervals": [1000]}, "1,000,000,000 cells"),
        ({"lens": "pca:2", "intervals": [2, 3, 4]}, "1 or 2 values"),
        ({"overlap": [1.0]}, r"overlap must be from 0 to 0\.99"),
        ({"overlap": [float("nan")]}, "overlap must be from 0"),
        ({"overlap": ["0.3"]}, "overlap must be from 0"),
        ({"eps": 0}, "eps must be a number above 0"),
        ({"eps": float("inf")}, "eps must be a number above 0"),
        ({"eps": None}, "eps must be a number above 0"),
        ({"eps": "elbow"}, "or knee or knee-per-interval, got 'elbow'"),
        ({"clusterer": "HDBSCAN"}, "clusterer must be DBSCAN here"),
        ({"min_samples": 0}, "min_samples must be a whole number from 1"),
        ({"min_samples": 2.5}, "min_samples must be a whole number"),
        ({"metric": "manhattan"}, "metric must be euclidean or cosine here"),
        ({"min_intersection": 0}, "min_intersection must be a whole number"),
        ([], "settings must be a JSON object"),
    ],
)
def test_wrong_settings_are_named(run, settings, message):
    with pytest.raises(ParameterError, match=message):
        read_settings(run, settings)


def test_rows_that_are_gone_cannot_be_computed_anew(path):
    (path.parent / "acts.zarr").rename(path.parent / "elsewhere.zarr")
    run = Session([path]).runs[0]
    assert not run.info()["can_recompute"]
    with pytest.raises(Conflict, match="--store"):
        read_settings(run, {})


def test_what_does_not_fit_the_budget_is_refused(run, monkeypatch):
    recipe = read_settings(run, {"overlap": [0.99]})
    assert recipe.memberships(600, 1) == pytest.approx(60_000)
    monkeypatch.setattr(module, "resolve_budget", lambda _none: 1_000_000)
    with pytest.raises(CapacityError, match="take less overlap"):
        recompute(run, recipe)


def test_the_knee_is_that_of_the_report_or_is_measured(run):
    measured = knee_curve(run)
    anew = recompute(run, read_settings(run, {"eps": "knee"}))
    reported = knee_curve(anew)
    assert reported["eps"] == anew.report["clustering"]["eps"]
    assert measured == reported
    assert reported["k"] == 5
    assert len(reported["distances"]) == len(reported["quantile"]) == 500
    assert reported["distances"] == sorted(reported["distances"])
    assert (reported["quantile"][0], reported["quantile"][-1]) == (0.0, 1.0)
    X = run.activations[np.arange(600)].astype(np.float64)
    squares = ((X[:, None] - X) ** 2).sum(2)
    naive = np.sort(np.sort(squares, axis=1)[:, 5]) ** 0.5
    at = np.round(np.array(reported["quantile"]) * 599).astype(int)
    np.testing.assert_allclose(reported["distances"], naive[at], rtol=1e-5)


def test_a_curve_without_an_elbow_has_no_eps(run, monkeypatch):
    monkeypatch.setattr(module, "_KNEE_ROWS", 50)
    graph = run.graph
    ones = np.ones((600, 5), np.float32)
    flat = run.session.add_run("flat", graph, lens_values=run.lens_values, activations=ones)
    found = knee_curve(flat)
    assert found["eps"] is None
    assert found["n_rows"] == 50
    assert set(found["distances"]) == {0.0}


def wait(jobs, job):
    ended = jobs.wait(job.id, SECONDS)
    assert ended.state != "running"
    return ended.to_dict()


def test_a_job_tells_of_its_progress_and_its_run(run):
    jobs, seen = Jobs(), []
    recipe = read_settings(run, {})

    def work(tell):
        def listen(stage, done, total):
            tell(stage, done, total)
            seen.append(job.to_dict()["stage"])

        return recompute(run, recipe, listen).id

    job = jobs.submit(work)
    told = wait(jobs, job)
    assert told["state"] == "done"
    assert told["error"] is None
    assert run.session.run(told["run"]).origin == "recomputed"
    assert {"lens", "cover", "cluster", "nerve"} <= set(seen)
    with pytest.raises(NotFound, match="no job"):
        jobs.get("x")


def test_jobs_take_turns_and_one_that_waits_is_cancelled_at_once():
    jobs, gate, order = Jobs(), threading.Event(), []

    def held(tell):
        assert gate.wait(SECONDS)
        order.append("held")
        return "r"

    first = jobs.submit(held)
    second, third = (
        jobs.submit(lambda tell, name=name: order.append(name) or name) for name in "bc"
    )
    assert (second.to_dict()["state"], second.to_dict()["stage"]) == ("running", "waiting")
    assert jobs.cancel(second.id).state == "cancelled"
    gate.set()
    assert wait(jobs, third)["run"] == "c"
    assert wait(jobs, first)["state"] == "done"
    assert order == ["held", "c"]
    assert jobs.cancel(first.id).state == "done"


def test_a_full_queue_takes_no_more():
    jobs, gate = Jobs(), threading.Event()
    held = [jobs.submit(lambda tell: str(gate.wait(SECONDS))) for _ in range(MOST_WAITING + 1)]
    with pytest.raises(Conflict, match="waiting already"):
        jobs.submit(lambda tell: "r")
    gate.set()
    assert wait(jobs, held[-1])["state"] == "done"
    assert jobs.submit(lambda tell: "r")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("rows\nare odd"), "rows are odd"),
        (MemoryError(), "memory ran out"),
        (RuntimeError("what"), "RuntimeError: what"),
    ],
)
def test_a_job_that_fails_says_why_and_the_next_one_runs(error, message, capsys):
    jobs = Jobs()

    def fail(tell):
        raise error

    told = wait(jobs, jobs.submit(fail))
    assert told["state"] == "failed"
    assert message in told["error"]
    assert wait(jobs, jobs.submit(lambda tell: "r1"))["run"] == "r1"
    capsys.readouterr()


def test_a_job_is_stopped_within_a_second_in_the_middle_of_an_interval():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(400_000, 64)).astype(np.float32)
    Mapper("column:0", cover=UniformCover(2, 0.1), clusterer=DBSCAN(1.0)).fit(X[:3000])
    session = Session()
    lens = X[:, :1].astype(np.float64)
    ids = np.array([0, 1])
    graph = MapperGraph.build(np.array([0, 2]), ids, np.array([0]), lens, 2)
    big = session.add_run("big", graph, lens_values=lens, activations=X)
    recipe = read_settings(
        big,
        {"lens": "column:0", "cover": "uniform", "intervals": [1], "overlap": [0.0], "eps": 1.0,
         "clusterer": "DBSCAN", "min_samples": 5, "metric": "euclidean"},
    )  # fmt: skip
    jobs = Jobs()
    job = jobs.submit(lambda tell: recompute(big, recipe, tell).id)
    limit = time.monotonic() + SECONDS
    while job.to_dict()["stage"] != "cluster" and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(1.0)
    assert job.to_dict()["state"] == "running"
    pressed = time.monotonic()
    jobs.cancel(job.id)
    assert wait(jobs, job)["state"] == "cancelled"
    assert time.monotonic() - pressed < 1.0
    assert [each.name for each in session.runs] == ["big"]


def test_a_team_stops_where_its_thread_was_asked_to_and_nowhere_else():
    asked = threading.Event()
    asked.set()
    with stopped_by(asked), pytest.raises(Stopped), Team(2) as team:
        team.map(time.sleep, [0.01] * 4)
    with Team(2) as team:
        assert team.map(abs, [-1, 2]) == [1, 2]


def test_a_saved_run_is_beside_the_one_it_came_from(path, run):
    second = recompute(recompute(run, read_settings(run, {"eps": 0.9})), read_settings(run, {}))
    graph = second.graph
    target = save(second, "another name")
    assert target == path.with_name("another name.zarr")
    assert (second.origin, second.name) == ("file", "another name")
    kept = load_run(target)
    assert same(kept.graph, graph)
    assert kept.source == run.source
    assert kept.names == {"label": ["p", "q"]}
    again = Session([target]).runs[0]
    assert again.info()["settings"] == second.info()["settings"]
    with pytest.raises(Conflict, match="is a file already"):
        save(second, "third")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/tmp/x", "..", ".", ".hidden", "", "a\\b", "a\x00b", "a\n", "C:x", "x" * 200,
     " x", "x.", None, 3],
)  # fmt: skip
def test_saving_takes_a_plain_name_only(path, run, name):
    anew = recompute(run, read_settings(run, {}))
    before = sorted(path.parent.parent.rglob("*.zarr"))
    with pytest.raises(ParameterError, match="plain file name"):
        save(anew, name)
    assert sorted(path.parent.parent.rglob("*.zarr")) == before


def test_saving_replaces_nothing(path, run):
    anew = recompute(run, read_settings(run, {}))
    for name in ("run", "run.zarr", "acts"):
        with pytest.raises(Conflict, match="choose another name"):
            save(anew, name)
    with pytest.raises(Conflict, match="is a file already"):
        save(run, "x")
    alone = Session().add_run("alone", run.graph)
    with pytest.raises(Conflict, match="came from no file"):
        save(alone, "x")
    run.session.read_only = True
    with pytest.raises(Forbidden):
        save(anew, "x")
    assert not path.with_name("x.zarr").exists()


@pytest.fixture
def client(run):
    from fastapi.testclient import TestClient

    from topoact_gpu.explore.server import make_app

    with TestClient(
        make_app(run.session, "token"), base_url="http://127.0.0.1:8765/token/api/"
    ) as made:
        yield made


def test_the_addresses_answer(client, run):
    base = f"runs/{run.id}"
    assert client.get(f"{base}/knee").json()["k"] == 5
    wrong = client.post(f"{base}/recompute", json={"intervals": [0]})
    assert (wrong.status_code, "intervals" in wrong.json()["error"]) == (422, True)
    job = client.post(f"{base}/recompute", json={"intervals": [4]}).json()["job"]
    limit = time.monotonic() + SECONDS
    while (told := client.get(f"jobs/{job}").json())["state"] == "running":
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert told["state"] == "done"
    anew = told["run"]
    assert client.delete(f"jobs/{job}").json()["state"] == "done"
    assert client.get("jobs/none").status_code == 404
    listed = {each["id"]: each for each in client.get("session").json()["runs"]}
    assert listed[anew]["settings"]["intervals"] == [4]
    body = {"from": run.id, "to": anew, "nodes": [0]}
    found = client.post("flows", json=body).json()
    assert found["n_rows"] == found["n_matched"] == len(run.graph.node_rows(0))
    store = run.store_id
    found = client.post("separation", json={"store": store, "classes": [0, 1], "label": "label"})
    assert [each["run"] for each in found.json()["layers"]] == [run.id, anew]
    assert client.post(f"runs/{anew}/save", json={"name": "../x"}).status_code == 422
    assert client.delete(f"runs/{run.id}").status_code == 409
    assert client.delete(f"runs/{anew}").status_code == 200
    assert client.post("flows", json=body).status_code == 404
    assert client.post("flows", json={"from": 1}).status_code == 422


def test_tables_and_pictures_answer(client, run):
    from topoact_gpu.explore.tables import decode_table

    base = f"runs/{run.id}"
    assert client.get(f"{base}/projections").json()["methods"][0]["name"] == "pca"
    meta, arrays = decode_table(client.get(f"{base}/projection?limit=50").content)
    assert arrays["xy"].shape == (50, 2)
    assert meta["n_rows"] == 600
    found = client.post(f"{base}/project-selection", json={"nodes": [0, 1]})
    assert set(decode_table(found.content)[1]) == {"rows", "xy", "class", "lens", "node"}
    for body in ({"nodes": [10**6]}, {"nodes": ["a"]}, {}):
        assert client.post(f"{base}/project-selection", json=body).status_code == 422
    for address in ("patch/0", "input/0", "average/0", "average/0?class=1"):
        told = client.get(f"{base}/{address}")
        assert (told.status_code, "no pictures" in told.json()["error"]) == (404, True)
    assert client.get(f"{base}/average/999").status_code == 404
    assert client.get(f"{base}/projection?method=umap").status_code == 404


def test_where_nothing_may_be_written_nothing_is_computed_anew(path):
    from fastapi.testclient import TestClient

    from topoact_gpu.explore.server import make_app

    session = Session([path], read_only=True)
    run = session.runs[0].id
    with TestClient(make_app(session, "t"), base_url="http://127.0.0.1:8765/t/api/") as client:
        assert client.get(f"runs/{run}/projections").status_code == 200
        for address in ("recompute", "save"):
            assert client.post(f"runs/{run}/{address}", json={}).status_code in (403, 404, 405)
        assert client.delete(f"runs/{run}").status_code in (403, 404, 405)


def test_all_errors_are_of_one_root():
    for error in (Conflict, Forbidden, NotFound, CapacityError, ParameterError):
        assert issubclass(error, TopoactError)
