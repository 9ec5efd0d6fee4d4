"""Settings for the whole suite."""

from __future__ import annotations

from hypothesis import settings

# Seeded, so a run can be repeated; no deadline, because the first call of a kernel compiles it.
settings.register_profile("topoact", deadline=None, derandomize=True, database=None)
settings.load_profile("topoact")
