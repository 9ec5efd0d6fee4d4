"""Nearest neighbours on a device: products rule pairs out, the definition measures the rest.

Rows x become z = x * unit - mean, rounded to float32; s is the squared norm of what is kept, p the
float32 product of two of them, and D the distance of the rows themselves, times ``unit``. With
u = 2**-24 and n columns, in any order of summation,

*   p is off by at most ``((1 + u)**n - 1) |x||y|``, so 2 p by that times ``s_x + s_y``;
*   each row by u of its norm, so D**2 by ``4.1 u (s_x + s_y)``;
*   ``f = s_y (1 + slack) - 2 p``, stored as float32, by ``6 u (s_x + s_y)``, and less by another
    4 u when ``2 slack s_y`` is taken from it;
*   where numbers underflow (a chip may flush them to 0), by ``tiny = n * 2**-120``: those of a row
    are at most 2 in size.

So with ``slack = (1 + u)**(n + 64) - 1``

    f - 2 slack s_y + s_x (1 - slack) - tiny  <=  D**2  <=  f + s_x (1 + slack) + tiny

The k-th smallest right side of some targets, T, is an upper bound on D**2 of k of them. The
definition's sum of n squares is off by ``(n + 2) 2**-53``, relatively, and where squares are
subnormal by ``n * 2**-1075`` in all. A row with

    D**2  >  T (1 + (n + 4) 2**-50) + n * 2**-1072 * unit**2

is therefore no nearer by the definition than any of those k, whatever over- or underflows, and the
squares of the k nearest are those of other rows. What is left is measured by the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from topoact_gpu.kernels.pairs.gpu import Rows, pair_squares

__all__ = ["Blocks", "RowsOf", "blocks_for", "neighbour_squares", "start_limits"]

_QUERIES, _PRODUCTS, _NUMBERS, _PAIRS = 2**11, 2**24, 2**25, 2**22
_LEAST_ROWS = 32

RowsOf = Callable[[Tensor], Rows]
"""Rows by their ids, int64[n]: place p holds row ids[p]."""


class Blocks(NamedTuple):
    """How much is worked on at a time."""

    queries: int
    targets: int
    pairs: int
    """Pairs that are measured by the definition."""

    def divided(self, by: int) -> Blocks:
        """So many times smaller."""
        return Blocks(*(max(size // by, 1) for size in self))


def blocks_for(n_cols: int, k: int) -> Blocks:
    """Blocks that fill a device and take about 1 GB of it (more where k or rows are huge)."""
    rows = max(_NUMBERS // n_cols, _LEAST_ROWS)
    queries = max(min(_QUERIES, _PAIRS // k, rows), 1)
    return Blocks(queries, min(_PRODUCTS // queries, rows), _PAIRS)


class _Frame(NamedTuple):
    """What products are taken of, and what they may be off by; see the module."""

    mean: Tensor
    unit: float
    slack: float
    tiny: float

    @classmethod
    def of(cls, mean: Tensor, unit: float) -> _Frame:
        n_cols = len(mean)
        slack = math.expm1((n_cols + 64) * math.log1p(2.0**-24))
        return cls(mean, unit, slack, n_cols * 2.0**-120)

    def centred(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """float32[n, n_cols] of z, and its squared norms, float64[n]."""
        z = rows.x[rows.row_of].to(torch.float64)
        if rows.norms is not None:
            z /= rows.norms[rows.row_of][:, None]
        z = (z.mul_(self.unit).sub_(self.mean)).to(torch.float32)
        return z, torch.linalg.vector_norm(z, dim=1, dtype=torch.float64).square_()

    def surely(self, squares: Tensor) -> Tensor:
        """Squares by the definition as upper bounds on D**2, float64."""
        n_cols = len(self.mean)
        apart = (squares + n_cols * 2.0**-1073).sqrt() * self.unit
        return apart.square() * (1 + (n_cols + 4) * 2.0**-50)

    def reach(self, nearest: Tensor) -> Tensor:
        """What D**2 is above of rows that are no nearer than those of at most ``nearest``."""
        n_cols = len(self.mean)
        lost = n_cols * (self.unit * 2.0**-536) ** 2
        return nearest * (1 + (n_cols + 4) * 2.0**-50) + lost


class _Nearest:
    """The k smallest squares found of each of some queries."""

    def __init__(self, n_queries: int, k: int, device: torch.device) -> None:
        self.n_queries, self.k = n_queries, k
        self.query = torch.empty(0, dtype=torch.int64, device=device)
        self.square = torch.empty(0, dtype=torch.float64, device=device)
        self.done = torch.zeros(n_queries, dtype=torch.bool, device=device)
        """Queries with k squares of 0: nothing is nearer."""

    def add(self, query: Tensor, square: Tensor) -> None:
        """More squares; what is too much is dropped when it has become as much again."""
        self.query = torch.cat([self.query, query])
        self.square = torch.cat([self.square, square])
        if len(self.query) > 2 * self.k * self.n_queries:
            at, place = self._sorted()
            kept = place < self.k
            last = (place == self.k - 1) & (self.square[at] == 0)
            self.done[self.query[at[last]]] = True
            self.query, self.square = self.query[at[kept]], self.square[at[kept]]

    def _sorted(self) -> tuple[Tensor, Tensor]:
        """Entries by query, then square, and the place of each among its query's."""
        by_square = torch.sort(self.square, stable=True).indices
        query, order = torch.sort(self.query[by_square], stable=True)
        first = torch.searchsorted(query, torch.arange(self.n_queries, device=query.device))
        return by_square[order], torch.arange(len(query), device=query.device) - first[query]

    def table(self) -> Tensor:
        """float64[n_queries, k], ascending; inf where there are fewer."""
        shape = (self.n_queries, self.k)
        out = torch.full(shape, math.inf, dtype=torch.float64, device=self.square.device)
        at, place = self._sorted()
        kept = place < self.k
        out[self.query[at[kept]], place[kept]] = self.square[at[kept]]
        return out


def neighbour_squares(
    rows_of: RowsOf,
    queries: Tensor,
    targets: Tensor,
    k: int,
    *,
    mean: Tensor,
    unit: float,
    blocks: Blocks | None = None,
    limits: Tensor | None = None,
) -> Tensor:
    """Squared distances of each query row to its k nearest target rows, by the definition.

    Parameters
    ----------
    rows_of : callable
        Gives rows by their ids.
    queries, targets : int64
        Row ids; a row is not its own neighbour.
    k : int
    mean : float64[n_cols]
    unit : float
        The frame: products are taken of row * unit - mean; no number of a row times ``unit``
        exceeds 1 in size.
    blocks : Blocks, optional
    limits : float64[n_queries], optional
        From `start_limits`; the k nearest are then not looked for among the products.

    Returns
    -------
    float64[n_queries, k]
        Ascending; inf where there are fewer than k other targets.

    Notes
    -----
    One product of all queries and targets in float32, a block at a time. In a block a pair is
    measured if it may be among the k nearest so far, so that in random order about
    k (1 + log(blocks of targets)) pairs are for each query; memory does not grow with them.
    """
    frame = _Frame.of(mean, unit)
    blocks = blocks or blocks_for(len(mean), k)
    out = torch.empty((len(queries), k), dtype=torch.float64, device=mean.device)
    with _whole_float32():
        for low in range(0, len(queries), blocks.queries):
            at = slice(low, low + blocks.queries)
            limit = None if limits is None else limits[at]
            out[at] = _of_some(rows_of, queries[at], targets, k, frame, blocks, limit)
    return out


def _of_some(
    rows_of: RowsOf,
    queries: Tensor,
    targets: Tensor,
    k: int,
    frame: _Frame,
    blocks: Blocks,
    limit: Tensor | None,
) -> Tensor:
    """`neighbour_squares` of one block of queries."""
    left = rows_of(queries)
    own, norms = frame.centred(left)
    upper, lower = norms * (1 + frame.slack) + frame.tiny, norms * (1 - frame.slack) - frame.tiny
    least = torch.full((len(queries), k), math.inf, device=own.device)
    found = _Nearest(len(queries), k, own.device)
    for ids in targets.split(blocks.targets):
        right = rows_of(ids)
        others, norms = frame.centred(right)
        products = torch.mm(own, others.t())
        torch.sub((norms * (1 + frame.slack)).float(), products, alpha=2, out=products)
        if limit is None:
            least = _with_more(least, products, queries, ids)
        nearest = least.amax(1) + upper if limit is None else limit
        # Rounded to the nearest number: a float32 number above that is above what was rounded.
        reach = (frame.reach(nearest) - lower).float()
        reach.masked_fill_(found.done, -math.inf)
        pairs = (products.sub_((2 * frame.slack * norms).float()) <= reach[:, None]).nonzero()
        pairs = pairs[queries[pairs[:, 0]] != ids[pairs[:, 1]]]
        both = _beside(left, right)
        for query, other in (some.unbind(1) for some in pairs.split(blocks.pairs)):
            found.add(query, pair_squares(both, _places(query, other + len(queries))))
    return found.table()


def _places(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], 1).to(torch.int32)


def _with_more(least: Tensor, upper: Tensor, queries: Tensor, ids: Tensor) -> Tensor:
    """The k smallest numbers of each row of both tables, a row's own left out."""
    k = least.shape[1]
    # One more than k, for its own may be among them.
    new, at = torch.topk(upper, min(k + 1, len(ids)), dim=1, largest=False, sorted=False)
    new.masked_fill_(ids[at] == queries[:, None], math.inf)
    merged = torch.cat([least, new], 1)
    return torch.topk(merged, k, dim=1, largest=False, sorted=False).values


def _beside(left: Rows, right: Rows) -> Rows:
    """Rows of both, the places of ``right`` after those of ``left``."""
    if left.x is right.x:
        return Rows(left.x, torch.cat([left.row_of, right.row_of]), left.norms)
    norms = None
    if left.norms is not None and right.norms is not None:
        norms = torch.cat([left.norms, right.norms])
    places = torch.cat([left.row_of, right.row_of + len(left.x)])
    return Rows(torch.cat([left.x, right.x]), places, norms)


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Products of float32 as float32, whatever the process has allowed torch."""
    settings = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in settings]
    for each in settings:
        each.fp32_precision = "ieee"
    try:
        yield
    finally:
        for each, precision in zip(settings, before, strict=True):
            each.fp32_precision = precision


def start_limits(
    rows_of: RowsOf,
    queries: Tensor,
    targets: Tensor,
    k: int,
    *,
    mean: Tensor,
    unit: float,
    search: Callable[[Tensor, Tensor, int], Tensor],
    blocks: Blocks | None = None,
) -> Tensor:
    """Bounds on the k-th neighbour's distance, from candidates that somebody else found.

    Parameters
    ----------
    rows_of, queries, targets, k, mean, unit, blocks
        As for `neighbour_squares`.
    search : callable
        Of float32 rows [n_queries, n_cols] and [n_targets, n_cols] and a number: so many places
        of targets for each query, int64[n_queries, number]. They may be any; what is no place, or
        there twice, is passed over.

    Returns
    -------
    float64[n_queries]
        The k-th smallest square of the candidates, by the definition, in the frame's unit; inf
        where there are fewer than k.
    """
    frame = _Frame.of(mean, unit)
    blocks = blocks or blocks_for(len(mean), k)
    others = torch.cat([frame.centred(rows_of(ids))[0] for ids in targets.split(blocks.targets)])
    left, right, limits = rows_of(queries), rows_of(targets), []
    for low in range(0, len(queries), blocks.queries):
        some = queries[low : low + blocks.queries]
        own = frame.centred(rows_of(some))[0]
        found = search(own, others, min(k + 1, len(targets))).sort(1).values
        usable = (found >= 0) & (found < len(targets))
        usable[:, 1:] &= found[:, 1:] != found[:, :-1]
        usable &= targets[found.clamp(0, len(targets) - 1)] != some[:, None]
        query, other = usable.nonzero()[:, 0], found[usable]
        places = _places(query + low, other + len(queries))
        nearest = _Nearest(len(some), k, some.device)
        nearest.add(query, pair_squares(_beside(left, right), places))
        limits.append(frame.surely(nearest.table()[:, -1]))
    return torch.cat(limits)


def ahead() -> list[Any]:
    """Nothing is compiled here."""
    return []
