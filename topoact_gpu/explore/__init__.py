"""The explorer: a server on this machine, and the page that it shows.

The package can be called: ``topoact_gpu.explore("run.zarr")``. See `topoact_gpu.explore.notebook`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .notebook import Explorer as Explorer
    from .notebook import explore as explore

__all__ = ["Explorer", "explore"]


class _Callable(ModuleType):
    """A package that is a function too: the name belongs to both."""

    def __call__(self, *args: Any, **options: Any) -> Explorer:
        """Show runs or a graph; see `topoact_gpu.explore.notebook.explore`."""
        from .notebook import explore

        return explore(*args, **options)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import notebook

    return getattr(notebook, name)


sys.modules[__name__].__class__ = _Callable
