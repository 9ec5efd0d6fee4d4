"""Ctrl-C ends a long fit at once and leaves thread settings as they were."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from topoact_gpu import DBSCAN


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupted_fit_stops_within_a_second(n_threads):
    X = np.random.default_rng(0).normal(size=(400_000, 64)).astype(np.float32)
    DBSCAN(1.0, n_threads=n_threads).fit(X[:3000])
    before = blas_threads()
    pressed = []

    def press():
        pressed.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(1.0, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        DBSCAN(1.0, n_threads=n_threads).fit(X)
    assert time.perf_counter() - pressed[0] < 1.0
    assert blas_threads() == before
