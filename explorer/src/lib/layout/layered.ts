/** Layered layout: an interval is a layer, a component a band; crossings are few. */

import { componentsOf, scatter, type LayoutShape } from './shape';

const SWEEPS = 8;
const PULLS = 6;
/** Empty lanes between two components. */
const GAP = 1;

/** Positions [n, 2]. One-dimensional covers run from left to right, others fill a grid. */
export function layered(shape: LayoutShape): Float32Array {
  return shape.row ? gridLayout(shape, shape.row) : bandLayout(shape);
}

function bandLayout(shape: LayoutShape): Float32Array {
  const lane = new Float64Array(shape.n);
  const neighbours = neighboursOf(shape);
  const columns = 1 + shape.column.reduce((most, column) => Math.max(most, column), 0);
  const top = new Float64Array(columns); // first free lane above each column
  for (const nodes of componentsOf(shape.component)) {
    const layers = layersOf(shape, nodes);
    orderLayers(layers, lane, neighbours, shape.column);
    alignLayers(layers, lane, neighbours);
    stack(layers, lane, shape.column, top);
  }
  const height = top.reduce((most, lanes) => Math.max(most, lanes), 1);
  const step = Math.min(Math.max((0.6 * columns) / height, 0.4), 4);
  const positions = new Float32Array(2 * shape.n);
  for (let a = 0; a < shape.n; a += 1) {
    positions[2 * a] = shape.column[a];
    positions[2 * a + 1] = -lane[a] * step;
  }
  return positions;
}

/** Put a component on the lanes that are free in all its columns. */
function stack(
  layers: number[][],
  lane: Float64Array,
  column: Int32Array,
  top: Float64Array,
): void {
  const all = layers.flat();
  const least = all.reduce((low, a) => Math.min(low, lane[a]), Infinity);
  const first = column[layers[0][0]];
  const last = column[layers[layers.length - 1][0]];
  let base = 0;
  for (let at = first; at <= last; at += 1) base = Math.max(base, top[at]);
  let most = 0;
  for (const a of all) {
    lane[a] += base - least;
    most = Math.max(most, lane[a]);
  }
  for (let at = first; at <= last; at += 1) top[at] = most + 1 + GAP;
}

/** Nodes by column, in order of lens. */
function layersOf(shape: LayoutShape, nodes: number[]): number[][] {
  const byColumn = new Map<number, number[]>();
  for (const a of nodes) {
    const layer = byColumn.get(shape.column[a]);
    if (layer) layer.push(a);
    else byColumn.set(shape.column[a], [a]);
  }
  const layers = [...byColumn].sort(([a], [b]) => a - b).map(([, layer]) => layer);
  for (const layer of layers) layer.sort((a, b) => shape.lens[a] - shape.lens[b] || a - b);
  return layers;
}

/** Order each layer by the mean lane of its neighbours before it, then after it, in turn. */
function orderLayers(
  layers: number[][],
  lane: Float64Array,
  neighbours: number[][],
  column: Int32Array,
): void {
  const settle = (layer: number[]) => layer.forEach((a, at) => (lane[a] = at - layer.length / 2));
  layers.forEach(settle);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forward = sweep % 2 === 0;
    for (const layer of forward ? layers : [...layers].reverse()) {
      const wanted = new Map(
        layer.map((a) => {
          const before = neighbours[a].filter((b) =>
            forward ? column[b] < column[a] : column[b] > column[a],
          );
          return [a, mean(before, lane, lane[a])];
        }),
      );
      layer.sort((a, b) => wanted.get(a)! - wanted.get(b)! || lane[a] - lane[b]);
      settle(layer);
    }
  }
}

/** Pull nodes level with their neighbours; the order stays, and a lane lies between any two. */
function alignLayers(layers: number[][], lane: Float64Array, neighbours: number[][]): void {
  for (let pull = 0; pull < PULLS; pull += 1)
    for (const layer of pull % 2 ? [...layers].reverse() : layers) {
      const wanted = layer.map((a) => mean(neighbours[a], lane, lane[a]));
      spread(wanted).forEach((value, at) => (lane[layer[at]] = value));
    }
}

/** The ascending values at least 1 apart that lie nearest to the wanted ones (least squares). */
export function spread(wanted: number[]): number[] {
  const blocks: { sum: number; count: number }[] = [];
  wanted.forEach((value, at) => {
    let block = { sum: value - at, count: 1 };
    for (;;) {
      const before = blocks[blocks.length - 1];
      if (!before || before.sum / before.count <= block.sum / block.count) break;
      blocks.pop();
      block = { sum: before.sum + block.sum, count: before.count + block.count };
    }
    blocks.push(block);
  });
  const level = blocks.flatMap(({ sum, count }) => Array<number>(count).fill(sum / count));
  return level.map((value, at) => value + at);
}

function mean(nodes: number[], lane: Float64Array, otherwise: number): number {
  if (!nodes.length) return otherwise;
  let sum = 0;
  for (const a of nodes) sum += lane[a];
  return sum / nodes.length;
}

export function neighboursOf({ n, ends }: Pick<LayoutShape, 'n' | 'ends'>): number[][] {
  const neighbours: number[][] = Array.from({ length: n }, () => []);
  for (let at = 0; at < ends.length; at += 2) {
    neighbours[ends[at]].push(ends[at + 1]);
    neighbours[ends[at + 1]].push(ends[at]);
  }
  return neighbours;
}

/** Each node in its cell; the nodes of one cell on a sunflower's spiral, the largest inside. */
function gridLayout(shape: LayoutShape, row: Int32Array): Float32Array {
  const cells = new Map<string, number[]>();
  for (let a = 0; a < shape.n; a += 1) {
    const key = `${shape.column[a]},${row[a]}`;
    const cell = cells.get(key);
    if (cell) cell.push(a);
    else cells.set(key, [a]);
  }
  const positions = new Float32Array(2 * shape.n);
  for (const cell of cells.values()) {
    cell.sort((a, b) => shape.size[b] - shape.size[a] || a - b);
    cell.forEach((a, at) => {
      const radius = cell.length > 1 ? 0.38 * Math.sqrt((at + 0.4) / cell.length) : 0;
      const angle = at * 2.399963 + scatter(shape.column[a]);
      positions[2 * a] = shape.column[a] + radius * Math.cos(angle);
      positions[2 * a + 1] = row[a] + radius * Math.sin(angle);
    });
  }
  return positions;
}
