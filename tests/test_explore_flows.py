"""Flows between layers: rows are matched by what they are, and counted as the definition says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topoact_gpu import DBSCAN, Mapper, UniformCover, create_store, open_store
from topoact_gpu.activations.receptive import ReceptiveField
from topoact_gpu.activations.sampling import aligned_draw, parse_sampling
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.explore import flows
from topoact_gpu.explore.faults import Conflict, NotFound
from topoact_gpu.explore.session import Session
from topoact_gpu.graph import MapperGraph


def field(stride, size, offset, side=64, kind="exact"):
    return ReceptiveField(stride, stride, size, size, offset, offset, side, side, kind)._asdict()


def runs_of(tmp_path, layers, attributes=None):
    """Runs of layers that are made of random rows with the given columns."""
    generator = np.random.default_rng(0)
    with create_store(tmp_path / "acts.zarr") as store:
        for name, columns in layers.items():
            n_rows = len(next(iter(columns.values()))) if columns else 60
            layer = store.create_layer(name, 3, "float32", **(attributes or {}).get(name, {}))
            layer.append(generator.normal(size=(n_rows, 3)).astype(np.float32), **columns)
    paths = []
    for name in layers:
        mapper = Mapper(
            "column:0", cover=UniformCover(4, 0.4), clusterer=DBSCAN(0.8, min_samples=3)
        )
        paths.append(tmp_path / f"{name}.zarr")
        mapper.fit(open_store(tmp_path / "acts.zarr").layer(name), run=paths[-1])
    return Session(paths).runs


def naive_flows(first, second, partners, nodes):
    """Count, pair by pair and node by node."""
    counts, rows, reached = Counter(), set(), {}
    for node in nodes:
        for row in first.node_rows(node).tolist():
            rows.add(row)
            for other in partners.get(row, []):
                targets = second.row_nodes(other).tolist()
                for target in targets or [-1]:
                    counts[node, target] += 1
                for target in targets:
                    reached.setdefault(target, set()).add(row)
    matched = [row for row in rows if partners.get(row)]
    return counts, len(rows), len(matched), {t: len(r) for t, r in reached.items()}


def check(first, second, partners, nodes=None):
    chosen = range(first.graph.n_nodes) if nodes is None else nodes
    counts, n_rows, n_matched, reached = naive_flows(first.graph, second.graph, partners, chosen)
    given_nodes = None if nodes is None else np.array(nodes)
    found = flows.flows(first, second, given_nodes, 10_000)
    assert (found["n_rows"], found["n_matched"]) == (n_rows, n_matched)
    assert {(f["source"], f["target"]): f["count"] for f in found["flows"]} == counts
    assert {t["node"]: t["count"] for t in found["targets"]} == reached
    order = [f["count"] for f in found["flows"]]
    assert order == sorted(order, reverse=True)
    for target in found["targets"]:
        assert target["share"] == pytest.approx(target["count"] / n_matched)
    return found


def identity(n):
    return {row: [row] for row in range(n)}


def captured_columns(shapes, sampling, n_inputs=9):
    """What a capture notes of the rows of each layer."""
    columns = {name: {"input": [], "y": [], "x": []} for name in shapes}
    for number in range(n_inputs):
        drawn = aligned_draw(parse_sampling(sampling), shapes, seed=0, input_id=str(number))
        for name, places in drawn.items():
            columns[name]["input"] += [number] * len(places)
            columns[name]["y"] += places[:, 0].tolist()
            columns[name]["x"] += places[:, 1].tolist()
    return {n: {k: np.array(v, np.int64) for k, v in c.items()} for n, c in columns.items()}


def test_aligned_layers_match_row_by_row(tmp_path):
    shapes = {"a": (16, 16), "b": (8, 8)}
    columns = captured_columns(shapes, "random:9")
    said = {name: {"sampling": "random:9"} for name in shapes}
    first, second = runs_of(tmp_path, columns, said)
    check(first, second, identity(81))
    check(second, first, identity(81), [0, 2])
    check(first, second, identity(81), [1])
    assert flows.flows(first, second, np.array([], np.int64))["flows"] == []


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["exact", "whole"])
def test_other_resolutions_match_by_place(tmp_path, turned, kind):
    shapes = {"a": (16, 16), "b": (4, 4)}
    columns = captured_columns(shapes, "all", 2)
    said = {
        "a": {"sampling": "all", "receptive_field": field(4, 9, -2)},
        "b": {"sampling": "all", "receptive_field": field(16, 30, -7, kind=kind)},
    }
    fine, coarse = runs_of(tmp_path, columns, said)
    partners = {}
    a, b = columns["a"], columns["b"]
    where = {key: row for row, key in enumerate(zip(*b.values(), strict=True))}
    for row, (number, *place) in enumerate(zip(*a.values(), strict=True)):
        cell = []
        for at in place:
            centre = -2 + 4 * at + 4.5
            distance = [abs(centre - (16 * c + 8)) for c in range(4)]
            assert sorted(distance)[0] < sorted(distance)[1]
            cell.append(int(np.argmin(distance)))
        partners[row] = [where[(number, *cell)]]
    if turned:
        back = {}
        for row, (other,) in partners.items():
            back.setdefault(other, []).append(row)
        found = check(coarse, fine, back)
        assert sum(f["count"] for f in found["flows"]) > found["n_rows"]
    else:
        check(fine, coarse, partners)
        check(fine, coarse, partners, [1])


def test_drawn_places_that_the_other_layer_lacks_are_unmatched(tmp_path):
    columns = captured_columns({"a": (16, 16), "b": (4, 4)}, "all", 2)
    said = {
        "a": {"sampling": "top-norm:3", "receptive_field": field(4, 4, 0)},
        "b": {"sampling": "top-norm:3", "receptive_field": field(16, 16, 0)},
    }
    columns["b"] = {name: values[::2] for name, values in columns["b"].items()}
    fine, coarse = runs_of(tmp_path, columns, said)
    b = columns["b"]
    where = {key: row for row, key in enumerate(zip(*b.values(), strict=True))}
    partners = {}
    for row, (number, y, x) in enumerate(zip(*columns["a"].values(), strict=True)):
        if (number, y // 4, x // 4) in where:
            partners[row] = [where[number, y // 4, x // 4]]
    assert 0 < len(partners) < len(columns["a"]["y"])
    check(fine, coarse, partners)


def test_tokens_match_by_input_and_position(tmp_path):
    inputs, position = np.repeat(np.arange(20), 4), np.tile(np.arange(4), 20)
    kept = np.random.default_rng(3).permutation(80)[:70]
    columns = {
        "a": {"input": inputs, "position": position},
        "b": {"input": inputs[kept], "position": position[kept]},
        "c": {"input": inputs, "position": position},
    }
    a, b, c = runs_of(tmp_path, columns)
    check(a, c, identity(80))
    partners = {int(row): [at] for at, row in enumerate(kept)}
    check(a, b, partners)
    check(b, a, {other[0]: [row] for row, other in partners.items()})


def test_imported_layers_match_where_their_columns_say_the_same(tmp_path):
    label = np.array(["x", "y", "z"])[np.arange(60) % 3]
    a, b, c = runs_of(
        tmp_path, {"a": {"label": label}, "b": {"label": label}, "c": {"label": label[::-1]}}
    )
    check(a, b, identity(60))
    with pytest.raises(Conflict, match=r"no column input, y, x"):
        flows.flows(a, c)


def test_what_cannot_be_matched_is_told(tmp_path):
    plain = {"a": {}, "b": {}}
    a, b = runs_of(tmp_path, plain)
    with pytest.raises(Conflict, match=r"cannot be matched.*aligned sampling"):
        flows.flows(a, b)
    (tmp_path / "two").mkdir()
    columns = captured_columns({"a": (4, 4), "b": (2, 2)}, "all", 4)
    said = {name: {"sampling": "all"} for name in columns}
    c, d = runs_of(tmp_path / "two", columns, said)
    with pytest.raises(Conflict, match="does not say where those of a lie"):
        flows.flows(c, d)
    both = Session([a.path, c.path]).runs
    with pytest.raises(Conflict, match="open runs of the same store"):
        flows.flows(*both)
    for limit in (0, 10_001):
        with pytest.raises(ParameterError, match="limit must be"):
            flows.flows(a, a, limit=limit)


def test_runs_of_one_layer_match_row_by_row(tmp_path):
    (a,) = runs_of(tmp_path, {"a": {}})
    check(a, a, identity(60))
    anew = a.session.add_run("anew", a.graph, lens_values=a.lens_values, parent=a)
    check(a, anew, identity(60))
    assert len(flows.flows(a, a, limit=2)["flows"]) == 2


@st.composite
def graphs(draw, n_rows):
    nodes = draw(st.lists(st.sets(st.integers(0, n_rows - 1), min_size=1), max_size=6))
    rows = [np.array(sorted(node)) for node in nodes]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    flat = np.concatenate(rows).astype(np.int64) if rows else np.zeros(0, np.int64)
    lens = np.arange(n_rows, dtype=np.float64)[:, None]
    return MapperGraph.build(indptr, flat, np.zeros(len(nodes), np.int64), lens, len(flat))


@given(data=st.data(), n_first=st.integers(1, 9), n_second=st.integers(1, 9))
def test_counts_are_the_definition(data, n_first, n_second):
    first, second = data.draw(graphs(n_first)), data.draw(graphs(n_second))
    links = data.draw(st.sets(st.tuples(st.integers(0, n_first - 1), st.integers(0, n_second - 1))))
    pairs = np.array(sorted(links), np.int64).reshape(-1, 2)
    partners = {}
    for a, b in pairs.tolist():
        partners.setdefault(a, []).append(b)
    nodes = np.arange(first.n_nodes)[:: data.draw(st.integers(1, 2))]
    expected = naive_flows(first, second, partners, nodes.tolist())[0]
    found = flows.flow_counts(first, second, flows.Pairs(pairs[:, 0], pairs[:, 1]), nodes)
    assert {(s, t): c for s, t, c in found.tolist()} == expected
    assert found.tolist() == sorted(found.tolist())


@given(data=st.data(), n_rows=st.integers(2, 12))
def test_overlap_is_the_definition(data, n_rows):
    graph = data.draw(graphs(n_rows))
    of = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n_rows, max_size=n_rows)))
    counts = [
        [sum(of[row] == c for row in graph.node_rows(n).tolist()) for n in range(graph.n_nodes)]
        for c in (0, 1)
    ]
    found = flows.overlap(graph, of == 0, of == 1)
    if not sum(counts[0]) or not sum(counts[1]):
        assert np.isnan(found)
        return
    shares = [[each / sum(c) for each in c] for c in counts]
    assert found == pytest.approx(sum(map(min, *shares)))
    assert 0.0 <= found <= 1.0 + 1e-12


def test_separation_goes_through_the_layers_in_order(tmp_path):
    label = np.array(["x", "y", "z"])[np.arange(60) % 3]
    other = np.array(["q", "z", "y", "x"])[np.r_[0, 3 - np.arange(59) % 3]]  # other codes
    layers = {"b10": {"label": label}, "b2": {"label": other}}
    first, second = runs_of(tmp_path, layers)
    session = first.session
    store = session.stores[0].id
    found = flows.separation(session, store, [2, 1], "label")["layers"]
    assert [(f["layer"], f["run"]) for f in found] == [("b2", second.id), ("b10", first.id)]
    names = second.class_codes("label")[1]
    wanted = [names[2], names[1]]
    codes_first, names_first = first.class_codes("label")
    held = [codes_first == names_first.index(name) for name in wanted]
    assert found[1]["overlap"] == pytest.approx(flows.overlap(first.graph, *held))
    with pytest.raises(ParameterError, match="ids from 0 to"):
        flows.separation(session, store, [0, 9], "label")
    with pytest.raises(ParameterError, match="two ids"):
        flows.separation(session, store, [0], "label")
    with pytest.raises(DataError, match="has the classes labels; did you mean 'label'"):
        flows.separation(session, store, [0, 1], "labels")
    with pytest.raises(NotFound):
        flows.separation(session, "s9", [0, 1])
