"""Two Dask workers of one thread each beside one process with two threads: the same fit."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from benchmarks import cases, fit_store, measure

MOST = 1.15


def run(options) -> int:
    """``python -m benchmarks workers``: returns how often the answer was wrong."""
    from topoact_gpu import open_store
    from topoact_gpu.clusters import cluster_client

    case = cases.open_case(options.case, options.cache, options.data)
    store = fit_store.make_store(case, options.cache)
    spec = {"n_intervals": 70, "overlap": 0.3, "eps": case.eps, "threads": options.threads}
    layer = open_store(store).layer("layer")
    seconds: dict[str, list[float]] = {"process": [], "workers": []}
    digests = set()
    with cluster_client(None, options.threads) as client:
        for repeat in range(options.repeats + 1):  # the first one warms up
            for way, found in (("process", None), ("workers", client)):
                start = time.perf_counter()
                fitted = fit_store.mapper_of(spec, client=found).fit(layer)
                took = time.perf_counter() - start
                digests.add(fit_store.digest(fitted.graph_))
                if repeat:
                    seconds[way].append(took)
                    stages = {k: v["seconds"] for k, v in fitted.report_["stages"].items()}
                    record = {"case": case.name, "way": way, **spec, "seconds": took,
                              "stages": stages}  # fmt: skip
                    measure.append_result(Path(options.results), "workers", record)
                    print(f"  {way}: {took:.1f} s, {stages}")
                    sys.stdout.flush()
    ratio = statistics.median(seconds["workers"]) / statistics.median(seconds["process"])
    print(f"  workers take {ratio:.2f} times as long (at most {MOST}); "
          f"{'equal' if len(digests) == 1 else 'UNEQUAL'} graphs")  # fmt: skip
    return len(digests) != 1
