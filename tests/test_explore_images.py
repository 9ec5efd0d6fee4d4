"""Pictures in the explorer: boxes lead back to the right pixels, and what is gone is told."""

from __future__ import annotations

import io
import json
import math
import tarfile
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from topoact_gpu import DBSCAN, Mapper, UniformCover, create_store, open_store
from topoact_gpu.activations.geometry import Geometry, geometry_of
from topoact_gpu.activations.loaded import LoadedModel
from topoact_gpu.activations.vision import ResizeCropScale
from topoact_gpu.capturing import capture
from topoact_gpu.errors import ParameterError
from topoact_gpu.explore import images
from topoact_gpu.explore.faults import NotFound
from topoact_gpu.explore.pictures import Pictures, encode
from topoact_gpu.explore.row_views import context_of, row_views
from topoact_gpu.explore.session import Session

SIZES = [(60, 90), (100, 64), (75, 75)]
PREPROCESS = ResizeCropScale(short_side=48, crop=40)


def ramps(height, width):
    """An image whose red says y and whose green says x."""
    y, x = np.mgrid[:height, :width]
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = y * 255 / (height - 1), x * 255 / (width - 1)
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def noise(height, width, seed):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def network():
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5, stride=2, padding=2),
        torch.nn.Tanh(),
        torch.nn.Conv2d(4, 6, 3, stride=2, padding=1),
    ).eval()
    record = {"spec": "tiny", "preprocessing": asdict(PREPROCESS)}
    return LoadedModel(module, preprocess=PREPROCESS, record=record)


def run_of(store, path, layer="2"):
    rows = open_store(store).layer(layer)
    mapper = Mapper("l2norm", cover=UniformCover(3, 0.3), clusterer=DBSCAN(1e3))
    mapper.fit(rows, run=path)
    return Session([path]).runs[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, (height, width) in enumerate(SIZES):
        target = folder / f"class{number % 2}" / f"{number}.png"
        target.parent.mkdir(exist_ok=True)
        noise(height, width, number).save(target)
    return folder


@pytest.fixture(scope="module")
def captured(photos, tmp_path_factory):
    place = tmp_path_factory.mktemp("captured")
    capture(network(), "2", str(photos), place / "acts.zarr", sampling="all")
    return run_of(place / "acts.zarr", place / "run.zarr")


def fresh(captured, photos, tmp_path, **options):
    """A capture of a copy of the photographs, that a test may spoil."""
    import shutil

    shutil.copytree(photos, tmp_path / "photos")
    store = tmp_path / "acts.zarr"
    capture(network(), "2", str(tmp_path / "photos"), store, sampling="all", **options)
    return run_of(store, tmp_path / "run.zarr")


def transforms():
    from topoact_gpu.activations.torch_fixes import repair_torchvision

    repair_torchvision()
    import torchvision.transforms as T
    from torchvision.transforms._presets import ImageClassification

    def composed(*steps):
        made = T.Compose([*steps, T.ToTensor()])
        return made, str(made)

    preset = ImageClassification(crop_size=40, resize_size=48)
    yield PREPROCESS, asdict(PREPROCESS)
    yield preset, {"transform": "ImageClassification", "resize_size": [48], "crop_size": [40]}
    yield composed(T.Resize(47), T.CenterCrop(33))
    yield composed(T.Resize((30, 44)), T.CenterCrop((21, 40)))
    yield composed(T.Resize(40), T.CenterCrop((60, 37)))  # pads
    yield composed(T.CenterCrop(31))


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize(("height", "width"), [(60, 90), (131, 77), (64, 64)])
def test_a_box_leads_back_through_the_preprocessing(which, height, width):
    transform, record = list(transforms())[which]
    found = transform(ramps(height, width)).numpy()
    flat = transform(Image.new("RGB", (width, height))).numpy()[:, 10, 10]
    full = transform(Image.new("RGB", (width, height), (255, 255, 255))).numpy()[:, 10, 10]
    shown = (found - flat[:, None, None]) / (full - flat)[:, None, None]
    placed = geometry_of(record).place(height, width)
    assert found.shape[1:] == (placed.height, placed.width)
    y, x = np.mgrid[12:19, 11:18]  # inside, where nothing is padded
    for axis, (at, scale, shift, length) in enumerate(
        [
            (y, placed.scale_y, placed.shift_y, height),
            (x, placed.scale_x, placed.shift_x, width),
        ]
    ):
        pixel = shown[axis, 12:19, 11:18] * (length - 1) + 0.5  # its centre
        meant = shift + (at + 0.5) * scale
        assert np.abs(pixel - meant).mean() < 0.35, axis


@given(
    height=st.integers(8, 300), width=st.integers(8, 300), top=st.integers(-9, 30),
    left=st.integers(-9, 30), size=st.integers(1, 60), short=st.integers(8, 64),
)  # fmt: skip
def test_a_box_lies_in_the_picture_and_covers_its_pixels(height, width, top, left, size, short):
    placed = Geometry(short_side=short, crop=(short, short)).place(height, width)
    box = placed.back((top, left, top + size, left + size))
    assert 0 <= box[0] < box[2] <= height
    assert 0 <= box[1] < box[3] <= width
    for low, high, start, scale, shift, kept in (
        (box[0], box[2], top, placed.scale_y, placed.shift_y, placed.height),
        (box[1], box[3], left, placed.scale_x, placed.shift_x, placed.width),
    ):
        first, last = max(start, 0), min(start + size, kept)
        if first < last:
            assert low <= shift + first * scale + 1e-5
            assert high >= shift + last * scale - 1e-5
            assert high - low <= (last - first) * scale + 2 + 1e-5


def test_what_the_record_does_not_say_has_no_geometry():
    unknown = "Compose(Resize(size=9) RandomCrop(size=(4, 4)) ToTensor())"
    for record in (None, "a.b", unknown, {"x": 1}, {"resize_size": "big", "crop_size": [3]}):
        assert geometry_of(record) is None
    assert geometry_of("Compose(Resize(size=9, max_size=12) ToTensor())") is None
    assert geometry_of("Compose(CenterCrop(size=(4, 4)) Resize(size=9))") is None


def test_what_lies_outside_a_box_does_not_reach_the_row_and_what_lies_inside_does(captured, photos):
    import torch

    model = network()
    numbers = images.input_of(captured)
    values = captured.activations[np.arange(captured.header.n_rows)]
    names = [line["id"] for line in captured.inputs]
    for row in range(0, captured.header.n_rows, 17):
        picture = np.asarray(Image.open(photos / names[numbers[row]]))
        top, left, bottom, right = images.box_of(captured, row)
        margin = 5  # as far as bicubic resampling reaches
        y, x = np.indices(picture.shape[:2])
        around = (y >= top - margin) & (y < bottom + margin)
        around &= (x >= left - margin) & (x < right + margin)
        inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)

        def seen(pixels, row=row):
            with torch.no_grad():
                maps = model.module(PREPROCESS(Image.fromarray(pixels))[None])
            return maps[0, :, captured.columns["y"][row], captured.columns["x"][row]].numpy()

        tolerance = {"rtol": 2e-3, "atol": 2e-3}  # of float16
        np.testing.assert_allclose(seen(picture), values[row], **tolerance)
        outside = np.where(around[..., None], picture, 0).astype(np.uint8)
        np.testing.assert_allclose(seen(outside), values[row], **tolerance)
        changed = np.where(inside[..., None], 255 - picture, picture).astype(np.uint8)
        assert np.abs(seen(changed) - values[row]).max() > 0.02


def test_the_box_of_a_row_is_not_that_of_another_place(captured):
    """The comparison above can fail: y and x are not taken for one another."""
    y, x = captured.columns["y"], captured.columns["x"]
    boxes = [images.box_of(captured, row) for row in range(captured.header.n_rows)]
    first = {
        (int(images.input_of(captured)[r]), int(y[r]), int(x[r])): boxes[r] for r in range(len(y))
    }
    assert first[0, 1, 7] != first[0, 7, 1]
    assert first[0, 1, 7][0] < first[0, 7, 1][0]
    assert first[0, 1, 7][1] > first[0, 7, 1][1]


def test_a_patch_is_the_part_in_the_box(captured, photos):
    row = 50
    name = captured.inputs[images.input_of(captured)[row]]["id"]
    top, left, bottom, right = images.box_of(captured, row)
    data, kind = images.patch(captured, row, 96)
    assert kind == "image/png"  # tiny: without loss
    picture = np.asarray(Image.open(photos / name))
    expected = picture[top:bottom, left:right]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)
    shrunk = Image.open(io.BytesIO(images.whole(captured, row, 32)[0]))
    assert max(shrunk.size) == 32


def test_large_pictures_are_jpeg_and_shrunk():
    data, kind = encode(np.asarray(noise(300, 200, 0)), 150)
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(data)).size == (100, 150)


def test_the_mean_is_over_the_patches(captured):
    rows = np.flatnonzero(images.input_of(captured) == 2)
    inner = [
        r for r in rows if 3 <= captured.columns["y"][r] <= 5 and captured.columns["x"][r] == 4
    ]
    assert len(inner) == 3
    side = 24
    patches = []
    for row in inner:
        top, left, bottom, right = images.box_of(captured, row)
        whole = np.asarray(
            Image.open(io.BytesIO(images.whole(captured, row, 4096)[0])).convert("RGB")
        )
        cut = Image.fromarray(whole[top:bottom, left:right])
        patches.append(np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR), float))
    data, kind = images.average(captured, np.array(inner), side)
    found = np.asarray(Image.open(io.BytesIO(data)), float)
    assert found.shape == (side, side, 3)
    assert kind == "image/png"
    assert np.abs(found - np.mean(patches, axis=0)).mean() < 6  # boxes end between pixels
    single = np.asarray(
        Image.open(io.BytesIO(images.average(captured, np.array(inner[:1]), side)[0]))
    )
    assert np.abs(single - np.mean(patches, axis=0)).mean() > 12


def test_the_mean_takes_a_bounded_number_of_rows(captured, monkeypatch):
    monkeypatch.setattr(images, "AVERAGE_ROWS", 5)
    laid = []
    monkeypatch.setattr(
        images, "_lay_on", lambda run, row, total, count: (laid.append(row), count.__iadd__(1))
    )
    images.average(captured, np.arange(100), 16)
    assert len(laid) == 5
    with pytest.raises(NotFound, match="no rows"):
        images.average(captured, np.zeros(0, np.int64), 16)


def test_a_vanished_file_is_told_and_a_small_picture_takes_its_place(captured, photos, tmp_path):
    run = fresh(captured, photos, tmp_path)
    before = images.box_of(run, 5), row_views(run, [5])[0]["shape"]
    (tmp_path / "photos" / run.inputs[0]["id"]).unlink()
    assert (images.box_of(run, 5), row_views(run, [5])[0]["shape"]) == before
    with pytest.raises(NotFound, match=r"0\.png cannot be shown: .*No such file"):
        images.patch(run, 5)
    assert images.whole(run, run.header.n_rows - 1)[0]


def test_thumbnails_stand_for_what_is_gone(captured, photos, tmp_path):
    run = fresh(captured, photos, tmp_path, thumbnails=True)
    (tmp_path / "photos" / run.inputs[1]["id"]).unlink()
    row = int(np.flatnonzero(images.input_of(run) == 1)[30])
    picture = images.pictures_of(run).picture(1)
    assert picture.size == SIZES[2 if "2" in run.inputs[1]["id"] else 1]
    assert max(picture.pixels.shape) == min(96, max(picture.size))
    assert images.patch(run, row)[0]


def test_a_changed_file_is_not_shown(captured, photos, tmp_path):
    run = fresh(captured, photos, tmp_path)
    noise(50, 50, 9).save(tmp_path / "photos" / run.inputs[0]["id"])
    with pytest.raises(NotFound, match=r"50 x 50 pixels by now, and had 60 x 90"):
        images.whole(run, 0)
    other = fresh(captured, photos, tmp_path / "other", thumbnails=True)
    noise(60, 90, 99).save(tmp_path / "other" / "photos" / other.inputs[0]["id"])
    shown = images.pictures_of(other).picture(0).pixels
    kept = np.asarray(noise(60, 90, 0), float)
    assert shown.shape == (60, 90, 3)
    assert np.abs(shown - kept).mean() < 12  # the thumbnail, not the file


def test_an_old_capture_without_sizes_is_read(captured, photos, tmp_path):
    run = fresh(captured, photos, tmp_path)
    path = tmp_path / "acts.zarr" / "capture"
    state = json.loads((path / "state.json").read_text())
    lines = [json.loads(line) for line in (path / "inputs.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({k: v for k, v in x.items() if k != "size"}) + "\n" for x in lines)
    (path / "inputs.jsonl").write_text(text)
    state["lengths"]["inputs.jsonl"] = len(text)
    (path / "state.json").write_text(json.dumps(state))
    again = Session([tmp_path / "run.zarr"]).runs[0]
    assert "size" not in again.inputs[0]
    assert images.box_of(again, 40) == images.box_of(run, 40)


def test_relative_paths_count_from_the_folder_of_the_capture(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos.parent)
    capture(network(), "2", photos.name, tmp_path / "a.zarr", sampling="center")
    monkeypatch.chdir(tmp_path)
    assert images.whole(run_of(tmp_path / "a.zarr", tmp_path / "run.zarr"), 0)[0]


def test_paths_that_lead_out_of_the_folder_are_refused(captured, photos, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    run = fresh(captured, photos, tmp_path)
    for id in ("../secret.png", str(tmp_path / "secret.png")):
        pictures = Pictures(run.store, [{"input": 0, "id": id}])
        with pytest.raises(NotFound, match="leads out of the folder"):
            pictures.picture(0)


def test_lists_archives_and_digits_are_found(photos, tmp_path):
    files = sorted(photos.rglob("*.png"))
    (tmp_path / "list.txt").write_text("".join(f"{file}\n" for file in files))
    with tarfile.open(tmp_path / "b-0.tar", "w") as archive:
        for file in files:
            archive.add(file, file.relative_to(photos).as_posix())
    for name, spec in (
        ("list", f"list:{tmp_path / 'list.txt'}"),
        ("tar", f"tar:{tmp_path}/b-*.tar"),
        ("digits", "sklearn:digits"),
    ):
        store = tmp_path / f"{name}.zarr"
        capture(network(), "2", spec, store, sampling="center", n_inputs=3)
        run = run_of(store, tmp_path / f"{name}-run.zarr")
        picture = images.pictures_of(run).picture(int(images.input_of(run)[1]))
        size = tuple(row_views(run, [1])[0]["shape"])
        assert picture.size == size
        assert size == (8, 8) if name == "digits" else size in SIZES
    (tmp_path / "b-0.tar").unlink()
    gone = Session([tmp_path / "tar-run.zarr"]).runs[0]
    with pytest.raises(NotFound, match="no archive matches"):
        images.whole(gone, 0)


def test_a_store_without_inputs_has_no_pictures(tmp_path):
    with create_store(tmp_path / "a.zarr") as store:
        layer = store.create_layer("2", 3, "float32")
        layer.append(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    run = run_of(tmp_path / "a.zarr", tmp_path / "run.zarr")
    with pytest.raises(NotFound, match="has no pictures"):
        images.patch(run, 0)
    (view,) = row_views(run, [3])
    assert view == {
        "row": 3, "input": None, "name": "row 3", "class": None, "prediction": None,
        "confidence": None, "box": None, "shape": None, "image": False, "context": None,
    }  # fmt: skip


def test_rows_and_sides_out_of_bounds_are_refused(captured):
    with pytest.raises(NotFound, match="rows are 0 to"):
        images.patch(captured, captured.header.n_rows)
    with pytest.raises(NotFound, match="rows are 0 to"):
        images.patch(captured, -1)
    for side in (0, 10**6):
        with pytest.raises(ParameterError, match="side must be"):
            images.patch(captured, 0, side)


def test_pictures_that_are_used_least_are_forgotten(captured):
    pictures = Pictures(captured.store, captured.inputs, cache_bytes=60 * 90 * 3 + 100)
    first = pictures.picture(0)
    assert pictures.picture(0) is first
    pictures.picture(1)
    assert pictures.picture(0) is not first


def test_the_sample_shows_its_photographs(tmp_path):
    from topoact_gpu.cli.demo import LAYER, _write_store
    from topoact_gpu.sample import load_sample

    _write_store(tmp_path / "acts.zarr")
    run = run_of(tmp_path / "acts.zarr", tmp_path / "run.zarr", LAYER)
    sample = load_sample()
    for row in (0, 5000, 9999):
        (view,) = row_views(run, [row])
        assert view["name"] == sample.photo_names[sample.photo[row]]
        height, width = view["shape"]
        scale = 480 / min(height, width)
        sizes = [max(1, round(side * scale / 32)) * 32 for side in (height, width)]
        for axis, at, length, size in zip(
            (0, 1), (int(sample.y[row]), int(sample.x[row])), (height, width), sizes, strict=True
        ):
            low, high = max(0, -154 + 16 * at), min(size, -154 + 16 * at + 339)
            assert view["box"][axis] == int(low * length / size + 1e-6)
            assert view["box"][axis + 2] == math.ceil(high * length / size - 1e-6)
        assert images.patch(run, row)[1] == "image/jpeg"


def test_context_is_cut_between_words():
    text = "one two three " * 20
    found = context_of(text, 140, 143)
    assert found["word"] == text[140:143]
    assert found["before"].startswith("…")
    assert found["after"].endswith("…")
    assert text[:140].endswith(found["before"][1:])
    assert text[143:].startswith(found["after"][:-1])
    assert len(found["before"]) <= 61
    assert len(found["after"]) <= 61
    assert context_of("ab", 0, 0, "[CLS]") == {"before": "", "word": "[CLS]", "after": "ab"}
    assert context_of("x" * 500, 200, 201)["before"] == "…" + "x" * 60


def test_rows_of_texts_have_their_context(tmp_path):
    from topoact_gpu.capture_state import as_line, beginning, save_state

    text = "the modelling of words"
    with create_store(tmp_path / "a.zarr", data={"kind": "text"}) as store:
        layer = store.create_layer("2", 2, "float32", names={"class_id": ["c", "d"]})
        layer.append(
            np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32),
            input=np.zeros(3, np.int64), class_id=np.array([1, 0, -1], np.int32),
            start=np.array([0, 4, 10], np.int32), end=np.array([3, 10, 13], np.int32),
            position=np.arange(3, dtype=np.int32), token=np.array(["the", "model", "##ling"]),
        )  # fmt: skip
    folder = tmp_path / "a.zarr" / "capture"
    folder.mkdir()
    line = as_line({"id": "t1", "input": 0, "text": text})
    (folder / "inputs.jsonl").write_bytes(line)
    state = {"version": 1, **beginning()}
    state["lengths"]["inputs.jsonl"] = len(line)
    save_state(folder, state)
    views = row_views(run_of(tmp_path / "a.zarr", tmp_path / "run.zarr"), [0, 2])
    assert [view["name"] for view in views] == ["the", "##ling"]
    assert [view["class"] for view in views] == ["d", None]
    assert views[1]["context"] == {"before": "the modell", "word": "ing", "after": " of words"}
    assert views[1]["image"] is False
