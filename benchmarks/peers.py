"""Mapper libraries side by side: one small function each, every answer checked before its time.

A contestant takes the rows, the lens values, and the spec; what it returns is called after the
clock has stopped and gives the answer as plain arrays. Peers get the lens values for nothing; ours
computes its own. All peers cluster with scikit-learn's DBSCAN.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import cases, environments, gate, measure

Result = Callable[[], tuple[gate.Answer | None, dict]]

MIN_SAMPLES = 5
N_INTERVALS = 70
OVERLAP = 0.3


def _sklearn(spec: dict):
    from sklearn.cluster import DBSCAN

    return DBSCAN(eps=spec["eps"], min_samples=spec["min_samples"], n_jobs=spec["threads"])


def topoact(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    from topoact_gpu import DBSCAN, KeplerCover, Mapper, UniformCover

    family = KeplerCover if spec.get("family") == "centred" else UniformCover
    mapper = Mapper(
        "l2norm",
        cover=family(spec["n_intervals"], spec["overlap"]),
        clusterer=DBSCAN(eps=spec["eps"], min_samples=spec["min_samples"]),
        n_threads=spec["threads"],
    )
    mapper.fit(rows)

    def result() -> tuple[gate.Answer, dict]:
        graph = mapper.graph_
        answer = gate.Answer(
            np.asarray(graph.indptr),
            np.asarray(graph.rows),
            np.asarray(graph.edges),
            np.asarray(graph.node_interval),
        )
        same_lens = bool(np.array_equal(mapper.lens_values_.ravel(), lens))
        said = {"report": mapper.report_, "lens_equal": same_lens, "installed": _is_installed()}
        return answer, said

    return result


def _is_installed() -> bool:
    """Whether topoact_gpu is a plain installation in the environment that runs."""
    import topoact_gpu

    return Path(topoact_gpu.__file__).is_relative_to(sys.prefix)


def kepler(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    import kmapper

    graph = kmapper.KeplerMapper(verbose=0).map(
        lens[:, None],
        rows,
        clusterer=_sklearn(spec),
        cover=kmapper.Cover(n_cubes=spec["n_intervals"], perc_overlap=spec["overlap"]),
    )

    def result() -> tuple[gate.Answer, dict]:
        number = {name: i for i, name in enumerate(graph["nodes"])}
        edges = [(number[a], number[b]) for a, many in graph["links"].items() for b in many]
        return gate.Answer.of(list(graph["nodes"].values()), edges), {}

    return result


def gudhi(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    from gudhi.cover_complex import MapperComplex

    mapper = MapperComplex(
        resolutions=[spec["n_intervals"]], gains=[spec["overlap"]], clustering=_sklearn(spec)
    )
    mapper.fit(rows, filters=lens[:, None])

    def result() -> tuple[gate.Answer, dict]:
        names = sorted(mapper.node_info_)
        number = {name: i for i, name in enumerate(names)}
        edges = [
            (number[simplex[0]], number[simplex[1]])
            for simplex, _ in mapper.simplex_tree_.get_skeleton(1)
            if len(simplex) == 2
        ]
        nodes = [mapper.node_info_[name]["indices"] for name in names]
        return gate.Answer.of(nodes, edges), {}

    return result


def zen(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    from zen_mapper import mapper
    from zen_mapper.adapters import sk_learn
    from zen_mapper.cover import Width_Balanced_Cover

    logging.getLogger("zen_mapper").setLevel(logging.ERROR)
    found = mapper(
        data=rows,
        projection=lens,
        cover_scheme=Width_Balanced_Cover(spec["n_intervals"], spec["overlap"]),
        clusterer=sk_learn(_sklearn(spec)),
        dim=1,
    )

    def result() -> tuple[gate.Answer, dict]:
        # Intervals without a row become nodes without a row; they are dropped.
        return gate.Answer.of(found.nodes, [tuple(pair) for pair in found.nerve[1]]), {}

    return result


def giotto(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    from gtda.mapper import OneDimensionalCover, make_mapper_pipeline
    from sklearn.preprocessing import FunctionTransformer

    pipeline = make_mapper_pipeline(
        filter_func=FunctionTransformer(lambda _: lens[:, None]),
        cover=OneDimensionalCover(n_intervals=spec["n_intervals"], overlap_frac=spec["overlap"]),
        clusterer=_sklearn(spec),
    )
    graph = pipeline.fit_transform(rows)

    def result() -> tuple[gate.Answer, dict]:
        noise = sum(int(label) == -1 for label in graph.vs["partial_cluster_label"])
        answer = gate.Answer.of(graph.vs["node_elements"], graph.get_edgelist())
        return answer, {"noise_nodes": noise}

    return result


def tda_mapper(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    from tdamapper.cover import CubicalCover
    from tdamapper.learn import MapperAlgorithm

    logging.getLogger("tdamapper").setLevel(logging.ERROR)
    # Its threads share one clusterer and then give wrong graphs, so the threads are DBSCAN's.
    mapper = MapperAlgorithm(
        cover=CubicalCover(
            n_intervals=spec["n_intervals"], overlap_frac=spec["overlap"], algorithm="standard"
        ),
        clustering=_sklearn(spec),
        failsafe=False,
        verbose=False,
    )
    graph = mapper.fit_transform(rows, lens[:, None])

    def result() -> tuple[gate.Answer, dict]:
        names = sorted(graph.nodes)
        number = {name: i for i, name in enumerate(names)}
        edges = [(number[a], number[b]) for a, b in graph.edges]
        return gate.Answer.of([graph.nodes[name]["ids"] for name in names], edges), {}

    return result


def sgemm(rows: np.ndarray, lens: np.ndarray, spec: dict) -> Result:
    """The rate of a general float32 product, of two different matrices; the best of seven."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 4096, rows.shape[1]), dtype=np.float32)
    out = np.empty((4096, 4096), np.float32)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        np.matmul(left, right.T, out=out)
        seconds.append(time.perf_counter() - start)
    flops = 2 * 4096 * 4096 * rows.shape[1]
    return lambda: (None, {"flops_per_second": flops / min(seconds[1:])})


CONTESTANTS: dict[str, Callable[[np.ndarray, np.ndarray, dict], Result]] = {
    "topoact": topoact,
    "kepler": kepler,
    "gudhi": gudhi,
    "zen": zen,
    "giotto": giotto,
    "tda": tda_mapper,
    "sgemm": sgemm,
}
PACKAGES = {
    "topoact": ("topoact-gpu", "numba", "torch"),
    "kepler": ("kmapper",),
    "gudhi": ("gudhi",),
    "zen": ("zen-mapper",),
    "giotto": ("giotto-tda",),
    "tda": ("tda-mapper",),
}


def versions(name: str) -> dict[str, str]:
    """Versions of a contestant and of what does its arithmetic."""
    found = {"python": sys.version.split()[0]}
    for package in (*PACKAGES.get(name, ()), "numpy", "scipy", "scikit-learn"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Entry:
    """A contestant as it enters a run.

    Attributes
    ----------
    title : str
        As the table shows it.
    function : str
        Key of `CONTESTANTS`.
    rules : gate.Rules
        How its graph differs from closed intervals whose nodes are clusters.
    dtype : str or None
        What it is handed; None: the data as stored.
    env : pairs of str
        More environment variables.
    home : str
        The environment of `benchmarks.environments` that it runs in; default its function's.
    """

    title: str
    function: str
    rules: gate.Rules
    dtype: str | None = "float32"
    env: tuple[tuple[str, str], ...] = ()
    home: str = ""

    @property
    def environment(self) -> str:
        return self.home or self.function


CENTRED = gate.Rules("centred")
ENTRIES = {
    "topoact": Entry("topoact-gpu", "topoact", gate.Rules(), None),
    "topoact-int8": Entry(
        "topoact-gpu, int8", "topoact", gate.Rules(), None, (("TOPOACT_FILTER", "int8"),)
    ),
    "topoact-int8-torch": Entry(
        "topoact-gpu, int8 by torch",
        "topoact",
        gate.Rules(),
        None,
        (("TOPOACT_FILTER", "int8-torch"),),
    ),
    "topoact-float32": Entry(
        "topoact-gpu, float32", "topoact", gate.Rules(), None, (("TOPOACT_FILTER", "float32"),)
    ),
    "topoact-notorch": Entry(
        "topoact-gpu without torch", "topoact", gate.Rules(), None, home=environments.NO_TORCH
    ),
    "topoact-kepler": Entry("topoact-gpu, KeplerCover", "topoact", CENTRED, None),
    "gudhi": Entry("GUDHI", "gudhi", gate.Rules("centred", lone_rows=True)),
    "kepler": Entry("KeplerMapper", "kepler", CENTRED),
    "zen": Entry("zen-mapper", "zen", gate.Rules(lone_rows=True)),
    "tda": Entry("tda-mapper", "tda", gate.Rules("centred", core_cells_only=True, any_border=True)),
    "giotto": Entry("giotto-tda", "giotto", gate.Rules(noise_nodes=True)),
}


def run(options) -> int:
    """``python -m benchmarks peers``: returns the number of contestants that were wrong."""
    pythons = environments.pythons(
        options.cache, {ENTRIES[n].environment for n in options.contestants}
    )
    name = measure.run_name()
    wrong = 0
    for case_name in options.cases:
        try:
            case = cases.open_case(case_name, options.cache, options.data)
        except cases.MissingDataError as missing:
            print(f"skipped: {missing}")
            continue
        print(f"\n{case.name}: {case.shape[0]:,} x {case.shape[1]} {case.dtype}, eps {case.eps}")
        if options.prepare:
            for family in sorted({ENTRIES[key].rules.family for key in options.contestants}):
                reference_of(case, family, options.cache)
            continue
        wrong += _run_case(case, pythons, name, options)
    return wrong


def _run_case(case: cases.Case, pythons: dict, run_name: str, options) -> int:
    """Repeats in rotation, so that a slow minute of the machine hits everybody."""
    out = set()
    for repeat in range(options.repeats):
        for key in options.contestants:
            entry = ENTRIES[key]
            python = pythons.get(entry.environment)
            if key in out or not _installed(key, python, repeat):
                continue
            try:
                record = one_sample(case, entry, python, options)
            except measure.ContestantError as error:
                out.add(key)
                print(f"  {key:20} FAILED {error}")
                continue
            problems = record.pop("problems")
            if problems:
                out.add(key)
                print(f"  {key:20} WRONG, no time: {'; '.join(problems)}")
                continue
            record |= {"run": run_name, "contestant": key, "title": entry.title, "repeat": repeat}
            measure.append_result(options.results, "peers", record)
            print(_line(key, record))
    return len(out)


def _installed(key: str, python, repeat: int) -> bool:
    if python is not None and python.path:
        return True
    if repeat == 0:
        print(f"  {key:20} not installed: {python.reason if python else 'no environment'}")
    return False


def _line(key: str, record: dict) -> str:
    return (
        f"  {key:20} {record['wall_s']:8.2f} s wall {record['cpu_s']:8.2f} s CPU "
        f"{record['beyond_input_bytes'] / 1e6:9,.0f} MB beyond the input "
        f"{record['nodes']:6,} nodes {record['edges']:6,} edges  {record['filter']}"
    )


def spec_of(case: cases.Case, entry: Entry, threads: int, out: Path | None) -> dict:
    """The JSON spec of one run of one contestant."""
    return {
        "name": entry.function,
        "rows": str(case.path),
        "lens": str(case.lens),
        "dtype": entry.dtype or case.dtype,
        "eps": case.eps,
        "min_samples": MIN_SAMPLES,
        "n_intervals": N_INTERVALS,
        "overlap": OVERLAP,
        "family": entry.rules.family,
        "threads": threads,
        "out": str(out) if out else None,
    }


def one_sample(
    case: cases.Case,
    entry: Entry,
    python: environments.Python,
    options,
    threads: int | None = None,
) -> dict:
    """Run once, check, and give the record; ``problems`` is empty when the answer is right."""
    out = Path(options.cache) / f"answer-{measure.run_name()}.npz"
    spec = spec_of(case, entry, threads or options.threads, out)
    try:
        sample = measure.run_contestant(
            spec,
            python=python.path,
            folder=python.folder,
            env=dict(entry.env),
            timeout=options.timeout,
        )
        answer = gate.Answer.load(out)
    finally:
        out.unlink(missing_ok=True)
    problems = filter_problems(entry, sample.said.get("report", {}))
    problems += environment_problems(entry, sample.said)
    problems += check(case, entry, answer, sample, options.cache)
    return {**describe(sample, answer, case, spec), "problems": problems}


def describe(sample: measure.Sample, answer: gate.Answer, case: cases.Case, spec: dict) -> dict:
    """What one JSON line says about a sample."""
    report = sample.said.get("report", {})
    return {
        "case": case.name,
        "shape": list(case.shape),
        "dtype": spec["dtype"],
        "eps": case.eps,
        "threads": spec["threads"],
        "wall_s": sample.wall_s,
        "cpu_s": sample.cpu_s,
        "baseline_bytes": sample.baseline_bytes,
        "peak_bytes": sample.peak_bytes,
        "beyond_input_bytes": sample.beyond_input_bytes,
        "memory_from": sample.memory_from,
        "nodes": answer.n_nodes,
        "edges": len(answer.edges),
        "memberships": len(answer.rows),
        "filter": filter_used(report),
        "noise_nodes": sample.said.get("noise_nodes", 0),
        "versions": sample.said.get("versions", {}),
        "machine": measure.machine(),
    }


def filter_used(report: dict) -> str:
    """The arithmetic the engine says it filtered with; empty for peers."""
    for part in ("clustering", "implementation"):
        if name := report.get(part, {}).get("filter"):
            return str(name)
    return ""


def filter_problems(entry: Entry, report: dict) -> list[str]:
    """A forced filter that did not run is no figure of that filter."""
    asked = dict(entry.env).get("TOPOACT_FILTER", "")
    used = filter_used(report)
    if asked and not used.startswith(asked):
        return [f"asked for the filter {asked}, the report says {used or 'nothing'}"]
    return []


def environment_problems(entry: Entry, said: dict) -> list[str]:
    """A figure without torch is one of a plain installation where there is none."""
    if entry.environment != environments.NO_TORCH:
        return []
    problems = [] if said.get("installed") else ["topoact-gpu came from the checkout"]
    return problems + (["torch is there"] if "torch" in said.get("versions", {}) else [])


def check(case: cases.Case, entry: Entry, answer: gate.Answer, sample, cache: Path) -> list[str]:
    """Compare an answer with the naive graph of its own kind of cover."""
    ref = reference_of(case, entry.rules.family, cache)
    lens = case.lens_values()
    if entry.function != "topoact":
        return gate.compare(answer, ref, entry.rules, lens)
    problems = [] if sample.said.get("lens_equal") else ["lens values differ from the definition"]
    return problems + gate.compare_exactly(answer, ref, lens)


def reference_of(case: cases.Case, family: str, cache: Path) -> gate.Reference:
    """The naive labels of a case, computed once and kept in the cache."""
    import sklearn

    folder = Path(cache) / "references"
    folder.mkdir(parents=True, exist_ok=True)
    key = f"{case.name}-{family}-{N_INTERVALS}-{OVERLAP}-{case.eps}-sklearn{sklearn.__version__}-v2"
    path = folder / f"{key}.npz"
    if not path.exists():
        print(f"  (checking needs the naive graph, {family} cover: scikit-learn, a while)")
        lens = case.lens_values()
        ends = gate.naive_cover(lens, family, N_INTERVALS, OVERLAP)
        ref = gate.reference(
            case.rows(),
            lens,
            ends,
            eps=case.eps,
            min_samples=MIN_SAMPLES,
            n_jobs=os.cpu_count() or 1,
        )
        part = path.with_suffix(".part.npz")
        ref.save(part)
        part.replace(path)
    return gate.Reference.load(path)
