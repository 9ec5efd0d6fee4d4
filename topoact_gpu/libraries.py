"""What others do on a GPU, where it is installed: cuML's pca and umap, FAISS's neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.kernels.lens.principal import loading_signs

__all__ = ["MOST_FAISS", "cuml_pca", "cuml_umap", "faiss_search", "find_cuml"]

MOST_FAISS = 2048
"""Neighbours that FAISS finds on a GPU."""


def find_cuml() -> Any:
    """The module, or None where it is not installed."""
    try:
        import cuml
    except ImportError:
        return None
    return cuml


def cuml_pca(cuml: Any, x: Any, n_components: int) -> NDArray[np.float64]:
    """cuML's principal components of a tensor, turned as ours are."""
    model = cuml.PCA(n_components=n_components, svd_solver="full", output_type="numpy")
    values = np.asarray(model.fit_transform(_as_cuml_takes(x)), np.float64)
    return values * loading_signs(np.asarray(model.components_).T)


def cuml_umap(cuml: Any, x: Any, n_components: int, seed: int) -> NDArray[np.float64]:
    """cuML's UMAP of a tensor."""
    model = cuml.UMAP(n_components=n_components, random_state=seed, output_type="numpy")
    return np.asarray(model.fit_transform(_as_cuml_takes(x).float()), np.float64)


def _as_cuml_takes(x: Any) -> Any:
    """cuML has no float16."""
    return x.float() if x.element_size() == 2 else x


def faiss_search() -> Callable[[Any, Any, int], Any] | None:
    """FAISS's search among float32 rows on a GPU; None where it is not installed, or has none.

    The function takes tensors [n_queries, n_cols] and [n_targets, n_cols] and a number up to
    MOST_FAISS, and gives the places of so many nearest, int64[n_queries, number].
    """
    try:
        import faiss
    except ImportError:
        return None
    if faiss.get_num_gpus() < 1:
        return None
    import faiss.contrib.torch_utils  # makes FAISS take tensors

    resources = faiss.StandardGpuResources()

    def search(queries: Any, targets: Any, number: int) -> Any:
        return faiss.knn_gpu(resources, queries, targets, number)[1]

    return search
