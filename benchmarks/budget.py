"""A memory budget that is kept, and what it costs: the same fit with everything in memory.

The promise: resident memory, sampled from outside, is at most that of a warmed-up idle process,
plus the budget, plus 100 MB; and the fit takes at most 1.3 times as long.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks import cases, fit_store, measure

SLACK_BYTES = 100_000_000


def run(options) -> int:
    """``python -m benchmarks budget``: returns how often the promise or the answer was broken."""
    case = cases.open_case(options.case, options.cache, options.data)
    store = fit_store.make_store(case, options.cache)
    spec = {
        "store": str(store), "n_intervals": options.intervals, "overlap": 0.3, "eps": case.eps,
        "threads": options.threads,
    }  # fmt: skip
    found: dict[str, list[dict]] = {"memory": [], "budget": []}
    for _ in range(options.repeats):
        for way, budget in (("memory", None), ("budget", options.budget)):
            found[way].append(_measured(case, way, spec | {"budget": budget}, options))
    return _judged(found)


def _measured(case, way: str, spec: dict, options) -> dict:
    answer = fit_store.watched(spec, options.timeout)
    beyond = answer["peak_bytes"] - answer["idle_bytes"]
    record = {"case": case.name, "way": way, **spec, **answer, "beyond_idle_bytes": beyond}
    record["store"] = Path(spec["store"]).name
    measure.append_result(Path(options.results), "budget", record)
    print(f"  {way}: {answer['seconds']:.1f} s, {beyond / 1e6:,.0f} MB beyond idle, "
          f"{answer['rows']}, {answer['stages']}")  # fmt: skip
    sys.stdout.flush()
    return record


def _judged(found: dict[str, list[dict]]) -> int:
    from topoact_gpu.device import resolve_budget

    seconds = {way: statistics.median(r["seconds"] for r in each) for way, each in found.items()}
    ratio = seconds["budget"] / seconds["memory"]
    limit = resolve_budget(found["budget"][0]["budget"]) + SLACK_BYTES
    most = max(record["beyond_idle_bytes"] for record in found["budget"])
    same = len({record["digest"] for each in found.values() for record in each}) == 1
    print(f"  {ratio:.2f} times as long as in memory; {most / 1e6:,.0f} MB beyond idle, "
          f"limit {limit / 1e6:,.0f} MB; {'equal' if same else 'UNEQUAL'} graphs")  # fmt: skip
    return (most > limit) + (not same)
