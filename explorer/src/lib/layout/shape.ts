/** What a layout needs to know of a graph: plain arrays, which a worker can be sent. */

export interface LayoutShape {
  n: number;
  /** [nEdges, 2]: source, target */
  ends: Int32Array;
  /** Pull of each edge, in (0, 1]. */
  weight: Float32Array;
  component: Int32Array;
  /** Rank of the interval, or its place on a grid (`row`), both from 0. */
  column: Int32Array;
  /** Second coordinate of a two-dimensional cover; null where the cover has one. */
  row: Int32Array | null;
  /** First lens of each node; nodes of a layer start in its order. */
  lens: Float32Array;
  size: Int32Array;
}

/** The parts of GraphData that a layout reads. */
export interface Layable {
  n: number;
  nEdges: number;
  nLens: number;
  edge: Int32Array;
  jaccard: Float32Array;
  component: Int32Array;
  interval: Int32Array;
  lens: Float32Array;
  size: Int32Array;
  meta: { run: { settings: { intervals: number[] } } };
}

export function shapeOf(graph: Layable): LayoutShape {
  const ends = new Int32Array(2 * graph.nEdges);
  const weight = new Float32Array(graph.nEdges);
  for (let e = 0; e < graph.nEdges; e += 1) {
    ends[2 * e] = graph.edge[3 * e];
    ends[2 * e + 1] = graph.edge[3 * e + 1];
    const jaccard = graph.jaccard[e];
    weight[e] = 0.4 + 0.6 * (Number.isFinite(jaccard) ? Math.min(Math.max(jaccard, 0), 1) : 0);
  }
  const lens = new Float32Array(graph.n);
  for (let a = 0; a < graph.n; a += 1) {
    const value = graph.nLens ? graph.lens[a * graph.nLens] : a;
    lens[a] = Number.isFinite(value) ? value : 0;
  }
  const { n, component, size } = graph;
  return { n, ends, weight, component, lens, size, ...places(graph) };
}

/** Rank of each interval among those in use; of a grid of several dimensions, the first two. */
function places(graph: Layable): Pick<LayoutShape, 'column' | 'row'> {
  const sides = graph.meta.run.settings.intervals;
  if (sides.length < 2) return { column: ranks(graph.interval), row: null };
  const rest = sides.slice(2).reduce((product, side) => product * side, 1);
  const column = new Int32Array(graph.n);
  const row = new Int32Array(graph.n);
  for (let a = 0; a < graph.n; a += 1) {
    const cell = Math.floor(graph.interval[a] / rest);
    column[a] = Math.floor(cell / sides[1]);
    row[a] = cell % sides[1];
  }
  return { column: ranks(column), row: ranks(row) };
}

/** Rank of each value among the distinct values. */
export function ranks(values: Int32Array): Int32Array {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  const rank = new Map(distinct.map((value, at) => [value, at]));
  return values.map((value) => rank.get(value) ?? 0);
}

/** Nodes of each component; the largest component first, ties by its first node. */
export function componentsOf(component: Int32Array): number[][] {
  const groups = new Map<number, number[]>();
  for (let a = 0; a < component.length; a += 1) {
    const group = groups.get(component[a]);
    if (group) group.push(a);
    else groups.set(component[a], [a]);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length || a[0] - b[0]);
}

/** A number in [-0.5, 0.5) that depends on `key` alone: it parts nodes that would coincide. */
export function scatter(key: number): number {
  let x = (key + 1) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return ((x ^ (x >>> 15)) >>> 0) / 4294967296 - 0.5;
}
