/** The rows of a selection, page by page: what is asked for, and what came. */

import { Asked } from './asked.svelte';
import {
  filterOf,
  learnKinds,
  nextSorting,
  PAGE,
  type ColumnKind,
  type Sorting,
  type Typed,
} from './rowtable';
import type { Source } from './source';
import type { RowPage, RowQuery } from './types';

export class Rows {
  readonly asked = new Asked<RowPage>(true);
  sorting = $state<Sorting>({ sort: null, descending: false });
  typed = $state<Record<string, Typed>>({});
  offset = $state(0);
  kinds = $state.raw<Record<string, ColumnKind>>({});

  private run = '';
  private nodes: number[] = [];

  constructor(private readonly source: Source) {}

  get filtered(): boolean {
    return Object.keys(filterOf(this.typed)).length > 0;
  }

  get query(): RowQuery {
    const { nodes, offset, sorting, typed } = this;
    return { nodes, offset, limit: PAGE, ...sorting, filter: filterOf(typed) };
  }

  /** Show other nodes; filters and order stay, but not in another run, which has other columns. */
  show(run: string, nodes: number[]): void {
    if (run !== this.run) {
      this.sorting = { sort: null, descending: false };
      this.typed = {};
      this.kinds = {};
      this.asked.clear();
    }
    this.run = run;
    this.nodes = nodes;
    this.turn(0);
  }

  sortBy(column: string): void {
    this.sorting = nextSorting(this.sorting, column);
    this.turn(0);
  }

  type(column: string, typed: Typed): void {
    this.typed[column] = { ...this.typed[column], ...typed };
    this.turn(0, 250);
  }

  unfilter(): void {
    this.typed = {};
    this.turn(0);
  }

  turn(offset: number, wait = 60): void {
    this.offset = offset;
    const { run, query } = this;
    void this.asked.ask(async () => {
      const page = await this.source.rows(run, query);
      if (run === this.run) this.kinds = learnKinds(this.kinds, page);
      return page;
    }, wait);
  }

  csv(): Promise<Blob> {
    return this.source.rowsCsv(this.run, this.query);
  }
}
