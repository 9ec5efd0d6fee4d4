"""What the commands print: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from ..progress import Step

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID
    from rich.text import Text

    from ..graph import MapperGraph

__all__ = [
    "JsonOption",
    "Printer",
    "ProgressBars",
    "QuietOption",
    "graph_rows",
    "graph_summary",
    "percent",
    "stage_rows",
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No tables, notes or progress bars.")
]


class Printer:
    """Prints a result as a table or as JSON."""

    def __init__(self, *, as_json: bool, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def result(self, value: dict[str, Any]) -> None:
        """The machine-readable result; printed with ``--json`` only."""
        if self.as_json:
            from ..files import to_jsonable

            print(json.dumps(to_jsonable(value), indent=2, ensure_ascii=False))

    def table(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Two columns of text on standard output."""
        if self.as_json or self.quiet:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(name, value)
        # rich takes 80 columns where there is no terminal, which would break commands and paths
        Console(width=None if sys.stdout.isatty() else 200).print(table)

    def note(self, text: str) -> None:
        """A remark on standard error."""
        if not self.quiet:
            print(text, file=sys.stderr)


class ProgressBars:
    """A bar with a rate for each stage; call it with ``(stage, done, total)``.

    Nothing is drawn where standard error is no terminal.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._wanted = not quiet and sys.stderr.isatty()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self._wanted:
            self._bars = _make_bars()
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bars is None:
            return
        text = stage
        if isinstance(done, Step):  # the time that is left follows the pairs
            text = f"{stage} {int(done):,}/{total:,}"
            total, done = done.total_pairs, done.pairs
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(text, total=total or None)
        task = self._tasks[stage]
        self._bars.update(task, description=text, completed=done, total=total or None)


def _make_bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{_short(speed)}/s" if speed else "", style="cyan")

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    return Progress(
        *columns, Rate(), Elapsed(), Remaining(), console=Console(stderr=True), transient=True
    )


def _short(number: float) -> str:
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}T"


def percent(share: float) -> str:
    """A share as text: ``0.1234`` is ``12.3%``."""
    return f"{100 * share:.1f}%"


def graph_summary(graph: MapperGraph) -> dict[str, Any]:
    """The figures that every summary of a graph shows."""
    return {
        "rows": graph.n_rows,
        "nodes": graph.n_nodes,
        "edges": graph.n_edges,
        "components": graph.n_components,
        "loops": graph.n_loops,
        "coverage": graph.coverage,
        "noise": graph.noise,
    }


def graph_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """`graph_summary` as the rows of a table."""
    meaning = {
        "coverage": "of the rows are in a node",
        "noise": "of the (row, interval) pairs are in no cluster",
    }
    return [
        (name, f"{percent(value)} {meaning[name]}" if name in meaning else f"{value:,}")
        for name, value in summary.items()
    ]


def stage_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Seconds and peak memory of each stage as the rows of a table."""
    rows = []
    for name, stage in report.get("stages", {}).items():
        peak = stage.get("peak_bytes")
        memory = f", peak {peak / 1e6:,.0f} MB" if peak else ""
        rows.append((f"time: {name}", f"{stage.get('seconds', 0.0):.3f} s{memory}"))
    return rows
