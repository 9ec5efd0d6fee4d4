"""The explorer as one HTML file: the page, and the answers or what it needs to work them out.

The file holds, after the page's own script and style::

    <script type="application/json" id="topoact-manifest">            what there is
    <script type="application/octet-stream;base64" id="topoact-N">    one block of data, many times

A block is a table of docs/explorer-api.md, compressed by gzip, in base64. The manifest names the
blocks: ``graph:RUN:LABEL`` (as the server answers), ``rows:RUN`` (memberships and row columns),
``details:RUN`` (exemplars of each node), ``images:RUN``, ``projection:RUN:METHOD`` and
``pairs:RUN:RUN`` (which rows of two runs are the same). explorer/src/lib/offline.ts reads them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topoact_gpu.errors import ParameterError, StoreError, TopoactError
from topoact_gpu.files import replaced_file

from .pages import STATIC
from .run_view import RunView
from .session import Session
from .tables import encode_table, to_json

__all__ = ["FORMAT", "page_with", "write_html"]

FORMAT = "topoact-gpu/explorer"
VERSION = 1
MAX_MEGABYTES = 50.0
MOST_LABELS = 8
MOST_POINTS = 100_000
PATCH_SIDE, INPUT_SIDE = 96, 320
POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)
STARTING = (
    "<p>The explorer is starting. If this stays, the file is damaged: export it again "
    "(topoact export RUN --format html).</p>"
)

Tell = Callable[[str, int, int], None]


@dataclass
class _Blocks:
    """Blocks of data by name, and what did not fit."""

    budget: int
    found: dict[str, bytes] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Bytes they take in the file."""
        return sum(len(block) for block in self.found.values())

    @property
    def room(self) -> int:
        """Bytes of data that still fit, before they become base64."""
        return max(0, (self.budget - self.used) * 3 // 4)

    def add(self, name: str, table: bytes) -> None:
        self.found[name] = base64.b64encode(gzip.compress(table, 6, mtime=0))


def write_html(
    runs: Iterable[str | Path],
    path: str | Path,
    *,
    max_megabytes: float = MAX_MEGABYTES,
    store: str | Path | None = None,
    label: str | None = None,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> list[str]:
    """Write runs and the page that shows them to one file, which needs no server and no network.

    Parameters
    ----------
    runs : iterable of path
        Runs or graphs. Those of one store show how rows flow between them.
    path : path
    max_megabytes : float
        What the file may take. Pictures are left out first, those of the farthest exemplars
        before those of the nearest.
    store : path, optional
        Where the activations are, if not where the runs say.
    label : str, optional
        The row column whose values are the classes at first.
    overwrite : bool
    tell : callable, optional
        Called with a stage, what is done of it and what there is to do.

    Returns
    -------
    list of str
        What was left out, a sentence each.

    Raises
    ------
    StoreError
        The page is not built, a run is missing or damaged, or something is at ``path``.
    ParameterError
        The file would be larger than ``max_megabytes`` without any picture.

    Notes
    -----
    The file holds the row columns and the membership of every row, but no activations: what needs
    them (means of any selection, columns in a comparison) is there for single nodes only.
    """
    if not max_megabytes > 0:
        raise ParameterError(f"max_megabytes must be above 0, got {max_megabytes}")
    session = Session(runs, read_only=True, store=store, label=label)
    blocks = _Blocks(int(max_megabytes * 1e6) - sum(len(part) for part in _page_parts()))
    details = {run.id: _add_run(run, blocks, tell or _silent) for run in session.runs}
    _add_pairs(session, blocks)
    if blocks.used > blocks.budget:
        raise ParameterError(
            f"without pictures the file takes {blocks.used / 1e6:,.1f} MB, "
            f"max_megabytes is {max_megabytes:g}; allow more"
        )
    shares = iter(range(len(session.runs), 0, -1))
    for run in session.runs:
        _add_images(run, details[run.id], blocks, blocks.room // next(shares), tell or _silent)
    content = page_with(_manifest(session, blocks), blocks.found)
    with replaced_file(Path(path), overwrite=overwrite) as temporary:
        temporary.write_bytes(content)
    return blocks.left_out


def _silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def _manifest(session: Session, blocks: _Blocks) -> dict[str, Any]:
    from .notes import read_notes

    return {
        "format": FORMAT,
        "version": VERSION,
        "session": session.info(),
        "blocks": {name: f"topoact-{i}" for i, name in enumerate(blocks.found)},
        "notes": {run.id: read_notes(run)["notes"] for run in session.runs},
        "left_out": blocks.left_out,
    }


def _add_run(run: RunView, blocks: _Blocks, tell: Tell) -> dict[str, Any]:
    """Everything but pictures; returns the details of nodes."""
    from .graph_view import graph_table
    from .projection import projection_table, projections

    labels = _labels(run, blocks)
    for at, label in enumerate(labels):
        tell(f"{run.name}: classes", at, len(labels))
        blocks.add(f"graph:{run.id}:{label or ''}", graph_table(run, label))
    blocks.add(f"rows:{run.id}", encode_table(*_rows(run, labels)))
    details = _details(run, labels[0], tell)
    blocks.add(f"details:{run.id}", encode_table(details, {}))
    methods = [each for each in projections(run)["methods"] if each["ready"]]
    for method in (each["name"] for each in methods):
        meta, arrays = projection_table(run, method, limit=MOST_POINTS, label=labels[0])
        if meta["n_points"] < run.header.n_rows:
            blocks.left_out.append(
                f"{run.name}: {method} shows {meta['n_points']:,} of {run.header.n_rows:,} rows"
            )
        arrays = {name: arrays[name] for name in ("rows", "xy", "lens", "node")}
        blocks.add(f"projection:{run.id}:{method}", encode_table(meta, arrays))
    return details


def _labels(run: RunView, blocks: _Blocks) -> list[str | None]:
    """The columns whose values can be the classes, the run's own first."""
    own = run.label
    others = [c.name for c in run.column_kinds() if c.kind == "category" and c.name != own]
    kept: list[str | None] = [own, *others[: MOST_LABELS - 1]]
    if len(others) >= MOST_LABELS:
        blocks.left_out.append(f"{run.name}: classes by {', '.join(others[MOST_LABELS - 1 :])}")
    return kept


def _rows(run: RunView, labels: list[str | None]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Memberships, lens and columns of all rows."""
    from .graph_view import lens_names
    from .selecting import describe_selection

    graph = run.graph
    arrays = {"indptr": graph.indptr, "rows": graph.rows, "lens": run.lens_values}
    arrays |= {f"column:{name}": _wide(values) for name, values in run.columns.items()}
    for label in labels:
        predictions = run.predictions(label)
        if predictions is not None:
            arrays[f"predictions:{label}"] = predictions
    nothing = describe_selection(run, np.zeros(0, dtype=np.int64), labels[0])
    words = run.words
    meta = {
        "label": labels[0],
        "labels": [label for label in labels if label is not None],
        "lens": [{"name": each, "column": i} for i, each in enumerate(lens_names(run))],
        "histograms": [{k: each[k] for k in ("name", "edges", "all")} for each in nothing["lens"]],
        "columns": [
            {"name": name, "dtype": values.dtype.name} for name, values in run.columns.items()
        ],
        "names": run.names,
        "input_names": run.input_names,
        "words": None if words is None else "token",
    }
    return meta, arrays


def _wide(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers beyond int32 as float64; half floats as float32."""
    if values.dtype.kind == "f":
        return values.astype(np.float32) if values.dtype.itemsize == 2 else values
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        return values.astype(np.float64)
    return values.astype(np.int64) if values.dtype.itemsize == 8 else values


def _details(run: RunView, label: str | None, tell: Tell) -> dict[str, Any]:
    """What only the activations tell of each node, and every row that is shown by it."""
    from .selecting import describe_selection

    nodes: list[dict[str, Any]] = []
    views: dict[int, dict[str, Any]] = {}
    n_nodes = run.graph.n_nodes
    for node in range(n_nodes):
        tell(f"{run.name}: nodes", node, n_nodes)
        found = describe_selection(run, np.array([node]), label)
        kept = {name: found[name] for name in ("mean_activation", "top_columns")}
        kept["exemplars"] = _known(found["exemplars"], views)
        kept["per_class"] = [
            {"id": each["id"], "rows": _known(each["rows"], views)} for each in found["per_class"]
        ]
        nodes.append(kept)
    return {"nodes": nodes, "views": {str(row): view for row, view in sorted(views.items())}}


def _known(rows: list[dict[str, Any]], views: dict[int, dict[str, Any]]) -> list[int]:
    views |= {view["row"]: view for view in rows}
    return [view["row"] for view in rows]


def _add_pairs(session: Session, blocks: _Blocks) -> None:
    from .flows import match_rows

    for first in session.runs:
        for second in session.runs:
            if first is second:
                continue
            name = f"pairs:{first.id}:{second.id}"
            try:
                pairs = match_rows(first, second)
            except TopoactError as error:
                blocks.add(name, encode_table({"error": " ".join(str(error).split())}, {}))
                continue
            same = np.array_equal(pairs.first, pairs.second)
            same = same and len(pairs.first) == first.header.n_rows
            arrays = {} if same else {"first": pairs.first, "second": pairs.second}
            blocks.add(name, encode_table({"same": same}, arrays))


class _Pictures:
    """Pictures one after another, each once, as long as there is room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.data: list[bytes] = []
        self.kinds: list[int] = []
        self._known: dict[bytes, int] = {}

    def add(self, made: tuple[bytes, str]) -> int | None:
        """Number of the picture; None where there is no room for it."""
        data, kind = made
        key = hashlib.sha256(data).digest()
        if key not in self._known:
            if len(data) > self.room:
                return None
            self.room -= len(data)
            self._known[key] = len(self.data)
            self.data.append(data)
            self.kinds.append(int(kind == "image/png"))
        return self._known[key]

    def arrays(self) -> dict[str, NDArray[Any]]:
        start = np.cumsum([0, *(len(each) for each in self.data)])
        data = np.frombuffer(b"".join(self.data), dtype=np.uint8)
        return {"data": data, "start": start, "kind": np.array(self.kinds, dtype=np.uint8)}


def _add_images(
    run: RunView, details: dict[str, Any], blocks: _Blocks, room: int, tell: Tell
) -> None:
    """Pictures of the rows that are shown: patches, then means of nodes, then whole inputs."""
    from . import images

    views = details["views"]
    if not any(view["image"] for view in views.values()):
        return
    pictures = _Pictures(room)
    rows = [row for row in _by_rank(details["nodes"]) if views[str(row)]["image"]]
    inputs = {views[str(row)]["input"]: row for row in reversed(rows)}
    nodes = range(len(details["nodes"]))
    arrays: dict[str, NDArray[Any]] = {}
    makers: list[tuple[str, str, list[int], Callable[[int], tuple[bytes, str]]]] = [
        ("patch", "patches", rows, lambda row: images.patch(run, row, PATCH_SIDE)),
        (
            "average",
            "mean patches",
            list(nodes),
            lambda node: images.average(run, run.graph.node_rows(node), PATCH_SIDE),
        ),
        (
            "input",
            "whole pictures",
            list(reversed(inputs.values())),
            lambda row: images.whole(run, row, INPUT_SIDE),
        ),
    ]
    for name, called, wanted, make in makers:
        taken, number, reasons = [], [], []
        for at, one in enumerate(wanted):
            tell(f"{run.name}: {called}", at, len(wanted))
            try:
                found = pictures.add(make(one))
            except TopoactError as error:
                reasons.append(" ".join(str(error).split()))
                continue
            if found is None:
                blocks.left_out.append(
                    f"{run.name}: {len(wanted) - at:,} of {len(wanted):,} {called} do not fit"
                )
                break
            taken.append(one)
            number.append(found)
        if reasons:
            blocks.left_out.append(f"{run.name}: {len(reasons):,} {called}: {reasons[0]}")
        arrays[f"{name}_of"] = np.array(taken, dtype=np.int64)
        arrays[f"{name}_picture"] = np.array(number, dtype=np.int64)
    numbers = [views[str(row)]["input"] for row in arrays["input_of"].tolist()]
    arrays["input_of"] = np.array(numbers, dtype=np.int64)
    blocks.add(f"images:{run.id}", encode_table({}, {**pictures.arrays(), **arrays}))


def _by_rank(nodes: list[dict[str, Any]]) -> list[int]:
    """Rows that are shown: first the nearest exemplar of each node, then the second, ..."""
    shown = [
        [*node["exemplars"], *(row for each in node["per_class"] for row in each["rows"])]
        for node in nodes
    ]
    most = max((len(rows) for rows in shown), default=0)
    return list(dict.fromkeys(rows[i] for i in range(most) for rows in shown if i < len(rows)))


def page_with(manifest: dict[str, Any], blocks: dict[str, bytes], folder: Path = STATIC) -> bytes:
    """The page with data in it.

    Parameters
    ----------
    manifest : dict
    blocks : dict of str to bytes
        Base64 by the names in the manifest.
    folder : Path
        The built page.

    Raises
    ------
    StoreError
        The page is not built, or not as one script and one style.
    """
    page, script, style, licences = _page_parts(folder)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = POLICY.format(script=digest)
    head = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}" />'
    title = html.escape(f"{manifest['session']['title']} – TopoAct explorer")
    page = page.replace('<meta charset="utf-8" />', f'<meta charset="utf-8" />\n    {head}', 1)
    page = re.sub(r"<title>.*?</title>", lambda _: f"<title>{title}</title>", page, count=1)
    page = _SCRIPT.sub(lambda _: f'<script type="module">{script}</script>', page, count=1)
    page = _STYLE.sub(lambda _: f"<style>{style}</style>", page, count=1)
    page = page.replace('<div id="app"></div>', f'<div id="app">{STARTING}</div>', 1)
    start, end = page.rsplit("</body>", 1)
    data = to_json(manifest).decode().replace("<", "\\u003c")
    parts = [
        start,
        f'<script type="text/plain" id="topoact-licences">{licences}</script>\n',
        f'<script type="application/json" id="topoact-manifest">{data}</script>\n',
        *_block_elements(manifest["blocks"], blocks),
        f"</body>{end}",
    ]
    return "".join(parts).encode()


_SCRIPT = re.compile(r'<script type="module"[^>]*\bsrc="\./([^"]+\.js)"[^>]*></script>')
_STYLE = re.compile(r'<link rel="stylesheet"[^>]*\bhref="\./([^"]+\.css)"[^>]*>')


def _block_elements(ids: dict[str, str], blocks: dict[str, bytes]) -> Iterator[str]:
    kind = "application/octet-stream;base64"
    for name, id in ids.items():
        yield f'<script type="{kind}" id="{id}">{blocks[name].decode()}</script>\n'


def _page_parts(folder: Path = STATIC) -> tuple[str, str, str, str]:
    """The page, its script and its style so that they can stand in HTML, and the licences."""
    try:
        page = (folder / "index.html").read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(
            "the explorer's page is not built here; install topoact-gpu from a wheel, or run "
            "pip install -e . in the checkout"
        ) from error
    scripts, styles = _SCRIPT.findall(page), _STYLE.findall(page)
    chunks = [*(folder / "assets").glob("*.js")]
    if len(scripts) != 1 or len(styles) != 1 or len(chunks) != 1:
        raise StoreError(
            f"the page in {folder} must be one script and one style to go into a file, it has "
            f"{len(chunks)} scripts and {len(styles)} styles; build it again"
        )
    script = (folder / scripts[0]).read_text(encoding="utf-8").strip()
    style = (folder / styles[0]).read_text(encoding="utf-8").strip()
    licences = folder / "licenses.md"
    told = licences.read_text(encoding="utf-8") if licences.is_file() else ""
    return page, _in_script(script), style.replace("</", "<\\/"), told.replace("</", "< /")


def _in_script(text: str) -> str:
    """JavaScript that means the same and does not end the element that it stands in.

    Examples
    --------
    >>> _in_script('"</script><!--"')
    '"<\\\\/script><\\\\!--"'
    """
    return re.sub(r"<(?=/script|!--)", r"<\\", text, flags=re.IGNORECASE)
