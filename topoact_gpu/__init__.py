"""Exact Mapper graphs of neural-network activations, in bounded memory.

Names load when they are first used, so that ``import topoact_gpu`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .capturing import CaptureResult as CaptureResult
    from .capturing import capture as capture
    from .cluster import DBSCAN as DBSCAN
    from .cover import BalancedCover as BalancedCover
    from .cover import ExplicitCover as ExplicitCover
    from .cover import KeplerCover as KeplerCover
    from .cover import UniformCover as UniformCover
    from .errors import CapacityError as CapacityError
    from .errors import DataError as DataError
    from .errors import ParameterError as ParameterError
    from .errors import StoreError as StoreError
    from .errors import TopoactError as TopoactError
    from .explore import explore as explore
    from .graph import MapperGraph as MapperGraph
    from .mapper import Mapper as Mapper
    from .sample import Sample as Sample
    from .sample import load_sample as load_sample
    from .store import create_store as create_store
    from .store import open_store as open_store

__version__ = "0.1.0"

_HOME = {
    "Mapper": "mapper",
    "DBSCAN": "cluster",
    "UniformCover": "cover",
    "KeplerCover": "cover",
    "BalancedCover": "cover",
    "ExplicitCover": "cover",
    "MapperGraph": "graph",
    "open_store": "store",
    "create_store": "store",
    "capture": "capturing",
    "CaptureResult": "capturing",
    "load_sample": "sample",
    "Sample": "sample",
    "explore": "explore",
    "TopoactError": "errors",
    "ParameterError": "errors",
    "DataError": "errors",
    "StoreError": "errors",
    "CapacityError": "errors",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562) and keep it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f".{_HOME[name]}", __name__)
    value = home if name == _HOME[name] else getattr(home, name)  # explore is called itself
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
