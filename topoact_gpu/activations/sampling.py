"""Which positions of a layer's output become rows.

A draw depends on the seed, the input's id and the layer's name only: not on the batch, the worker,
the device or what was drawn before. The three are hashed into the key of a counter-based generator,
and its raw words are used, since numpy keeps those the same for good, unlike ``Generator.choice``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError

__all__ = ["Sampling", "aligned_draw", "draw", "parse_sampling"]

Positions = NDArray[np.int64]

_COUNTED = ("random", "top-norm")
_PLAIN = ("all", "center", "mean", "tokens", "tokens+special")
_FORMS = "random:K, top-norm:K, all, center, mean, tokens or tokens+special"


@dataclass(frozen=True)
class Sampling:
    """A way of choosing positions; ``str()`` gives back the text it was parsed from.

    Attributes
    ----------
    method : str
        ``"random"``, ``"top-norm"``, ``"all"``, ``"center"``, ``"mean"``, ``"tokens"`` or
        ``"tokens+special"``.
    k : int
        Positions an input for ``random`` and ``top-norm``; 0 for the others.
    """

    method: str
    k: int = 0

    def __str__(self) -> str:
        return f"{self.method}:{self.k}" if self.method in _COUNTED else self.method

    @property
    def of_tokens(self) -> bool:
        """Whether rows are tokens of a text, chosen by `tokenize`, and not positions of a map."""
        return self.method in ("tokens", "tokens+special")

    @property
    def special(self) -> bool:
        """Whether special tokens become rows as well."""
        return self.method == "tokens+special"

    @property
    def aligned(self) -> bool:
        """Whether row r is the same input and place in every layer of a pass."""
        return self.method not in ("all", "top-norm")


def parse_sampling(text: str) -> Sampling:
    """Read a sampling as it stands on the command line.

    Parameters
    ----------
    text : str
        ``random:K`` (K positions without repeats, the outermost ring excluded; TopoAct: K = 1),
        ``top-norm:K`` (the K longest rows), ``all``, ``center``, ``mean`` (average over the map),
        ``tokens`` or ``tokens+special``. Tokens of a vision transformer are a map of its patches;
        ``all`` and ``mean`` also take those that are no patch (the class token).

    Returns
    -------
    Sampling

    Raises
    ------
    ParameterError
        The text has none of these forms.

    Examples
    --------
    >>> parse_sampling("random:1")
    Sampling(method='random', k=1)
    >>> str(parse_sampling("tokens+special"))
    'tokens+special'
    """
    cleaned = text.strip().lower()
    if cleaned in _PLAIN:
        return Sampling(cleaned)
    counted = re.fullmatch(r"(random|top-norm):([0-9]{1,9})", cleaned)
    if counted is None or int(counted[2]) == 0:
        raise ParameterError(f"the sampling must be {_FORMS} with K at least 1; got {text!r}")
    return Sampling(counted[1], int(counted[2]))


def draw(
    sampling: Sampling,
    height: int,
    width: int,
    *,
    seed: int,
    input_id: str,
    layer: str,
    norms: NDArray[Any] | None = None,
) -> Positions:
    """Choose the positions of one input in one layer.

    Parameters
    ----------
    sampling : Sampling
    height, width : int
        Size of the layer's map, both at least 1.
    seed : int
    input_id, layer : str
        With the seed, all that a random draw depends on.
    norms : float[height, width], optional
        Lengths of the rows; for ``top-norm`` only, which needs them.

    Returns
    -------
    int64[k, 2]
        (y, x), sorted. ``random:k`` leaves out the first and the last row of a map more than two
        rows high, and likewise for columns; where fewer than k positions remain, all of them are
        returned. ``center`` is (height // 2, width // 2). Among equal norms the lower (y, x) is
        taken first, NaN last. ``mean`` has no position: one row, (-1, -1).

    Raises
    ------
    ParameterError
        An empty map, norms missing or of another shape, or a sampling of tokens.

    Notes
    -----
    Edges are left out because zero padding changes what a network says there; random:1 is what
    TopoAct does (Rathore et al. 2021, section 4).

    Examples
    --------
    >>> once = draw(parse_sampling("random:2"), 14, 14, seed=0, input_id="cat/1.jpg", layer="a")
    >>> once.shape, bool(once.min() >= 1), bool(once.max() <= 12)
    ((2, 2), True, True)
    """
    _check_map(sampling, height, width)
    if sampling.method == "random":
        (top, rows), (left, columns) = _inner(height), _inner(width)
        fractions = _uniform(sampling.k, seed, input_id, layer)
        flat = np.sort(_without_repeats(fractions, rows * columns))
        return np.stack([flat // columns + top, flat % columns + left], axis=1)
    if sampling.method == "top-norm":
        return _longest(sampling.k, height, width, norms)
    return _fixed(sampling, height, width)


def aligned_draw(
    sampling: Sampling,
    shapes: Mapping[str, tuple[int, int]],
    *,
    seed: int,
    input_id: str,
    norms: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, Positions]:
    """Choose the positions of one input in several layers, row by row at the same place.

    Parameters
    ----------
    sampling : Sampling
    shapes : mapping of layer name to (height, width)
    seed : int
    input_id : str
        With the seed, all that a random draw depends on: a layer more or less changes no row.
    norms : mapping of layer name to float[height, width], optional
        For ``top-norm`` only.

    Returns
    -------
    dict of layer name to int64[k, 2]
        (y, x). For ``random:k`` always k rows: k places (u, v) in [0, 1) x [0, 1), in the order of
        (u, v), each scaled to the layer's inner area (`draw` says which) and rounded down. Where
        two fall on one position of a coarse map, the later one moves to the nearest free inner
        position, so that rows repeat only where a layer has fewer than k of these.

    Notes
    -----
    ``center``, ``mean`` and ``random`` are aligned. ``all`` cannot be between maps of different
    sizes, and ``top-norm`` follows what each layer responds to: both are drawn layer by layer, as
    `draw` does (``Sampling.aligned`` is False).

    Examples
    --------
    >>> sizes = {"early": (28, 28), "late": (7, 7)}
    >>> rows = aligned_draw(parse_sampling("random:1"), sizes, seed=0, input_id="cat/1.jpg")
    >>> (y, x), (coarse_y, coarse_x) = rows["early"][0], rows["late"][0]
    >>> bool(abs(y / 28 - coarse_y / 7) < 0.2)
    True
    """
    if sampling.method == "random":
        places = _uniform(2 * sampling.k, seed, input_id, None).reshape(-1, 2)
        places = places[np.lexsort((places[:, 1], places[:, 0]))]
        for height, width in shapes.values():
            _check_map(sampling, height, width)
        return {layer: _scaled(places, height, width) for layer, (height, width) in shapes.items()}
    return {
        layer: draw(
            sampling,
            height,
            width,
            seed=seed,
            input_id=input_id,
            layer=layer,
            norms=None if norms is None else norms.get(layer),
        )
        for layer, (height, width) in shapes.items()
    }


def _check_map(sampling: Sampling, height: int, width: int) -> None:
    if sampling.of_tokens:
        raise ParameterError(
            f"{sampling} chooses tokens of a text, the layer gives a map of {height} x {width}; "
            "use random:K, top-norm:K, all, center or mean"
        )
    if height < 1 or width < 1:
        raise ParameterError(f"a map of at least 1 x 1 is required, got {height} x {width}")


def _fixed(sampling: Sampling, height: int, width: int) -> Positions:
    if sampling.method == "center":
        return np.array([[height // 2, width // 2]], dtype=np.int64)
    if sampling.method == "mean":
        return np.full((1, 2), -1, dtype=np.int64)
    return np.indices((height, width), dtype=np.int64).reshape(2, -1).T.copy()


def _longest(k: int, height: int, width: int, norms: NDArray[Any] | None) -> Positions:
    if norms is None or norms.shape != (height, width):
        found = "none" if norms is None else f"shape {norms.shape}"
        raise ParameterError(f"top-norm needs norms of shape ({height}, {width}), got {found}")
    # a stable sort, so that ties go to the lower position; NaN sorts last
    longest = np.sort(np.argsort(-norms.astype(np.float64).ravel(), kind="stable")[:k])
    return np.stack([longest // width, longest % width], axis=1).astype(np.int64)


def _inner(length: int) -> tuple[int, int]:
    """First position and number of positions without the edges; a short side keeps them."""
    return (1, length - 2) if length > 2 else (0, length)


def _uniform(count: int, seed: int, input_id: str, layer: str | None) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1), 53 bits each, that depend on the arguments only."""
    hashed = blake2b(digest_size=16, person=b"topoact-draw")
    # None and the empty name differ, and no two triples run together into the same bytes
    for part in (str(int(seed)), input_id, *(() if layer is None else (layer,))):
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "little") + encoded)
    raw = np.random.Philox(key=int.from_bytes(hashed.digest(), "little")).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _without_repeats(fractions: NDArray[np.float64], size: int) -> Positions:
    """Turn k fractions into k of ``range(size)``, each set equally likely (Fisher and Yates)."""
    if len(fractions) >= size:
        return np.arange(size, dtype=np.int64)
    moved: dict[int, int] = {}  # the places of the shuffled range that hold something else by now
    chosen = []
    for first, fraction in enumerate(fractions.tolist()):
        other = first + int(fraction * (size - first))
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(first, first)
    return np.array(chosen, dtype=np.int64)


def _scaled(places: NDArray[np.float64], height: int, width: int) -> Positions:
    """Put (u, v) on a map, two of them on one position only where there is no other."""
    (top, rows), (left, columns) = _inner(height), _inner(width)
    cells = (places * (rows, columns)).astype(np.int64)
    if len(set(map(tuple, cells.tolist()))) < len(cells) <= rows * columns:
        _spread(cells, np.ones((rows, columns), dtype=bool))
    return cells + np.array([top, left])


def _spread(cells: Positions, free: NDArray[np.bool_]) -> None:
    """Move each cell that is taken to the nearest free one; of equally near ones the lowest."""
    for cell in cells:
        if not free[tuple(cell)]:
            candidates = np.argwhere(free)
            cell[:] = candidates[np.argmin(((candidates - cell) ** 2).sum(axis=1))]
        free[tuple(cell)] = False
