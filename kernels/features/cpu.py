"""Feature kernels for the CPU: each walks once along the edges, or along one cycle."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = [
    "cycle_lengths", "detour", "loop_through", "resolve", "spanning_forest", "split_squares",
]

_INTS = types.Array(types.int64, 1, "C", readonly=True)
_TABLE = types.Array(types.int64, 2, "C", readonly=True)
_REALS = types.Array(types.float64, 1, "C", readonly=True)
_OUT = types.int64[::1]
_REAL = types.float64[::1]
_N = types.int64
_BITS, _WORTHS = types.uint64[::1], types.Array(types.uint64, 1, "C", readonly=True)


@njit(types.void(_INTS, _INTS, _INTS, _OUT, _OUT, _OUT, _OUT), cache=True, nogil=True)
def spanning_forest(
    indptr: NDArray[np.int64],
    near: NDArray[np.int64],
    edge_of: NDArray[np.int64],
    parent: NDArray[np.int64],
    parent_edge: NDArray[np.int64],
    depth: NDArray[np.int64],
    queue: NDArray[np.int64],
) -> None:
    """Write a breadth-first forest; the lowest node of each component is its root.

    ``near[indptr[a]:indptr[a + 1]]`` are the neighbours of ``a``, ``edge_of`` the edges to them.
    ``depth`` starts with -1; roots have parent -1.
    """
    for root in range(indptr.size - 1):
        if depth[root] >= 0:
            continue
        parent[root], parent_edge[root], depth[root], queue[0] = -1, -1, 0, root
        head, tail = 0, 1
        while head < tail:
            node = queue[head]
            head += 1
            for at in range(indptr[node], indptr[node + 1]):
                if depth[near[at]] < 0:
                    parent[near[at]], parent_edge[near[at]] = node, edge_of[at]
                    depth[near[at]] = depth[node] + 1
                    queue[tail] = near[at]
                    tail += 1


@njit(types.void(_TABLE, _INTS, _INTS, _OUT), cache=True, nogil=True)
def cycle_lengths(
    ends: NDArray[np.int64],
    parent: NDArray[np.int64],
    depth: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """Write how many nodes the cycle of each edge and the forest has; 2 for the forest's own."""
    for edge in range(ends.shape[0]):
        a, b, length = ends[edge, 0], ends[edge, 1], 1
        while a != b:
            if depth[a] < depth[b]:
                a, b = b, a
            a = parent[a]
            length += 1
        lengths[edge] = length


@njit(types.int64(_TABLE, _INTS, _INTS, _INTS, _OUT, _OUT, _OUT), cache=True, nogil=True)
def resolve(
    triangles: NDArray[np.int64],
    indptr: NDArray[np.int64],
    triangle_of: NDArray[np.int64],
    order: NDArray[np.int64],
    filled_by: NDArray[np.int64],
    sequence: NDArray[np.int64],
    left: NDArray[np.int64],
) -> int:
    """Find the edges beyond a forest that no triangles lead to; returns how many were settled.

    Parameters
    ----------
    triangles : int64[n, 3]
        Three edges each.
    indptr, triangle_of : int64
        The triangles of each edge.
    order : int64[n_loose]
        Edges beyond the forest, those of short cycles first.
    filled_by : int64[n_edges]
        -1 in the forest, -2 beyond it. Written: the triangle whose other edges say what an edge
        is worth, or -3: it is a loop of its own.
    sequence : int64[n_loose]
        Written: edges in the order in which they were settled.
    left : int64[n_triangles]
        How many edges of each triangle are beyond the forest.
    """
    done, told = 0, 0
    for at in range(order.size + 1):
        while told < done:
            edge = sequence[told]
            told += 1
            for place in range(indptr[edge], indptr[edge + 1]):
                left[triangle_of[place]] -= 1
                if left[triangle_of[place]] == 1:
                    for side in range(3):
                        other = triangles[triangle_of[place], side]
                        if filled_by[other] == -2:
                            filled_by[other] = triangle_of[place]
                            sequence[done] = other
                            done += 1
        if at == 0:
            for triangle in range(triangles.shape[0]):
                if left[triangle] == 1:
                    for side in range(3):
                        other = triangles[triangle, side]
                        if filled_by[other] == -2:
                            filled_by[other] = triangle
                            sequence[done] = other
                            done += 1
        elif filled_by[order[at - 1]] == -2:
            filled_by[order[at - 1]] = -3
            sequence[done] = order[at - 1]
            done += 1
    return done


@njit(types.int64(_INTS, _INTS, _INTS, _N, _N, _N, _N, _OUT, _OUT), cache=True, nogil=True)
def detour(
    indptr: NDArray[np.int64],
    near: NDArray[np.int64],
    edge_of: NDArray[np.int64],
    start: int,
    goal: int,
    banned: int,
    farthest: int,
    came_from: NDArray[np.int64],
    queue: NDArray[np.int64],
) -> int:
    """Find a shortest way that does not take one edge, of at most so many steps.

    ``came_from`` is -1 everywhere, here and afterwards; ``queue`` has two places for each node.
    Returns the nodes of the way, written to the end of ``queue``, from start to goal; 0 where
    there is none.
    """
    came_from[start], queue[0] = start, start
    head, tail, level_end, steps, found = 0, 1, 1, 0, False
    while head < tail and steps < farthest and not found:
        node = queue[head]
        head += 1
        for at in range(indptr[node], indptr[node + 1]):
            if edge_of[at] != banned and came_from[near[at]] < 0:
                came_from[near[at]] = node
                queue[tail] = near[at]
                tail += 1
                if near[at] == goal:
                    found = True
                    break
        if head == level_end:
            level_end, steps = tail, steps + 1
    length = 0
    last = queue.size
    if found:
        node = goal
        while True:
            length += 1
            queue[last - length] = node
            if node == start:
                break
            node = came_from[node]
    for at in range(tail):
        came_from[queue[at]] = -1
    return length


@njit(
    types.int64(
        _INTS, _INTS, _INTS, _WORTHS, _N, types.uint64, _N, _BITS, _OUT, _OUT, _OUT, _OUT
    ),
    cache=True,
    nogil=True,
)
def loop_through(
    indptr: NDArray[np.int64],
    near: NDArray[np.int64],
    edge_of: NDArray[np.int64],
    worth: NDArray[np.uint64],
    start: int,
    wanted: np.uint64,
    shorter_than: int,
    label: NDArray[np.uint64],
    depth: NDArray[np.int64],
    parent: NDArray[np.int64],
    queue: NDArray[np.int64],
    cycle: NDArray[np.int64],
) -> int:
    """Find a shortest closed way through a node whose edges are together worth what is wanted.

    With 0 wanted, anything but 0 will do: a way that triangles do not fill. ``depth`` is -1
    everywhere, here and afterwards. Returns the nodes of the cycle that is left when the stem,
    walked forth and back, is taken away; written to ``cycle``. 0: none is shorter.

    Notes
    -----
    Erickson & Har-Peled 2004, section 5: one breadth-first tree, and the edges beyond it.
    """
    depth[start], label[start], parent[start], queue[0] = 0, 0, -1, start
    head, tail, best, low, high = 0, 1, shorter_than, -1, -1
    while head < tail and 2 * depth[queue[head]] < best:
        node = queue[head]
        head += 1
        for at in range(indptr[node], indptr[node + 1]):
            other, sum_of = near[at], label[node] ^ worth[edge_of[at]]
            if depth[other] < 0:
                depth[other], label[other], parent[other] = depth[node] + 1, sum_of, node
                queue[tail] = other
                tail += 1
            elif depth[node] + depth[other] + 1 < best:
                sum_of ^= label[other]
                if sum_of != 0 and (sum_of == wanted or wanted == 0):
                    best, low, high = depth[node] + depth[other] + 1, node, other
    length = 0
    if low >= 0:
        last = cycle.size - 1
        ahead, behind = 0, 0
        while low != high:  # both ways back, up to where they meet
            if depth[low] >= depth[high]:
                cycle[ahead] = low
                ahead += 1
                low = parent[low]
            else:
                cycle[last - behind] = high
                behind += 1
                high = parent[high]
        cycle[ahead] = low
        ahead += 1
        for at in range(behind):
            cycle[ahead + at] = cycle[last - behind + 1 + at]
        length = ahead + behind
    for at in range(tail):
        depth[queue[at]] = -1
    return length


@njit(
    types.void(_INTS, _INTS, _REALS, _OUT, _OUT, _OUT, _OUT, _OUT, _REAL, _REAL, _REAL, _REAL),
    cache=True,
    nogil=True,
)
def split_squares(
    indptr: NDArray[np.int64],
    near: NDArray[np.int64],
    weight: NDArray[np.float64],
    number: NDArray[np.int64],
    lowest: NDArray[np.int64],
    parent: NDArray[np.int64],
    stack: NDArray[np.int64],
    order: NDArray[np.int64],
    below: NDArray[np.float64],
    apart: NDArray[np.float64],
    squares: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Weigh what the component of each node falls into when the node is taken away.

    Parameters
    ----------
    weight : float64[n_nodes]
    number, lowest, parent, stack, order : int64[n_nodes]
        ``number`` starts with -1; the others are scratch.
    below, apart, squares, total : float64[n_nodes]
        Start with 0. Written: ``total``, the weight of the component without the node;
        ``squares``, the sum of the squares of the weights of its parts.

    Notes
    -----
    Tarjan 1972: a child whose subtree has no edge above the node is a part of its own.
    """
    cursor = indptr.copy()
    count = 0
    for root in range(indptr.size - 1):
        if number[root] >= 0:
            continue
        first, depth = count, 1
        stack[0], parent[root] = root, -1
        number[root] = lowest[root] = count
        order[count] = root
        below[root] = weight[root]
        count += 1
        while depth > 0:
            node = stack[depth - 1]
            if cursor[node] < indptr[node + 1]:
                other = near[cursor[node]]
                cursor[node] += 1
                if number[other] < 0:
                    number[other] = lowest[other] = count
                    order[count] = other
                    parent[other], below[other] = node, weight[other]
                    count += 1
                    stack[depth] = other
                    depth += 1
                elif other != parent[node]:
                    lowest[node] = min(lowest[node], number[other])
                continue
            depth -= 1
            above = parent[node]
            if above >= 0:
                lowest[above] = min(lowest[above], lowest[node])
                below[above] += below[node]
                if lowest[node] >= number[above]:
                    apart[above] += below[node]
                    squares[above] += below[node] * below[node]
        for at in range(first, count):
            node = order[at]
            total[node] = below[root] - weight[node]
            rest = total[node] - apart[node]
            squares[node] += rest * rest
