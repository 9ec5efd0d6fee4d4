"""Threads, budgets and the team."""

from __future__ import annotations

import importlib.util
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from topoact_gpu import DBSCAN, Mapper
from topoact_gpu.device import (
    Team,
    available_threads,
    resolve_budget,
    resolve_device,
    resolve_threads,
    single_threaded_blas,
)
from topoact_gpu.errors import ParameterError


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("512MiB", 2**29),
        ("100M", 10**8),
        ("1tb", 10**12),
        ("20000000", 20_000_000),
        ("3e7", 30_000_000),
        (2**24, 2**24),
        (1e9, 10**9),
        (np.int64(2**30), 2**30),
    ],
)
def test_budgets_are_read(size, n_bytes):
    assert resolve_budget(size) == n_bytes


@pytest.mark.parametrize(
    "size", ["", "much", "GB", "4XB", "nan", "inf", "-4GB", 5, 0, -1, float("nan"), "1KB", [1]]
)
def test_other_budgets_are_errors(size):
    with pytest.raises(ParameterError, match="memory_budget must be"):
        resolve_budget(size)


def test_the_default_budget_is_part_of_what_is_free():
    assert 2**24 < resolve_budget(None) < 2**50


def test_threads():
    assert resolve_threads(None) == available_threads() >= 1
    assert resolve_threads(3) == 3
    assert resolve_threads(np.int32(2)) == 2
    for wrong in (0, -1, 1.5, True, "2", "two", float("nan"), [2]):
        with pytest.raises(ParameterError, match="n_threads must be a whole number"):
            resolve_threads(wrong)


def test_devices(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    assert resolve_device("cuda") == "cuda"
    for wrong in ("gpu", None, 0):
        with pytest.raises(ParameterError, match="device must be"):
            resolve_device(wrong)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ParameterError, match='device="cuda" needs a CUDA device'):
        resolve_device("cuda")
    with pytest.raises(ParameterError, match='device="cuda" needs a CUDA device'):
        DBSCAN(1.0, device="cuda").fit([[0.0], [1.0]])
    with pytest.raises(ParameterError, match='device="cuda" needs a CUDA device'):
        Mapper(clusterer=DBSCAN(1.0, device="cuda")).fit([[0.0], [1.0]])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ParameterError, match=r"needs the package torch: pip install"):
        resolve_device("cuda")


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_come_in_the_items_order(n_threads):
    def work(item):
        time.sleep(0.002 * (5 - item % 5))
        return item * item

    done = []
    with Team(n_threads) as team:
        assert team.map(work, range(20), done.append) == [k * k for k in range(20)]
        assert done == sorted(done)
        assert done[-1] == 20
        assert team.map(work, []) == []
        seen = []
        team.each(seen.append)
        assert sorted(seen) == list(range(n_threads))


def test_a_team_of_one_stays_in_this_thread():
    with Team(3) as team:
        alone = team.solo()
        assert alone.map(lambda _: threading.get_ident(), [0]) == [threading.get_ident()]
        assert alone.stop is team.stop
        done = []
        alone.map(abs, [1, 2], done.append)
        assert done == [1, 2]


def test_an_exception_stops_the_others():
    stopped = []

    def work(item):
        if item == 0:
            raise KeyError("no such item")
        while not team.stop[0]:
            time.sleep(0.001)
        stopped.append(item)

    with pytest.raises(KeyError, match="no such item"), Team(2) as team:
        team.map(work, range(50))
    assert len(stopped) < 5
    assert team.stop[0] == 1


def test_an_interruption_stops_the_team():
    def work(item):
        while not team.stop[0]:
            time.sleep(0.001)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Team(3) as team:
        team.map(lambda item: interrupt(item) if item == 1 else work(item), range(9))
    assert team.stop[0] == 1


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_blas_has_one_thread_inside_and_its_own_after():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas_threads()
    with single_threaded_blas():
        assert set(blas_threads()) == {1}
    with pytest.raises(KeyError), single_threaded_blas():
        raise KeyError
    assert blas_threads() == before
