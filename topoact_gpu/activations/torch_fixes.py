"""What a CPU build of torch needs before torchvision can be imported beside it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["repair_torchvision"]

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# The definitions go away with the object that made them.
_kept: list[Any] = []


def repair_torchvision() -> bool:
    """Let torchvision be imported beside a CPU build of torch.

    Call it before torchvision, timm or transformers are imported. The compiled operators in
    torchvision's wheel from PyPI want CUDA's libraries; beside a CPU build they do not load, and
    the import fails with "operator torchvision::nms does not exist". Models and transforms need
    none of them, so the two that the import looks for are declared, without a body: calling one
    still fails. Where torchvision is whole, or absent, or torch has CUDA, nothing is done.

    Returns
    -------
    bool
        True when the operators are declared by this function, now or before.

    Examples
    --------
    >>> from topoact_gpu.activations.torch_fixes import repair_torchvision
    >>> declared = repair_torchvision()
    >>> repair_torchvision() == declared
    True
    """
    import torch

    if _kept:
        return True
    if torch.version.cuda is not None or hasattr(torch.ops.torchvision, "nms"):
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or any(map(_loads, _extensions(spec.submodule_search_locations or ()))):
        return False
    library = torch.library.Library("torchvision", "DEF")
    for signature in _OPERATORS:
        library.define(signature)
    _kept.append(library)
    return True


def _extensions(folders: Any) -> Iterator[Path]:
    """Compiled operators of an installed torchvision."""
    for folder in folders:
        for pattern in ("_C*.so", "_C*.pyd"):
            yield from sorted(Path(folder).glob(pattern))


def _loads(path: Path) -> bool:
    """Load a file of operators; torchvision loads it again without harm."""
    import torch

    try:
        torch.ops.load_library(path)
    except OSError:
        return False
    return True
