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

/** What came of a run's settings. */
export interface Outcome {
  coverage: number;
  noise: number;
  components: number;
  loops: number;
}

const OUTCOMES = new WeakMap<Source, Map<string, Outcome>>();

export async function outcomeOfRun(
  source: Source,
  run: string,
  label: string | null,
): Promise<Outcome> {
  let known = OUTCOMES.get(source);
  if (!known) OUTCOMES.set(source, (known = new Map()));
  const found = known.get(run);
  if (found) return found;
  const { meta } = await graphOfRun(source, run, label);
  const outcome = {
    coverage: meta.coverage,
    noise: meta.noise,
    components: meta.n_components,
    loops: meta.n_loops,
  };
  known.set(run, outcome);
  return outcome;
}
