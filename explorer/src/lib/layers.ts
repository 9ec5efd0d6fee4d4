/** Layers of a store and their runs: which run stands for a layer beside the one shown. */

import { differences } from './settings';
import type { Explorer } from './state.svelte';
import type { GraphData, RunInfo, Separation, Session, StoreInfo } from './types';

export interface LayerRuns {
  name: string;
  nRows: number;
  nColumns: number;
  /** Runs of this layer, those nearest in settings to the run shown first. */
  runs: RunInfo[];
}

/** Layers of the run's store, in the network's order. */
export function layersOf(session: Session, run: RunInfo | null): LayerRuns[] {
  const store = storeOf(session, run);
  return (store?.layers ?? []).map((layer) => {
    const runs = layer.runs.flatMap((id) => session.runs.filter((one) => one.id === id));
    const distance = (one: RunInfo) =>
      one.id === run?.id ? -1 : run ? differences(run.settings, one.settings).length : 0;
    return {
      name: layer.name,
      nRows: layer.n_rows,
      nColumns: layer.n_cols,
      runs: runs.sort((a, b) => distance(a) - distance(b)),
    };
  });
}

export function storeOf(session: Session, run: RunInfo | null): StoreInfo | null {
  return session.stores.find(({ id }) => id === run?.store) ?? null;
}

export interface Neighbours {
  before: RunInfo | null;
  after: RunInfo | null;
}

/** The runs of the nearest layers with a run, before and after the one shown. */
export function neighboursOf(layers: LayerRuns[], run: RunInfo | null): Neighbours {
  const here = layers.findIndex(({ runs }) => runs.some(({ id }) => id === run?.id));
  const first = (some: LayerRuns[]) => some.find(({ runs }) => runs.length)?.runs[0] ?? null;
  if (here < 0) return { before: null, after: null };
  return {
    before: first(layers.slice(0, here).reverse()),
    after: first(layers.slice(here + 1)),
  };
}

/** Share of each node's rows that belong to a mark; the mark that has the most of it. */
export interface MarkColours {
  mark: Int8Array;
  share: Float32Array;
}

/** Colour the nodes of any run by what the reader has marked. */
export async function markColours(
  { source, marks, view }: Pick<Explorer, 'source' | 'marks' | 'view'>,
  run: string,
  graph: GraphData,
): Promise<MarkColours> {
  const found = { mark: new Int8Array(graph.n).fill(-1), share: new Float32Array(graph.n) };
  const lists = await Promise.all(
    marks.map(async ({ kind, id, members }) => {
      if (run === view.run) return members;
      // classes are numbered anew in every run; their names stay
      const own = kind === 'class' ? graph.meta.class_names.indexOf(members.label) : id;
      return own < 0 ? null : source.members(run, kind, own, view.label).catch(() => null);
    }),
  );
  lists.forEach((members, at) => {
    members?.nodes.forEach((node, place) => {
      if (members.share[place] <= found.share[node]) return;
      found.share[node] = members.share[place];
      found.mark[node] = at;
    });
  });
  return found;
}

/** The layer at which two classes are furthest apart; the first of equals. */
export function furthest({ layers }: Separation): Separation['layers'][number] | null {
  if (!layers.length) return null;
  return layers.reduce((best, layer) => (layer.overlap < best.overlap ? layer : best));
}
