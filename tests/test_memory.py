"""Memory beyond the input: a bounded number of bytes a row, whoever is within eps."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import threading
import time

import numpy as np

from topoact_gpu import DBSCAN

eps, min_samples = float(sys.argv[1]), int(sys.argv[2])
X = np.random.default_rng(0).normal(size=(200_000, 64)).astype(np.float32)
DBSCAN(eps, min_samples=min_samples).fit(X[:20_000])
DBSCAN(1.0, min_samples=min_samples).fit(X[:2_000])


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def watch():
    while not done:
        seen.append(resident_bytes())
        time.sleep(0.002)


done, seen = [], [resident_bytes()]
before = seen[0]
watcher = threading.Thread(target=watch)
watcher.start()
model = DBSCAN(eps, min_samples=min_samples).fit(X)
done.append(True)
watcher.join()
print(max(seen) - before, model.n_clusters_)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("eps", "n_clusters"), [(1e3, 1), (1.0, 0)], ids=["all", "none"])
def test_peak_beyond_the_input_is_bounded(eps, n_clusters):
    min_samples = 5
    command = [sys.executable, "-c", SCRIPT, str(eps), str(min_samples)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    beyond, found = (int(word) for word in output.split())
    assert beyond <= (64 + 8 * min_samples) * 200_000 + 300_000_000
    assert found == n_clusters
