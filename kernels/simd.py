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
    "dot_row",
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


def _row_products(builder: Any, n_rows: int, fresh: bool, args: Any) -> None:
    """The loop of :func:`dot_block` and :func:`dot_row`: ``n_rows`` x 48 running sums.

    One row alone runs two sets of sums, for even and odd quads: three chains of dependent
    products would wait for each other.
    """
    zero, n_sets = _I64(0), 2 if n_rows == 1 else 1
    left, start = (builder.inttoptr(args[k], _I32.as_pointer()) for k in (0, 3))
    right, tile = (builder.inttoptr(args[k], _V32.as_pointer()) for k in (1, 4))
    product = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(_V32, [_V32, _V32, _V32]),
        "llvm.x86.avx512.vpdpbusd.512",
    )
    places = [(i, v) for i in range(n_rows) for v in range(_VECTORS)]
    sums = []
    for i, v in places:
        value = _splat(builder, builder.load(builder.gep(start, [_I64(i)])), _V32)
        if not fresh:
            at = builder.gep(tile, [_I64(i * _VECTORS + v)])
            value = builder.add(builder.load(at, align=4), value)
        sums.append(value)
    sums += [ir.Constant(_V32, [0] * LANES)] * (len(places) * (n_sets - 1))
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
    updated = []
    for step in range(n_sets):
        quad = builder.add(counter, _I64(step))
        first = builder.mul(quad, _I64(_VECTORS))
        columns = [
            builder.load(builder.gep(right, [builder.add(first, _I64(v))]), align=4)
            for v in range(_VECTORS)
        ]
        base = builder.mul(quad, _I64(BLOCK_ROWS))
        for i in range(n_rows):
            scalar = builder.load(builder.gep(left, [builder.add(base, _I64(i))]))
            row = _splat(builder, scalar, _V32)
            for v in range(_VECTORS):
                running = phis[step * len(places) + i * _VECTORS + v]
                updated.append(builder.call(product, [running, columns[v], row]))
    following = builder.add(counter, _I64(n_sets))
    counter.add_incoming(following, loop)
    for phi, value in zip(phis, updated, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, args[2]), loop, done)
    builder.position_at_end(done)
    for k, (i, v) in enumerate(places):
        value = updated[k]
        if n_sets == 2:
            value = builder.add(value, updated[len(places) + k])
        builder.store(value, builder.gep(tile, [_I64(i * _VECTORS + v)]), align=4)


@intrinsic
def dot_block(typingctx, left, right, n_quads, start, tile, fresh):  # type: ignore[no-untyped-def]
    """Products of 8 left rows and 48 right rows over ``4 * n_quads`` columns, into ``tile``.

    ``left`` int32 ``[n_quads, 8]``: four signed bytes each; ``right`` uint8
    ``[n_quads, 48, 4]``: bytes with 128 added; ``start`` int32[8]: what undoes that offset
    (minus 128 times the sum of the left bytes); ``tile`` int32[8 * 48]. All are addresses
    (int64): arrays would be counted in and out at every call. ``fresh`` is a literal: False
    adds to what the tile holds. Sums are exact: vpdpbusd does not saturate.
    """
    if not isinstance(fresh, types.BooleanLiteral):
        return None
    literal = fresh.literal_value

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _row_products(builder, BLOCK_ROWS, literal, args)
        return context.get_dummy_value()

    return types.void(*([types.int64] * 5), fresh), codegen


@intrinsic
def dot_row(typingctx, left, right, n_quads, start, tile):  # type: ignore[no-untyped-def]
    """The same for one row of the left operand (its first quad's address); n_quads even."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _row_products(builder, 1, True, args)
        return context.get_dummy_value()

    return types.void(*([types.int64] * 5)), codegen


@intrinsic
def survivors(typingctx, tile, stride, left, right, masks, n_rows, integers):  # type: ignore[no-untyped-def]
    """Mark the pairs of an n_rows x 48 block of products that may lie within eps; any mask set.

    ``tile`` int32 or float32, rows ``stride`` apart; ``left`` float32[n_rows, 4] and
    ``right`` float32[4, 48] from quantise: a pair survives when
    ``sum_t left[i, t] * right[t, j] <= tile[i, j]``. ``masks`` uint16[n_rows * 3], 16 pairs
    each. All but ``stride`` are addresses; ``n_rows`` and ``integers`` (whether the tile is
    int32) are literals.
    """
    if not isinstance(integers, types.BooleanLiteral) or not isinstance(n_rows, types.Literal):
        return None
    is_int32, count = integers.literal_value, n_rows.literal_value
    vector = _V32 if is_int32 else _VF

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        tile_ptr, left_ptr = (builder.inttoptr(args[k], _F32.as_pointer()) for k in (0, 2))
        right_ptr = builder.inttoptr(args[3], _VF.as_pointer())
        mask_ptr = builder.inttoptr(args[4], _I16.as_pointer())
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
        for i in range(count):
            terms = [
                _splat(builder, builder.load(builder.gep(left_ptr, [_I64(4 * i + t)])), _VF)
                for t in range(4)
            ]
            row = builder.gep(tile_ptr, [builder.mul(_I64(i), args[1])])
            row = builder.bitcast(row, vector.as_pointer())
            for v in range(_VECTORS):
                products = builder.load(builder.gep(row, [_I64(v)]), align=4)
                if is_int32:
                    products = builder.sitofp(products, _VF)
                limit = builder.fmul(terms[0], columns[0][v])
                for t in range(1, 4):
                    limit = builder.call(fma, [terms[t], columns[t][v], limit])
                mask = builder.bitcast(builder.fcmp_ordered("<=", limit, products), _I16)
                builder.store(mask, builder.gep(mask_ptr, [_I64(i * _VECTORS + v)]))
                total = builder.or_(total, mask)
        return builder.zext(total, _I64)

    return types.int64(*([types.int64] * 5), n_rows, integers), codegen
