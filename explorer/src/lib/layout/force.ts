/**
 * Force-directed layout (ForceAtlas2: Jacomy, Venturini, Heymann and Bastian 2014), component by
 * component. A component is laid out alone, turned so that its lens grows to the right, scaled so
 * that neighbouring nodes lie about 1 apart, and packed beside the others: nothing flies off, and
 * the same run always ends in the same picture, however its iterations were sliced.
 */

import iterate from 'graphology-layout-forceatlas2/iterate';
import { pack } from './pack';
import { componentsOf, type LayoutShape } from './shape';

const NODE = 10; // floats of a node in the layout's matrix: x, y, ..., mass at 6, fixed at 9
const EDGE = 3;
const MANY = 1500; // nodes from which forces are approximated (Barnes and Hut)
const MARGIN = 1.1;
const SAMPLE = 400;

export interface Pins {
  /** Nodes that stay where they are; others of their components start where they are. */
  nodes: number[];
  positions: Float32Array;
  /** Spacing before scaling of each component, as an earlier run reported it. */
  spacing: Float32Array;
}

interface Piece {
  nodes: number[];
  matrix: Float32Array;
  edges: Float32Array;
  settings: Record<string, number | boolean>;
  scale: number; // of the input, where the piece holds pins
  pinned: boolean;
}

export class ForceRun {
  done = 0;
  readonly total: number;
  private readonly pieces: Piece[];
  private readonly moving: Piece[];

  constructor(
    private readonly shape: LayoutShape,
    start: Float32Array,
    pins: Pins | null = null,
  ) {
    const piece = new Int32Array(shape.n);
    const place = new Int32Array(shape.n);
    const groups = componentsOf(shape.component);
    groups.forEach((nodes, at) => nodes.forEach((a, p) => ((piece[a] = at), (place[a] = p))));
    const edges: number[][] = groups.map(() => []);
    for (let e = 0; e < shape.weight.length; e += 1) {
      const [a, b] = [shape.ends[2 * e], shape.ends[2 * e + 1]];
      edges[piece[a]].push(place[a] * NODE, place[b] * NODE, shape.weight[e]);
    }
    const fixed = new Set(pins?.nodes);
    this.pieces = groups.map((nodes, at) => {
      const pinned = nodes.some((a) => fixed.has(a));
      const scale = pinned && pins ? pins.spacing[at] || 1 : 1;
      const from = pinned && pins ? pins.positions : start;
      return {
        nodes,
        matrix: matrixOf(nodes, edges[at], from, scale, fixed),
        edges: Float32Array.from(edges[at]),
        settings: settingsOf(nodes.length),
        scale,
        pinned,
      };
    });
    this.moving = this.pieces.filter(({ nodes }) => nodes.length > 2);
    this.total = this.moving.length ? iterationsOf(this.moving[0].nodes.length) : 0;
  }

  /** One iteration of every component. */
  step(): void {
    if (this.done >= this.total) return;
    for (const { settings, matrix, edges } of this.moving) iterate(settings, matrix, edges);
    this.done += 1;
  }

  /** Positions [n, 2] as they would be drawn now, and the spacing of each component. */
  result(): { positions: Float32Array; spacing: Float32Array } {
    const positions = new Float32Array(2 * this.shape.n);
    const spacing = new Float32Array(this.pieces.length);
    const free: { piece: Piece; x: Float64Array; y: Float64Array }[] = [];
    this.pieces.forEach((piece, at) => {
      const { nodes, matrix, scale } = piece;
      if (piece.pinned) {
        spacing[at] = scale;
        nodes.forEach((a, p) => {
          positions[2 * a] = matrix[p * NODE] / scale;
          positions[2 * a + 1] = matrix[p * NODE + 1] / scale;
        });
        return;
      }
      const x = Float64Array.from(nodes, (_, p) => matrix[p * NODE]);
      const y = Float64Array.from(nodes, (_, p) => matrix[p * NODE + 1]);
      turn(
        x,
        y,
        Float64Array.from(nodes, (a) => this.shape.lens[a]),
      );
      spacing[at] = rescale(x, y);
      free.push({ piece, x, y });
    });
    this.place(free, positions);
    return { positions, spacing };
  }

  /** Pack the components that hold no pin; those with pins stay, and the others go below. */
  private place(
    free: { piece: Piece; x: Float64Array; y: Float64Array }[],
    positions: Float32Array,
  ): void {
    const boxes = free.map(({ x, y }) => ({ ...range(x), low: range(y).low, tall: range(y).size }));
    const places = pack(
      boxes.map(({ size, tall }) => ({ width: size + 2 * MARGIN, height: tall + 2 * MARGIN })),
    );
    let [left, top] = [0, 0];
    const held = this.pieces.filter(({ pinned }) => pinned).flatMap(({ nodes }) => nodes);
    if (held.length) {
      left = held.reduce((least, a) => Math.min(least, positions[2 * a]), Infinity);
      top = held.reduce((least, a) => Math.min(least, positions[2 * a + 1]), Infinity);
    }
    free.forEach(({ piece, x, y }, at) => {
      const box = boxes[at];
      piece.nodes.forEach((a, p) => {
        positions[2 * a] = left + places[at].x + MARGIN + x[p] - box.at;
        positions[2 * a + 1] = top - (places[at].y + MARGIN + box.tall - (y[p] - box.low));
      });
    });
  }
}

export function iterationsOf(n: number): number {
  if (n > 4000) return 160;
  return n > 1000 ? 300 : 600;
}

function settingsOf(n: number): Record<string, number | boolean> {
  return {
    linLogMode: false,
    outboundAttractionDistribution: false,
    adjustSizes: false,
    edgeWeightInfluence: 1,
    scalingRatio: 10,
    strongGravityMode: true,
    // a component holds together by its edges; a little gravity only bends long chains
    gravity: 0.02,
    slowDown: 1 + Math.log(n),
    barnesHutOptimize: n > MANY,
    barnesHutTheta: 0.8,
  };
}

function matrixOf(
  nodes: number[],
  edges: number[],
  from: Float32Array,
  scale: number,
  fixed: Set<number>,
): Float32Array {
  const matrix = new Float32Array(nodes.length * NODE);
  nodes.forEach((a, p) => {
    matrix[p * NODE] = from[2 * a] * scale;
    matrix[p * NODE + 1] = from[2 * a + 1] * scale;
    matrix[p * NODE + 6] = 1;
    matrix[p * NODE + 7] = 1;
    matrix[p * NODE + 8] = 1;
    matrix[p * NODE + 9] = fixed.has(a) ? 1 : 0;
  });
  for (let at = 0; at < edges.length; at += EDGE) {
    matrix[edges[at] + 6] += edges[at + 2];
    matrix[edges[at + 1] + 6] += edges[at + 2];
  }
  return matrix;
}

/** Turn the longest direction to the horizontal, and so that the lens grows to the right. */
export function turn(x: Float64Array, y: Float64Array, lens: Float64Array): void {
  const [mx, my, ml] = [mean(x), mean(y), mean(lens)];
  let [xx, yy, xy, xl, yl] = [0, 0, 0, 0, 0];
  for (let p = 0; p < x.length; p += 1) {
    const [dx, dy, dl] = [x[p] - mx, y[p] - my, lens[p] - ml];
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
    xl += dx * dl;
    yl += dy * dl;
  }
  const angle = 0.5 * Math.atan2(2 * xy, xx - yy);
  let [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  if (xl * cos + yl * sin < 0) [cos, sin] = [-cos, -sin];
  for (let p = 0; p < x.length; p += 1) {
    const [dx, dy] = [x[p] - mx, y[p] - my];
    x[p] = dx * cos + dy * sin;
    y[p] = dy * cos - dx * sin;
  }
}

/** Divide by the median distance to the nearest other node; returns it. */
function rescale(x: Float64Array, y: Float64Array): number {
  if (x.length < 2) return 1;
  const step = Math.max(1, Math.floor(x.length / SAMPLE));
  const near: number[] = [];
  for (let p = 0; p < x.length; p += step) {
    let least = Infinity;
    for (let q = 0; q < x.length; q += 1) {
      const square = (x[p] - x[q]) ** 2 + (y[p] - y[q]) ** 2;
      if (square < least && q !== p) least = square;
    }
    near.push(Math.sqrt(least));
  }
  near.sort((a, b) => a - b);
  // a few nodes on one spot must not blow the rest up
  const extent = Math.max(range(x).size, range(y).size);
  const spacing = Math.max(near[near.length >> 1], extent / (4 * x.length)) || 1;
  for (let p = 0; p < x.length; p += 1) {
    x[p] /= spacing;
    y[p] /= spacing;
  }
  return spacing;
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / (values.length || 1);
}

function range(values: Float64Array): { at: number; size: number; low: number } {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { at: low, low, size: high - low };
}
