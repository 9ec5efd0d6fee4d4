"""Tables and JSON: what goes in comes out, and what is damaged is said to be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from topoact_gpu.errors import CapacityError, DataError
from topoact_gpu.explore.cache import Cache
from topoact_gpu.explore.tables import DTYPES, decode_table, encode_table, to_json

ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in DTYPES]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5),
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_round_trip(arrays):
    meta, found = decode_table(encode_table({"names": ["ü", "<b>"], "none": None}, arrays))
    assert meta == {"names": ["ü", "<b>"], "none": None}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_layout_is_the_documented_one():
    data = encode_table({"ü": 1}, {"a": np.array([7], np.int8), "b": np.array([2.5])})
    length = int.from_bytes(data[4:8], "little")
    header = json.loads(data[8 : 8 + length].decode("utf-8"))
    base = -(-(8 + length) // 8) * 8
    assert data[:4] == b"TAT1"
    assert [each["offset"] for each in header["arrays"]] == [0, 8]
    assert set(data[8 + length : base]) <= {0}
    assert data[base] == 7
    assert np.frombuffer(data[base + 8 :], "<f8").tolist() == [2.5]
    assert len(data) % 8 == 0


def test_wide_integers_and_bools_are_narrowed():
    arrays = {
        "i": np.array([-(2**31), 2**31 - 1]),
        "b": np.array([True]),
        "big": np.arange(2)[::-1],
    }
    arrays["swapped"] = np.array([1, 2], ">i4")
    _, found = decode_table(encode_table({}, arrays))
    assert {name: array.dtype.name for name, array in found.items()} == {
        **dict.fromkeys(("i", "big", "swapped"), "int32"),
        "b": "uint8",
    }
    assert found["big"].tolist() == [1, 0]
    assert found["swapped"].tolist() == [1, 2]


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_what_int32_cannot_hold_is_refused(value):
    with pytest.raises(CapacityError, match="up to"):
        encode_table({}, {"rows": np.array([value])})


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.zeros(2, np.float16)])
def test_other_dtypes_are_refused(array):
    with pytest.raises(DataError, match="a table holds"):
        encode_table({}, {"x": array})


@pytest.mark.parametrize("damage", [lambda d: b"", lambda d: b"TAT2" + d[4:], lambda d: d[:-8]])
def test_damage_is_seen(damage):
    with pytest.raises(DataError):
        decode_table(damage(encode_table({}, {"x": np.arange(9.0)})))


def test_json_of_numpy():
    value = {"a": np.float32(np.inf), "b": (np.int8(1), [np.nan]), 3: np.array([[1, 2]]), "c": True}
    assert json.loads(to_json(value)) == {"a": None, "b": [1, [None]], "3": [[1, 2]], "c": True}
    assert to_json({"name": "\udc80"}) == b'{"name":"?"}'


def test_the_cache_makes_once_and_forgets_the_oldest():
    made = []
    cache = Cache(max_bytes=20)

    def make(key, size):
        return cache.get(key, lambda: made.append(key) or np.zeros(size, np.int8))

    for key, size in (("a", 8), ("b", 8), ("a", 8), ("c", 8), ("b", 8), ("c", 8), ("big", 99)):
        make(key, size)
    assert made == ["a", "b", "c", "b", "big"]
    make("big", 99)
    make("c", 8)
    assert made == ["a", "b", "c", "b", "big", "c"]


def test_what_fails_is_not_remembered():
    cache = Cache(100)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0)
    assert cache.get("a", lambda: 5) == 5
    cache.forget(lambda key: key == "a")
    assert cache.get("a", lambda: 6) == 6
