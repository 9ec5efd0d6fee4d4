/** What a search found, in groups. */

import type { Found, FoundKind } from './types';

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
