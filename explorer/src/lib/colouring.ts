/** What the colour of a node says: its key in the address, its values, its scale and its legend. */

import { colourAt, hueOf, UNKNOWN, type Rgb, type Scale } from './palette';
import type { ValueQuery } from './source';
import type { GraphData } from './types';

/**
 * Keys: `lens:K`, `share:CLASS`, `lift:CLASS`, `top`, `purity`, `entropy`, `error`, `confidence`,
 * `interval`, `component`, `size`, `degree`, `column:NAME`.
 */
export interface Coloured {
  key: string;
  title: string;
  scale: Scale | 'kinds';
  /** One value a node; a kind where `scale` is 'kinds'. */
  values: ArrayLike<number>;
  low: number;
  high: number;
  /** Names of kinds, the most frequent first. */
  kinds: { kind: number; name: string; nodes: number }[];
}

/** Values that the graph already holds; null: they must be asked for (`valueQuery`). */
export function ownValues(graph: GraphData, key: string): Coloured | null {
  const [kind, argument = ''] = split(key);
  const shares: Record<string, [string, ArrayLike<number>]> = {
    purity: ['Purity (share of the largest class)', graph.purity],
    entropy: ['Entropy of the classes, bits', graph.entropy],
    error: ['Misclassified share', graph.errorRate],
    confidence: ['Mean confidence', graph.confidence],
    size: ['Rows', graph.size],
    degree: ['Edges of the node', graph.degree],
  };
  if (kind === 'lens') {
    const column = Math.min(Number(argument) || 0, graph.nLens - 1);
    const values = Float32Array.from(
      { length: graph.n },
      (_, a) => graph.lens[a * graph.nLens + column],
    );
    return numbers(key, `Lens: ${graph.meta.lens_names[column] ?? column}`, values);
  }
  if (kind === 'interval') return numbers(key, 'Interval', graph.interval);
  if (kind === 'component')
    return kinds(key, 'Component', graph.component, (k) => `component ${k}`);
  if (kind === 'top') {
    const values = Int32Array.from({ length: graph.n }, (_, a) => graph.topClass[3 * a]);
    return kinds(key, `Largest ${graph.meta.label ?? 'class'}`, values, (k) => className(graph, k));
  }
  if (kind in shares) {
    const [title, values] = shares[kind];
    const fixed = kind === 'purity' || kind === 'error' || kind === 'confidence';
    return numbers(key, title, values, fixed ? [0, 1] : undefined);
  }
  return null;
}

/** Kinds with a hue of their own; the rest is grey. */
export const COLOURED_KINDS = 12;

/** What to ask the source for, for a key that `ownValues` has no values for. */
export function valueQuery(key: string): ValueQuery | null {
  const [kind, argument] = split(key);
  if (argument === undefined) return null;
  if (kind === 'column') return { kind: 'column', column: argument };
  const id = Number(argument);
  if ((kind === 'share' || kind === 'lift') && Number.isInteger(id) && id >= 0)
    return { kind, class: id };
  return null;
}

/** Dress values that were asked for. */
export function askedValues(graph: GraphData, key: string, values: Float32Array): Coloured {
  const [kind, argument = ''] = split(key);
  if (kind === 'share')
    return numbers(key, `Share of ${className(graph, Number(argument))}`, values, [0, 1]);
  if (kind === 'lift') {
    // log2, so that half and twice the base rate lie equally far from the middle
    const logs = values.map((lift) => Math.max(Math.log2(Math.max(lift, 1e-9)), -6));
    const most = Math.max(1, ...finite(logs).map(Math.abs));
    const title = `Lift of ${className(graph, Number(argument))}, log2`;
    return { ...numbers(key, title, logs, [-most, most]), scale: 'diverging' };
  }
  return numbers(key, argument, values);
}

/** Colour of node `a`. */
export function colourOf(coloured: Coloured, a: number): Rgb {
  const value = coloured.values[a];
  if (coloured.scale === 'kinds') {
    const rank = rankOf(coloured, value);
    return value < 0 || rank < 0 || rank >= COLOURED_KINDS ? UNKNOWN : hueOf(rank);
  }
  const width = coloured.high - coloured.low;
  return colourAt(
    width > 0 ? (value - coloured.low) / width : Number.isNaN(value) ? NaN : 0.5,
    coloured.scale,
  );
}

const ranked = new WeakMap<Coloured, Map<number, number>>();

/** Place of a kind among the kinds, the most frequent at 0; -1: not among them. */
function rankOf(coloured: Coloured, kind: number): number {
  let ranks = ranked.get(coloured);
  if (!ranks) {
    ranks = new Map(coloured.kinds.map((entry, rank) => [entry.kind, rank]));
    ranked.set(coloured, ranks);
  }
  return ranks.get(kind) ?? -1;
}

export function className(graph: GraphData, id: number): string {
  return id < 0 ? 'unknown' : (graph.meta.class_names[id] ?? `class ${id}`);
}

function numbers(
  key: string,
  title: string,
  values: ArrayLike<number>,
  range?: [number, number],
): Coloured {
  const [low, high] = range ?? extent(values);
  return { key, title, scale: 'sequential', values, low, high, kinds: [] };
}

function kinds(
  key: string,
  title: string,
  values: ArrayLike<number>,
  nameOf: (kind: number) => string,
): Coloured {
  const counts = new Map<number, number>();
  for (const value of Array.from(values)) counts.set(value, (counts.get(value) ?? 0) + 1);
  const found = [...counts]
    .map(([kind, nodes]) => ({ kind, nodes, name: nameOf(kind) }))
    .sort((a, b) => b.nodes - a.nodes || a.kind - b.kind);
  return { key, title, scale: 'kinds', values, low: 0, high: 0, kinds: found };
}

export function extent(values: ArrayLike<number>): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] < low) low = values[at];
    if (values[at] > high) high = values[at];
  }
  return low <= high ? [low, high] : [0, 0];
}

function finite(values: ArrayLike<number>): number[] {
  return Array.from(values).filter(Number.isFinite);
}

function split(key: string): [string, string | undefined] {
  const at = key.indexOf(':');
  return at < 0 ? [key, undefined] : [key.slice(0, at), key.slice(at + 1)];
}
