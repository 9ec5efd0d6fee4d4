"""The batch size: counted on the CPU, measured on a device, recorded and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from topoact_gpu import StoreError, capture  # noqa: E402
from topoact_gpu.activations import batch  # noqa: E402
from topoact_gpu.activations.inputs import open_inputs  # noqa: E402
from topoact_gpu.activations.models import load_model  # noqa: E402
from topoact_gpu.activations.plan import make_plan  # noqa: E402
from topoact_gpu.activations.sampling import parse_sampling  # noqa: E402


def enlarging(side):
    return torch.nn.Sequential(torch.nn.Identity(), torch.nn.Upsample(size=(side, side)))


def images(shape=(1, 8, 8), count=5):
    return [(torch.zeros(shape), 0) for _ in range(count)]


def plan_of(model, data, *, sampling="center", **settings):
    return make_plan(
        load_model(model, tokenizer=settings.pop("tokenizer", None)),
        ["0"], open_inputs(data), sampling=parse_sampling(sampling), seed=0, **settings,
    )  # fmt: skip


@pytest.mark.parametrize(("side", "expected"), [(8, 64), (1024, 8), (1100, 4), (3000, 1)])
def test_the_largest_output_of_a_batch_stays_within_the_budget(side, expected):
    """A side of 1,024 pixels is 4 MiB, of 1,100 a little more, and 32 MiB are the budget."""
    assert batch.find_batch_size(plan_of(enlarging(side), images())) == expected


class Embedded(torch.nn.Module):
    """16 KiB a token."""

    def __init__(self):
        super().__init__()
        self.add_module("0", torch.nn.Embedding(2, 4096))

    def forward(self, input_ids, attention_mask):
        return self.get_submodule("0")(input_ids)


@pytest.fixture
def by_space():
    """A tokenizer of one word."""
    tokenizers, transformers = map(pytest.importorskip, ("tokenizers", "transformers"))
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "a": 1}, unk_token="?"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=512)


def test_texts_count_as_long_as_the_longest(tmp_path, by_space):
    lines = ["a a"] * 200 + ["a " * 128, "antidisestablishmentarianism " * 3]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    as_pairs = [(line, 0) for line in lines[-3:]]  # of unknown size
    settings = {"sampling": "tokens", "tokenizer": by_space}
    for data, limit, expected in [
        (tmp_path / "texts.txt", None, 16),
        (tmp_path / "texts.txt", 64, 32),
        (as_pairs, None, 16),
        ([("a " * 600, 0)], None, 8),
        ([("a", 0)], None, 64),
    ]:
        plan = plan_of(Embedded(), data, max_length=limit, **settings)
        assert batch.find_batch_size(plan) == expected


def test_a_device_is_filled_to_its_share(monkeypatch):
    """A device of 1,000 bytes, which forgets nothing; a forward takes 20, and 30 for each image."""
    seen = []
    model = enlarging(8)
    model.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    plan = replace(plan_of(model, images()), device="cuda")
    fakes = {
        "memory_allocated": lambda _device: 700,
        "reset_peak_memory_stats": lambda _device: None,
        "max_memory_allocated": lambda _device: 700 + 20 + 30 * seen[-1],
        "get_device_properties": lambda _device: SimpleNamespace(total_memory=1000),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    seen.clear()
    assert batch.find_batch_size(plan) == 4  # 20 + 7 * 30 are within 250
    assert seen == [1, 1, 2]
    monkeypatch.setattr(batch, "_CUDA_SHARE", 1000.0)
    assert batch.find_batch_size(plan) == 256

    def full(_module, given):
        if len(given[0]) > 1:
            raise torch.OutOfMemoryError("no room for two")

    model.register_forward_pre_hook(full)
    assert batch.find_batch_size(plan) == 1


def test_the_size_found_is_recorded_and_kept(tmp_path, monkeypatch):
    path, model = tmp_path / "acts.zarr", enlarging(128)
    wide = images((64, 8, 8))  # 4 MiB when enlarged
    assert capture(model, "0", wide, path).batch_size == 8
    settings = json.loads((path / "capture" / "state.json").read_text())["settings"]
    assert (settings["batch_size"], settings["batch_size_found"]) == (8, True)
    monkeypatch.setattr(batch, "_CPU_BYTES", 1)
    assert capture(model, "0", wide, path).batch_size == 8
    assert capture(model, "0", wide, path, batch_size=8).batch_size == 8
    with pytest.raises(StoreError, match="with batch_size = 8, asked for is 4"):
        capture(model, "0", wide, path, batch_size=4)
    assert capture(model, "0", wide, path, overwrite=True).batch_size == 1
    assert capture(model, "0", wide, path, batch_size=4, overwrite=True).batch_size == 4
    assert capture(model, "0", wide, path).batch_size == 4
