"""Kernels: plain arrays in, plain arrays out; each beside a naive reference."""

from pathlib import Path

from topoact_gpu._numba_cache import prepare

prepare(Path(__file__).parent, __name__)
