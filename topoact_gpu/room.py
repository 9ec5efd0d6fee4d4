"""Memory that several threads share: each takes what its work needs before it begins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Room"]


class Room:
    """So many bytes; who asks for more than is left waits, who asks for more than all goes alone.

    Examples
    --------
    >>> room = Room(100)
    >>> with room.taken(60):
    ...     room.free
    40
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = self.free = max(n_bytes, 1)
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, n_bytes: int) -> Iterator[None]:
        """Hold so many bytes within the block."""
        n_bytes = min(n_bytes, self.n_bytes)
        with self._changed:
            self._changed.wait_for(lambda: self.free >= n_bytes)
            self.free -= n_bytes
        try:
            yield
        finally:
            with self._changed:
                self.free += n_bytes
                self._changed.notify_all()
