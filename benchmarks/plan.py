"""What a plan says a fit takes, beside what it takes: the ratio must stay within 1.5."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks import cases, fit_store, measure

MOST = 1.5
INTERVALS = {"synthetic-5000kx128-float16": 500}


def run(options) -> int:
    """``python -m benchmarks plan``: returns how many plans were off."""
    name = measure.run_name()
    return sum(_measured(text, name, options) for text in options.cases)


def _rows(name: str, options):
    """Rows and eps: the bundled sample, a real set in memory, or a store of synthetic ones."""
    from topoact_gpu import load_sample, open_store

    if name == "sample":
        return load_sample().activations, "knee"
    case = cases.open_case(name, options.cache, options.data)
    if not name.startswith("synthetic"):
        return case.rows()[:], case.eps
    return open_store(fit_store.make_store(case, options.cache)).layer("layer"), case.eps


def _measured(text: str, run_name: str, options) -> bool:
    from topoact_gpu import DBSCAN, Mapper, UniformCover
    from topoact_gpu.planning import plan

    name, _, budget = text.partition("@")
    rows, eps = _rows(name, options)
    cover = UniformCover(INTERVALS.get(name, 70), 0.3)
    given = {"cover": cover, "clusterer": DBSCAN(eps), "memory_budget": budget or None,
             "n_threads": options.threads}  # fmt: skip
    Mapper(cover=cover, clusterer=DBSCAN(eps)).fit(rows[:2000])  # compile and load
    start = time.perf_counter()
    found = plan(rows, **given)
    planning = time.perf_counter() - start
    start = time.perf_counter()
    report = Mapper(**given).fit(rows).report_
    seconds = time.perf_counter() - start
    ratio = found.seconds["total"] / seconds
    same = found.way == report["implementation"]["rows"]
    stages = {k: v["seconds"] for k, v in report["stages"].items()}
    record = {"run": run_name, "case": text, "planned": found.to_dict(), "wall_s": seconds,
              "stages": stages, "ratio": ratio, "planning_s": planning,
              "threads": options.threads, "machine": measure.machine()}  # fmt: skip
    measure.append_result(Path(options.results), "plan", record)
    fine = 1 / MOST <= ratio <= MOST and same
    print(f"  {text}: planned {found.seconds['total']:.1f} s (in {planning:.1f} s), took "
          f"{seconds:.1f} s: {ratio:.2f}; {found.way}{'' if fine else ' OFF'}")  # fmt: skip
    for stage in stages:
        print(f"      {stage}: {found.seconds.get(stage, 0.0):.2f}, took {stages[stage]:.2f}")
    sys.stdout.flush()
    return not fine
