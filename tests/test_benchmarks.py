"""The benchmarks' own parts: data, the correctness gate, the measuring, the tables."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import (  # noqa: E402
    cases,
    environments,
    floor,
    gate,
    measure,
    memory,
    nerve,
    peers,
    table,
    undecided,
)
from benchmarks import summary as summary_benchmark  # noqa: E402

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
NEEDS = {
    "kepler": "kmapper",
    "gudhi": "gudhi",
    "zen": "zen_mapper",
    "giotto": "gtda",
    "tda": "tdamapper",
}


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> cases.Case:
    return cases.open_case("synthetic-1500x16", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=["inside", "centred"])
def solved(request, case):
    """(lens, rules, reference, right answer) of one family of covers."""
    lens = case.lens_values()
    rules = gate.Rules(request.param)
    ends = gate.naive_cover(lens, request.param, 10, 0.3)
    ref = gate.reference(case.rows(), lens, ends, eps=case.eps, min_samples=5)
    return lens, rules, ref, answer_of(gate.expected_nodes(ref, rules, lens))


STAND_INS = """
import subprocess, sys, time
from benchmarks import peers

def sleeps(rows, lens, spec):
    time.sleep(1.0 if peers.warm else 0.0)
    peers.warm = True
    return lambda: (None, {})

def forks(rows, lens, spec):
    code = "import time; held = bytearray(80_000_000); time.sleep(0.3)"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    return lambda: (None, {})

peers.warm = False
peers.CONTESTANTS |= {"sleeps": sleeps, "forks": forks}
"""


@pytest.fixture
def stand_in(tmp_path, case):
    """Runs a contestant that only these tests know."""
    (tmp_path / "sitecustomize.py").write_text(STAND_INS)
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(name: str, run=measure.run_once, **how) -> measure.Sample:
        spec = peers.spec_of(case, peers.Entry(name, name, gate.Rules()), 1, None)
        return run(spec, env=env, timeout=60, **how)

    return run


def answer_of(nodes: list) -> gate.Answer:
    answer = gate.Answer.of([rows for _, rows in nodes], [], [i for i, _ in nodes])
    return dataclasses.replace(answer, edges=gate.naive_nerve(answer.indptr, answer.rows))


class TestCases:
    def test_synthetic_rows_are_as_defined(self, case):
        rows = case.rows()
        assert rows.shape == (1500, 16)
        assert rows.dtype == np.float32
        assert rows.min() == 0
        rng = np.random.default_rng(0)
        scale = rng.lognormal(0.0, 0.35, 1000)
        centres = np.maximum(rng.standard_normal((1000, 16)), 0) * scale[:, None]
        label = rng.integers(0, 1000, 1500)
        noise = 0.25 * scale[label, None] * rng.standard_normal((1500, 16))
        np.testing.assert_array_equal(
            rows, np.maximum(centres[label] + noise, 0).astype(np.float32)
        )

    def test_eps_is_that_of_naive_distances(self, case):
        points = np.asarray(case.rows(), np.float64)
        distances = np.sqrt(((points[:, None] - points) ** 2).sum(2))
        fifth = np.sort(distances, axis=1)[:, 5]
        assert case.eps == pytest.approx(1.1 * np.median(fifth), abs=1e-6)

    def test_float16_rows_and_thousands_in_names(self, tmp_path):
        case = cases.open_case("synthetic-1kx4-float16", tmp_path)
        assert (case.shape, case.dtype) == ((1000, 4), "float16")

    def test_made_once(self, case):
        before = case.path.stat().st_mtime_ns
        again = cases.open_case(case.name, case.path.parent.parent)
        assert again == case
        assert again.path.stat().st_mtime_ns == before

    def test_norms_are_summed_in_column_order(self, case):
        for row, norm in zip(case.rows()[:20], case.lens_values()[:20], strict=True):
            total = np.float64(0)
            for value in row:
                total += np.float64(value) * np.float64(value)
            assert norm == np.sqrt(total)

    def test_real_sets_come_from_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.delenv("TOPOACT_BENCH_DATA", raising=False)
        with pytest.raises(cases.MissingDataError, match="--data DIR"):
            cases.open_case("lite0_block8", tmp_path)
        with pytest.raises(cases.MissingDataError, match=r"no lite0_block8\.npz"):
            cases.open_case("lite0_block8", tmp_path, tmp_path)
        rows = np.random.default_rng(0).random((30, 4)).astype(np.float16)
        np.savez(tmp_path / "lite0_block8.npz", activations=rows, y=np.zeros(30))
        monkeypatch.setenv("TOPOACT_BENCH_DATA", str(tmp_path))
        case = cases.open_case("lite0_block8", tmp_path)
        np.testing.assert_array_equal(case.rows(), rows)
        assert case.eps == 17.0

    def test_unknown_case(self, tmp_path):
        with pytest.raises(ValueError, match="known: minilm_layer4"):
            cases.open_case("mnist", tmp_path)


class TestGate:
    def test_covers_share_the_overlap(self):
        lens = np.linspace(2.0, 9.0, 50)
        for family in ("inside", "centred"):
            lower, upper = gate.naive_cover(lens, family, 7, 0.3)
            length = upper - lower
            np.testing.assert_allclose(length, length[0])
            np.testing.assert_allclose(upper[:-1] - lower[1:], 0.3 * length[0])
        assert gate.naive_cover(lens, "inside", 7, 0.3)[1][-1] == 9.0

    def test_passes_the_right_answer(self, solved):
        lens, rules, ref, right = solved
        assert right.n_nodes > 10
        assert len(right.edges) > 3
        assert gate.compare(right, ref, rules, lens) == []
        if rules.family == "inside":
            assert gate.compare_exactly(right, ref, lens) == []

    def test_order_of_nodes_matters_only_bit_for_bit(self, solved):
        lens, rules, ref, _ = solved
        shuffled = answer_of(gate.expected_nodes(ref, rules, lens)[::-1])
        assert gate.compare(shuffled, ref, rules, lens) == []
        assert gate.compare_exactly(shuffled, ref, lens)

    @pytest.mark.parametrize("fault", ["lost node", "lost row", "moved row", "doubled", "edge"])
    def test_fails_on_a_wrong_answer(self, solved, fault):
        lens, rules, ref, right = solved
        nodes = gate.expected_nodes(ref, rules, lens)
        big = max(range(len(nodes)), key=lambda i: len(nodes[i][1]))
        if fault == "lost node":
            nodes.pop(big)
        elif fault == "lost row":
            nodes[big] = (nodes[big][0], nodes[big][1][1:])
        elif fault == "moved row":
            other = (big + 1) % len(nodes)
            nodes[other] = (nodes[other][0], np.append(nodes[other][1], nodes[big][1][0]))
        elif fault == "doubled":
            nodes.insert(big, nodes[big])
        wrong = answer_of(nodes)
        if fault == "edge":
            wrong = dataclasses.replace(right, edges=right.edges[1:])
        assert gate.compare(wrong, ref, rules, lens)
        assert gate.compare_exactly(wrong, ref, lens)

    def test_wrong_counts_and_intervals_fail_bit_for_bit(self, solved):
        lens, rules, ref, right = solved
        if rules.family != "inside":
            pytest.skip("intervals of ours lie inside the range")
        edges = right.edges.copy()
        edges[0, 2] += 1
        assert gate.compare_exactly(dataclasses.replace(right, edges=edges), ref, lens)
        moved = right.node_interval + 1
        assert gate.compare_exactly(dataclasses.replace(right, node_interval=moved), ref, lens)

    def test_noise_nodes_lone_rows_and_empty_cells(self):
        lens = np.array([0.0, 0.1, 0.2, 5.0, 9.9, 10.0])
        rows = lens[:, None]
        ends = gate.naive_cover(lens, "inside", 5, 0.2)
        ref = gate.reference(rows, lens, ends, eps=0.15, min_samples=2)

        def count(**rules) -> int:
            return len(gate.expected_nodes(ref, gate.Rules(**rules), lens))

        assert count() == 2
        assert count(lone_rows=True) == 3
        assert count(noise_nodes=True) == 3
        assert count(core_cells_only=True) == 2

    def test_a_row_on_an_inner_end_excuses_only_its_intervals(self, case):
        lens = case.lens_values().copy()
        lower, _ = gate.naive_cover(lens, "inside", 10, 0.3)
        assert not gate.touched_intervals(
            gate.reference(case.rows(), lens, (lower, lower + 1e-3), eps=1, min_samples=5), lens
        )[4]
        lens[7] = lower[4]
        ends = gate.naive_cover(lens, "inside", 10, 0.3)
        ref = gate.reference(case.rows(), lens, ends, eps=case.eps, min_samples=5)
        assert np.flatnonzero(gate.touched_intervals(ref, lens)).tolist() == [4]
        nodes = gate.expected_nodes(ref, gate.Rules(), lens)
        at = [k for k, (i, _) in enumerate(nodes) if i == 4]
        far = [k for k, (i, _) in enumerate(nodes) if i < 3]
        excused = answer_of([n for k, n in enumerate(nodes) if k != at[0]])
        assert gate.compare(excused, ref, gate.Rules(), lens) == []
        wrong = answer_of([n for k, n in enumerate(nodes) if k != far[0]])
        assert gate.compare(wrong, ref, gate.Rules(), lens)

    def test_border_rows_may_move_only_where_the_rules_say_so(self):
        # Two clusters, and one row in reach of a core row of each.
        lens = np.array([0.0, 0.1, 0.2, 1.0, 1.8, 1.9, 2.0])
        points = np.array([0.0, 0.1, 0.2, 1.1, 2.0, 2.1, 2.2])[:, None]
        ends = gate.naive_cover(lens, "inside", 1, 0.0)
        ref = gate.reference(points, lens, ends, eps=0.95, min_samples=4)
        assert ref.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
        assert np.flatnonzero(ref.core).tolist() == [2, 4]
        lenient = gate.Rules(any_border=True)
        moved = answer_of([(0, np.array([0, 1, 2])), (0, np.array([3, 4, 5, 6]))])
        assert gate.compare(moved, ref, lenient, lens) == []
        assert gate.compare(moved, ref, gate.Rules(), lens)
        for wrong in (
            [(0, np.array([0, 1, 2])), (0, np.array([4, 5, 6]))],
            [(0, np.array([0, 1, 3])), (0, np.array([2, 4, 5, 6]))],
            [(0, np.array([0, 1, 2, 4])), (0, np.array([3, 5, 6]))],
            [(0, np.array([0, 1, 2, 3])), (0, np.array([3, 4, 5, 6]))],
            [(0, np.arange(7))],
        ):
            assert gate.compare(answer_of(wrong), ref, lenient, lens)

    def test_sampled_intervals(self, solved):
        lens, rules, ref, right = solved
        if rules.family != "inside":
            pytest.skip("used for ours only")
        busy = [int(i) for i in np.unique(right.node_interval)[:2]]
        assert gate.compare_intervals(right, ref, busy, lens) == []
        for wrong in (
            dataclasses.replace(right, edges=right.edges[:-1]),
            dataclasses.replace(right, node_interval=right.node_interval[::-1].copy()),
            answer_of(gate.expected_nodes(ref, rules, lens)[1:]),
            answer_of(gate.expected_nodes(ref, rules, lens)[:1] * 2),
        ):
            assert gate.compare_intervals(wrong, ref, busy, lens)

    @pytest.mark.parametrize("eps", [0.05, 0.12, 0.2, 5.0])
    def test_without_neighbour_lists_as_with_them(self, eps):
        from sklearn.cluster import DBSCAN

        points = np.random.default_rng(3).random((400, 2))
        labels, core = gate.blockwise_dbscan(points, eps, 5, block=37)
        right = DBSCAN(eps=eps, min_samples=5).fit(points)
        np.testing.assert_array_equal(labels, right.labels_)
        np.testing.assert_array_equal(np.flatnonzero(core), right.core_sample_indices_)

    def test_empty_nodes_are_dropped_and_edges_renumbered(self):
        answer = gate.Answer.of([[], [3, 1], [], [1]], [(3, 1)])
        assert answer.indptr.tolist() == [0, 2, 3]
        assert answer.rows.tolist() == [1, 3, 1]
        assert answer.edges.tolist() == [[0, 1]]

    def test_files_keep_everything(self, solved, tmp_path):
        _, _, ref, right = solved
        for value in (ref, right):
            value.save(tmp_path / "kept.npz")
            again = type(value).load(tmp_path / "kept.npz")
            assert all(map(np.array_equal, vars(again).values(), vars(value).values()))


@linux_only
class TestMeasure:
    def test_peak_of_a_known_allocation(self, case, tmp_path):
        spec = peers.spec_of(case, peers.Entry("sgemm", "sgemm", gate.Rules()), 1, None)
        sample = measure.run_contestant(spec, timeout=60)
        held = 4096 * 4096 * 4
        assert sample.said["flops_per_second"] > 1e7
        # The kernel counts resident pages in batches, a few dozen for each processor.
        assert 0.99 * held <= sample.beyond_input_bytes < 3 * held
        assert 0 < sample.cpu_s < 5 * sample.wall_s + 1

    def test_nobody_wakes_up_while_time_is_taken(self, stand_in):
        """The watched run shows that waking up would be seen: 100 times a second."""

        def naps(**how) -> int:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            assert stand_in("sleeps", **how).wall_s >= 1
            return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before

        resource = pytest.importorskip("resource")
        quiet, watched = naps(), naps(watch=True)
        assert quiet < 40
        assert watched > quiet + 40

    def test_memory_of_one_process_is_the_kernels_word(self, stand_in, monkeypatch):
        sample = stand_in("sgemm")
        if not sample.memory_from:
            pytest.skip("this kernel does not reset the mark")
        assert sample.memory_from == "high-water mark"
        runs = [sample]
        monkeypatch.setattr(measure, "run_once", lambda *_, **__: runs.pop())
        assert measure.run_contestant({}) is sample

    def test_memory_of_children_is_watched_in_a_run_of_its_own(self, stand_in):
        assert stand_in("forks").memory_from == ""
        sample = stand_in("forks", measure.run_contestant)
        assert sample.memory_from == "watched run"
        assert sample.beyond_input_bytes >= 80_000_000

    def test_memory_is_watched_where_the_mark_stays(self, stand_in, monkeypatch):
        hear = measure._hear
        monkeypatch.setattr(
            measure, "_hear", lambda child: {**hear(child), "high_water_reset": False}
        )
        assert stand_in("sgemm").memory_from == ""
        sample = stand_in("sgemm", measure.run_contestant)
        assert sample.memory_from == "watched run"
        assert sample.beyond_input_bytes > 0

    def test_the_watched_run_leaves_the_answer_of_the_timed_one(self, monkeypatch):
        seen = []

        def run_once(spec, *, watch=False):
            seen.append((spec["out"], watch))
            word = "watched run" if watch else ""
            return measure.Sample(2.0 if watch else 1.0, 0.5, 10, 30 if watch else 10, word)

        monkeypatch.setattr(measure, "run_once", run_once)
        sample = measure.run_contestant({"out": "answer"})
        assert seen == [("answer", False), (None, True)]
        assert (sample.wall_s, sample.beyond_input_bytes) == (1.0, 20)

    def test_a_contestant_that_dies_says_why(self, case):
        spec = peers.spec_of(case, peers.Entry("nobody", "nobody", gate.Rules()), 1, None)
        with pytest.raises(measure.ContestantError, match="KeyError: 'nobody'"):
            measure.run_contestant(spec, timeout=60)

    def test_one_thread_count_for_every_library(self):
        env = measure.thread_environment(2, {"TOPOACT_FILTER": "float32"})
        assert {env[name] for name in measure.THREAD_VARIABLES} == {"2"}
        assert env["TOPOACT_FILTER"] == "float32"

    def test_machine_and_results(self, tmp_path):
        place = measure.machine()
        assert place["cpus"] >= 1
        assert place["memory_bytes"] > 1e8
        measure.append_result(tmp_path / "new", "peers", {"wall_s": 1.0})
        measure.append_result(tmp_path / "new", "peers", {"wall_s": 2.0})
        lines = (tmp_path / "new" / "peers.jsonl").read_text().splitlines()
        assert [json.loads(line)["wall_s"] for line in lines] == [1.0, 2.0]

    def test_spread(self):
        assert measure.spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


class TestPeers:
    @pytest.mark.parametrize("key", ["gudhi", "kepler", "zen", "tda", "giotto"])
    def test_passes_its_gate(self, key, case):
        """Here only for peers that this environment has; the run makes their own."""
        pytest.importorskip(NEEDS[key], reason=f"{NEEDS[key]} is not installed here")
        entry = peers.ENTRIES[key]
        lens = case.lens_values()
        spec = peers.spec_of(case, entry, 1, None)
        answer, _ = peers.CONTESTANTS[entry.function](np.array(case.rows()), lens, spec)()
        ends = gate.naive_cover(lens, entry.rules.family, peers.N_INTERVALS, peers.OVERLAP)
        ref = gate.reference(case.rows(), lens, ends, eps=case.eps, min_samples=peers.MIN_SAMPLES)
        assert gate.compare(answer, ref, entry.rules, lens) == []

    @linux_only
    def test_no_time_for_a_wrong_answer(self, case, tmp_path, monkeypatch, capsys):
        def wrong(*_args, **_kwargs):
            return {"problems": ["two nodes too many"], "wall_s": 1.23}

        monkeypatch.setattr(peers, "one_sample", wrong)
        monkeypatch.setattr(
            environments, "pythons", lambda *_: {"kepler": environments.Python(sys.executable)}
        )
        options = SimpleNamespace(
            cache=case.path.parent.parent, data=None, results=tmp_path, repeats=2, threads=1,
            cases=[case.name], contestants=["kepler", "zen"], timeout=60, prepare=False,
        )  # fmt: skip
        assert peers.run(options) == 1
        said = capsys.readouterr().out
        assert "WRONG, no time: two nodes too many" in said
        assert "not installed" in said
        assert "1.23" not in said
        assert not (tmp_path / "peers.jsonl").exists()

    def test_preparing_leaves_the_naive_graph_and_no_result(self, case, tmp_path, monkeypatch):
        monkeypatch.setattr(environments, "pythons", lambda *_: {})
        options = SimpleNamespace(
            cache=case.path.parent.parent, data=None, results=tmp_path, prepare=True,
            cases=[case.name], contestants=["kepler"],
        )  # fmt: skip
        assert peers.run(options) == 0
        assert list((options.cache / "references").glob(f"{case.name}-centred-*"))
        assert not (tmp_path / "peers.jsonl").exists()

    def test_absent_real_sets_are_skipped_in_words(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delenv("TOPOACT_BENCH_DATA", raising=False)
        monkeypatch.setattr(environments, "pythons", lambda *_: {})
        options = SimpleNamespace(
            cache=tmp_path, data=None, cases=["minilm_layer4"], contestants=["kepler"]
        )
        assert peers.run(options) == 0
        assert "skipped: minilm_layer4" in capsys.readouterr().out

    def test_environments_that_will_not_install(self, tmp_path, monkeypatch, capsys):
        failed = SimpleNamespace(returncode=1, stderr="noise\nno matching distribution", stdout="")
        monkeypatch.setattr(environments.subprocess, "run", lambda *_, **__: failed)
        found = environments.pythons(tmp_path, {"giotto", "topoact"})
        assert found["giotto"] == environments.Python("", "no matching distribution")
        assert found["topoact"].path == sys.executable

    def test_ours_without_torch_is_installed_and_runs_outside(self, tmp_path, monkeypatch):
        ran = []

        def run(command, **_):
            ran.append([str(word) for word in command])
            (tmp_path / "environments").mkdir(exist_ok=True)
            if "venv" in command:
                Path(command[-1]).mkdir()
            else:
                assert (Path(command[-1]) / "kernels" / "table.py").is_file()
            return SimpleNamespace(returncode=0, stderr="", stdout="")

        monkeypatch.setattr(environments.subprocess, "run", run)
        found = environments.pythons(tmp_path, {environments.NO_TORCH})[environments.NO_TORCH]
        assert [word for word in ran[1] if word in ("-e", "--editable")] == []
        assert str(ROOT) not in ran[1]
        assert (found.folder / "benchmarks" / "contestant.py").is_file()
        assert not (found.folder / "topoact_gpu").exists()
        assert environments.pythons(tmp_path, {environments.NO_TORCH}) == {
            environments.NO_TORCH: found
        }
        assert len(ran) == 2

    def test_what_is_installed_follows_the_sources(self, tmp_path):
        (tmp_path / "kernels" / "__pycache__").mkdir(parents=True)
        (tmp_path / "topoact_gpu").mkdir()
        (tmp_path / "topoact_gpu" / "kernels").symlink_to("../kernels")
        (tmp_path / "kernels" / "simd.py").write_text("a = 1\n")
        for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            (tmp_path / name).write_text("")
        before = environments.sources_digest(tmp_path)
        (tmp_path / "kernels" / "__pycache__" / "simd.nbi").write_text("compiled")
        (tmp_path / "notes.md").write_text("of no account")
        assert environments.sources_digest(tmp_path) == before
        environments._copy_sources(tmp_path, tmp_path / "copy")
        copied = sorted(p.name for p in (tmp_path / "copy").rglob("*") if p.is_file())
        assert copied == ["LICENSE", "README.md", "pyproject.toml", "setup.py", "simd.py"]
        (tmp_path / "kernels" / "simd.py").write_text("a = 2\n")
        assert environments.sources_digest(tmp_path) != before

    def test_without_torch_means_without(self):
        entry = peers.ENTRIES["topoact-notorch"]
        right = {"installed": True, "versions": {"numpy": "2.0"}}
        assert peers.environment_problems(entry, right) == []
        assert peers.environment_problems(entry, right | {"installed": False})
        assert peers.environment_problems(entry, right | {"versions": {"torch": "2.13.0"}})
        assert peers.environment_problems(entry, {})
        assert peers.environment_problems(peers.ENTRIES["topoact"], {}) == []

    def test_filter_in_the_report(self):
        assert peers.filter_used({"clustering": {"filter": "int8"}}) == "int8"
        assert peers.filter_used({"implementation": {"filter": "float32"}}) == "float32"
        assert peers.filter_used({}) == ""

    def test_a_forced_filter_must_have_run(self):
        entry = peers.ENTRIES["topoact-int8"]
        assert peers.filter_problems(entry, {"clustering": {"filter": "int8-torch"}}) == []
        assert peers.filter_problems(entry, {"clustering": {"filter": "float32"}})
        assert peers.filter_problems(entry, {})
        assert peers.filter_problems(peers.ENTRIES["topoact"], {}) == []


class TestFloorNerveMemory:
    def test_operations_of_the_upper_triangle(self):
        lens = np.linspace(0, 1, 101)
        lower, upper = gate.naive_cover(lens, "inside", peers.N_INTERVALS, peers.OVERLAP)
        sizes = [((lens >= a) & (lens <= b)).sum() for a, b in zip(lower, upper, strict=True)]
        assert floor.floor_operations(lens, 7) == sum(n * n / 2 * 2 * 7 for n in sizes)

    def test_memberships_are_a_chain(self):
        indptr, rows, n_rows = nerve.memberships(5000, 140)
        assert len(rows) == indptr[-1] == pytest.approx(5000, rel=0.05)
        assert rows.max() < n_rows
        for a, b in pairwise(indptr):
            assert np.all(np.diff(rows[a:b]) > 0)

    def test_promise(self):
        assert memory.limit_bytes(1_000_000, 5) == 404_000_000


class TestSummary:
    def test_the_gate_passes_what_is_right(self):
        graph, known = summary_benchmark.made(2000, 20, 140)
        known["activations"] = np.random.default_rng(0).random((graph.n_rows, 3)).astype("f2")
        assert summary_benchmark.problems(graph, known, graph.summarise(**known)) == []

    @pytest.mark.parametrize(
        ("change", "wrong"),
        [
            ({"classes": 1}, ["histograms of nodes", "largest shares", "misclassified shares"]),
            ({"predictions": 1}, ["misclassified shares"]),
            ({"activations": 1}, ["mean rows"]),
        ],
    )
    def test_the_gate_can_fail(self, change, wrong):
        graph, known = summary_benchmark.made(2000, 20, 140)
        known["activations"] = np.random.default_rng(0).random((graph.n_rows, 3)).astype("f2")
        other = known | {name: np.roll(known[name], 7, axis=0) for name in change}
        said = summary_benchmark.problems(graph, known, graph.summarise(**other))
        assert set(wrong) <= set(said)

    def test_a_graph_of_neighbours(self):
        graph = summary_benchmark.neighbours_graph(200, 0.1)
        assert graph.n_nodes == 200
        assert (graph.edges[:, 2] == 1).all()


class TestUndecided:
    def record(self, kind: str, wall: float, **more) -> dict:
        return {
            "case": "c", "kind": kind, "wall_s": wall, "beyond_input_bytes": 5, "limit_bytes": 10,
            "pairs_tested": 8, "pairs_undecided": 6, "nodes": 3, "filter": "float32",
            "problems": [],
        } | more  # fmt: skip

    @pytest.fixture
    def struck(self, case):
        return undecided.struck_case(case, case.path.parent.parent)

    def test_only_one_row_in_a_hundred_of_one_column_differs(self, case, struck):
        changed = np.argwhere(case.rows() != struck.rows())
        assert (len(changed), set(changed[:, 1])) == (15, {0})
        assert struck.rows()[changed[:, 0], 0].min() >= 1e6
        assert struck.eps == case.eps
        np.testing.assert_array_equal(struck.lens_values(), cases.column_order_norm(struck.rows()))

    def test_most_pairs_are_undecided(self, case, struck):
        for each, low, high in ((case, 0.0, 0.1), (struck, 0.5, 1.0)):
            spec = peers.spec_of(each, peers.ENTRIES["topoact"], 1, None)
            spec |= {"n_intervals": 1, "overlap": 0.0}
            answer, said = peers.topoact(np.array(each.rows()), each.lens_values(), spec)()
            pairs = said["report"]["clustering"]
            assert low <= pairs["pairs_undecided"] / pairs["pairs_tested"] <= high
            labels = undecided.sklearn_labels(each, case.path.parent.parent)
            assert undecided.label_problems(answer, labels) == []

    def test_a_wrong_label_is_seen(self):
        labels = np.array([0, 0, -1, 1, 1])
        right = gate.Answer.of([[0, 1], [3, 4]], [])
        assert undecided.label_problems(right, labels) == []
        for nodes in ([[3, 4], [0, 1]], [[0, 1]], [[0, 1, 2], [3, 4]], [[0, 1, 3], [3, 4]], []):
            assert undecided.label_problems(gate.Answer.of(nodes, []), labels)

    def test_both_promises(self):
        kept = {"times_slower": 20.0, "beyond_input_bytes": 10, "limit_bytes": 10}
        assert undecided.broken_promises(kept) == []
        assert undecided.broken_promises(kept | {"times_slower": 20.1}) == ["ABOVE 20 times"]
        assert len(undecided.broken_promises(kept | {"beyond_input_bytes": 11})) == 1

    def test_a_round_is_written_with_its_ratio(self, tmp_path, capsys):
        options = SimpleNamespace(results=tmp_path)
        records = [self.record("plain", 2.0), self.record("outliers", 42.0)]
        assert undecided._written(records, {"run": "1", "repeat": 0}, options) == 1
        lines = (tmp_path / "undecided.jsonl").read_text().splitlines()
        assert [json.loads(line)["times_slower"] for line in lines] == [1.0, 21.0]
        assert "75% of the pairs tested undecided" in capsys.readouterr().out

    @pytest.mark.parametrize(("wrong", "broken", "kept"), [("plain", 2, 0), ("outliers", 1, 1)])
    def test_no_time_for_a_wrong_answer(self, tmp_path, capsys, wrong, broken, kept):
        records = [
            self.record(kind, 1.23, problems=["two labels differ"] if kind == wrong else [])
            for kind in ("plain", "outliers")
        ]
        options = SimpleNamespace(results=tmp_path)
        assert undecided._written(records, {"run": "1", "repeat": 0}, options) == broken
        said = capsys.readouterr().out
        assert f"{wrong:8} WRONG, no time: two labels differ" in said
        assert said.count("1.23 s") == kept
        assert len(table.read(tmp_path / "undecided.jsonl")) == kept


class TestTable:
    PLACE = {"cpu": "A CPU", "memory_bytes": 8e9, "commit": "abc", "modified": False}  # noqa: RUF012

    def record(self, run: str, contestant: str, wall: float, repeat: int = 0) -> dict:
        return {
            "run": run, "contestant": contestant, "title": contestant, "repeat": repeat,
            "case": "c", "shape": [1000, 8], "eps": 1.5, "wall_s": wall, "cpu_s": wall,
            "beyond_input_bytes": wall * 1e6, "nodes": 10, "edges": 9, "filter": "",
            "threads": 2, "versions": {"numpy": "2.0"}, "machine": self.PLACE,
        }  # fmt: skip

    def test_ratios_of_the_newest_run_only(self, tmp_path):
        records = [
            self.record("1", "gudhi", 100.0),
            self.record("2", "topoact", 1.0),
            self.record("2", "topoact", 3.0, 1),
            self.record("2", "gudhi", 30.0),
            self.record("2", "kepler", 40.0),
        ]
        for record in records:
            measure.append_result(tmp_path, "peers", record)
        text = table.render(tmp_path)
        assert "| topoact | 2.00 (1.00–3.00) | 2.00 | 2 | 10 | 9 | 1.0 |" in text
        assert "| gudhi | 30.00 | 30.00 | 30 | 10 | 9 | 15.0 |" in text
        assert "| c, 1,000 × 8 | 2.00 | gudhi 30.00 | 15.0 | 2 | gudhi 30 | 15.0 |" in text
        assert "100.00" not in text
        assert "A CPU, 2 threads, 8 GB, commit abc; median of 2. numpy 2.0." in text

    def test_ours_without_torch_has_a_line_of_its_own(self, tmp_path):
        for name, wall in (("topoact", 1.0), ("topoact-notorch", 4.0), ("gudhi", 12.0)):
            measure.append_result(tmp_path, "peers", self.record("1", name, wall))
        text = table.render(tmp_path)
        assert "| c, 1,000 × 8 | 1.00 | gudhi 12.00 | 12.0 | 1 | gudhi 12 | 12.0 |" in text
        assert (
            "| c, 1,000 × 8, without torch | 4.00 | gudhi 12.00 | 3.0 | 4 | gudhi 12 | 3.0 |"
            in text
        )

    def test_only_what_is_between_the_markers_changes(self, tmp_path):
        readme = tmp_path / "README.md"
        readme.write_text("# Title\n\nText.\n")
        options = SimpleNamespace(results=tmp_path, readme=readme)
        table.run(options)
        once = readme.read_text()
        assert once.startswith("# Title\n\nText.\n")
        assert table.NOT_MEASURED in once
        readme.write_text(once + "\n## After\n")
        measure.append_result(tmp_path, "peers", self.record("1", "topoact", 1.0))
        table.run(options)
        text = readme.read_text()
        assert text.startswith("# Title\n\nText.\n")
        assert text.endswith("\n## After\n")
        assert text.count(table.START) == text.count(table.END) == 1
        assert table.NOT_MEASURED not in text

    def test_half_a_pair_of_markers(self):
        with pytest.raises(ValueError, match="must hold"):
            table.replace_between(f"text {table.START} text", "body")

    def test_every_section_renders(self, tmp_path):
        numbers = (
            "floor_s", "sgemm_gflops", "over_floor", "memberships", "limit_bytes",
            "times_slower", "pairs_tested", "pairs_undecided", "images", "layers", "plain_s",
            "over_plain", "n_intervals", "beyond_idle_bytes", "ratio", "planning_s",
            "rows", "classes", "columns", "layout_s", "pan_ms", "pan_p95_ms", "zoom_ms",
            "zoom_p95_ms",
        )  # fmt: skip
        own = {"budget": {"way": "memory", "budget": None}, "workers": {"way": "process"}}
        own["plan"] = {"planned": {"seconds": {"total": 2.0}}}
        more = dict.fromkeys(numbers, 2) | dict.fromkeys(
            ("asked_filter", "dtype", "kind", "renderer"), "a"
        )
        for name in table.SECTIONS:
            record = self.record("1", "topoact", 1.0) | more | own.get(name, {})
            measure.append_result(tmp_path, name, record)
        text = table.render(tmp_path)
        titles = ("Time over the sgemm floor", "One million rows", "Nerve", "Memory")
        titles += ("A memory budget", "A cluster of two processes", "Plans")
        titles += ("Summaries and features", "The explorer in a browser")
        for title in (*titles, "Pairs no filter decides", "Capture"):
            assert f"**{title}**" in text
