"""Activation store: layers of rows with their columns, in one Zarr 3 group on disk.

Format ``topoact-gpu/activations``, version 1::

    acts.zarr                       attributes: format, version, versions, and the caller's own
      layers/<name>                 attributes: n_rows (complete rows), names, and the caller's own
        activations                 [n_rows or more, n_cols], shards of about 32 MB
        rows/<column>               [n_rows or more], one value a row

A shard is one file and the unit of writing; inside are parts of about 4 MB, each with its own
crc32c, so that a few rows can be read without the rest. The counter ``n_rows`` is written last:
what lies beyond it is never read, and the next append writes over it.
"""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import Crc32cCodec

from .errors import DataError, StoreError, nearest_name
from .files import (
    move_into_place,
    os_errors,
    read_format,
    replaced_directory,
    to_jsonable,
)
from .remote import place_of
from .rows import Rows, ZarrSource, as_rows

__all__ = ["Layer", "Store", "create_store", "nearest_name", "open_store"]

FORMAT = "topoact-gpu/activations"
VERSION = 1
SHARD_BYTES = 32 << 20
PART_BYTES = 4 << 20
_RESERVED = ("format", "version", "versions", "n_rows", "names")
# zarr leaves out chunks of zeros by default; here a missing chunk has to mean damage
_CONFIG: Any = {"write_empty_chunks": True}


def create_store(path: str | Path, *, overwrite: bool = False, **attributes: Any) -> Store:
    """Make an empty activation store and open it for appending.

    Parameters
    ----------
    path : str or Path
        A directory that must not exist yet; by custom its name ends in ``.zarr``.
    overwrite : bool
        Replace a store that is already there (and nothing else).
    **attributes
        Kept with the store: ``model``, ``preprocessing``, ... Anything JSON can hold.

    Returns
    -------
    Store
        Use it in a ``with`` block: leaving it writes the rows still in memory.

    Raises
    ------
    StoreError

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/acts.zarr"
    >>> with create_store(path, model="tiny") as store:
    ...     layer = store.create_layer("block1", 3, "float16")
    ...     layer.append(np.ones((5, 3), np.float16), photo=np.arange(5))
    >>> open_store(path).layer("block1")
    Layer('block1', 5 x 3 float16, columns: photo)
    """
    path = Path(path)
    _check_attributes(attributes)
    with replaced_directory(path, overwrite=overwrite) as temporary:
        group = zarr.create_group(temporary, zarr_format=3)
        group.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "versions": _versions(),
                **to_jsonable(attributes),
            }
        )
        group.create_group("layers")
    return open_store(path, mode="a")


def open_store(path: str | Path, mode: Literal["r", "a"] = "r") -> Store:
    """Open an activation store.

    Parameters
    ----------
    path : str or Path
        Or the address of a store that fsspec reaches, such as ``s3://bucket/acts.zarr``: for
        reading.
    mode : {'r', 'a'}
        Read, or read and append. One writer at a time.

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        There is no store at ``path``, or one of a version this release does not know.
    """
    place = place_of(path)
    if mode not in ("r", "a"):
        raise StoreError(f"mode must be 'r' or 'a', but is {mode!r}")
    if mode == "a" and not isinstance(place, Path):
        raise StoreError(f"{place} can be read only; write a store to a local path and copy it")
    if not place.exists():
        raise StoreError(f"there is no activation store at {place}; check the path")
    found = read_format(place)
    if found != FORMAT:
        kind = f"a {found}" if found else "something else"
        raise StoreError(
            f"{place} is {kind}, an activation store is required; "
            "make one with: topoact import DATA --out acts.zarr --layer NAME"
        )
    where = place if isinstance(place, Path) else str(place)
    group = zarr.open_group(where, mode="r" if mode == "r" else "r+")
    check_version(place, group.attrs.asdict(), VERSION)
    return Store(place, group, writable=mode == "a")


class Store:
    """An activation store; made by `create_store` and `open_store`.

    Attributes
    ----------
    path : Path
    attributes : dict
        What the creator said about the store, and ``versions``.
    """

    def __init__(self, path: Path, group: zarr.Group, *, writable: bool) -> None:
        self.path = path
        self._group = group
        self._writable = writable
        self._open_layers: dict[str, Layer] = {}
        found = group.attrs.asdict()
        self.attributes = {k: v for k, v in found.items() if k not in ("format", "version")}

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, layers: {', '.join(self.layers) or 'none'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self.layers

    def __getitem__(self, name: str) -> Layer:
        return self.layer(name)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in natural order (``block2`` before ``block10``)."""
        found = (p.name for p in (self.path / "layers").iterdir() if (p / "zarr.json").is_file())
        return tuple(sorted((n for n in found if not n.startswith(".")), key=_natural))

    def layer(self, name: str) -> Layer:
        """The layer called ``name``; an unknown name is a `StoreError` with the nearest one."""
        if name not in self._open_layers:
            if name not in self.layers:
                raise StoreError(
                    f"{self.path} has no layer {name!r}{nearest_name(name, self.layers)}"
                )
            group = self._group[f"layers/{name}"]
            self._open_layers[name] = Layer(self.path, name, group, writable=self._writable)
        return self._open_layers[name]

    def create_layer(
        self,
        name: str,
        n_cols: int,
        dtype: DTypeLike = "float16",
        *,
        names: Mapping[str, Iterable[str]] | None = None,
        overwrite: bool = False,
        **attributes: Any,
    ) -> Layer:
        """Add an empty layer.

        Parameters
        ----------
        name : str
            Any name without a slash that does not start with a dot.
        n_cols : int
        dtype : float16, float32, float64 or an integer type
        names : mapping of str to list of str, optional
            For a row column of codes, what each code stands for: ``{"label": ["cat", "dog"]}``.
        overwrite : bool
            Replace a layer of that name.
        **attributes
            Kept with the layer.

        Returns
        -------
        Layer
        """
        self._check_writable()
        _check_name("layer", name)
        _check_attributes(attributes)
        if name in self.layers and not overwrite:
            raise StoreError(f"{self.path} has a layer {name!r}; choose another name or overwrite")
        with os_errors(f"writing layer {name!r} of {self.path}"):
            group = self._group.create_group(f"layers/{name}", overwrite=overwrite)
            _create_activations(group, n_cols, np.dtype(dtype))
            group.create_group("rows")
            kept = {column: list(values) for column, values in (names or {}).items()}
            group.attrs.update({"n_rows": 0, "names": kept, **to_jsonable(attributes)})
        self._open_layers.pop(name, None)
        return self.layer(name)

    def adopt_layer(self, other: Store, name: str, *, overwrite: bool = False) -> None:
        """Move a finished layer of another store on the same disk into this one, in one step."""
        self._check_writable()
        other.close()
        target = self.path / "layers" / name
        if name in self.layers and not overwrite:
            raise StoreError(
                f"{self.path} has a layer {name!r}; choose another name or overwrite (--overwrite)"
            )
        with os_errors(f"writing {target}"):
            move_into_place(other.path / "layers" / name, target)
        self._open_layers.pop(name, None)

    def close(self) -> None:
        """Write the rows still in memory. Reading goes on working."""
        for layer in self._open_layers.values():
            layer.flush()

    def _check_writable(self) -> None:
        if not self._writable:
            raise StoreError(f"{self.path} is open for reading; use open_store(path, mode='a')")


class Layer:
    """One layer of a store: rows of activations and, aligned with them, row columns.

    Hand it to `Mapper.fit` as it is, or index it like an array.

    Attributes
    ----------
    name : str
    n_rows : int
        Complete rows on disk. Rows appended since the last whole shard are not counted yet.
    n_cols : int
    dtype : numpy.dtype
    activations : zarr.Array
        At least ``n_rows`` rows; what lies beyond is unfinished.
    row_columns : tuple of str
    names : dict of str to list of str
        What the codes of a row column stand for.
    attributes : dict
    """

    def __init__(self, path: Path, name: str, group: Any, *, writable: bool) -> None:
        self.name = name
        self._path = path
        self._group = group
        self._writable = writable
        found: dict[str, Any] = group.attrs.asdict()
        try:
            self.n_rows = int(found["n_rows"])
            self.names: dict[str, list[str]] = dict(found["names"])
            self.activations: Any = group["activations"].with_config(_CONFIG)
        except KeyError as error:
            raise StoreError(
                f"layer {name!r} of {path} is incomplete: {error} is missing; write it again"
            ) from error
        self.n_cols = int(self.activations.shape[1])
        self.dtype = np.dtype(self.activations.dtype)
        self.attributes = {k: v for k, v in found.items() if k not in ("n_rows", "names")}
        self._shard_rows = int(self.activations.shards[0])
        self._pending: _Pending | None = None

    def __repr__(self) -> str:
        columns = f", columns: {', '.join(self.row_columns)}" if self.row_columns else ""
        return f"Layer({self.name!r}, {self.n_rows:,} x {self.n_cols:,} {self.dtype}{columns})"

    def __len__(self) -> int:
        return self.n_rows

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_cols)."""
        return self.n_rows, self.n_cols

    @property
    def store_path(self) -> Path:
        """The store that the layer is in, in full."""
        return self._path.resolve()

    @property
    def row_columns(self) -> tuple[str, ...]:
        """Names of the columns aligned with the rows."""
        return tuple(sorted(self._rows_group.array_keys()))

    @property
    def _rows_group(self) -> Any:
        return self._group["rows"]

    def __topoact_rows__(self) -> Rows:
        """What `as_rows` reads the layer through."""
        recipe = partial(_layer_rows, str(self.store_path), self.name, self.n_rows)
        return Rows(self.shape, self.dtype, source=_LayerSource(self), recipe=recipe)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a layer lives on disk: an array of it is always a copy")
        return self.read_block(0, self.n_rows).astype(dtype or self.dtype, copy=False)

    def __getitem__(self, index: int | slice | NDArray[Any] | list[int]) -> NDArray[Any]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self.n_rows)
            if step == 1:
                return self.read_block(start, stop)
            index = np.arange(start, stop, step)
        ids = np.asarray(index)
        ids = np.flatnonzero(ids) if ids.dtype == np.bool_ else ids
        wrapped = np.where(ids < 0, ids + self.n_rows, ids).astype(np.int64)
        if wrapped.size and not (wrapped.min() >= 0 and wrapped.max() < self.n_rows):
            raise IndexError(f"row ids must be in [0, {self.n_rows:,})")
        taken = as_rows(self, min_rows=0).take(np.atleast_1d(wrapped))
        return taken if ids.ndim else taken[0]

    def read_block(self, start: int, stop: int) -> NDArray[Any]:
        """Rows ``start`` to ``stop`` (cut at `n_rows`) as an array of `dtype`."""
        return as_rows(self, min_rows=0).block(start, stop)

    def column(self, name: str) -> NDArray[Any]:
        """The row column ``name``, one value for each of the `n_rows` rows.

        Returns
        -------
        [n_rows]
            Codes where `names` says what they stand for.
        """
        if name not in self.row_columns:
            raise StoreError(
                f"layer {self.name!r} has no column {name!r}{nearest_name(name, self.row_columns)}"
            )
        array: Any = self._rows_group[name]
        self.check_files(f"rows/{name}", 0, self.n_rows)
        source = ZarrSource(array, f"column {name!r} of layer {self.name!r}")
        return source.read(0, self.n_rows)

    def columns(self) -> dict[str, NDArray[Any]]:
        """All row columns by name."""
        return {name: self.column(name) for name in self.row_columns}

    def check_files(self, array: str, start: int, stop: int) -> None:
        """Raise where a shard of ``array`` under rows start to stop is missing or empty.

        Zarr itself would read zeros there.
        """
        tail = ("0",) if array == "activations" else ()
        for shard in range(start // self._shard_rows, math.ceil(stop / self._shard_rows)):
            file = self._path / "layers" / self.name / array / "c" / str(shard) / Path(*tail)
            if not file.is_file() or file.stat().st_size == 0:
                raise StoreError(
                    f"chunk {shard} of {array} of layer {self.name!r} in {self._path} is missing "
                    f"or empty ({file}); write the layer again or restore the file from a copy"
                )

    def append(self, block: Any, **row_columns: Any) -> None:
        """Append rows, and for each row column their values.

        Parameters
        ----------
        block : [n, n_cols]
            Anything `as_rows` takes, of a dtype that the layer's holds without loss.
        **row_columns : [n]
            Integers, floats or bools; strings are kept as codes, with `names` saying which.
            The same columns every time.

        Notes
        -----
        Rows are written a whole shard (about 32 MB) at a time; `flush`, or closing the store,
        writes the rest. A writer that is killed loses at most the shard in flight.
        """
        if not self._writable:
            raise StoreError("the store is open for reading; use open_store(path, mode='a')")
        rows = as_rows(block, min_rows=0)
        self._check_block(rows)
        columns = {k: self._coded(k, v, rows.n_rows) for k, v in row_columns.items()}
        if rows.n_rows == 0:
            return
        pending = self._pending or self._start_pending(columns)
        pending.check_columns(self.name, columns)
        self._pending = pending
        done = 0
        while done < rows.n_rows:
            stop = min(rows.n_rows, done + self._shard_rows - pending.n_rows)
            part = slice(done, stop)
            pending.add(rows.block(done, stop), {k: v[part] for k, v in columns.items()})
            done = stop
            if pending.n_rows == self._shard_rows:
                self.flush()

    def flush(self) -> None:
        """Write the rows in memory, then the counter."""
        pending = self._pending
        if pending is None or pending.first + pending.n_rows == self.n_rows:
            return
        stop = pending.first + pending.n_rows
        with os_errors(f"appending to layer {self.name!r} of {self._path}"):
            self._grow(self.activations, stop)
            self.activations[pending.first : stop] = pending.block[: pending.n_rows]
            for name, values in pending.columns.items():
                array = self._column_array(name, values.dtype)
                self._grow(array, stop)
                array[pending.first : stop] = values[: pending.n_rows]
            self._group.attrs.update({"n_rows": stop, "names": self.names})
        self.n_rows = stop
        if pending.n_rows == self._shard_rows:
            pending.start_next()

    def rewind(self, n_rows: int) -> None:
        """Take the layer back to its first ``n_rows`` rows; the rest is written over next.

        For a writer that keeps its own account of what is whole, such as capture.

        Parameters
        ----------
        n_rows : int
            At most the rows there are.
        """
        if not self._writable:
            raise StoreError("the store is open for reading; use open_store(path, mode='a')")
        if not 0 <= n_rows <= self.n_rows:
            raise StoreError(
                f"layer {self.name!r} of {self._path} has {self.n_rows:,} complete rows, "
                f"{n_rows:,} are needed; the store is damaged, write it again"
            )
        self._pending = None
        if n_rows < self.n_rows:
            with os_errors(f"writing {self._path}"):
                self._group.attrs.update({"n_rows": n_rows, "names": self.names})
            self.n_rows = n_rows

    @staticmethod
    def _grow(array: Any, n_rows: int) -> None:
        # never shrink: zarr would delete chunks that a crash left beyond the counter one by one
        if array.shape[0] < n_rows:
            array.resize((n_rows, *array.shape[1:]))

    def _column_array(self, name: str, dtype: np.dtype[Any]) -> Any:
        if name in self._rows_group:
            return self._rows_group[name].with_config(_CONFIG)
        return self._rows_group.create_array(
            name,
            shape=(0,),
            dtype=dtype,
            chunks=(self._shard_rows,),
            compressors=[Crc32cCodec()],
            fill_value=0,
            config=_CONFIG,
        )

    def _start_pending(self, columns: dict[str, NDArray[Any]]) -> _Pending:
        """A buffer of one shard, holding again the rows of an unfinished last shard."""
        first = self.n_rows // self._shard_rows * self._shard_rows
        if self.n_rows:
            kept = {name: values[first:] for name, values in self.columns().items()}
        else:
            kept = {name: values[:0] for name, values in columns.items()}
        buffers = {name: np.zeros(self._shard_rows, v.dtype) for name, v in kept.items()}
        block = np.zeros((self._shard_rows, self.n_cols), self.dtype)
        pending = _Pending(first, block, buffers)
        if first < self.n_rows:
            pending.add(self.read_block(first, self.n_rows), kept)
        return pending

    def _check_block(self, rows: Rows) -> None:
        if rows.n_cols != self.n_cols:
            raise DataError(
                f"layer {self.name!r} has {self.n_cols} columns, the block has {rows.n_cols}"
            )
        if not np.can_cast(rows.dtype, self.dtype, "safe"):
            raise DataError(
                f"layer {self.name!r} holds {self.dtype}, which cannot hold {rows.dtype} without "
                f"loss; convert the block yourself, for example with .astype({str(self.dtype)!r})"
            )

    def _coded(self, name: str, values: Any, n_rows: int) -> NDArray[Any]:
        """Values of a row column as numbers; strings become codes into `names`."""
        _check_name("column", name)
        array = np.asarray(values)
        if array.shape != (n_rows,):
            raise DataError(
                f"column {name!r} must have one value for each of the {n_rows:,} rows, "
                f"but has shape {array.shape}"
            )
        if array.dtype.kind == "b":
            return array.view(np.uint8)
        if array.dtype.kind in "iuf" and array.dtype.itemsize <= 8:
            return array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype.kind == "U" or (array.size and all(isinstance(v, str) for v in array)):
            return encode_names(array.tolist(), self.names.setdefault(name, []))
        raise DataError(f"column {name!r} must be numbers or strings, but has dtype {array.dtype}")


class _Pending:
    """Rows of one shard that are not on disk yet (or not all of them)."""

    def __init__(self, first: int, block: NDArray[Any], columns: dict[str, NDArray[Any]]) -> None:
        self.first = first
        self.n_rows = 0
        self.block = block
        self.columns = columns

    def check_columns(self, layer: str, columns: dict[str, NDArray[Any]]) -> None:
        if columns.keys() != self.columns.keys():
            raise DataError(
                f"layer {layer!r} has the row columns {sorted(self.columns)}, the block came with "
                f"{sorted(columns)}; give the same ones every time"
            )
        for name, values in columns.items():
            if not np.can_cast(values.dtype, self.columns[name].dtype, "safe"):
                raise DataError(
                    f"column {name!r} of layer {layer!r} holds {self.columns[name].dtype}, which "
                    f"cannot hold {values.dtype} without loss; convert it yourself"
                )

    def add(self, block: NDArray[Any], columns: dict[str, NDArray[Any]]) -> None:
        part = slice(self.n_rows, self.n_rows + len(block))
        self.block[part] = block
        for name, values in columns.items():
            self.columns[name][part] = values
        self.n_rows += len(block)

    def start_next(self) -> None:
        self.first += self.n_rows
        self.n_rows = 0


def _layer_rows(path: str, name: str, n_rows: int) -> Rows:
    """The first rows of a layer, opened anew: another process may have appended more."""
    layer = open_store(path).layer(name)
    layer.n_rows = min(layer.n_rows, n_rows)
    return layer.__topoact_rows__()


class _LayerSource(ZarrSource):
    """Complete rows of a layer; a missing or damaged chunk is an error that names it."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer.activations, f"layer {layer.name!r}")
        self.layer = layer

    def read(self, start: int, stop: int) -> NDArray[Any]:
        self.layer.check_files("activations", start, stop)
        return super().read(start, stop)


def _create_activations(group: zarr.Group, n_cols: int, dtype: np.dtype[Any]) -> None:
    if n_cols < 1:
        raise DataError(f"a layer needs at least one column, but n_cols is {n_cols}")
    as_rows(np.empty((1, 1), dtype))  # refuses what rows cannot be
    row_bytes = n_cols * dtype.itemsize
    part_rows = max(1, PART_BYTES // row_bytes)
    shard_rows = part_rows * max(1, SHARD_BYTES // (part_rows * row_bytes))
    group.create_array(
        "activations",
        shape=(0, n_cols),
        dtype=dtype,
        chunks=(part_rows, n_cols),
        shards=(shard_rows, n_cols),
        compressors=[Crc32cCodec()],
        fill_value=0,
        config=_CONFIG,
    )


def encode_names(values: Iterable[str], names: list[str]) -> NDArray[np.int32]:
    """Codes of strings; new ones are added to ``names``, in order of appearance.

    Returns
    -------
    int32[n]

    Examples
    --------
    >>> names = ["cat"]
    >>> encode_names(["dog", "cat"], names), names
    (array([1, 0], dtype=int32), ['cat', 'dog'])
    """
    code_of = {name: code for code, name in enumerate(names)}
    codes = [code_of.setdefault(value, len(code_of)) for value in values]
    names.extend(list(code_of)[len(names) :])
    return np.array(codes, dtype=np.int32)


def check_version(path: Path, attributes: Mapping[str, Any], newest: int) -> None:
    """Raise for a format version that this release cannot read."""
    found = attributes.get("version")
    if not isinstance(found, int) or not 1 <= found <= newest:
        raise StoreError(
            f"{path} has format version {found}, this release reads up to {newest}; "
            "update topoact-gpu"
        )


def _check_attributes(attributes: Mapping[str, Any]) -> None:
    for name in attributes:
        if name in _RESERVED:
            raise StoreError(f"the attribute name {name!r} is reserved; choose another")
    json.dumps(to_jsonable(dict(attributes)))


def _check_name(kind: str, name: str) -> None:
    if (
        not name
        or name.startswith((".", "__"))
        or "/" in name
        or "\\" in name
        or name == "zarr.json"
    ):
        raise StoreError(
            f"a {kind} name must be non-empty, without slashes and not start with a dot or two "
            f"underscores, but is {name!r}"
        )


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("numpy", "zarr")}
    return {"topoact-gpu": _own_version(), "python": platform.python_version(), **found}


def _own_version() -> str:
    from . import __version__

    return __version__
