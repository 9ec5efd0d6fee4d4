"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEER_CASES = "minilm_layer4,lite0_block8,synthetic-20kx512,synthetic-100kx512,synthetic-300kx512"
PEERS = "topoact,topoact-kepler,gudhi,kepler,zen,tda,giotto"


def names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def default_cache() -> Path:
    home = os.environ.get("TOPOACT_BENCH_CACHE")
    return Path(home) if home else Path.home() / ".cache" / "topoact-gpu" / "benchmarks"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", type=Path, default=default_cache(), help="data, environments")
    common.add_argument("--data", type=Path, help="folder with the real sets")
    common.add_argument("--results", type=Path, default=HERE / "results")
    common.add_argument("--repeats", type=int, default=3)
    common.add_argument("--timeout", type=float, default=3600.0, help="seconds for each sample")

    peers = commands.add_parser("peers", parents=[common], help="Mapper libraries side by side")
    peers.add_argument("--cases", type=names, default=names(PEER_CASES))
    peers.add_argument("--contestants", type=names, default=names(PEERS))
    peers.add_argument("--threads", type=int, default=2)
    peers.add_argument(
        "--prepare", action="store_true", help="only data, environments and naive graphs"
    )

    floor = commands.add_parser("floor", parents=[common], help="time over the sgemm floor")
    floor.add_argument(
        "--cases", type=names, default=names("minilm_layer4,lite0_block8,synthetic-100kx512")
    )
    floor.add_argument(
        "--filters", type=names, default=["int8", "float32"], help="auto forces nothing"
    )
    floor.add_argument("--threads", type=lambda text: [int(n) for n in names(text)], default=[2])

    scale = commands.add_parser("scale", parents=[common], help="one million rows")
    scale.add_argument("--case", default="synthetic-1000kx256-float16")
    scale.add_argument("--threads", type=int, default=2)
    scale.add_argument("--checked-intervals", type=int, default=8, help="0: all of them")

    nerve = commands.add_parser("nerve", parents=[common], help="memberships to edges")
    nerve.add_argument("--memberships", type=int, default=10_000_000)
    nerve.add_argument("--threads", type=int, default=2)

    summary = commands.add_parser("summary", parents=[common], help="what nodes and edges hold")
    summary.add_argument("--rows", type=int, default=300_000)
    summary.add_argument("--classes", type=int, default=1000)
    summary.add_argument("--columns", type=int, default=512)
    summary.add_argument("--threads", type=int, default=2)

    drawing = commands.add_parser("drawing", parents=[common], help="the explorer in a browser")
    drawing.add_argument("--nodes", type=lambda text: [int(n) for n in names(text)],
                         default=[300, 2000, 10_000])  # fmt: skip
    drawing.add_argument("--browser", default="chromium", help="a name on the PATH, or a path")
    drawing.add_argument(
        "--software", action=argparse.BooleanOptionalAction, default=True,
        help="draw by the processor, as machines without a graphics card do",
    )  # fmt: skip

    memory = commands.add_parser("memory", parents=[common], help="memory above the input")
    memory.add_argument("--rows", type=lambda text: [int(n) for n in names(text)],
                        default=[50_000, 200_000])  # fmt: skip
    memory.add_argument("--threads", type=int, default=2)

    undecided = commands.add_parser(
        "undecided", parents=[common], help="data that no filter can decide"
    )
    undecided.add_argument(
        "--sizes", type=names, default=names("20kx64,20kx384"), help="rows x columns"
    )
    undecided.add_argument("--threads", type=int, default=2)

    capture = commands.add_parser("capture", parents=[common], help="capture beside a plain loop")
    capture.add_argument("--images", type=int, default=320)
    capture.add_argument("--threads", type=int, default=2)

    budget = commands.add_parser("budget", parents=[common], help="rows larger than the budget")
    budget.add_argument("--case", default="synthetic-5000kx128-float16")
    budget.add_argument("--budget", default="512MB")
    budget.add_argument("--intervals", type=int, default=500)
    budget.add_argument("--threads", type=int, default=2)

    workers = commands.add_parser("workers", parents=[common], help="a cluster of two processes")
    workers.add_argument("--case", default="synthetic-300kx512-float16")
    workers.add_argument("--threads", type=int, default=2)

    plan = commands.add_parser("plan", parents=[common], help="a plan's seconds beside the fit's")
    plan.add_argument(
        "--cases", type=names,
        default=names("sample,minilm_layer4,lite0_block8,synthetic-300kx128-float16,"
                      "synthetic-300kx128-float16@64MB,synthetic-5000kx128-float16@512MB"),
    )  # fmt: skip
    plan.add_argument("--threads", type=int, default=2)

    registers = commands.add_parser("registers", help="what GPU kernels compile to")
    registers.add_argument("--results", type=Path, default=HERE / "results")
    registers.add_argument(
        "--targets", type=lambda text: [int(n) for n in names(text)], default=[80, 90]
    )

    table = commands.add_parser("table", help="write the results into the README")
    table.add_argument("--results", type=Path, default=HERE / "results")
    table.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    table.add_argument(
        "--own-readme", type=Path, default=HERE / "README.md", help="for the table of registers"
    )
    return top


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if "cache" in options:
        options.cache.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"benchmarks.{options.command}")
    return 1 if module.run(options) else 0


if __name__ == "__main__":
    sys.exit(main())
