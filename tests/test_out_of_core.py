"""Rows that are larger than the budget: the same bytes as with everything in memory."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu import DBSCAN, BalancedCover, ExplicitCover, Mapper, UniformCover, create_store
from topoact_gpu.bucketed import bucketed
from topoact_gpu.buckets import Buckets, read_index, write_part
from topoact_gpu.device import Team
from topoact_gpu.errors import CapacityError, StoreError
from topoact_gpu.kernels.cover.cells import cells_of, element_cells
from topoact_gpu.rows import as_rows
from topoact_gpu.streamed import Streamed

SMALL = 200_000
"""Bytes: far below what memory_budget may be, so that small data are large."""


@functools.cache
def activations(n_rows: int = 8000, n_cols: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(30, n_cols))
    return (centres[rng.integers(0, 30, n_rows)] + 0.4 * rng.normal(size=(n_rows, n_cols))).astype(
        np.float16
    )


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "X.npy", activations())
    found: np.ndarray = np.load(tmp_path / "X.npy", mmap_mode="r")
    return found


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mapper", "cluster"):
        monkeypatch.setattr(f"topoact_gpu.{module}.resolve_budget", lambda budget: SMALL)


def assert_equal_fits(one: Mapper, other: Mapper) -> None:
    assert one.lens_values_.tobytes() == other.lens_values_.tobytes()
    for name in ("indptr", "rows", "edges", "jaccard", "node_interval", "node_lens"):
        assert getattr(one.graph_, name).tobytes() == getattr(other.graph_, name).tobytes(), name


LENSES = ("l2norm", "pca:2", "density:5", "eccentricity", "median", "column:3", ["l1norm", "std"])


@pytest.mark.parametrize("lens", LENSES, ids=str)
@pytest.mark.parametrize(
    ("cover", "clusterer"),
    [
        (UniformCover(8, 0.3), DBSCAN("knee")),
        (UniformCover(5, 0.7), DBSCAN(0.05, metric="cosine")),
        (BalancedCover(3, 0.2), DBSCAN("knee-per-interval")),
    ],
    ids=("uniform", "cosine", "balanced"),
)
def test_same_bytes_as_in_memory(lens, cover, clusterer, mapped, request):
    inside = Mapper(lens, cover=cover, clusterer=clusterer).fit(activations())
    request.getfixturevalue("small_budget")
    outside = Mapper(lens, cover=cover, clusterer=clusterer).fit(mapped)
    assert outside.report_["implementation"]["rows"] == "bucketed on disk"
    assert_equal_fits(inside, outside)


def test_a_layer_of_a_store_and_another_clusterer(tmp_path, small_budget):
    from sklearn.cluster import DBSCAN as Foreign

    with create_store(tmp_path / "acts.zarr") as store:
        layer = store.create_layer("block", 40, "float16")
        layer.append(activations())
    foreign = Foreign(eps=3.0)
    cover = ExplicitCover([(10, 20), (18, 25)])
    inside = Mapper(cover=cover, clusterer=foreign).fit(activations())
    outside = Mapper(cover=cover, clusterer=foreign).fit(layer)
    assert outside.report_["implementation"]["rows"] == "bucketed on disk"
    assert_equal_fits(inside, outside)


def test_one_set_of_rows_larger_than_the_budget(mapped, request):
    inside = DBSCAN(3.0).fit(activations())
    request.getfixturevalue("small_budget")
    outside = DBSCAN(3.0).fit(mapped)
    assert inside.n_clusters_ > 1
    assert np.array_equal(inside.labels_, outside.labels_)
    assert np.array_equal(inside.core_sample_indices_, outside.core_sample_indices_)


def test_what_needs_all_rows_says_so(mapped, small_budget):
    with pytest.raises(CapacityError, match="memory_budget"):
        DBSCAN(3.0, metric="manhattan").fit(mapped)


def test_scratch_space_is_checked_before_anything_is_written(mapped, small_budget, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(CapacityError, match=r"640,000 bytes of scratch space .* 1,000 are free"):
        Mapper(clusterer=DBSCAN(3.0)).fit(mapped)


def signature(elements, n_rows: int) -> list[tuple[int, ...]]:
    held: list[list[int]] = [[] for _ in range(n_rows)]
    for element in range(elements.n_elements):
        for row in elements.element_rows(element):
            held[row].append(element)
    return [tuple(each) for each in held]


@settings(max_examples=30)
@given(
    st.integers(0, 2**32), st.integers(2, 400), st.integers(1, 2), st.integers(1, 12),
    st.sampled_from([0.0, 0.3, 0.6, 0.8]),
)  # fmt: skip
def test_cells_are_the_rows_with_the_same_elements(seed, n_rows, n_columns, n_intervals, overlap):
    lens = np.random.default_rng(seed).normal(size=(n_rows, n_columns))
    elements = UniformCover(n_intervals, overlap).fit(lens)
    cells = cells_of(elements.indptr, elements.rows, n_rows)
    of_cell: dict[int, tuple[int, ...]] = {}
    for cell, own in zip(cells.cell.tolist(), signature(elements, n_rows), strict=True):
        assert of_cell.setdefault(cell, own) == own
    assert len(set(of_cell.values())) == len(of_cell)
    if n_columns == 1:  # an interval is a run of cells
        for element in range(elements.n_elements):
            assert (np.diff(element_cells(cells, elements.element_rows(element))) == 1).all()


def some_buckets(folder: Path, step: int = 100) -> tuple[Buckets, np.ndarray, object]:
    X = np.random.default_rng(1).normal(size=(1000, 5)).astype(np.float32)
    elements = UniformCover(6, 0.4).fit(X[:, 0])
    cells = cells_of(elements.indptr, elements.rows, len(X))
    parts = [
        write_part(folder, cells.cell[low : low + step], low, X[low : low + step])
        for low in range(0, len(X), step)
    ]
    buckets = Buckets(folder, cells, parts, lambda at: X[at : at + step], 5, X.dtype)
    return buckets, X, elements


def assert_reads(buckets: Buckets, X: np.ndarray, elements) -> None:
    for element in range(elements.n_elements):
        members = elements.element_rows(element)
        out = np.empty((len(members), 5), np.float32)
        buckets.read(members, out)
        assert np.array_equal(out[buckets.places(members)], X[members])
        reader = buckets.reader(members)
        again = np.empty_like(out)
        reader.read(0, again)
        reader.read(len(out) // 2, again[len(out) // 2 :])
        reader.close()
        assert np.array_equal(out, again)


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "nothing"])
def test_a_damaged_part_is_written_again(tmp_path, harm):
    buckets, X, elements = some_buckets(tmp_path)
    path = sorted(tmp_path.glob("*.rows"))[3]
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 4
    if harm == "flip":
        path.write_bytes(found)
    elif harm == "truncate":
        path.write_bytes(found[: len(found) // 3])
    elif harm == "remove":
        path.unlink()
    assert_reads(buckets, X, elements)
    assert buckets.mended == ([] if harm == "nothing" else [300])


def test_a_disk_that_keeps_nothing_is_an_error(tmp_path, monkeypatch):
    buckets, _, elements = some_buckets(tmp_path)
    buckets.source = lambda at: np.zeros((100, 5), np.float32)
    sorted(tmp_path.glob("*.rows"))[0].write_bytes(b"")
    with pytest.raises(StoreError, match="does not keep what is written"):
        buckets.read(elements.element_rows(0), np.empty((elements.sizes[0], 5), np.float32))


def test_parts_that_are_there_are_kept(tmp_path, mapped):
    data = Streamed(as_rows(mapped), SMALL)
    lens = np.linalg.norm(activations().astype(np.float64), axis=1)
    elements = UniformCover(9, 0.3).fit(lens)
    bucketed(data, elements, tmp_path, Team(1))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    lost = sorted(tmp_path.glob("*.npz"))[0]
    lost.write_bytes(lost.read_bytes()[:50])
    assert read_index(tmp_path, 0) is None
    again = bucketed(data, elements, tmp_path, Team(1))
    changed = {path.name for path in tmp_path.iterdir() if path.stat().st_mtime_ns != before[path]}
    assert changed == {lost.name, lost.name.replace("index.npz", "rows")}
    array, places = again.gather(elements.element_rows(4))
    assert np.array_equal(array[places], activations()[elements.element_rows(4)])


def test_a_file_that_became_shorter_is_an_error(tmp_path):
    np.save(tmp_path / "X.npy", activations())
    rows = as_rows(np.load(tmp_path / "X.npy", mmap_mode="r")).from_storage()
    assert np.array_equal(rows.block(5, 9), activations()[5:9])
    with open(tmp_path / "X.npy", "r+b") as file:
        file.truncate(4000)
    with pytest.raises(StoreError, match="shorter than it was"):
        rows.block(7000, 7100)


def test_a_part_of_a_mapped_array_is_not_taken_for_the_whole(tmp_path):
    np.save(tmp_path / "X.npy", activations())
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert as_rows(mapped).mapped is not None
    assert as_rows(mapped[10:]).mapped is None
    assert as_rows(mapped[:, ::2]).mapped is None
