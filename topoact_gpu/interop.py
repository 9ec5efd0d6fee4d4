"""Results as arrays of the caller's kind, on the caller's device."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError
from topoact_gpu.rows import is_on_gpu

__all__ = ["to_kind"]

_KINDS = ("numpy", "torch", "cupy")


def to_kind(array: NDArray[Any], like: Any) -> Any:
    """An array as one of another library.

    Parameters
    ----------
    array : ndarray
    like : "numpy", "torch", "cupy", None, or an array
        None: numpy. A torch tensor or a CuPy array: the same kind on the same device; anything
        else that says of itself that it lies on a GPU (DLPack, ``__cuda_array_interface__``)
        gives a CuPy array where CuPy is installed, else a torch tensor, on that device. Any other
        array gives numpy.

    Returns
    -------
    numpy.ndarray, torch.Tensor or cupy.ndarray
        Of the same numbers and dtype. In host memory it shares the array's memory where that is
        writable (numpy: always); on a device it is a copy.

    Raises
    ------
    ParameterError
        Another word, or a library that is not installed.

    Examples
    --------
    >>> to_kind(np.arange(3), "numpy")
    array([0, 1, 2])
    """
    kind = _kind_of(like)
    if kind == "numpy":
        return array
    if kind == "torch":
        return _to_torch(array, like)
    return _to_cupy(array, like)


def _kind_of(like: Any) -> str:
    if like is None:
        return "numpy"
    if isinstance(like, str):
        if like not in _KINDS:
            raise ParameterError(f"like must be {', '.join(_KINDS)} or an array, got {like!r}")
        return like
    library = type(like).__module__.partition(".")[0]
    if library in _KINDS:
        return library
    if not is_on_gpu(like):
        return "numpy"
    from importlib.util import find_spec

    return "cupy" if find_spec("cupy") else "torch"


def _to_torch(array: NDArray[Any], like: Any) -> Any:
    try:
        import torch
    except ImportError:
        raise _missing("torch", "pip install 'topoact-gpu[gpu]'") from None
    host = torch.from_numpy(array if array.flags.writeable else array.copy())
    if isinstance(like, torch.Tensor):
        return host.to(like.device)
    number = _device_number(like)
    return host if number is None else host.to(torch.device("cuda", number))


def _to_cupy(array: NDArray[Any], like: Any) -> Any:
    try:
        import cupy
    except ImportError:
        raise _missing("cupy", "pip install the cupy package of your CUDA version") from None
    number = _device_number(like)
    if number is None:
        return cupy.asarray(array)
    with cupy.cuda.Device(number):
        return cupy.asarray(array)


def _device_number(like: Any) -> int | None:
    """Number of the GPU that an array says it lies on; None for words and host memory."""
    if isinstance(like, str) or not is_on_gpu(like):
        return None
    if hasattr(like, "__dlpack_device__"):
        return int(like.__dlpack_device__()[1])
    return int(getattr(getattr(like, "device", 0), "id", 0))


def _missing(package: str, how: str) -> ParameterError:
    return ParameterError(f"an array of {package} is wanted, which is not installed; {how}")
