/** How nodes and edges look: sizes, colours, what is hidden and what stands back. */

import { className, colourOf, type Coloured } from './colouring';
import { brief, percent } from './format';
import { hex, hueOf, mix, type Rgb } from './palette';
import type { GraphData, Members } from './types';

export interface Theme {
  dark: boolean;
  paper: Rgb;
  panel: Rgb;
  ink: Rgb;
  quiet: Rgb;
  line: Rgb;
  accent: Rgb;
  warn: Rgb;
}

export interface LookState {
  coloured: Coloured | null;
  edgeWidth: 'jaccard' | 'count';
  minJaccard: number;
  minSize: number;
  selected: number[];
  images: boolean;
  marks: { members: Pick<Members, 'nodes' | 'count' | 'share'> }[];
}

export interface Looks {
  radius: Float32Array;
  colour: string[];
  outline: string[];
  hidden: Uint8Array;
  faded: Uint8Array;
  /** Parts of each node's disc, [n, marks.length]; null where nothing is marked. */
  parts: Float32Array | null;
  edgeWidth: Float32Array;
  edgeColour: string[];
  edgeHidden: Uint8Array;
  edgeFaded: Uint8Array;
  nShown: number;
  nEdgesShown: number;
}

export const MOST_MARKS = 12;
const SHADES = 48;

/** Radius range in pixels at the first view: many nodes are drawn smaller. */
export function radiusRange(n: number): [number, number] {
  const scale = Math.min(1, Math.max(0.32, Math.pow(150 / Math.max(n, 1), 0.35)));
  return [3.6 * scale, 17 * scale];
}

/** Radius by log size, between the range's ends. */
export function radii(size: ArrayLike<number>, n: number): Float32Array {
  const [least, most] = radiusRange(n);
  let low = Infinity;
  let high = 1;
  for (let a = 0; a < n; a += 1) {
    low = Math.min(low, size[a]);
    high = Math.max(high, size[a]);
  }
  const width = Math.log(high) - Math.log(Math.max(low, 1));
  return Float32Array.from({ length: n }, (_, a) => {
    const t =
      width > 0 ? (Math.log(Math.max(size[a], 1)) - Math.log(Math.max(low, 1))) / width : 0.5;
    return least + (most - least) * t;
  });
}

/** Widest edge in pixels. */
export function widest(n: number): number {
  return n > 3000 ? 2.5 : 5;
}

/** Strength of each edge in [0, 1]: its Jaccard, or the log of its rows over the most rows. */
export function strengths(graph: GraphData, by: 'jaccard' | 'count'): Float32Array {
  const { nEdges, jaccard, edge } = graph;
  let most = 0;
  for (let e = 0; e < nEdges; e += 1)
    most = Math.max(most, by === 'count' ? Math.log1p(edge[3 * e + 2]) : jaccard[e] || 0);
  return Float32Array.from({ length: nEdges }, (_, e) =>
    most > 0 ? (by === 'count' ? Math.log1p(edge[3 * e + 2]) : jaccard[e] || 0) / most : 0,
  );
}

/** Colour of an edge of strength `t`: from a hint to a clear line. */
export function edgeShade(theme: Theme, t: number): Rgb {
  return mix(theme.paper, theme.ink, 0.2 + 0.5 * t);
}

export function looksOf(graph: GraphData, state: LookState, theme: Theme): Looks {
  const { n, nEdges } = graph;
  const hidden = new Uint8Array(n);
  let nShown = 0;
  for (let a = 0; a < n; a += 1) {
    hidden[a] = graph.size[a] < state.minSize ? 1 : 0;
    nShown += 1 - hidden[a];
  }
  const marks = state.marks.slice(0, MOST_MARKS);
  const looks: Looks = {
    radius: radii(graph.size, n),
    colour: new Array<string>(n),
    outline: new Array<string>(n),
    hidden,
    faded: new Uint8Array(n),
    parts: marks.length ? partsOf(n, marks) : null,
    edgeWidth: new Float32Array(nEdges),
    edgeColour: new Array<string>(nEdges),
    edgeHidden: new Uint8Array(nEdges),
    edgeFaded: new Uint8Array(nEdges),
    nShown,
    nEdgesShown: 0,
  };
  if (marks.length) sizeByShare(looks.radius, marks, n);
  // a picture needs room
  if (state.images) looks.radius = looks.radius.map((radius) => 1.3 * radius + 2);
  colourNodes(looks, graph, state, theme, marks.length);
  drawEdges(looks, graph, state, theme);
  return looks;
}

/** Parts of the marks among the marked rows of each node. */
function partsOf(n: number, marks: LookState['marks']): Float32Array {
  const k = marks.length;
  const parts = new Float32Array(n * k);
  const sum = new Float32Array(n);
  marks.forEach(({ members }, at) =>
    members.nodes.forEach((a, place) => {
      parts[a * k + at] = members.count[place];
      sum[a] += members.count[place];
    }),
  );
  for (let a = 0; a < n; a += 1)
    for (let at = 0; at < k; at += 1) if (sum[a] > 0) parts[a * k + at] /= sum[a];
  return parts;
}

/** Marked share of each node, all marks together (rows with several marks count in each). */
export function markedShare(marks: LookState['marks'], n: number): Float32Array {
  const share = new Float32Array(n);
  for (const { members } of marks)
    members.nodes.forEach((a, place) => (share[a] += members.share[place]));
  return share;
}

/** Area by marked share; nodes without a marked row become dots. */
function sizeByShare(radius: Float32Array, marks: LookState['marks'], n: number): void {
  const share = markedShare(marks, n);
  const [least, most] = radiusRange(n);
  const top = share.reduce((high, value) => Math.max(high, value), 0) || 1;
  for (let a = 0; a < n; a += 1)
    radius[a] =
      share[a] > 0 ? least + (1.15 * most - least) * Math.sqrt(share[a] / top) : 0.7 * least;
}

function colourNodes(
  looks: Looks,
  { n }: GraphData,
  state: LookState,
  theme: Theme,
  nMarks: number,
): void {
  const chosen = new Set(state.selected);
  const known = new Map<string, { plain: string[]; faded: string[] }>();
  const rim = theme.dark ? theme.ink : ([0, 0, 0] as Rgb);
  const grey = mix(theme.paper, theme.quiet, 0.45);
  for (let a = 0; a < n; a += 1) {
    const marked = nMarks > 0 && looks.radius[a] > 0 && hasPart(looks.parts!, a, nMarks);
    const colour =
      nMarks > 0 && !marked ? grey : state.coloured ? colourOf(state.coloured, a) : theme.quiet;
    // pies and the dots between them tell what was found, whatever is selected
    looks.faded[a] = chosen.size > 0 && !chosen.has(a) && nMarks === 0 ? 1 : 0;
    const key = colour.join();
    let shades = known.get(key);
    if (!shades) {
      const [far, line] = [mix(theme.paper, colour, 0.28), mix(colour, rim, 0.35)];
      shades = {
        plain: [hex(colour), hex(line)],
        faded: [hex(far), hex(mix(theme.paper, line, 0.28))],
      };
      known.set(key, shades);
    }
    [looks.colour[a], looks.outline[a]] = looks.faded[a] ? shades.faded : shades.plain;
  }
}

function hasPart(parts: Float32Array, a: number, k: number): boolean {
  for (let at = 0; at < k; at += 1) if (parts[a * k + at] > 0) return true;
  return false;
}

function drawEdges(looks: Looks, graph: GraphData, state: LookState, theme: Theme): void {
  const strength = strengths(graph, state.edgeWidth);
  const most = widest(graph.n);
  const chosen = new Set(state.selected);
  const shades = Array.from({ length: SHADES + 1 }, (_, at) => edgeShade(theme, at / SHADES));
  const plain = shades.map(hex);
  const faded = shades.map((shade) => hex(mix(theme.paper, shade, 0.35)));
  for (let e = 0; e < graph.nEdges; e += 1) {
    const [a, b] = [graph.edge[3 * e], graph.edge[3 * e + 1]];
    looks.edgeWidth[e] = 0.7 + (most - 0.7) * strength[e];
    const hide = looks.hidden[a] || looks.hidden[b] || graph.jaccard[e] < state.minJaccard;
    looks.edgeHidden[e] = hide ? 1 : 0;
    if (!hide) looks.nEdgesShown += 1;
    looks.edgeFaded[e] = chosen.size > 0 && !(chosen.has(a) && chosen.has(b)) ? 1 : 0;
    const shade = Math.round(strength[e] * SHADES);
    looks.edgeColour[e] = looks.edgeFaded[e] ? faded[shade] : plain[shade];
  }
}

/** Hues of marks, in their order. */
export function markHues(count: number): string[] {
  return Array.from({ length: count }, (_, at) => hex(hueOf(at)));
}

/** What a node is called on the graph: its largest class, and the class that sets it apart. */
export function labelOf(graph: GraphData, a: number): string {
  const [top, lifted] = [graph.topClass[3 * a], graph.liftClass[3 * a]];
  if (!(top >= 0)) return `node ${a}`;
  const name = clip(className(graph, top));
  return lifted >= 0 && lifted !== top ? `${name} · ↑${clip(className(graph, lifted))}` : name;
}

function clip(text: string): string {
  return text.length > 24 ? `${text.slice(0, 23)}…` : text;
}

/** One sentence on a node, for hovering and for screen readers. */
export function describe(graph: GraphData, a: number): string {
  const parts = [`Node ${a}: ${graph.size[a].toLocaleString('en')} rows`];
  if (graph.nLens)
    parts.push(`${graph.meta.lens_names[0] ?? 'lens'} ${brief(graph.lens[a * graph.nLens])}`);
  const top = graph.topClass[3 * a];
  if (top >= 0)
    parts.push(`largest class ${className(graph, top)}, ${percent(graph.topShare[3 * a])}`);
  const lifted = graph.liftClass[3 * a];
  if (lifted >= 0 && lifted !== top)
    parts.push(`stands out for ${className(graph, lifted)}, lift ${brief(graph.liftLift[3 * a])}`);
  const edges = graph.degree[a];
  parts.push(edges === 1 ? '1 edge' : `${edges} edges`);
  return `${parts.join('; ')}.`;
}
