"""Summaries: every figure against its definition, whatever the threads, blocks and ties."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from topoact_gpu import groups as group_stage
from topoact_gpu.cover import UniformCover
from topoact_gpu.device import Team
from topoact_gpu.errors import DataError, ParameterError
from topoact_gpu.graph import MapperGraph
from topoact_gpu.groups import Groups, class_table, column_means, nearest_rows
from topoact_gpu.kernels.summary import reference
from topoact_gpu.lift import corrected, upper_tail
from topoact_gpu.nodes import nodes_from_labels
from topoact_gpu.rows import as_rows
from topoact_gpu.selection import misclassified
from topoact_gpu.summary import (
    Context,
    contexts,
    exemplars_of,
    mean_of,
    summarise,
    summarise_rows,
    texts_by_input,
    token_table,
    typical_per_class,
)


def random_graph(seed=0, n_rows=300, n_columns=1, **options):
    """A graph of random clusters, some rows being noise."""
    rng = np.random.default_rng(seed)
    lens_values = rng.normal(size=(n_rows, n_columns))
    elements = UniformCover(5, 0.6).fit(lens_values)
    cluster = rng.integers(-1, 3, n_rows)
    labels = [cluster[elements.element_rows(e)] for e in range(elements.n_elements)]
    nodes = nodes_from_labels(labels, elements)
    n_offered = elements.rows.size
    return MapperGraph.build(*nodes, lens_values, n_offered, elements=elements, **options)


def graph_of(nodes, n_rows, edges_from=1):
    """A graph of nodes given as lists of rows, each in an interval of its own."""
    indptr = np.cumsum([0, *(len(node) for node in nodes)])
    rows = np.array([row for node in nodes for row in node], dtype=np.int64)
    lens = np.arange(float(n_rows))
    return MapperGraph.build(
        indptr, rows, np.arange(len(nodes)), lens, rows.size, min_intersection=edges_from
    )


def contents(summary):
    """Everything a summary holds, arrays as dtype, shape and bytes."""
    return {
        f.name: (v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v
        for f in dataclasses.fields(summary)
        for v in [getattr(summary, f.name)]
    }


def known(n_rows, n_classes, seed=0):
    """Classes, predictions, confidence, inputs, words and activations of some rows."""
    rng = np.random.default_rng(seed)
    return {
        "classes": rng.integers(-1, n_classes, n_rows),
        "predictions": rng.integers(-1, n_classes + 2, n_rows),
        "confidence": np.where(rng.random(n_rows) < 0.2, np.nan, rng.random(n_rows)),
        "inputs": rng.integers(0, max(n_rows // 4, 1), n_rows),
        "words": rng.integers(-1, 7, n_rows),
        "activations": rng.integers(-3, 4, (n_rows, 3)).astype(np.float16),
        "lens_values": rng.normal(size=n_rows),
    }


def some_groups():
    row_lists = st.lists(st.sets(st.integers(0, 24)), max_size=7)
    return row_lists.map(
        lambda lists: Groups(
            np.cumsum([0, *map(len, lists)]).astype(np.int64),
            np.array([r for each in lists for r in sorted(each)], dtype=np.int64),
        )
    )


# --- kernels against the definitions -----------------------------------------------------------


def check_counts(table, found_groups, classes):
    expected = reference.class_counts(found_groups.indptr, found_groups.rows, classes)
    pairs = [
        list(zip(table.ids[a:b].tolist(), table.counts[a:b].tolist(), strict=True))
        for a, b in itertools.pairwise(table.indptr.tolist())
    ]
    assert pairs == expected


@given(some_groups(), st.lists(st.integers(-2, 4), min_size=25, max_size=25), st.integers(1, 3))
def test_class_counts(found_groups, classes, threads):
    classes = np.maximum(np.array(classes), -1)
    base = np.bincount(classes[classes >= 0], minlength=5)
    with Team(threads) as team:
        table = class_table(found_groups, classes, base, team)
    check_counts(table, found_groups, classes)
    for group, (a, b) in enumerate(itertools.pairwise(table.indptr.tolist())):
        share = table.counts[a:b] / max(table.counts[a:b].sum(), 1)
        assert np.array_equal(table.share[a:b], share)
        if a == b:
            assert math.isnan(table.purity[group])
            assert math.isnan(table.entropy[group])
        else:
            assert table.purity[group] == share.max()
            assert table.entropy[group] == pytest.approx(-(share * np.log2(share)).sum())


def test_the_comparison_of_counts_can_fail():
    found_groups, classes = Groups(np.array([0, 2]), np.array([0, 1])), np.array([0, 1])
    table = class_table(found_groups, classes, np.array([1, 1]), Team(1))
    with pytest.raises(AssertionError):
        check_counts(table, found_groups, np.array([1, 1]))


@given(some_groups(), st.integers(0, 99))
def test_column_means(found_groups, seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(25) < 0.3, np.nan, rng.normal(size=25))
    expected = reference.column_means(found_groups.indptr, found_groups.rows, values)
    np.testing.assert_allclose(column_means(found_groups, values, Team(1)), expected, rtol=1e-13)


@given(
    some_groups(), st.integers(1, 5), st.lists(st.integers(0, 6), min_size=25, max_size=25),
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_nearest_rows(found_groups, n, inputs, apart, seed):
    inputs = np.array(inputs)
    # few values: ties are common
    distances = np.random.default_rng(seed).integers(0, 4, found_groups.rows.size).astype(float)
    own = np.arange(25) if apart else inputs
    rows, found = nearest_rows(
        found_groups, distances, n, Team(1), inputs=None if apart else inputs
    )
    for group, (a, b) in enumerate(itertools.pairwise(found_groups.indptr.tolist())):
        members = found_groups.rows[a:b].tolist()
        expected = reference.nearest(members, distances[a:b].tolist(), own, n)
        assert rows[group][rows[group] >= 0].tolist() == expected
        of_row = dict(zip(members, distances[a:b].tolist(), strict=True))
        assert found[group][: len(expected)].tolist() == [of_row[r] for r in expected]


@given(st.integers(1, 60), st.data())
def test_upper_tail_is_the_definition(total, data):
    marked = data.draw(st.integers(0, total))
    drawn = data.draw(st.integers(0, total))
    count = data.draw(st.integers(0, min(marked, drawn) + 1))
    expected = reference.upper_tail(count, drawn, marked, total)
    assert upper_tail([count], [drawn], [marked], total)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("total", [100, 300_000, 20_000_000])
def test_upper_tail_is_scipys(total):
    rng = np.random.default_rng(total)
    marked, drawn = (rng.integers(1, min(total, 5_000), 500) for _ in range(2))
    mean = drawn * (marked / total)
    count = np.minimum(np.round(mean + rng.integers(0, 30, 500)), np.minimum(marked, drawn))
    count = count.astype(np.int64)
    with Team(2) as team:
        found = upper_tail(count, drawn, marked, total, team=team)
    expected = hypergeom.sf(count - 1, total, marked, drawn)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-280)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_corrected_is_benjamini_and_hochbergs(p):
    from scipy.stats import false_discovery_control

    expected = false_discovery_control(p) if p else []
    np.testing.assert_allclose(corrected(p), expected, rtol=1e-12)


# --- the summary -------------------------------------------------------------------------------


def naive(rows, given, n_classes, n):
    """Figures of a set of rows, by their definitions."""
    classes = given["classes"][rows]
    counts = np.bincount(classes[classes >= 0], minlength=n_classes)
    share = counts / max(counts.sum(), 1)
    order = [c for c in np.argsort(-share, kind="stable") if counts[c]][:3]
    errors = misclassified(given["classes"], given["predictions"])[rows]
    sure = given["confidence"][rows]
    X = given["activations"].astype(np.float64)
    mean = X[rows].mean(axis=0)
    distance = np.sqrt(((X[rows] - mean) ** 2).sum(axis=1))
    return {
        "top": order,
        "share": share[order],
        "error": np.nanmean(errors) if (~np.isnan(errors)).any() else np.nan,
        "confidence": np.nanmean(sure) if (~np.isnan(sure)).any() else np.nan,
        "mean": mean,
        "exemplar": reference.nearest(rows.tolist(), distance.tolist(), given["inputs"], n),
    }


def test_the_noise_of_classes():
    """By the definition: pairs of a row and an element that holds it, taken by a node or not."""
    graph = random_graph()
    classes = np.arange(graph.n_rows) % 3
    classes[::7] = -1
    offers = np.bincount(graph.rows, minlength=graph.n_rows) + np.arange(graph.n_rows) % 4
    found = summarise(graph, classes=classes, offers=offers)
    for code in range(3):
        taken = sum(int((classes[graph.node_rows(a)] == code).sum()) for a in range(graph.n_nodes))
        assert found.class_noise[code] == pytest.approx(1 - taken / offers[classes == code].sum())
    assert np.isnan(summarise(graph, classes=classes).class_noise).all()
    with pytest.raises(DataError, match="a number for each"):
        summarise(graph, classes=classes, offers=offers[1:])


@pytest.mark.parametrize("edge_activations", [False, True])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_every_node_and_edge(n_columns, edge_activations):
    graph = random_graph(n_columns=n_columns)
    given = known(graph.n_rows, 4)
    found = summarise(graph, **given, n_exemplars=3, edge_activations=edge_activations)
    shared = [np.intersect1d(graph.node_rows(a), graph.node_rows(b)) for a, b in graph.edges[:, :2]]
    parts = [("", [graph.node_rows(a) for a in range(graph.n_nodes)]), ("edge_", shared)]
    for prefix, lists in parts:
        get = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
        assert get[f"{prefix}size"].tolist() == [len(rows) for rows in lists]
        for at, rows in enumerate(lists):
            expected = naive(rows, given, 4, 3)
            top = get[f"{prefix}top_class"][at]
            assert top[top >= 0].tolist() == expected["top"]
            n_top = len(expected["top"])
            assert np.allclose(get[f"{prefix}top_share"][at, :n_top], expected["share"])
            for name, key in (("error_rate", "error"), ("confidence", "confidence")):
                assert get[prefix + name][at] == pytest.approx(expected[key], nan_ok=True)
            if prefix and not edge_activations:
                assert found.edge_mean_activation is None
                assert (found.edge_exemplar == -1).all()
                continue
            assert np.allclose(get[f"{prefix}mean_activation"][at], expected["mean"])
            exemplar = get[f"{prefix}exemplar"][at]
            assert exemplar[exemplar >= 0].tolist() == expected["exemplar"]
    assert np.allclose(found.overall_activation, given["activations"].astype(float).mean(axis=0))
    lens = given["lens_values"]
    assert np.allclose(found.edge_lens[:, 0], [lens[rows].mean() for rows in shared])
    assert found.edge_lens_min[:, 0].tolist() == [lens[rows].min() for rows in shared]


def test_the_structure():
    graph = random_graph()
    found = summarise(graph)
    degree = np.zeros(graph.n_nodes, int)
    for a, b, _ in graph.edges:
        degree[[a, b]] += 1
    assert found.degree.tolist() == degree.tolist()
    assert np.array_equal(found.component, graph.components())
    assert (found.coverage, found.noise) == (graph.coverage, graph.noise)
    assert (found.n_loops, found.n_components) == (graph.n_loops, graph.n_components)
    assert found.interval_offered.sum() == graph.n_offered
    assert found.interval_taken.sum() == graph.rows.size
    total = 1 - found.interval_taken.sum() / found.interval_offered.sum()
    assert total == pytest.approx(graph.noise)
    assert np.allclose(found.interval_noise, 1 - found.interval_taken / found.interval_offered)


@pytest.mark.parametrize("edge_activations", [False, True])
def test_threads_and_blocks_change_no_byte(monkeypatch, edge_activations):
    graph = random_graph()
    given = known(graph.n_rows, 5) | {"edge_activations": edge_activations}
    given["activations"] = np.random.default_rng(0).normal(size=(graph.n_rows, 7))
    wanted = contents(summarise(graph, **given, n_threads=1))
    for threads, block_bytes in ((1, 1), (2, 7 * 56), (3, 10**9)):
        monkeypatch.setattr(group_stage, "_BLOCK_BYTES", block_bytes)
        assert contents(summarise(graph, **given, n_threads=threads)) == wanted
    given["activations"] = given["activations"] + 1e-9
    assert contents(summarise(graph, **given)) != wanted


def test_ties():
    graph = graph_of([[0, 1, 2, 3], [4, 5]], 6)
    found = summarise(
        graph, classes=[2, 2, 1, 1, 0, -1], activations=[[0.0], [2.0], [2.0], [0.0], [1.0], [1.0]]
    )
    assert found.top_class.tolist() == [[1, 2, -1], [0, -1, -1]]
    assert found.exemplar[0, :4].tolist() == [0, 1, 2, 3]
    assert found.top_share[1].tolist()[0] == 1.0
    assert math.isnan(found.top_share[1, 1])


def test_lift_lists_what_is_significant():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 1000)
    classes[:40] = 3  # a rare class, all of it in the first node
    graph = graph_of([np.arange(200), np.arange(200, 1000)], 1000)
    found = summarise(graph, classes=classes)
    assert found.lift_class[0].tolist() == [3, -1, -1]
    assert found.lift_lift[0, 0] == pytest.approx(5.0)
    assert found.top_class[0, 0] != 3
    expected = hypergeom.sf(39, 1000, 40, 200)
    n_tests = found.class_id.size
    assert expected <= found.lift_p[0, 0] <= expected * n_tests * (1 + 1e-9)
    assert found.shares(3).tolist() == [0.2, 0.0]
    assert found.lifts(3).tolist() == pytest.approx([5.0, 0.0])


def test_without_classes():
    found = summarise(random_graph())
    assert np.isnan(found.purity).all()
    assert (found.top_class == -1).all()
    assert found.base_count.size == found.class_coverage.size == 0
    assert np.isnan(found.error_rate).all()
    assert found.mean_activation is None
    assert found.label is None


def test_all_unknown_and_one_class():
    graph = random_graph()
    found = summarise(graph, classes=np.full(graph.n_rows, -7), class_names=["a", "b"])
    assert np.isnan(found.purity).all()
    assert found.base_count.tolist() == [0, 0]
    assert np.isnan(found.class_coverage).all()
    one = summarise(graph, classes=np.zeros(graph.n_rows, np.uint8))
    assert (one.purity == 1).all()
    assert (one.entropy == 0).all()
    assert (one.top_p[:, 0] == 1).all()
    assert (one.lift_class == -1).all()


def test_an_empty_graph():
    graph = graph_of([], 5)
    found = summarise(graph, **known(5, 2), edge_activations=True)
    assert found.size.size == found.edge_size.size == 0
    assert found.mean_activation.shape == (0, 3)
    assert found.coverage == 0.0
    assert "only 0.0% of the rows are in a node" in found.warnings[0]


def test_warnings_of_low_coverage():
    graph = graph_of([[0, 1, 2, 3, 4, 5, 6, 7]], 10)
    classes = [0] * 8 + [1] * 2
    found = summarise(graph, classes=classes, class_names=["<b>cat</b>", "dog"])
    assert found.class_covered.tolist() == [8, 0]
    assert found.warnings == ["1 of 2 classes have less than 80% of their rows in a node: dog 0.0%"]
    found = summarise(graph, classes=classes, coverage_floor=0.9)
    assert found.warnings[0].startswith("only 80.0% of the rows are in a node, below 90%")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [0, 1]}, "classes must have one value for each of the 300 rows"),
        ({"classes": np.zeros(300)}, "classes must be whole numbers, got float64"),
        ({"classes": np.ones(300, int), "class_names": ["a"]}, "classes go up to 1, and there"),
        ({"classes": np.full(300, 2**40)}, "classes must be below 16,777,216, and go up to"),
        ({"activations": np.zeros((3, 2))}, "activations must have the graph's 300 rows, got 3"),
        ({"confidence": [0.5]}, "confidence must have one value"),
        ({"lens_values": [0.5]}, "lens_values must have one row"),
        ({"words": [0.5]}, "words must have one value"),
    ],
)
def test_what_does_not_fit(options, message):
    with pytest.raises(DataError, match=message):
        summarise(random_graph(), **options)


def test_a_number_of_exemplars_is_needed():
    with pytest.raises(ParameterError, match="n_exemplars must be"):
        summarise(random_graph(), n_exemplars=0)


def test_words():
    graph = graph_of([[0, 1, 2, 3], [2, 3]], 4)
    found = summarise(graph, words=[1, 1, 0, -1], word_names=["<the>", "cat"])
    assert found.token[:, :2].tolist() == [[1, 0], [0, -1]]
    assert found.token_count[0, :2].tolist() == [2, 1]
    assert found.edge_token[0, 0] == 0
    assert found.token_lift[1, 0] == pytest.approx(3.0)


# --- selections --------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.sets(st.integers(0, 79), min_size=1), st.integers(0, 9))
def test_a_selection(chosen, seed):
    rows = np.array(sorted(chosen))
    given = known(80, 4, seed)
    options = {k: given[k] for k in ("classes", "predictions", "confidence", "lens_values")}
    found = summarise_rows(rows, **options, n_bins=6)
    expected = naive(rows, given, 4, 5)
    assert found.n_rows == len(rows)
    assert found.classes.id[:3].tolist() == expected["top"]
    assert found.error_rate == pytest.approx(expected["error"], nan_ok=True)
    assert found.confidence == pytest.approx(expected["confidence"], nan_ok=True)
    (lens,) = found.lens
    assert lens.counts.sum() == len(rows)
    assert lens.all.sum() == 80
    near, distances = exemplars_of(rows, given["activations"], given["inputs"], 5)
    assert near.tolist() == expected["exemplar"]
    assert (np.diff(distances) >= 0).all()
    assert np.allclose(mean_of(rows, given["activations"]), expected["mean"])


def test_a_selection_of_nothing():
    nothing = np.zeros(0, np.int64)
    found = summarise_rows(nothing, classes=[0, 1], confidence=[0.5, 0.5], lens_values=[0.0, 1.0])
    assert len(found.classes) == 0
    assert math.isnan(found.purity)
    assert exemplars_of(nothing, np.ones((2, 2)))[0].size == 0
    assert typical_per_class(nothing, [0, 1], np.ones((2, 2))) == []


@pytest.mark.parametrize("rows", [[2, 1], [1, 1], [-1, 2], [[1]]])
def test_rows_must_ascend(rows):
    with pytest.raises(DataError, match="rows must be row ids in ascending order"):
        summarise_rows(rows)


def test_rows_beyond_the_activations():
    with pytest.raises(DataError, match="activations must hold row 5, they have 2 rows"):
        exemplars_of([5], np.ones((2, 2)))


def test_typical_per_class_repeats_no_input():
    X = np.array([[0.0], [1.0], [2.0], [50.0], [10.0]])
    classes, inputs = [3, 3, 3, 3, 1], [7, 7, 8, 9, 7]
    found = typical_per_class(np.arange(5), classes, as_rows(X), inputs, n_classes=5, n=2)
    assert [code for code, _ in found] == [3, 1]
    assert found[0][1].tolist() == [2, 1]
    assert found[1][1].tolist() == [4]
    assert len(typical_per_class(np.arange(5), classes, X, inputs, n_classes=1)) == 1


def test_tokens_of_a_selection():
    words = np.array([0, 1, 1, 2, -1, 0])
    table = token_table([1, 2, 3, 4], words, n=1)
    assert (table.id.tolist(), table.count.tolist()) == ([1], [2])
    assert table.lift[0] == pytest.approx((2 / 3) / (2 / 5))


def test_contexts():
    texts = texts_by_input([{"input": 3, "text": "the <b>cat</b> sat"}, {"input": 4, "id": "x"}])
    found = contexts([0, 1, 2], [3, 4, 3], [7, 0, 0], [10, 2, 0], texts, width=4)
    assert found == [Context("… <b>", "cat", "</b>…"), None, None]
