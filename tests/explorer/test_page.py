"""The page in a browser: it loads, draws, keeps to its server, and runs nothing it is told."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest


def wait_for_graph(page):
    """Wait until the graph is drawn."""
    page.locator("main.graph canvas").first.wait_for()
    page.wait_for_timeout(500)


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_graph_is_painted(photo_run, serve, browse, painted, audit, shoot, size, dark):
    page = browse(serve(photo_run), size=size, dark=dark)
    wait_for_graph(page)
    shoot(page)
    assert painted(page.locator("main.graph")) > 0.01
    assert page.title().startswith("run")
    assert page.get_by_text("could not").count() == 0
    audit(page)


def test_a_blank_graph_would_be_seen(photo_run, serve, browse, painted):
    page = browse(serve(photo_run))
    wait_for_graph(page)
    page.evaluate("document.querySelector('main.graph').replaceChildren()")
    assert painted(page.locator("main.graph")) < 0.01


def test_what_goes_wrong_is_seen(photo_run, serve, browse):
    page = browse(serve(photo_run))
    page.evaluate("console.error('a mistake'); setTimeout(() => { throw new Error('late'); })")
    for _ in range(100):  # what the browser has to say may come late
        if len(page.wrong) >= 2:
            break
        page.wait_for_timeout(100)
    assert any("a mistake" in message for message in page.wrong)
    assert any("late" in message for message in page.wrong)
    page.expected += ["a mistake", "late"]


def test_html_in_names_is_text(text_runs, serve, browse):
    page = browse(serve(*text_runs) + "#colour=top")
    wait_for_graph(page)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize(
    "answer", [b"", b"TAT1", b"TAT1\xff\xff\xff\xff", b"<html>no table</html>"]
)
def test_a_damaged_answer_is_a_message(photo_run, serve, browse, answer):
    address = serve(photo_run)
    page = browse("about:blank")
    page.route("**/graph*", lambda route: route.fulfill(status=200, body=answer))
    page.goto(address)
    message = page.get_by_role("alert")
    message.wait_for()
    assert len(message.inner_text()) > 10
    assert page.get_by_role("heading", name="TopoAct").is_visible()


def test_a_server_that_is_gone_is_a_message(photo_run, serve, browse):
    address = serve(photo_run)
    page = browse("about:blank")
    page.route("**/api/session", lambda route: route.abort())
    page.expected += ["Failed to load resource"]
    page.goto(address)
    page.get_by_text("is topoact explore still running?").wait_for()


def test_without_the_token_there_is_nothing(photo_run, serve):
    address = serve(photo_run)
    start, token = address.rstrip("/").rsplit("/", 1)
    for wrong in ("", "x/", f"{token[:-1]}/", f"{token}x/", f"x/{token}/"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{start}/{wrong}api/session")
        assert caught.value.code == 404
        caught.value.close()
