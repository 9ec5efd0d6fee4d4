"""The loops of the tile products, written as LLVM IR: everything waits for them.

See :mod:`topoact_gpu.kernels.product.cpu` for what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from topoact_gpu.kernels.simd import HAS_AVX512, splat

__all__ = [
    "AVX2",
    "BLOCK_ROWS",
    "FLOAT32",
    "LANES",
    "PANEL_ROWS",
    "PORTABLE",
    "VNNI",
    "mark_tile",
    "multiply_rows",
]

VNNI, AVX2, FLOAT32, PORTABLE = range(4)
LANES = 16
"""Pairs that share a mask word."""
BLOCK_ROWS = 8
"""Rows of the left operand of one tile product."""
PANEL_ROWS = 48
"""Rows of the right operand: 3 vectors of AVX-512, so 8 x 3 sums fill 24 of 32 registers."""

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F32 = ir.FloatType()
_VF = ir.VectorType(_F32, LANES)


class _Form(NamedTuple):
    """Shape of the inner loop."""

    lanes: int
    rows: int
    """Left rows whose sums are in registers at a time."""
    vectors: int
    """Right vectors likewise."""
    words: int
    """Words that one product takes."""
    sets: int
    """Sets of sums: few chains of dependent products would wait for each other."""


def _form(kind: int, n_rows: int) -> _Form:
    single = n_rows == 1
    if kind == AVX2:
        return _Form(8, 1, 6, 2, 1) if single else _Form(8, 4, 2, 2, 1)
    if kind == FLOAT32 and not HAS_AVX512:
        return _Form(8, 1, 6, 1, 2) if single else _Form(8, 4, 3, 1, 1)
    return _Form(16, 1, 3, 1, 2) if single else _Form(16, 8, 3, 1, 1)


_Product = Callable[[Any, Any, list[Any], list[Any]], Any]
"""(builder, sums, right vectors, left vectors) -> new sums."""


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def _vnni(builder: Any, sums: Any, right: list[Any], left: list[Any]) -> Any:
    return _call(builder, "llvm.x86.avx512.vpdpbusd.512", sums.type, [sums, right[0], left[0]])


def _avx2(builder: Any, sums: Any, right: list[Any], left: list[Any]) -> Any:
    small, halves = ir.VectorType(_I8, 32), ir.VectorType(_I16, 16)
    pairs = [
        _call(
            builder, "llvm.x86.avx2.pmadd.ub.sw", halves,
            [builder.bitcast(r, small), builder.bitcast(one, small)],
        )
        for r, one in zip(right, left, strict=True)
    ]
    ones = ir.Constant(halves, [1] * 16)
    both = builder.add(*pairs)
    return builder.add(sums, _call(builder, "llvm.x86.avx2.pmadd.wd", sums.type, [both, ones]))


def _float32(builder: Any, sums: Any, right: list[Any], left: list[Any]) -> Any:
    return _call(builder, f"llvm.fma.v{sums.type.count}f32", sums.type, [right[0], left[0], sums])


def _portable(builder: Any, sums: Any, right: list[Any], left: list[Any]) -> Any:
    def each(amount: int) -> Any:
        return ir.Constant(sums.type, [amount] * sums.type.count)

    for byte in range(4):
        unsigned = builder.and_(builder.lshr(right[0], each(8 * byte)), each(255))
        signed = builder.ashr(builder.shl(left[0], each(24 - 8 * byte)), each(24))
        sums = builder.add(sums, builder.mul(unsigned, signed))
    return sums


_PRODUCTS: dict[int, _Product] = {
    VNNI: _vnni, AVX2: _avx2, FLOAT32: _float32, PORTABLE: _portable,
}


def _emit(builder: Any, kind: int, n_rows: int, fresh: Any, args: Any) -> None:
    """``n_rows`` x 48 sums: strips of rows x vectors that fit the registers, one by one."""
    form = _form(kind, n_rows)
    n_vectors = PANEL_ROWS // form.lanes
    with _loop(builder, n_rows // form.rows) as row_group:
        first_row = builder.mul(row_group, _I64(form.rows))
        with _loop(builder, n_vectors // form.vectors) as vector_group:
            first_vector = builder.mul(vector_group, _I64(form.vectors))
            _strip(builder, kind, form, fresh, args, first_row, first_vector)


class _Loop:
    """A counted loop in IR, or nothing around its body where it runs once."""

    def __init__(self, builder: Any, count: int) -> None:
        self.context = nullcontext() if count == 1 else cgutils.for_range(builder, _I64(count))

    def __enter__(self) -> Any:
        loop = self.context.__enter__()
        return _I64(0) if loop is None else loop.index

    def __exit__(self, *exception: Any) -> None:
        self.context.__exit__(*exception)


_loop = _Loop


def _strip(
    builder: Any, kind: int, form: _Form, fresh: Any, args: Any, first_row: Any, first_vector: Any
) -> None:
    """Sums of some rows and vectors over all words."""
    number = _F32 if kind == FLOAT32 else _I32
    vector = ir.VectorType(number, form.lanes)
    add = builder.fadd if kind == FLOAT32 else builder.add
    left, start = (builder.inttoptr(args[k], number.as_pointer()) for k in (0, 3))
    right, tile = (builder.inttoptr(args[k], vector.as_pointer()) for k in (1, 4))
    n_vectors = _I64(PANEL_ROWS // form.lanes)
    left = builder.gep(left, [first_row])
    right = builder.gep(right, [first_vector])
    start = builder.gep(start, [first_row])
    tile = builder.gep(tile, [builder.add(builder.mul(first_row, n_vectors), first_vector)])
    zero = ir.Constant(vector, [0] * form.lanes)
    places = [(i, v) for i in range(form.rows) for v in range(form.vectors)]
    spots = [builder.gep(tile, [_I64(i * PANEL_ROWS // form.lanes + v)]) for i, v in places]
    sums = []
    for (i, _), spot in zip(places, spots, strict=True):
        value = splat(builder, builder.load(builder.gep(start, [_I64(i)])), form.lanes)
        there = builder.select(fresh, zero, builder.load(spot, align=4))
        sums.append(add(there, value))
    sums += [zero] * (len(places) * (form.sets - 1))
    sums = _sum_words(builder, kind, form, args[2], left, right, sums)
    for k, spot in enumerate(spots):
        value = sums[k]
        for more in sums[k + len(places) :: len(places)]:
            value = add(value, more)
        builder.store(value, spot, align=4)


def _sum_words(
    builder: Any, kind: int, form: _Form, n_words: Any, left: Any, right: Any, sums: list[Any]
) -> list[Any]:
    """The loop over words; the sums, set after set."""
    entry, product, step = builder.block, _PRODUCTS[kind], form.words * form.sets
    loop = builder.append_basic_block("words")
    done = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    counter = builder.phi(_I64)
    counter.add_incoming(_I64(0), entry)
    phis = []
    for value in sums:
        phi = builder.phi(value.type)
        phi.add_incoming(value, entry)
        phis.append(phi)
    updated: list[Any] = []
    for each in range(form.sets):
        words = [builder.add(counter, _I64(each * form.words + w)) for w in range(form.words)]
        firsts = [builder.mul(word, _I64(PANEL_ROWS // form.lanes)) for word in words]
        columns = [
            [
                builder.load(builder.gep(right, [builder.add(at, _I64(v))]), align=4)
                for at in firsts
            ]
            for v in range(form.vectors)
        ]
        bases = [builder.mul(word, _I64(BLOCK_ROWS)) for word in words]
        for i in range(form.rows):
            scalars = [builder.load(builder.gep(left, [builder.add(b, _I64(i))])) for b in bases]
            rows = [splat(builder, scalar, form.lanes) for scalar in scalars]
            for v in range(form.vectors):
                updated.append(product(builder, phis[len(updated)], columns[v], rows))
    following = builder.add(counter, _I64(step))
    counter.add_incoming(following, loop)
    for phi, value in zip(phis, updated, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, n_words), loop, done)
    builder.position_at_end(done)
    return updated


@intrinsic
def multiply_rows(typingctx, left, right, n_words, start, tile, fresh, kind, n_rows):  # type: ignore[no-untyped-def]
    """Products of ``n_rows`` left rows (8 or 1) and a panel; the last two are literals."""
    if not isinstance(kind, types.Literal) or not isinstance(n_rows, types.Literal):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _emit(builder, kind.literal_value, n_rows.literal_value, args[5], args)
        return context.get_dummy_value()

    return types.void(*([types.int64] * 5), types.boolean, kind, n_rows), codegen


@intrinsic
def mark_tile(typingctx, tile, left, right, masks, n_rows, floats):  # type: ignore[no-untyped-def]
    """Write the masks of a tile's first rows; ``floats``, a literal, says what the tile holds."""
    if not isinstance(floats, types.BooleanLiteral):
        return None
    vector = _VF if floats.literal_value else ir.VectorType(_I32, LANES)
    n_vectors = PANEL_ROWS // LANES

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        tile_at = builder.inttoptr(args[0], vector.as_pointer())
        left_at = builder.inttoptr(args[1], _F32.as_pointer())
        right_at = builder.inttoptr(args[2], _VF.as_pointer())
        mask_at = builder.inttoptr(args[3], _I16.as_pointer())
        total = cgutils.alloca_once_value(builder, _I16(0))
        columns = [
            builder.load(builder.gep(right_at, [_I64(k)]), align=4) for k in range(4 * n_vectors)
        ]
        with cgutils.for_range(builder, args[4]) as loop:
            row = loop.index
            first = builder.mul(row, _I64(4))
            spots = [builder.gep(left_at, [builder.add(first, _I64(t))]) for t in range(4)]
            terms = [splat(builder, builder.load(spot), LANES) for spot in spots]
            for v in range(n_vectors):
                at = builder.add(builder.mul(row, _I64(n_vectors)), _I64(v))
                products = builder.load(builder.gep(tile_at, [at]), align=4)
                if not floats.literal_value:
                    products = builder.sitofp(products, _VF)
                limit = builder.fmul(terms[0], columns[v])
                for t in range(1, 4):
                    limit = _float32(builder, limit, [columns[t * n_vectors + v]], [terms[t]])
                mask = builder.bitcast(builder.fcmp_ordered("<=", limit, products), _I16)
                builder.store(mask, builder.gep(mask_at, [at]))
                builder.store(builder.or_(builder.load(total), mask), total)
        return builder.zext(builder.load(total), _I64)

    return types.int64(*([types.int64] * 5), floats), codegen
