/** The graph as lists, so that all of it can be reached without the drawing. */

import { counted } from './format';
import { packNodes } from './permalink';
import type { GraphData } from './types';

interface Adjacency {
  indptr: Int32Array;
  node: Int32Array;
  edge: Int32Array;
}

const known = new WeakMap<GraphData, Adjacency>();

/** Edges by node, made once a graph. */
export function adjacency(graph: GraphData): Adjacency {
  const found = known.get(graph);
  if (found) return found;
  const { n, nEdges, edge } = graph;
  const indptr = new Int32Array(n + 1);
  for (let e = 0; e < nEdges; e += 1) {
    indptr[edge[3 * e] + 1] += 1;
    indptr[edge[3 * e + 1] + 1] += 1;
  }
  for (let a = 0; a < n; a += 1) indptr[a + 1] += indptr[a];
  const next = indptr.slice(0, n);
  const made = { indptr, node: new Int32Array(2 * nEdges), edge: new Int32Array(2 * nEdges) };
  for (let e = 0; e < nEdges; e += 1) {
    const [a, b] = [edge[3 * e], edge[3 * e + 1]];
    made.node[next[a]] = b;
    made.edge[next[a]++] = e;
    made.node[next[b]] = a;
    made.edge[next[b]++] = e;
  }
  known.set(graph, made);
  return made;
}

export interface Neighbour {
  node: number;
  /** The strongest edge to the selection. */
  jaccard: number;
  shared: number;
}

/** Nodes next to the selected ones and not among them, the strongest edge first. */
export function neighboursOf(graph: GraphData, selected: Iterable<number>): Neighbour[] {
  const { indptr, node, edge } = adjacency(graph);
  const inside = new Set(selected);
  const best = new Map<number, Neighbour>();
  for (const a of inside)
    for (let at = indptr[a]; at < indptr[a + 1]; at += 1) {
      const [b, e] = [node[at], edge[at]];
      if (inside.has(b)) continue;
      const jaccard = graph.jaccard[e];
      if (jaccard > (best.get(b)?.jaccard ?? -1))
        best.set(b, { node: b, jaccard, shared: graph.edge[3 * e + 2] });
    }
  return [...best.values()].sort((a, b) => b.jaccard - a.jaccard || a.node - b.node);
}

export interface Component {
  id: number;
  nodes: number[];
  /** Rows of its nodes; a row in two nodes counts twice. */
  memberships: number;
}

/** Connected components, the one with most memberships first. */
export function componentsOf(graph: GraphData): Component[] {
  const found = new Map<number, Component>();
  for (let a = 0; a < graph.n; a += 1) {
    const id = graph.component[a];
    const component = found.get(id) ?? { id, nodes: [], memberships: 0 };
    component.nodes.push(a);
    component.memberships += graph.size[a];
    found.set(id, component);
  }
  return [...found.values()].sort((a, b) => b.memberships - a.memberships || a.id - b.id);
}

/** All nodes of the components that the selected nodes lie in. */
export function connected(graph: GraphData, selected: Iterable<number>): number[] {
  const ids = new Set([...selected].map((a) => graph.component[a]));
  return nodesWhere(graph, (a) => ids.has(graph.component[a]));
}

export function nodesWhere(graph: GraphData, holds: (node: number) => boolean): number[] {
  const nodes: number[] = [];
  for (let a = 0; a < graph.n; a += 1) if (holds(a)) nodes.push(a);
  return nodes;
}

/** Nodes, the largest first. */
export function largest(graph: GraphData): number[] {
  return nodesWhere(graph, () => true).sort((a, b) => graph.size[b] - graph.size[a] || a - b);
}

export function sameNodes(a: number[], b: number[]): boolean {
  if (a.length !== b.length) return false;
  const inside = new Set(a);
  return b.every((node) => inside.has(node));
}

/** Nodes in few words: node 3; nodes 1–4, 9; 30 nodes. */
export function nodesName(nodes: number[]): string {
  if (nodes.length === 1) return `node ${nodes[0]}`;
  const packed = packNodes(nodes).replaceAll('-', '–').replaceAll(',', ', ');
  return packed.length > 24 ? counted(nodes.length, 'node') : `nodes ${packed}`;
}

/** Least and greatest of a lens over nodes. */
export function lensRange(graph: GraphData, nodes: number[], lens: number): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const a of nodes) {
    low = Math.min(low, graph.lensMin[a * graph.nLens + lens]);
    high = Math.max(high, graph.lensMax[a * graph.nLens + lens]);
  }
  return low <= high ? [low, high] : [NaN, NaN];
}
