/** Which nodes a gesture means: paths, components, branches, lassos, and the next node over. */

import type { Feature } from './types';

/** Neighbours of each node: those of `a` are `to[indptr[a]]` … `to[indptr[a + 1] - 1]`. */
export interface Links {
  n: number;
  indptr: Int32Array;
  to: Int32Array;
  /** The edge each link belongs to. */
  edge: Int32Array;
}

/** Links of the edges [nEdges, 3]; `shown` leaves out those that are hidden. */
export function linksOf(n: number, edge: Int32Array, shown?: (e: number) => boolean): Links {
  const indptr = new Int32Array(n + 1);
  const kept: number[] = [];
  for (let e = 0; 3 * e < edge.length; e += 1) {
    if (shown && !shown(e)) continue;
    kept.push(e);
    indptr[edge[3 * e] + 1] += 1;
    indptr[edge[3 * e + 1] + 1] += 1;
  }
  for (let a = 0; a < n; a += 1) indptr[a + 1] += indptr[a];
  const at = indptr.slice(0, n);
  const to = new Int32Array(2 * kept.length);
  const of = new Int32Array(2 * kept.length);
  for (const e of kept)
    for (const [a, b] of [
      [edge[3 * e], edge[3 * e + 1]],
      [edge[3 * e + 1], edge[3 * e]],
    ]) {
      to[at[a]] = b;
      of[at[a]] = e;
      at[a] += 1;
    }
  return { n, indptr, to, edge: of };
}

export function neighbours({ indptr, to }: Links, a: number): number[] {
  return [...to.subarray(indptr[a], indptr[a + 1])];
}

/** Path of fewest edges; among those, of the largest sum of Jaccard. Null where none joins them. */
export function shortestPath(
  links: Links,
  jaccard: ArrayLike<number>,
  from: number,
  to: number,
): number[] | null {
  const before = new Int32Array(links.n).fill(-1);
  const steps = new Int32Array(links.n).fill(-1);
  const worth = new Float64Array(links.n);
  steps[from] = 0;
  for (let front = [from]; front.length && steps[to] < 0;) {
    const next: number[] = [];
    for (const a of front)
      for (let at = links.indptr[a]; at < links.indptr[a + 1]; at += 1) {
        const b = links.to[at];
        if (steps[b] >= 0 && steps[b] <= steps[a]) continue;
        const gain = worth[a] + (jaccard[links.edge[at]] || 0);
        if (steps[b] < 0) next.push(b);
        else if (gain <= worth[b]) continue;
        steps[b] = steps[a] + 1;
        worth[b] = gain;
        before[b] = a;
      }
    front = next;
  }
  if (steps[to] < 0) return null;
  const path = [to];
  while (path[path.length - 1] !== from) path.push(before[path[path.length - 1]]);
  return path.reverse();
}

/** Everything that hangs together with the given nodes, ascending. */
export function reachable(links: Links, from: Iterable<number>): number[] {
  const found = new Set(from);
  for (const a of found)
    for (let at = links.indptr[a]; at < links.indptr[a + 1]; at += 1) found.add(links.to[at]);
  return [...found].sort((a, b) => a - b);
}

/**
 * The branch that a node lies on: a branch found by the server, or the chain of nodes with at most
 * two neighbours around it, up to the junctions, which do not belong to it.
 */
export function branchAround(links: Links, node: number, known: Feature[] = []): number[] {
  const named = known
    .filter(({ nodes }) => nodes.includes(node))
    .sort((a, b) => a.nodes.length - b.nodes.length || a.rank - b.rank);
  if (named.length) return [...named[0].nodes].sort((a, b) => a - b);
  const found = new Set([node]);
  const degree = (a: number) => links.indptr[a + 1] - links.indptr[a];
  if (degree(node) > 2) return [node];
  for (const a of found) for (const b of neighbours(links, a)) if (degree(b) <= 2) found.add(b);
  return [...found].sort((a, b) => a - b);
}

/** Whether a point lies inside a polygon [x0, y0, x1, y1, …] (even-odd rule). */
export function inside(x: number, y: number, polygon: ArrayLike<number>): boolean {
  let within = false;
  const m = polygon.length;
  for (let at = 0, last = m - 2; at < m; last = at, at += 2) {
    const [x1, y1, x2, y2] = [polygon[at], polygon[at + 1], polygon[last], polygon[last + 1]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) within = !within;
  }
  return within;
}

/** Nodes whose screen positions [n, 2] lie inside the lasso. */
export function lassoed(
  screen: Float32Array,
  polygon: ArrayLike<number>,
  shown: (a: number) => boolean,
): number[] {
  const found: number[] = [];
  for (let a = 0; 2 * a < screen.length; a += 1)
    if (shown(a) && inside(screen[2 * a], screen[2 * a + 1], polygon)) found.push(a);
  return found;
}

export type Direction = 'left' | 'right' | 'up' | 'down';

const AHEAD: Record<Direction, [number, number]> = {
  left: [-1, 0],
  right: [1, 0],
  up: [0, -1],
  down: [0, 1],
};

/** The nearest node on the screen within 60° of a direction; null at the rim. */
export function nextOver(
  screen: Float32Array,
  from: number,
  direction: Direction,
  shown: (a: number) => boolean,
): number | null {
  const [ux, uy] = AHEAD[direction];
  let best: number | null = null;
  let least = Infinity;
  for (let a = 0; 2 * a < screen.length; a += 1) {
    if (a === from || !shown(a)) continue;
    const dx = screen[2 * a] - screen[2 * from];
    const dy = screen[2 * a + 1] - screen[2 * from + 1];
    const along = dx * ux + dy * uy;
    const aside = Math.abs(dx * uy - dy * ux);
    if (along <= 0 || aside > along * Math.sqrt(3)) continue;
    const cost = along + 1.5 * aside; // straight ahead before round the corner
    if (cost < least) {
      least = cost;
      best = a;
    }
  }
  return best;
}
