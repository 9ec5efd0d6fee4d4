"""What the page is told when it asks for something that is not there or cannot be done."""

from __future__ import annotations

from topoact_gpu.errors import TopoactError

__all__ = ["Conflict", "Forbidden", "NotFound"]


class NotFound(TopoactError):
    """There is no such run, row, picture, ...; the server answers 404."""


class Conflict(TopoactError):
    """The things asked for do not go together; the server answers 409."""


class Forbidden(TopoactError):
    """The explorer may only read; the server answers 403."""
