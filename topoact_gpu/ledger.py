"""Finished pieces of a long job on disk: each is there whole, or not at all.

Format ``topoact-gpu/unit``, version 1: the magic bytes, then little-endian version, CRC-32 and
length of what follows, then arrays as ``numpy.savez`` writes them.
"""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.files import replaced_file
from topoact_gpu.kernels.dbscan.interval import Clustered

__all__ = ["ClusterLedger", "Ledger", "results_from_arrays", "results_to_arrays"]

_MAGIC, _VERSION = b"topoact-unit", 1
_HEAD = struct.Struct("<12sIIQ")
_FLUSH_BYTES, _FLUSH_SECONDS = 8 << 20, 1.0
"""Small elements are put down together: at most so much work is lost."""


class Ledger:
    """A folder of units.

    Parameters
    ----------
    folder : Path
        Made when the first unit is put down.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, **arrays: Any) -> None:
        """Write a unit; it appears in one step.

        Raises
        ------
        StoreError
            The disk refuses.
        """
        payload = io.BytesIO()
        np.savez(payload, **arrays)
        held = payload.getbuffer()
        head = _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(held), len(held))
        with replaced_file(self._path(name), overwrite=True) as path, open(path, "wb") as file:
            file.write(head)
            file.write(held)

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Arrays of a unit; None where it is not there, or not as it was written."""
        try:
            with open(self._path(name), "rb") as file:
                magic, version, crc, length = _HEAD.unpack(file.read(_HEAD.size))
                held = file.read()
            if (magic, version, length) != (_MAGIC, _VERSION, len(held)) or crc != zlib.crc32(held):
                return None
            with np.load(io.BytesIO(held)) as found:
                return {key: found[key] for key in found.files}
        except (OSError, ValueError, KeyError, struct.error, zipfile.BadZipFile):
            return None

    def names(self, prefix: str) -> list[str]:
        """Names of the units that begin with a prefix, ascending."""
        return sorted(path.stem for path in self.folder.glob(f"{prefix}*.unit"))

    def drop(self, prefix: str) -> None:
        """Remove the units that begin with a prefix."""
        for name in self.names(prefix):
            self._path(name).unlink(missing_ok=True)

    def remember(self, name: str, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of a unit, computed and put down if it is not there."""
        found = self.get(name)
        if found is not None:
            return found["array"]
        array = compute()
        self.put(name, array=array)
        return array

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.unit"


class ClusterLedger:
    """Results of elements, several to a unit.

    Attributes
    ----------
    known : dict of int to Clustered
        What units that are whole hold.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.known: dict[int, Clustered] = {}
        self._waiting: dict[int, Clustered] = {}
        self._written = time.monotonic()
        names = ledger.names("clusters-")
        self._next = 1 + max((int(name.partition("-")[2]) for name in names), default=-1)
        for name in names:
            if (found := ledger.get(name)) is not None:
                self.known.update(results_from_arrays(found))

    def keep(self, element: int, result: Clustered) -> None:
        """Remember a result; on disk a second later at most."""
        self._waiting[element] = result
        n_bytes = sum(5 * len(each.labels) for each in self._waiting.values())
        if n_bytes > _FLUSH_BYTES or time.monotonic() - self._written > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put down what was not yet."""
        if self._waiting:
            self.ledger.put(f"clusters-{self._next:08d}", **results_to_arrays(self._waiting))
            self._waiting, self._next = {}, self._next + 1
        self._written = time.monotonic()


def results_to_arrays(results: dict[int, Clustered]) -> dict[str, Any]:
    """Results of elements as arrays for one unit."""
    each = list(results.values())
    names = list(each[0].counters)
    return {
        "element": np.array(list(results), np.int64),
        "size": np.array([len(result.labels) for result in each], np.int64),
        "labels": np.concatenate([result.labels.astype(np.int32) for result in each]),
        "core": np.packbits(np.concatenate([result.core for result in each])),
        "names": np.array(names),
        "counters": np.array([[r.counters[name] for name in names] for r in each], np.int64),
    }


def results_from_arrays(found: dict[str, NDArray[Any]]) -> dict[int, Clustered]:
    """The results that `results_to_arrays` was given."""
    ends = np.cumsum(found["size"]).tolist()
    core = np.unpackbits(found["core"], count=len(found["labels"])).astype(np.bool_)
    results = {}
    for at, (element, size, end) in enumerate(
        zip(found["element"].tolist(), found["size"].tolist(), ends, strict=True)
    ):
        labels = found["labels"][end - size : end].astype(np.int64)
        counters = dict(zip(found["names"].tolist(), found["counters"][at].tolist(), strict=True))
        n_clusters = int(labels.max(initial=-1)) + 1
        results[element] = Clustered(labels, core[end - size : end], n_clusters, counters)
    return results
