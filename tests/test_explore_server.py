"""The explorer's addresses beside naive computation; and what the server refuses."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from urllib.parse import quote, unquote

import numpy as np
import pytest
from scipy.stats import entropy, fisher_exact, hypergeom
from starlette.testclient import TestClient

from topoact_gpu import load_sample
from topoact_gpu.explore import pages
from topoact_gpu.explore.selecting import listed_classes
from topoact_gpu.explore.server import make_app
from topoact_gpu.explore.session import Session
from topoact_gpu.explore.tables import decode_table
from topoact_gpu.runs import load_run
from topoact_gpu.selection import CountTable

TOKEN = "a-long-secret"
HOST = "http://127.0.0.1:8765"


class Page:
    """Asks a server as the page does."""

    def __init__(self, session, **options):
        self.session = session
        self.client = TestClient(
            make_app(session, TOKEN), base_url=HOST, raise_server_exceptions=False, **options
        )

    def ask(self, method, path, status=200, **options):
        found = self.client.request(method, f"/{TOKEN}/api/{path}", **options)
        assert found.status_code == status, found.text
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["x-content-type-options"] == "nosniff"
        return found

    def json(self, method, path, body=None, **options):
        found = self.ask(method, path, json=body, **options)
        assert found.headers["content-type"] == "application/json"
        return found.json()

    def table(self, method, path, body=None, **options):
        found = self.ask(method, path, json=body, **options)
        assert found.headers["content-type"] == "application/x-topoact-table"
        return decode_table(found.content)

    def refused(self, method, path, status, **options):
        found = self.ask(method, path, status, **options)
        assert list(found.json()) == ["error"]
        return found.json()["error"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory, write_run):
    """A run that no test changes."""
    return write_run(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def page(shared):
    return Page(Session([shared]))


@pytest.fixture(scope="module")
def run(shared):
    return load_run(shared)


@pytest.fixture
def path(tmp_path, write_run):
    """A run of the test's own."""
    return write_run(tmp_path)


@pytest.fixture
def own(path):
    return Page(Session([path]))


def union(run, nodes):
    return sorted({int(row) for node in nodes for row in run.graph.node_rows(node)})


# --- session and graph -------------------------------------------------------------------------


def test_session(page, run):
    found = page.json("GET", "session")
    assert found["version"] == 1
    assert not found["read_only"]
    assert found["title"] == "run"
    (info,) = found["runs"]
    assert (info["n_rows"], info["n_nodes"], info["n_edges"]) == (200, 12, run.graph.n_edges)
    assert info["can_recompute"]
    (store,) = found["stores"]
    assert store["layers"] == [{"name": "layer1", "n_rows": 200, "n_cols": 7, "runs": [info["id"]]}]
    assert info["store"] == store["id"]


def test_graph(page, run):
    meta, arrays = page.table("GET", "runs/r0/graph")
    graph = run.graph
    assert meta["label"] == "class_id"
    assert meta["class_names"] == run.names["class_id"]
    assert arrays["size"].tolist() == graph.sizes.tolist()
    assert arrays["edge"].tolist() == graph.edges.tolist()
    np.testing.assert_allclose(arrays["jaccard"], graph.jaccard, rtol=1e-6)
    np.testing.assert_allclose(arrays["lens"], graph.node_lens, rtol=1e-6)
    assert arrays["lens"].shape == (12, 2)
    degree = [int((graph.edges[:, :2] == node).sum()) for node in range(12)]
    assert arrays["degree"].tolist() == degree
    assert arrays["component"].tolist() == graph.components().tolist()
    assert meta["coverage"] == graph.coverage
    counts = np.bincount(run.columns["class_id"][run.columns["class_id"] >= 0], minlength=9)
    assert meta["class_counts"] == counts.tolist()
    kinds = {c["name"]: c["kind"] for c in meta["columns"]}
    assert kinds == {
        **dict.fromkeys(("class_id", "token", "prediction", "few"), "category"),
        **dict.fromkeys(("confidence", "input"), "number"),
    }


def test_classes_of_nodes(page, run):
    _, arrays = page.table("GET", "runs/r0/graph")
    codes = run.columns["class_id"]
    for node in range(12):
        own = codes[run.graph.node_rows(node)]
        own = own[own >= 0]
        counts = np.bincount(own, minlength=9)
        best = np.lexsort((np.arange(9), -counts))[:3]
        expected = [int(c) if counts[c] else -1 for c in best]
        assert arrays["top_class"][node].tolist() == expected
        share = [counts[c] / own.size if counts[c] else np.nan for c in best]
        np.testing.assert_allclose(arrays["top_share"][node], share, rtol=1e-6)
        assert arrays["purity"][node] == pytest.approx(counts.max() / own.size)
        assert arrays["entropy"][node] == pytest.approx(entropy(counts, base=2))


def test_error_rate_and_confidence_of_nodes(page, run):
    _, arrays = page.table("GET", "runs/r0/graph")
    names, outputs = run.names["class_id"], run.names["prediction"]
    for node in range(12):
        rows = run.graph.node_rows(node)
        wrong = [
            outputs[run.columns["prediction"][r]] != names[run.columns["class_id"][r]]
            for r in rows
            if run.columns["class_id"][r] >= 0
        ]
        assert arrays["error_rate"][node] == pytest.approx(np.mean(wrong), rel=1e-6)
        sure = np.nanmean(run.columns["confidence"][rows])
        assert arrays["confidence"][node] == pytest.approx(sure, rel=1e-6)


def test_exemplars_are_nearest_to_the_mean(page, run):
    _, arrays = page.table("GET", "runs/r0/graph")
    x = page.session.runs[0].activations[np.arange(200)].astype(np.float64)
    for node in range(12):
        rows = run.graph.node_rows(node)
        apart = np.linalg.norm(x[rows] - x[rows].mean(axis=0), axis=1)
        assert arrays["exemplar"][node] == rows[apart.argmin()]


def test_another_label(page, run):
    meta, arrays = page.table("GET", "runs/r0/graph?label=few")
    assert meta["label"] == "few"
    assert meta["class_names"] == ["0", "1", "2"]
    for node in range(12):
        counts = np.bincount(run.columns["few"][run.graph.node_rows(node)])
        assert arrays["top_class"][node, 0] == counts.argmax()


@pytest.mark.parametrize("kind", ["share", "lift"])
def test_values_of_a_class(page, run, kind):
    _, arrays = page.table("GET", f"runs/r0/values?kind={kind}&class=3")
    codes = run.columns["class_id"]
    base = (codes == 3).sum() / (codes >= 0).sum() if kind == "lift" else 1
    for node in range(12):
        own = codes[run.graph.node_rows(node)]
        share = (own == 3).sum() / (own >= 0).sum()
        assert arrays["values"][node] == pytest.approx(share / base, rel=1e-6)


def test_values_of_a_column(page, run):
    _, arrays = page.table("GET", "runs/r0/values?kind=column&column=confidence")
    for node in range(12):
        own = run.columns["confidence"][run.graph.node_rows(node)]
        assert arrays["values"][node] == pytest.approx(np.nanmean(own), rel=1e-6)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("kind=share&class=9", "class must be from 0 to 8, got 9"),
        ("kind=share&class=-1", "class must be from 0 to 8, got -1"),
        ("kind=share", "class must be from 0 to 8, got None"),
        (f"kind=share&class={10**40}", "class must be"),
        ("kind=share&class=x", "class: "),
        ("kind=share&class=1&label=nope", "label must be a row column of categories, not 'nope'"),
        ("kind=share&class=1&label=confidence", "label must be"),
        ("kind=column&column=class_id", "column must be one of numbers"),
        ("kind=column", "column must be one of numbers"),
        ("kind=__class__&class=1", "kind must be share, lift or column"),
        ("class=1", "kind: Field required"),
    ],
)
def test_values_that_are_not_there(page, query, message):
    assert message in page.refused("GET", f"runs/r0/values?{query}", 422)


# --- search ------------------------------------------------------------------------------------


def naive_suggest(run, text):
    """Every class and word that has rows, prefixes before insides, then by rows."""
    found = []
    for rank, (kind, column) in enumerate([("class", "class_id"), ("word", "token")]):
        for code, name in enumerate(run.names[column]):
            rows = int((run.columns[column] == code).sum())
            place = name.casefold().find(text.casefold())
            if rows and place >= 0:
                found.append(((place > 0, rank, -rows, code), [kind, code, name, rows]))
    return [entry for _, entry in sorted(found)]


@pytest.mark.parametrize(
    "text", ["", "c", "CAT", "cat", "word1", "1", "ü", "<", '"', "zzz", "word"]
)
def test_suggest(page, run, text):
    found = page.json("GET", f"runs/r0/suggest?q={quote(text)}&limit=500")["found"]
    assert [[f["kind"], f["id"], f["label"], f["rows"]] for f in found] == naive_suggest(run, text)
    few = page.json("GET", f"runs/r0/suggest?q={quote(text)}&limit=3")["found"]
    assert few == found[:3]


@pytest.mark.parametrize(("kind", "column"), [("class", "class_id"), ("word", "token")])
def test_members(page, run, kind, column):
    for code in range(9):
        meta, arrays = page.table("GET", f"runs/r0/members?kind={kind}&id={code}")
        count = [
            int((run.columns[column][run.graph.node_rows(node)] == code).sum())
            for node in range(12)
        ]
        there = np.flatnonzero(count)
        assert meta["label"] == run.names[column][code]
        assert meta["rows"] == (run.columns[column] == code).sum()
        assert arrays["nodes"].tolist() == there.tolist()
        assert arrays["count"].tolist() == [count[node] for node in there]
        share = [count[node] / run.graph.sizes[node] for node in there]
        np.testing.assert_allclose(arrays["share"], share, rtol=1e-6)


@pytest.mark.parametrize(
    "query",
    [
        *("kind=class&id=9", "kind=class&id=-1", f"kind=word&id={10**30}", "kind=class", "id=1"),
        *("kind=input&id=0", "kind=names&id=0", "kind=class&id=1.5", "kind=class&id=1&label=x"),
    ],
)
def test_members_that_are_not_there(page, query):
    page.refused("GET", f"runs/r0/members?{query}", 422)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", f"q={'a' * 201}"])
def test_suggestions_that_are_refused(page, query):
    page.refused("GET", f"runs/r0/suggest?{query}", 422)


# --- selections --------------------------------------------------------------------------------


def test_selection(page, run):
    nodes = [7, 2, 2, 5]
    found = page.json("POST", "runs/r0/selection", {"nodes": nodes})
    rows = union(run, nodes)
    assert (found["n_nodes"], found["n_rows"]) == (3, len(rows))
    assert found["share"] == len(rows) / 200
    for i, lens in enumerate(found["lens"]):
        every, edges = np.histogram(run.lens_values[:, i], bins=30)
        assert lens["edges"] == edges.tolist()
        assert lens["all"] == every.tolist()
        assert lens["counts"] == np.histogram(run.lens_values[rows, i], bins=edges)[0].tolist()
    own = run.columns["class_id"][rows]
    own = own[own >= 0]
    counts = np.bincount(own, minlength=9)
    assert [c["count"] for c in found["classes"]] == sorted(counts[counts > 0], reverse=True)
    assert found["purity"] == counts.max() / own.size
    assert found["confidence"] == pytest.approx(np.nanmean(run.columns["confidence"][rows]))
    assert found["n_read"] == len(rows)


def test_classes_of_a_selection(page, run):
    found = page.json("POST", "runs/r0/selection", {"nodes": [0, 4]})
    codes = run.columns["class_id"]
    known = codes[codes >= 0]
    own = codes[union(run, [0, 4])]
    own = own[own >= 0]
    tests = []
    for entry in found["classes"]:
        count, marked = int((own == entry["id"]).sum()), int((known == entry["id"]).sum())
        assert entry["name"] == run.names["class_id"][entry["id"]]
        assert entry["count"] == count
        assert entry["share"] == pytest.approx(count / own.size)
        assert entry["base"] == pytest.approx(marked / known.size)
        assert entry["lift"] == pytest.approx(count / own.size / (marked / known.size))
        tests.append(hypergeom.sf(count - 1, known.size, marked, own.size))
    order = np.argsort(tests)
    scaled = np.array(tests)[order] * len(tests) / np.arange(1, len(tests) + 1)
    expected = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    np.testing.assert_allclose([found["classes"][i]["p"] for i in order], expected, rtol=1e-9)


def test_a_rare_class_that_stands_out_is_listed():
    n = 120
    count = np.concatenate([np.full(60, 9), np.ones(60, np.int64)])
    lift, p = np.ones(n), np.ones(n)
    lift[[70, 90, 100]], p[[70, 90]] = 9.0, 0.01
    share = count / count.sum()
    table = CountTable(np.arange(n, dtype=np.int32), count, share, share / lift, lift, p)
    assert listed_classes(table).tolist() == [*range(50), 70, 90]
    strong = CountTable(table.id, count, share, share, np.arange(n) + 2.0, np.zeros(n))
    assert listed_classes(strong).tolist() == [*range(50), *range(100, 120)]


def test_activations_of_a_selection(page, run):
    found = page.json("POST", "runs/r0/selection", {"nodes": [1, 3, 8]})
    rows = np.array(union(run, [1, 3, 8]))
    x = page.session.runs[0].activations[np.arange(200)].astype(np.float64)
    mean, overall = x[rows].mean(axis=0), x.mean(axis=0)
    assert found["mean_activation"] == pytest.approx(mean.mean())
    order = np.argsort(-np.abs(mean - overall))
    assert [c["column"] for c in found["top_columns"]] == order[:10].tolist()
    np.testing.assert_allclose([c["all"] for c in found["top_columns"]], overall[order], rtol=1e-5)
    apart = np.linalg.norm(x[rows] - mean, axis=1)
    shown, seen = [], set()
    for place in np.argsort(apart, kind="stable"):
        number = int(run.columns["input"][rows[place]])
        if number not in seen:
            shown.append(int(rows[place]))
            seen.add(number)
    assert [view["row"] for view in found["exemplars"]] == shown[:12]
    assert len(found["per_class"]) == 5
    for entry in found["per_class"]:
        own = [view["row"] for view in entry["rows"]]
        assert set(run.columns["class_id"][own]) == {entry["id"]}
        assert len({int(run.columns["input"][row]) for row in own}) == len(own) <= 5


def test_words_of_a_selection(page, run):
    found = page.json("POST", "runs/r0/selection", {"nodes": [6]})["words"]
    own = run.columns["token"][run.graph.node_rows(6)]
    counts = np.bincount(own[own >= 0], minlength=30)
    order = [c for c in np.lexsort((np.arange(30), -counts)) if counts[c]]
    assert [w["word"] for w in found] == [run.names["token"][c] for c in order]
    assert [w["count"] for w in found] == counts[order].tolist()


def test_an_empty_selection(page):
    found = page.json("POST", "runs/r0/selection", {"nodes": []})
    assert (found["n_rows"], found["share"], found["classes"]) == (0, 0, [])
    assert found["purity"] is None
    assert found["exemplars"] == []


def test_row_ids_and_row_nodes(page, run):
    _, arrays = page.table("POST", "runs/r0/row-ids", {"nodes": [3, 9]})
    assert arrays["rows"].tolist() == union(run, [3, 9])
    rows = [199, 0, 17, 17]
    _, arrays = page.table("POST", "runs/r0/row-nodes", {"rows": rows})
    held = [len(set(rows) & set(run.graph.node_rows(node).tolist())) for node in range(12)]
    assert arrays["nodes"].tolist() == np.flatnonzero(held).tolist()
    assert arrays["count"].tolist() == [count for count in held if count]


def test_compare(page, run):
    found = page.json("POST", "runs/r0/compare", {"a": [0, 1, 2], "b": [2, 3]})
    a, b = set(union(run, [0, 1, 2])), set(union(run, [2, 3]))
    only_a, only_b = sorted(a - b), sorted(b - a)
    assert (found["n_a"], found["n_b"], found["n_both"]) == (len(only_a), len(only_b), len(a & b))
    codes = run.columns["class_id"]
    in_a, in_b = ([c for c in codes[rows] if c >= 0] for rows in (only_a, only_b))
    for entry in found["classes"]:
        x, y = in_a.count(entry["id"]), in_b.count(entry["id"])
        assert entry["a"] == pytest.approx(x / len(in_a))
        assert entry["b"] == pytest.approx(y / len(in_b))
        odds = (x + 0.5) / (len(in_a) - x + 0.5) / ((y + 0.5) / (len(in_b) - y + 0.5))
        assert entry["log_odds"] == pytest.approx(np.log(odds))
        table = [[x, y], [len(in_a) - x, len(in_b) - y]]
        smaller = min(fisher_exact(table, alternative=side).pvalue for side in ("less", "greater"))
        assert entry["p"] >= min(1.0, 2 * smaller) - 1e-12
    chances = [entry["p"] for entry in found["classes"]]
    assert chances == sorted(chances)
    rows = page.session.runs[0].activations
    x, y = (rows[ids].astype(np.float64) for ids in (only_a, only_b))
    for entry in found["columns"]:
        c = entry["column"]
        assert entry["mean_a"] == pytest.approx(x[:, c].mean())
        pooled = ((len(x) - 1) * x[:, c].var(ddof=1) + (len(y) - 1) * y[:, c].var(ddof=1)) / (
            len(x) + len(y) - 2
        )
        effect = (x[:, c].mean() - y[:, c].mean()) / np.sqrt(pooled)
        assert entry["effect"] == pytest.approx(effect)
    strength = [abs(entry["effect"]) for entry in found["columns"]]
    assert strength == sorted(strength, reverse=True)


def test_compare_with_itself(page):
    found = page.json("POST", "runs/r0/compare", {"a": [1], "b": [1]})
    assert (found["n_a"], found["n_b"], found["classes"], found["columns"]) == (0, 0, [], [])


# --- rows --------------------------------------------------------------------------------------


def naive_rows(run, nodes):
    names = run.names
    return [
        {
            "row": row,
            **{
                name: names[name][v] if name in names and v >= 0 else None if name in names else v
                for name, v in ((n, values[row].item()) for n, values in run.columns.items())
            },
        }
        for row in union(run, nodes)
    ]


def as_dicts(found):
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def test_rows(page, run):
    found = page.json("POST", "runs/r0/rows", {"nodes": [1, 2]})
    expected = naive_rows(run, [1, 2])
    assert found["columns"][0] == "row"
    assert found["total"] == found["matching"] == len(expected)
    for row, other in zip(as_dicts(found), expected, strict=True):
        for name, value in other.items():
            assert row[name] == (None if value != value else value)


def test_rows_by_page_and_order(page, run):
    rows = naive_rows(run, [1, 2, 3])
    for descending in (False, True):
        body = {"nodes": [1, 2, 3], "sort": "confidence", "descending": descending}
        known = [r for r in rows if r["confidence"] == r["confidence"]]
        sign = -1 if descending else 1
        known.sort(key=lambda r, sign=sign: (sign * r["confidence"], r["row"]))
        order = [r["row"] for r in known]
        order += [r["row"] for r in rows if r["confidence"] != r["confidence"]]
        seen = []
        for offset in range(0, len(rows) + 7, 7):
            page_rows = page.json("POST", "runs/r0/rows", {**body, "offset": offset, "limit": 7})
            seen += [r["row"] for r in as_dicts(page_rows)]
        assert seen == order


def test_rows_in_the_order_of_names(page):
    found = page.json("POST", "runs/r0/rows", {"nodes": [4, 5], "sort": "class_id"})
    names = [r["class_id"] for r in as_dicts(found)]
    known = [name.casefold() for name in names if name is not None]
    assert known == sorted(known)
    assert names[len(known) :] == [None] * (len(names) - len(known))


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"class_id": {"text": "CAT"}}, lambda r: "cat" in (r["class_id"] or "").casefold()),
        ({"few": {"text": "1"}}, lambda r: r["few"] == 1),
        ({"row": {"min": 50, "max": 120}}, lambda r: 50 <= r["row"] <= 120),
        ({"confidence": {"min": 0.5}}, lambda r: r["confidence"] >= 0.5),
        ({"few": {"max": 1}, "input": {"min": 9}}, lambda r: r["few"] <= 1 and r["input"] >= 9),
        ({}, lambda r: True),
    ],
)
def test_rows_that_match(page, run, condition, fits):
    body = {"nodes": [0, 1, 2, 3, 4], "filter": condition}
    found = page.json("POST", "runs/r0/rows", body)
    expected = [r["row"] for r in naive_rows(run, body["nodes"]) if fits(r)]
    assert [r["row"] for r in as_dicts(found)] == expected
    assert found["matching"] == len(expected)


def test_csv(page):
    body = {"nodes": [1, 2], "sort": "few", "filter": {"row": {"min": 20}}}
    found = page.ask("POST", "runs/r0/rows.csv", json=body)
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    assert found.headers["content-disposition"].startswith("attachment")
    table = list(csv.reader(io.StringIO(found.text)))
    other = page.json("POST", "runs/r0/rows", body)
    assert table[0] == other["columns"]
    rows = [["" if value is None else str(value) for value in row] for row in other["rows"]]
    assert table[1:] == rows


@pytest.mark.parametrize(
    "body",
    [
        *({"sort": "nope"}, {"sort": 3}, {"sort": "x" * 501}, {"descending": "yes"}),
        *({"limit": 501}, {"limit": 0}, {"limit": 1.5}, {"limit": True}, {"offset": -1}),
        *({"offset": 10**30}, {"filter": []}, {"filter": {"nope": {}}}, {"filter": {"row": 3}}),
        *({"filter": {"row": {"min": "a"}}}, {"filter": {"row": {"max": True}}}),
        *({"filter": {"row": {"min": 10**400}}}, {"filter": {"few": {"text": ["a"]}}}),
    ],
)
@pytest.mark.parametrize("address", ["rows", "rows.csv"])
def test_rows_that_are_refused(page, body, address):
    if address == "rows.csv" and {"limit", "offset"} & set(body):
        return  # it has all rows
    page.refused("POST", f"runs/r0/{address}", 422, json={"nodes": [0], **body})


POSTS = ["selection", "rows", "rows.csv", "row-ids", "compare", "row-nodes", "project-selection"]


@pytest.mark.parametrize("address", POSTS)
@pytest.mark.parametrize(
    "ids",
    [
        *([-1], [12_000], [1.5], [True], ["1"], [None], [[1]], [10**30], [-(10**30)]),
        *("1", 3, None, {"0": 1}),
    ],
)
def test_ids_that_are_refused(page, address, ids):
    names = {"compare": ("a", "b"), "row-nodes": ("rows",)}.get(address, ("nodes",))
    page.refused("POST", f"runs/r0/{address}", 422, json=dict.fromkeys(names, ids))


@pytest.mark.parametrize("address", POSTS)
@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_refused(page, address, body):
    headers = {"content-type": "application/json"}
    found = page.client.post(f"/{TOKEN}/api/runs/r0/{address}", content=body, headers=headers)
    assert found.status_code in (400, 422)
    assert list(found.json()) == ["error"]


def test_a_run_that_is_not_there(page):
    for address in ("graph", "values?kind=share&class=1", "suggest", "notes"):
        assert "there is no run" in page.refused("GET", f"runs/r7/{address}", 404)
    page.refused("GET", "runs/..%2f..%2fetc%2fpasswd/graph", 404)
    page.refused("GET", f"runs/{'x' * 5000}/graph", 404)
    page.refused("GET", "runs/r0", 404)
    page.refused("POST", "session", 404)
    page.refused("GET", "", 404)


# --- the sample --------------------------------------------------------------------------------


def test_the_sample_in_memory():
    from topoact_gpu import Mapper

    sample = load_sample()
    kept = slice(0, 3000)
    mapper = Mapper().fit(sample.activations[kept])
    session = Session()
    session.add_run(
        "sample",
        mapper.graph_,
        lens_values=mapper.lens_values_,
        columns={"photo": sample.photo[kept], "x": sample.x[kept]},
        names={"photo": list(sample.photo_names)},
        activations=sample.activations[kept],
    )
    page = Page(session)
    meta, arrays = page.table("GET", "runs/r0/graph")
    assert meta["label"] == "photo"
    assert meta["n_rows"] == 3000
    assert meta["run"]["origin"] == "recomputed"
    node = int(arrays["size"].argmax())
    rows = mapper.graph_.node_rows(node)
    counts = np.bincount(sample.photo[kept][rows])
    assert arrays["top_class"][node, 0] == counts.argmax()
    found = page.json("POST", "runs/r0/selection", {"nodes": [node]})
    assert found["classes"][0]["name"] == sample.photo_names[counts.argmax()]
    assert len(found["exemplars"]) == 12
    page.refused("DELETE", "runs/r0", 409)


# --- names are data ----------------------------------------------------------------------------


def test_markup_in_names_stays_text(page, run):
    found = page.ask("GET", "runs/r0/suggest?q=%3C")
    assert found.headers["content-type"] == "application/json"
    assert {f["label"] for f in found.json()["found"]} == {
        "<b>bee</b>",
        "<script>alert(1)</script>",
    }
    meta, _ = page.table("GET", "runs/r0/graph")
    assert "<b>bee</b>" in meta["class_names"]
    error = page.ask("GET", f"runs/{quote('<img src=x onerror=alert(1)>')}/graph", 404)
    assert error.headers["content-type"] == "application/json"


# --- who may ask -------------------------------------------------------------------------------


def test_the_token_is_wanted(page):
    get = page.client.get
    assert get(f"/{TOKEN}/api/session").status_code == 200
    for path in (
        *(
            "/",
            "/api/session",
            "/index.html",
            f"/{TOKEN}x/api/session",
            f"/{TOKEN[:-1]}/api/session",
        ),
        *(f"//{TOKEN}/api/session", f"/x/{TOKEN}/api/session", f"/{TOKEN.upper()}/api/session"),
        *("/%00/api/session", "/é/api/session", "/" + "a" * 9000, "//", "/.", "/..%2f"),
    ):
        found = get(path)
        assert found.status_code == 404, path
        assert found.json()["error"].startswith("there is nothing here")
        assert TOKEN not in found.text


def test_the_folder_is_redirected_to(page):
    found = page.client.get(f"/{TOKEN}", follow_redirects=False)
    assert found.status_code == 307
    assert found.headers["location"] == f"/{TOKEN}/"
    assert page.client.get("/wrong", follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1:8765", 200), ("localhost:8765", 200), ("LOCALHOST:8765", 200)),
        *(("[::1]:8765", 200), ("127.0.0.1", 400), ("127.0.0.1:80", 400), ("", 400)),
        *(("evil.example:8765", 400), ("127.0.0.1.evil.example:8765", 400), ("0.0.0.0:8765", 400)),
        *(("localhost:8765@evil.example", 400), ("localhost:8765, evil.example", 400)),
        *(("localhost.:8765", 400), ("127.1:8765", 400), (" localhost:8765.evil", 400)),
    ],
)
def test_the_host_is_checked(page, host, status):
    found = page.client.get(f"/{TOKEN}/api/session", headers={"host": host})
    assert found.status_code == status
    if status == 400:
        assert "the host must be" in found.json()["error"]


def test_two_hosts_are_none(page):
    headers = [("host", "127.0.0.1:8765"), ("host", "127.0.0.1:8765")]
    assert page.client.get(f"/{TOKEN}/api/session", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": HOST}, 200),
        ({"origin": HOST, "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://127.0.0.1:8765"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://localhost:8765"}, 403),
        ({"origin": HOST + ".evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": HOST, "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_other_pages_may_not_send(page, headers, status):
    for method, address, body in (
        ("POST", "runs/r0/selection", {"nodes": [1]}),
        ("PUT", "runs/r0/notes", {"notes": []}),
        ("DELETE", "runs/r0", None),
    ):
        found = page.client.request(method, f"/{TOKEN}/api/{address}", json=body, headers=headers)
        assert found.status_code == (status if method != "DELETE" or status != 200 else 409)


def test_a_text_body_is_not_taken_for_json(page):
    """A form or a beacon of another page can send text without asking; ours never does."""
    found = page.client.post(
        f"/{TOKEN}/api/runs/r0/selection",
        content=b'{"nodes": [1]}',
        headers={"content-type": "text/plain"},
    )
    assert found.status_code == 422


def test_large_bodies_are_refused(page):
    body = b'{"nodes": [' + b" " * 4_000_000 + b"]}"
    path = f"/{TOKEN}/api/runs/r0/selection"
    headers = {"content-type": "application/json"}
    found = page.client.post(path, content=body, headers=headers)
    assert found.status_code == 413
    assert "4,000,000 bytes" in found.json()["error"]
    pieces = (body[i : i + 65536] for i in range(0, len(body), 65536))
    assert page.client.post(path, content=pieces, headers=headers).status_code == 413
    for length in ("-1", "x", "9" * 50, "4000001"):
        asked = {**headers, "content-length": length}
        assert page.client.post(path, content=b"{}", headers=asked).status_code == 413
    small = b'{"nodes": [' + b" " * 3_900_000 + b"]}"
    assert page.client.post(path, content=small, headers=headers).status_code == 200


def test_every_answer_has_its_headers(page):
    for path in ("", "nothing", "api/session", "api/nothing", "../x"):
        found = page.client.get(f"/{TOKEN}/{path}")
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*" in policy
        assert found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in found.headers


def test_no_pages_of_fastapi(page):
    for path in ("docs", "redoc", "openapi.json"):
        assert page.client.get(f"/{TOKEN}/{path}").status_code == 404


def test_web_sockets_are_closed(page):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), page.client.websocket_connect(f"/{TOKEN}/api/session"):
        pass


# --- the page's files --------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path, monkeypatch):
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>the page</p>")
    (folder / "assets" / "a.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setattr(pages, "STATIC", folder)
    monkeypatch.setattr(pages.page_file, "__defaults__", (folder,))
    return folder


def test_files_of_the_page(page, built):
    found = page.client.get(f"/{TOKEN}/")
    assert (found.status_code, found.text) == (200, "<p>the page</p>")
    assert found.headers["content-type"] == "text/html; charset=utf-8"
    found = page.client.get(f"/{TOKEN}/assets/a.js")
    assert found.headers["content-type"] == "text/javascript; charset=utf-8"
    assert found.text == "1"


@pytest.mark.parametrize(
    "address",
    [
        *("../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "%252e%252e%252fsecret.txt"),
        *("assets/../../secret.txt", "assets/..%2f..%2fsecret.txt", "..\\secret.txt", "link"),
        *("..%5csecret.txt", "/etc/passwd", "%2fetc%2fpasswd", "assets", "assets/", "."),
        *("index.html%00", "%00", "index.html/", "file:///etc/passwd", "....//secret.txt"),
        *("api/../index.html", "api/..%2f..%2fsecret.txt", "./index.html", "assets/../index.html"),
    ],
)
def test_nothing_outside_the_page_is_served(page, built, address):
    status, body = raw_get(page.client.app, f"/{TOKEN}/{address}")
    assert status == 404, body
    assert "secret" not in body.replace(TOKEN, "")


def raw_get(app, path):
    """Ask for a path as it is: clients tidy it first. Servers undo one encoding."""
    sent = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1:8765")],
        "server": ("127.0.0.1", 8765),
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], body.decode()


def test_a_checkout_without_the_page_says_how_to_build_it(page, tmp_path, monkeypatch):
    monkeypatch.setattr(pages.page_file, "__defaults__", (tmp_path / "none",))
    found = page.client.get(f"/{TOKEN}/")
    assert found.status_code == 200
    assert "python setup.py build_page" in found.text


# --- what is damaged ---------------------------------------------------------------------------


def test_a_damaged_run_says_so(path):
    page = Page(Session([path]))
    for chunk in (path / "graph" / "rows" / "c").iterdir():
        chunk.write_bytes(b"")
    error = page.refused("GET", "runs/r0/graph", 500)
    assert "damaged" in error
    assert "\n" not in error
    assert page.json("GET", "session")["runs"][0]["n_rows"] == 200


def test_a_store_that_is_gone_takes_the_activations_with_it(path):
    import shutil

    shutil.rmtree(path.with_name("run-acts.zarr"))
    page = Page(Session([path]))
    meta, arrays = page.table("GET", "runs/r0/graph")
    assert not meta["has_activations"]
    assert np.isnan(arrays["exemplar"]).all()
    assert not meta["run"]["can_recompute"]
    found = page.json("POST", "runs/r0/selection", {"nodes": [1]})
    assert found["n_rows"] > 0
    assert found["exemplars"] == []
    assert found["mean_activation"] is None
    assert page.json("GET", "session")["stores"] == []


def test_a_store_with_other_rows_is_not_used(path):
    from topoact_gpu import open_store

    with open_store(path.with_name("run-acts.zarr"), mode="a") as store:
        store.layer("layer1").append(np.zeros((1, 7), np.float32))
    page = Page(Session([path]))
    meta, _ = page.table("GET", "runs/r0/graph")
    assert not meta["has_activations"]


def test_a_failure_is_told_without_its_trace(own, caplog):
    own.session.info = lambda: 1 / 0
    error = own.refused("GET", "session", 500)
    assert error == "the explorer failed on this; its terminal says why"
    assert "ZeroDivisionError" in caplog.text


# --- notes -------------------------------------------------------------------------------------

NOTE = {"nodes": [3, 1], "text": "<b>dogs</b>", "when": "2025-06-01T12:00:00+00:00"}


def test_notes(own, path):
    assert own.json("GET", "runs/r0/notes") == {"notes": [], "stale": False}
    kept = {**NOTE, "nodes": [1, 3]}
    assert own.json("PUT", "runs/r0/notes", {"notes": [NOTE]})["notes"] == [kept]
    assert own.json("GET", "runs/r0/notes") == {"notes": [kept], "stale": False}
    assert Page(Session([path])).json("GET", "runs/r0/notes")["notes"] == [kept]
    written = json.loads(path.with_name("run.zarr.notes.json").read_text())
    assert written["format"] == "topoact-gpu/notes"
    assert written["notes"] == [kept]
    assert own.json("PUT", "runs/r0/notes", [])["notes"] == []
    assert own.json("GET", "runs/r0/notes")["notes"] == []


def test_notes_of_a_graph_that_was_replaced(own, path, tmp_path, write_run):
    own.json("PUT", "runs/r0/notes", {"notes": [{**NOTE, "nodes": [0, 11]}]})
    other = write_run(tmp_path, seed=1, n_nodes=8, name="other")
    other.with_name("other.zarr.notes.json").write_text(
        path.with_name("run.zarr.notes.json").read_text()
    )
    found = Page(Session([other])).json("GET", "runs/r0/notes")
    assert found["stale"]
    assert found["notes"][0]["nodes"] == [0]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"format": "other", "version": 1, "notes": []}', "\x00"),
        *('{"format": "topoact-gpu/notes", "version": 2, "notes": []}', "[" * 100_000),
        *('{"format": "topoact-gpu/notes", "version": 1, "notes": [3]}', '{"notes": []}'),
        '{"format": "topoact-gpu/notes", "version": 1, "notes": [{"nodes": [1], "text": 3}]}',
    ],
)
def test_damaged_notes_are_told_and_kept(own, path, content):
    file = path.with_name("run.zarr.notes.json")
    file.write_text(content)
    own.refused("GET", "runs/r0/notes", 500)
    own.refused("PUT", "runs/r0/notes", 500, json={"notes": [NOTE]})
    assert file.read_text() == content


@pytest.mark.parametrize(
    "notes",
    [
        *(None, 3, {}, "x", [3], [None], [{}], [NOTE] * 1001),
        *([{**NOTE, "nodes": [99]}], [{**NOTE, "nodes": "1"}], [{**NOTE, "text": "x" * 10_001}]),
        *([{**NOTE, "text": None}], [{**NOTE, "when": "yesterday"}], [{**NOTE, "when": 3}]),
    ],
)
def test_notes_that_are_refused(own, path, notes):
    own.refused("PUT", "runs/r0/notes", 422, json={"notes": notes})
    assert not path.with_name("run.zarr.notes.json").exists()


def test_read_only(path):
    page = Page(Session([path], read_only=True))
    assert page.json("GET", "session")["read_only"]
    assert not page.json("GET", "session")["runs"][0]["can_recompute"]
    assert "may only read" in page.refused("PUT", "runs/r0/notes", 403, json={"notes": []})
    page.refused("POST", "runs/r0/recompute", 404, json={})
    assert not path.with_name("run.zarr.notes.json").exists()
