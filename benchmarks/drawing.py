"""The explorer's page in a browser: first paint, layout, and frames while it is moved."""

from __future__ import annotations

import io
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.summary import neighbours_graph

EDGES_A_NODE = 5.0
# WebGL without a graphics card, and nothing that Chromium would ask of others
BROWSER = (
    "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SEEN = "window.topoactExplorer"
PAINTED = 0.005
"""Of the graph's part of the page, what must be other than paper for a graph to be there."""


def run(options) -> int:
    """``python -m benchmarks drawing``: returns the number of graphs that were not drawn."""
    from playwright.sync_api import sync_playwright

    name, wrong = measure.run_name(), 0
    with tempfile.TemporaryDirectory(prefix="topoact-") as folder, sync_playwright() as playwright:
        arguments = list(BROWSER) if options.software else ["--headless", "--no-sandbox"]
        browser = playwright.chromium.launch(
            executable_path=shutil.which(options.browser), args=arguments
        )
        browser.new_page().close()  # a browser that was never used draws its first page late
        for n_nodes in options.nodes:
            path = made(Path(folder) / f"{n_nodes}.zarr", n_nodes)
            for repeat in range(options.repeats):
                found = drawn(browser, path)
                if found is None:
                    print(f"  {n_nodes:,} nodes: NOT DRAWN")
                    wrong += 1
                    break
                record = {"case": f"nodes-{n_nodes}", "run": name, "repeat": repeat, **found}
                record |= {"threads": os.cpu_count(), "machine": measure.machine()}
                measure.append_result(Path(options.results), "drawing", record)
                print(f"  {found}")
        browser.close()
    return wrong


def made(path: Path, n_nodes: int) -> Path:
    """A run whose nodes are points of a square, joined where they are near, with its summary."""
    from topoact_gpu.run_summary import ensure_summary
    from topoact_gpu.runs import save_run

    graph = neighbours_graph(n_nodes, float(np.sqrt(2 * EDGES_A_NODE / (np.pi * n_nodes))))
    rng = np.random.default_rng(0)
    save_run(
        path, graph, lens_values=np.full(graph.n_rows, np.nan), report={},
        columns={"class_id": rng.integers(0, 1000, graph.n_rows)},
        names={"class_id": [f"class {code}" for code in range(1000)]},
    )  # fmt: skip
    ensure_summary(path, write=True)
    return path


def drawn(browser, path: Path) -> dict | None:
    """Open a run, wait for its graph, move it about; None if nothing was drawn."""
    from topoact_gpu.explore.serve import RunningServer
    from topoact_gpu.explore.session import Session

    with RunningServer(Session([path])) as server:
        server.warm()  # as `topoact explore` does
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(server.address)
        paint = _when(page, f"{SEEN}?.nodePosition(0)")
        layout = _when(page, f"{SEEN} && !{SEEN}.layingOut()")
        page.wait_for_timeout(1000)
        if share(page.locator("main.graph").screenshot()) < PAINTED:
            return None
        box = page.get_by_role("application").first.bounding_box()
        corner = (box["x"] + 12, box["y"] + box["height"] - 12)
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        found = {
            "nodes": page.evaluate(f"{SEEN}.explorer.graph.n"),
            "edges": page.evaluate(f"{SEEN}.explorer.graph.nEdges"),
            "wall_s": paint, "layout_s": layout,
            **_frames("pan", _panned(page, corner)), **_frames("zoom", _zoomed(page, middle)),
            "renderer": page.evaluate(RENDERER),
        }  # fmt: skip
        page.close()
    return found


RENDERER = """() => {
  const gl = document.createElement('canvas').getContext('webgl2');
  const named = gl.getExtension('WEBGL_debug_renderer_info');
  return named ? gl.getParameter(named.UNMASKED_RENDERER_WEBGL) : 'unknown';
}"""


def share(picture: bytes) -> float:
    """How much of a picture is not its most frequent colour."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    count = np.unique(pixels, axis=0, return_counts=True)[1]
    return 1.0 - float(count.max()) / len(pixels)


def _when(page, condition: str, seconds: float = 120.0) -> float:
    """Seconds from the start of the navigation until a condition holds and is on the screen.

    Asked every 20 ms: the page forbids what would wait inside it.
    """
    shown = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r())))"
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        if page.evaluate(f"Boolean({condition})"):
            return page.evaluate(f"{shown}.then(() => performance.now() / 1000)")
        page.wait_for_timeout(20)
    raise TimeoutError(f"not within {seconds:.0f} s: {condition}")


def _panned(page, corner: tuple[float, float]) -> list[float]:
    """Drag the view from a corner: in the middle there may be a node, which would be dragged."""
    page.mouse.move(*corner)
    page.mouse.down()
    for step in range(90):
        page.mouse.move(corner[0] + 2 * step, corner[1] - 2 * step)
        page.wait_for_timeout(16)
    page.mouse.up()
    return page.evaluate(f"{SEEN}.frameTimes()")


def _zoomed(page, middle: tuple[float, float]) -> list[float]:
    page.wait_for_timeout(1000)
    page.mouse.move(*middle)
    for step in range(24):
        page.mouse.wheel(0, -120 if step < 12 else 120)
        page.wait_for_timeout(50)
    return page.evaluate(f"{SEEN}.frameTimes()")


def _frames(name: str, times: list[float]) -> dict[str, float]:
    ordered = sorted(times) or [float("nan")]
    return {
        f"{name}_ms": statistics.median(ordered),
        f"{name}_p95_ms": ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)],
        f"{name}_frames": len(times),
    }
