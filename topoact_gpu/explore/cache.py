"""Values that are made once, however many threads ask for them."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Cache", "n_bytes"]

_TEXT_BYTES = 80


class Cache:
    """Remembers values by key; when they take too much memory, the least used are forgotten.

    Parameters
    ----------
    max_bytes : int
        What the values may take together, as `n_bytes` counts. The latest is always kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.RLock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of ``key``; made by ``make``, once, if it is not there.

        Other keys can be asked for meanwhile. What ``make`` raises is not remembered.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            own = self._making.setdefault(key, threading.RLock())
        with own:
            with self._lock:
                if key in self._values:
                    return self._values[key][0]
            try:
                value = make()
                self._keep(key, value)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def forget(self, belongs: Callable[[Any], bool]) -> None:
        """Forget every key that ``belongs`` says yes to."""
        with self._lock:
            for key in [key for key in self._values if belongs(key)]:
                del self._values[key]

    def _keep(self, key: Hashable, value: Any) -> None:
        size = n_bytes(value)
        with self._lock:
            self._values[key] = (value, size)
            total = sum(each for _, each in self._values.values())
            while total > self.max_bytes and len(self._values) > 1:
                _, (_, freed) = self._values.popitem(last=False)
                total -= freed


def n_bytes(value: Any) -> int:
    """About how much memory arrays and texts inside a value take.

    Examples
    --------
    >>> import numpy as np
    >>> n_bytes({"a": np.zeros(4), "b": [np.zeros(2), "text"]})
    128
    """
    if isinstance(value, bytes):
        return len(value)
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, str):
        return _TEXT_BYTES
    if isinstance(value, dict):
        return sum(n_bytes(each) for each in value.values())
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], str):
            return _TEXT_BYTES * len(value)
        return sum(n_bytes(each) for each in value)
    if dataclasses.is_dataclass(value):
        return sum(n_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    return 0
