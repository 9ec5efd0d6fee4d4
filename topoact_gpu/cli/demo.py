"""``topoact demo``: the main job on the bundled activations, from store to picture."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonOption, Printer, ProgressBars, QuietOption, graph_rows, graph_summary
from .explore import show
from .mapper import eps_text, eps_used
from .summary import NoSummaryOption, write_after

if TYPE_CHECKING:
    from ..mapper import Mapper

__all__ = ["demo"]

LAYER = "block10"


def demo(
    out: Annotated[
        Path, typer.Option(help="Directory for the store, the run and the picture.")
    ] = Path("topoact-demo"),
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open nothing; print the explorer's address.")
    ] = False,
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Show the run in the explorer at the end, until Ctrl-C. Default: in a terminal.",
        ),
    ] = None,
    no_summary: NoSummaryOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole pipeline on the activations that come with the package.

    They are 10,000 rows of an ImageNet-trained EfficientNet-Lite0, one for each patch of a few
    photographs. What an earlier demo left in the same directory is replaced. In a terminal, the
    explorer shows the run at the end, until Ctrl-C; elsewhere the command ends by itself.

    Examples:

      topoact demo

      topoact demo --out /tmp/try --no-browser --json
    """
    printer = Printer(as_json=as_json, quiet=quiet)
    stages: dict[str, float] = {}
    store_path, run_path, picture = out / "acts.zarr", out / "run.zarr", out / "mapper.png"
    _timed(stages, "import", _write_store, store_path)
    estimator = _fit(store_path, run_path, quiet)
    stages.update({k: v["seconds"] for k, v in estimator.report_["stages"].items()})
    if not no_summary:
        summarised = partial(write_after, label=None, threads=None, printer=printer)
        _timed(stages, "summary", summarised, run_path)
    drawn = _timed(stages, "draw", _draw, estimator, picture, printer)
    summary = graph_summary(estimator.graph_)
    summary = {"rows": summary.pop("rows"), "columns": estimator.report_["n_cols"], **summary}
    saved = {"store": store_path, "run": run_path, **({"picture": picture} if drawn else {})}
    printer.result(
        {
            **summary,
            "eps": eps_used(estimator.report_),
            "seconds": stages,
            "saved": {name: str(path) for name, path in saved.items()},
            "report": estimator.report_,
        }
    )
    rows = [*graph_rows(summary), ("eps", eps_text(estimator.report_))]
    rows += [(f"time: {name}", f"{seconds:.3f} s") for name, seconds in stages.items()]
    rows += [(f"saved: {name}", str(path)) for name, path in saved.items()]
    printer.table("Mapper graph of the bundled activations", rows)
    printer.table("What next", _next_steps(store_path, run_path))
    interactive = sys.stdout.isatty() and not (quiet or as_json)
    if serve or (serve is None and interactive and _can_serve(printer)):
        _serve(run_path, printer, browser=interactive and not no_browser)
    elif drawn and interactive and not no_browser:
        typer.launch(str(picture))


def _can_serve(printer: Printer) -> bool:
    """Whether the explorer is installed; say so where it is not."""
    from importlib.util import find_spec

    if find_spec("fastapi") is not None and find_spec("uvicorn") is not None:
        return True
    printer.note("no explorer: fastapi is missing; pip install 'topoact-gpu[explore]'")
    return False


def _serve(run: Path, printer: Printer, *, browser: bool) -> None:
    """Show the run in the browser until Ctrl-C."""
    from ..explore.session import Session

    printer.note("The explorer shows the run at this address:")
    show(Session([run]), Printer(as_json=False, quiet=printer.quiet), browser=browser)


def _timed(stages: dict[str, float], name: str, function: Any, *args: Any, **options: Any) -> Any:
    start = time.perf_counter()
    result = function(*args, **options)
    stages[name] = time.perf_counter() - start
    return result


def _write_store(path: Path) -> None:
    from ..files import check_absent, move_into_place, os_errors, temporary_sibling
    from ..sample import PREPROCESSING, RECEPTIVE_FIELD, load_sample
    from ..store import create_store

    sample = load_sample()
    check_absent(path, overwrite=True)
    with os_errors(f"writing {path}"), temporary_sibling(path) as temporary:
        about: dict[str, Any] = {
            "model": {"spec": "efficientnet-lite0", "preprocessing": PREPROCESSING},
            # the photographs are in other packages; the column says which one a row is from
            "data": {"spec": "skimage:photos", "kind": "image", "column": "photo"},
        }
        made = temporary / "acts.zarr"
        with create_store(made, description=sample.description, **about) as store:
            layer = store.create_layer(
                LAYER,
                sample.activations.shape[1],
                sample.activations.dtype,
                names={"photo": sample.photo_names},
                receptive_field=RECEPTIVE_FIELD,
            )
            layer.append(sample.activations, photo=sample.photo, y=sample.y, x=sample.x)
        move_into_place(store.path, path)


def _fit(store_path: Path, run_path: Path, quiet: bool) -> Mapper:
    from ..mapper import Mapper
    from ..store import open_store

    layer = open_store(store_path).layer(LAYER)
    with ProgressBars(quiet=quiet) as progress:
        return Mapper(progress=progress).fit(layer, run=run_path, overwrite=True)


def _draw(estimator: Mapper, picture: Path, printer: Printer) -> bool:
    """Draw the graph; say so where matplotlib is not installed."""
    from importlib.util import find_spec

    from ..export import export_graph

    if find_spec("matplotlib") is None:
        printer.note("no picture: matplotlib is missing; pip install 'topoact-gpu[plot]'")
        return False
    export_graph(estimator.graph_, picture, "png", overwrite=True)
    return True


def _next_steps(store: Path, run: Path) -> list[tuple[str, str]]:
    return [
        ("in the browser", f"topoact explore {run}"),
        ("one HTML file", f"topoact export {run} --format html"),
        ("look again", f"topoact info {run}"),
        ("what nodes hold", f"topoact summary {run}"),
        ("another lens", f"topoact mapper {store} --lens pca:1 --out {run.with_name('pca.zarr')}"),
        (
            "other programs",
            f"topoact export {run} --format graphml --out {run.with_name('graph.graphml')}",
        ),
        ("your own data", "topoact import X.npy --out acts.zarr --layer NAME"),
        ("from Python", f"topoact_gpu.MapperGraph.load({str(run)!r})"),
    ]
