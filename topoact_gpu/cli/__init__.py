"""The ``topoact`` command; heavy modules load inside the commands, so that help is quick."""

from __future__ import annotations

from .main import app

__all__ = ["app"]
