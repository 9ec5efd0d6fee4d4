"""The definitions, on sets."""

from __future__ import annotations

__all__ = ["parts_without"]


def parts_without(n_nodes: int, edges: list[tuple[int, int]], node: int) -> list[set[int]]:
    """List what the component of a node falls into when the node is taken away."""
    near: dict[int, set[int]] = {other: set() for other in range(n_nodes)}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    parts: list[set[int]] = []
    for start in sorted(near[node]):
        if any(start in part for part in parts):
            continue
        part, todo = {start}, [start]
        while todo:
            new = near[todo.pop()] - part - {node}
            part |= new
            todo += new
        parts.append(part)
    return parts
