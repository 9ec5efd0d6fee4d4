"""What decides the bytes of a run: parameters, and rows as far as a sample tells."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.files import to_jsonable
from topoact_gpu.pipeline import Settings, parameters_of
from topoact_gpu.rows import Rows

if TYPE_CHECKING:
    from topoact_gpu.mapper import Mapper

__all__ = ["identity_of", "kept_with"]

_N_SAMPLED = 32
_WITHOUT_EFFECT = ("device", "memory_budget", "n_threads")


def identity_of(
    mapper: Mapper, settings: Settings, rows: Rows, lens_values: ArrayLike | None
) -> dict[str, Any]:
    """Everything that the bytes of a run depend on, as values that JSON can hold.

    Notes
    -----
    Of the rows their number, length, dtype and a checksum of 32 of them, evenly spread. Device,
    memory and threads are left out: they change no byte, except for lenses that say so.
    """
    found = parameters_of(mapper, settings, given=lens_values is not None)
    for name in _WITHOUT_EFFECT:
        del found[name]
        if isinstance(found["clusterer"], dict):
            found["clusterer"].pop(name, None)
    found["cluster_seed"] = settings.cluster_seed
    if lens_values is not None:
        found["lens"] = f"given, {_checksum(np.asarray(lens_values))}"
    elif not isinstance(mapper.lens, str):
        found["lens"] = _lens_identity(mapper.lens)
    ids = np.unique(np.linspace(0, rows.n_rows - 1, _N_SAMPLED).astype(np.int64))
    found["rows"] = {
        "n_rows": rows.n_rows,
        "n_cols": rows.n_cols,
        "dtype": str(rows.dtype),
        "checksum": _checksum(rows.take(ids)),
    }
    return dict(to_jsonable(found))


def _lens_identity(lens: Any) -> Any:
    """A lens that is no single name: names, the code of functions, a checksum of values."""
    if isinstance(lens, str):
        return lens
    if callable(lens):
        code = getattr(lens, "__code__", None)
        name = f"{getattr(lens, '__module__', '')}.{getattr(lens, '__qualname__', type(lens))}"
        return name if code is None else f"{name}, {zlib.crc32(code.co_code):08x}"
    if isinstance(lens, list | tuple) and all(isinstance(x, str) or callable(x) for x in lens):
        return [_lens_identity(each) for each in lens]
    return f"given, {_checksum(np.asarray(lens))}"


def _checksum(array: NDArray[Any]) -> str:
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {list(array.shape)} {zlib.crc32(array.tobytes()):08x}"


def kept_with(X: Any, rows: Rows) -> dict[str, Any]:
    """Row columns, names and source of what was fitted, for the run."""
    if hasattr(X, "__topoact_rows__") and hasattr(X, "columns"):
        source = {"path": str(X.store_path), "layer": X.name}
        return {"columns": X.columns(), "names": X.names, "source": source}
    if rows.mapped is not None:
        return {"source": {"path": str(rows.mapped[0].resolve()), "layer": None}}
    return {}
