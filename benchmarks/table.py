"""Results as Markdown, between two markers of the README; those of registers in the benchmarks'.

Ratios are quoted only within one run: for each case the newest run that has it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks import measure

START = "<!-- benchmarks:start -->"
END = "<!-- benchmarks:end -->"
NOT_MEASURED = (
    "Not measured yet: run `python -m benchmarks peers`, then `python -m benchmarks table`."
)
HOW_TO_READ = (
    "All peers cluster with scikit-learn's DBSCAN (`min_samples=5`), 70 intervals, 30% overlap, "
    "and are handed the L2 norms and float32 rows; ours computes the norms and takes the rows as "
    "stored. Every graph was compared with a naive one of its own kind of cover before its time "
    "was taken down. Node counts differ by definition: KeplerMapper, GUDHI and tda-mapper let the "
    "outermost intervals stick out of the range; giotto-tda makes a node of each interval's "
    "noise; GUDHI and zen-mapper make nodes of one-row intervals. Times are of runs that nobody "
    "watches: the measuring process sleeps. Memory is the highest resident size, by the kernel's "
    "mark for the run that was timed, less that of the warmed-up process holding the rows; a "
    "library that starts processes is run once more for it, its process tree sampled every 10 ms."
)


def run(options) -> int:
    """``python -m benchmarks table``: rewrite the README's tables from the results."""
    text = options.readme.read_text() if options.readme.exists() else ""
    options.readme.write_text(replace_between(text, render(options.results)))
    print(f"tables written between the markers of {options.readme.name}")
    if body := registers(read(options.results / "registers.jsonl")):
        own = options.own_readme
        own.write_text(replace_between(own.read_text(), body))
        print("table of registers written between those of the benchmarks' own")
    return 0


def replace_between(text: str, body: str) -> str:
    """Put ``body`` between the markers; at the end of the text where there are none."""
    block = f"{START}\n{body.strip()}\n{END}"
    if START not in text and END not in text:
        return f"{text.rstrip()}\n\n{block}\n" if text.strip() else f"{block}\n"
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the README must hold {START} and then {END}; one is missing or astray")
    return before + block + after


def render(results: Path) -> str:
    """All tables that the results allow, one after the other."""
    parts = [
        part
        for name, write in SECTIONS.items()
        if (part := write(newest_runs(read(results / f"{name}.jsonl"))))
    ]
    return "\n\n".join(parts) or NOT_MEASURED


def read(path: Path) -> list[dict]:
    """JSON lines of a file; none when there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def newest_runs(records: list[dict]) -> list[dict]:
    """For each case the samples of the newest run that has it."""
    newest: dict[str, str] = {}
    for record in records:
        case = _case(record)
        newest[case] = max(newest.get(case, ""), record["run"])
    return [record for record in records if record["run"] == newest[_case(record)]]


def _case(record: dict) -> str:
    return str(record.get("case", record.get("nodes", "")))


def _grouped(records: Iterable[dict], *keys: str) -> dict[tuple, list[dict]]:
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        groups.setdefault(tuple(record.get(key) for key in keys), []).append(record)
    return groups


def _median(records: list[dict], key: str) -> float:
    return measure.spread([record[key] for record in records])[0]


def _seconds(records: list[dict]) -> str:
    middle, low, high = measure.spread([record["wall_s"] for record in records])
    return f"{middle:.2f}" if len(records) == 1 else f"{middle:.2f} ({low:.2f}–{high:.2f})"


def _with_filter(title: str, group: list[dict]) -> str:
    """A title, and the filter that the engine says it used."""
    used = group[0].get("filter")
    return f"{title} ({used})" if used else title


def _markdown(title: str, head: list[str], rows: list[list[str]], notes: list[str]) -> str:
    lines = [f"**{title}**", "", "| " + " | ".join(head) + " |"]
    lines.append("| " + " | ".join("---" if i == 0 else "---:" for i in range(len(head))) + " |")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *notes])


def _where(records: list[dict]) -> str:
    """The machine, the commits and the versions of a group of samples."""
    last = records[-1]
    place = last["machine"]
    commits = sorted(
        {
            record["machine"]["commit"] + (" with changes" if record["machine"]["modified"] else "")
            for record in records
        }
    )
    samples = max(record.get("repeat", 0) for record in records) + 1
    libraries: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.get("versions", {}).items():
            libraries.setdefault(name, set()).add(version)
    versions = ", ".join(
        f"{name} {'/'.join(sorted(libraries[name]))}" for name in sorted(libraries)
    )
    memory = place["memory_bytes"] / 1e9
    text = (
        f"{place['cpu']}, {last['threads']} threads, {memory:.0f} GB, commit "
        f"{', '.join(commits)}; median of {samples}"
    )
    return f"{text}. {versions}." if versions else f"{text}."


def _peers(records: list[dict]) -> str:
    parts = [text for text in [_summary(records)] if text]
    for (case,), samples in _grouped(records, "case").items():
        parts.append(_peers_case(case, samples))
    return "\n\n".join([*parts, HOW_TO_READ]) if parts else ""


def _peers_case(case: str, samples: list[dict]) -> str:
    groups = _grouped(samples, "contestant")
    walls, memory = _medians(samples, "wall_s"), _medians(samples, "beyond_input_bytes")
    ours = walls.get("topoact")
    rows = []
    for (key,), group in sorted(groups.items(), key=lambda item: walls[item[0][0]]):
        rows.append([
            _with_filter(group[0]["title"], group),
            _seconds(group),
            f"{_median(group, 'cpu_s'):.2f}",
            f"{memory[key] / 1e6:,.0f}",
            f"{group[0]['nodes']:,}",
            f"{group[0]['edges']:,}",
            f"{walls[key] / ours:.1f}" if ours else "",
        ])  # fmt: skip
    shape = samples[0]["shape"]
    title = f"{case}: {shape[0]:,} × {shape[1]}, eps {samples[0]['eps']:g}"
    head = ["library", "wall, s", "CPU, s", "memory beyond the input, MB", "nodes", "edges",
            "× ours"]  # fmt: skip
    return _markdown(title, head, rows, [_where(samples)])


def _medians(samples: list[dict], key: str) -> dict[str, float]:
    groups = _grouped(samples, "contestant")
    return {name: _median(group, key) for (name,), group in groups.items()}


def _summary(records: list[dict]) -> str:
    """One line a case: ours beside the fastest and the leanest peer of the same run."""
    rows = []
    for (case,), samples in _grouped(records, "case").items():
        shape = samples[0]["shape"]
        title = f"{case}, {shape[0]:,} × {shape[1]}"
        for ours, which in (("topoact", ""), ("topoact-notorch", ", without torch")):
            rows += [[title + which, *cells] for cells in _beside_peers(samples, ours)]
    head = ["data", "ours, s", "fastest peer, s", "times faster", "ours beyond the input, MB",
            "leanest peer, MB", "times leaner"]  # fmt: skip
    return _markdown("Side by side: medians", head, rows, []).strip() if rows else ""


def _beside_peers(samples: list[dict], ours: str) -> list[list[str]]:
    """The cells of one contestant of ours and its best rivals; none where somebody is missing."""
    walls, memory = _medians(samples, "wall_s"), _medians(samples, "beyond_input_bytes")
    rivals = [name for name in walls if not name.startswith("topoact")]
    if ours not in walls or not rivals:
        return []
    titles = {record["contestant"]: record["title"] for record in samples}
    fastest = min(rivals, key=walls.__getitem__)
    leanest = min(rivals, key=memory.__getitem__)
    return [[
        f"{walls[ours]:.2f}",
        f"{titles[fastest]} {walls[fastest]:.2f}", f"{walls[fastest] / walls[ours]:.1f}",
        f"{memory[ours] / 1e6:,.0f}", f"{titles[leanest]} {memory[leanest] / 1e6:,.0f}",
        f"{memory[leanest] / max(memory[ours], 1):.1f}",
    ]]  # fmt: skip


def _floor(records: list[dict]) -> str:
    if not records:
        return ""
    rows = []
    for (case, asked, threads), group in _grouped(
        records, "case", "asked_filter", "threads"
    ).items():
        rows.append([
            f"{case}", _with_filter(asked, group), str(threads), _seconds(group),
            f"{_median(group, 'floor_s'):.2f}", f"{_median(group, 'sgemm_gflops'):.0f}",
            f"{_median(group, 'over_floor'):.2f}",
        ])  # fmt: skip
    head = ["case", "filter", "threads", "Mapper.fit, s", "floor, s", "sgemm, GFLOP/s",
            "time over floor"]  # fmt: skip
    return _markdown("Time over the sgemm floor", head, rows, [_where(records)])


def _scale(records: list[dict]) -> str:
    rows = []
    for (case,), group in _grouped(records, "case").items():
        shape = group[0]["shape"]
        rows.append([
            f"{case}: {shape[0]:,} × {shape[1]} {group[0]['dtype']}", _seconds(group),
            f"{_median(group, 'floor_s'):.1f}",
            f"{_median(group, 'beyond_input_bytes') / 1e6:,.0f}",
            f"{group[0]['nodes']:,}", f"{group[0]['edges']:,}", group[0]["filter"],
        ])  # fmt: skip
    head = ["case", "wall, s", "floor, s", "memory beyond the input, MB", "nodes", "edges",
            "filter"]  # fmt: skip
    return _markdown("One million rows", head, rows, [_where(records)]) if rows else ""


def _nerve(records: list[dict]) -> str:
    rows = [
        [f"{group[0]['memberships']:,}", f"{nodes:,}", f"{group[0]['edges']:,}", _seconds(group)]
        for (nodes,), group in _grouped(records, "nodes").items()
    ]
    head = ["memberships", "nodes", "edges", "wall, s"]
    return _markdown("Nerve", head, rows, [_where(records)]) if rows else ""


def _summarised(records: list[dict]) -> str:
    rows = []
    for _, group in _grouped(records, "case").items():
        one = group[0]
        what = one["kind"]
        if one["classes"]:
            what = f"{one['rows']:,} rows, {one['classes']:,} classes"
            what += f", {one['columns']:,} columns" if one["columns"] else ""
        rows.append([what, f"{one['nodes']:,}", f"{one['edges']:,}", _seconds(group)])
    head = ["summary", "nodes", "edges", "wall, s"]
    return _markdown("Summaries and features", head, rows, [_where(records)]) if rows else ""


def _drawn(records: list[dict]) -> str:
    rows = [
        [f"{nodes:,}", f"{group[0]['edges']:,}", _seconds(group), *(
            f"{statistics.median(r[key] for r in group):.{digits}f}"
            for key, digits in (("layout_s", 1), ("pan_ms", 0), ("pan_p95_ms", 0),
                                ("zoom_ms", 0), ("zoom_p95_ms", 0)))]
        for (nodes,), group in _grouped(records, "nodes").items()
    ]  # fmt: skip
    if not rows:
        return ""
    head = ["nodes", "edges", "first paint, s", "layout done, s", "frame while panning, ms", "p95",
            "while zooming, ms", "p95"]  # fmt: skip
    note = f"From the start of loading; drawn by {records[-1]['renderer']}."
    return _markdown("The explorer in a browser", head, rows, [note, _where(records)])


def _memory(records: list[dict]) -> str:
    rows = [
        [f"{shape[0]:,} × {shape[1]}, {kind} within eps",
         f"{max(r['beyond_input_bytes'] for r in group) / 1e6:,.0f}",
         f"{group[0]['limit_bytes'] / 1e6:,.0f}"]
        for (_, kind), group in _grouped(records, "case", "kind").items()
        for shape in [group[0]["shape"]]
    ]  # fmt: skip
    head = ["one interval of everything", "memory beyond the input, MB", "promised at most, MB"]
    return _markdown("Memory", head, rows, [_where(records)]) if rows else ""


def _capture(records: list[dict]) -> str:
    rows = [
        [f"{images:,} images, {group[0]['layers']} layers", _seconds(group),
         f"{statistics.median(r['plain_s'] for r in group):.2f}",
         f"{statistics.median(r['over_plain'] for r in group):.2f}",
         *(f"{max(r.get(key, 0) for r in group) / 1e6:,.0f}"
           for key in ("peak_bytes", "peak_bytes_4x"))]
        for (images,), group in _grouped(records, "images").items()
    ]  # fmt: skip
    head = [
        "EfficientNet-Lite0", "capture, s", "plain loop, s", "capture over loop", "peak, MB",
        "peak with 4 times the images, MB",
    ]  # fmt: skip
    return _markdown("Capture", head, rows, [_where(records)]) if rows else ""


WAYS = {
    "memory": "everything in memory",
    "process": "one process, two threads",
    "workers": "two workers of one thread",
}


def _budget(records: list[dict]) -> str:
    rows = []
    for (case,), group in _grouped(records, "case").items():
        ways = _grouped(group, "way")
        inside = _median(ways[("memory",)], "wall_s")
        for (way,), own in ways.items():
            limit = own[0]["limit_bytes"]
            beyond = max(record["beyond_idle_bytes"] for record in own)
            rows.append([
                f"{case}, {own[0]['n_intervals']} intervals, {WAYS.get(way, own[0]['budget'])}",
                _seconds(own), f"{_median(own, 'wall_s') / inside:.2f}", f"{beyond / 1e6:,.0f}",
                f"{limit / 1e6:,.0f}" if limit else "",
            ])  # fmt: skip
    head = ["larger than the budget", "wall, s", "times as long", "memory beyond idle, MB",
            "promised at most, MB"]  # fmt: skip
    return _markdown("A memory budget", head, rows, [_where(records)]) if rows else ""


def _workers(records: list[dict]) -> str:
    rows = []
    for (case,), group in _grouped(records, "case").items():
        ways = _grouped(group, "way")
        alone = _median(ways[("process",)], "wall_s")
        rows += [
            [f"{case}, {WAYS[way]}", _seconds(own), f"{_median(own, 'wall_s') / alone:.2f}"]
            for (way,), own in ways.items()
        ]
    head = ["a store, 70 intervals", "wall, s", "times as long"]
    return _markdown("A cluster of two processes", head, rows, [_where(records)]) if rows else ""


def _plan(records: list[dict]) -> str:
    rows = [
        [record["case"].replace("@", " within "), f"{record['planned']['seconds']['total']:.1f}",
         _seconds([record]), f"{record['ratio']:.2f}", f"{record['planning_s']:.1f}"]
        for record in records
    ]  # fmt: skip
    head = ["`topoact plan`", "planned, s", "took, s", "ratio", "planning took, s"]
    return _markdown("Plans", head, rows, [_where(records)]) if rows else ""


UNDECIDED_KINDS = {
    "plain": "as it is",
    "outliers": "one row in 100 above 1e6 in a column",
}


def _undecided(records: list[dict]) -> str:
    rows = []
    for (_, kind), group in _grouped(records, "case", "kind").items():
        shape = group[0]["shape"]
        pairs = sum(r["pairs_undecided"] for r in group) / sum(r["pairs_tested"] for r in group)
        rows.append([
            f"{shape[0]:,} × {shape[1]}, {UNDECIDED_KINDS.get(kind, kind)}", f"{pairs:.0%}",
            _seconds(group), f"{_median(group, 'times_slower'):.1f}",
            f"{max(r['beyond_input_bytes'] for r in group) / 1e6:,.0f}",
            f"{group[0]['limit_bytes'] / 1e6:,.0f}", group[0]["filter"],
        ])  # fmt: skip
    head = ["one interval of everything", "tested pairs undecided", "wall, s",
            "times slower (promised at most 20)", "memory beyond the input, MB",
            "promised at most, MB", "filter"]  # fmt: skip
    return _markdown("Pairs no filter decides", head, rows, [_where(records)]) if rows else ""


def _each(group: list[dict], key: str, unit: int = 1) -> str:
    return " / ".join(f"{record[key] / unit:,.0f}" for record in group)


def registers(records: list[dict]) -> str:
    """What the newest run's kernels compiled to; "a / b" for one chip and the next."""
    newest = max((record["run"] for record in records), default="")
    records = [record for record in records if record["run"] == newest]
    if not records:
        return ""
    rows = []
    for (module, name), group in _grouped(records, "module", "name").items():
        tensor = dict.fromkeys(" + ".join(record["tensor"]) for record in group)
        rows.append([
            f"{module.split('.')[-2]}: {name}", _each(group, "registers"),
            _each(group, "stack_bytes"), _each(group, "shared_bytes", 1024),
            str(group[0]["warps"]), " / ".join(tensor),
        ])  # fmt: skip
    chips = " / ".join(f"sm_{chip}" for (chip,) in _grouped(records, "target"))
    head = ["kernel", "registers", "stack, bytes", "shared memory, KB", "warps", "tensor cores"]
    place, triton = records[-1]["machine"], records[-1]["versions"]["triton"]
    changes = " with changes" if place["modified"] else ""
    note = f"Compiled, not run: triton {triton}, commit {place['commit']}{changes}."
    return _markdown(f"GPU kernels, {chips}", head, rows, [note])


SECTIONS = {
    "peers": _peers,
    "floor": _floor,
    "scale": _scale,
    "nerve": _nerve,
    "summary": _summarised,
    "drawing": _drawn,
    "memory": _memory,
    "undecided": _undecided,
    "capture": _capture,
    "budget": _budget,
    "workers": _workers,
    "plan": _plan,
}
