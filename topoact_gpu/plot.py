"""Pictures: a MapperGraph drawn along its lens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topoact_gpu.errors import ParameterError, TopoactError

if TYPE_CHECKING:
    from topoact_gpu.graph import MapperGraph

__all__ = ["layout", "new_figure", "plot_graph"]

_Floats = NDArray[np.float64]
_PASSES = 4
_SWEEPS = 24
_RELAX_STEPS = 80
_UNEVEN = 3.0
_GAP = 0.35
_RADII = (0.22, 0.5)  # of the smallest and the largest node, in layout units
_POINTS = (1.4, 13.0)  # limits of a drawn radius


def plot_graph(graph: MapperGraph, *, ax: Any = None, color: ArrayLike | None = None) -> Any:
    """Draw a graph with matplotlib.

    Parameters
    ----------
    graph : MapperGraph
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new pyplot figure.
    color : float[n_nodes], optional
        Value that colours each node; by default the mean of the first lens column.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        ``color`` is not one number for each node.
    TopoactError
        matplotlib is not installed.

    Notes
    -----
    A node's radius grows with the logarithm of its rows, an edge's width with its Jaccard index.
    With one lens column a node lies at its mean lens value from left to right, the component with
    the most nodes on top and the others beneath; with more, at its means of the first two columns,
    pushed apart where nodes would cover each other. The same graph always gives the same picture.
    """
    _require_matplotlib()
    values, label = _node_values(graph, color)
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(12, 7.5), layout="constrained")
    ax.set_title(_title(graph), fontsize=11, loc="left", pad=10)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    if graph.n_nodes == 0:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no nodes", ha="center", va="center", transform=ax.transAxes)
        return ax
    positions = layout(graph)
    _fit_view(ax, positions)
    points = _point_radii(ax, positions, _radii(graph.sizes))
    _draw_edges(ax, graph, positions)
    drawn = _draw_nodes(ax, positions, points, values)
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.6, aspect=30, pad=0.015)
    bar.set_label(label)
    bar.outline.set_visible(False)
    _draw_size_key(ax, graph.sizes, points)
    _label_axes(ax, graph, positions)
    return ax


def new_figure(inches: tuple[float, float]) -> tuple[Any, Any]:
    """Return a figure that no pyplot window knows of, and its axes."""
    _require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def layout(graph: MapperGraph) -> _Floats:
    """Place the nodes.

    Parameters
    ----------
    graph : MapperGraph

    Returns
    -------
    float64[n_nodes, 2]
        Distances that keep drawn nodes apart are about 1.

    Notes
    -----
    One lens column: layered drawing, a layer being an interval; each node moves to the mean of
    its neighbours, as far as those of its layer leave room (least squares with gaps, by pooling).
    Time is proportional to nodes and edges.
    """
    if graph.n_nodes == 0:
        return np.zeros((0, 2))
    radii = _radii(graph.sizes)
    if graph.node_lens.shape[1] > 1:
        return _relaxed(graph.node_lens[:, :2], radii)
    x = _along_lens(graph)
    y = _layered(graph, radii)
    return np.column_stack([x, _stacked(graph, x, y, radii)])


def _radii(sizes: NDArray[np.int64]) -> _Floats:
    """Return a radius for each node, by the logarithm of its rows."""
    logs: _Floats = np.log1p(sizes.astype(np.float64))
    share = (logs - logs.min()) / max(float(np.ptp(logs)), 1e-9)
    return np.asarray(_RADII[0] + (_RADII[1] - _RADII[0]) * share, dtype=np.float64)


def _along_lens(graph: MapperGraph) -> _Floats:
    """Return x: the mean lens, with neighbouring intervals about 1.2 apart."""
    lens = graph.node_lens[:, 0]
    layers, layer = np.unique(graph.node_interval, return_inverse=True)
    if layers.size == 1:
        return np.zeros(lens.size)
    if _is_uneven(graph):
        return 1.2 * layer.astype(np.float64)
    return 1.2 * float(np.ptp(layers)) * (lens - lens.min()) / max(float(np.ptp(lens)), 1e-300)


def _is_uneven(graph: MapperGraph) -> bool:
    """Whether intervals are so unevenly long that the lens itself is no good axis."""
    layers, layer = np.unique(graph.node_interval, return_inverse=True)
    if layers.size < 4:
        return False
    centres = np.bincount(layer, graph.node_lens[:, 0]) / np.bincount(layer)
    steps = np.abs(np.diff(centres)) / np.diff(layers)
    low, high = np.quantile(steps, [0.1, 0.9])
    return bool(high > _UNEVEN * max(low, 1e-300))


def _layered(graph: MapperGraph, radii: _Floats) -> _Floats:
    """Return y of each node within its component: near its neighbours, apart from its layer."""
    groups = _layers(graph)
    y = np.zeros(graph.n_nodes)
    for group in groups:
        y[group] = _apart(np.zeros(group.size), radii[group])
    crowded = [group for group in groups if group.size > 1]
    if not crowded:
        return y
    ends = np.concatenate([graph.edges[:, :2], graph.edges[:, 1::-1]])
    weights = np.tile(0.1 + graph.jaccard, 2)
    later = graph.node_interval[ends[:, 0]] > graph.node_interval[ends[:, 1]]
    # First look one way only, to untangle: each layer follows the one before it, and back again.
    for _ in range(_PASSES):
        _sweep(y, groups, ends[later], weights[later], radii)
        _sweep(y, groups[::-1], ends[~later], weights[~later], radii)
    total = np.bincount(ends[:, 0], weights, minlength=graph.n_nodes)
    for _ in range(_SWEEPS):
        pulled = np.bincount(ends[:, 0], weights * y[ends[:, 1]], minlength=graph.n_nodes)
        wanted = np.where(total > 0, pulled / np.maximum(total, 1e-300), y)
        y = 0.3 * y + 0.7 * wanted
        for group in crowded:
            _spread(y, group, radii)
    return y


def _layers(graph: MapperGraph) -> list[NDArray[np.int64]]:
    """Return the nodes of each interval of each component."""
    component = graph.components()
    order = np.lexsort((np.arange(graph.n_nodes), graph.node_interval, component))
    changes = (np.diff(component[order]) != 0) | (np.diff(graph.node_interval[order]) != 0)
    return np.split(order, np.flatnonzero(changes) + 1)


def _sweep(
    y: _Floats,
    groups: list[NDArray[np.int64]],
    ends: NDArray[np.int64],
    weights: _Floats,
    radii: _Floats,
) -> None:
    """Move the nodes, layer by layer, to the mean of the neighbours that ``ends`` gives them."""
    order = np.argsort(ends[:, 0], kind="stable")
    neighbour, weight = ends[order, 1], weights[order]
    first = np.searchsorted(ends[order, 0], np.arange(y.size + 1)).tolist()
    for group in groups:
        for node in group.tolist():
            near = slice(first[node], first[node + 1])
            if near.start < near.stop:
                y[node] = np.dot(weight[near], y[neighbour[near]]) / weight[near].sum()
        _spread(y, group, radii)


def _spread(y: _Floats, group: NDArray[np.int64], radii: _Floats) -> None:
    """Keep the nodes of one layer apart, in their present order."""
    if group.size > 1:
        ranked = group[np.argsort(y[group], kind="stable")]
        y[ranked] = _apart(y[ranked], radii[ranked])


def _apart(wanted: _Floats, radii: _Floats) -> _Floats:
    """Return the positions nearest to ``wanted`` (ascending) that leave room for the radii."""
    room = np.concatenate([[0.0], np.cumsum(radii[1:] + radii[:-1] + _GAP)])
    blocks: list[tuple[float, int]] = []
    for target in (wanted - room).tolist():
        mean, count = target, 1
        while blocks and blocks[-1][0] >= mean:  # pool neighbours that would change places
            other, size = blocks.pop()
            mean = (mean * count + other * size) / (count + size)
            count += size
        blocks.append((mean, count))
    means, counts = zip(*blocks, strict=True)
    return np.repeat(np.array(means), counts) + room


def _stacked(graph: MapperGraph, x: _Floats, y: _Floats, radii: _Floats) -> _Floats:
    """Put the components beneath each other, the largest on top, each as high as it fits."""
    component = graph.components()
    bins = np.floor((x - x.min()) / 0.6).astype(np.int64) + 1
    floor = np.zeros(bins.max() + 2)
    order = np.argsort(component, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(component))[:-1])
    stacked = np.empty_like(y)
    for nodes in sorted(members, key=lambda nodes: -nodes.size):
        span = slice(int(bins[nodes].min()) - 1, int(bins[nodes].max()) + 2)
        top = floor[span].min()
        highest = float((y[nodes] + radii[nodes]).max())
        stacked[nodes] = y[nodes] - highest + top
        floor[span] = float((stacked[nodes] - radii[nodes]).min()) - _GAP
    return stacked


def _relaxed(lens: _Floats, radii: _Floats) -> _Floats:
    """Start at two lens columns and push overlapping nodes apart."""
    from scipy.spatial import cKDTree

    side = 1.5 * math.sqrt(lens.shape[0]) + 1
    extent = np.maximum(np.ptp(lens, axis=0), 1e-300)
    anchor = (lens - lens.min(axis=0)) / extent * [1.6 * side, side]
    # Nodes at one point need a direction to part in: a small golden-angle spiral, always the same.
    turn = np.arange(lens.shape[0]) * 2.399963
    positions = anchor + 1e-3 * np.column_stack([np.cos(turn), np.sin(turn)])
    for _ in range(_RELAX_STEPS):
        pairs = cKDTree(positions).query_pairs(2 * _RADII[1] + _GAP / 2, output_type="ndarray")
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        first, second = pairs.T
        apart = positions[first] - positions[second]
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-9)
        lack = np.maximum(radii[first] + radii[second] + _GAP / 2 - distance, 0)
        push = (0.4 * lack / distance)[:, None] * apart
        for axis in range(2):
            moved = np.bincount(first, push[:, axis], minlength=lens.shape[0])
            moved -= np.bincount(second, push[:, axis], minlength=lens.shape[0])
            positions[:, axis] += moved + 0.02 * (anchor[:, axis] - positions[:, axis])
    return positions


def _node_values(graph: MapperGraph, color: ArrayLike | None) -> tuple[_Floats, str]:
    """Return the number that colours each node, and what it is."""
    if color is None:
        return graph.node_lens[:, 0], f"{_lens_name(graph)}, mean of the node's rows"
    values = np.asarray(color)
    if values.shape != (graph.n_nodes,) or values.dtype.kind not in "biuf":
        raise ParameterError(
            f"color must be one number for each of {graph.n_nodes:,} nodes, got "
            f"{values.dtype}{list(values.shape)}"
        )
    return values.astype(np.float64), "color"


def _lens_name(graph: MapperGraph) -> str:
    name = graph.parameters.get("lens", "lens")
    return name if isinstance(name, str) and name.isprintable() and len(name) < 30 else "lens"


def _title(graph: MapperGraph) -> str:
    counts = [
        (graph.n_nodes, "node"),
        (graph.n_edges, "edge"),
        (graph.n_components, "component"),
        (graph.n_loops, "loop"),
    ]
    parts = [f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counts]
    return "  ·  ".join([*parts, f"coverage {100 * graph.coverage:.1f}%"])


def _fit_view(ax: Any, positions: _Floats) -> None:
    """Set limits with some air, and never a flat view."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    centre, half = (low + high) / 2, np.maximum((high - low) / 2, 1.5) * 1.04 + 0.6
    ax.set_xlim(centre[0] - half[0], centre[0] + half[0])
    ax.set_ylim(centre[1] - half[1], centre[1] + half[1])


def _point_radii(ax: Any, positions: _Floats, radii: _Floats) -> _Floats:
    """Return radii in points: as large as the tighter direction allows."""
    box = ax.get_window_extent()
    per_unit = [
        box.width / np.ptp(ax.get_xlim()),
        box.height / np.ptp(ax.get_ylim()),
    ]
    scale = min(per_unit) * 72 / ax.figure.dpi
    return np.clip(radii * scale, _POINTS[0] * radii / _RADII[0], _POINTS[1] * radii / _RADII[1])


def _draw_edges(ax: Any, graph: MapperGraph, positions: _Floats) -> None:
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        list(positions[graph.edges[:, :2]]),
        linewidths=0.5 + 4 * np.sqrt(graph.jaccard),
        colors="#8a94a6",
        alpha=0.55,
        capstyle="round",
        zorder=1,
    )
    ax.add_collection(lines, autolim=False)


def _draw_nodes(ax: Any, positions: _Floats, points: _Floats, values: _Floats) -> Any:
    order = np.argsort(-points, kind="stable")  # small nodes on top of large ones
    return ax.scatter(
        positions[order, 0],
        positions[order, 1],
        s=(2 * points[order]) ** 2,
        c=values[order],
        cmap="viridis",
        edgecolors="white",
        linewidths=np.minimum(0.6, 0.2 * points[order]),
        zorder=2,
    )


def _draw_size_key(ax: Any, sizes: NDArray[np.int64], points: _Floats) -> None:
    """Show what the radii stand for: the smallest, a middle and the largest node."""
    order = np.argsort(sizes, kind="stable")
    middle = order[np.searchsorted(np.log1p(sizes[order]), np.log1p(sizes[order[[0, -1]]]).mean())]
    shown = {int(sizes[node]): float(points[node]) for node in (order[0], middle, order[-1])}
    handles = [
        ax.scatter([], [], s=(2 * radius) ** 2, c="#9aa3b2", edgecolors="white", label=f"{size:,}")
        for size, radius in shown.items()
    ]
    ax.legend(
        handles=[ax.scatter([], [], s=0, label="rows"), *handles],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=1 + len(handles),
        frameon=False,
        fontsize=9,
        handletextpad=0.6,
        columnspacing=1.4,
    )


def _label_axes(ax: Any, graph: MapperGraph, positions: _Floats) -> None:
    """Mark lens values along x (and along y for two columns)."""
    name = _lens_name(graph)
    columns = min(graph.node_lens.shape[1], 2)
    ax.set_yticks([])
    if columns == 1:
        _lens_ticks(ax.xaxis, positions[:, 0], graph.node_lens[:, 0])
        ax.set_xlabel(name)
        return
    ax.spines["left"].set_visible(True)
    for j, axis in enumerate((ax.xaxis, ax.yaxis)):
        _lens_ticks(axis, positions[:, j], graph.node_lens[:, j])
        axis.set_label_text(f"{name}, column {j}")


def _lens_ticks(axis: Any, positions: _Floats, lens: _Floats) -> None:
    """Mark round lens values where the positions follow the lens, else what lies at even steps."""
    from matplotlib.ticker import MaxNLocator

    if np.ptp(positions) == 0 or np.ptp(lens) == 0:
        axis.set_ticks(positions[:1], [f"{lens[0]:.3g}"])
        return
    if np.corrcoef(positions, lens)[0, 1] > 0.999:
        slope, start = np.polyfit(lens, positions, 1)
        rounded = MaxNLocator(8).tick_values(lens.min(), lens.max())
        inside = rounded[(rounded >= lens.min()) & (rounded <= lens.max())]
        axis.set_ticks(start + slope * inside, [f"{value:g}" for value in inside])
        return
    order = np.argsort(positions, kind="stable")
    steps = np.linspace(positions.min(), positions.max(), 9)
    found = np.interp(steps, positions[order], np.maximum.accumulate(lens[order]))
    axis.set_ticks(steps, [f"{value:.3g}" for value in found])


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise TopoactError(
            "plot needs matplotlib, which is not installed: pip install 'topoact-gpu[plot]'"
        ) from error
