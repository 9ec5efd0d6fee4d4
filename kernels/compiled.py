"""The two ways in which functions here are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

__all__ = ["helper", "kernel"]


def kernel(function: Callable[..., Any]) -> Any:
    """Compile what Python calls: without the interpreter's lock, kept on disk."""
    return njit(nogil=True, cache=True)(function)


def helper(function: Callable[..., Any]) -> Any:
    """Compile what only compiled code calls: nothing that lets Python in, which takes longer
    to compile than many a loop. It is kept as a part of its callers.
    """
    return njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
