/** Where the page gets its data: a server, or the file it came in (offline.ts). */

import { decodeTable, type Table } from './table';
import type {
  Comparison,
  Flows,
  Found,
  FoundKind,
  GraphData,
  GraphMeta,
  Job,
  Knee,
  Members,
  Note,
  Projection,
  ProjectionInfo,
  RowPage,
  RowQuery,
  SelectionSummary,
  Separation,
  Session,
  Settings,
} from './types';

/** Everything the page asks for; docs/explorer-api.md says what each answer holds. */
export interface Source {
  session(): Promise<Session>;
  graph(run: string, label?: string | null): Promise<GraphData>;
  values(run: string, what: ValueQuery, label?: string | null): Promise<Float32Array>;
  suggest(run: string, text: string, label?: string | null): Promise<Found[]>;
  members(run: string, kind: FoundKind, id: number, label?: string | null): Promise<Members>;
  selection(run: string, nodes: number[], label?: string | null): Promise<SelectionSummary>;
  rows(run: string, query: RowQuery): Promise<RowPage>;
  rowsCsv(run: string, query: RowQuery): Promise<Blob>;
  rowIds(run: string, nodes: number[]): Promise<Int32Array>;
  rowNodes(run: string, rows: number[]): Promise<{ nodes: Int32Array; count: Int32Array }>;
  compare(run: string, a: number[], b: number[], label?: string | null): Promise<Comparison>;
  /** Addresses for <img>; null where there are no pictures. */
  patchUrl(run: string, row: number, side?: number): string | null;
  inputUrl(run: string, row: number, side?: number): string | null;
  averageUrl(run: string, node: number, classId?: number | null, side?: number): string | null;
  projections(run: string): Promise<ProjectionInfo>;
  projection(run: string, method: string, label?: string | null): Promise<Projection>;
  projectSelection(run: string, nodes: number[], label?: string | null): Promise<Projection>;
  flows(from: string, to: string, nodes: number[] | null): Promise<Flows>;
  separation(store: string, classes: [number, number], label?: string | null): Promise<Separation>;
  knee(run: string): Promise<Knee>;
  recompute(run: string, settings: Partial<Settings>): Promise<string>;
  job(job: string): Promise<Job>;
  cancel(job: string): Promise<void>;
  save(run: string, name: string): Promise<void>;
  forget(run: string): Promise<void>;
  notes(run: string): Promise<Note[]>;
  saveNotes(run: string, notes: Note[]): Promise<void>;
}

export type ValueQuery =
  { kind: 'share' | 'lift'; class: number } | { kind: 'column'; column: string };

/** What the server said was wrong, or that it could not be reached. */
export class SourceError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
    this.name = 'SourceError';
  }
}

export class HttpSource implements Source {
  constructor(private readonly base = 'api/') {}

  session(): Promise<Session> {
    return this.json('session');
  }

  async graph(run: string, label?: string | null): Promise<GraphData> {
    return graphOf(await this.table<GraphMeta>(`runs/${run}/graph${query({ label })}`));
  }

  async values(run: string, what: ValueQuery, label?: string | null): Promise<Float32Array> {
    const { arrays } = await this.table(`runs/${run}/values${query({ ...what, label })}`);
    return arrays.values as Float32Array;
  }

  async suggest(run: string, text: string, label?: string | null): Promise<Found[]> {
    const path = `runs/${run}/suggest${query({ q: text, limit: 20, label })}`;
    return (await this.json<{ found: Found[] }>(path)).found;
  }

  async members(run: string, kind: FoundKind, id: number, label?: string | null): Promise<Members> {
    const path = `runs/${run}/members${query({ kind, id, label })}`;
    return membersOf(await this.table<{ label: string; rows: number }>(path));
  }

  selection(run: string, nodes: number[], label?: string | null): Promise<SelectionSummary> {
    return this.json(`runs/${run}/selection`, { nodes, label: label ?? undefined });
  }

  rows(run: string, rowQuery: RowQuery): Promise<RowPage> {
    return this.json(`runs/${run}/rows`, rowQuery);
  }

  async rowsCsv(run: string, rowQuery: RowQuery): Promise<Blob> {
    const { nodes, sort, descending, filter } = rowQuery;
    const body = { nodes, sort, descending, filter };
    return (await this.fetch(`runs/${run}/rows.csv`, 'POST', body)).blob();
  }

  async rowIds(run: string, nodes: number[]): Promise<Int32Array> {
    return (await this.table(`runs/${run}/row-ids`, { nodes })).arrays.rows as Int32Array;
  }

  async rowNodes(run: string, rows: number[]): Promise<{ nodes: Int32Array; count: Int32Array }> {
    const { arrays } = await this.table(`runs/${run}/row-nodes`, { rows });
    return { nodes: arrays.nodes as Int32Array, count: arrays.count as Int32Array };
  }

  compare(run: string, a: number[], b: number[], label?: string | null): Promise<Comparison> {
    return this.json(`runs/${run}/compare`, { a, b, label: label ?? undefined });
  }

  patchUrl(run: string, row: number, side = 96): string {
    return `${this.base}runs/${run}/patch/${row}?side=${side}`;
  }

  inputUrl(run: string, row: number, side = 512): string {
    return `${this.base}runs/${run}/input/${row}?side=${side}`;
  }

  averageUrl(run: string, node: number, classId?: number | null, side = 96): string {
    return `${this.base}runs/${run}/average/${node}${query({ class: classId, side })}`;
  }

  projections(run: string): Promise<ProjectionInfo> {
    return this.json(`runs/${run}/projections`);
  }

  async projection(run: string, method: string, label?: string | null): Promise<Projection> {
    const path = `runs/${run}/projection${query({ method, limit: 1_000_000, label })}`;
    return projectionOf(await this.table(path));
  }

  async projectSelection(run: string, nodes: number[], label?: string | null): Promise<Projection> {
    const body = { nodes, label: label ?? undefined };
    return projectionOf(await this.table(`runs/${run}/project-selection`, body));
  }

  flows(from: string, to: string, nodes: number[] | null): Promise<Flows> {
    return this.json('flows', { from, to, nodes, limit: 200 });
  }

  separation(store: string, classes: [number, number], label?: string | null): Promise<Separation> {
    return this.json('separation', { store, classes, label: label ?? undefined });
  }

  knee(run: string): Promise<Knee> {
    return this.json(`runs/${run}/knee`);
  }

  async recompute(run: string, settings: Partial<Settings>): Promise<string> {
    return (await this.json<{ job: string }>(`runs/${run}/recompute`, settings)).job;
  }

  job(job: string): Promise<Job> {
    return this.json(`jobs/${job}`);
  }

  async cancel(job: string): Promise<void> {
    await this.fetch(`jobs/${job}`, 'DELETE');
  }

  async save(run: string, name: string): Promise<void> {
    await this.fetch(`runs/${run}/save`, 'POST', { name });
  }

  async forget(run: string): Promise<void> {
    await this.fetch(`runs/${run}`, 'DELETE');
  }

  async notes(run: string): Promise<Note[]> {
    const { notes, stale } = await this.json<{ notes: Note[]; stale?: boolean }>(
      `runs/${run}/notes`,
    );
    return stale ? notes.map((note) => ({ ...note, stale })) : notes;
  }

  async saveNotes(run: string, notes: Note[]): Promise<void> {
    const plain = notes.map(({ nodes, text, when }) => ({ nodes, text, when }));
    await this.fetch(`runs/${run}/notes`, 'PUT', { notes: plain });
  }

  private async json<T>(path: string, body?: unknown): Promise<T> {
    const answer = await this.fetch(path, body === undefined ? 'GET' : 'POST', body);
    return (await answer.json()) as T;
  }

  private async table<Meta>(path: string, body?: unknown): Promise<Table<Meta>> {
    const answer = await this.fetch(path, body === undefined ? 'GET' : 'POST', body);
    return decodeTable<Meta>(await answer.arrayBuffer());
  }

  private async fetch(path: string, method: string, body?: unknown): Promise<Response> {
    const request: RequestInit = { method };
    if (body !== undefined) {
      request.body = JSON.stringify(body);
      request.headers = { 'Content-Type': 'application/json' };
    }
    let answer: Response;
    try {
      answer = await fetch(this.base + path, request);
    } catch {
      throw new SourceError('The server does not answer; is topoact explore still running?', 0);
    }
    if (!answer.ok) throw new SourceError(await reasonOf(answer), answer.status);
    return answer;
  }
}

/** Graph arrays by the names the page uses. */
export function graphOf({ meta, arrays, shapes }: Table<GraphMeta>): GraphData {
  const ints = (name: string) => need(arrays[name], name) as Int32Array;
  const floats = (name: string) => need(arrays[name], name) as Float32Array;
  return {
    meta,
    n: ints('size').length,
    nEdges: floats('jaccard').length,
    nLens: shapes.lens?.[1] ?? 1,
    size: ints('size'),
    interval: ints('interval'),
    component: ints('component'),
    degree: ints('degree'),
    lens: floats('lens'),
    lensStd: floats('lens_std'),
    lensMin: floats('lens_min'),
    lensMax: floats('lens_max'),
    purity: floats('purity'),
    entropy: floats('entropy'),
    errorRate: floats('error_rate'),
    confidence: floats('confidence'),
    topClass: ints('top_class'),
    topShare: floats('top_share'),
    topLift: floats('top_lift'),
    topP: floats('top_p'),
    liftClass: ints('lift_class'),
    liftShare: floats('lift_share'),
    liftLift: floats('lift_lift'),
    liftP: floats('lift_p'),
    edge: ints('edge'),
    jaccard: floats('jaccard'),
    exemplar: need(arrays.exemplar, 'exemplar') as Float64Array,
  };
}

export function membersOf({ meta, arrays }: Table<{ label: string; rows: number }>): Members {
  return {
    label: meta.label,
    rows: meta.rows,
    nodes: arrays.nodes as Int32Array,
    count: arrays.count as Int32Array,
    share: arrays.share as Float32Array,
  };
}

export function projectionOf({ arrays }: Table<unknown>): Projection {
  return {
    rows: arrays.rows as Int32Array,
    xy: arrays.xy as Float32Array,
    class: arrays.class as Int32Array,
    lens: arrays.lens as Float32Array,
    node: arrays.node as Int32Array,
  };
}

function need<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`The graph lacks ${name}; load the page again.`);
  return value;
}

/** A query string without what is null or undefined. */
export function query(parameters: Record<string, string | number | null | undefined>): string {
  const given = Object.entries(parameters).filter(([, value]) => value != null);
  if (!given.length) return '';
  return `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

async function reasonOf(answer: Response): Promise<string> {
  try {
    const { error } = (await answer.json()) as { error?: unknown };
    if (typeof error === 'string') return error;
  } catch {
    // not JSON: the status has to do
  }
  return `The server answered ${answer.status}.`;
}
