"""Machine-level building blocks, written as LLVM IR: atomics, half floats, int8 tile products.

Everything here is inlined into numba functions. Only :func:`dot_block` needs a particular
processor (AVX-512 VNNI); ask :data:`HAS_VNNI` first. The rest is portable vector IR.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "BLOCK_ROWS",
    "HAS_F16C",
    "HAS_VNNI",
    "LANES",
    "PANEL_ROWS",
    "atomic_add",
    "compare_and_swap",
    "dot_block",
    "half_to_float",
    "survivors",
    "trailing_zeros",
]

LANES = 16
"""int32 or float32 numbers in one vector."""
BLOCK_ROWS = 8
"""Rows of the left operand of one tile product."""
PANEL_ROWS = 48
"""Rows of the right operand: 3 vectors, so 8 x 3 accumulators fill 24 of 32 registers."""
_VECTORS = PANEL_ROWS // LANES

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_V32 = ir.VectorType(_I32, LANES)
_VF = ir.VectorType(_F32, LANES)


def _host_features() -> dict[str, bool]:
    return dict(llvm.get_host_cpu_features())


HAS_VNNI = bool(_host_features().get("avx512vnni") and _host_features().get("avx512f"))
HAS_F16C = bool(_host_features().get("f16c") or _host_features().get("avx512f"))


def _element(context: Any, builder: Any, array_type: Any, value: Any, index: Any) -> Any:
    """Pointer to element ``index`` of a one-dimensional C-contiguous array."""
    data = context.make_array(array_type)(context, builder, value).data
    return builder.gep(data, [index])


def _splat(builder: Any, scalar: Any, vector_type: Any) -> Any:
    single = builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, _I32(0))
    mask = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(vector_type, ir.Undefined), mask)


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
        # difference of the exponent biases: exact for normal and subnormal halves.
        wide = builder.zext(args[0], _I32)
        magnitude = builder.shl(builder.and_(wide, _I32(0x7FFF)), _I32(13))
        scaled = builder.fmul(builder.bitcast(magnitude, _F32), ir.Constant(_F32, 2.0**112))
        sign = builder.shl(builder.and_(wide, _I32(0x8000)), _I32(16))
        return builder.bitcast(builder.or_(builder.bitcast(scaled, _I32), sign), _F32)

    return types.float32(types.uint16), hardware if HAS_F16C else arithmetic


@intrinsic
def dot_block(typingctx, left, left_at, right, right_at, n_quads, start, start_at, tile):  # type: ignore[no-untyped-def]
    """Add to ``tile`` the products of 8 left rows and 48 right rows over ``4 * n_quads`` columns.

    ``left`` int32 ``[n_quads, 8]``: four signed bytes each; ``right`` uint8
    ``[n_quads, 48, 4]``: bytes with 128 added; ``start`` int32[8]: what undoes that offset
    (minus 128 times the sum of the left bytes); ``tile`` int32[8 * 48]. Sums are exact:
    vpdpbusd does not saturate.
    """
    signature = types.void(
        left, types.int64, right, types.int64, types.int64, start, types.int64, tile
    )

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        zero = _I64(0)
        left_ptr = _element(context, builder, sig.args[0], args[0], args[1])
        right_ptr = builder.bitcast(
            _element(context, builder, sig.args[2], args[2], args[3]), _V32.as_pointer()
        )
        start_ptr = _element(context, builder, sig.args[5], args[5], args[6])
        tile_ptr = builder.bitcast(
            _element(context, builder, sig.args[7], args[7], zero), _V32.as_pointer()
        )
        product = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_V32, [_V32, _V32, _V32]),
            "llvm.x86.avx512.vpdpbusd.512",
        )
        places = [(i, v) for i in range(BLOCK_ROWS) for v in range(_VECTORS)]
        sums = []
        for i, v in places:
            offset = _splat(builder, builder.load(builder.gep(start_ptr, [_I64(i)])), _V32)
            at = builder.gep(tile_ptr, [_I64(i * _VECTORS + v)])
            sums.append(builder.add(builder.load(at, align=4), offset))
        entry = builder.block
        loop = builder.append_basic_block("quads")
        done = builder.append_basic_block("stored")
        builder.branch(loop)
        builder.position_at_end(loop)
        counter = builder.phi(_I64)
        counter.add_incoming(zero, entry)
        phis = []
        for value in sums:
            phi = builder.phi(_V32)
            phi.add_incoming(value, entry)
            phis.append(phi)
        columns = [
            builder.load(
                builder.gep(
                    right_ptr, [builder.add(builder.mul(counter, _I64(_VECTORS)), _I64(v))]
                ),
                align=4,
            )
            for v in range(_VECTORS)
        ]
        base = builder.mul(counter, _I64(BLOCK_ROWS))
        updated = []
        for i in range(BLOCK_ROWS):
            scalar = builder.load(builder.gep(left_ptr, [builder.add(base, _I64(i))]))
            row = _splat(builder, scalar, _V32)
            for v in range(_VECTORS):
                updated.append(
                    builder.call(product, [phis[i * _VECTORS + v], columns[v], row])
                )
        following = builder.add(counter, _I64(1))
        counter.add_incoming(following, loop)
        for phi, value in zip(phis, updated, strict=True):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, args[4]), loop, done)
        builder.position_at_end(done)
        for (i, v), value in zip(places, updated, strict=True):
            builder.store(value, builder.gep(tile_ptr, [_I64(i * _VECTORS + v)]), align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def survivors(typingctx, tile, tile_at, stride, left, left_at, right, right_at, masks):  # type: ignore[no-untyped-def]
    """Mark the pairs of an 8 x 48 block of products that may lie within eps; any mask set.

    ``tile`` int32 or float32, rows ``stride`` apart; ``left`` float32[8, 4] and ``right``
    float32[4, 48] from :mod:`~topoact_gpu.kernels.bounds`: a pair survives when
    ``sum_t left[i, t] * right[t, j] <= tile[i, j]``. ``masks`` uint16[24], 16 pairs each.
    """
    signature = types.int64(
        tile, types.int64, types.int64, left, types.int64, right, types.int64, masks
    )

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        tile_ptr = _element(context, builder, sig.args[0], args[0], args[1])
        left_ptr = _element(context, builder, sig.args[3], args[3], args[4])
        right_ptr = builder.bitcast(
            _element(context, builder, sig.args[5], args[5], args[6]), _VF.as_pointer()
        )
        mask_ptr = _element(context, builder, sig.args[7], args[7], _I64(0))
        integers = isinstance(sig.args[0].dtype, types.Integer)
        vector = _V32 if integers else _VF
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VF, [_VF, _VF, _VF]), "llvm.fma.v16f32"
        )
        columns = [
            [
                builder.load(builder.gep(right_ptr, [_I64(t * _VECTORS + v)]), align=4)
                for v in range(_VECTORS)
            ]
            for t in range(4)
        ]
        total = _I16(0)
        for i in range(BLOCK_ROWS):
            terms = [
                _splat(builder, builder.load(builder.gep(left_ptr, [_I64(4 * i + t)])), _VF)
                for t in range(4)
            ]
            row = builder.gep(tile_ptr, [builder.mul(_I64(i), args[2])])
            row = builder.bitcast(row, vector.as_pointer())
            for v in range(_VECTORS):
                products = builder.load(builder.gep(row, [_I64(v)]), align=4)
                if integers:
                    products = builder.sitofp(products, _VF)
                limit = builder.fmul(terms[0], columns[0][v])
                for t in range(1, 4):
                    limit = builder.call(fma, [terms[t], columns[t][v], limit])
                mask = builder.bitcast(builder.fcmp_ordered("<=", limit, products), _I16)
                builder.store(mask, builder.gep(mask_ptr, [_I64(i * _VECTORS + v)]))
                total = builder.or_(total, mask)
        return builder.zext(total, _I64)

    return signature, codegen
