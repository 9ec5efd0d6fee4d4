/** The state of the view in the address, so that a link shows what its sender saw. */

export interface ViewState {
  run: string | null;
  label: string | null;
  colour: string;
  edgeWidth: 'jaccard' | 'count';
  minJaccard: number;
  minSize: number;
  layout: 'force' | 'layered';
  selected: number[];
  compared: number[];
  marks: string[];
  panel: 'none' | 'projection' | 'layers' | 'recompute';
  images: boolean;
}

export const START: ViewState = {
  run: null,
  label: null,
  colour: 'lens:0',
  edgeWidth: 'jaccard',
  minJaccard: 0,
  minSize: 1,
  layout: 'force',
  selected: [],
  compared: [],
  marks: [],
  panel: 'none',
  images: false,
};

const PANELS = ['none', 'projection', 'layers', 'recompute'] as const;

/** Write what differs from the start. */
export function toHash(state: ViewState): string {
  const parts = new URLSearchParams();
  if (state.run !== null) parts.set('run', state.run);
  if (state.label !== null) parts.set('label', state.label);
  if (state.colour !== START.colour) parts.set('colour', state.colour);
  if (state.edgeWidth !== START.edgeWidth) parts.set('width', state.edgeWidth);
  if (state.minJaccard !== START.minJaccard) parts.set('jaccard', String(state.minJaccard));
  if (state.minSize !== START.minSize) parts.set('size', String(state.minSize));
  if (state.layout !== START.layout) parts.set('layout', state.layout);
  if (state.selected.length) parts.set('nodes', packNodes(state.selected));
  if (state.compared.length) parts.set('with', packNodes(state.compared));
  for (const mark of state.marks) parts.append('mark', mark);
  if (state.panel !== START.panel) parts.set('panel', state.panel);
  if (state.images) parts.set('images', '1');
  return parts.toString();
}

/** Read an address; whatever cannot be read is left at the start. */
export function fromHash(hash: string): ViewState {
  const parts = new URLSearchParams(hash.replace(/^#/, ''));
  const panel = PANELS.find((name) => name === parts.get('panel'));
  return {
    run: parts.get('run'),
    label: parts.get('label'),
    colour: parts.get('colour') ?? START.colour,
    edgeWidth: parts.get('width') === 'count' ? 'count' : 'jaccard',
    minJaccard: between(parts.get('jaccard'), 0, 1, START.minJaccard),
    minSize: between(parts.get('size'), 1, 1e9, START.minSize),
    layout: parts.get('layout') === 'layered' ? 'layered' : 'force',
    selected: unpackNodes(parts.get('nodes') ?? ''),
    compared: unpackNodes(parts.get('with') ?? ''),
    marks: parts.getAll('mark').slice(0, 12),
    panel: panel ?? 'none',
    images: parts.get('images') === '1',
  };
}

/** Ascending nodes as ranges: 1,2,3,7 becomes "1-3,7". */
export function packNodes(nodes: Iterable<number>): string {
  const ordered = [...new Set(nodes)].sort((a, b) => a - b);
  const ranges: string[] = [];
  for (let at = 0; at < ordered.length;) {
    let end = at;
    while (ordered[end + 1] === ordered[end] + 1) end += 1;
    ranges.push(end > at ? `${ordered[at]}-${ordered[end]}` : `${ordered[at]}`);
    at = end + 1;
  }
  return ranges.join(',');
}

const MOST_NODES = 100_000;

export function unpackNodes(text: string): number[] {
  const nodes: number[] = [];
  for (const range of text.split(',')) {
    const found = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range);
    if (!found) continue;
    const last = Number(found[2] ?? found[1]);
    for (let node = Number(found[1]); node <= last && nodes.length < MOST_NODES; node += 1)
      nodes.push(node);
  }
  return nodes;
}

function between(text: string | null, least: number, most: number, otherwise: number): number {
  const value = text === null || text === '' ? Number.NaN : Number(text);
  return Number.isFinite(value) ? Math.min(Math.max(value, least), most) : otherwise;
}
