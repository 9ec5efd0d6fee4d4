"""The bundled sample is what its docstring says."""

from __future__ import annotations

import dataclasses
import importlib.util
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from topoact_gpu import Sample, load_sample
from topoact_gpu.activations.inputs import open_inputs
from topoact_gpu.sample import RECEPTIVE_FIELD

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def sample() -> Sample:
    return load_sample()


def test_shapes_and_dtypes(sample):
    assert sample.activations.shape == (10_000, 112)
    assert sample.activations.dtype == np.float16
    for column in (sample.photo, sample.y, sample.x):
        assert column.shape == (10_000,)
        assert column.dtype == np.int16


def test_values_are_finite_and_real(sample):
    values = sample.activations.astype(np.float64)
    assert np.isfinite(values).all()
    assert (values.std(axis=0) > 0).all()
    assert len(np.unique(sample.activations, axis=0)) > 9_000


def test_every_row_has_its_own_place(sample):
    places = np.stack([sample.photo, sample.y, sample.x], axis=1)
    assert len(np.unique(places, axis=0)) == len(places)
    assert (np.lexsort((sample.x, sample.y, sample.photo)) == np.arange(len(places))).all()


def test_every_photo_has_rows(sample):
    assert list(sample.photo_names) == sorted(sample.photo_names)
    counts = np.bincount(sample.photo, minlength=len(sample.photo_names))
    assert len(counts) == len(sample.photo_names) == 11
    assert counts.min() > 500


def test_description_says_where_it_comes_from(sample):
    for word in ("EfficientNet-Lite0", "block 10", "10,000", "scikit-image", "does not say"):
        assert word in sample.description


def test_loads_are_independent_and_frozen(sample):
    other = load_sample()
    other.activations[0, 0] = 0
    assert sample.activations[0, 0] != 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.photo = sample.photo  # type: ignore[misc]


def test_file_is_small():
    assert (files("topoact_gpu") / "data" / "lite0_block10.npz").stat().st_size < 3_000_000


@pytest.fixture
def make_sample():
    path = ROOT / "scripts" / "make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_names_the_same_photos(make_sample, sample):
    assert tuple(make_sample.PHOTOS) == sample.photo_names


def test_script_refuses_a_model_that_sees_something_else(make_sample):
    make_sample.check_class("coffee", 967)
    with pytest.raises(SystemExit, match="refusing to write"):
        make_sample.check_class("chelsea", 967)


def test_script_feeds_what_the_network_was_trained_on(make_sample):
    pytest.importorskip("torch")
    image = make_sample.as_input(open_inputs("skimage:photos").load(4)).numpy()
    assert image.dtype == np.float32
    assert image.shape == (3, 480, 704)
    assert -127 / 128 <= image.min() < image.max() <= 1.0


def test_script_reruns_to_the_same_sample(make_sample, sample):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("skimage")
    activations, photo, y, x = make_sample.capture()
    drawn = np.random.default_rng(make_sample.SEED).choice(len(photo), 10_000, replace=False)
    drawn.sort()
    for found, kept in ((photo, sample.photo), (y, sample.y), (x, sample.x)):
        assert (found[drawn] == kept).all()
    np.testing.assert_allclose(activations[drawn], sample.activations, rtol=0, atol=0.05)


@pytest.mark.slow
def test_rows_see_the_box_that_is_recorded(make_sample):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("skimage")
    from topoact_gpu.activations.models import load_model
    from topoact_gpu.activations.receptive import receptive_field

    square = make_sample.as_input(open_inputs("skimage:photos").load(0))[None]
    module = load_model("efficientnet-lite0").module.eval()
    found = receptive_field(module, square, f"_blocks.{make_sample.BLOCK}")
    assert found._asdict() == RECEPTIVE_FIELD
