"""Runs to look at, a server that shows them, and a browser that says what went wrong in it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.drawing import BROWSER, share
from topoact_gpu import DBSCAN, Mapper, UniformCover, create_store, open_store
from topoact_gpu.capture_state import VERSION

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "explorer" / "node_modules" / "axe-core" / "axe.min.js"
WIDE, PHONE = (1280, 800), (390, 844)
HOSTILE = '<img src=x onerror="window.hacked=1">'
SCRIPT = "<script>window.hacked=2</script>"
TEXTS = (
    "The river bank was steep, and the bank of the river was wet.",
    "A bank lends money; money in the bank earns interest.",
    f"Code such as {HOSTILE} is text, and so is {SCRIPT} here.",
    "Rivers carry water, banks carry money, and texts carry words.",
)


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the bundled activations, as ``topoact demo`` makes it, with its photographs."""
    from topoact_gpu.cli.demo import LAYER, _write_store

    folder = tmp_path_factory.mktemp("photos")
    _write_store(folder / "acts.zarr")
    Mapper().fit(open_store(folder / "acts.zarr").layer(LAYER), run=folder / "run.zarr")
    return folder / "run.zarr"


@pytest.fixture(scope="session")
def photo_file(photo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run and the page in one HTML file, with nothing left out."""
    from topoact_gpu.explore.bundle import write_html

    file = tmp_path_factory.mktemp("file") / "explorer.html"
    assert write_html([photo_run], file) == []
    return file


@pytest.fixture(scope="session")
def text_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two layers of words of a few texts, some of which look like HTML; as capture writes them."""
    folder = tmp_path_factory.mktemp("texts")
    words = [
        (number, place, found.group(), found.start(), found.end())
        for number, text in enumerate(TEXTS * 12)
        for place, found in enumerate(re.finditer(r"<[^>]+>|\w+|[^\w\s]", text))
    ]
    number, position, token, start, end = (list(each) for each in zip(*words, strict=True))
    known = sorted(set(token))
    codes = np.array([known.index(each) for each in token])
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(len(known), 12))
    classes = [HOSTILE, "mark", "word"]
    kind = np.array([0 if t.startswith("<") else 1 if not t[0].isalnum() else 2 for t in token])
    described = {
        "description": "words of four texts",
        "model": {"spec": "a model for tests"},
        "data": {"spec": "texts", "kind": "text"},
    }
    with create_store(folder / "words.zarr", **described) as store:
        for name, spread in (("layer.1", 0.9), ("layer.2", 0.5)):
            names = {"token": known, "label": classes}
            layer = store.create_layer(name, 12, np.float32, names=names)
            rows = centres[codes] + generator.normal(size=(len(codes), 12)) * spread
            columns = {"input": number, "position": position, "token": codes}
            columns |= {"start": start, "end": end, "label": kind}
            layer.append(rows.astype(np.float32), **{k: np.array(v) for k, v in columns.items()})
    write_texts(folder / "words.zarr" / "capture", TEXTS * 12)
    runs = []
    for name in ("layer.1", "layer.2"):
        runs.append(folder / f"{name}.zarr")
        mapper = Mapper(cover=UniformCover(8, 0.3), clusterer=DBSCAN(eps=4.0, min_samples=3))
        mapper.fit(open_store(folder / "words.zarr").layer(name), run=runs[-1])
    return runs


def write_texts(folder: Path, texts: tuple[str, ...]) -> None:
    """What a capture keeps of its inputs."""
    folder.mkdir()
    lines = [{"input": at, "id": f"text {at}", "text": text} for at, text in enumerate(texts)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / "inputs.jsonl").write_bytes(content)
    state = {"version": VERSION, "complete": True, "lengths": {"inputs.jsonl": len(content)}}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """The address of a server for runs; one for all tests of a module that ask for the same."""
    pytest.importorskip("uvicorn")
    from topoact_gpu.explore.serve import RunningServer
    from topoact_gpu.explore.session import Session

    with ExitStack() as stack:
        known: dict[str, str] = {}

        def start(*runs: Path, **options: Any) -> str:
            key = repr((runs, options))
            if key not in known:
                server = RunningServer(Session(runs, **options))
                known[key] = stack.enter_context(server).address
            return known[key]

        yield start


def find_chromium() -> str | None:
    """The browser: $CHROMIUM, or on the PATH. None is downloaded."""
    asked = os.environ.get("CHROMIUM")
    if asked:
        return shutil.which(asked)
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


def missing(reason: str) -> None:
    """Skip, or fail where the browser must be there."""
    if os.environ.get("TOPOACT_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium. It ends with the module: as long as it runs, asyncio.run cannot be used."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        missing("no Chromium: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(BROWSER))
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open an address in a fresh window; whatever goes wrong there fails the test at its end.

    ``browse(address, size=WIDE, dark=False, offline=False)`` returns playwright's page.
    ``page.expected`` lists patterns of messages that the test wants. ``page.asked`` lists requests.
    """
    contexts: list[Any] = []
    opened: list[Any] = []

    def open_page(
        address: str, *, size: tuple[int, int] = WIDE, dark: bool = False, offline: bool = False
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        contexts.append(context)
        context.set_offline(offline)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.wrong, page.expected, page.asked = [], [], []
        page.on("pageerror", lambda error: page.wrong.append(f"exception: {error}"))
        page.on("console", lambda said: said.type == "error" and page.wrong.append(said.text))
        page.on("request", lambda request: page.asked.append(request.url))
        opened.append(page)
        page.goto(address)
        return page

    yield open_page
    wrong = [
        message
        for page in opened
        for message in page.wrong
        if not any(re.search(pattern, message) for pattern in page.expected)
    ]
    foreign = [url for page in opened for url in page.asked if is_foreign(url)]
    for context in contexts:
        context.close()
    assert wrong == []
    assert foreign == [], "the page asked others than its server"


def is_foreign(url: str) -> bool:
    """Whether an address leaves this machine."""
    return not re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:|file:)", url)


@pytest.fixture(scope="session")
def audit() -> Callable[[Any], None]:
    """Look for what keeps people from using a page; nothing serious or critical may be found."""

    def run(page: Any, **options: Any) -> None:
        assert AXE.is_file(), "npm ci in explorer/ brings axe-core"
        page.evaluate(AXE.read_text(encoding="utf-8"))
        result = page.evaluate("options => axe.run(document, options)", options)
        found = [
            (one["id"], one["impact"], [node["html"][:160] for node in one["nodes"][:3]])
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert found == []

    return run


@pytest.fixture
def shoot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """Save a picture of a page, in $TOPOACT_SCREENSHOTS if that is set."""
    folder = Path(os.environ.get("TOPOACT_SCREENSHOTS") or tmp_path)

    def save(page: Any, name: str | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        test = re.sub(r"\W+", "-", request.node.name).strip("-")
        path = folder / f"{name or test}.png"
        page.screenshot(path=path)
        return path

    return save


@pytest.fixture(scope="session")
def painted() -> Callable[[Any], float]:
    """The share of a part of the page that is not its most frequent colour."""
    return lambda locator: share(locator.screenshot())
