"""Open what a spec names: images or texts, numbered, listed without being read."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import numpy as np

from ..errors import ParameterError
from ..files import to_jsonable
from .conllu import ConlluSentences
from .entries import Entry, Inputs, UnreadableInput, fingerprint
from .images import DatasetInputs, DigitImages, open_folder, open_list, open_photos
from .shards import open_tar
from .tables import CsvTexts, JsonTexts
from .text import Descriptions, TextLines, TextRecord

__all__ = ["Entry", "Inputs", "TextRecord", "UnreadableInput", "open_inputs", "parse_spec"]


@dataclass(frozen=True)
class _Source:
    """How ``name:REST`` is opened, and the options it knows."""

    open: Callable[..., Inputs]
    options: tuple[str, ...] = ()


def _named(kind: str, known: dict[str, Callable[[], Inputs]]) -> Callable[[str], Inputs]:
    def open_named(name: str) -> Inputs:
        if name not in known:
            raise ParameterError(f"{kind}: must be followed by {' or '.join(known)}, got {name!r}")
        return known[name]()

    return open_named


def _tsv(path: Path, **fields: Any) -> Inputs:
    return CsvTexts(path, tabs=True, **fields)


_FIELDS = ("text", "label", "columns")
_SOURCES = {
    "folder": _Source(lambda rest: open_folder(Path(rest))),
    "list": _Source(lambda rest: open_list(Path(rest))),
    "tar": _Source(open_tar, ("ext", "label")),
    "skimage": _Source(_named("skimage", {"photos": open_photos})),
    "sklearn": _Source(_named("sklearn", {"digits": DigitImages, "descriptions": Descriptions})),
    "txt": _Source(lambda rest: TextLines(Path(rest))),
    "csv": _Source(lambda rest, **fields: CsvTexts(Path(rest), **fields), _FIELDS),
    "tsv": _Source(lambda rest, **fields: _tsv(Path(rest), **fields), _FIELDS),
    "jsonl": _Source(lambda rest, **fields: JsonTexts(Path(rest), **fields), _FIELDS),
    "conllu": _Source(lambda rest: ConlluSentences(Path(rest))),
}
# A path alone is opened by its suffix.
_BY_SUFFIX = {f".{name}": name for name in ("tar", "txt", "csv", "tsv", "jsonl", "conllu")}


def open_inputs(
    spec: Any,
    *,
    seed: int = 0,
    n_inputs: int | None = None,
    text: str | None = None,
    label: str | None = None,
    columns: Sequence[str] = (),
    ext: str | None = None,
) -> Inputs:
    """Open images or texts.

    Parameters
    ----------
    spec : str, path, or data set
        Images: a folder (``DIR`` or ``folder:DIR``), ``list:FILE``, ``tar:GLOB``,
        ``skimage:photos`` or ``sklearn:digits``. Texts: a file ending in ``.txt``, ``.csv``,
        ``.tsv``, ``.jsonl`` or ``.conllu`` (or the ending and a colon before any name), or
        ``sklearn:descriptions``. Options may follow, as in ``csv:FILE?text=sentence&label=kind``.
        Otherwise a `torch.utils.data.Dataset`, or whatever has a length and items
        ``(image or text, label)``.
    seed : int
        Seed of the choice of ``n_inputs``.
    n_inputs : int, optional
        Take this many, chosen at random; all of them where omitted or where there are not more.
    text, label : str, optional
        Fields of the text (``"text"`` where omitted) and of the class (``"label"``, if there is
        one) in CSV, TSV and JSONL; ``label`` also in the ``.json`` of tar samples.
    columns : sequence of str
        Further fields of CSV, TSV and JSONL to keep with each input; ``columns=a,b`` in a spec.
    ext : str, optional
        Ending of the images to take from tar archives.

    Returns
    -------
    Inputs
        Sorted by id (texts in the order of the file), the same in every run.

    Raises
    ------
    ParameterError
        No such source, option, or field.
    DataError, StoreError
        Nothing is there, or it cannot be listed.

    Notes
    -----
    Folders and archives are listed and text files scanned once; nothing else is read before
    ``load(i)``. A list of a million files takes about their names' length in memory.

    Examples
    --------
    >>> photos = open_inputs("skimage:photos")
    >>> len(photos), photos.entry(1), photos.load(1).size
    (11, Entry(id='chelsea', class_id=1, columns={}), (451, 300))
    """
    given = {"text": text, "label": label, "columns": tuple(columns), "ext": ext}
    options = {name: value for name, value in given.items() if value}
    if isinstance(spec, str | os.PathLike):
        inputs = _open_spec(os.fspath(spec), options)
        written: dict[str, Any] = {"spec": os.fspath(spec)}
    else:
        if options:
            raise ParameterError(f"a data set takes none of {', '.join(options)}; leave them out")
        inputs, written = DatasetInputs(spec), {}
    rest: dict[str, Any] = {
        "kind": inputs.kind,
        "number": len(inputs),
        "classes": len(inputs.class_names),
    }
    if options:
        rest["options"] = to_jsonable(options)
    inputs.record = written | rest | inputs.record
    return inputs if n_inputs is None else _choose(inputs, n_inputs, seed)


def _open_spec(spec: str, options: dict[str, Any]) -> Inputs:
    name, rest, written = parse_spec(spec)
    if twice := sorted(set(written) & set(options)):
        raise ParameterError(f"{', '.join(twice)} stands in {spec!r} and beside it; give it once")
    source, options = _SOURCES[name], written | options
    if unknown := sorted(set(options) - set(source.options)):
        known = ", ".join(source.options) or "none"
        raise ParameterError(f"{name}: has no option {', '.join(unknown)}; it has {known}")
    return source.open(rest, **options)


def parse_spec(spec: str) -> tuple[str, str, dict[str, Any]]:
    """Split ``name:REST?options``; a path alone gets the name that fits it."""
    options: dict[str, Any] = {}
    # the "?" of a pattern is followed by no "name="
    if asked := re.fullmatch(r"(.+)\?((?:[a-z]+=[^&=]*)(?:&[a-z]+=[^&=]*)*)", spec, re.DOTALL):
        spec = asked[1]
        pairs = (part.split("=") for part in asked[2].split("&"))
        options = {name: unquote_plus(value) for name, value in pairs}
        if "columns" in options:
            options["columns"] = tuple(filter(None, options["columns"].split(",")))
    name, colon, rest = spec.partition(":")
    if colon and name in _SOURCES:
        return name, rest, options
    if os.path.isdir(spec):
        return "folder", spec, options
    suffix = os.path.splitext(spec)[1].lower()
    if suffix in _BY_SUFFIX and (os.path.exists(spec) or glob.has_magic(spec)):
        return _BY_SUFFIX[suffix], spec, options
    raise ParameterError(_not_found(spec, name if colon else ""))


def _not_found(spec: str, name: str) -> str:
    near = difflib.get_close_matches(name, _SOURCES, n=1) if name else []
    what = (
        "is there, but not of a kind known by its ending" if os.path.exists(spec) else "not found"
    )
    hint = f"did you mean {near[0]}:? " if near else ""
    return (
        f"{spec}: {what}. {hint}Inputs are a folder of images, a file ending in "
        f"{', '.join(_BY_SUFFIX)}, or one of {', '.join(f'{known}:' for known in _SOURCES)} "
        "followed by a path or name"
    )


class _Chosen(Inputs):
    """Some of the inputs of another source, in its order."""

    def __init__(self, inputs: Inputs, numbers: np.ndarray, record: dict[str, Any]) -> None:
        self._inputs, self._numbers = inputs, numbers
        self.kind, self.class_names = inputs.kind, inputs.class_names
        self.column_names, self.record = inputs.column_names, inputs.record | record

    def __len__(self) -> int:
        return len(self._numbers)

    def entry(self, i: int) -> Entry:
        return self._inputs.entry(int(self._numbers[i]))

    def load(self, i: int) -> Any:
        return self._inputs.load(int(self._numbers[i]))

    def sizes(self) -> np.ndarray | None:
        sizes = self._inputs.sizes()
        return None if sizes is None else sizes[self._numbers]


def _choose(inputs: Inputs, n_inputs: int, seed: int) -> Inputs:
    if n_inputs < 1:
        raise ParameterError(f"n_inputs must be at least 1, got {n_inputs}")
    if n_inputs >= len(inputs):
        return inputs
    # raw words, because numpy may change what Generator.choice makes of them
    order = np.argsort(np.random.PCG64(seed).random_raw(len(inputs)), kind="stable")
    numbers = np.sort(order[:n_inputs]).astype(np.int64)
    digest = fingerprint(inputs.record["digest"], numbers.astype("<i8").tobytes())
    return _Chosen(inputs, numbers, {"number": n_inputs, "of": len(inputs), "digest": digest})
