"""Uniform, copy-free read access to the rows of whatever the caller hands over.

`as_rows` takes numpy arrays, memmaps, anything with ``__array__`` or DLPack, Zarr arrays and
layers of our store, and gives `Rows`: blocks of rows as numpy arrays, read only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from mmap import mmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, StoreError

__all__ = [
    "DataTypeError",
    "Rows",
    "as_rows",
    "check_finite",
    "finite_rows",
    "nonfinite_message",
    "rows_of_file",
]

_RESHAPE = (
    "Reshape your data either using array.reshape(-1, 1) if your data has a single feature "
    "or array.reshape(1, -1) if it contains a single sample."
)
_CUDA_KINDS = (2, 13)
"""DLPack's numbers of CUDA devices: their own memory, and managed memory."""
# Small enough for the temporaries of a finiteness test to stay in a core's cache.
_CHECK_BYTES = 1 << 19


class DataTypeError(DataError, TypeError):
    """X is of a kind that can never become rows of numbers (scikit-learn wants TypeError too)."""


class _Source(Protocol):
    """What `Rows` needs of storage that is read block by block."""

    chunk_rows: int

    def read(self, start: int, stop: int) -> NDArray[Any]: ...


class Rows:
    """Read access to ``n_rows`` rows of ``n_cols`` numbers, wherever they are.

    Attributes
    ----------
    n_rows, n_cols : int
    dtype : numpy.dtype
        float16, float32, float64 or an integer type, in native byte order.
    array : ndarray or None
        The rows themselves where they can be addressed directly (memory or memmap, any
        strides); None where they have to be read (Zarr, foreign byte order).
    tensor : torch.Tensor or None
        The rows themselves where they lie in a GPU's memory.
    mapped : (Path, int) or None
        File and offset of rows that are mapped into memory; ``array`` is set too.
    recipe : callable or None
        Opens the same rows in another process, which must see the same files; can be pickled.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        *,
        array: NDArray[Any] | None = None,
        source: _Source | None = None,
        tensor: Any = None,
        mapped: tuple[Path, int] | None = None,
        recipe: Callable[[], Rows] | None = None,
    ) -> None:
        self.mapped = mapped
        self.recipe = recipe
        self.n_rows, self.n_cols = (int(n) for n in shape)
        self.dtype = dtype
        self.array = array
        self.tensor = tensor
        self._source = _TensorSource(tensor) if tensor is not None else source

    def __repr__(self) -> str:
        where = "in memory" if self.array is not None else "read in blocks"
        where = where if self.tensor is None else f"on {self.tensor.device}"
        return f"Rows({self.n_rows:,} x {self.n_cols:,} {self.dtype}, {where})"

    def __len__(self) -> int:
        return self.n_rows

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_cols)."""
        return self.n_rows, self.n_cols

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in their own dtype."""
        return self.n_rows * self.n_cols * self.dtype.itemsize

    def from_storage(self) -> Rows:
        """The same rows read from their file, not through a mapping that fills memory."""
        if self.mapped is None:
            return self
        source = _FileSource(*self.mapped, self.n_cols, self.dtype)
        return Rows(self.shape, self.dtype, source=source, recipe=self.recipe)

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Rows ``start`` to ``stop``; a view where the rows are addressable, never to be written.

        Parameters
        ----------
        start, stop : int
            0 <= start <= stop; ``stop`` is cut at ``n_rows``.

        Returns
        -------
        dtype[stop - start, n_cols]
        """
        stop = min(stop, self.n_rows)
        if self.array is not None:
            return self.array[start:stop]
        assert self._source is not None
        if start >= stop:
            return np.empty((0, self.n_cols), self.dtype)
        return self._source.read(start, stop).astype(self.dtype, copy=False)

    def take(self, ids: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Copy the rows ``ids``, in that order; each stored chunk is read once.

        Parameters
        ----------
        ids : int64[n]
            Row ids in [0, n_rows), in any order, repeats allowed.

        Returns
        -------
        dtype[n, n_cols], C-contiguous
        """
        ids = np.asarray(ids, dtype=np.int64)
        if self.array is not None:
            return np.ascontiguousarray(self.array[ids])
        out = np.empty((len(ids), self.n_cols), self.dtype)
        order = np.argsort(ids, kind="stable")
        chunk_of = ids[order] // self._chunk_rows
        ends = np.flatnonzero(np.diff(chunk_of)) + 1
        for where in np.split(order, ends) if len(ids) else []:
            first, last = int(ids[where[0]]), int(ids[where[-1]])
            out[where] = self.block(first, last + 1)[ids[where] - first]
        return out

    def blocks(self, budget_bytes: int = 32 << 20) -> Iterator[tuple[int, NDArray[Any]]]:
        """Walk over all rows in blocks of at most ``budget_bytes`` (and at least one row).

        Stored chunks are read whole, each once, even where the budget is smaller than a chunk.

        Yields
        ------
        start : int
        block : dtype[n, n_cols]
        """
        per_block = max(1, int(budget_bytes) // max(1, self.n_cols * self.dtype.itemsize))
        chunk = self._chunk_rows
        per_read = per_block if self.array is not None else max(chunk, per_block // chunk * chunk)
        for start in range(0, self.n_rows, per_read):
            part = self.block(start, start + per_read)
            for low in range(0, len(part), per_block):
                yield start + low, part[low : low + per_block]

    @property
    def _chunk_rows(self) -> int:
        return 1 if self._source is None else max(1, self._source.chunk_rows)


class ZarrSource:
    """The first ``n_rows`` rows of a 2-D Zarr array; errors name the chunk and ``name``."""

    def __init__(self, array: Any, name: str) -> None:
        self.array = array
        self.name = name
        self.chunk_rows = int(array.chunks[0])
        self._file_rows = int((getattr(array, "shards", None) or array.chunks)[0])

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop; a chunk that cannot be decoded is a `StoreError`."""
        try:
            return np.asarray(self.array[start:stop])
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            raise StoreError(self._describe(start, stop, error)) from error

    def _describe(self, start: int, stop: int, error: Exception) -> str:
        first, last = start // self._file_rows, (stop - 1) // self._file_rows
        which = f"chunk {first}" if first == last else f"one of the chunks {first} to {last}"
        # zarr goes on with the bytes of both checksums, which help nobody
        reason = " ".join(str(error).partition(". Stored:")[0].split()) or type(error).__name__
        return (
            f"{which} of {self.name} (rows {start:,} to {stop - 1:,}) is truncated or damaged: "
            f"{reason[:160]}; write it again or restore the file from a copy"
        )


class _FileSource:
    """Rows one after another in a file, from an offset on."""

    chunk_rows = 1

    def __init__(self, path: Path, offset: int, n_cols: int, dtype: np.dtype[Any]) -> None:
        self.path, self.offset = path, offset
        self.n_cols, self.dtype = n_cols, dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop."""
        n_bytes, wanted = self.n_cols * self.dtype.itemsize, (stop - start) * self.n_cols
        try:
            found = np.fromfile(
                self.path, self.dtype, count=wanted, offset=self.offset + start * n_bytes
            )
        except OSError as error:
            raise StoreError(f"reading {self.path} failed: {error.strerror or error}") from error
        if len(found) < wanted:
            raise StoreError(f"{self.path} is shorter than it was; restore the file from a copy")
        return found.reshape(-1, self.n_cols)


class _SwappedSource:
    """An array in foreign byte order, converted block by block."""

    chunk_rows = 256

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def read(self, start: int, stop: int) -> NDArray[Any]:
        return self.array[start:stop]


class _TensorSource:
    """A tensor in a GPU's memory, copied to the host block by block."""

    chunk_rows = 1

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def read(self, start: int, stop: int) -> NDArray[Any]:
        block: NDArray[Any] = self.tensor[start:stop].cpu().numpy()
        return block


def as_rows(X: Any, *, min_rows: int = 1) -> Rows:
    """Give uniform read access to the rows of ``X`` without copying it.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_cols)
        numpy array, memmap, anything with ``__array__`` or DLPack (a torch tensor; on a GPU a
        CuPy array too, or anything with ``__cuda_array_interface__``), a Zarr array, a layer of
        an activation store, `Rows`, or nested lists.
    min_rows : int
        Fewer rows are an error.

    Returns
    -------
    Rows
        float16, float32, float64 and integers keep their dtype; bool reads as uint8; objects
        that are all numbers become float64 (this one case copies).

    Raises
    ------
    DataError
        Not two-dimensional, sparse, complex, text, no columns, or fewer than ``min_rows`` rows.

    Notes
    -----
    Values are not looked at; see `check_finite`. Integers beyond 2**53 round when they are
    read as float64.

    Examples
    --------
    >>> import numpy as np
    >>> as_rows(np.zeros((3, 2), np.float32))
    Rows(3 x 2 float32, in memory)
    """
    rows = _from_any(X)
    if rows.n_rows < min_rows:
        raise DataError(
            f"Found array with {rows.n_rows} sample(s) (shape={rows.shape}) while a minimum of "
            f"{min_rows} is required; hand over at least {min_rows} row(s)."
        )
    if rows.n_cols < 1:
        raise DataError(
            f"Found array with 0 feature(s) (shape={rows.shape}) while a minimum of 1 is required."
        )
    return rows


def _from_any(X: Any) -> Rows:
    if isinstance(X, Rows):
        return X
    if hasattr(X, "__topoact_rows__"):
        return X.__topoact_rows__()
    if type(X).__module__.partition(".")[0] == "zarr":
        return _from_zarr(X)
    if is_on_gpu(X):
        return _from_gpu(X)
    return _from_array(_to_array(X), _mapping(X))


def _mapping(X: Any) -> tuple[Path, int] | None:
    """File and offset of a memmap whose rows lie in it one after another."""
    # A part of a mapped array keeps the offset of the whole: only the whole is mapped directly.
    base: Any = getattr(X, "base", None)
    if not isinstance(X, np.memmap) or not isinstance(base, mmap) or not X.flags.c_contiguous:
        return None
    path = Path(str(X.filename))
    return (path, int(X.offset)) if path.is_file() else None


def is_on_gpu(X: Any) -> bool:
    """Whether an array lies in the memory of a CUDA device, by what it says of itself."""
    if hasattr(X, "__dlpack_device__"):
        return int(X.__dlpack_device__()[0]) in _CUDA_KINDS
    return hasattr(X, "__cuda_array_interface__")


def _from_gpu(X: Any) -> Rows:
    """The same memory as a torch tensor; bfloat16 becomes float32, exactly."""
    import torch

    if hasattr(X, "detach"):
        X = X.detach()
    tensor = torch.from_dlpack(X) if hasattr(X, "__dlpack__") else torch.as_tensor(X, device="cuda")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.to(torch.float32)
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    dtype = _row_dtype(str(tensor.dtype).removeprefix("torch."))
    _check_2d(tuple(tensor.shape), "array")
    n_rows, n_cols = tensor.shape
    return Rows((n_rows, n_cols), dtype, tensor=tensor)


def _from_zarr(X: Any) -> Rows:
    if not hasattr(X, "chunks"):
        raise DataTypeError(
            "X is a Zarr group, a Zarr array is required; pick an array of it, "
            "or open_store(path).layer(name)"
        )
    dtype = _row_dtype(X.dtype)
    _check_2d(X.shape, "Zarr array")
    source = ZarrSource(X, f"Zarr array {X.name or X.store_path}")
    in_memory = type(X.store).__name__ == "MemoryStore"
    return Rows(X.shape, dtype, source=source, recipe=None if in_memory else partial(as_rows, X))


def _from_array(array: NDArray[Any], mapped: tuple[Path, int] | None = None) -> Rows:
    if array.dtype.kind == "O":
        array = _numbers_from_objects(array)
    dtype = _row_dtype(array.dtype)
    _check_2d(array.shape, "array", array)
    if array.dtype.kind == "b":
        return Rows(array.shape, dtype, array=array.view(np.uint8))
    if not array.dtype.isnative:
        return Rows(array.shape, dtype, source=_SwappedSource(array))
    recipe = None
    if mapped is not None:
        recipe = partial(rows_of_file, mapped[0].resolve(), mapped[1], array.shape, dtype)
    return Rows(array.shape, dtype, array=array, mapped=mapped, recipe=recipe)


def rows_of_file(path: Path, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> Rows:
    """Rows that lie one after another in a file, from an offset on; read when they are asked for.

    Parameters
    ----------
    path : Path
    offset : int
        In bytes.
    shape : (n_rows, n_cols)
    dtype : numpy.dtype

    Returns
    -------
    Rows
    """
    recipe = partial(rows_of_file, path, offset, shape, dtype)
    return Rows(shape, dtype, source=_FileSource(path, offset, shape[1], dtype), recipe=recipe)


def _to_array(X: Any) -> NDArray[Any]:
    """View X as an ndarray, without importing the library it came from."""
    if hasattr(X, "tocsr") or hasattr(X, "todense"):
        raise DataTypeError(
            "Sparse data was passed, but dense data is required. "
            "Use '.toarray()' to convert to a dense numpy array."
        )
    if np.ma.isMaskedArray(X) and np.ma.is_masked(X):
        raise DataError("masked values were passed, but every value is required; fill or drop them")
    try:
        if isinstance(X, np.ndarray):
            return np.asarray(X)
        if hasattr(X, "__dlpack__") and not hasattr(X, "__array__"):
            return np.from_dlpack(X)
        return np.asarray(X)
    except TypeError as error:
        raise DataTypeError(_unreadable(X, error)) from error
    except (ValueError, RuntimeError, BufferError) as error:
        raise DataError(_unreadable(X, error)) from error


def _unreadable(X: Any, error: Exception) -> str:
    reason = " ".join(str(error).split())
    return (
        f"X must become a two-dimensional numpy array in host memory, but {type(X).__name__} "
        f"does not: {reason}; convert it first (for torch: X.detach().float().cpu())"
    )


def _numbers_from_objects(array: NDArray[Any]) -> NDArray[np.float64]:
    if any(isinstance(value, complex | np.complexfloating) for value in array.flat):
        raise DataError("Complex data not supported; pass real numbers")
    try:
        return array.astype(np.float64)
    except TypeError as error:
        raise DataTypeError(f"X has dtype object and is not all numbers: {error}") from error
    except ValueError as error:
        raise DataError(f"X has dtype object and is not all numbers: {error}") from error


def _row_dtype(dtype: Any) -> np.dtype[Any]:
    """The native dtype rows are given in, or an error for what is not numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        raise DataError(f"Complex data not supported: X has dtype {dtype}; pass real numbers")
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)):
        return dtype.newbyteorder("=")
    raise DataError(
        f"X must be float16, float32, float64 or integers, but has dtype {dtype}; "
        "convert it, for example with X.astype('float32')"
    )


def _check_2d(shape: tuple[int, ...], kind: str, array: NDArray[Any] | None = None) -> None:
    if len(shape) == 2:
        return
    if len(shape) > 2:
        raise DataError(
            f"Found {kind} with dim {len(shape)} (shape={shape}), while dim <= 2 is required; "
            "flatten each row, for example with X.reshape(len(X), -1)"
        )
    found = "scalar array" if len(shape) == 0 else "1D array"
    shown = "" if array is None else f" (shape={shape})"
    raise DataError(f"Expected 2D array, got {found} instead{shown}. {_RESHAPE}")


def finite_rows(block: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Say which rows of a block are finite throughout; None when all are.

    Parameters
    ----------
    block : [n, n_cols]
        Any dtype that `Rows` has; integers are finite.

    Returns
    -------
    bool[n] or None

    Notes
    -----
    A maximum and a minimum over parts that fit the cache (NaN survives both), so a block
    without faults costs about one read of it.

    Examples
    --------
    >>> finite_rows(np.array([[1.0, np.inf], [0.0, 2.0]]))
    array([False,  True])
    """
    if block.dtype.kind != "f" or block.size == 0:
        return None
    step = max(1, _CHECK_BYTES // max(1, block.shape[1] * block.dtype.itemsize))
    good: NDArray[np.bool_] | None = None
    for start in range(0, len(block), step):
        part = block[start : start + step]
        if _all_finite(part):
            continue
        if good is None:
            good = np.ones(len(block), np.bool_)
        good[start : start + step] = np.isfinite(part).all(axis=1)
    return good


def _all_finite(part: NDArray[Any]) -> bool:
    if part.dtype == np.float16:
        # numpy has no vector float16 arithmetic: an exponent of all ones is NaN or infinity
        return bool((part.view(np.uint16) & np.uint16(0x7FFF)).max() < 0x7C00)
    return bool(np.isfinite(part.max()) and np.isfinite(part.min()))


def check_finite(rows: Rows, *, name: str = "X", budget_bytes: int = 32 << 20) -> None:
    """Raise when any value is NaN or infinite, naming the first such row and how many there are.

    Parameters
    ----------
    rows : Rows
    name : str
        What the message calls the data.
    budget_bytes : int
        Rows that have to be read are read in blocks of this size.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_finite(as_rows(np.ones((2, 2))))
    >>> check_finite(as_rows(np.array([[1.0], [np.nan]])))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    topoact_gpu.errors.DataError: X must be finite, but 1 of 2 rows has NaN or inf; ...
    """
    if rows.dtype.kind != "f":
        return
    n_bad, first = 0, -1
    for start, block in rows.blocks(budget_bytes):
        good = finite_rows(block)
        if good is None:
            continue
        n_bad += len(good) - int(good.sum())
        if first < 0:
            first = start + int(np.argmin(good))
    if n_bad:
        raise DataError(nonfinite_message(name, n_bad, rows.n_rows, first))


def nonfinite_message(name: str, n_bad: int, n_rows: int, first: int) -> str:
    """The one wording for rows with NaN or infinity."""
    have = "has" if n_bad == 1 else "have"
    return (
        f"{name} must be finite, but {n_bad:,} of {n_rows:,} rows {have} NaN or inf; "
        f"the first is row {first:,}; drop or replace these rows"
    )
