"""A table of rows as compiled code sees it: an address, a stride and a kind of number.

One compiled kernel serves float16, float32 and float64, writable or not, because none of that
is in its type; and no reference is counted in the loops, because an address has none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from topoact_gpu.kernels.simd import HAS_F16C, half_to_float

__all__ = [
    "FLOAT32",
    "FLOAT64",
    "HALF",
    "RowTable",
    "aligned",
    "four_numbers",
    "make_table",
    "norm_of",
    "number",
    "row_at",
    "single",
]

HALF, FLOAT32, FLOAT64 = 0, 1, 2
_KINDS = {"float16": HALF, "float32": FLOAT32, "float64": FLOAT64}


class RowTable(NamedTuple):
    """Rows in memory; whoever made it keeps the array alive."""

    address: int
    stride: int
    """Bytes from one row to the next."""
    n_rows: int
    n_cols: int
    kind: int
    """HALF, FLOAT32 or FLOAT64."""
    norms: NDArray[np.float64]
    """What each row is divided by (the cosine metric), or empty."""


def make_table(array: NDArray[Any], norms: NDArray[np.float64] | None = None) -> RowTable:
    """Describe a two-dimensional float array whose columns are adjacent in memory."""
    if array.dtype.name not in _KINDS or array.strides[1] != array.itemsize:
        raise TypeError(f"no table of {array.dtype} with strides {array.strides}")
    return RowTable(
        array.ctypes.data,
        array.strides[0],
        array.shape[0],
        array.shape[1],
        _KINDS[array.dtype.name],
        np.empty(0) if norms is None else norms,
    )


def aligned(shape: int, dtype: Any) -> NDArray[Any]:
    """Uninitialised one-dimensional array that starts on a cache line.

    A vector of 64 bytes that lies across two lines costs two accesses.
    """
    n_bytes = shape * np.dtype(dtype).itemsize
    buffer = np.empty(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes].view(dtype)


def _reader(kind: ir.Type, numba_type: Any) -> Any:
    """``read(address, k)``; indexed from a pointer, which is what vectorises."""

    @intrinsic
    def read(typingctx, address, k):  # type: ignore[no-untyped-def]
        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            pointer = builder.inttoptr(args[0], kind.as_pointer())
            return builder.load(builder.gep(pointer, [args[1]]))

        return numba_type(types.int64, types.int64), codegen

    return read


_read_half = _reader(ir.IntType(16), types.uint16)
_read_float = _reader(ir.FloatType(), types.float32)
_read_double = _reader(ir.DoubleType(), types.float64)


@njit(inline="always")
def number(address, k, kind):  # type: ignore[no-untyped-def]
    """Number k of the row at an address, as float64.

    ``kind`` must be a constant where it matters: the compiler does not take the choice out of
    a loop by itself, and a loop with the choice inside is ten times slower.
    """
    if kind == HALF:
        return np.float64(half_to_float(_read_half(address, k)))
    if kind == FLOAT32:
        return np.float64(_read_float(address, k))
    return _read_double(address, k)


_LOADED = (ir.IntType(16), ir.FloatType(), ir.DoubleType())
"""What a number is loaded as, by kind."""


def _four_halves(builder: Any, halves: Any) -> Any:
    """<4 x float> of four float16 given by their bits; see simd.half_to_float."""
    floats = ir.VectorType(ir.FloatType(), 4)
    if HAS_F16C:
        return builder.fpext(builder.bitcast(halves, ir.VectorType(ir.HalfType(), 4)), floats)
    integers = ir.VectorType(ir.IntType(32), 4)
    wide = builder.zext(halves, integers)
    magnitude = builder.and_(wide, ir.Constant(integers, [0x7FFF] * 4))
    magnitude = builder.shl(magnitude, ir.Constant(integers, [13] * 4))
    scaled = builder.fmul(
        builder.bitcast(magnitude, floats), ir.Constant(floats, [2.0**112] * 4)
    )
    finite = builder.icmp_unsigned("<", magnitude, ir.Constant(integers, [0x7C00 << 13] * 4))
    special = builder.or_(magnitude, ir.Constant(integers, [0x7F800000] * 4))
    bits = builder.select(finite, builder.bitcast(scaled, integers), special)
    sign = builder.and_(wide, ir.Constant(integers, [0x8000] * 4))
    sign = builder.shl(sign, ir.Constant(integers, [16] * 4))
    return builder.bitcast(builder.or_(bits, sign), floats)


@intrinsic
def four_numbers(typingctx, address, k, kind):  # type: ignore[no-untyped-def]
    """Numbers k..k + 3 of the row at an address, as four float64; ``kind`` is a constant.

    For loops that cannot be vectorised. There halves turned one by one may wait for each other:
    the instruction that loads one keeps the rest of its register.
    """
    if not isinstance(kind, types.Literal):
        return None
    element = _LOADED[kind.literal_value]

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = builder.gep(builder.inttoptr(args[0], element.as_pointer()), [args[1]])
        pointer = builder.bitcast(pointer, ir.VectorType(element, 4).as_pointer())
        four = builder.load(pointer, align=2 << kind.literal_value)
        if kind.literal_value == HALF:
            four = _four_halves(builder, four)
        if kind.literal_value != FLOAT64:
            four = builder.fpext(four, ir.VectorType(ir.DoubleType(), 4))
        numbers = [builder.extract_element(four, ir.IntType(32)(i)) for i in range(4)]
        return context.make_tuple(builder, sig.return_type, numbers)

    return types.UniTuple(types.float64, 4)(types.int64, types.int64, kind), codegen


@njit(inline="always")
def single(address, k, kind):  # type: ignore[no-untyped-def]
    """The same as float32, for kinds that it holds exactly: HALF or FLOAT32, a constant."""
    if kind == HALF:
        return half_to_float(_read_half(address, k))
    return _read_float(address, k)


@njit(inline="always")
def row_at(table, row):  # type: ignore[no-untyped-def]
    """Address of a row."""
    return table.address + row * table.stride


@njit(inline="always")
def norm_of(table, row):  # type: ignore[no-untyped-def]
    """What a row is divided by, or 0.0 where rows stay as they are."""
    return table.norms[row] if table.norms.size else 0.0
