"""``topoact capture`` and ``topoact layers``: activations of a network into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import JsonOption, Printer, ProgressBars, QuietOption

if TYPE_CHECKING:
    from ..activations.layers import LayerInfo
    from ..capturing import CaptureResult

__all__ = ["capture", "layers"]

ModelOption = Annotated[
    str,
    typer.Option(
        help="torchvision:NAME[@WEIGHTS], timm:NAME[@pretrained], hf:NAME_OR_DIR, "
        "efficientnet-lite0, minilm or FILE.py:FACTORY."
    ),
]
SeedOption = Annotated[int, typer.Option(help="Of random weights, choices and draws.")]


def capture(
    model: ModelOption,
    layers: Annotated[
        list[str], typer.Option("--layers", help="Names or globs; may be given several times.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="A folder of images, list:FILE, tar:GLOB, skimage:photos, sklearn:digits; "
            "a .txt, .csv, .tsv, .jsonl or .conllu file, sklearn:descriptions."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The store; an interrupted one is gone on with.")],
    sampling: Annotated[
        str | None,
        typer.Option(
            help="random:K, all, center, top-norm:K or mean; tokens or tokens+special. "
            "Default random:1 or tokens."
        ),
    ] = None,
    seed: SeedOption = 0,
    n_inputs: Annotated[
        int | None, typer.Option(help="Take this many, chosen by the seed.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Inputs in a forward; found from the network and the device's memory where "
            "omitted. Another one changes last bits."
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="Of the rows: float16, float32 or auto (float16, and float32 for layers that "
            "float16 cannot hold)."
        ),
    ] = "auto",
    words: Annotated[
        str | None, typer.Option(help="A row for each word: its first piece, or the mean.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens a text may have.")] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Keep a small JPEG of each image.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an input that cannot be read.")
    ] = False,
    device: Annotated[str, typer.Option(help="As torch names it.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="Of the forward: float32, float16 or bfloat16.")
    ] = "float32",
    workers: Annotated[int, typer.Option(help="Threads that read and preprocess.")] = 2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew, whatever store is there.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Capture activations of layers of a network into a store.

    Interrupted and run again with the same options, it goes on where it was.

    Examples:

      topoact capture --model efficientnet-lite0 --layers '_blocks.8' --data skimage:photos
      --sampling random:300 --out acts.zarr

      topoact capture --model minilm --layers 'encoder.layer.*' --data sentences.txt --out acts.zarr
    """
    from ..capturing import capture as run

    printer = Printer(as_json=as_json, quiet=quiet)
    with ProgressBars(quiet=quiet) as progress:
        result = run(
            model, layers, data, out, sampling=sampling, seed=seed, n_inputs=n_inputs,
            batch_size=batch_size, dtype=dtype, words=words, max_length=max_length,
            thumbnails=thumbnails, strict=strict, device=device, precision=precision,
            workers=workers, overwrite=overwrite, progress=progress,
        )  # fmt: skip
    _report(result, printer)


def _report(result: CaptureResult, printer: Printer) -> None:
    printer.result(
        {
            "store": str(result.path),
            "inputs": result.n_inputs,
            "unreadable": result.n_unreadable,
            "rows": result.rows,
            "resumed_at": result.resumed_at,
            "batch_size": result.batch_size,
            "float32": result.float32,
            "truncated": result.n_truncated,
            "words_lost": result.words_lost,
        }
    )
    _note_losses(result, printer)
    rows = [("inputs", f"{result.n_inputs:,}")]
    rows.append(("batch size", f"{result.batch_size:,}"))
    if result.resumed_at:
        rows.append(("resumed at", f"input {result.resumed_at:,}"))
    for name, count in result.rows.items():
        wide = " of float32, since float16 ends at 65,504" if name in result.float32 else ""
        rows.append((name, f"{count:,} rows{wide}"))
    rows.append(("store", str(result.path)))
    first = next(iter(result.rows), "NAME")
    rows.append(("next", f"topoact mapper {result.path} --layer {first} --out run.zarr"))
    printer.table("captured", rows)


def _note_losses(result: CaptureResult, printer: Printer) -> None:
    """Say what is not in the store."""
    if result.n_unreadable:
        printer.note(
            f"{result.n_unreadable:,} of {result.n_inputs:,} inputs could not be read; they are "
            f"listed in {result.path / 'capture' / 'unreadable.jsonl'}"
        )
    if result.n_truncated:
        lost = f"; {result.words_lost:,} words left no row" if result.words_lost else ""
        printer.note(
            f"{result.n_truncated:,} of {result.n_inputs:,} texts were cut at the limit of tokens"
            f"{lost} (what each lost is in {result.path / 'capture' / 'inputs.jsonl'})"
        )


def layers(
    model: ModelOption,
    pattern: Annotated[str, typer.Argument(help="Only names that match this glob.")] = "*",
    size: Annotated[int, typer.Option(help="Side of the image that goes through, in pixels.")] = 0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the layers of a network that can be captured, with the shapes of their outputs.

    Examples:

      topoact layers --model efficientnet-lite0

      topoact layers --model minilm 'encoder.layer.?'
    """
    from ..activations.layers import list_layers, match_layers
    from ..activations.models import load_model

    printer = Printer(as_json=as_json, quiet=quiet)
    loaded = load_model(model, seed=seed)
    found = list_layers(loaded.module, _example(loaded, size))
    wanted = set(match_layers([info.name for info in found], pattern))
    chosen = [info for info in found if info.name in wanted]
    printer.result({"model": loaded.record, "layers": [_as_json(info) for info in chosen]})
    printer.table(
        f"layers of {model}",
        [(info.name, f"{info.type}, {_shape(info)}") for info in chosen],
    )


def _as_json(info: LayerInfo) -> dict[str, Any]:
    return {"name": info.name, "type": info.type, "shape": info.shape, "calls": info.n_calls}


def _shape(info: LayerInfo) -> str:
    return "no tensor" if info.shape is None else " x ".join(map(str, info.shape))


def _example(loaded: Any, size: int) -> Any:
    """A grey image, or a short sentence."""
    import torch

    if loaded.kind == "text":
        encoded = loaded.tokenizer("One short sentence.", return_tensors="pt")
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}
    if loaded.preprocess is None:
        return torch.zeros(1, 3, size or 224, size or 224)
    from PIL import Image

    side = size or 256
    return loaded.preprocess(Image.new("RGB", (side, side), "grey"))[None]
