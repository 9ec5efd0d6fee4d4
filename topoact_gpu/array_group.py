"""Arrays in one Zarr group, with checksums: what a graph and its summary are kept as."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import StoreError

__all__ = ["check_version", "checksum", "read_arrays", "read_errors", "write_arrays"]

_CHUNK_BYTES = 32_000_000


def write_arrays(group: Any, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Write arrays to a Zarr 3 group.

    Parameters
    ----------
    group : zarr.Group
    arrays : mapping of str to array

    Returns
    -------
    dict of str to int
        Their checksums, for the attributes of the group; these are to be written last.
    """
    for name, array in arrays.items():
        rows_a_chunk = max(_CHUNK_BYTES // max(array[:1].nbytes, 1), 1)
        chunks = (max(min(array.shape[0], rows_a_chunk), 1), *(max(n, 1) for n in array.shape[1:]))
        target = group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=chunks)
        if array.size:
            target[...] = array
    return {name: checksum(array) for name, array in arrays.items()}


def read_arrays(group: Any, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read arrays that `write_arrays` wrote; the group's attribute ``checksums`` is theirs.

    Raises
    ------
    StoreError
        One is not what was written.
    """
    checksums = dict(group.attrs)["checksums"]
    arrays = {name: np.asarray(group[name][...]) for name in names}
    for name, array in arrays.items():
        if checksum(array) != checksums[name]:
            raise StoreError(
                f"{group.store_path} is damaged: {name} is not what was written; make it anew"
            )
    return arrays


def check_version(group: Any, expected: str, newest: int, where: str) -> None:
    """Check the format and version attributes of a group."""
    found, version = group.attrs.get("format"), group.attrs.get("version")
    if found != expected:
        raise StoreError(f"{where} must have format {expected!r}, got {found!r}; check the path")
    if not isinstance(version, int) or version > newest:
        raise StoreError(
            f"{where} has version {version!r}, this topoact-gpu reads up to {newest}; upgrade it"
        )


@contextmanager
def read_errors(where: str) -> Iterator[None]:
    """Turn what zarr raises on missing or damaged files into a one-line `StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"{where} is incomplete or damaged ({reason}); make it anew") from error


def checksum(array: NDArray[Any]) -> int:
    """Return the CRC-32 of shape and bytes: zarr reads a missing chunk as zeros without a word."""
    header = json.dumps([list(array.shape), array.dtype.str]).encode()
    return zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(header))
