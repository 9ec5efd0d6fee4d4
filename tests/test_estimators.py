"""The estimators keep scikit-learn's conventions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import DBSCAN as Theirs
from sklearn.utils.estimator_checks import parametrize_with_checks

from topoact_gpu import DBSCAN, DataError, Mapper, ParameterError, UniformCover


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [DBSCAN(), Mapper(cover=UniformCover(5, 0.3), clusterer=DBSCAN(0.5), n_threads=1)]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_labels_and_core_rows_are_scikit_learns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6)).astype(np.float32)
    ours, theirs = DBSCAN(1.3).fit(X), Theirs(eps=1.3).fit(X.astype(np.float64))
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_array_equal(ours.core_sample_indices_, theirs.core_sample_indices_)
    assert ours.n_clusters_ == theirs.labels_.max() + 1
    assert ours.eps_ == 1.3


def test_other_metrics_run_through_scikit_learn():
    X = np.random.default_rng(1).normal(size=(200, 3))
    ours = DBSCAN(0.9, metric="manhattan").fit(X)
    theirs = Theirs(eps=0.9, metric="manhattan").fit(X)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)


def test_clone_keeps_every_parameter():
    mapper = Mapper("linf", cover=UniformCover(9, 0.1), clusterer=DBSCAN(2.0), seed=3)
    assert clone(mapper).get_params()["clusterer__eps"] == 2.0
    assert clone(mapper).get_params()["seed"] == 3


def test_the_knee_lies_between_dense_and_sparse():
    rng = np.random.default_rng(2)
    X = np.vstack([rng.normal(size=(900, 4)) * 0.1, rng.normal(size=(60, 4)) * 5])
    model = DBSCAN("knee").fit(X)
    assert 0.05 < model.eps_ < 5
    assert model.n_clusters_ >= 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"eps": 0}, "eps must be a finite number above 0"),
        ({"eps": "elbow"}, "'knee'"),
        ({"min_samples": 0}, "min_samples"),
        ({"metric": "nonsense"}, "metric must be one of"),
        ({"n_threads": 0}, "n_threads"),
        ({"memory_budget": "much"}, "memory_budget"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ParameterError, match=message):
        DBSCAN(**parameters).fit(np.eye(10))


def test_rows_that_cannot_be_used():
    X = np.ones((20, 3))
    X[[4, 9], 1] = np.nan
    with pytest.raises(DataError, match=r"2 of 20 rows .* row 4"):
        DBSCAN().fit(X)
    X = np.ones((20, 3))
    X[7] = 0
    with pytest.raises(DataError, match="first is row 7"):
        DBSCAN(metric="cosine").fit(X)
