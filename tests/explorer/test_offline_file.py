"""An exported file in a browser without network: it opens from disk, answers and asks nobody."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from topoact_gpu import DataError, ParameterError, StoreError
from topoact_gpu.cli import app
from topoact_gpu.explore.bundle import page_with, write_html


def invoke(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def click_a_node(page):
    """Click in the middle of something coloured in the graph."""
    from PIL import Image

    graph = page.locator("main.graph")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    box = page.locator("main.graph canvas").first.bounding_box()
    left, top = int(box["x"]) + 150, int(box["y"]) + 20
    part = pixels[
        top : int(box["y"] + box["height"]) - 150, left : int(box["x"] + box["width"]) - 160
    ]
    coloured = (part.max(axis=2) - part.min(axis=2)) > 50
    windows = np.lib.stride_tricks.sliding_window_view(coloured, (11, 11)).all(axis=(2, 3))
    places = np.argwhere(windows)
    assert len(places), "no node is drawn"
    y, x = places[len(places) // 2] + 5
    page.mouse.click(left + int(x), top + int(y))
    return graph


def test_it_opens_from_disk_without_network(photo_file, browse, painted, audit, shoot):
    page = browse(photo_file.as_uri(), offline=True)
    page.locator("main.graph canvas").first.wait_for()
    page.wait_for_timeout(1500)
    assert painted(page.locator("main.graph")) > 0.01
    assert page.title() == "run – TopoAct explorer"
    click_a_node(page)
    page.get_by_role("tab", name="Selection").click()
    side = page.locator("aside")
    side.get_by_role("heading", name="Nearest to the mean").wait_for()
    side.locator("img").first.wait_for()
    loaded = "element => element.complete && element.naturalWidth > 0"
    page.wait_for_function(
        "() => [...document.querySelectorAll('aside img')].some(image => image.naturalWidth > 0)"
    )
    assert side.locator("img").first.evaluate(loaded)
    shoot(page)
    audit(page)
    search = page.get_by_role("combobox", name=re.compile("class", re.IGNORECASE)).first
    search.fill("coff")
    page.get_by_role("option", name=re.compile("coffee")).first.click()
    page.get_by_text(re.compile("coffee")).first.wait_for()
    page.get_by_role("button", name="Projection").click()
    page.locator("section.below canvas").first.wait_for()
    page.wait_for_timeout(500)
    shoot(page, "offline-projection")
    others = [url for url in page.asked if not url.startswith(("file:", "blob:", "data:"))]
    assert others == []
    assert sum(url.startswith("file:") for url in page.asked) == 1


def test_two_layers_in_one_file(text_runs, browse, tmp_path, shoot):
    first, second = text_runs
    file = tmp_path / "layers.html"
    result = invoke("export", first, "--with", second, "--format", "html", "--out", file)
    assert result.exit_code == 0, result.output
    page = browse(file.as_uri(), offline=True)
    page.locator("main.graph canvas").first.wait_for()
    assert page.get_by_text("layer.2").first.is_visible()
    page.get_by_role("button", name="Layers").click()
    page.wait_for_timeout(1000)
    shoot(page)
    assert page.get_by_text("could not").count() == 0, "the layout's worker runs from disk too"
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0


def test_a_damaged_file_is_a_message(photo_file, browse, tmp_path):
    text = photo_file.read_text(encoding="utf-8")
    block = text.index('id="topoact-1">') + 500
    damaged = {
        "cut": text[: block + 2000],
        "changed": f"{text[:block]}AAAAAAAAAAAAAAAA{text[block + 16 :]}",
        "no-manifest": text.replace('"format":"topoact-gpu/explorer"', '"format":"x"', 1),
    }
    for name, content in damaged.items():
        file = tmp_path / f"{name}.html"
        file.write_text(content, encoding="utf-8")
        page = browse(file.as_uri(), offline=True)
        page.get_by_role("alert").get_by_text("export it again").wait_for()
    # a script that is not the one the page was written with does not run; the page says so
    file = tmp_path / "script.html"
    file.write_text(text.replace('<script type="module">', '<script type="module">;', 1))
    page = browse("about:blank", offline=True)
    page.expected.append("Content Security Policy")
    page.goto(file.as_uri())
    assert page.get_by_text("the file is damaged").is_visible()


def test_pictures_are_left_out_first(photo_run, tmp_path):
    left_out = write_html([photo_run], tmp_path / "small.html", max_megabytes=2.5)
    assert (tmp_path / "small.html").stat().st_size < 2.5e6
    assert any("whole pictures do not fit" in sentence for sentence in left_out)
    with pytest.raises(ParameterError, match="without pictures the file takes"):
        write_html([photo_run], tmp_path / "none.html", max_megabytes=0.7)
    with pytest.raises(ParameterError, match="above 0"):
        write_html([photo_run], tmp_path / "none.html", max_megabytes=0)
    assert not (tmp_path / "none.html").exists()


def test_what_is_there_is_not_written_over(text_runs, tmp_path):
    file = tmp_path / "explorer.html"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(StoreError, match="overwrite"):
        write_html(text_runs[:1], file)
    assert file.read_text(encoding="utf-8") == "mine"
    result = invoke("export", text_runs[0], "--format", "html", "--out", file, "--overwrite")
    assert result.exit_code == 0, result.output
    assert file.read_bytes().startswith(b"<!doctype html>")
    with pytest.raises((StoreError, DataError)):
        write_html([tmp_path / "nowhere.zarr"], tmp_path / "x.html")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "html", "--average-activations"], "--average-activations needs"),
        (["--format", "csv", "--max-megabytes", "3"], "need --format html"),
        (["--format", "csv", "--with", "other.zarr"], "need --format html"),
    ],
)
def test_options_that_do_not_fit(text_runs, tmp_path, options, message):
    result = invoke("export", text_runs[0], *options, "--out", tmp_path / "x")
    assert result.exit_code != 0
    assert message in str(result.exception) + result.output


def test_a_page_in_pieces_is_refused(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<html></html>", encoding="utf-8")
    with pytest.raises(StoreError, match="one script and one style"):
        page_with({}, {}, tmp_path)
    with pytest.raises(StoreError, match="not built"):
        page_with({}, {}, tmp_path / "assets")
