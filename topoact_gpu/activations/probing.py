"""Which positions of layers depend on which pixels, shown by NaN in an image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layers import Recorder

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Probe", "Prober"]

_MOST_ON_CPU = 4
"""Images in a forward on a processor: the maps of more leave its caches, and each takes longer."""


class Probe(NamedTuple):
    """An image with NaN in some rows (axis 0) or columns (axis 1).

    Attributes
    ----------
    axis : int
    pixels : bool[length]
    """

    axis: int
    pixels: NDArray[np.bool_]


class Prober:
    """Put probes through a network, several at a time.

    Parameters
    ----------
    module : torch.nn.Module
    example : float Tensor[1, C, H, W]
    views : mapping of str to callable
        By name of a layer's run (``name#1``): turns its output into maps [N, n_y, n_x, C].
    batch_size : int
        Most images in a forward.

    Notes
    -----
    Images of a batch must be independent of each other, and in eval mode nearly always are. `check`
    compares, and has every probe go alone where they are not. A batch that does not fit in the
    device's memory is halved.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor,
        views: Mapping[str, Callable[[Tensor], Tensor]],
        batch_size: int,
    ) -> None:
        import torch

        self._module, self._example, self._views = module, example, views
        self._threads = torch.get_num_threads()
        self._size = min(batch_size, _MOST_ON_CPU) if example.device.type == "cpu" else batch_size

    def ask(self, layers: Sequence[str], probes: Sequence[Probe]) -> dict[str, NDArray[np.bool_]]:
        """For each layer, bool[n_probes, n_y, n_x]: whether a position sees a pixel of the probe.

        Costs a forward to the deepest of the layers for each batch of probes.
        """
        import torch

        if not layers:
            return {}
        parts: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in layers}
        done = 0
        with (
            _threads(self._threads),
            # cuDNN's convolutions by Winograd or Fourier carry NaN where no weight carries it.
            torch.backends.cudnn.flags(enabled=False),
            Recorder(self._module, layers) as recorder,
        ):
            while done < len(probes):
                kept = self._forward(recorder, probes[done : done + self._size])
                if kept is not None:
                    for name, tensor in kept.items():
                        parts[name].append(self._marks(name, tensor))
                    done += len(next(iter(kept.values())))
        return {name: np.concatenate(marks) for name, marks in parts.items()}

    def check(self, layers: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        """Whether NaN in an image stays there; where not, probes go one by one from here on.

        Also finds out whether all threads are faster than one. They are not where maps are small or
        other processes use the processors.

        Returns
        -------
        dict of str to bool[2, n_y, n_x]
            Of each layer: where it is NaN for the example as it is, and for an image all of NaN.
        """
        nothing = np.zeros(self._example.shape[2], dtype=bool)
        example, everything = Probe(0, nothing), Probe(0, ~nothing)
        seconds: dict[int, float] = {}
        for threads in sorted({1, self._threads}):
            self._threads, begun = threads, time.perf_counter()
            # What goes from an image to the next, or to the one before, reaches the example.
            marks = self.ask(layers, [everything, example, everything])
            seconds[threads] = time.perf_counter() - begun
        self._threads = min(seconds, key=lambda threads: seconds[threads])
        if self._size > 1 and any(mark[1].any() for mark in marks.values()):
            self._size = 1
            marks = self.ask(layers, [everything, example])
        return {name: mark[[1, 0]] for name, mark in marks.items()}

    def _forward(self, recorder: Recorder, probes: Sequence[Probe]) -> dict[str, Tensor] | None:
        """What layers put out for probes; None where fewer must be taken at a time."""
        import torch

        try:
            kept, _ = recorder.forward(self._images(probes))
        except torch.OutOfMemoryError:
            if len(probes) == 1:
                raise
            self._size = -(-len(probes) // 2)
            return None
        if len(probes) > 1 and any(len(tensor) != len(probes) for tensor in kept.values()):
            self._size = 1
            return None
        return kept

    def _images(self, probes: Sequence[Probe]) -> Tensor:
        import torch

        images = self._example.repeat(len(probes), 1, 1, 1)
        for image, (axis, pixels) in zip(images, probes, strict=True):
            numbers = torch.from_numpy(np.flatnonzero(pixels)).to(images.device)
            image.index_fill_(1 + axis, numbers, float("nan"))
        return images

    def _marks(self, name: str, tensor: Tensor) -> NDArray[np.bool_]:
        marks: NDArray[np.bool_] = self._views[name](tensor).isnan().any(dim=3).cpu().numpy()
        return marks


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use so many threads for an operation."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
