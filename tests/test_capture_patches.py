"""Tokens of vision transformers: found on their grid, and drawn there."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from topoact_gpu.activations.layers import LayerInfo, list_layers  # noqa: E402
from topoact_gpu.activations.patches import Patches, find_patches  # noqa: E402
from topoact_gpu.activations.receptive import receptive_fields  # noqa: E402
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
