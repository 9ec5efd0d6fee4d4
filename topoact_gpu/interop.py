"""Results as arrays of the caller's kind: numpy's, torch's, CuPy's, or another library's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError
from topoact_gpu.rows import is_on_gpu

__all__ = ["to_kind"]


def to_kind(array: NDArray[Any], like: Any = None) -> Any:
    """Give an array as the kind that another array is of, where that one lies.

    Parameters
    ----------
    array : ndarray
    like : array or "numpy", "torch" or "cupy", optional
        A numpy array, torch tensor or CuPy array; an array of any library with the array API
        (``__array_namespace__``); anything else on a GPU that has DLPack or
        ``__cuda_array_interface__``. The words stand for an array in host memory; "cupy" for one
        on its current device. None: as it is.

    Returns
    -------
    array
        Same shape, dtype and numbers, on the device of ``like``. On a GPU, where the library of
        ``like`` offers no way to make an array, one of CuPy's, which other libraries take through
        ``__cuda_array_interface__`` and DLPack.

    Raises
    ------
    ParameterError
        ``like`` is nothing of the above, or its library is not installed.

    Notes
    -----
    In host memory nothing is copied, the result is the same memory; but for read-only arrays,
    which only numpy can hold as such. Libraries are imported when they are asked for.

    Examples
    --------
    >>> to_kind(np.arange(3), like=np.zeros(1))
    array([0, 1, 2])
    >>> to_kind(np.arange(3), like=[1, 2])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    topoact_gpu.errors.ParameterError: like must be an array or ..., got list; ...
    """
    if like is None or isinstance(like, np.ndarray):
        return array
    if isinstance(like, str):
        return _by_name(array, like)
    if _is_a(like, "torch", "Tensor"):
        return _to_torch(array, like.device)
    if _is_a(like, "cupy", "ndarray"):
        return _to_cupy(array, like.device)
    if hasattr(like, "__array_namespace__"):
        return _to_namespace(array, like)
    if is_on_gpu(like):
        return _to_cupy(array, _place_of(like))
    raise ParameterError(
        'like must be an array or "numpy", "torch" or "cupy", '
        f"got {type(like).__name__}; leave it out to have numpy's"
    )


def _is_a(like: Any, library: str, name: str) -> bool:
    """Whether it is an array of a library; where there is one, its library is loaded."""
    kind = getattr(sys.modules.get(library), name, None)
    return isinstance(kind, type) and isinstance(like, kind)


def _by_name(array: NDArray[Any], name: str) -> Any:
    makers: dict[str, Callable[[NDArray[Any]], Any]] = {
        "numpy": lambda array: array,
        "torch": lambda array: _to_torch(array, "cpu"),
        "cupy": lambda array: _to_cupy(array, None),
    }
    if name not in makers:
        allowed = ", ".join(f'"{known}"' for known in makers)
        raise ParameterError(f"like must be an array or one of {allowed}, got {name!r}")
    return makers[name](array)


def _to_torch(array: NDArray[Any], device: Any) -> Any:
    try:
        import torch
    except ImportError:
        raise _missing("torch") from None
    return torch.from_numpy(_shareable(array)).to(device)


def _to_cupy(array: NDArray[Any], device: Any) -> Any:
    """``device``: CuPy's, or its number; None is the current one."""
    cupy = _load_cupy()
    with cupy.cuda.Device(device):
        return cupy.asarray(array)


def _load_cupy() -> Any:
    try:
        import cupy
    except ImportError:
        raise _missing("cupy") from None
    return cupy


def _to_namespace(array: NDArray[Any], like: Any) -> Any:
    """By the array API: in host memory, then moved to where the other lies."""
    library = like.__array_namespace__()
    found = library.from_dlpack(_shareable(array))
    device = getattr(like, "device", None)
    if device is None or found.device == device:
        return found
    return found.to_device(device)


def _shareable(array: NDArray[Any]) -> NDArray[Any]:
    """Memory that another library may write to: the same, unless nobody may."""
    return array if array.flags.writeable else array.copy()


def _place_of(like: Any) -> Any:
    """The CUDA device that an array lies on: its number by DLPack, else what CuPy finds out."""
    if hasattr(like, "__dlpack_device__"):
        return int(like.__dlpack_device__()[1])
    return _load_cupy().asarray(like).device


def _missing(library: str) -> ParameterError:
    return ParameterError(
        f'like="{library}" needs the package {library}, which is not installed; '
        'install it, or use "numpy"'
    )
