/** What the legend says, for the page and for exported pictures. */

import { COLOURED_KINDS, type Coloured } from './colouring';
import { brief, percent } from './format';
import { markedShare, edgeShade, radii, strengths, widest, type Theme } from './looks';
import { colourAt, css, hex, hueOf, UNKNOWN } from './palette';
import type { Mark } from './state.svelte';
import type { GraphData } from './types';

export interface Legend {
  title: string;
  /** Colours of a scale from left to right and what its ends and middle mean; null for kinds. */
  scale: { stops: string[]; ticks: { at: number; text: string }[] } | null;
  kinds: { colour: string; name: string; nodes: number }[];
  /** Kinds beyond those listed. */
  others: number;
  /** Some node has no value. */
  unknown: boolean;
  sizes: { radius: number; text: string }[];
  sizeTitle: string;
  edges: { width: number; colour: string; text: string }[];
  edgeTitle: string;
}

export function legendOf(
  graph: GraphData,
  coloured: Coloured | null,
  marks: Pick<Mark, 'members'>[],
  edgeWidth: 'jaccard' | 'count',
  theme: Theme,
): Legend {
  const legend: Legend = {
    title: coloured?.title ?? '',
    scale: null,
    kinds: [],
    others: 0,
    unknown: false,
    ...sizeKey(graph, marks),
    ...edgeKey(graph, edgeWidth, theme),
  };
  if (marks.length) {
    legend.title = 'Found rows, by what was searched for';
    legend.kinds = marks.map(({ members }, at) => ({
      colour: hex(hueOf(at)),
      name: members.label,
      nodes: members.nodes.length,
    }));
    return legend;
  }
  if (!coloured) return legend;
  const { values } = coloured;
  const missing =
    coloured.scale === 'kinds'
      ? (value: number) => value < 0
      : (value: number) => Number.isNaN(value);
  for (let a = 0; a < graph.n && !legend.unknown; a += 1) legend.unknown = missing(values[a]);
  if (coloured.scale === 'kinds') {
    const named = coloured.kinds.map((entry, rank) => ({ ...entry, rank }));
    const known = named.filter(({ kind }) => kind >= 0);
    legend.kinds = known.slice(0, COLOURED_KINDS).map(({ name, nodes, rank }) => ({
      colour: css(rank < COLOURED_KINDS ? hueOf(rank) : UNKNOWN),
      name,
      nodes,
    }));
    legend.others = Math.max(0, known.length - COLOURED_KINDS);
  } else legend.scale = scaleOf(coloured, coloured.scale);
  return legend;
}

function scaleOf(coloured: Coloured, scale: 'sequential' | 'diverging'): Legend['scale'] {
  const stops = Array.from({ length: 21 }, (_, at) => css(colourAt(at / 20, scale)));
  const { low, high } = coloured;
  if (!(high > low))
    return { stops: [css(colourAt(0.5, scale))], ticks: [{ at: 0.5, text: brief(low) }] };
  return {
    stops,
    ticks: [0, 0.5, 1].map((at) => ({ at, text: brief(low + at * (high - low)) })),
  };
}

function sizeKey(
  graph: GraphData,
  marks: Pick<Mark, 'members'>[],
): Pick<Legend, 'sizes' | 'sizeTitle'> {
  const { n, size } = graph;
  if (marks.length) {
    const share = markedShare(marks, n);
    const most = share.reduce((high, value) => Math.max(high, value), 0);
    return { sizes: [], sizeTitle: `Area: found share of the node, up to ${percent(most)}` };
  }
  if (!n) return { sizes: [], sizeTitle: '' };
  const order = Array.from({ length: n }, (_, a) => a).sort((a, b) => size[a] - size[b]);
  const radius = radii(size, n);
  const middle = Math.sqrt(size[order[0]] * size[order[n - 1]]);
  const between = order.find((a) => size[a] >= middle) ?? order[n - 1];
  const picked = [...new Set([order[0], between, order[n - 1]].map((a) => size[a]))];
  const of = new Map(order.map((a) => [size[a], radius[a]]));
  return {
    sizeTitle: 'Rows',
    sizes: picked.map((rows) => ({ radius: of.get(rows) ?? 4, text: brief(rows) })),
  };
}

function edgeKey(
  graph: GraphData,
  by: 'jaccard' | 'count',
  theme: Theme,
): Pick<Legend, 'edges' | 'edgeTitle'> {
  const edgeTitle = by === 'count' ? 'Shared rows' : 'Jaccard';
  if (!graph.nEdges) return { edges: [], edgeTitle };
  const strength = strengths(graph, by);
  const value = (e: number) => (by === 'count' ? graph.edge[3 * e + 2] : graph.jaccard[e]);
  let [low, high] = [0, 0];
  for (let e = 0; e < graph.nEdges; e += 1) {
    if (value(e) < value(low)) low = e;
    if (value(e) > value(high)) high = e;
  }
  const picked = value(low) === value(high) ? [low] : [low, high];
  const most = widest(graph.n);
  return {
    edgeTitle,
    edges: picked.map((e) => ({
      width: 0.7 + (most - 0.7) * strength[e],
      colour: hex(edgeShade(theme, strength[e])),
      text: brief(value(e)),
    })),
  };
}
