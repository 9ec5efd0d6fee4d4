"""Texts to tokens, and tokens to rows: each token, or each word by its pieces."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError

__all__ = ["Tokens", "tokenize"]

Ints = NDArray[np.int64]
_NO_LIMIT = 1_000_000  # transformers says "no limit" with 1e30


@dataclass(frozen=True, eq=False)
class Tokens:
    """A batch for the model, and the rows to take of what it puts out.

    Attributes
    ----------
    input_ids, attention_mask : int64[n_texts, length]
        Padded on the right; special tokens are in, whether or not they become rows.
    truncated : int64[n_texts]
        Tokens that each text lost to ``max_length``.
    words_lost : int64[n_texts]
        Words of which that left no row; 0 where rows are tokens.
    text : int64[n_rows]
        Number of the row's text in the batch; rows are sorted by (text, position).
    position : int64[n_rows]
        Position of the token, or of the word's first piece.
    strings : list of str
        The token as the vocabulary has it (``##ing``), or the word.
    word : int64[n_rows]
        Number of the word in its text, as given or as the tokenizer cuts it; -1 for special tokens.
    start, end : int64[n_rows]
        Characters ``text[start:end]``, or of the word where words without spans were given; 0, 0
        for special tokens. Without the white space that some tokenizers count in before a word.
    special : bool[n_rows]
    indptr : int64[n_rows + 1]
    pieces : int64[nnz]
        The row is the mean over the positions ``pieces[indptr[r]:indptr[r + 1]]``; one position
        except for ``words="mean"``.
    """

    input_ids: Ints
    attention_mask: Ints
    truncated: Ints
    words_lost: Ints
    text: Ints
    position: Ints
    strings: list[str]
    word: Ints
    start: Ints
    end: Ints
    special: NDArray[np.bool_]
    indptr: Ints
    pieces: Ints

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class _Row:
    text: int
    pieces: list[int]
    string: str
    word: int
    span: tuple[int, int]
    special: bool = False


def tokenize(
    tokenizer: Any,
    texts: Sequence[str] | Sequence[Sequence[str]],
    *,
    special: bool = False,
    words: Literal["first", "mean"] | None = None,
    spans: Sequence[Sequence[tuple[int, int]]] | None = None,
    max_length: int | None = None,
) -> Tokens:
    """Tokenize a batch and say which positions become rows.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
    texts : sequence of str, or of sequences of str
        Sentences, or the words of each sentence.
    special : bool
        Whether special tokens become rows. The model sees them in either case.
    words : {"first", "mean"}, optional
        Rows are words: by their first piece, or as the mean of all pieces. Needs words in
        ``texts``. Omitted, each token is a row.
    spans : sequence of sequences of (int, int), optional
        Characters of each word in its sentence (`TextRecord.spans`), so that ``start`` and ``end``
        count in the sentence and not in the word.
    max_length : int, optional
        Tokens a text may have, special ones included; the tokenizer's own limit where omitted.

    Returns
    -------
    Tokens

    Raises
    ------
    ParameterError
        The tokenizer is no fast one, or joins given words without a space; ``words`` without
        words; ``max_length`` below one token beside the special ones, or above the tokenizer's.

    Notes
    -----
    Rows do not depend on the batch; the padding does. What is cut off is counted. A word of which
    some pieces are cut off has its first piece still, but no mean. A word of which no piece remains
    after the tokenizer's cleaning (a lone control character) has no row either.
    """
    _check_tokenizer(tokenizer)
    split = bool(texts) and not isinstance(texts[0], str)
    _check_words(tokenizer, split=split, words=words, spans=spans)
    batch = [list(text) if split else text for text in texts]
    limit = _limit(tokenizer, max_length)
    found = _encode(tokenizer, batch, split=split, limit=limit)
    rows: list[_Row] = []
    lost = np.zeros(len(batch), dtype=np.int64)
    truncated = np.zeros(len(batch), dtype=np.int64)
    for number, (encoding, *cut) in enumerate(found):
        truncated[number] = sum(len(part.ids) - sum(part.special_tokens_mask) for part in cut)
        rows_here = _token_rows(number, encoding)
        if not split:
            rows_here = [_trimmed(row, texts[number]) for row in rows_here]
        if words is not None:
            remaining = {word for part in cut for word in part.word_ids if word is not None}
            words_here = _word_rows(rows_here, batch[number], words, remaining)
            lost[number] = len(remaining - {row.word for row in words_here})
            rows_here = [row for row in rows_here if row.special] + words_here
            rows_here.sort(key=lambda row: row.pieces[0])
        rows += [_shifted(row, spans) for row in rows_here if special or not row.special]
    return _collect(rows, [encoding.ids for encoding, *_ in found], truncated, lost)


def _check_tokenizer(tokenizer: Any) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise ParameterError(
            "a fast tokenizer is required (it says which characters a token comes from), got "
            f"{type(tokenizer).__name__}; load it with use_fast=True or convert it"
        )


def _check_words(tokenizer: Any, *, split: bool, words: str | None, spans: Any) -> None:
    if words not in (None, "first", "mean"):
        raise ParameterError(f"words must be 'first', 'mean' or None, got {words!r}")
    if (words or spans is not None) and not split:
        raise ParameterError(
            "rows of words need texts that are lists of words, got whole texts; read CoNLL-U, or "
            "take a row for each token"
        )
    # Such a tokenizer would run the words into one: "a", "b" becomes "ab", not "a b".
    steps = repr(getattr(tokenizer.backend_tokenizer, "pre_tokenizer", None))
    if split and re.search(r"ByteLevel\(add_prefix_space=False|prepend_scheme=\"?never", steps):
        raise ParameterError(
            f"{type(tokenizer).__name__} joins given words without a space between them; load the "
            "tokenizer with add_prefix_space=True"
        )


def _limit(tokenizer: Any, max_length: int | None) -> int | None:
    own = int(getattr(tokenizer, "model_max_length", None) or _NO_LIMIT)
    limit = own if max_length is None else max_length
    least = 1 + tokenizer.num_special_tokens_to_add(pair=False)
    if limit < least:
        raise ParameterError(
            f"max_length must be at least {least} (one token beside the special ones), got {limit}"
        )
    if limit > own:
        raise ParameterError(f"max_length must be at most {own}, the tokenizer's own, got {limit}")
    return limit if limit < _NO_LIMIT else None


def _encode(tokenizer: Any, batch: list[Any], *, split: bool, limit: int | None) -> list[list[Any]]:
    """For each text its encoding, followed by those of what did not fit."""
    found: list[list[Any]] = [[] for _ in batch]
    # transformers cannot take an empty batch, and takes an empty list of words for no batch
    filled = [number for number, text in enumerate(batch) if text or not split]
    if filled:
        encoded = tokenizer(
            [batch[number] for number in filled],
            is_split_into_words=split,
            truncation=limit is not None,
            max_length=limit,
            padding=False,
            return_overflowing_tokens=True,
        )
        for part, number in zip(
            encoded.encodings, encoded["overflow_to_sample_mapping"], strict=True
        ):
            found[filled[number]].append(part)
    if len(filled) < len(batch):
        (empty,) = tokenizer([""], padding=False).encodings
        found = [parts or [empty] for parts in found]
    return found


def _token_rows(number: int, encoding: Any) -> list[_Row]:
    """A row for each token."""
    columns = (encoding.tokens, encoding.word_ids, encoding.offsets, encoding.special_tokens_mask)
    return [
        _Row(number, [at], token, -1 if word is None else word, tuple(span), bool(special))
        for at, (token, word, span, special) in enumerate(zip(*columns, strict=True))
    ]


def _trimmed(row: _Row, text: Any) -> _Row:
    """The row without the white space before it; a token of nothing else keeps its own."""
    start, end = row.span
    inner = len(text[start:end].lstrip())
    return replace(row, span=(end - inner, end)) if inner else row


def _word_rows(tokens: list[_Row], words: Sequence[str], how: str, cut: set[int]) -> list[_Row]:
    """A row for each word, from the rows of its tokens."""
    by_word: dict[int, list[int]] = {}
    for row in tokens:
        if row.word >= 0 and not row.special:
            by_word.setdefault(row.word, []).append(row.pieces[0])
    return [
        _Row(
            tokens[0].text,
            pieces if how == "mean" else pieces[:1],
            words[word],
            word,
            (0, len(words[word])),
        )
        for word, pieces in by_word.items()
        if how == "first" or word not in cut
    ]


def _shifted(row: _Row, spans: Sequence[Sequence[tuple[int, int]]] | None) -> _Row:
    """The row with its characters counted in the sentence."""
    if spans is None or row.word < 0:
        return row
    start = spans[row.text][row.word][0]
    span = (start + row.span[0], start + row.span[1])
    return replace(row, span=span)


def _collect(rows: list[_Row], ids: list[list[int]], truncated: Ints, lost: Ints) -> Tokens:
    lengths = np.array([len(part) for part in ids], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    input_ids = np.zeros(mask.shape, dtype=np.int64)
    input_ids[mask] = np.fromiter((id for part in ids for id in part), np.int64)
    counts = [len(row.pieces) for row in rows]
    pieces = array("q", [piece for row in rows for piece in row.pieces])
    return Tokens(
        input_ids=input_ids,
        attention_mask=mask.astype(np.int64),
        truncated=truncated,
        words_lost=lost,
        text=np.array([row.text for row in rows], dtype=np.int64),
        position=np.array([row.pieces[0] for row in rows], dtype=np.int64),
        strings=[row.string for row in rows],
        word=np.array([row.word for row in rows], dtype=np.int64),
        start=np.array([row.span[0] for row in rows], dtype=np.int64),
        end=np.array([row.span[1] for row in rows], dtype=np.int64),
        special=np.array([row.special for row in rows], dtype=bool),
        indptr=np.cumsum([0, *counts], dtype=np.int64),
        pieces=np.array(pieces, dtype=np.int64),
    )
