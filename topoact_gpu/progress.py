"""How far a stage is: what a progress callback is told."""

from __future__ import annotations

from typing import Any

__all__ = ["Step", "progress_fields"]


class Step(int):
    """The number of elements that are clustered, and the pairs of rows in them.

    The time that is left follows the pairs, not the elements: these go largest first.

    Attributes
    ----------
    pairs, total_pairs : int

    Examples
    --------
    >>> step = Step(3, 750, 1000)
    >>> step == 3, step.pairs / step.total_pairs
    (True, 0.75)
    """

    pairs: int
    total_pairs: int

    def __new__(cls, done: int, pairs: int, total_pairs: int) -> Step:
        step = super().__new__(cls, done)
        step.pairs, step.total_pairs = pairs, total_pairs
        return step


def progress_fields(done: int, total: int) -> dict[str, Any]:
    """The same as values that JSON can hold; ``share``: of the stage's work, by pairs."""
    fields: dict[str, Any] = {"done": int(done), "total": int(total)}
    fields["share"] = done / total if total else 1.0
    if isinstance(done, Step):
        fields["share"] = done.pairs / done.total_pairs if done.total_pairs else 1.0
    return fields
