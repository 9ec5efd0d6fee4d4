"""Files that ``topoact import`` reads: rows in blocks, and the columns that come with them."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, StoreError
from ..files import read_format
from ..rows import Rows, as_rows
from ..store import nearest_name

__all__ = ["Table", "open_npy", "open_table", "read_labels"]

BLOCK_BYTES = 32 << 20
KINDS = ".npy, .npz, .parquet or .zarr"


@dataclass(frozen=True)
class Table:
    """Rows of a file, readable once or more in blocks, and columns aligned with them."""

    n_rows: int
    n_cols: int
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[NDArray[Any]]]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)


def open_table(path: Path, key: str | None = None) -> Table:
    """Open a file of activations; ``key`` picks the array where there are several."""
    _check_there(path)
    openers: Mapping[str, Callable[[Path, str | None], Table]] = {
        ".npy": lambda path, key: _table(open_npy(path)),
        ".npz": _open_npz,
        ".parquet": _open_parquet,
        ".zarr": _open_zarr,
    }
    suffix = ".zarr" if path.is_dir() else path.suffix.lower()
    if suffix not in openers:
        raise StoreError(f"{path} must be {KINDS}, but ends in {suffix or 'nothing'!r}; convert it")
    table = openers[suffix](path, key)
    _check_shape(path, table)
    return table


def open_npy(path: Path) -> Rows:
    """The rows of a ``.npy`` file, mapped into memory and not read yet."""
    _check_there(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, "a .npy file", error) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise StoreError(f"{path} must be a .npy file, but holds several arrays; name it .npz")
    return as_rows(array, min_rows=0)


def read_labels(path: Path, n_rows: int) -> tuple[dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Row columns and label names from a file of labels.

    ``.npy`` and ``.txt`` (one a line) give the column ``label``; ``.npz``, ``.csv`` (with a
    header) and ``.parquet`` give a column for each of theirs.
    """
    _check_there(path)
    suffix = path.suffix.lower()
    names: dict[str, list[str]] = {}
    if suffix == ".npz":
        with _load_npz(path) as arrays:
            columns, names = _aligned({k: arrays[k] for k in arrays.files}, n_rows)
    elif suffix == ".npy":
        columns = {"label": _load_npy_labels(path)}
    elif suffix == ".parquet":
        columns = _parquet_columns(_parquet_file(path).read())
    elif suffix == ".csv":
        columns = _csv_columns(path)
    elif suffix == ".txt":
        columns = {"label": _numbers_if_all(_text(path).splitlines())}
    else:
        raise StoreError(
            f"labels must be .npy, .npz, .csv, .txt or .parquet, but are {path}; convert them"
        )
    if not columns:
        raise DataError(f"{path} has no column of {n_rows:,} values, one for each row")
    for name, values in columns.items():
        if values.shape != (n_rows,):
            raise DataError(
                f"{path} must have one label for each of the {n_rows:,} rows, but column "
                f"{name!r} has shape {values.shape}"
            )
    return columns, names


def _check_there(path: Path) -> None:
    if not path.exists():
        raise StoreError(f"there is no file {path}; check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise StoreError(f"{path} is empty; write it again")


def _check_shape(path: Path, table: Table) -> None:
    if table.n_rows < 2:
        rows = "row" if table.n_rows == 1 else "rows"
        raise DataError(f"{path} must have at least 2 rows, but has {table.n_rows} {rows}")


def _unreadable(path: Path, kind: str, error: Exception) -> StoreError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return StoreError(f"{path} cannot be read as {kind}: {reason[:200]}; write it again")


def _table(rows: Rows, **more: Any) -> Table:
    def blocks() -> Iterator[NDArray[Any]]:
        for _, block in rows.blocks(BLOCK_BYTES):
            yield block

    return Table(rows.n_rows, rows.n_cols, rows.dtype, blocks, **more)


# --- npz ---------------------------------------------------------------------------------------


@contextmanager
def _load_npz(path: Path) -> Iterator[Any]:
    # numpy leaves a file open that it opened itself and cannot read
    with path.open("rb") as stream:
        try:
            found = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(path, "a .npz file", error) from error
        if isinstance(found, np.ndarray):
            raise StoreError(f"{path} must be a .npz file, but holds one array; name it .npy")
        yield found


def _open_npz(path: Path, key: str | None) -> Table:
    with _load_npz(path) as arrays:
        try:
            shapes = {name: _npz_header(path, name) for name in arrays.files}
            chosen = _pick_array(path, shapes, key)
            shape, fortran, dtype = shapes[chosen]
            small = {k: arrays[k] for k, (s, _, _) in shapes.items() if len(s) == 1}
            rows = None if not fortran and dtype.isnative else as_rows(arrays[chosen], min_rows=0)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, DataError | StoreError):
                raise
            raise _unreadable(path, "a .npz file", error) from error
    columns, names = _aligned(small, shape[0])
    if rows is not None:
        return _table(rows, columns=columns, names=names)
    like = as_rows(np.empty((1, 1), dtype))
    return Table(
        shape[0],
        shape[1],
        like.dtype,
        lambda: _npz_blocks(path, chosen, shape, dtype),
        columns,
        names,
    )


def _npz_header(path: Path, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and dtype of an array, without reading it."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        return _read_header(stream)


def _read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _pick_array(path: Path, shapes: dict[str, tuple[Any, ...]], key: str | None) -> str:
    if key is not None:
        if key not in shapes:
            raise StoreError(f"{path} has no array {key!r}{nearest_name(key, shapes)}")
        if len(shapes[key][0]) != 2:
            raise DataError(
                f"array {key!r} of {path} must be two-dimensional, but has shape {shapes[key][0]}"
            )
        return key
    flat = [name for name, (shape, *_) in shapes.items() if len(shape) == 2]
    floats = [name for name in flat if shapes[name][-1].kind == "f"]
    candidates = floats or flat
    if len(candidates) == 1:
        return candidates[0]
    shown = ", ".join(f"{name} {shapes[name][0]}" for name in candidates or shapes)
    problem = "has several two-dimensional arrays" if flat else "has no two-dimensional array"
    raise DataError(f"{path} {problem} ({shown}); name the activations with --key")


def _npz_blocks(
    path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Read an array of an archive front to back, never whole."""
    row_bytes = shape[1] * dtype.itemsize
    per_block = max(1, BLOCK_BYTES // max(1, row_bytes))
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            _read_header(stream)
            for start in range(0, shape[0], per_block):
                n_rows = min(per_block, shape[0] - start)
                data = stream.read(n_rows * row_bytes)
                block = np.frombuffer(data, dtype).reshape(n_rows, shape[1])
                yield block.view(np.uint8) if dtype.kind == "b" else block
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, "a .npz file", error) from error


def _aligned(
    arrays: Mapping[str, NDArray[Any]], n_rows: int
) -> tuple[dict[str, NDArray[Any]], dict[str, list[str]]]:
    """Row columns among one-dimensional arrays, and the names of their codes (``*_names``)."""
    columns = {k: v for k, v in arrays.items() if v.shape == (n_rows,) and v.dtype.kind in "iufbU"}
    named = {
        k.removesuffix("_names"): [str(name) for name in v]
        for k, v in arrays.items()
        if k.endswith("_names") and v.ndim == 1 and k.removesuffix("_names") in columns
    }
    names = {k: v for k, v in named.items() if columns[k].dtype.kind in "iu"}
    columns = {
        k: v for k, v in columns.items() if k.removesuffix("_names") not in names or k in names
    }
    return columns, names


# --- zarr --------------------------------------------------------------------------------------


def _open_zarr(path: Path, key: str | None) -> Table:
    import zarr

    if read_format(path) == "topoact-gpu/activations":
        raise StoreError(
            f"{path} is an activation store already; use it as it is: topoact mapper {path}"
        )
    try:
        node: Any = zarr.open(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(path, "a Zarr array or group", error) from error
    if not isinstance(node, zarr.Group):
        return _table(as_rows(node, min_rows=0))
    members: Any = node.members(max_depth=None)
    arrays = {name: array for name, array in members if hasattr(array, "chunks")}
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    chosen = _pick_array(path, shapes, key)
    rows = as_rows(arrays[chosen], min_rows=0)
    prefix = chosen.rpartition("/")[0]
    beside = {n: a for n, a in arrays.items() if n.rpartition("/")[0] == prefix and a.ndim == 1}
    small = {n.rpartition("/")[2]: np.asarray(a[...]) for n, a in beside.items()}
    columns, names = _aligned(small, rows.n_rows)
    return _table(rows, columns=columns, names=names)


# --- parquet -----------------------------------------------------------------------------------


def _parquet_file(path: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise StoreError(
            "reading .parquet needs pyarrow; install it with: pip install 'topoact-gpu[parquet]'"
        ) from error
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, "a .parquet file", error) from error


def _open_parquet(path: Path, key: str | None) -> Table:
    """A column of number lists, or else all float columns in the file's order."""
    import pyarrow.types as types

    file = _parquet_file(path)
    schema = file.schema_arrow
    lists = [f.name for f in schema if _is_list(f.type)]
    floats = [f.name for f in schema if types.is_floating(f.type)]
    if key is not None and key not in schema.names:
        raise StoreError(f"{path} has no column {key!r}{nearest_name(key, schema.names)}")
    if key is None and len(lists) > 1:
        raise DataError(
            f"{path} has several columns of lists ({', '.join(lists)}); "
            "name the activations with --key"
        )
    chosen = [key] if key is not None else lists or floats
    if not chosen:
        raise DataError(
            f"{path} must have float columns or a column of lists, but has: "
            + ", ".join(f"{f.name} {f.type}" for f in schema)
        )
    others = [n for n in schema.names if n not in chosen and n not in lists]
    columns = _parquet_columns(file.read(columns=others)) if others else {}
    like = (
        _parquet_block(next(file.iter_batches(1, columns=chosen)), path)
        if file.metadata.num_rows
        else np.empty((0, len(chosen)))
    )

    def blocks() -> Iterator[NDArray[Any]]:
        per_block = max(1, BLOCK_BYTES // max(1, like.shape[1] * like.dtype.itemsize))
        for batch in _parquet_file(path).iter_batches(per_block, columns=chosen):
            yield _parquet_block(batch, path)

    n_rows = file.metadata.num_rows
    return Table(n_rows, like.shape[1], as_rows(like, min_rows=0).dtype, blocks, columns)


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _parquet_block(batch: Any, path: Path) -> NDArray[Any]:
    """Rows of a record batch, [n, n_cols]; a null is NaN."""
    if any(column.null_count for column in batch.columns if _is_list(column.type)):
        raise DataError(f"{path} has rows without a list; drop them first")
    if _is_list(batch.columns[0].type):
        column = batch.columns[0]
        flat = column.flatten().to_numpy(zero_copy_only=False)
        if len(flat) % max(1, len(column)):
            raise DataError(f"the lists of {path} must all have the same length, but do not")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if len(lengths) and (lengths != lengths[0]).any():
            raise DataError(f"the lists of {path} must all have the same length, but do not")
        return flat.reshape(len(column), -1)
    return np.column_stack([c.to_numpy(zero_copy_only=False) for c in batch.columns])


def _parquet_columns(table: Any) -> dict[str, NDArray[Any]]:
    """Columns of numbers and strings; others are left out."""
    found = {}
    for name in table.column_names:
        values = table.column(name).to_numpy()
        if values.dtype.kind == "O":
            values = np.array(["" if v is None else str(v) for v in values], dtype=np.str_)
        if values.dtype.kind in "iufbU":
            found[name] = values
    return found


# --- labels ------------------------------------------------------------------------------------


def _load_npy_labels(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, "a .npy file", error) from error
    return np.asarray(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, "UTF-8 text", error) from error


def _csv_columns(path: Path) -> dict[str, NDArray[Any]]:
    lines = [line for line in csv.reader(_text(path).splitlines()) if line]
    header, body = lines[0], lines[1:]
    if any(len(line) != len(header) for line in body):
        bad = next(i for i, line in enumerate(body) if len(line) != len(header))
        raise DataError(f"line {bad + 2} of {path} must have {len(header)} fields, like the header")
    return {
        name or f"column{i}": _numbers_if_all([line[i] for line in body])
        for i, name in enumerate(header)
    }


def _numbers_if_all(values: list[str]) -> NDArray[Any]:
    """Integers or floats where every value is one, else the strings."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(value) for value in values])
        except (ValueError, OverflowError):
            continue
    return np.array(values, dtype=np.str_)
