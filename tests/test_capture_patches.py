"""Tokens of vision transformers: found on their grid, and drawn there."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from topoact_gpu import open_store  # noqa: E402
from topoact_gpu.activations.inputs import open_inputs  # noqa: E402
from topoact_gpu.activations.layers import LayerInfo, list_layers  # noqa: E402
from topoact_gpu.activations.models import load_model  # noqa: E402
from topoact_gpu.activations.patches import Patches, find_patches  # noqa: E402
from topoact_gpu.activations.receptive import receptive_fields  # noqa: E402
from topoact_gpu.capturing import capture  # noqa: E402
from topoact_gpu.errors import ParameterError  # noqa: E402

nn = torch.nn


class Tokens(nn.Module):
    """A vision transformer of one block: patches of 4 pixels behind a few tokens of its own."""

    def __init__(self, n_others=1, embedding=None):
        super().__init__()
        self.embed = embedding or nn.Conv2d(3, 8, 4, stride=4)
        self.others = nn.Parameter(torch.ones(1, n_others, 8))
        self.enter, self.leave = nn.Identity(), nn.Identity()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = self.enter(torch.cat([self.others.expand(len(x), -1, -1), patches], dim=1))
        return self.leave(self.block(tokens))


def listed(*shapes, channels_last=True):
    """Layers of these shapes, ready one after the other, listed backwards."""
    infos = [
        LayerInfo(str(n), "Any", shape, (shape,), 1, channels_last if len(shape) == 3 else False, n)
        for n, shape in enumerate(shapes)
    ]
    return infos[::-1]


@pytest.mark.parametrize("n_others", [0, 1, 5, 8])
def test_tokens_are_found_on_their_grid(n_others):
    model, image = Tokens(n_others), torch.zeros(1, 3, 12, 16)
    expected = Patches("embed", n_others, 3, 4)
    found = find_patches(list_layers(model, image))
    assert {found[name] for name in ("enter", "leave", "block.linear1")} == {expected}
    fields, _ = receptive_fields(model, image, ["enter", "leave", "embed"])
    assert fields["enter"] == fields["embed"] == (4, 4, 4, 4, 0, 0, 12, 16, "exact")
    assert fields["leave"] == fields["embed"]._replace(kind="patch")
    assert fields["leave"].box(2, 3) == (8, 12, 12, 16)
    assert fields["leave"].box(-1, 0) == (0, 0, 12, 16)


def test_tokens_that_are_patches_of_nothing():
    found = find_patches(list_layers(Tokens(9), torch.zeros(1, 3, 12, 16)))
    assert "leave" not in found
    assert find_patches(listed((1, 8, 2, 2), (1, 8, 8))) == {}  # more others than patches
    assert find_patches(listed((1, 12, 8), (1, 8, 3, 4))) == {}  # ready before the map
    assert find_patches(listed((1, 8, 3, 4), (4, 12, 8))) == {}  # windows, not images


def test_the_last_map_before_the_first_tokens_counts():
    shapes = [(1, 4, 3, 4), (1, 8, 4, 3), (1, 8, 2, 2), (1, 13, 8), (1, 8, 2, 6), (1, 13, 8)]
    expected = Patches("1", 1, 4, 3)
    assert find_patches(listed(*shapes)) == {"5": expected, "3": expected}
    turned = listed((1, 8, 4, 3), (1, 8, 13), channels_last=False)
    assert find_patches(turned) == {"1": Patches("0", 1, 4, 3)}


def test_an_embedding_that_sees_everything():
    embed = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.GroupNorm(2, 8))
    fields, _ = receptive_fields(Tokens(1, embed), torch.zeros(1, 3, 12, 16), ["enter", "leave"])
    assert {field.kind for field in fields.values()} == {"whole"}


def test_numbers_of_tokens():
    patches, tokens = Patches("embed", 2, 3, 4), torch.arange(14.0).reshape(1, 1, 14, 1)
    grid = patches.grid(tokens)
    assert grid.shape == (1, 3, 4, 1)
    y, x = np.indices((3, 4))
    np.testing.assert_array_equal(patches.number(y, x), grid[0, :, :, 0])
    np.testing.assert_array_equal(patches.number(*patches.others().T), [0, 1])
    with pytest.raises(ParameterError, match="2 \\+ 3 x 4 tokens puts out 13"):
        patches.grid(tokens[:, :, 1:])


def to_tensor(image):
    return torch.tensor(np.asarray(image.resize((16, 20)), np.float32)).permute(2, 0, 1) / 255


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return load_model(Tokens(2), preprocess=to_tensor)


def rows_of(model, path, sampling):
    """Values and columns of the map and of the tokens, and all tokens of the first images."""
    data = "sklearn:digits"
    capture(
        model, ["embed", "leave"], data, path, sampling=sampling, n_inputs=6, dtype="float32",
        batch_size=4,
    )  # fmt: skip
    layers = [open_store(path).layer(name) for name in ("embed", "leave")]
    inputs = open_inputs(data, n_inputs=6)
    images = [to_tensor(inputs.load(number)) for number in range(6)]
    with torch.inference_mode():
        tokens = model.module.eval()(torch.stack(images))
    return layers, [layer.columns() for layer in layers], tokens.numpy()


@pytest.mark.parametrize("sampling", ["random:4", "center"])
def test_tokens_are_drawn_where_maps_are(model, tmp_path, sampling):
    (_, layer), (map_columns, columns), tokens = rows_of(model, tmp_path / "a.zarr", sampling)
    for name in ("input", "y", "x"):
        np.testing.assert_array_equal(columns[name], map_columns[name])
    y, x = columns["y"], columns["x"]
    if sampling == "random:4":  # no edges: of the grid of 5 x 4
        assert (y.min(), y.max(), x.min(), x.max()) == (1, 3, 1, 2)
    else:
        assert (set(y), set(x)) == ({2}, {2})
    expected = tokens[columns["input"], 2 + 4 * y + x]
    np.testing.assert_allclose(layer[:], expected, rtol=1e-5, atol=1e-6)
    assert layer.attributes["patches"] == {"layer": "embed", "prefix": 2, "height": 5, "width": 4}
    assert layer.attributes["receptive_field"]["kind"] == "patch"


def test_all_takes_the_class_token_in_front(model, tmp_path):
    (_, layer), (_, columns), tokens = rows_of(model, tmp_path / "a.zarr", "all")
    np.testing.assert_allclose(layer[:], tokens.reshape(-1, 8), rtol=1e-5, atol=1e-6)
    assert columns["y"][:4].tolist() == [-1, -1, 0, 0]
    assert columns["x"][:4].tolist() == [0, 1, 0, 1]
    assert (columns["y"][21], columns["x"][21]) == (4, 3)


def test_the_mean_is_over_all_tokens_and_the_longest_is_a_patch(model, tmp_path):
    (_, layer), (_, columns), tokens = rows_of(model, tmp_path / "a.zarr", "mean")
    np.testing.assert_allclose(layer[:], tokens.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert set(columns["y"]) == set(columns["x"]) == {-1}
    (_, layer), (_, columns), tokens = rows_of(model, tmp_path / "b.zarr", "top-norm:1")
    longest = np.linalg.norm(tokens[:, 2:], axis=2).argmax(axis=1)
    np.testing.assert_array_equal(4 * columns["y"] + columns["x"], longest)


def test_tokens_of_a_timm_vit(tmp_path, monkeypatch):
    if find_spec("timm") is None:
        pytest.skip("needs timm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = ["patch_embed.proj", "blocks.1"]
    capture(
        "timm:vit_tiny_patch16_224", names, "sklearn:digits", tmp_path / "a.zarr",
        sampling="random:3", n_inputs=2,
    )  # fmt: skip
    maps, tokens = (open_store(tmp_path / "a.zarr").layer(name) for name in names)
    for name in ("input", "y", "x"):
        np.testing.assert_array_equal(tokens.columns()[name], maps.columns()[name])
    field = maps.attributes["receptive_field"]
    assert field["kind"] == "exact"
    assert tokens.attributes["receptive_field"] == field | {"kind": "patch"}
    assert tokens.attributes["patches"]["prefix"] == 1
    assert "patches" not in maps.attributes
