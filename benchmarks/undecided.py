"""Data that no filter can decide: a column with huge outliers, beside the same data without.

One row in a hundred has 1e6 to 2e6 in its first column. The mean of that column then lies about
1e4 from all other rows, so that what the filters round off is far above eps; each line says what
share of the pairs they left undecided. The promise for pairs that all have to be decided by the
definition is at most 20 times the time of the data as it was, and the memory promised everywhere;
one interval of everything.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks import cases, gate, measure, memory, peers

MOST_TIMES_SLOWER = 20.0
OUTLIER = 1e6
PLAIN, STRUCK = "plain", "outliers"


def struck_case(plain: cases.Case, cache: Path) -> cases.Case:
    """The plain case with outliers in its first column; eps stays. Made once."""
    folder = Path(cache) / "data"
    name = f"{plain.name}-{STRUCK}"
    path, lens = folder / f"{name}.npy", folder / f"{name}.lens.npy"
    if not lens.exists():
        rng = np.random.default_rng(1)
        rows = np.array(plain.rows())
        struck = rng.choice(len(rows), -(-len(rows) // 100), replace=False)
        rows[struck, 0] = OUTLIER * (1 + rng.random(len(struck)))
        cases.written_whole(path, lambda part: np.save(part, rows))
        cases.written_whole(lens, lambda part: np.save(part, cases.column_order_norm(rows)))
    return cases.Case(name, path, lens, plain.eps, plain.shape, plain.dtype)


def sklearn_labels(case: cases.Case, cache: Path) -> np.ndarray:
    """scikit-learn's labels of a float64 copy, kept in the cache."""
    import sklearn
    from sklearn.cluster import DBSCAN

    folder = Path(cache) / "references"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name}-labels-{case.eps}-sklearn{sklearn.__version__}.npy"
    if not path.exists():
        print(f"  (checking {case.name} needs scikit-learn's labels, a while)", flush=True)
        model = DBSCAN(eps=case.eps, min_samples=peers.MIN_SAMPLES, n_jobs=-1)
        labels = model.fit_predict(np.asarray(case.rows(), np.float64))
        cases.written_whole(path, lambda part: np.save(part, labels))
    return np.load(path)


def label_problems(answer: gate.Answer, labels: np.ndarray) -> list[str]:
    """What differs between the nodes of one interval and scikit-learn's labels, row by row."""
    found = np.full(len(labels), -1, np.int64)
    found[answer.rows] = np.repeat(np.arange(answer.n_nodes), np.diff(answer.indptr))
    problems = []
    if wrong := int((found != labels).sum()):
        problems.append(f"{wrong:,} of {len(labels):,} labels differ from scikit-learn's")
    if len(answer.rows) != int((labels >= 0).sum()):
        problems.append(f"{len(answer.rows):,} rows in nodes, {(labels >= 0).sum():,} expected")
    return problems


def run(options) -> int:
    """``python -m benchmarks undecided``: returns how often a promise or an answer was broken."""
    broken = 0
    name = measure.run_name()
    for size in options.sizes:
        plain = cases.open_case(f"synthetic-{size}", options.cache, options.data)
        print(f"\n{plain.name}: one interval, eps {plain.eps}")
        for repeat in range(options.repeats):
            # Both are timed in each round, so that a ratio is one of the same minute.
            records = [
                _record(plain, PLAIN, options),
                _record(struck_case(plain, options.cache), STRUCK, options),
            ]
            broken += _written(records, {"run": name, "repeat": repeat}, options)
    return broken


def _record(case: cases.Case, kind: str, options) -> dict:
    """Run ours on a case and check it; ``problems`` is empty when the labels are right."""
    out = Path(options.cache) / f"answer-{measure.run_name()}.npz"
    spec = peers.spec_of(case, peers.ENTRIES["topoact"], options.threads, out)
    spec |= {"n_intervals": 1, "overlap": 0.0}
    labels = sklearn_labels(case, options.cache)
    try:
        sample = measure.run_contestant(spec, timeout=options.timeout)
        answer = gate.Answer.load(out)
    finally:
        out.unlink(missing_ok=True)
    pairs = sample.said["report"]["clustering"]
    return {
        **peers.describe(sample, answer, case, spec),
        "case": case.name.removesuffix(f"-{STRUCK}"),
        "kind": kind,
        "pairs_tested": pairs["pairs_tested"],
        "pairs_undecided": pairs["pairs_undecided"],
        "limit_bytes": memory.limit_bytes(case.shape[0], peers.MIN_SAMPLES),
        "problems": label_problems(answer, labels),
    }


def _written(records: list[dict], more: dict, options) -> int:
    """Print and keep one round; returns how many of it broke a promise."""
    wrong = {record["kind"]: record.pop("problems") for record in records}
    for kind, problems in wrong.items():
        if problems:
            print(f"  {kind:8} WRONG, no time: {'; '.join(problems)}")
    # Without a right answer for the plain data there is nothing to compare with.
    if wrong[PLAIN]:
        return len(records)
    broken = sum(map(bool, wrong.values()))
    for record in records:
        if wrong[record["kind"]]:
            continue
        record |= more | {"times_slower": record["wall_s"] / records[0]["wall_s"]}
        measure.append_result(Path(options.results), "undecided", record)
        verdict = broken_promises(record)
        broken += bool(verdict)
        print(_line(record, verdict))
    sys.stdout.flush()
    return broken


def broken_promises(record: dict) -> list[str]:
    """Which of the two promises a checked record breaks."""
    broken = []
    if record["times_slower"] > MOST_TIMES_SLOWER:
        broken.append(f"ABOVE {MOST_TIMES_SLOWER:g} times")
    if record["beyond_input_bytes"] > record["limit_bytes"]:
        broken.append(f"ABOVE {record['limit_bytes'] / 1e6:,.0f} MB")
    return broken


def _line(record: dict, verdict: list[str]) -> str:
    share = record["pairs_undecided"] / max(record["pairs_tested"], 1)
    return (
        f"  {record['kind']:8} {record['wall_s']:8.2f} s {record['times_slower']:6.1f} times "
        f"{record['beyond_input_bytes'] / 1e6:6,.0f} MB beyond the input, "
        f"{share:.0%} of the pairs tested undecided, {record['nodes']:,} clusters, filter "
        f"{record['filter']}  {', '.join(verdict) or 'within the promises'}"
    )
