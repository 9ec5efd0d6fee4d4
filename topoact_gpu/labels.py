"""Row columns that say what a row is: which one holds the class, and what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.errors import DataError, ParameterError, nearest_name

__all__ = [
    "MOST_CODES",
    "PREFERRED",
    "as_classes",
    "categorical",
    "label_column",
    "predicted_classes",
]

PREFERRED = (
    *("class_id", "class", "label", "labels", "target", "category", "photo"),
    *("pos", "upos", "xpos", "token"),
)
"""Names of columns that hold classes, the likeliest first."""
_NEVER = ("input", "prediction", "position", "word", "start", "end", "x", "y", "row", "index")
_MOST_VALUES = 1000
MOST_CODES = 1 << 24


def categorical(columns: Mapping[str, ArrayLike], names: Mapping[str, Any]) -> list[str]:
    """Names of the row columns that hold categories.

    Parameters
    ----------
    columns : mapping of str to [n_rows]
    names : mapping of str to list of str
        What the codes of a column stand for.

    Returns
    -------
    list of str
        Columns whose codes have names; and of the others those of integers with at most 1,000
        values from -1 on, unless their name says that they are a place (``x``, ``start``, ...), an
        ``input`` or a ``prediction``. In the order of the columns.
    """
    return [name for name, values in columns.items() if _is_category(name, values, names)]


def _is_category(name: str, values: ArrayLike, names: Mapping[str, Any]) -> bool:
    array = np.asarray(values)
    if array.dtype.kind not in "iub":
        return False
    if names.get(name):
        return True
    if name in _NEVER or not array.size or array.dtype.kind == "b":
        return array.dtype.kind == "b" and name not in _NEVER
    return int(array.min()) >= -1 and int(array.max()) < _MOST_VALUES


def label_column(
    columns: Mapping[str, ArrayLike], names: Mapping[str, Any], *, label: str | None = None
) -> str | None:
    """Choose the row column that holds the classes.

    Parameters
    ----------
    columns : mapping of str to [n_rows]
    names : mapping of str to list of str
        What the codes of a column stand for.
    label : str, optional
        The column asked for.

    Returns
    -------
    str or None
        ``label`` where it is given; else the first of `PREFERRED` that holds categories; else the
        first column whose codes have names; None where there is none.

    Raises
    ------
    ParameterError
        The column asked for is not there, or holds no categories.

    Examples
    --------
    >>> label_column({"y": [3, 4], "photo": [0, 1]}, {"photo": ["cat", "sky"]})
    'photo'
    """
    known = categorical(columns, names)
    if label is not None:
        if label not in columns:
            raise ParameterError(f"there is no row column {label!r}{nearest_name(label, columns)}")
        if label not in known and np.asarray(columns[label]).dtype.kind not in "iub":
            raise ParameterError(
                f"the label must be a column of categories, {label!r} holds "
                f"{np.asarray(columns[label]).dtype}{nearest_name(label, known)}"
            )
        return label
    for name in PREFERRED:
        if name in known:
            return name
    return next((name for name in known if names.get(name)), None)


def as_classes(
    classes: ArrayLike,
    n_rows: int,
    names: Sequence[str] | None = None,
    *,
    what: str = "classes",
    limit: int | None = MOST_CODES,
) -> NDArray[np.int64]:
    """Check codes, one for each row.

    Parameters
    ----------
    classes : int[n_rows]
        Negative: unknown.
    n_rows : int
    names : sequence of str, optional
        One for each code.
    what : str
        What messages call them.
    limit : int, optional
        Codes from here on are an error: there are tables with a place for each.

    Returns
    -------
    int64[n_rows]
        -1 where the code was negative.

    Raises
    ------
    DataError
    """
    array = np.asarray(classes)
    if array.shape != (n_rows,):
        raise DataError(
            f"{what} must have one value for each of the {n_rows:,} rows, but has shape "
            f"{array.shape}"
        )
    if array.dtype.kind not in "iub":
        raise DataError(
            f"{what} must be whole numbers, got {array.dtype}; turn names into codes "
            "(numpy.unique with return_inverse)"
        )
    codes = np.maximum(array.astype(np.int64), -1)
    highest = int(codes.max(initial=-1))
    if limit is not None and highest >= limit:
        raise DataError(
            f"{what} must be below {limit:,}, and go up to {highest:,}; number them from 0 on "
            "(numpy.unique with return_inverse)"
        )
    if names is not None and highest >= len(names):
        raise DataError(
            f"{what} go up to {highest:,}, and there are {len(names):,} names; give a name for each"
        )
    return codes


def predicted_classes(
    classes: NDArray[np.int64],
    predictions: ArrayLike,
    class_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> tuple[NDArray[np.int64], str | None]:
    """Translate what a network predicted into the classes of the rows, by their names.

    Parameters
    ----------
    classes : int64[n_rows]
        Codes into ``class_names``; negative: unknown.
    predictions : int[n_rows]
        Codes into ``output_names``; negative: unknown.
    class_names, output_names : sequence of str, optional

    Returns
    -------
    predicted : int64[n_rows]
        The class that was predicted; a number beyond all classes where it is none of them; -1
        where the two can't be compared: the network does not know the row's class, or nothing
        was predicted.
    remark : str or None
        Why nothing or not everything can be compared.

    Examples
    --------
    >>> predicted_classes(np.array([0, 1]), np.array([2, 2]), ["cat", "moss"], ["a", "b", "cat"])
    (array([ 0, -1]), "1 of 2 classes are none of the network's: their rows have no error rate")
    """
    classes = np.asarray(classes)
    nothing = np.full(classes.shape, -1, dtype=np.int64)
    if not class_names or not output_names:
        return nothing, "the names of the classes or of the network's outputs are not known"
    code_of = {name: code for code, name in enumerate(class_names)}
    beyond = len(class_names)
    table = np.array(
        [code_of.get(name, beyond + code) for code, name in enumerate(output_names)], dtype=np.int64
    )
    predicted = as_classes(predictions, classes.size, output_names, what="predictions")
    outputs = set(output_names)
    known = np.array([name in outputs for name in class_names])
    found = (classes >= 0) & (predicted >= 0)
    found[found] = known[classes[found]]
    nothing[found] = table[predicted[found]]
    if not known.any():
        return (
            nothing,
            "the misclassified share is unknown: no class has the name of an output of the network",
        )
    missing = int((~known).sum())
    remark = f"{missing:,} of {len(known):,} classes are none of the network's"
    return nothing, f"{remark}: their rows have no error rate" if missing else None
