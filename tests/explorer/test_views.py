"""What people do on the page, in a browser: every view against what the graph holds."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from topoact_gpu.runs import load_run

SEEN = "window.topoactExplorer"


@pytest.fixture
def open_run(photo_run, serve, browse):
    """The page on the run of the photographs, laid out, at a place of its address."""

    def start(hash_: str = "", **options):
        return ready(browse(serve(photo_run) + hash_, **options))

    return start


def ready(page):
    """Wait until the graph is drawn and keeps still."""
    page.locator("main.graph canvas").first.wait_for()
    until(page, f"{SEEN} && !{SEEN}.layingOut() && !{SEEN}.explorer.loading")
    page.wait_for_timeout(300)
    return page


def until(page, condition: str, seconds: float = 20) -> None:
    """Wait for a condition of the page; its own policy forbids what playwright would evaluate."""
    for _ in range(int(seconds * 10)):
        if page.evaluate(f"Boolean({condition})"):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"not within {seconds} s: {condition}")


def selected(page) -> list[int]:
    return page.evaluate(f"[...{SEEN}.explorer.view.selected]")


def click_node(page, node: int, **options) -> None:
    place = page.evaluate(f"{SEEN}.nodePosition({node})")
    page.mouse.move(place["x"], place["y"])
    for key in options.get("modifiers", []):
        page.keyboard.down(key)
    page.mouse.click(place["x"], place["y"])
    for key in options.get("modifiers", []):
        page.keyboard.up(key)
    page.wait_for_timeout(400)


def apart(page, graph) -> list[int]:
    """Large nodes that no other covers, so that a click meets them."""
    places = {a: page.evaluate(f"{SEEN}.nodePosition({a})") for a in range(graph.n_nodes)}
    free = []
    for a in np.argsort(-graph.sizes).tolist():
        far = all(
            np.hypot(places[a]["x"] - p["x"], places[a]["y"] - p["y"]) > places[a]["radius"] * 1.2
            for b, p in places.items()
            if b != a
        )
        if far:
            free.append(a)
    return free


@pytest.fixture(scope="module")
def graph(photo_run):
    return load_run(photo_run).graph


def test_a_click_selects_and_the_panel_says_what_is_there(open_run, graph, audit):
    page = open_run()
    node = apart(page, graph)[0]
    click_node(page, node)
    assert selected(page) == [node]
    panel = page.get_by_role("complementary", name="Selection")
    panel.get_by_text(f"{graph.sizes[node]:,} rows").first.wait_for()
    audit(page)
    other = apart(page, graph)[1]
    click_node(page, other, modifiers=["Shift"])
    assert selected(page) == sorted([node, other])
    union = np.union1d(graph.node_rows(node), graph.node_rows(other)).size
    panel.get_by_text(f"{union:,} rows").first.wait_for()


def test_the_permalink_shows_the_same(open_run, photo_run, serve, browse):
    page = open_run("#nodes=3,5-6&colour=purity&jaccard=0.1&layout=layered")
    assert selected(page) == [3, 5, 6]
    again = ready(browse(page.url))
    state = f"JSON.stringify({SEEN}.explorer.view)"
    assert again.evaluate(state) == page.evaluate(state)
    assert again.evaluate(f"{SEEN}.explorer.view.colour") == "purity"


def test_the_layout_is_the_same_at_every_visit(open_run, graph):
    places = []
    for _ in range(2):
        page = open_run()
        places.append([page.evaluate(f"{SEEN}.nodePosition({a})") for a in range(graph.n_nodes)])
    assert places[0] == places[1]


def test_colours_have_a_legend(open_run):
    page = open_run("#nodes=4")
    legend = page.get_by_label("Legend")
    for key in ("purity", "entropy", "interval", "component", "top", "size", "share:0", "lift:0"):
        page.evaluate(f"{SEEN}.explorer.colourBy({key!r})")
        until(page, f"{SEEN}.explorer.coloured.key === {key!r}")
        title = page.evaluate(f"{SEEN}.explorer.coloured.title")
        page.wait_for_timeout(100)
        assert title.split(",")[0].split(" (")[0] in legend.inner_text()


def test_weak_edges_and_small_nodes_are_hidden(open_run, graph):
    page = open_run()
    smallest, largest = int(graph.sizes.argmin()), int(graph.sizes.argmax())
    page.evaluate(f"{SEEN}.explorer.view.minSize = {int(graph.sizes.min()) + 1}")
    page.wait_for_timeout(300)
    assert page.evaluate(f"{SEEN}.nodePosition({smallest})") is None
    assert page.evaluate(f"{SEEN}.nodePosition({largest})") is not None


def test_a_path_a_component_and_the_keyboard(open_run, graph):
    page = open_run()
    label = graph.components()
    biggest = int(np.bincount(label).argmax())
    members = np.flatnonzero(label == biggest)
    page.evaluate(f"{SEEN}.explorer.select([{members[0]}])")
    page.wait_for_timeout(200)
    page.get_by_role("button", name="Component", exact=True).click()
    assert selected(page) == members.tolist()
    page.get_by_role("application").first.focus()
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    assert selected(page) == []
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    assert len(selected(page)) == 1
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")


def test_the_lasso_takes_what_it_surrounds(open_run, graph):
    page = open_run()
    frame = page.get_by_role("application").first.bounding_box()
    page.get_by_role("button", name="Lasso", exact=True).click()
    left, top = frame["x"] + 3, frame["y"] + 3
    right, bottom = frame["x"] + frame["width"] - 80, frame["y"] + frame["height"] - 3
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    page.wait_for_timeout(400)
    assert len(selected(page)) > graph.n_nodes * 0.6


def test_the_view_is_saved_as_png_and_svg(open_run, tmp_path, graph):
    page = open_run("#nodes=1")
    for kind in ("PNG", "SVG"):
        page.get_by_text("Save picture").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        download.value.save_as(tmp_path / f"view.{kind.lower()}")
        if not page.get_by_role("button", name=kind, exact=True).is_visible():
            continue
        page.get_by_text("Save picture").click()
    assert (tmp_path / "view.png").read_bytes()[:4] == b"\x89PNG"
    circles = ElementTree.parse(tmp_path / "view.svg").iter("{http://www.w3.org/2000/svg}circle")
    assert len(list(circles)) >= graph.n_nodes


def test_patches_and_the_whole_input(open_run, photo_run, graph, audit):
    pytest.importorskip("skimage")
    page = open_run(f"#nodes={int(graph.sizes.argmax())}")
    panel = page.get_by_role("complementary", name="Selection")
    patch = panel.locator("img[src*='/patch/'], img[src*='patch/']").first
    patch.wait_for()
    assert patch.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 8
    patch.hover()
    whole = page.locator("img[src*='input/']").first
    whole.wait_for()
    assert whole.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 99
    average = page.locator("img[src*='average/']").first
    average.scroll_into_view_if_needed()
    assert average.evaluate("async i => { await i.decode(); return i.naturalWidth }") > 8
    audit(page)


def test_search_marks_every_node_that_holds_a_class(open_run, photo_run, graph, audit):
    run = load_run(photo_run)
    page = open_run()
    box = page.get_by_role("combobox", name="Search classes, inputs and words")
    for name in ("coffee", "rocket"):
        box.fill(name)
        page.get_by_role("option").first.wait_for()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_timeout(400)
    marks = page.evaluate(f"{SEEN}.explorer.marks.map(m => [...m.members.nodes])")
    for name, nodes in zip(("coffee", "rocket"), marks, strict=True):
        rows = run.columns["photo"] == run.names["photo"].index(name)
        expected = [a for a in range(graph.n_nodes) if rows[graph.node_rows(a)].any()]
        assert nodes == expected
    assert "rocket" in page.get_by_label("Marked on the graph").inner_text()
    audit(page)


def test_rows_are_sorted_filtered_and_saved(open_run, graph, tmp_path):
    node = int(graph.sizes.argmax())
    page = open_run(f"#nodes={node}")
    page.get_by_role("tab", name="Rows").click()
    table = page.get_by_role("table").first
    table.wait_for()
    first = table.locator("tbody tr").first
    first.wait_for()
    page.get_by_label("photo contains").first.fill("zzz")
    page.wait_for_timeout(800)
    assert "0" in page.get_by_role("complementary", name="Selection").inner_text()
    page.get_by_role("button", name="Clear filters").first.click()
    page.wait_for_timeout(500)
    page.get_by_role("tab", name="Selection").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save CSV").first.click()
    download.value.save_as(tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == graph.node_rows(node).tolist()


def test_two_selections_are_compared(open_run, graph, audit):
    a, b = np.argsort(-graph.sizes)[:2].tolist()
    page = open_run(f"#nodes={a}&with={b}")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Swap A and B").wait_for()
    page.wait_for_timeout(600)
    text = page.get_by_role("complementary", name="Selection").inner_text()
    assert f"{graph.sizes[a]:,}" in text or "rows" in text
    audit(page)


def test_notes_stay_beside_the_run(open_run, photo_run):
    notes = photo_run.with_name("run.zarr.notes.json")
    page = open_run("#nodes=2,3")
    page.get_by_role("tab", name="Notes").click()
    page.get_by_role("textbox").last.fill("<b>a bridge</b> between two photographs")
    page.get_by_role("button", name="Save note").first.click()
    page.wait_for_timeout(800)
    found = list(photo_run.parent.glob("*.notes.json"))
    assert found, f"no notes beside {notes.name}"
    assert "a bridge" in found[0].read_text(encoding="utf-8")
    again = open_run("#nodes=2")
    again.get_by_role("tab", name="Notes").click()
    again.get_by_text("<b>a bridge</b> between two photographs").first.wait_for()


def test_the_projection_lights_exactly_the_rows_of_the_selection(open_run, graph, audit):
    node = int(graph.sizes.argmax())
    page = open_run(f"#nodes={node}&panel=projection")
    until(page, f"{SEEN}.explorer.litRows?.length > 0")
    assert page.evaluate(f"[...{SEEN}.explorer.litRows]") == graph.node_rows(node).tolist()
    page.get_by_role("button", name=re.compile("^PCA of")).click()
    page.get_by_role("button", name="All rows").wait_for()
    audit(page)


def test_layers_beside_each_other(text_runs, serve, browse, audit):
    first, second = (load_run(path).graph for path in text_runs)
    node = int(first.sizes.argmax())
    page = ready(browse(serve(*text_runs) + f"#nodes={node}&panel=layers"))
    section = page.get_by_label("Projection, layers and parameters")
    section.get_by_text("After: layer.2").wait_for()
    rows = first.node_rows(node)
    shared = [np.intersect1d(rows, second.node_rows(b)).size for b in range(second.n_nodes)]
    assert f"{max(shared):,}" in section.inner_text()
    audit(page)


def test_words_and_their_contexts(text_runs, serve, browse):
    first = load_run(text_runs[0]).graph
    page = ready(browse(serve(*text_runs) + f"#nodes={int(first.sizes.argmax())}"))
    panel = page.get_by_role("complementary", name="Selection")
    panel.get_by_role("heading", name=re.compile("words|contexts", re.I)).first.wait_for()
    assert page.evaluate("window.hacked") is None


def test_another_overlap_is_computed_while_you_wait(photo_run, serve, browse, audit):
    address = serve(photo_run, label="photo")
    page = ready(browse(address + "#panel=recompute"))
    form = page.get_by_label("Parameters of a new run")
    form.get_by_label(re.compile("Overlap")).first.fill("0.4")
    page.get_by_role("button", name="Recompute", exact=True).click()
    until(page, f"{SEEN}.explorer.session.runs.length === 2", 60)
    ready(page)
    info = page.evaluate(f"JSON.parse(JSON.stringify({SEEN}.explorer.run))")
    assert info["origin"] == "recomputed"
    assert info["settings"]["overlap"] == [0.4]
    assert page.get_by_role("tab", name=re.compile("0.4")).count() >= 1
    audit(page)


def test_a_read_only_session_computes_nothing(photo_run, serve, browse):
    page = ready(browse(serve(photo_run, read_only=True)))
    assert page.get_by_role("button", name="Parameters", exact=True).count() == 0
