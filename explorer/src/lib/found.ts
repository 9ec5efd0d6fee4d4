/** What a search found, in groups. */

import type { Feature, Found, FoundKind } from './types';

export const KIND_NAMES: Record<FoundKind, string> = {
  class: 'Classes',
  word: 'Words',
  input: 'Inputs',
};

export interface Group {
  kind: FoundKind;
  name: string;
  found: Found[];
}

/** Groups in a fixed order, each in the order in which it came. */
export function groupFound(found: Found[]): Group[] {
  const kinds: FoundKind[] = ['class', 'word', 'input'];
  return kinds
    .map((kind) => ({
      kind,
      name: KIND_NAMES[kind],
      found: found.filter((one) => one.kind === kind),
    }))
    .filter((group) => group.found.length > 0);
}

/** The option that an arrow key leads to; -1 is the text field itself, and it goes round. */
export function step(active: number, by: 1 | -1, options: number): number {
  if (!options) return -1;
  const next = active + by;
  if (next >= options) return -1;
  return next < -1 ? options - 1 : next;
}

/** Branches, loops and hubs, each kind by rank and counted from 1; kinds stay in their order. */
export function numberKinds(features: Feature[]): { feature: Feature; number: number }[] {
  const kinds = [...new Set(features.map(({ kind }) => kind))];
  return kinds.flatMap((kind) =>
    features
      .filter((feature) => feature.kind === kind)
      .sort((a, b) => a.rank - b.rank)
      .map((feature, at) => ({ feature, number: at + 1 })),
  );
}
