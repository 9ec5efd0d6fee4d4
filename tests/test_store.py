"""Activation store: what goes in comes out, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr

from topoact_gpu import store as store_module
from topoact_gpu.errors import DataError, StoreError
from topoact_gpu.rows import as_rows
from topoact_gpu.store import create_store, open_store

RNG = np.random.default_rng(0)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 20 rows of 8 float16, in parts of 5."""
    monkeypatch.setattr(store_module, "SHARD_BYTES", 320)
    monkeypatch.setattr(store_module, "PART_BYTES", 80)


def make(n_rows=103, n_cols=8, dtype="f2"):
    return RNG.standard_normal((n_rows, n_cols)).astype(dtype)


def write(path, X, *, step=7, **columns):
    with create_store(path) as store:
        layer = store.create_layer("block1", X.shape[1], X.dtype)
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            layer.append(X[part], **{k: v[part] for k, v in columns.items()})
    return open_store(path).layer("block1")


@pytest.mark.parametrize("step", [1, 7, 20, 45, 1000])
@pytest.mark.parametrize("n_rows", [1, 19, 20, 21, 103])
def test_round_trip(tmp_path, small_shards, n_rows, step):
    X = make(n_rows)
    photo = np.array(["cat", "dog", "emu"])[np.arange(n_rows) % 3]
    y = np.arange(n_rows, dtype=np.int16)
    layer = write(tmp_path / "a.zarr", X, step=step, photo=photo, y=y)
    assert layer.shape == X.shape
    assert layer.dtype == np.float16
    assert np.array_equal(layer[:], X)
    assert layer.row_columns == ("photo", "y")
    assert np.array_equal(layer.column("y"), y)
    assert layer.column("y").dtype == np.int16
    assert np.array_equal(np.array(layer.names["photo"])[layer.column("photo")], photo)


def test_indexing(tmp_path, small_shards):
    X = make()
    layer = write(tmp_path / "a.zarr", X)
    ids = np.array([99, 3, 3, -1])
    for index in (5, -1, slice(3, 50), slice(90, None), slice(10, 2, -3), ids, X[:, 0] > 0):
        assert np.array_equal(layer[index], X[index])
    assert np.array_equal(np.asarray(layer), X)
    assert np.array_equal(layer.read_block(100, 200), X[100:])
    with pytest.raises(IndexError):
        layer[103]


def test_rows_of_a_layer(tmp_path, small_shards):
    X = make()
    rows = as_rows(write(tmp_path / "a.zarr", X))
    assert rows.array is None
    assert np.array_equal(np.concatenate([b for _, b in rows.blocks(100)]), X)
    ids = RNG.permutation(103)
    assert np.array_equal(rows.take(ids), X[ids])


def test_layout_on_disk(tmp_path):
    X = make(10, 256)
    layer = write(tmp_path / "a.zarr", X)
    assert layer.activations.shards == (65536, 256)
    assert layer.activations.chunks == (8192, 256)
    root = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert root.metadata.zarr_format == 3
    assert root.attrs["format"] == "topoact-gpu/activations"
    assert root.attrs["version"] == 1
    assert root.attrs["versions"]["numpy"] == np.__version__
    codecs = root["layers/block1/activations"].metadata.codecs
    assert "crc32c" in str(codecs[0].to_dict()["configuration"]["codecs"])
    assert root["layers/block1"].attrs["n_rows"] == 10


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "i4"])
def test_dtypes(tmp_path, dtype):
    X = (100 * make()).astype(dtype)
    layer = write(tmp_path / "a.zarr", X)
    assert layer.dtype == np.dtype(dtype)
    assert np.array_equal(layer[:], X)


def test_zeros_are_stored(tmp_path, small_shards):
    """Zarr leaves out chunks of zeros by default; then a lost file would read as zeros."""
    layer = write(tmp_path / "a.zarr", np.zeros((50, 8), np.float16), y=np.zeros(50))
    assert not layer[:].any()
    assert not layer.column("y").any()


def test_append_goes_on_after_reopening(tmp_path, small_shards):
    X = make()
    photo = np.array([f"p{i // 10}" for i in range(103)])
    write(tmp_path / "a.zarr", X[:33], photo=photo[:33])
    with open_store(tmp_path / "a.zarr", mode="a") as store:
        store.layer("block1").append(X[33:50], photo=photo[33:50])
    with open_store(tmp_path / "a.zarr", mode="a") as store:
        layer = store.layer("block1")
        layer.append(X[50:], photo=photo[50:])
        assert layer.n_rows == 100
        layer.flush()
        assert layer.n_rows == 103
    layer = open_store(tmp_path / "a.zarr").layer("block1")
    assert np.array_equal(layer[:], X)
    assert np.array_equal(np.array(layer.names["photo"])[layer.column("photo")], photo)


def test_flush_in_the_middle(tmp_path, small_shards):
    X = make()
    with create_store(tmp_path / "a.zarr") as store:
        layer = store.create_layer("block1", 8)
        for start in range(0, 103, 9):
            layer.append(X[start : start + 9])
            layer.flush()
            assert np.array_equal(layer[:], X[: start + 9])


def test_layers_in_natural_order(tmp_path):
    with create_store(tmp_path / "a.zarr", model="tiny") as store:
        for name in ("block10", "block2", "stem", "3"):
            store.create_layer(name, 4, position=name)
    store = open_store(tmp_path / "a.zarr")
    assert store.layers == ("3", "block2", "block10", "stem")
    assert store.attributes["model"] == "tiny"
    assert store["stem"].attributes == {"position": "stem"}
    assert "stem" in store


def test_unknown_names(tmp_path):
    write(tmp_path / "a.zarr", make(), photo=np.arange(103))
    store = open_store(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=r"no layer 'blok1'; did you mean 'block1'\?"):
        store.layer("blok1")
    with pytest.raises(StoreError, match=r"did you mean 'photo'\?"):
        store["block1"].column("foto")


KILLED = """
import sys, numpy as np
from topoact_gpu import store as module
module.SHARD_BYTES, module.PART_BYTES = 1 << 18, 1 << 15
from topoact_gpu.store import open_store
with open_store(sys.argv[1], mode="a") as store:
    layer = store.layers and store.layer("block1") or store.create_layer("block1", 64, "float32")
    row = layer.n_rows
    while True:
        ids = np.arange(row, row + 333)
        layer.append(np.repeat(ids[:, None], 64, 1).astype("f4"), id=ids)
        row += 333
        print(layer.n_rows, flush=True)
"""


def test_killed_writer_loses_only_the_chunk_in_flight(tmp_path):
    path = tmp_path / "a.zarr"
    create_store(path).close()
    before = 0
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        reported = 0
        for line in process.stdout:
            reported = int(line)
            if reported >= before + 5000:
                break
        time.sleep(0.01 * round_)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        layer = open_store(path).layer("block1")
        assert layer.n_rows >= reported >= before + 5000
        ids = np.arange(layer.n_rows)
        assert np.array_equal(layer.column("id"), ids)
        assert np.array_equal(layer[:], np.repeat(ids[:, None], 64, 1).astype("f4"))
        before = layer.n_rows
    with open_store(path, mode="a") as store:
        store["block1"].append(np.zeros((5, 64), "f4"), id=np.zeros(5, np.int64))
    assert open_store(path)["block1"].n_rows == before + 5


def test_rows_beyond_the_counter_are_not_read(tmp_path, small_shards):
    X = make()
    write(tmp_path / "a.zarr", X)
    group = zarr.open_group(tmp_path / "a.zarr/layers/block1", mode="r+")
    group.attrs["n_rows"] = 40
    with open_store(tmp_path / "a.zarr", mode="a") as store:
        assert np.array_equal(store["block1"][:], X[:40])
        store["block1"].append(X[90:])
    assert np.array_equal(open_store(tmp_path / "a.zarr")["block1"][:], np.r_[X[:40], X[90:]])


@pytest.mark.parametrize("keep", [0, 1, 0.5, 0.99])
def test_truncated_chunk(tmp_path, small_shards, keep):
    layer = write(tmp_path / "a.zarr", make(), y=np.arange(103))
    file = tmp_path / "a.zarr/layers/block1/activations/c/2/0"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep if keep in (0, 1) else keep * len(data))])
    assert len(layer[:40]) == 40
    for start, stop in ((40, 41), (0, 103), (59, 62)):
        with pytest.raises(StoreError, match=r"chunk.*layer 'block1'") as caught:
            layer.read_block(start, stop)
        assert "\n" not in str(caught.value)
    file = tmp_path / "a.zarr/layers/block1/rows/y/c/3"
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(StoreError, match="column 'y' of layer 'block1'"):
        layer.column("y")


def test_flipped_bit_and_missing_chunk(tmp_path, small_shards):
    layer = write(tmp_path / "a.zarr", make())
    file = tmp_path / "a.zarr/layers/block1/activations/c/1/0"
    data = bytearray(file.read_bytes())
    data[33] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"chunk 1 of layer 'block1' .* damaged: .*checksum"):
        layer.read_block(20, 40)
    file.unlink()
    with pytest.raises(StoreError, match=r"chunk 1 of activations of layer 'block1' .* missing"):
        layer.read_block(20, 40)


def test_full_disk_keeps_what_was_written(tmp_path, small_shards, monkeypatch):
    from zarr.storage import _local

    X = make()
    real, calls = _local._put, []

    def full(path, *args, **options):
        calls.append(path)
        if len(calls) > 25:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *args, **options)

    store = create_store(tmp_path / "a.zarr")
    layer = store.create_layer("block1", 8)
    monkeypatch.setattr(_local, "_put", full)
    with pytest.raises(StoreError, match=r"layer 'block1' .*the disk is full"):
        layer.append(X, y=np.arange(103))
    monkeypatch.undo()
    monkeypatch.setattr(store_module, "SHARD_BYTES", 320)
    found = open_store(tmp_path / "a.zarr")["block1"]
    assert 0 < found.n_rows < 103
    assert np.array_equal(found[:], X[: found.n_rows])
    assert np.array_equal(found.column("y"), np.arange(found.n_rows))


def test_existing_output(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, make())
    with pytest.raises(StoreError, match=r"exists; .*overwrite"):
        create_store(path)
    assert create_store(path, overwrite=True).layers == ()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match="not overwritten"):
        create_store(other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "thesis"]


def test_existing_layer(tmp_path):
    with create_store(tmp_path / "a.zarr") as store:
        store.create_layer("b", 3).append(np.ones((4, 3), np.float16))
        store["b"].flush()
        with pytest.raises(StoreError, match="has a layer 'b'"):
            store.create_layer("b", 5)
        assert store["b"].n_rows == 4
        assert store.create_layer("b", 5, overwrite=True).shape == (0, 5)


def test_adopted_layer(tmp_path):
    X = make()
    write(tmp_path / "a.zarr", X)
    write(tmp_path / "b.zarr", 2 * X)
    with open_store(tmp_path / "a.zarr", mode="a") as store:
        with pytest.raises(StoreError, match="has a layer"):
            store.adopt_layer(open_store(tmp_path / "b.zarr"), "block1")
        store.adopt_layer(open_store(tmp_path / "b.zarr"), "block1", overwrite=True)
        assert np.array_equal(store["block1"][:], 2 * X)
    assert [p.name for p in (tmp_path / "a.zarr/layers").iterdir() if p.is_dir()] == ["block1"]


def test_bad_appends(tmp_path):
    with create_store(tmp_path / "a.zarr") as store:
        layer = store.create_layer("b", 3)
        with pytest.raises(DataError, match="cannot hold float32 without loss"):
            layer.append(np.ones((2, 3), np.float32))
        with pytest.raises(DataError, match="3 columns, the block has 4"):
            layer.append(np.ones((2, 4), np.float16))
        with pytest.raises(DataError, match="one value for each of the 2 rows"):
            layer.append(np.ones((2, 3), np.float16), y=np.arange(3))
        with pytest.raises(DataError, match="numbers or strings"):
            layer.append(np.ones((2, 3), np.float16), y=np.ones(2, complex))
        layer.append(np.ones((2, 3), np.float16), y=np.arange(2))
        with pytest.raises(DataError, match="same ones every time"):
            layer.append(np.ones((2, 3), np.float16))
        with pytest.raises(DataError, match="cannot hold float64"):
            layer.append(np.ones((2, 3), np.float16), y=np.ones(2))
    assert open_store(tmp_path / "a.zarr")["b"].n_rows == 2


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "__x", "zarr.json"])
def test_bad_names(tmp_path, name):
    with create_store(tmp_path / "a.zarr") as store, pytest.raises(StoreError, match="layer name"):
        store.create_layer(name, 3)


def test_not_a_store(tmp_path):
    with pytest.raises(StoreError, match="no activation store at"):
        open_store(tmp_path / "none.zarr")
    zarr.create_group(tmp_path / "g.zarr", attributes={"format": "topoact-gpu/run"})
    with pytest.raises(StoreError, match="is a topoact-gpu/run, an activation store is required"):
        open_store(tmp_path / "g.zarr")
    (tmp_path / "f.zarr").write_text("")
    with pytest.raises(StoreError, match="something else"):
        open_store(tmp_path / "f.zarr")
    create_store(tmp_path / "a.zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="r+").attrs["version"] = 2
    with pytest.raises(StoreError, match="format version 2"):
        open_store(tmp_path / "a.zarr")


def test_reading_store_refuses_writes(tmp_path):
    write(tmp_path / "a.zarr", make())
    store = open_store(tmp_path / "a.zarr")
    with pytest.raises(StoreError, match="mode='a'"):
        store.create_layer("b", 3)
    with pytest.raises(StoreError, match="mode='a'"):
        store["block1"].append(make())
    with pytest.raises(StoreError, match="reserved"):
        create_store(tmp_path / "b.zarr", format="x")
