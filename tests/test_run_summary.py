"""Summaries of runs: what they are made from, on disk and back, and the commands."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from topoact_gpu import DBSCAN, Mapper, UniformCover, summary_group
from topoact_gpu.cli import app
from topoact_gpu.errors import ParameterError, StoreError, TopoactError
from topoact_gpu.export import export_graph
from topoact_gpu.files import read_format
from topoact_gpu.graph import MapperGraph
from topoact_gpu.labels import categorical, label_column, predicted_classes
from topoact_gpu.run_summary import (
    elements_of,
    ensure_summary,
    load_summary,
    offers_of,
    summary_of_run,
    write_summary,
)
from topoact_gpu.runs import load_run, save_run
from topoact_gpu.store import create_store, open_store

N_ROWS = 240


def contents(summary):
    """Everything a summary holds, arrays as dtype, shape and bytes."""
    fields = {f.name: getattr(summary, f.name) for f in dataclasses.fields(summary)}
    return {
        name: (v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v
        for name, v in fields.items()
    }


def make_store(path, *, names=("cat", "dog", "<b>moss</b>"), outputs=("dog", "cat", "ship")):
    """A store of circles, with classes, predictions, words and inputs."""
    rng = np.random.default_rng(0)
    angle = np.sort(rng.random(N_ROWS)) * 2 * np.pi
    X = np.column_stack([np.cos(angle), np.sin(angle), 0 * angle]).astype(np.float32)
    with create_store(path, output_names=outputs) as store:
        codes = {"class_id": list(names), "token": ["the", "a"]}
        layer = store.create_layer("b1", 3, "float32", names=codes)
        layer.append(
            X,
            class_id=(np.arange(N_ROWS) // 80).astype(np.int32),
            prediction=np.zeros(N_ROWS, np.int32),
            confidence=rng.random(N_ROWS).astype(np.float32),
            input=np.arange(N_ROWS) // 4,
            token=(np.arange(N_ROWS) % 2).astype(np.int32),
        )
    return path


def fit(store, run, **options):
    mapper = Mapper("column:0", cover=UniformCover(5, 0.3), clusterer=DBSCAN(0.3))
    return mapper.fit(open_store(store).layer("b1"), run=run, **options).graph_


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store and a run of it, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    fit(make_store(folder / "acts.zarr"), folder / "run.zarr")
    return folder


@pytest.fixture
def run(made, tmp_path):
    for name in ("acts.zarr", "run.zarr"):
        shutil.copytree(made / name, tmp_path / name)
    said = json.loads((tmp_path / "run.zarr" / "zarr.json").read_text())
    said["attributes"]["source"]["path"] = str((tmp_path / "acts.zarr").resolve())
    (tmp_path / "run.zarr" / "zarr.json").write_text(json.dumps(said))
    return tmp_path / "run.zarr"


def topoact(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="topoact")


# --- what it is made from ----------------------------------------------------------------------


def test_a_run_and_its_store(run):
    found = summary_of_run(run)
    X, columns = open_store(run.parent / "acts.zarr")["b1"][:], load_run(run).columns
    graph = MapperGraph.load(run)
    assert found.label == "class_id"
    assert found.class_names == ["cat", "dog", "<b>moss</b>"]
    assert np.allclose(found.mean_activation[0], X[graph.node_rows(0)].mean(axis=0))
    assert found.edge_mean_activation.shape == (graph.n_edges, 3)
    rows = graph.node_rows(0)
    assert found.confidence[0] == pytest.approx(columns["confidence"][rows].mean())
    # the network says dog everywhere, and knows no moss
    classes = columns["class_id"][rows]
    assert found.error_rate[0] == pytest.approx((classes[classes < 2] != 1).mean())
    assert found.token_names == ["the", "a"]
    exemplars = found.exemplar[0][found.exemplar[0] >= 0]
    assert len(set((exemplars // 4).tolist())) == len(exemplars)
    assert "1 of 3 classes are none of the network's" in " ".join(found.warnings)
    assert np.isfinite(found.edge_lens).all()


def test_another_label(run):
    assert summary_of_run(run, label="token").base_count.tolist() == [120, 120]
    with pytest.raises(ParameterError, match="no row column 'clas_id'; did you mean 'class_id'"):
        summary_of_run(run, label="clas_id")
    with pytest.raises(ParameterError, match="'confidence' holds float32"):
        summary_of_run(run, label="confidence")


@pytest.mark.parametrize("harm", ["gone", "changed", "silent", "damaged"])
def test_without_its_store(run, harm):
    store = run.parent / "acts.zarr"
    message = "mean rows and exemplars are not known: "
    if harm == "gone":
        shutil.rmtree(store)
        message += "there is no activation store at"
    elif harm == "damaged":
        (store / "layers" / "b1" / "zarr.json").write_text("{")
    elif harm == "changed":
        with open_store(store, "a") as grown:
            layer = grown.layer("b1")
            layer.append(layer[:1], **{k: v[:1] for k, v in layer.columns().items()})
        message += f"{store.resolve()} has 241 rows, the run 240: the store has changed"
    else:
        attributes = json.loads((run / "zarr.json").read_text())
        attributes["attributes"]["source"] = {}
        (run / "zarr.json").write_text(json.dumps(attributes))
        message += "the run does not say"
    found = summary_of_run(run)
    assert found.mean_activation is None
    assert (found.exemplar == -1).all()
    assert any(warning.startswith(message) for warning in found.warnings)
    assert np.isfinite(found.purity).all()


def test_a_mapped_array(tmp_path):
    X = open_store(make_store(tmp_path / "acts.zarr"))["b1"][:]
    np.save(tmp_path / "x.npy", X)
    mapper = Mapper("column:0", cover=UniformCover(5, 0.3), clusterer=DBSCAN(0.3))
    mapper.fit(np.load(tmp_path / "x.npy", mmap_mode="r"), run=tmp_path / "run.zarr")
    found = summary_of_run(tmp_path / "run.zarr")
    assert found.label is None
    assert found.mean_activation.shape[1] == 3
    assert found.warnings == []


def test_correct_is_taken_where_it_is_known(tmp_path):
    graph = fit(make_store(tmp_path / "acts.zarr"), tmp_path / "one.zarr")
    columns = load_run(tmp_path / "one.zarr").columns
    correct = np.array([1, 0, -1], np.int8)[np.arange(N_ROWS) % 3]
    save_run(
        tmp_path / "two.zarr", graph, lens_values=np.zeros(N_ROWS), report={},
        columns={**columns, "correct": correct},
    )  # fmt: skip
    found = summary_of_run(tmp_path / "two.zarr")
    known = correct[graph.node_rows(0)]
    assert found.error_rate[0] == pytest.approx((known[known >= 0] == 0).mean())


def test_runs_of_earlier_releases(run):
    """They do not say how many rows each interval was offered; the cover does."""
    expected = summary_of_run(run)
    shutil.rmtree(run / "graph" / "interval_offered")
    attributes = json.loads((run / "graph" / "zarr.json").read_text())
    del attributes["attributes"]["checksums"]["interval_offered"]
    (run / "graph" / "zarr.json").write_text(json.dumps(attributes))
    assert MapperGraph.load(run).interval_offered is None
    found = summary_of_run(run)
    assert found.interval_offered.tolist() == expected.interval_offered.tolist()
    assert found.class_noise.tolist() == expected.class_noise.tolist()
    saved = load_run(run)
    offers = offers_of(elements_of(saved.graph, saved.lens_values), saved.graph.n_rows)
    offered = np.bincount(saved.columns["class_id"], offers)
    assert np.average(found.class_noise, weights=offered) == pytest.approx(saved.graph.noise)
    attributes["attributes"]["parameters"]["cover"]["n_intervals"] = 6
    (run / "graph" / "zarr.json").write_text(json.dumps(attributes))
    found = summary_of_run(run)
    assert found.interval_offered is None
    assert np.isnan(found.interval_noise).all()
    assert np.isnan(found.class_noise).all()


# --- labels ------------------------------------------------------------------------------------


def test_label_columns():
    columns = {
        "x": np.arange(3), "y": np.arange(3), "score": np.ones(3), "input": np.arange(3),
        "pos": np.arange(3), "label": np.array([5, 6, 2000]), "thing": np.arange(3),
    }  # fmt: skip
    assert categorical(columns, {"thing": ["a", "b", "c"]}) == ["pos", "thing"]
    assert label_column(columns, {"thing": ["a", "b", "c"]}) == "pos"
    assert label_column(columns, {"label": ["a"] * 2001}) == "label"
    assert label_column({"x": np.arange(3), "thing": np.arange(3)}, {"thing": ["a"]}) == "thing"
    assert label_column({"x": np.arange(3), "other": np.arange(3)}, {}) is None
    assert label_column(columns, {}, label="thing") == "thing"


def test_predictions_that_cannot_be_compared():
    classes = np.array([0, 1])
    found, remark = predicted_classes(classes, [0, 0], ["a", "b"], None)
    assert found.tolist() == [-1, -1]
    assert "not known" in remark
    found, remark = predicted_classes(classes, [0, 0], ["a", "b"], ["n01", "n02"])
    assert (found.tolist(), remark) == (
        [-1, -1],
        "the misclassified share is unknown: no class has the name of an output of the network",
    )
    found, remark = predicted_classes(classes, [0, 2], ["a", "b"], ["b", "a", "c"])
    assert (found.tolist(), remark) == ([1, 4], None)


# --- on disk -----------------------------------------------------------------------------------


def test_there_and_back(run):
    assert load_summary(run) is None
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    found = summary_of_run(run)
    write_summary(run, found)
    assert contents(load_summary(run)) == contents(found)
    assert {p: p.read_bytes() for p in before} == before
    assert sorted(p.name for p in run.parent.iterdir()) == ["acts.zarr", "run.zarr"]
    assert read_format(run / "summary") == "topoact-gpu/summary"
    write_summary(run, found)
    assert sorted(p.name for p in run.iterdir()) == [
        "graph", "lens", "rows", "summary", "zarr.json"
    ]  # fmt: skip
    assert load_run(run).graph.saved_summary.label == "class_id"


def test_an_empty_graph_is_kept_too(tmp_path):
    graph = MapperGraph.build(
        np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(5), 5
    )
    save_run(tmp_path / "r.zarr", graph, lens_values=np.zeros(5), report={})
    found = summary_of_run(tmp_path / "r.zarr")
    write_summary(tmp_path / "r.zarr", found)
    assert contents(load_summary(tmp_path / "r.zarr")) == contents(found)


def test_a_summary_of_another_version_label_or_graph_is_computed_again(run, monkeypatch):
    write_summary(run, summary_of_run(run))
    assert ensure_summary(run, label="token").label == "token"
    assert load_summary(run).label == "class_id"
    assert ensure_summary(run, label="token", write=True).label == "token"
    assert load_summary(run).label == "token"
    monkeypatch.setattr(summary_group, "VERSION", 2)
    assert load_summary(run) is None
    assert ensure_summary(run).label == "class_id"
    monkeypatch.undo()
    attributes = json.loads((run / "summary" / "zarr.json").read_text())
    attributes["attributes"]["graph"]["rows"] += 1
    (run / "summary" / "zarr.json").write_text(json.dumps(attributes))
    assert load_summary(run) is None


@pytest.mark.parametrize("harm", ["chunk", "attribute", "metadata", "format"])
def test_a_damaged_summary(run, harm):
    write_summary(run, summary_of_run(run))
    folder = run / "summary"
    attributes = json.loads((folder / "zarr.json").read_text())
    if harm == "chunk":
        (chunk,) = [p for p in (folder / "size" / "c").rglob("*") if p.is_file()]
        chunk.unlink()
    elif harm == "metadata":
        (folder / "purity" / "zarr.json").unlink()
    else:
        if harm == "format":
            attributes["attributes"]["format"] = "other"
        else:
            del attributes["attributes"]["coverage"]
        (folder / "zarr.json").write_text(json.dumps(attributes))
    with pytest.raises(StoreError, match=r"damaged|must have format"):
        load_summary(run)
    assert load_run(run).graph.n_nodes > 0  # the run is valid still
    assert topoact("summary", run).exit_code == 0  # and its summary is written anew
    assert load_summary(run).label == "class_id"


def test_a_full_disk_leaves_what_was_there(run, monkeypatch):
    from zarr.storage import _local

    found = summary_of_run(run)
    write_summary(run, found)
    calls = []

    def full(path, value, **options):
        calls.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_local, "_put", full)
    with pytest.raises(StoreError, match="the disk is full"):
        write_summary(run, summary_of_run(run, label="token"))
    monkeypatch.undo()
    assert calls
    assert contents(load_summary(run)) == contents(found)
    assert sorted(p.name for p in run.parent.iterdir()) == ["acts.zarr", "run.zarr"]


def test_a_summary_of_another_graph_is_refused(run, tmp_path):
    other = MapperGraph.build(
        np.array([0, 1]), np.array([0]), np.array([0]), np.zeros(300), 300
    ).summarise()
    with pytest.raises(StoreError, match="the summary is of 300 rows"):
        write_summary(run, other)
    assert load_summary(run) is None
    with pytest.raises(StoreError, match="there is no run at"):
        load_summary(tmp_path / "nothing.zarr")


# --- tables ------------------------------------------------------------------------------------


def test_summary_table(run):
    pandas = pytest.importorskip("pandas")
    graph = MapperGraph.load(run)
    assert np.isnan(graph.summary_table()["purity"]).all()
    assert np.isfinite(
        graph.summary_table(classes=load_run(run).columns["class_id"])["purity"]
    ).all()
    write_summary(run, summary_of_run(run))
    frame = pandas.DataFrame(MapperGraph.load(run).summary_table())
    assert len(frame) == graph.n_nodes
    assert frame["size"].tolist() == graph.sizes.tolist()
    assert set(frame["top_class_1"]) <= {"cat", "dog", "<b>moss</b>"}
    assert frame["tokens"].str.contains("the").all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export(run, tmp_path, kind):
    graph = MapperGraph.load(run)
    with pytest.raises(ParameterError, match=r"summary-csv needs a summary.*topoact summary RUN"):
        export_graph(graph, tmp_path / "out", "summary-csv")
    write_summary(run, summary_of_run(run))
    result = topoact("export", run, "--format", f"summary-{kind}")
    assert result.exit_code == 0, result.output
    folder = tmp_path / f"run_summary_{kind}"
    names = ["classes", "coverage", "edges", "intervals", "nodes"]
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.{kind}" for name in names]
    summary = load_summary(run)
    if kind == "csv":
        with (folder / "nodes.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [float(line["purity"]) for line in lines] == summary.purity.tolist()
        assert topoact("export", run, "--format", "summary-csv").exit_code == 2
        assert topoact("export", run, "--format", "summary-csv", "--overwrite").exit_code == 0
        return
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(folder / "nodes.parquet").to_pydict()
    assert table["purity"] == summary.purity.tolist()
    assert parquet.read_table(folder / "classes.parquet").num_rows == summary.class_id.size


def test_parquet_needs_pyarrow(run, tmp_path, monkeypatch):
    from topoact_gpu import export

    write_summary(run, summary_of_run(run))
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(TopoactError, match=r"needs pyarrow.*pip install 'topoact-gpu\[parquet\]'"):
        export_graph(MapperGraph.load(run), tmp_path / "out", "summary-parquet")
    assert not (tmp_path / "out").exists()


# --- commands ----------------------------------------------------------------------------------


def test_summary_command(run):
    result = topoact("summary", run)
    assert result.exit_code == 0, result.output
    for text in ("coverage", "'class_id'", "covered worst", "loops", "summary-csv"):
        assert text in result.stdout
    found = json.loads(topoact("summary", run, "--label", "token", "--json", "-q").stdout)
    assert found["label"] == "token"
    assert [each["rows"] for each in found["classes"]] == [120, 120]
    assert len(found["strongest_loops"]) == 1
    assert load_summary(run).label == "token"
    low = topoact("summary", run, "--floor", "1").stderr
    assert ("note: only" in low) == (load_summary(run).coverage < 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "nothing"), "there is no row column 'nothing'"),
        (("--floor", "2"), "--floor must be in [0, 1]"),
    ],
)
def test_bad_input(run, arguments, message):
    result = topoact("summary", run, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert load_summary(run) is None


def test_no_run(tmp_path):
    result = topoact("summary", tmp_path / "x.zarr")
    assert result.exit_code == 2
    assert "there is no run at" in result.stderr


def test_mapper_writes_it(tmp_path):
    store = make_store(tmp_path / "acts.zarr")
    common = ("--lens", "column:0", "--intervals", "5", "--eps", "0.3")
    run, bare = tmp_path / "run.zarr", tmp_path / "bare.zarr"
    assert topoact("mapper", store, *common, "--out", run).exit_code == 0
    assert topoact("mapper", store, *common, "--out", bare, "--no-summary").exit_code == 0
    assert load_summary(run).label == "class_id"
    assert load_summary(bare) is None
    graph = [p.relative_to(run) for p in (run / "graph").rglob("*") if p.is_file()]
    same = [
        (run / p).read_bytes() == (bare / p).read_bytes() for p in graph if p.name != "zarr.json"
    ]
    assert all(same)
    # a run that is there gets one too, and one that has it keeps it
    assert topoact("mapper", store, *common, "--out", bare).exit_code == 0
    assert load_summary(bare).label == "class_id"
    before = (bare / "summary" / "zarr.json").stat().st_mtime_ns
    assert topoact("mapper", store, *common, "--out", bare).exit_code == 0
    assert (bare / "summary" / "zarr.json").stat().st_mtime_ns == before
    assert topoact("mapper", store, *common, "--out", bare, "--label", "token").exit_code == 0
    assert load_summary(bare).label == "token"
