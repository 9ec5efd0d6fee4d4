"""The explorer as it is started: by the command, in a notebook, on a real socket."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from typer.testing import CliRunner

import topoact_gpu
from topoact_gpu.cli import app
from topoact_gpu.errors import DataError, ParameterError, StoreError, TopoactError
from topoact_gpu.explore import summaries
from topoact_gpu.explore.faults import Conflict, NotFound
from topoact_gpu.explore.graph_view import graph_table
from topoact_gpu.explore.serve import RunningServer
from topoact_gpu.explore.session import Session
from topoact_gpu.explore.tables import decode_table
from topoact_gpu.runs import load_run
from topoact_gpu.summary import summarise
from topoact_gpu.summary_group import load_summary, write_summary


@pytest.fixture(scope="module")
def path(tmp_path_factory, write_run):
    return write_run(tmp_path_factory.mktemp("runs"))


def get_json(address):
    with urlopen(address, timeout=20) as answer:
        return json.load(answer)


# --- on a socket -------------------------------------------------------------------------------


def test_a_server_answers_this_machine(path):
    with RunningServer(Session([path])) as server:
        match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/", server.address)
        port, token = int(match[1]), match[2]
        assert get_json(f"{server.address}api/session")["runs"][0]["n_rows"] == 200
        with urlopen(f"{server.address}api/runs/r0/graph", timeout=60) as answer:
            meta, arrays = decode_table(answer.read())
        assert len(arrays["size"]) == meta["run"]["n_nodes"] == 12
        with pytest.raises(HTTPError, match="404") as refused:
            urlopen(f"http://127.0.0.1:{port}/api/session", timeout=20)
        refused.value.close()
        raw_requests(port, token)
    assert not server.running
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    server.stop()


def raw_requests(port, token):
    """What no client of Python sends by itself."""
    for target, headers, status in (
        (f"/{token}/../../../../etc/passwd", {}, 404),
        (f"/{token}/%2e%2e/%2e%2e/etc/passwd", {}, 404),
        (f"/{token}/%252e%252e/etc/passwd", {}, 404),
        (f"/{token}/api/session", {"Host": f"evil.example:{port}"}, 400),
        (f"/{token}/api/session", {"Host": f"localhost:{port}"}, 200),
        (f"/{token}/api/session", {"Host": f"localhost:{port + 1}"}, 400),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        assert answer.status == status, target
        assert b"root:" not in answer.read()
        connection.close()


def test_each_server_has_a_secret_of_its_own(path):
    session = Session([path])
    with RunningServer(session) as one, RunningServer(session) as other:
        token = one.address.rsplit("/", 2)[1]
        port = other.address.split(":")[2].split("/")[0]
        with pytest.raises(HTTPError, match="404") as refused:
            urlopen(f"http://127.0.0.1:{port}/{token}/api/session", timeout=20)
        refused.value.close()


def test_a_port_that_is_taken(path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ParameterError, match=f"port {port} cannot be used"):
            RunningServer(Session([path]), port=port)
    with pytest.raises(ParameterError, match="port must be"):
        RunningServer(Session([path]), port=70_000)


@pytest.mark.parametrize("name", ["fastapi", "uvicorn"])
def test_what_is_not_installed_is_named(path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TopoactError, match=rf"{name}, .*pip install 'topoact-gpu\[explore\]'"):
        RunningServer(Session([path]))


# --- by the command ----------------------------------------------------------------------------


def test_the_command_until_it_is_interrupted(path):
    code = "from topoact_gpu.cli import app; app()"
    command = [sys.executable, "-c", code, "explore", str(path), "--no-browser", "--read-only"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        address = process.stdout.readline().strip()
        assert get_json(f"{address}api/session")["read_only"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == ""
    assert err.splitlines() == ["Ctrl-C ends the explorer", "stopped"]


def test_the_command_opens_a_browser(path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", opened.append)
    monkeypatch.setattr(RunningServer, "wait", lambda self: None)
    for options, expected in (([], 1), (["--no-browser"], 0), (["--json"], 0)):
        opened.clear()
        result = CliRunner().invoke(app, ["explore", str(path), *options])
        assert result.exit_code == 0, result.output
        assert len(opened) == expected
        first = json.loads(result.stdout) if options == ["--json"] else result.stdout.strip()
        address = first["address"] if options == ["--json"] else first
        assert address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["nothing.zarr"], "there is no run at"),
        (["RUN", "--label", "nope"], "no run has the row column 'nope'"),
        (["RUN", "--label", "confidence"], "categories"),
        (["RUN", "--port", "70000"], "port must be"),
        (["RUN", "--store", "nothing.zarr"], "there is no activation store"),
        (["STORE"], "a run is required"),
        ([], "Missing argument"),
    ],
)
def test_the_command_refuses(path, arguments, match):
    known = {"RUN": str(path), "STORE": str(path.with_name("run-acts.zarr"))}
    result = CliRunner().invoke(app, ["explore", *(known.get(a, a) for a in arguments)])
    assert result.exit_code == 2
    assert match in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


# --- in a notebook -----------------------------------------------------------------------------


def test_a_run_in_a_notebook(path):
    shown = topoact_gpu.explore(path, read_only=True, height=300)
    try:
        html = shown._repr_html_()
        assert f'<iframe src="{shown.address}"' in html
        assert 'height="300"' in html
        assert get_json(f"{shown.address}api/session")["read_only"]
        assert repr(shown) == f"Explorer({shown.address})"
    finally:
        shown.stop()
    assert repr(shown) == "Explorer(stopped)"
    assert threading.current_thread().is_alive()


def test_a_graph_in_a_notebook(path):
    run = load_run(path)
    names = np.array(["cat", "dog", "emu"])[run.columns["few"]]
    rows = np.random.default_rng(0).standard_normal((200, 4))
    shown = run.graph.explore(names, lens_values=run.lens_values, activations=rows)
    try:
        with urlopen(f"{shown.address}api/runs/r0/graph", timeout=60) as answer:
            meta, arrays = decode_table(answer.read())
    finally:
        shown.stop()
    assert sorted(meta["class_names"]) == ["cat", "dog", "emu"]
    assert meta["label"] == "label"
    assert meta["has_activations"]
    for node in range(12):
        own = names[run.graph.node_rows(node)].tolist()
        top = meta["class_names"][arrays["top_class"][node, 0]]
        assert own.count(top) == max(own.count(name) for name in set(own))


def test_numbers_with_names_in_a_notebook(path):
    run = load_run(path)
    shown = topoact_gpu.explore(
        run.graph,
        labels=run.columns["few"],
        label_names=["a", "b", "c"],
        columns={"x": [1.5] * 200},
    )
    shown.stop()
    view = shown.session.runs[0]
    assert view.class_codes("label")[1] == ["a", "b", "c"]
    assert view.columns["x"][0] == 1.5
    assert np.isnan(view.lens_values).all()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"labels": [1, 2]}, DataError),
        ({"activations": np.zeros((3, 2))}, DataError),
        ({"lens_values": np.zeros(7)}, DataError),
        ({"lens_values": np.zeros((200, 3))}, DataError),
        ({"label": "nope"}, ParameterError),
        ({"labels": np.linspace(0, 1, 200)}, ParameterError),
    ],
)
def test_what_does_not_fit_a_graph(path, options, error):
    with pytest.raises(error):
        load_run(path).graph.explore(**options)


def test_a_run_brings_its_own_labels(path):
    with pytest.raises(ParameterError, match="a run on disk has its own"):
        topoact_gpu.explore(path, labels=[1])
    with pytest.raises(ParameterError, match="at least one run"):
        topoact_gpu.explore([])


def test_the_package_can_be_called_and_imported_from():
    from topoact_gpu.explore import Explorer, explore

    assert topoact_gpu.explore.explore is explore
    assert topoact_gpu.explore.Explorer is Explorer
    with pytest.raises(AttributeError, match="nothing"):
        _ = topoact_gpu.explore.nothing


# --- the session -------------------------------------------------------------------------------


def test_runs_share_a_store(tmp_path, write_run):
    first = write_run(tmp_path)
    session = Session([first, first])
    assert [run.id for run in session.runs] == ["r0", "r1"]
    assert len(session.stores) == 1
    assert session.info()["stores"][0]["layers"][0]["runs"] == ["r0", "r1"]


def test_a_store_that_moved(tmp_path, write_run):
    path = write_run(tmp_path)
    moved = path.with_name("elsewhere.zarr")
    path.with_name("run-acts.zarr").rename(moved)
    assert Session([path]).runs[0].activations is None
    assert Session([path], store=moved).runs[0].activations.shape == (200, 7)


def test_a_graph_alone(path, tmp_path):
    load_run(path).graph.save(tmp_path / "graph.zarr")
    session = Session([tmp_path / "graph.zarr"])
    meta, arrays = decode_table(graph_table(session.runs[0]))
    assert meta["label"] is None
    assert meta["class_names"] == []
    assert (arrays["top_class"] == -1).all()
    assert np.isnan(arrays["purity"]).all()


def test_a_label_for_all_runs(path):
    session = Session([path], label="few")
    assert session.runs[0].label == "few"
    assert Session([path]).runs[0].label == "class_id"


def test_runs_in_memory(path):
    session = Session([path])
    parent = session.runs[0]
    child = session.add_run("child", parent.graph, parent=parent, lens_values=parent.lens_values)
    assert (child.origin, child.parent) == ("recomputed", parent)
    assert child.columns.keys() == parent.columns.keys()
    assert child.activations.shape == parent.activations.shape
    assert decode_table(graph_table(child))[0]["label"] == "class_id"
    session.forget(child.id)
    with pytest.raises(NotFound):
        session.run(child.id)
    with pytest.raises(Conflict, match="stays"):
        session.forget(parent.id)


def test_unknown_codes_have_no_class(path):
    session = Session()
    graph = load_run(path).graph
    values = np.where(np.arange(200) % 3 == 0, -1, np.arange(200) % 7 + 2)
    codes, names = session.add_run("g", graph, columns={"label": values}).class_codes("label")
    assert names == [str(value) for value in range(2, 9)]
    assert codes.tolist() == [-1 if value < 0 else value - 2 for value in values.tolist()]


def test_many_threads_get_one_summary(path, monkeypatch):
    made = []
    summarise = summaries.summarise

    def counted(*args, **options):
        made.append(options.get("label"))
        return summarise(*args, **options)

    monkeypatch.setattr(summaries, "summarise", counted)
    view = Session([path]).runs[0]
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda _: graph_table(view), range(16)))
        pool.map(lambda _: view.summary("few"), range(16))
    assert len({id(table) for table in tables}) == 1
    assert sorted(str(label) for label in made) == ["None", "class_id", "few"]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("label", ["class_id", "few", "token"])
def test_the_rows_of_nodes_are_the_same_for_all_classes(tmp_path, write_run, written, label):
    path = write_run(tmp_path)
    view = Session([path]).runs[0]
    if written:
        write_summary(path, view.summary())
        view = Session([path]).runs[0]
    found = view.summary(label)
    codes, names = view.class_codes(label)
    expected = summarise(
        view.graph,
        classes=codes,
        class_names=names,
        activations=view.activations.rows,
        inputs=view.columns["input"],
    )
    assert found.label == label
    for name in ("class_id", "top_p", "exemplar", "exemplar_distance", "mean_activation"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.warnings[: len(expected.warnings)] == expected.warnings


def test_the_summary_in_a_run_is_used(tmp_path, write_run, monkeypatch):
    path = write_run(tmp_path)
    fresh = decode_table(graph_table(Session([path]).runs[0]))
    write_summary(path, Session([path]).runs[0].summary())
    assert load_summary(path) is not None
    monkeypatch.setattr(summaries, "summarise", lambda *_a, **_o: pytest.fail("computed"))
    meta, arrays = decode_table(graph_table(Session([path]).runs[0]))
    assert meta == fresh[0]
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, fresh[1][name])
    monkeypatch.undo()
    assert Session([path]).runs[0].summary("few").label == "few"


def test_a_run_that_is_missing_or_damaged(tmp_path, write_run):
    with pytest.raises(StoreError, match="there is no run"):
        Session([tmp_path / "none.zarr"])
    path = write_run(tmp_path)
    (path / "graph" / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        Session([path])
