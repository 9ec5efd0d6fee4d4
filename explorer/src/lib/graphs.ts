/** Graphs of runs beside the one shown, kept while they are looked at. */

import type { Source } from './source';
import type { GraphData } from './types';

const MOST_KEPT = 24;
const KEPT = new WeakMap<Source, Map<string, Promise<GraphData>>>();

export function graphOfRun(source: Source, run: string, label: string | null): Promise<GraphData> {
  let kept = KEPT.get(source);
  if (!kept) KEPT.set(source, (kept = new Map()));
  const key = JSON.stringify([run, label]);
  const known = kept.get(key);
  if (known) return known;
  const asked = source.graph(run, label);
  kept.set(key, asked);
  asked.catch(() => kept.delete(key));
  for (const oldest of kept.keys()) {
    if (kept.size <= MOST_KEPT) break;
    kept.delete(oldest);
  }
  return asked;
}
