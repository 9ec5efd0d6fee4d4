"""Hooks: which layers there are, what they compute, and that a model is left as it was."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from topoact_gpu import ParameterError  # noqa: E402
from topoact_gpu.activations.layers import LayerInfo, Recorder, list_layers, match_layers  # noqa: E402
from topoact_gpu.activations.outputs import first_tensor, predictions, spatial  # noqa: E402
from topoact_gpu.activations.receptive import (  # noqa: E402
    ReceptiveField,
    receptive_field,
    receptive_fields,
)

nn = torch.nn


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small_net() -> Any:
    """Convolutions, a normalisation with a ReLU in place behind it, a head."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 4, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(4 * 8 * 8, 5),
    )


class Shared(nn.Module):
    """One activation for two layers, and a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(1, 1)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.second(self.act(self.first(x))))


class Counted(nn.Module):
    """Counts its runs."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return x + 1


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("broken model")


def modes_and_hooks(model):
    return [(m.training, len(m._forward_hooks)) for m in model.modules()]


# Outputs


@dataclass
class Answer:
    mask: Any
    logits: Any


Pair = namedtuple("Pair", ["scores", "hidden"])
A, B = (torch.full((2, 2), value) for value in (1.0, 2.0))


@pytest.mark.parametrize(
    "output",
    [
        A,
        (A, B),
        [None, A, B],
        Pair(A, B),
        {"other": B, "last_hidden_state": A, "logits": B},
        {"other": B, "logits": A},
        {"one": A, "two": B},
        {"logits": None, "one": A},
        Answer(B, A),
        Answer(A, None),
        ((None, [{"x": A}]), B),
    ],
)
def test_the_first_tensor(output):
    assert first_tensor(output) is A


@pytest.mark.parametrize("output", [None, (), {"a": 3}, "text", Answer])
def test_no_tensor_is_an_error(output):
    with pytest.raises(ParameterError, match="must hold a tensor"):
        first_tensor(output)


def test_spatial():
    maps = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # N, C, H, W
    assert torch.equal(spatial(maps)[1, 2, 3], maps[1, :, 2, 3])
    turned = maps.permute(0, 2, 3, 1)
    assert torch.equal(spatial(turned, channels_last=True), spatial(maps))
    tokens = torch.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert torch.equal(spatial(tokens)[1, 0, 2], tokens[1, 2])
    assert torch.equal(spatial(tokens, channels_last=False)[1, 0, 2], tokens[1, :, 2])
    assert torch.equal(spatial(tokens[0])[1, 0, 0], tokens[0, 1])
    with pytest.raises(ParameterError, match="2, 3 or 4 axes"):
        spatial(torch.zeros(3))


def test_predictions():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0], [0.0, 0.0, 1000.0]])
    for output in (logits, (logits, None), {"loss": torch.tensor(0.0), "logits": logits}):
        classes, confidence = predictions(output)
        assert classes.dtype == np.int64
        assert confidence.dtype == np.float32
        assert classes.tolist() == [1, 0, 2]  # of equal ones the lowest
        share = torch.softmax(logits.double(), 1).amax(1).float().numpy()
        np.testing.assert_array_equal(confidence, share)
    with pytest.raises(ParameterError, match=r"\[inputs, classes\]"):
        predictions(torch.zeros(2, 3, 4))


# Layers


def test_listing_says_what_runs():
    model = small_net().train()
    before = modes_and_hooks(model)
    infos = list_layers(model, torch.zeros(1, 3, 16, 16))
    assert [info.name for info in infos] == list("012345")
    assert infos[3] == LayerInfo("3", "Conv2d", (1, 4, 8, 8), ((1, 4, 8, 8),), 1, False)
    assert infos[4].channels_last is None
    assert modes_and_hooks(model) == before


def test_listing_numbers_the_runs_of_a_shared_module():
    infos = list_layers(Shared(), torch.zeros(2, 4))
    assert [(info.name, info.shape, info.n_calls) for info in infos] == [
        ("first", (2, 6), 1),
        ("second", (2, 3), 1),
        ("act#1", (2, 6), 2),
        ("act#2", (2, 3), 2),
    ]


def test_listing_takes_arguments_by_place_and_by_name():
    model = nn.Bilinear(2, 3, 4)
    wrapper = nn.ModuleDict({"b": model})
    wrapper.forward = lambda x, y: wrapper["b"](x, y)  # type: ignore[method-assign]
    x, y = torch.zeros(1, 2), torch.zeros(1, 3)
    by_place, by_name = list_layers(wrapper, (x, y)), list_layers(wrapper, {"y": y, "x": x})
    assert by_place == by_name
    assert by_place[0].shape == (1, 4)


def test_listing_a_layer_without_tensors():
    class Empty(nn.Module):
        def forward(self, x):
            return None

    model = nn.Sequential(Empty())
    assert list_layers(model, torch.zeros(1)) == [LayerInfo("0", "Empty", None, (), 1, None)]
    with pytest.raises(ParameterError, match="must hold a tensor"), Recorder(model, ["0"]) as r:
        r.forward(torch.zeros(1))


class Turn(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(*self.axes)


def test_where_the_columns_stand():
    to_last, to_first = (0, 2, 3, 1), (0, 3, 1, 2)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), Turn(*to_last), nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(),
        Turn(*to_first), nn.ReLU(), nn.Conv2d(9, 5, 1), nn.Flatten(2), nn.Dropout(),
    )  # fmt: skip
    found = [info.channels_last for info in list_layers(model, torch.zeros(1, 3, 4, 7))]
    assert found == [False, True, True, True, True, False, False, False, False, False]
    square = nn.Sequential(nn.Conv2d(3, 4, 1), Turn(*to_last), nn.Linear(4, 4))
    found = [info.channels_last for info in list_layers(square, torch.zeros(1, 3, 4, 4))]
    assert found == [False, False, True]  # undecidable by shape: a Linear works on the last axis


NAMES = ["stem", "layer1.0.conv", "layer1.1.conv", "layer2.0.conv", "act#1", "act#2"]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ("stem", ["stem"]),
        (["layer2.0.conv", "stem"], ["stem", "layer2.0.conv"]),
        (["layer1.*", "*.conv"], NAMES[1:4]),
        (["layer?.0.conv"], ["layer1.0.conv", "layer2.0.conv"]),
        (["act"], ["act#1", "act#2"]),
        (["act#2"], ["act#2"]),
        (["a*"], ["act#1", "act#2"]),
        (["[sx]tem"], ["stem"]),
    ],
)
def test_matching(patterns, found):
    assert match_layers(NAMES, patterns) == found


def test_a_pattern_without_match_names_near_ones():
    with pytest.raises(ParameterError, match=r"'layer1\.0\.cnv'; did you mean 'layer1\.0\.conv'"):
        match_layers(NAMES, ["stem", "layer1.0.cnv"])
    with pytest.raises(ParameterError, match="at least"):
        match_layers(NAMES, [])


# Recording


def test_recording_equals_plain_hooks(plain_hooks):
    model, x = small_net(), torch.randn(3, 3, 16, 16)
    names = ["5", "0", "1", "3"]
    expected, output = plain_hooks(model, names, x)
    for need_output in (False, True):
        with Recorder(model, names, need_output=need_output) as recorder:
            for _ in range(2):  # the first forward is whole, the second may stop early
                kept, found = recorder.forward(x)
                assert list(kept) == names
                assert all(torch.equal(kept[name], expected[name]) for name in names)
                assert found is None if not need_output else torch.equal(found, output)
    assert (expected["1"] < 0).any()  # the ReLU in place did not reach the copy


def test_a_forward_stops_after_the_last_wanted_layer():
    model = nn.Sequential(Counted(), Counted(), Counted())
    with Recorder(model, ["1", "0"]) as recorder:
        for _ in range(3):
            kept, output = recorder.forward(torch.zeros(2))
            assert output is None
            assert kept["1"].tolist() == [2, 2]
    assert [layer.runs for layer in model] == [3, 3, 1]  # the first forward is whole
    with Recorder(model, ["0"], need_output=True) as recorder:
        assert recorder.forward(torch.zeros(1))[1].tolist() == [3]
        assert recorder.forward(torch.zeros(1))[1].tolist() == [3]
    assert model[2].runs == 3


def test_only_the_output():
    with Recorder(nn.Sequential(Counted()), [], need_output=True) as recorder:
        kept, output = recorder.forward(torch.zeros(1))
    assert kept == {}
    assert output.tolist() == [1]


def test_both_runs_of_a_shared_module():
    model, x = Shared(), torch.randn(5, 4)
    with torch.no_grad():
        first = torch.relu(model.first(x))
        second = torch.relu(model.second(first))
    with Recorder(model, ["act"]) as recorder:
        for _ in range(2):
            kept, _ = recorder.forward(x)
            assert list(kept) == ["act#1", "act#2"]
            assert torch.equal(kept["act#1"], first)
            assert torch.equal(kept["act#2"], second)
    with Recorder(model, ["act#2", "first"]) as recorder:
        kept, _ = recorder.forward(x)
    assert list(kept) == ["act#2", "first"]


def test_a_numbered_run_stops_the_first_forward_too():
    model = Shared()
    model.second = Counted()
    with Recorder(model, ["act#1"]) as recorder:
        recorder.forward(torch.randn(5, 4))
    assert model.second.runs == 0


def test_a_layer_that_does_not_run_is_an_error():
    with pytest.raises(ParameterError, match="'unused' ran 0 times"):
        run_once(Shared(), ["unused"])
    with pytest.raises(ParameterError, match="act#3"):
        run_once(Shared(), ["act#3"])
    with pytest.raises(ParameterError, match="no layer 'frist'; did you mean 'first'"):
        Recorder(Shared(), ["frist"])
    with pytest.raises(ParameterError, match="at least"):
        Recorder(Shared(), [])
    with pytest.raises(ParameterError, match="inside its context"):
        Recorder(Shared(), ["first"]).forward(torch.zeros(1, 4))


def run_once(model, names):
    with Recorder(model, names) as recorder:
        return recorder.forward(torch.zeros(1, 4))


def test_runs_that_change_between_forwards_are_an_error():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.end = Counted(), Counted()

        def forward(self, x, n):
            for _ in range(n):
                x = self.step(x)
            return self.end(x)

    for n in (1, 3):
        with Recorder(Loop(), ["step", "end"]) as recorder:
            recorder.forward(torch.zeros(1), 2)
            with pytest.raises(ParameterError, match="as often in each forward"):
                recorder.forward(torch.zeros(1), n)


def test_modes_and_hooks_are_restored():
    model = small_net().train()
    model[1].eval()  # a frozen normalisation in a network that trains
    before = modes_and_hooks(model)
    with Recorder(model, ["0", "3"]) as recorder:
        assert not any(m.training for m in model.modules())
        recorder.forward(torch.zeros(1, 3, 16, 16))
        recorder.forward(torch.zeros(1, 3, 16, 16))
    assert modes_and_hooks(model) == before


def test_modes_and_hooks_are_restored_after_an_exception():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), Failing()).train()
    model[1].eval()
    before = modes_and_hooks(model)
    with pytest.raises(RuntimeError, match="broken model"):
        run_once(model, ["0", "1"])
    assert modes_and_hooks(model) == before
    with pytest.raises(RuntimeError, match="broken model"):
        list_layers(model, torch.zeros(1, 4))
    assert modes_and_hooks(model) == before


def test_stopping_passes_a_model_that_catches_everything():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.after = nn.Linear(4, 4), Counted()

        def forward(self, x):
            try:
                x = self.inner(x)
            except Exception:  # noqa: BLE001
                x = torch.zeros(1)
            return self.after(x)

    model = Careful()
    with Recorder(model, ["inner"]) as recorder:
        for _ in range(2):
            recorder.forward(torch.zeros(1, 4))
    assert model.after.runs == 1


def test_encoder_layers_keep_their_hooks_on_the_fast_path():
    """torch's own encoder skips its modules in eval mode, unless they carry hooks."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(layer, nn.Linear(8, 3))
    x = torch.randn(2, 5, 8)
    names = [info.name for info in list_layers(model, x)]
    assert "0.linear1" in names
    with Recorder(model, ["0.linear1", "0"]) as recorder:
        kept, _ = recorder.forward(x)
    assert kept["0.linear1"].shape == (2, 5, 16)


# Receptive fields


def naive_field(model, x, position, layer=None):
    """Box of the pixels whose change changes a position: one forward for each pixel."""
    with torch.no_grad():
        base = model(x)[0, :, position[0], position[1]]
        touched = torch.zeros(x.shape[2:], dtype=torch.bool)
        for y in range(x.shape[2]):
            for column in range(x.shape[3]):
                changed = x.clone()
                changed[0, :, y, column] += 1e3 * torch.randn(x.shape[1], dtype=x.dtype)
                value = model(changed)[0, :, position[0], position[1]]
                touched[y, column] = not torch.equal(value, base)
    ys, xs = (torch.where(touched.any(axis))[0] for axis in (1, 0))
    return int(ys[0]), int(xs[0]), int(ys[-1]) + 1, int(xs[-1]) + 1


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(2, 8, 3)],
        [nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, dilation=2, padding=1)],
        [nn.Conv2d(2, 8, (5, 1), padding=(2, 0)), nn.MaxPool2d(3, 2), nn.Conv2d(8, 8, 2)],
        [nn.Conv2d(2, 8, 3, stride=2), nn.AvgPool2d(2), nn.Upsample(scale_factor=1)],
    ],
)
def test_fields_against_changing_every_pixel(layers):
    model = nn.Sequential(*layers).double().eval()
    x = torch.randn(1, 2, 17, 14, dtype=torch.double)
    field = receptive_field(model, x, str(len(layers) - 1))
    n_y, n_x = model(x).shape[2:]
    dilated = any(getattr(layer, "dilation", 1) not in (1, (1, 1)) for layer in layers)
    assert field.kind == ("covering" if dilated else "exact")
    for position in ((0, 0), (n_y // 2, n_x // 2), (n_y - 1, n_x - 1)):
        box, naive = field.box(*position), naive_field(model, x, position)
        if dilated:  # the first tap lies in the padding, the second beyond the border
            assert all(side <= true for side, true in zip(box[:2], naive[:2], strict=True))
            assert all(side >= true for side, true in zip(box[2:], naive[2:], strict=True))
            assert sum(abs(side - true) for side, true in zip(box, naive, strict=True)) <= 6
        else:
            assert box == naive


def test_fields_of_a_known_network():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(4, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    x = torch.zeros(1, 3, 96, 64)
    assert receptive_field(model, x, "0") == (2, 2, 7, 7, -3, -3, 96, 64, "exact")
    assert receptive_field(model, x, "2") == (4, 4, 11, 11, -5, -5, 96, 64, "exact")
    field = receptive_field(model, x, "3")
    assert field == (4, 4, 19, 19, -9, -9, 96, 64, "exact")
    assert field.box(0, 1) == (0, 0, 10, 14)
    assert field.box(23, 5) == (83, 11, 96, 30)
    assert receptive_field(model, x, "4")[:6] == (96, 64, 96, 64, 0, 0)
    assert receptive_field(model, x, "5").kind == "whole"


def test_fields_larger_than_the_input():
    """Half of the input is the most that a border leaves to measure; boxes stay right."""
    model = nn.Sequential(nn.Conv2d(1, 2, 25, stride=2, padding=12))
    x = torch.zeros(1, 1, 32, 16)
    field = receptive_field(model, x, "0")
    for y in range(16):
        for column in range(8):
            top, left = 2 * y - 12, 2 * column - 12
            box = max(0, top), max(0, left), min(32, top + 25), min(16, left + 25)
            assert field.box(y, column) == box


class Squeeze(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


def test_a_position_that_sees_everything_says_so():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), Squeeze())
    field = receptive_field(model, torch.zeros(1, 3, 32, 64), "1")
    assert field == (4, 4, 32, 64, 0, 0, 32, 64, "whole")
    assert field.box(3, 3) == (0, 0, 32, 64)


def test_an_axis_that_is_whole():
    model = nn.Sequential(nn.Conv2d(1, 2, (3, 32), padding=(1, 31)))
    field = receptive_field(model, torch.zeros(1, 1, 16, 32), "0")
    assert {field.box(5, x)[::2] for x in range(63)} == {(4, 7)}
    assert field.box(5, 0)[1::2] == (0, 1)
    rows = nn.Sequential(nn.AdaptiveAvgPool2d((None, 1)), nn.Conv2d(1, 2, (3, 1), padding=(1, 0)))
    field = receptive_field(rows, torch.zeros(1, 1, 16, 32), "1")
    assert field.box(5, 0) == (4, 0, 7, 32)


def test_windows_are_covered():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(5))
    x = torch.zeros(1, 1, 17, 17)
    field = receptive_field(model, x, "0")
    assert field.kind == "covering"
    for y in range(5):
        top, _, bottom, _ = field.box(y, 0)
        assert top <= y * 17 // 5
        assert bottom >= -(-(y + 1) * 17 // 5)


def test_tokens_lie_on_the_grid_of_their_patches():
    model = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Flatten(2), Turn(0, 2, 1))
    field = receptive_field(model, torch.zeros(1, 3, 8, 12), "2")
    assert field == (4, 4, 4, 4, 0, 0, 8, 12, "exact")
    assert field.box(1, 2) == (4, 8, 8, 12)
    unfold = nn.Sequential(nn.Unfold(4, stride=4), Turn(0, 2, 1))
    assert receptive_field(unfold, torch.zeros(1, 3, 8, 12), "1").kind == "whole"


def test_fields_that_cannot_be_measured():
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ParameterError, match="pass NaN on"):
        receptive_field(nn.Sequential(Deaf()), image, "0")
    with pytest.raises(ParameterError, match="image as input"):
        receptive_field(nn.Sequential(nn.Linear(3, 3)), torch.zeros(2, 3), "0")
    with pytest.raises(ParameterError, match="finite example"):
        receptive_field(nn.Sequential(nn.ReLU()), image / 0, "0")

    twice = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1))
    twice.append(twice[0])
    with pytest.raises(ParameterError, match="one of 0#1, 0#2"):
        receptive_field(twice, image, "0")
    assert receptive_field(twice, image, "0#2")[:4] == (1, 1, 1, 1)


class Deaf(nn.Module):
    def forward(self, x):
        return torch.nan_to_num(x)


def test_several_layers_at_once():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.AvgPool2d(2), nn.Conv2d(4, 4, 5, padding=2),
        Squeeze(), nn.Flatten(), nn.Linear(4 * 64, 3),
    )  # fmt: skip
    x, names = torch.zeros(2, 3, 32, 32), list("420315")
    fields, missing = receptive_fields(model, x, names)
    assert fields == {name: receptive_field(model, x, name) for name in names}
    assert (list(fields), missing) == (names, {})
    assert receptive_fields(model, x, []) == ({}, {})


def test_one_layer_that_cannot_be_measured():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Deaf(), nn.Conv2d(4, 4, 3))
    fields, missing = receptive_fields(model, torch.zeros(1, 3, 9, 9), ["2", "0", "1"])
    assert (list(fields), list(missing)) == (["0"], ["2", "1"])
    assert "pass NaN on" in missing["1"]


class Limited(nn.Module):
    """Fails, in the way it is told, with more images than it takes."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error, self.sizes = most, error, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise self.error("too many")
        return x


def test_batches_stay_within_their_size():
    x = torch.zeros(1, 3, 32, 32)
    conv = nn.Conv2d(3, 4, 7, stride=4, padding=3)
    expected = receptive_field(nn.Sequential(nn.Identity(), conv), x, "1")
    for most in (1, 3):
        limited = Limited(most, AssertionError)
        fields, _ = receptive_fields(nn.Sequential(limited, conv), x, ["1"], batch_size=most)
        assert fields["1"] == expected
        assert max(limited.sizes) == most
    limited = Limited(2, torch.OutOfMemoryError)
    assert receptive_field(nn.Sequential(limited, conv), x, "1") == expected
    assert set(limited.sizes[-5:]) <= {1, 2}
    with pytest.raises(torch.OutOfMemoryError):
        receptive_field(nn.Sequential(Limited(0, torch.OutOfMemoryError), conv), x, "1")


class Mixing(nn.Module):
    """Lets images of a batch see each other."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return self.how(x)


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x - x.mean(0, keepdim=True),
        lambda x: x + x.roll(1, 0),
        lambda x: x.cumsum(0),
        lambda x: x.flip(0).cumsum(0).flip(0),
        lambda x: x.sum(0, keepdim=True),
    ],
)
def test_images_that_depend_on_each_other(how):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), Mixing(how))
    field = receptive_field(model, torch.zeros(1, 3, 17, 17), "1")
    assert field == (2, 2, 3, 3, 0, 0, 17, 17, "exact")


def test_a_normalisation_by_the_batch():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 4, 3))
    assert receptive_field(model, torch.zeros(1, 3, 17, 17), "1").kind == "whole"


def test_a_layer_whose_first_axis_counts_windows():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Mixing(lambda x: x.reshape(4, 1, 7, 7)))
    _, missing = receptive_fields(model, torch.zeros(1, 3, 9, 9), ["1"])
    assert "one entry for one input" in missing["1"]


def test_a_box_is_clipped():
    field = ReceptiveField(4, 4, 9, 7, -3, -1, 10, 10, "exact")
    assert field.box(0, 0) == (0, 0, 6, 6)
    assert field.box(1, 2) == (1, 7, 10, 10)
