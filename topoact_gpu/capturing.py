"""Capture into a store: activations of layers of a network, with what is known of their inputs.

A killed run goes on where it was; `capture_state` says what is kept for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .capture_state import read_lines, read_state
from .capture_writer import Writer
from .errors import ParameterError
from .files import to_jsonable

if TYPE_CHECKING:
    from .activations.entries import Inputs
    from .activations.loaded import LoadedModel
    from .activations.plan import Plan

__all__ = ["CaptureResult", "capture", "read_inputs", "read_unreadable"]


@dataclass(frozen=True)
class CaptureResult:
    """What a capture did.

    Attributes
    ----------
    path : Path
    n_inputs, n_unreadable : int
    rows : dict of str to int
        Rows of each layer.
    resumed_at : int
        Number of the input at which this run began; all of them: it had nothing to do.
    batch_size : int
        Inputs in a forward.
    float32 : tuple of str
        Layers that were stored as float32 because float16 could not hold them (dtype "auto").
    n_truncated : int
        Texts of which tokens were cut off at the limit.
    words_lost : int
        Words that left no row because of that; 0 where rows are tokens.
    """

    path: Path
    n_inputs: int
    n_unreadable: int
    rows: dict[str, int]
    resumed_at: int
    batch_size: int
    float32: tuple[str, ...]
    n_truncated: int
    words_lost: int


def capture(
    model: Any,
    layers: str | Sequence[str],
    data: Any,
    store: str | Path,
    *,
    sampling: str | None = None,
    seed: int = 0,
    n_inputs: int | None = None,
    batch_size: int | None = None,
    dtype: str = "auto",
    words: str | None = None,
    max_length: int | None = None,
    thumbnails: bool = False,
    strict: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    workers: int = 2,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> CaptureResult:
    """Capture activations of layers of a network into a store.

    Parameters
    ----------
    model : str, torch.nn.Module or LoadedModel
        See `topoact_gpu.activations.models.load_model`.
    layers : str or sequence of str
        Names or globs; see ``topoact layers``.
    data : str, path, data set or Inputs
        See `topoact_gpu.activations.inputs.open_inputs`.
    store : str or Path
        Made, or gone on with where a run with the same settings was interrupted.
    sampling : str, optional
        Default ``random:1`` for images, ``tokens`` for texts; see `parse_sampling`. The draw
        depends on the seed, the input and the layer only.
    seed : int
        For random weights, the choice of `n_inputs`, and the draw.
    n_inputs : int, optional
        A random choice of this many inputs.
    batch_size : int, optional
        Inputs in a forward. Found where omitted (`topoact_gpu.activations.batch`), and recorded,
        because another batch changes last bits: a run that goes on takes the recorded one.
    dtype : "auto", "float16" or "float32"
        Of the stored rows. "auto" is float16, and float32 for each layer that puts out a number
        beyond float16; where that turns up the capture begins again. With "float16" it is an
        error; an infinity is never stored.
    words : "first" or "mean", optional
        One row for each word of the source instead of each token.
    max_length : int, optional
        Tokens of a text.
    thumbnails : bool
        Keep a small JPEG of each image.
    strict : bool
        Stop at an input that cannot be read, instead of listing it.
    device : str
        As torch names it.
    precision : "float32", "float16" or "bfloat16"
        Of the forward, by autocast.
    workers : int
        Threads that read and preprocess.
    overwrite : bool
        Start anew, whatever store is there.
    progress : callable, optional
        Called with ("capture", inputs done, inputs); "capture again" once a layer became float32.

    Returns
    -------
    CaptureResult

    Raises
    ------
    ParameterError, DataError, StoreError

    Notes
    -----
    Each layer's attribute ``receptive_field`` says which box of the preprocessed image a position
    sees (`topoact_gpu.activations.receptive.ReceptiveField`); measuring it takes forwards of some
    twenty images a layer at the start. Where that can't be done, ``receptive_field_missing`` says
    why. Tokens of a vision transformer have the box of the patch that they began as, and
    ``patches`` says on which grid (`topoact_gpu.activations.patches.Patches`). Killed at any moment
    and called again with the same arguments, it ends with the same bytes as a run that was not, on
    the same machine with the same number of threads. Memory does not grow with the number of
    inputs, but for their names.
    """
    _check(dtype=dtype, precision=precision, words=words, batch_size=batch_size, workers=workers)
    there = None if overwrite else read_state(Path(store))
    plan, settings = _plan(
        model, layers, data, there=there, sampling=sampling, seed=seed, n_inputs=n_inputs,
        batch_size=batch_size, words=words, max_length=max_length, thumbnails=thumbnails,
        device=device, precision=precision,
    )  # fmt: skip
    settings["dtype"] = dtype
    with Writer(Path(store), plan, settings, overwrite=overwrite) as writer:
        begun = writer.done
        tell = progress or (lambda _stage, _done, _total: None)
        writer.write_all(strict=strict, workers=workers, tell=tell)
    return _result(writer.path, len(plan.inputs), begun, writer.state)


def _result(path: Path, n_inputs: int, begun: int, state: dict[str, Any]) -> CaptureResult:
    return CaptureResult(
        path=path,
        n_inputs=n_inputs,
        n_unreadable=state["unreadable"],
        rows=dict(state["rows"]),
        resumed_at=begun,
        batch_size=state["settings"]["batch_size"],
        float32=tuple(state["float32"]),
        n_truncated=state["truncated"],
        words_lost=state["words_lost"],
    )


_CHOICES: dict[str, tuple[str | None, ...]] = {
    "dtype": ("auto", "float16", "float32"),
    "precision": ("float32", "float16", "bfloat16"),
    "words": (None, "first", "mean"),
}


def _check(*, batch_size: int | None, workers: int, **chosen: str | None) -> None:
    """Raise before anything is loaded."""
    for name, value in chosen.items():
        if value not in _CHOICES[name]:
            known = " or ".join(str(choice) for choice in _CHOICES[name])
            raise ParameterError(f"{name} must be {known}, got {value!r}")
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number is not None and number < 1:
            raise ParameterError(f"{name} must be at least 1, got {number}")


def _plan(model: Any, layers: Any, data: Any, **given: Any) -> tuple[Plan, dict[str, Any]]:
    """The plan, and the settings that decide what the rows are."""
    from .activations.entries import Inputs
    from .activations.inputs import open_inputs
    from .activations.models import load_model
    from .activations.plan import make_plan
    from .activations.sampling import parse_sampling

    seed, n_inputs = given.pop("seed"), given.pop("n_inputs")
    loaded: LoadedModel = load_model(model, seed=seed)
    inputs: Inputs = data if isinstance(data, Inputs) else open_inputs(
        data, seed=seed, n_inputs=n_inputs
    )  # fmt: skip
    default = "random:1" if loaded.kind == "image" else "tokens"
    sampling = parse_sampling(given.pop("sampling") or default)
    asked, there = given.pop("batch_size"), given.pop("there")
    patterns = [layers] if isinstance(layers, str) else list(layers)
    plan = make_plan(loaded, patterns, inputs, sampling=sampling, seed=seed, **given)
    size, found = _batch_size(plan, asked, there)
    settings = {
        "model": loaded.record,
        "layers": plan.layers,
        "data": inputs.record,
        "sampling": str(sampling),
        "seed": seed,
        "batch_size": size,
        "batch_size_found": found,
        **{name: given[name] for name in ("words", "max_length", "thumbnails", "precision")},
    }
    return replace(plan, batch_size=size), to_jsonable(settings)


def _batch_size(plan: Plan, asked: int | None, there: dict[str, Any] | None) -> tuple[int, bool]:
    """The size asked for, else that of the run to go on with, else one that is found.

    And whether it was found, then or now.
    """
    from .activations.batch import find_batch_size

    if there is not None:
        recorded = there["settings"]
        return asked or recorded["batch_size"], recorded.get("batch_size_found", False)
    return asked or find_batch_size(plan), asked is None


def read_inputs(store: str | Path) -> list[dict[str, Any]]:
    """The inputs of a captured store, in their order: id, class, prediction, text, ..."""
    return read_lines(Path(store), "inputs.jsonl")


def read_unreadable(store: str | Path) -> list[dict[str, Any]]:
    """Inputs that could not be read, with the reason."""
    return read_lines(Path(store), "unreadable.jsonl")
