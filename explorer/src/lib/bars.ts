/** Classes in order, and their bars. */

import type { ClassShare } from './types';

/** A corrected p below this is marked. */
export const SIGNIFICANT = 0.05;

export type ClassOrder = 'share' | 'lift';

/** By share, or by lift with the significant ones first: few rows make high lifts by chance. */
export function orderClasses(classes: ClassShare[], order: ClassOrder): ClassShare[] {
  const ordered = [...classes];
  if (order === 'share') return ordered.sort((a, b) => b.share - a.share || a.id - b.id);
  return ordered.sort(
    (a, b) =>
      Number(b.p < SIGNIFICANT) - Number(a.p < SIGNIFICANT) || b.lift - a.lift || a.id - b.id,
  );
}

/** End of the axis: the largest share or base rate. */
export function axisEnd(classes: { share: number; base: number }[]): number {
  return classes.reduce((most, { share, base }) => Math.max(most, share, base), 0) || 1;
}

/** Length in percent of the axis. */
export function length(value: number, end: number): number {
  return end > 0 ? Math.min(Math.max((100 * value) / end, 0), 100) : 0;
}

export interface Placed {
  left: number;
  width: number;
}

/** A bar from the middle of an axis from -end to end, in percent of its length. */
export function diverging(value: number, end: number): Placed {
  const width = length(Math.abs(value), end) / 2;
  return { left: value < 0 ? 50 - width : 50, width };
}

/** A bar from zero on an axis from low (at most 0) to high, in percent of its length. */
export function fromZero(value: number, low: number, high: number): Placed {
  const whole = high - low;
  if (!(whole > 0)) return { left: 0, width: 0 };
  const left = length(Math.min(value, 0) - low, whole);
  return { left, width: length(Math.max(value, 0) - low, whole) - left };
}

/** Largest absolute finite value, 1 where there is none. */
export function reach(values: number[]): number {
  return (
    values.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0) || 1
  );
}

/** Classes with the least coverage first; of equal ones the larger first; empty ones left out. */
export function worstCovered(
  coverage: number[],
  counts: number[],
): { id: number; coverage: number; rows: number }[] {
  return coverage
    .map((share, id) => ({ id, coverage: share, rows: counts[id] }))
    .filter(({ rows }) => rows > 0)
    .sort((a, b) => a.coverage - b.coverage || b.rows - a.rows || a.id - b.id);
}
