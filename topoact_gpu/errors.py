"""Errors: one root; a message says what was required, what arrived and what to change."""

from __future__ import annotations

__all__ = ["CapacityError", "DataError", "ParameterError", "StoreError", "TopoactError"]


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
