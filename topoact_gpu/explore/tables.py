"""Answers as bytes: large arrays in one binary table, all else as JSON.

A table, ``application/x-topoact-table``::

    0   4 bytes   "TAT1"
    4   uint32    length of the header, little-endian
    8   header    UTF-8 JSON {"meta": {...}, "arrays": [{"name", "dtype", "shape", "offset"}]}
        zeros to the next multiple of 8; from there the arrays, each at a multiple of 8,
        little-endian, C order
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import CapacityError, DataError

__all__ = ["TABLE", "decode_table", "encode_table", "to_json"]

TABLE = "application/x-topoact-table"
MAGIC = b"TAT1"
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def encode_table(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode arrays and what is said of them.

    Parameters
    ----------
    meta : mapping
        Values that `to_json` takes.
    arrays : mapping of str to array
        Numbers; 64-bit integers become int32, and bools uint8.

    Returns
    -------
    bytes

    Raises
    ------
    CapacityError
        An integer does not fit int32.

    Examples
    --------
    >>> meta, arrays = decode_table(encode_table({"a": 1}, {"x": np.arange(3)}))
    >>> meta, arrays["x"].dtype.name, arrays["x"].tolist()
    ({'a': 1}, 'int32', [0, 1, 2])
    """
    held = {name: _narrow(name, np.asarray(array)) for name, array in arrays.items()}
    described, offset = [], 0
    for name, array in held.items():
        described.append(
            {"name": name, "dtype": array.dtype.name, "shape": array.shape, "offset": offset}
        )
        offset += _padded(array.nbytes)
    header = to_json({"meta": meta, "arrays": described})
    parts = [MAGIC, len(header).to_bytes(4, "little"), header, bytes(_gap(8 + len(header)))]
    for array in held.values():
        parts += [np.ascontiguousarray(array).tobytes(), bytes(_gap(array.nbytes))]
    return b"".join(parts)


def decode_table(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Decode what `encode_table` made.

    Returns
    -------
    meta : dict
    arrays : dict of str to array

    Raises
    ------
    DataError
        It is no table, or is cut short.
    """
    if data[:4] != MAGIC:
        raise DataError(f"a table begins with {MAGIC!r}, this begins with {data[:4]!r}")
    length = int.from_bytes(data[4:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        base = _padded(8 + length)
        arrays = {each["name"]: _view(data, base, each) for each in header["arrays"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the table is damaged: {error}") from error
    return header["meta"], arrays


def to_json(value: Any) -> bytes:
    """JSON of what numpy, tuples and mappings hold; NaN and infinity are null.

    Examples
    --------
    >>> to_json({"a": np.array([1.5, np.nan]), "b": np.int64(2), "c": None})
    b'{"a":[1.5,null],"b":2,"c":null}'
    """
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # a lone surrogate, which a name on disk may hold, is no UTF-8
    return text.encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _narrow(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        bounds = np.iinfo(np.int32)
        if array.size and (array.min() < bounds.min or array.max() > bounds.max):
            raise CapacityError(
                f"the numbers of {name} go up to {int(array.max()):,}, the page takes "
                f"{bounds.max:,}; show a smaller run"
            )
        return array.astype(np.int32)
    if array.dtype.name not in DTYPES:
        raise DataError(f"{name} is {array.dtype}, a table holds {', '.join(DTYPES)}")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _view(data: bytes, base: int, described: dict[str, Any]) -> NDArray[Any]:
    if described["dtype"] not in DTYPES:
        raise ValueError(f"there is no dtype {described['dtype']}")
    dtype = np.dtype(described["dtype"]).newbyteorder("<")
    shape = tuple(described["shape"])
    found = np.frombuffer(data, dtype, math.prod(shape), base + described["offset"])
    return found.reshape(shape)


def _padded(size: int) -> int:
    return size + _gap(size)


def _gap(size: int) -> int:
    return -size % 8
