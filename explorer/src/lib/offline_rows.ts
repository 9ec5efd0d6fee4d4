/** The rows of a run in an exported file: memberships, columns, and tables of them. */

import { tally } from './statistics';
import type { Column, Table } from './table';
import type { Cell, RowPage, RowQuery } from './types';

export interface RowsMeta {
  label: string | null;
  labels: string[];
  lens: { name: string; column: number }[];
  histograms: { name: string; edges: number[]; all: number[] }[];
  columns: { name: string; dtype: string }[];
  names: Record<string, string[]>;
  input_names: string[] | null;
  words: string | null;
}

export interface Classes {
  codes: Int32Array;
  names: string[];
  /** Rows of each class. */
  base: Int32Array;
}

/** Values of a column of the table of rows, and what codes stand for. */
interface Shown {
  at: (row: number) => number;
  names: string[] | null;
  float: boolean;
}

export class RunRows {
  readonly meta: RowsMeta;
  readonly indptr: Int32Array;
  readonly members: Int32Array;
  readonly nRows: number;
  readonly nNodes: number;
  private readonly arrays: Record<string, Column>;
  private readonly nLens: number;
  private readonly classes = new Map<string, Classes>();
  private inverse: { indptr: Int32Array; nodes: Int32Array } | null = null;

  constructor(table: Table<RowsMeta>) {
    this.meta = table.meta;
    this.arrays = table.arrays;
    this.indptr = table.arrays.indptr as Int32Array;
    this.members = table.arrays.rows as Int32Array;
    [this.nRows, this.nLens] = table.shapes.lens;
    this.nNodes = this.indptr.length - 1;
  }

  column(name: string): Column | null {
    return this.arrays[`column:${name}`] ?? null;
  }

  lens(column: number, row: number): number {
    return this.arrays.lens[row * this.nLens + column];
  }

  predictions(label: string | null): Column | null {
    return this.arrays[`predictions:${label}`] ?? null;
  }

  /** Codes of a column of categories; what has no name is told by its number. */
  classesBy(label: string): Classes {
    let found = this.classes.get(label);
    if (!found) {
      found = this.makeClasses(label);
      this.classes.set(label, found);
    }
    return found;
  }

  private makeClasses(label: string): Classes {
    const values = this.column(label);
    if (!values) throw new Error(`There is no column ${label} in this file.`);
    let names = this.meta.names[label];
    const codes = new Int32Array(this.nRows);
    if (names) {
      for (let row = 0; row < this.nRows; row += 1)
        codes[row] = values[row] >= 0 && values[row] < names.length ? values[row] : -1;
    } else {
      const kinds = [...new Set(values as Iterable<number>)].sort((a, b) => a - b);
      const known = kinds.filter((value) => value >= 0);
      const place = new Map(known.map((value, at) => [value, at]));
      for (let row = 0; row < this.nRows; row += 1) codes[row] = place.get(values[row]) ?? -1;
      names = known.map(String);
    }
    return { codes, names, base: tally(codes, names.length) };
  }

  /** The rows of some nodes together, ascending. */
  rowsOf(nodes: ArrayLike<number>): Int32Array {
    const held = new Uint8Array(this.nRows);
    let n = 0;
    for (let at = 0; at < nodes.length; at += 1)
      for (let i = this.indptr[nodes[at]]; i < this.indptr[nodes[at] + 1]; i += 1) {
        n += 1 - held[this.members[i]];
        held[this.members[i]] = 1;
      }
    const rows = new Int32Array(n);
    let next = 0;
    for (let row = 0; row < this.nRows; row += 1) if (held[row]) rows[next++] = row;
    return rows;
  }

  /** The nodes that hold any of some rows, and how many each holds. */
  nodesOf(wanted: (row: number) => boolean): { nodes: Int32Array; count: Int32Array } {
    const nodes: number[] = [];
    const counts: number[] = [];
    for (let node = 0; node < this.nNodes; node += 1) {
      let count = 0;
      for (let i = this.indptr[node]; i < this.indptr[node + 1]; i += 1)
        if (wanted(this.members[i])) count += 1;
      if (count) {
        nodes.push(node);
        counts.push(count);
      }
    }
    return { nodes: Int32Array.from(nodes), count: Int32Array.from(counts) };
  }

  size(node: number): number {
    return this.indptr[node + 1] - this.indptr[node];
  }

  /** The nodes of each row: `nodes[indptr[row]]` to `nodes[indptr[row + 1] - 1]`, ascending. */
  get byRow(): { indptr: Int32Array; nodes: Int32Array } {
    if (this.inverse) return this.inverse;
    const indptr = new Int32Array(this.nRows + 1);
    for (const row of this.members) indptr[row + 1] += 1;
    for (let row = 0; row < this.nRows; row += 1) indptr[row + 1] += indptr[row];
    const next = indptr.slice();
    const nodes = new Int32Array(this.members.length);
    for (let node = 0; node < this.nNodes; node += 1)
      for (let i = this.indptr[node]; i < this.indptr[node + 1]; i += 1)
        nodes[next[this.members[i]]++] = node;
    this.inverse = { indptr, nodes };
    return this.inverse;
  }

  /** One page of the rows of some nodes. */
  page(query: RowQuery): RowPage {
    const columns = this.shown();
    const rows = this.rowsOf(query.nodes);
    const kept = sorted(filtered(rows, columns, query), columns, query);
    const part = kept.slice(query.offset, query.offset + query.limit);
    return {
      total: rows.length,
      matching: kept.length,
      columns: [...columns.keys()],
      rows: part.map((row) => [...columns.values()].map((column) => cell(column, row))),
    };
  }

  /** All rows that `page` would page through, as CSV. */
  csv(query: RowQuery): string {
    const columns = this.shown();
    const kept = sorted(filtered(this.rowsOf(query.nodes), columns, query), columns, query);
    const lines = [[...columns.keys()].map(quoted).join(',')];
    for (const row of kept) {
      const values = [...columns.values()].map((column) => quoted(asText(column, row)));
      lines.push(values.join(','));
    }
    return `${lines.join('\n')}\n`;
  }

  /** `row`, the input's name, the lens, then the row columns. */
  private shown(): Map<string, Shown> {
    const { meta } = this;
    const found = new Map<string, Shown>();
    found.set('row', { at: (row) => row, names: null, float: false });
    const inputs = this.column('input');
    if (inputs && meta.input_names)
      found.set('name', { at: (row) => inputs[row], names: meta.input_names, float: false });
    for (const { name, column } of meta.lens)
      if (!found.has(name) && !(this.nRows && Number.isNaN(this.lens(column, 0))))
        found.set(name, { at: (row) => this.lens(column, row), names: null, float: true });
    for (const { name, dtype } of meta.columns) {
      const values = this.column(name);
      if (!values || found.has(name)) continue;
      const names = meta.names[name] ?? null;
      found.set(name, { at: (row) => values[row], names, float: dtype.startsWith('float') });
    }
    return found;
  }
}

function filtered(rows: Int32Array, columns: Map<string, Shown>, query: RowQuery): number[] {
  let kept = Array.from(rows);
  for (const [name, condition] of Object.entries(query.filter)) {
    const column = columns.get(name);
    if (!column) throw new Error(`There is no column ${name}.`);
    if ('text' in condition) {
      const text = condition.text.toLowerCase();
      kept = kept.filter((row) => asText(column, row).toLowerCase().includes(text));
    } else {
      const { min = -Infinity, max = Infinity } = condition;
      kept = kept.filter((row) => column.at(row) >= min && column.at(row) <= max);
    }
  }
  return kept;
}

/** Rows by a column, of equal values the lowest row first; what is unknown comes last. */
function sorted(rows: number[], columns: Map<string, Shown>, query: RowQuery): number[] {
  if (query.sort === null) return rows;
  const column = columns.get(query.sort);
  if (!column) throw new Error(`There is no column ${query.sort}.`);
  const ranks = column.names ? alphabet(column.names) : null;
  const key = (row: number) => {
    const value = column.at(row);
    return ranks ? (ranks[value] ?? NaN) : value;
  };
  const sign = query.descending ? -1 : 1;
  const keyed = rows.map((row) => [row, sign * key(row)] as const);
  keyed.sort(([a, x], [b, y]) => {
    const unknown = Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    if (unknown || Number.isNaN(x)) return unknown || a - b;
    return x - y || a - b;
  });
  return keyed.map(([row]) => row);
}

/** Place of each name in the alphabet. */
function alphabet(names: string[]): number[] {
  const folded = names.map((name) => name.toLowerCase());
  const order = names.map((_, at) => at);
  order.sort((a, b) => (folded[a] < folded[b] ? -1 : folded[a] > folded[b] ? 1 : a - b));
  const rank = new Array<number>(names.length);
  order.forEach((name, place) => (rank[name] = place));
  return rank;
}

function cell(column: Shown, row: number): Cell {
  const value = column.at(row);
  if (column.names) return column.names[value] ?? null;
  return Number.isFinite(value) ? value : null;
}

function asText(column: Shown, row: number): string {
  const value = column.at(row);
  if (column.names) return column.names[value] ?? '';
  return column.float ? floatText(value) : String(value);
}

/** A float as Python writes it, so that both sources find and save the same. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [digits, exponent] = value.toExponential().split('e');
  const power = Number(exponent);
  if (power < -4 || power >= 16)
    return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  if (power < 0) {
    const sign = value < 0 ? '-' : '';
    return `${sign}0.${'0'.repeat(-power - 1)}${digits.replace(/[-.]/g, '')}`;
  }
  return Number.isInteger(value) ? `${BigInt(value)}.0` : String(value);
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
