"""Blocks of counted work, and counts merged from them."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topoact_gpu.kernels.tally import blocks_of, offsets_of, tally

torch = pytest.importorskip("torch")

COUNTS = st.lists(st.integers(0, 9), max_size=30)


@given(COUNTS, st.integers(0, 20))
def test_blocks_hold_each_entry_once_and_few_items(counts, most):
    offsets = offsets_of(torch.tensor(counts, dtype=torch.int64))
    assert offsets.tolist() == np.cumsum([0, *counts]).tolist()
    blocks = blocks_of(offsets, most)
    if not sum(counts):
        assert blocks == []
        return
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks[:-1])]
    assert blocks[-1][1] == len(counts)
    for start, stop in blocks:
        assert start < stop
        assert sum(counts[start:stop]) <= max(most, 1) + max(counts[start:stop])


@given(st.lists(st.lists(st.integers(-5, 2**40), max_size=9), min_size=1, max_size=9))
def test_counts_of_blocks_are_the_counts_of_all(blocks):
    found = tally(torch.tensor(b, dtype=torch.int64).unique(return_counts=True) for b in blocks)
    expected = np.unique(np.array(list(chain(*blocks)), np.int64), return_counts=True)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.int64
        assert a.tolist() == b.tolist()
