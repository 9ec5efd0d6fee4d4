/** Bands between the nodes of two graphs, as wide as the rows that flow. */

import type { Flows } from './types';

export interface Band {
  source: number;
  /** -1: in no node. */
  target: number;
  count: number;
  width: number;
  /** Outline, for the `d` of an SVG path. */
  path: string;
}

export type Place = (node: number) => [number, number];

/**
 * Lay out bands: at every node they are stacked about its middle, ordered by where they go, so
 * that those of one node do not cross; the widest stack is `most` pixels.
 */
export function bandsOf(
  flows: Flows['flows'],
  sourceAt: Place,
  targetAt: Place,
  most = 26,
): Band[] {
  const sums = new Map<string, number>();
  const add = (key: string, count: number) => sums.set(key, (sums.get(key) ?? 0) + count);
  for (const { source, target, count } of flows) {
    add(`s${source}`, count);
    add(`t${target}`, count);
  }
  const scale = most / Math.max(1, ...sums.values());
  const height = new Map(flows.map((flow) => [flow, Math.max(flow.count * scale, 0.6)]));
  const starts = stacked(flows, height, 'source', sourceAt, targetAt);
  const ends = stacked(flows, height, 'target', targetAt, sourceAt);
  return flows.map((flow) => {
    const width = height.get(flow) ?? 0;
    const [x0] = sourceAt(flow.source);
    const [x1] = targetAt(flow.target);
    const path = bandPath([x0, starts.get(flow) ?? 0], [x1, ends.get(flow) ?? 0], width);
    return { ...flow, width, path };
  });
}

/** Upper edges of the bands at one side. */
function stacked(
  flows: Flows['flows'],
  height: Map<Flows['flows'][number], number>,
  side: 'source' | 'target',
  hereAt: Place,
  thereAt: Place,
): Map<Flows['flows'][number], number> {
  const other = side === 'source' ? 'target' : 'source';
  const groups = new Map<number, Flows['flows']>();
  for (const flow of flows) {
    const group = groups.get(flow[side]);
    if (group) group.push(flow);
    else groups.set(flow[side], [flow]);
  }
  const tops = new Map<Flows['flows'][number], number>();
  for (const [node, group] of groups) {
    const total = group.reduce((all, flow) => all + (height.get(flow) ?? 0), 0);
    let top = hereAt(node)[1] - total / 2;
    const sorted = [...group].sort(
      (a, b) => thereAt(a[other])[1] - thereAt(b[other])[1] || a[other] - b[other],
    );
    for (const flow of sorted) {
      tops.set(flow, top);
      top += height.get(flow) ?? 0;
    }
  }
  return tops;
}

function bandPath([x0, y0]: [number, number], [x1, y1]: [number, number], width: number): string {
  const bend = (x1 - x0) / 2;
  const at = (x: number, y: number) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  return (
    `M${at(x0, y0)}C${at(x0 + bend, y0)} ${at(x1 - bend, y1)} ${at(x1, y1)}` +
    `L${at(x1, y1 + width)}C${at(x1 - bend, y1 + width)} ${at(x0 + bend, y0 + width)} ` +
    `${at(x0, y0 + width)}Z`
  );
}
