"""Errors: one root; a message says what was required, what arrived and what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CapacityError",
    "DataError",
    "ParameterError",
    "StoreError",
    "TopoactError",
    "nearest_name",
]


class TopoactError(ValueError):
    """Root of every error this package raises on purpose."""


class ParameterError(TopoactError):
    """A parameter is outside what the function accepts."""


class DataError(TopoactError):
    """The rows handed over cannot be used: shape, dtype or values."""


class StoreError(TopoactError):
    """A file or store is missing, unreadable, incomplete or already there."""


class CapacityError(TopoactError):
    """The work does not fit the memory or disk it was given."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The end of an 'unknown name' message: the nearest known name, and all of them if few.

    Examples
    --------
    >>> nearest_name("blok10", ["block1", "block10"])
    "; did you mean 'block10'? It has: block1, block10"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}? It has: " if near else "; it has: "
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return hint + (shown or "none")
