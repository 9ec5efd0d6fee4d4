"""Machine-level building blocks, written as LLVM IR: atomics, half floats, what the machine has.

Everything here is inlined into numba functions and runs on any processor.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = [
    "HAS_AVX2",
    "HAS_AVX512",
    "HAS_F16C",
    "HAS_VNNI",
    "atomic_add",
    "call_address",
    "compare_and_swap",
    "half_to_float",
    "splat",
    "trailing_zeros",
]

_I32 = ir.IntType(32)
_F32 = ir.FloatType()

_FEATURES = dict(llvm.get_host_cpu_features())
HAS_AVX512 = bool(_FEATURES.get("avx512f"))
HAS_VNNI = HAS_AVX512 and bool(_FEATURES.get("avx512vnni"))
HAS_AVX2 = bool(_FEATURES.get("avx2"))
HAS_F16C = HAS_AVX512 or bool(_FEATURES.get("f16c"))


def _element(context: Any, builder: Any, array_type: Any, value: Any, index: Any) -> Any:
    """Pointer to element ``index`` of a one-dimensional C-contiguous array."""
    data = context.make_array(array_type)(context, builder, value).data
    return builder.gep(data, [index])


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """A vector of IR with the same number in each lane."""
    empty = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    single = builder.insert_element(empty, scalar, _I32(0))
    first = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(single, empty, first)


@intrinsic
def atomic_add(typingctx, array, index, value):  # type: ignore[no-untyped-def]
    """Add ``value`` to ``array[index]`` atomically; returns what was there before."""
    signature = array.dtype(array, types.int64, array.dtype)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = _element(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, args[2], "monotonic")

    return signature, codegen


@intrinsic
def compare_and_swap(typingctx, array, index, expected, new):  # type: ignore[no-untyped-def]
    """Store ``new`` in ``array[index]`` if it holds ``expected``; True when it did."""
    signature = types.boolean(array, types.int64, array.dtype, array.dtype)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = _element(context, builder, sig.args[0], args[0], args[1])
        result = builder.cmpxchg(pointer, args[2], args[3], "monotonic", "monotonic")
        return builder.extract_value(result, 1)

    return signature, codegen


@intrinsic
def trailing_zeros(typingctx, word):  # type: ignore[no-untyped-def]
    """Place of the lowest set bit of a non-zero int64."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


@intrinsic
def half_to_float(typingctx, bits):  # type: ignore[no-untyped-def]
    """float32 value of a float16 given by its bits (uint16); exact, subnormals included."""

    def hardware(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), _F32)

    def arithmetic(context, builder, sig, args):  # type: ignore[no-untyped-def]
        # Shift exponent and mantissa into float32's place, then multiply by 2**112, the
        # difference of the exponent biases: exact for normal and subnormal halves. Infinity
        # and NaN keep the largest exponent.
        wide = builder.zext(args[0], _I32)
        magnitude = builder.shl(builder.and_(wide, _I32(0x7FFF)), _I32(13))
        scaled = builder.fmul(builder.bitcast(magnitude, _F32), ir.Constant(_F32, 2.0**112))
        finite = builder.icmp_unsigned("<", magnitude, _I32(0x7C00 << 13))
        special = builder.or_(magnitude, _I32(0x7F800000))
        bits = builder.select(finite, builder.bitcast(scaled, _I32), special)
        sign = builder.shl(builder.and_(wide, _I32(0x8000)), _I32(16))
        return builder.bitcast(builder.or_(bits, sign), _F32)

    return types.float32(types.uint16), hardware if HAS_F16C else arithmetic


def call_address(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Code of an intrinsic whose first argument is the address of what to call with the rest.

    For a ``cfunc``: the numbers are passed as C passes them.
    """
    passed = [
        builder.zext(value, ir.IntType(8)) if value.type == ir.IntType(1) else value
        for value in args[1:]
    ]
    empty = sig.return_type == types.void
    result = ir.VoidType() if empty else context.get_value_type(sig.return_type)
    function = ir.FunctionType(result, [value.type for value in passed]).as_pointer()
    return builder.call(builder.inttoptr(args[0], function), passed)
