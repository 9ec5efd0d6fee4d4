/** The table of rows: columns, filters and pages. */

import { number } from './format';
import type { Cell, GraphMeta, RowPage, RowQuery } from './types';

export const PAGE = 50;

export type ColumnKind = 'text' | 'number';

/** What was typed above a column. */
export interface Typed {
  text?: string;
  min?: string;
  max?: string;
}

/** Kinds by the cells seen so far: a page without rows must not change what a column is. */
export function learnKinds(
  known: Record<string, ColumnKind>,
  page: RowPage,
): Record<string, ColumnKind> {
  const kinds = { ...known };
  for (const [at, name] of page.columns.entries()) {
    const cell = page.rows.find((row) => row[at] !== null)?.[at];
    if (cell !== undefined) kinds[name] ??= typeof cell === 'number' ? 'number' : 'text';
  }
  return kinds;
}

/** Kind of each column: what its cells are, else what the graph says of it. */
export function columnKinds(
  page: RowPage,
  columns: GraphMeta['columns'],
  known: Record<string, ColumnKind>,
): ColumnKind[] {
  return page.columns.map((name, at) => {
    if (at === 0) return 'number';
    const said = columns.find((column) => column.name === name)?.kind;
    return known[name] ?? (said === 'number' ? 'number' : 'text');
  });
}

/** The filter to send: blanks are no filter, what is no number is none either. */
export function filterOf(typed: Record<string, Typed>): RowQuery['filter'] {
  const filter: RowQuery['filter'] = {};
  for (const [name, { text, min, max }] of Object.entries(typed)) {
    if (text?.trim()) filter[name] = { text: text.trim() };
    const [low, high] = [numberOf(min), numberOf(max)];
    if (low === null && high === null) continue;
    filter[name] = { ...(low !== null && { min: low }), ...(high !== null && { max: high }) };
  }
  return filter;
}

/** A number as typed; null where it is blank or none. */
export function numberOf(typed: string | undefined): number | null {
  const plain = typed?.trim().replaceAll('−', '-') ?? '';
  if (!plain) return null;
  const value = Number(plain);
  return Number.isFinite(value) ? value : null;
}

export interface Paging {
  page: number;
  pages: number;
  first: number;
  last: number;
}

/** Which rows (from 1) the page at `offset` shows of `matching`. */
export function pagingOf(offset: number, matching: number, size = PAGE): Paging {
  const pages = Math.max(1, Math.ceil(matching / size));
  const page = Math.min(Math.floor(offset / size), pages - 1);
  return {
    page,
    pages,
    first: matching ? page * size + 1 : 0,
    last: Math.min((page + 1) * size, matching),
  };
}

export interface Sorting {
  sort: string | null;
  descending: boolean;
}

/** A click on a header: ascending, then descending, then as it was. */
export function nextSorting({ sort, descending }: Sorting, column: string): Sorting {
  if (sort !== column) return { sort: column, descending: false };
  return descending ? { sort: null, descending: false } : { sort: column, descending: true };
}

export function ariaSort({ sort, descending }: Sorting, column: string) {
  if (sort !== column) return 'none';
  return descending ? 'descending' : 'ascending';
}

/** A cell as written; whole numbers are ids as often as counts, so they have no separators. */
export function cellText(cell: Cell): string {
  if (cell === null) return '–';
  if (typeof cell === 'string') return cell;
  return Number.isInteger(cell) ? String(cell) : number(cell);
}
