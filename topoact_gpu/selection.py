"""What any set of rows holds: classes, words, lens values, and the rows that stand for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.device import Team, resolve_threads
from topoact_gpu.errors import DataError
from topoact_gpu.groups import (
    ClassTable,
    Groups,
    class_table,
    mean_rows,
    nearest_rows,
    row_distances,
    taken_blocks,
)
from topoact_gpu.labels import as_classes
from topoact_gpu.rows import as_rows

__all__ = [
    "Context",
    "CountTable",
    "LensCounts",
    "RowSummary",
    "contexts",
    "exemplars_of",
    "mean_of",
    "misclassified",
    "summarise_rows",
    "texts_by_input",
    "token_table",
    "typical_per_class",
]

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CountTable:
    """Classes or words of a set of rows, the most frequent first, of equal ones the lowest code.

    Attributes
    ----------
    id : int32[n]
    count : int64[n]
    share : float64[n]
        Of the rows of the set whose class is known.
    base : float64[n]
        The same among all rows.
    lift : float64[n]
        Share over base.
    p : float64[n]
        See `topoact_gpu.groups.ClassTable`; corrected over all classes of the set.
    """

    id: NDArray[np.int32]
    count: _Ints
    share: _Floats
    base: _Floats
    lift: _Floats
    p: _Floats

    def __len__(self) -> int:
        return int(self.id.size)


@dataclass(frozen=True)
class LensCounts:
    """A histogram of one lens column.

    Attributes
    ----------
    edges : float64[n_bins + 1]
        The bins share out the range of all rows evenly.
    counts, all : int64[n_bins]
        Rows of the set, and all rows, in each bin.
    """

    edges: _Floats
    counts: _Ints
    all: _Ints


@dataclass(frozen=True)
class RowSummary:
    """What a set of rows holds; shares, entropy and means are NaN where they are not known.

    Attributes
    ----------
    n_rows : int
    classes : CountTable
    purity, entropy : float
        The largest share; entropy of the shares in bits.
    error_rate : float
        Misclassified share of the rows whose class and prediction are known.
    confidence : float
        Mean over the rows that have one.
    lens : tuple of LensCounts
    """

    n_rows: int
    classes: CountTable
    purity: float
    entropy: float
    error_rate: float
    confidence: float
    lens: tuple[LensCounts, ...]


def summarise_rows(
    rows: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    base_count: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
    lens_values: ArrayLike | None = None,
    n_bins: int = 30,
) -> RowSummary:
    """Summarise any set of rows, such as the union of a few nodes.

    Parameters
    ----------
    rows : int64[n]
        Row ids, ascending, each once.
    classes : int[n_rows], optional
        Class of every row of the data; negative: unknown.
    base_count : int64[n_classes], optional
        Rows of each class; counted where omitted.
    predictions : int[n_rows], optional
        Predicted class, in the same codes; negative: unknown.
    confidence : float[n_rows], optional
    lens_values : float64[n_rows] or [n_rows, k], optional
    n_bins : int

    Returns
    -------
    RowSummary

    Examples
    --------
    >>> found = summarise_rows([0, 1, 3], classes=[0, 1, 1, 1, 0])
    >>> found.classes.id.tolist(), found.classes.count.tolist(), round(found.purity, 3)
    ([1, 0], [2, 1], 0.667)
    """
    rows = _checked_rows(rows)
    table = _one_group(rows, classes, base_count)
    known = np.zeros(0, dtype=np.float64)
    if classes is not None and predictions is not None:
        known = misclassified(np.asarray(classes), np.asarray(predictions))[rows]
    sure = np.zeros(0) if confidence is None else np.asarray(confidence, dtype=np.float64)[rows]
    return RowSummary(
        n_rows=int(rows.size),
        classes=_by_count(table, None),
        purity=float(table.purity[0]),
        entropy=float(table.entropy[0]),
        error_rate=_mean(known),
        confidence=_mean(sure),
        lens=() if lens_values is None else _lens_counts(rows, lens_values, n_bins),
    )


def _checked_rows(rows: ArrayLike) -> _Ints:
    found = np.asarray(rows, dtype=np.int64)
    if found.ndim != 1 or (np.diff(found) <= 0).any() or (found[:1] < 0).any():
        raise DataError(
            "rows must be row ids in ascending order, each once; sort them (numpy.unique)"
        )
    return found


def _one_group(rows: _Ints, classes: ArrayLike | None, base_count: ArrayLike | None) -> ClassTable:
    codes = np.full(int(rows.max(initial=-1)) + 1, -1) if classes is None else np.asarray(classes)
    codes = as_classes(codes, codes.size)
    if base_count is None:
        base_count = np.bincount(codes[codes >= 0])
    base = np.asarray(base_count, dtype=np.int64)
    return class_table(Groups(np.array([0, rows.size]), rows), codes, base, Team(1))


def _by_count(table: ClassTable, n: int | None) -> CountTable:
    order = np.lexsort((table.ids, -table.counts))[:n]
    share, lift = table.share[order], table.lift[order]
    ids, counts, p = table.ids[order], table.counts[order], table.p[order]
    return CountTable(ids, counts, share, share / lift, lift, p)


def _mean(values: _Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def misclassified(classes: NDArray[Any], predictions: NDArray[Any]) -> _Floats:
    """1.0 where the prediction is another class, 0.0 where it is the same, NaN where unknown.

    Examples
    --------
    >>> misclassified(np.array([0, 1, -1]), np.array([0, 0, 0])).tolist()
    [0.0, 1.0, nan]
    """
    known = (classes >= 0) & (predictions >= 0)
    return np.where(known, (classes != predictions).astype(np.float64), np.nan)


def _lens_counts(rows: _Ints, lens_values: ArrayLike, n_bins: int) -> tuple[LensCounts, ...]:
    values = np.asarray(lens_values, dtype=np.float64)
    values = values.reshape(len(values), -1)
    found = []
    for column in values.T:
        every, edges = np.histogram(column, bins=n_bins)
        found.append(LensCounts(edges, np.histogram(column[rows], bins=edges)[0], every))
    return tuple(found)


def mean_of(rows: ArrayLike, activations: Any, *, n_threads: int | None = None) -> _Floats:
    """Mean row of a set of rows, float64[n_cols], summed in float64; NaN without rows."""
    rows, source = _checked_rows(rows), as_rows(activations)
    groups = Groups(np.array([0, rows.size]), np.arange(rows.size))
    with Team(resolve_threads(n_threads)) as team:
        return mean_rows(groups, taken_blocks(source, rows), source.n_cols, team)[0]


def exemplars_of(
    rows: ArrayLike,
    activations: Any,
    inputs: ArrayLike | None = None,
    n: int = 12,
    *,
    n_threads: int | None = None,
) -> tuple[_Ints, _Floats]:
    """The rows of a set that are nearest to its mean.

    Parameters
    ----------
    rows : int64[m]
        Row ids, ascending, each once.
    activations : array-like of shape (n_rows, n_cols)
        Anything `topoact_gpu.rows.as_rows` takes; only these rows are read, twice.
    inputs : int[n_rows], optional
        The input that each row is from: of each the nearest row, and no other.
    n : int
        At most so many.
    n_threads : int, optional

    Returns
    -------
    rows : int64[at most n]
        The nearest first; of equal distances the lowest row.
    distances : float64[same]
        Euclidean distance from the mean.

    Examples
    --------
    >>> exemplars_of([0, 1, 2], [[0.0], [1.0], [5.0], [9.0]], n=2)
    (array([1, 0]), array([1., 2.]))
    """
    rows = _checked_rows(rows)
    with Team(resolve_threads(n_threads)) as team:
        whole = Groups(np.array([0, rows.size]), np.arange(rows.size))
        found, distances = _typical(whole, rows, activations, inputs, n, team)
    kept = found[0] >= 0
    return rows[found[0][kept]], distances[0][kept]


def typical_per_class(
    rows: ArrayLike,
    classes: ArrayLike,
    activations: Any,
    inputs: ArrayLike | None = None,
    n_classes: int = 5,
    n: int = 5,
    *,
    n_threads: int | None = None,
) -> list[tuple[int, _Ints]]:
    """The most typical inputs of the most frequent classes of a set of rows.

    Parameters
    ----------
    rows, activations, inputs
        As for `exemplars_of`.
    classes : int[n_rows]
        Negative: unknown.
    n_classes, n : int
        At most so many classes, and rows of each.

    Returns
    -------
    list of (class, int64[at most n])
        The most frequent class first. Rows nearest to the mean of the set's rows of that class,
        the nearest first, no two of the same input.

    Examples
    --------
    >>> found = typical_per_class([0, 1, 2], [4, 4, 7], [[0.0], [1.0], [2.0]], inputs=[3, 3, 3])
    >>> [(code, rows.tolist()) for code, rows in found]
    [(4, [0]), (7, [2])]
    """
    rows = _checked_rows(rows)
    codes = np.asarray(classes)[rows]
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    chosen = found[np.lexsort((found, -counts))[:n_classes]]
    places = [np.flatnonzero(codes == code) for code in chosen]
    if not places:
        return []
    indptr = np.cumsum([0, *(each.size for each in places)])
    with Team(resolve_threads(n_threads)) as team:
        groups = Groups(indptr, np.concatenate(places))
        typical, _ = _typical(groups, rows, activations, inputs, n, team)
    return [(int(code), rows[own[own >= 0]]) for code, own in zip(chosen, typical, strict=True)]


def _typical(
    groups: Groups, rows: _Ints, activations: Any, inputs: ArrayLike | None, n: int, team: Team
) -> tuple[_Ints, _Floats]:
    """Places in ``rows`` of those nearest to each group's mean; groups hold places too."""
    source = as_rows(activations)
    if rows.size and rows[-1] >= source.n_rows:
        raise DataError(
            f"activations must hold row {rows[-1]:,}, they have {source.n_rows:,} rows; "
            "hand over those that the graph was made of"
        )
    blocks = taken_blocks(source, rows)
    centres = mean_rows(groups, blocks, source.n_cols, team)
    distances = row_distances(groups, blocks, centres, team)
    own = None if inputs is None else np.asarray(inputs, dtype=np.int64)[rows]
    return nearest_rows(groups, distances, n, team, inputs=own)


def token_table(
    rows: ArrayLike, words: ArrayLike, base_count: ArrayLike | None = None, *, n: int | None = 50
) -> CountTable:
    """The words of a set of rows, with how much more frequent they are than in all rows.

    Parameters
    ----------
    rows : int64[m]
        Row ids, ascending, each once.
    words : int[n_rows]
        Code of each row's word or token; negative: none.
    base_count : int64[n_words], optional
        Rows of each word; counted where omitted.
    n : int, optional
        At most so many, the most frequent first.

    Returns
    -------
    CountTable

    Examples
    --------
    >>> table = token_table([0, 1], [5, 5, 5, 2])
    >>> table.id.tolist(), table.count.tolist(), table.lift.round(2).tolist()
    ([5], [2], [1.33])
    """
    return _by_count(_one_group(_checked_rows(rows), words, base_count), n)


@dataclass(frozen=True)
class Context:
    """A token where it stands: the text before it, itself, and the text after it."""

    before: str
    word: str
    after: str


def texts_by_input(inputs: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Text of each input that has one, by its number; ``inputs`` as `read_inputs` gives them."""
    return {int(line["input"]): line["text"] for line in inputs if "text" in line}


def contexts(
    rows: ArrayLike,
    inputs: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    texts: Mapping[int, str],
    *,
    width: int = 60,
) -> list[Context | None]:
    """Where the tokens of some rows stand in their texts.

    Parameters
    ----------
    rows : int64[n]
        In any order.
    inputs, start, end : int[n_rows]
        Row columns of a captured store: the number of the text, and the characters of the token.
    texts : mapping of int to str
        See `texts_by_input`.
    width : int
        Characters on either side, cut there; a cut is marked by an ellipsis.

    Returns
    -------
    list of Context or None
        None where the text is not known, or the token is no part of it.

    Examples
    --------
    >>> contexts([0], [7], [4], [7], {7: "the cat sat"}, width=4)
    [Context(before='the ', word='cat', after=' sat')]
    """
    ids = np.asarray(rows, dtype=np.int64)
    columns = (np.asarray(column)[ids].tolist() for column in (inputs, start, end))
    return [
        _context(texts.get(number), low, high, width)
        for number, low, high in zip(*columns, strict=True)
    ]


def _context(text: str | None, low: int, high: int, width: int) -> Context | None:
    if text is None or not 0 <= low < high <= len(text):
        return None
    first, last = max(low - width, 0), min(high + width, len(text))
    before, after = text[first:low], text[high:last]
    return Context("…" * (first > 0) + before, text[low:high], after + "…" * (last < len(text)))
