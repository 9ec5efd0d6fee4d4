/** Rows drawn as points: which points stand for which rows, their colours and their nodes. */

import { className, extent, ownValues } from './colouring';
import { colourAt, hueOf, UNKNOWN, type Rgb } from './palette';
import type { GraphData, Projection } from './types';

/** More rows than this are sampled before they travel: a request holds 4 MB. */
export const MOST_ROWS_ASKED = 350_000;

/** Places in `rows` of those that are `wanted`; both ascending. */
export function pointsOf(rows: Int32Array, wanted: Int32Array): Int32Array {
  const found = new Int32Array(Math.min(rows.length, wanted.length));
  let n = 0;
  let at = 0;
  for (const row of wanted) {
    while (at < rows.length && rows[at] < row) at += 1;
    if (at === rows.length) break;
    if (rows[at] === row) {
      found[n] = at;
      n += 1;
    }
  }
  return found.subarray(0, n);
}

/** At most `most` of the values, evenly spread over their order. */
export function spread(values: Int32Array, most: number): Int32Array {
  if (values.length <= most) return values;
  return Int32Array.from(
    { length: most },
    (_, at) => values[Math.floor((at * values.length) / most)],
  );
}

export interface Holder {
  node: number;
  /** Chosen rows in the node. */
  count: number;
  /** Their share of all chosen rows. */
  ofChosen: number;
  /** Their share of the node's rows. */
  ofNode: number;
}

/** Nodes that hold chosen rows, the fullest first. */
export function holders(
  { nodes, count }: { nodes: Int32Array; count: Int32Array },
  nChosen: number,
  size: Int32Array,
): Holder[] {
  return Array.from(nodes, (node, at) => ({
    node,
    count: count[at],
    ofChosen: count[at] / Math.max(nChosen, 1),
    ofNode: count[at] / Math.max(size[node], 1),
  })).sort((a, b) => b.count - a.count || a.node - b.node);
}

/** Rank of every class, as the graph's own colouring has it; classes at no top follow by rows. */
export function classRanks(graph: GraphData): Map<number, number> {
  const tops = ownValues(graph, 'top')?.kinds.map(({ kind }) => kind) ?? [];
  const others = graph.meta.class_names.map((_, kind) => kind);
  const rows = (kind: number) => graph.meta.class_counts[kind] ?? 0;
  const seen = new Set(tops);
  const rest = others.filter((kind) => !seen.has(kind)).sort((a, b) => rows(b) - rows(a) || a - b);
  return new Map([...tops, ...rest].map((kind, rank) => [kind, rank]));
}

export function classColour(ranks: Map<number, number>, kind: number): Rgb {
  const rank = ranks.get(kind);
  return kind < 0 || rank === undefined || rank >= 24 ? UNKNOWN : hueOf(rank);
}

export interface ClassEntry {
  kind: number;
  name: string;
  rows: number;
  colour: Rgb;
}

/** Classes among the points, the most frequent first. */
export function classesOf(
  graph: GraphData,
  projection: Projection,
  ranks: Map<number, number>,
  marked: Map<number, Rgb>,
): ClassEntry[] {
  const counts = new Map<number, number>();
  for (const kind of projection.class) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts]
    .map(([kind, rows]) => ({
      kind,
      rows,
      name: className(graph, kind),
      colour: marked.get(kind) ?? (marked.size ? UNKNOWN : classColour(ranks, kind)),
    }))
    .sort((a, b) => b.rows - a.rows || a.kind - b.kind);
}

export type PointColouring = 'class' | 'lens' | 'selection';

export interface Painting {
  by: PointColouring;
  ranks: Map<number, number>;
  /** Marked classes, in the colours of their marks; the others turn grey then. */
  marked: Map<number, Rgb>;
  lit: Int32Array | null;
  accent: Rgb;
}

/** Three bytes a point. */
export function pointColours(projection: Projection, painting: Painting): Uint8Array {
  const n = projection.rows.length;
  const out = new Uint8Array(3 * n);
  const paint = brush(projection, painting);
  const put = (at: number, [red, green, blue]: Rgb): void => {
    out[3 * at] = red;
    out[3 * at + 1] = green;
    out[3 * at + 2] = blue;
  };
  for (let at = 0; at < n; at += 1) put(at, paint(at));
  if (painting.by === 'selection') for (const at of painting.lit ?? []) put(at, painting.accent);
  return out;
}

function brush(projection: Projection, { by, ranks, marked }: Painting): (at: number) => Rgb {
  if (by === 'selection') return () => UNKNOWN;
  if (by === 'class') {
    const known = new Map<number, Rgb>();
    return (at) => {
      const kind = projection.class[at];
      let colour = known.get(kind);
      if (!colour) {
        colour = marked.size ? (marked.get(kind) ?? UNKNOWN) : classColour(ranks, kind);
        known.set(kind, colour);
      }
      return colour;
    };
  }
  const [low, high] = extent(projection.lens);
  const steps = Array.from({ length: 256 }, (_, step) => colourAt(step / 255));
  return (at) => {
    const value = projection.lens[at];
    if (Number.isNaN(value)) return UNKNOWN;
    return steps[high > low ? Math.round((255 * (value - low)) / (high - low)) : 128];
  };
}
