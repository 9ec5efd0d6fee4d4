"""What several commands make of their options: rows, cover, clusterer."""

from __future__ import annotations

from typing import Any

__all__ = ["clusterer_of", "cover_of", "open_rows"]


def open_rows(given: str, layer: str | None) -> Any:
    """The rows: a layer of a store, or a mapped array."""
    from ..errors import StoreError
    from ..remote import place_of
    from ..store import open_store
    from .sources import open_npy

    data = place_of(given)
    if data.suffix.lower() == ".npy" and not data.is_dir():
        if layer is not None:
            raise StoreError(f"{data} is a .npy file and has no layers; leave out --layer")
        return open_npy(data)
    if data.is_file():
        raise StoreError(
            f"{data} must be a store or a .npy file; import it first: "
            f"topoact import {data} --out acts.zarr --layer NAME"
        )
    store = open_store(data)
    if layer is None:
        if len(store.layers) != 1:
            shown = ", ".join(store.layers) or "none"
            raise StoreError(f"{data} has {len(store.layers)} layers ({shown}); choose --layer")
        layer = store.layers[0]
    return store.layer(layer)


def cover_of(kind: str, intervals: str, overlap: str) -> Any:
    """The cover that three options describe."""
    from ..cover import BalancedCover, KeplerCover, UniformCover
    from ..errors import ParameterError
    from ..store import nearest_name

    kinds: dict[str, Any] = {
        "uniform": UniformCover,
        "kepler": KeplerCover,
        "balanced": BalancedCover,
    }
    if kind not in kinds:
        raise ParameterError(f"there is no cover {kind!r}{nearest_name(kind, kinds)}")
    counts = _numbers("--intervals", intervals, int)
    overlaps = _numbers("--overlap", overlap, float)
    return kinds[kind](counts, overlaps)


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> Any:
    """One number, or a list of them."""
    from ..errors import ParameterError

    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        raise ParameterError(f"{option} must be {what}, but is {text!r}") from error
    return numbers[0] if len(numbers) == 1 else numbers


def clusterer_of(eps: str, min_samples: int, metric: str) -> Any:
    """Our DBSCAN with the options' values."""
    from ..cluster import DBSCAN
    from ..errors import ParameterError
    from ..store import nearest_name

    words = ("knee", "knee-per-interval")
    try:
        value: str | float = eps if eps in words else float(eps)
    except ValueError as error:
        raise ParameterError(
            f"--eps must be a number, knee or knee-per-interval, but is {eps!r}"
            f"{nearest_name(eps, words)}"
        ) from error
    return DBSCAN(eps=value, min_samples=min_samples, metric=metric)
