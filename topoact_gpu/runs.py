"""Run: a Mapper graph with its lens, report and row columns, in one Zarr 3 group on disk.

Format ``topoact-gpu/run``, version 1::

    run.zarr            attributes: format, version, report, names, source, settings
      graph             the graph, as MapperGraph.save writes it
      lens              float64[n_rows, k]
      rows/<column>     [n_rows], one value a row
      summary           written afterwards, see `topoact_gpu.summary_group`; may be missing
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray
from zarr.codecs import Crc32cCodec

from .errors import DataError, StoreError
from .files import read_format, replaced_directory, to_jsonable
from .graph import MapperGraph, read_graph_group, write_graph_group
from .store import check_version, encode_names

__all__ = ["FORMAT", "Run", "coded_columns", "load_run", "run_settings", "save_run"]

FORMAT = "topoact-gpu/run"
VERSION = 1
_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class Run:
    """What `save_run` kept.

    Attributes
    ----------
    graph : MapperGraph
    lens_values : float64[n_rows, k]
    report : dict
        Parameters, versions, seconds and memory of each stage.
    columns : dict of str to [n_rows]
        Row columns, such as labels.
    names : dict of str to list of str
        What the codes of a row column stand for.
    source : dict
        Where the rows came from: ``path`` and ``layer``.
    """

    graph: MapperGraph
    lens_values: NDArray[np.float64]
    report: dict[str, Any]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)


def save_run(
    path: str | Path,
    graph: MapperGraph,
    *,
    lens_values: ArrayLike,
    report: Mapping[str, Any],
    columns: Mapping[str, ArrayLike] | None = None,
    names: Mapping[str, Iterable[str]] | None = None,
    source: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Save a run; it appears at ``path`` whole or not at all.

    Parameters
    ----------
    path : str or Path
    graph : MapperGraph
        ``mapper.graph_``.
    lens_values : float64[n_rows, k]
        ``mapper.lens_values_``.
    report : mapping
        ``mapper.report_``.
    columns : mapping of str to [n_rows], optional
        Row columns: integers, floats, bools or strings.
    names : mapping of str to list of str, optional
        What the codes of a row column stand for.
    source : mapping, optional
        Where the rows came from.
    settings : mapping, optional
        What decided the run's bytes, for `run_settings`.
    overwrite : bool
        Replace a run, graph or store of ours at ``path`` (and nothing else).

    Raises
    ------
    StoreError
        ``path`` exists, or the disk refuses; nothing is left behind then.
    DataError
        A column does not have one value for each row.
    """
    path = Path(path)
    lens = np.asarray(lens_values, dtype=np.float64)
    lens = lens.reshape(len(lens), -1)
    kept_names = {name: list(values) for name, values in (names or {}).items()}
    coded = coded_columns(columns or {}, kept_names, graph.n_rows)
    if len(lens) != graph.n_rows:
        raise DataError(f"lens_values has {len(lens):,} rows, the graph has {graph.n_rows:,}")
    with replaced_directory(path, overwrite=overwrite) as temporary:
        group = zarr.create_group(temporary, zarr_format=3)
        write_graph_group(group.create_group("graph"), graph)
        _write(group, "lens", lens)
        rows = group.create_group("rows")
        for name, values in coded.items():
            _write(rows, name, values)
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "report": dict(report),
            "names": kept_names,
            "source": dict(source or {}),
            **({} if settings is None else {"settings": dict(settings)}),
        }
        group.attrs.update(to_jsonable(attributes))


def load_run(path: str | Path) -> Run:
    """Load a run that `save_run` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        There is no run at ``path``, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"there is no run at {path}; check the path")
    found = read_format(path)
    if found != FORMAT:
        raise StoreError(
            f"{path} is {f'a {found}' if found else 'something else'}, a run is required; "
            "make one with: topoact mapper acts.zarr --layer NAME --out run.zarr"
        )
    group = zarr.open_group(path, mode="r")
    attributes: dict[str, Any] = group.attrs.asdict()
    check_version(path, attributes, VERSION)
    try:
        rows: Any = group["rows"]
        return Run(
            graph=read_graph_group(group["graph"], run=path),
            lens_values=_read(group["lens"]),
            report=attributes["report"],
            columns={name: _read(array) for name, array in sorted(rows.arrays())},
            names=attributes["names"],
            source=attributes["source"],
        )
    except StoreError:
        raise
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).partition(". Stored:")[0].split())
        raise StoreError(
            f"the run at {path} is incomplete or damaged: {reason}; compute it again"
        ) from error


def run_settings(path: Path) -> dict[str, Any] | None:
    """What decided the bytes of the run at ``path``; None where it does not say."""
    try:
        found = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (OSError, ValueError, KeyError):
        return None
    settings = found.get("settings")
    return settings if isinstance(settings, dict) else None


def coded_columns(
    columns: Mapping[str, ArrayLike], names: dict[str, list[str]], n_rows: int
) -> dict[str, NDArray[Any]]:
    """Row columns as numbers; strings become codes, with ``names`` (added to) saying which."""
    coded = {}
    for name, values in columns.items():
        array = np.asarray(values)
        if array.shape != (n_rows,):
            raise DataError(
                f"column {name!r} must have one value for each of the {n_rows:,} rows, "
                f"but has shape {array.shape}"
            )
        if array.dtype.kind in "UO":
            array = encode_names(map(str, array.tolist()), names.setdefault(name, []))
        elif array.dtype.kind == "b":
            array = array.view(np.uint8)
        elif array.dtype.kind not in "iuf":
            raise DataError(f"column {name!r} must be numbers or strings, not {array.dtype}")
        coded[name] = array
    return coded


def _write(group: zarr.Group, name: str, values: NDArray[Any]) -> None:
    row_bytes = max(1, values.itemsize * int(np.prod(values.shape[1:])))
    chunk_rows = max(1, min(len(values), _CHUNK_BYTES // row_bytes))
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk_rows, *values.shape[1:]),
        compressors=[Crc32cCodec()],
        fill_value=0,
        # a missing chunk then means damage, not zeros
        config={"write_empty_chunks": True},
    )
    array[...] = values


def _read(array: Any) -> NDArray[Any]:
    """All of an array; a missing chunk is an error, which zarr would read as zeros."""
    if array.nchunks_initialized < array.nchunks:
        raise StoreError(f"a chunk of {array.name} in {array.store_path} is missing")
    return np.asarray(array[...])
