/** Small layered graphs: the lens goes up, the nodes of an interval stand side by side. */

import { css, type Rgb } from './palette';
import type { GraphData } from './types';

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Places in [0, 1]², flat pairs; y 0 is the lowest lens value. */
export function layered(
  graph: Pick<GraphData, 'n' | 'nLens' | 'lens' | 'interval' | 'edge' | 'nEdges'>,
): Float32Array {
  const { n, nLens, lens, interval } = graph;
  const xy = new Float32Array(2 * n);
  let low = Infinity;
  let high = -Infinity;
  for (let a = 0; a < n; a += 1) {
    low = Math.min(low, lens[a * nLens]);
    high = Math.max(high, lens[a * nLens]);
  }
  for (let a = 0; a < n; a += 1)
    xy[2 * a + 1] = high > low ? (lens[a * nLens] - low) / (high - low) : 0.5;
  const floors = new Map<number, number[]>();
  for (let a = 0; a < n; a += 1) {
    // with several lens columns the intervals of one height share a floor
    const floor = nLens > 1 ? Math.round(xy[2 * a + 1] * 24) : interval[a];
    const there = floors.get(floor);
    if (there) there.push(a);
    else floors.set(floor, [a]);
  }
  const most = Math.max(1, ...[...floors.values()].map((floor) => floor.length));
  const ordered = [...floors.entries()].sort(([a], [b]) => a - b);
  const neighbours = neighboursOf(graph);
  const placed = new Uint8Array(n);
  for (const [, floor] of ordered) {
    const wish = new Map(floor.map((a) => [a, meanX(a, neighbours, placed, xy)]));
    floor.sort((a, b) => (wish.get(a) ?? 0.5) - (wish.get(b) ?? 0.5) || a - b);
    // a narrow floor keeps to the middle of what it hangs on
    const step = 1 / Math.max(most, 4);
    const width = step * (floor.length - 1);
    const middle = floor.reduce((all, a) => all + (wish.get(a) ?? 0.5), 0) / floor.length;
    const start = Math.min(Math.max(middle - width / 2, step / 2), 1 - width - step / 2);
    floor.forEach((a, at) => {
      xy[2 * a] = start + at * step;
      placed[a] = 1;
    });
  }
  return xy;
}

/** Radius by log size, in pixels. */
export function radiusOf(size: number, largest: number, most = 7): number {
  return 1.6 + (most - 1.6) * (Math.log1p(size) / Math.log1p(Math.max(largest, 1))) ** 2;
}

export function placeIn(box: Box, x: number, y: number): [number, number] {
  return [box.left + x * box.width, box.top + (1 - y) * box.height];
}

export interface Drawn {
  graph: GraphData;
  xy: Float32Array;
  box: Box;
  colour: (node: number) => Rgb;
  selected: Set<number>;
  faded: boolean;
}

export interface Inks {
  edge: string;
  ink: string;
  paper: string;
}

/** Draw edges, then nodes, large ones first. */
export function drawSmall(
  context: CanvasRenderingContext2D,
  { graph, xy, box, colour, selected, faded }: Drawn,
  inks: Inks,
): void {
  const spot = (a: number): [number, number] => placeIn(box, xy[2 * a], xy[2 * a + 1]);
  context.lineWidth = 0.7;
  context.strokeStyle = inks.edge;
  context.globalAlpha = graph.nEdges > 2000 ? 0.25 : 0.6;
  context.beginPath();
  for (let e = 0; e < graph.nEdges; e += 1) {
    context.moveTo(...spot(graph.edge[3 * e]));
    context.lineTo(...spot(graph.edge[3 * e + 1]));
  }
  context.stroke();
  const largest = graph.size.reduce((most, size) => Math.max(most, size), 1);
  const most = Math.min(7, Math.max(2.5, 90 / Math.sqrt(graph.n)));
  const order = Array.from({ length: graph.n }, (_, a) => a).sort(
    (a, b) => graph.size[b] - graph.size[a],
  );
  for (const a of order) {
    const [x, y] = spot(a);
    const chosen = selected.has(a);
    context.globalAlpha = faded && !chosen ? 0.35 : 1;
    context.beginPath();
    context.arc(x, y, radiusOf(graph.size[a], largest, most) + (chosen ? 1 : 0), 0, 2 * Math.PI);
    context.fillStyle = css(colour(a));
    context.fill();
    context.lineWidth = chosen ? 2 : 0.75;
    context.strokeStyle = chosen ? inks.ink : inks.paper;
    context.stroke();
  }
  context.globalAlpha = 1;
}

function neighboursOf({ n, nEdges, edge }: Pick<GraphData, 'n' | 'nEdges' | 'edge'>): number[][] {
  const out: number[][] = Array.from({ length: n }, () => []);
  for (let e = 0; e < nEdges; e += 1) {
    out[edge[3 * e]].push(edge[3 * e + 1]);
    out[edge[3 * e + 1]].push(edge[3 * e]);
  }
  return out;
}

function meanX(a: number, neighbours: number[][], placed: Uint8Array, xy: Float32Array): number {
  const known = neighbours[a].filter((b) => placed[b]);
  if (!known.length) return 0.5;
  return known.reduce((all, b) => all + xy[2 * b], 0) / known.length;
}
