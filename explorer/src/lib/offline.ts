/** The page without a server: answers from the data in the file it came in. */

import { SIGNIFICANT } from './bars';
import type { Bundle } from './bundle';
import { RunRows, type Classes, type RowsMeta } from './offline_rows';
import { graphOf, SourceError, type Source, type ValueQuery } from './source';
import { corrected, countTable, upperTail } from './statistics';
import type { Column } from './table';
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
  RowView,
  SelectionSummary,
  Separation,
  Session,
} from './types';

const MOST_CLASSES = 50;
const MOST_LIFTED = 20;
const MOST_COMPARED = 30;
const MOST_FLOWS = 200;
const MOST_INSIDE = 1_000;
const KINDS: FoundKind[] = ['class', 'input', 'word'];

interface NodeDetails {
  mean_activation: number | null;
  top_columns: SelectionSummary['top_columns'];
  exemplars: number[];
  per_class: { id: number; rows: number[] }[];
}

interface Details {
  nodes: NodeDetails[];
  views: Record<string, RowView>;
}

interface Pictures {
  data: Uint8Array;
  start: Column;
  kind: Uint8Array;
  of: Record<'patch' | 'average' | 'input', Map<number, number>>;
  urls: Map<number, string>;
}

interface Kept {
  rows: RunRows;
  details: Details;
  pictures: Pictures | null;
}

export class OfflineSource implements Source {
  private readonly runs = new Map<string, Promise<Kept>>();
  /** Runs that are there already, for addresses of pictures, which cannot wait. */
  private readonly ready = new Map<string, Kept>();
  private readonly indices = new Map<string, Index | null>();

  constructor(private readonly bundle: Bundle) {}

  async session(): Promise<Session> {
    return this.bundle.manifest.session;
  }

  async graph(run: string, label?: string | null): Promise<GraphData> {
    const { rows } = await this.kept(run);
    const own = labelOf(rows, label);
    const graph = graphOf(await this.bundle.table<GraphMeta>(`graph:${run}:${own ?? ''}`));
    const { labels } = rows.meta;
    const columns = graph.meta.columns.filter(
      ({ kind, name }) => kind === 'number' || labels.includes(name),
    );
    // the server had the rows; the file has not
    return { ...graph, meta: { ...graph.meta, columns, has_activations: false } };
  }

  async values(run: string, what: ValueQuery, label?: string | null): Promise<Float32Array> {
    const { rows } = await this.kept(run);
    if (what.kind === 'column') return columnMeans(rows, what.column);
    const { codes, base } = classesOf(rows, label);
    const rate = base[what.class] / Math.max(sum(base), 1);
    return Float32Array.from({ length: rows.nNodes }, (_, node) => {
      let known = 0;
      let count = 0;
      for (let i = rows.indptr[node]; i < rows.indptr[node + 1]; i += 1) {
        const code = codes[rows.members[i]];
        known += Number(code >= 0);
        count += Number(code === what.class);
      }
      return what.kind === 'share' ? count / known : count / known / rate;
    });
  }

  async suggest(run: string, text: string, label?: string | null): Promise<Found[]> {
    const { rows } = await this.kept(run);
    const wanted = folded(text);
    const found: Found[] = [];
    for (const inside of wanted ? [false, true] : [false])
      for (const kind of KINDS) {
        const index = this.index(run, rows, kind, label);
        if (!index) continue;
        const ids = inside ? index.containing(wanted) : index.prefixed(wanted);
        ids.sort((a, b) => index.rows[b] - index.rows[a] || a - b);
        for (const id of ids)
          found.push({ kind, id, label: index.labels[id], rows: index.rows[id] });
      }
    return found.slice(0, 20);
  }

  async members(run: string, kind: FoundKind, id: number, label?: string | null): Promise<Members> {
    const { rows } = await this.kept(run);
    const coded = codesOf(rows, kind, label);
    if (!coded || !(id >= 0 && id < coded.names.length))
      throw new SourceError('What the address marks is not in this file.', 422);
    const { nodes, count } = rows.nodesOf((row) => coded.codes[row] === id);
    const share = Float32Array.from(nodes, (node, at) => count[at] / rows.size(node));
    return { label: coded.names[id], rows: coded.base[id], nodes, count, share };
  }

  async selection(run: string, nodes: number[], label?: string | null): Promise<SelectionSummary> {
    const kept = await this.kept(run);
    const { rows } = kept;
    const own = labelOf(rows, label);
    const held = rows.rowsOf(nodes);
    const classes = own === null ? null : rows.classesBy(own);
    const { table, known } = classes
      ? countTable(held, classes.codes, classes.base)
      : { table: [], known: 0 };
    const shares = table.map(({ share }) => share);
    return {
      n_nodes: nodes.length,
      n_rows: held.length,
      share: held.length / Math.max(rows.nRows, 1),
      lens: histograms(rows, held),
      classes: listedClasses(table).map((each) => ({
        ...each,
        name: classes?.names[each.id] ?? '',
      })),
      n_classes: table.length,
      purity: known ? Math.max(...shares) : null,
      entropy: known ? shares.reduce((bits, share) => bits - share * Math.log2(share), 0) : null,
      error_rate: classes ? errorRate(held, classes.codes, rows.predictions(own)) : null,
      confidence: meanOf(held, rows.column('confidence')),
      ...typicalOf(kept, nodes, own, table),
      words: wordsOf(rows, held),
    };
  }

  async rows(run: string, query: RowQuery): Promise<RowPage> {
    return (await this.kept(run)).rows.page(query);
  }

  async rowsCsv(run: string, query: RowQuery): Promise<Blob> {
    return new Blob([(await this.kept(run)).rows.csv(query)], { type: 'text/csv' });
  }

  async rowIds(run: string, nodes: number[]): Promise<Int32Array> {
    return (await this.kept(run)).rows.rowsOf(nodes);
  }

  async rowNodes(run: string, wanted: number[]): Promise<{ nodes: Int32Array; count: Int32Array }> {
    const chosen = new Set(wanted);
    return (await this.kept(run)).rows.nodesOf((row) => chosen.has(row));
  }

  async compare(run: string, a: number[], b: number[], label?: string | null): Promise<Comparison> {
    const { rows } = await this.kept(run);
    const [inA, inB] = [rows.rowsOf(a), rows.rowsOf(b)];
    const [setA, setB] = [new Set(inA), new Set(inB)];
    const onlyA = inA.filter((row) => !setB.has(row));
    const onlyB = inB.filter((row) => !setA.has(row));
    const own = labelOf(rows, label);
    return {
      n_a: onlyA.length,
      n_b: onlyB.length,
      n_both: inA.length - onlyA.length,
      classes: own === null ? [] : comparedClasses(rows.classesBy(own), onlyA, onlyB),
      columns: [],
    };
  }

  patchUrl(run: string, row: number): string | null {
    return this.picture(run, 'patch', row);
  }

  inputUrl(run: string, row: number): string | null {
    const input = this.ready.get(run)?.details.views[row]?.input ?? null;
    return input === null ? null : this.picture(run, 'input', input);
  }

  averageUrl(run: string, node: number, classId?: number | null): string | null {
    return classId === null || classId === undefined ? this.picture(run, 'average', node) : null;
  }

  async projections(run: string): Promise<ProjectionInfo> {
    const { rows } = await this.kept(run);
    const start = `projection:${run}:`;
    const names = Object.keys(this.bundle.manifest.blocks).filter((name) => name.startsWith(start));
    const methods = names.map(async (name) => {
      const { meta } = await this.bundle.table<{ explained: number[] }>(name);
      return { name: name.slice(start.length), ready: true, explained: meta.explained };
    });
    return { methods: await Promise.all(methods), n_rows: rows.nRows };
  }

  async projection(run: string, method: string, label?: string | null): Promise<Projection> {
    const name = `projection:${run}:${method}`;
    if (!this.bundle.has(name)) throw notHere(`the projection ${method}`);
    const { rows } = await this.kept(run);
    const { arrays } = await this.bundle.table(name);
    const own = labelOf(rows, label);
    const codes = own === null ? null : rows.classesBy(own).codes;
    const shown = arrays.rows as Int32Array;
    return {
      rows: shown,
      xy: arrays.xy as Float32Array,
      class: Int32Array.from(shown, (row) => codes?.[row] ?? -1),
      lens: arrays.lens as Float32Array,
      node: arrays.node as Int32Array,
    };
  }

  projectSelection(): Promise<Projection> {
    return refuse('the activations, of which the projection of a selection is made');
  }

  async flows(from: string, to: string, nodes: number[] | null): Promise<Flows> {
    const [first, second] = await Promise.all([this.kept(from), this.kept(to)]);
    const chosen = nodes
      ? [...new Set(nodes)].sort((a, b) => a - b)
      : Array.from({ length: first.rows.nNodes }, (_, node) => node);
    return countFlows(first.rows, second.rows, await this.pairs(from, to), chosen);
  }

  async separation(
    store: string,
    classes: [number, number],
    label?: string | null,
  ): Promise<Separation> {
    const { session } = this.bundle.manifest;
    const order = session.stores.find(({ id }) => id === store)?.layers.map(({ name }) => name);
    const layerOf = (run: { layer: string | null }) => order?.indexOf(run.layer ?? '') ?? -1;
    const runs = session.runs
      .filter((run) => run.store === store && layerOf(run) >= 0)
      .sort((a, b) => layerOf(a) - layerOf(b));
    const layers: Separation['layers'] = [];
    let wanted: string[] | null = null;
    for (const { id, layer } of runs) {
      const { rows } = await this.kept(id);
      const own = label ?? rows.meta.label;
      if (own === null || !rows.meta.labels.includes(own)) continue;
      const { codes, names } = rows.classesBy(own);
      wanted ??= classes.map((each) => names[each]);
      const [a, b] = wanted.map((name) => names.indexOf(name));
      layers.push({ layer: layer ?? '', run: id, overlap: overlapOf(rows, codes, a, b) });
    }
    return { layers };
  }

  knee(): Promise<Knee> {
    return refuse('the activations, of which eps is found');
  }

  recompute(): Promise<string> {
    return refuse('what computes a run anew');
  }

  job(): Promise<Job> {
    return refuse('what computes a run anew');
  }

  cancel(): Promise<void> {
    return refuse('what computes a run anew');
  }

  save(): Promise<void> {
    return refuse('what saves a run');
  }

  forget(): Promise<void> {
    return refuse('what forgets a run');
  }

  async notes(run: string): Promise<Note[]> {
    return this.bundle.manifest.notes[run] ?? [];
  }

  saveNotes(): Promise<void> {
    return refuse('a place for new notes');
  }

  private kept(run: string): Promise<Kept> {
    let found = this.runs.get(run);
    if (!found) {
      found = this.load(run);
      this.runs.set(run, found);
    }
    return found;
  }

  private async load(run: string): Promise<Kept> {
    if (!this.bundle.has(`rows:${run}`)) throw notHere('this run');
    const [rows, details] = await Promise.all([
      this.bundle.table<RowsMeta>(`rows:${run}`),
      this.bundle.table<Details>(`details:${run}`),
    ]);
    const pictures = this.bundle.has(`images:${run}`)
      ? picturesOf((await this.bundle.table(`images:${run}`)).arrays)
      : null;
    const found = { rows: new RunRows(rows), details: details.meta, pictures };
    this.ready.set(run, found);
    return found;
  }

  private picture(run: string, kind: keyof Pictures['of'], id: number): string | null {
    const pictures = this.ready.get(run)?.pictures;
    const number = pictures?.of[kind].get(id);
    if (!pictures || number === undefined) return null;
    let url = pictures.urls.get(number);
    if (url === undefined) {
      const bytes = pictures.data.slice(pictures.start[number], pictures.start[number + 1]);
      const type = pictures.kind[number] ? 'image/png' : 'image/jpeg';
      url = URL.createObjectURL(new Blob([bytes], { type }));
      pictures.urls.set(number, url);
    }
    return url;
  }

  private async pairs(from: string, to: string): Promise<Pairs> {
    if (from === to) return null;
    const name = `pairs:${from}:${to}`;
    if (!this.bundle.has(name)) throw notHere('how the rows of these runs belong together');
    const { meta, arrays } = await this.bundle.table<{ same?: boolean; error?: string }>(name);
    if (meta.error !== undefined) throw new SourceError(meta.error, 409);
    return meta.same ? null : { first: arrays.first, second: arrays.second };
  }

  private index(run: string, rows: RunRows, kind: FoundKind, label?: string | null): Index | null {
    const key = `${run} ${kind} ${kind === 'class' ? (label ?? '') : ''}`;
    let found = this.indices.get(key);
    if (found === undefined) {
      const coded = codesOf(rows, kind, label);
      found = coded ? new Index(coded.names, coded.base) : null;
      this.indices.set(key, found);
    }
    return found;
  }
}

function notHere(what: string): SourceError {
  return new SourceError(`This file does not hold ${what}; start topoact explore RUN.`, 404);
}

function refuse<T>(what: string): Promise<T> {
  return Promise.reject(notHere(what));
}

function labelOf(rows: RunRows, label?: string | null): string | null {
  if (label === null || label === undefined) return rows.meta.label;
  if (!rows.meta.labels.includes(label)) throw notHere(`classes by ${label}`);
  return label;
}

function classesOf(rows: RunRows, label?: string | null): Classes {
  const own = labelOf(rows, label);
  if (own === null) throw notHere('classes');
  return rows.classesBy(own);
}

/** Codes of the rows by what can be searched for; null where the run has no such thing. */
function codesOf(rows: RunRows, kind: FoundKind, label?: string | null): Classes | null {
  const { words, input_names: names } = rows.meta;
  if (kind === 'class') return labelOf(rows, label) === null ? null : classesOf(rows, label);
  if (kind === 'word') return words === null ? null : rows.classesBy(words);
  const inputs = rows.column('input');
  if (!inputs || !names) return null;
  const codes = Int32Array.from(inputs, (code) => (code < names.length ? code : -1));
  const base = new Int32Array(names.length);
  for (const code of codes) if (code >= 0) base[code] += 1;
  return { codes, names, base };
}

/** Texts without regard to case and spaces, in the order of the alphabet. */
class Index {
  private readonly keys: [string, number][];

  constructor(
    readonly labels: string[],
    readonly rows: Int32Array,
  ) {
    this.keys = labels
      .flatMap((label, id): [string, number][] => (rows[id] > 0 ? [[folded(label), id]] : []))
      .sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1]));
  }

  prefixed(text: string): number[] {
    return this.keys.filter(([key]) => key.startsWith(text)).map(([, id]) => id);
  }

  containing(text: string): number[] {
    return this.keys
      .filter(([key]) => key.includes(text) && !key.startsWith(text))
      .slice(0, MOST_INSIDE)
      .map(([, id]) => id);
  }
}

function folded(text: string): string {
  return text.toLowerCase().trim().split(/\s+/).join(' ');
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let at = 0; at < values.length; at += 1) total += values[at];
  return total;
}

function columnMeans(rows: RunRows, name: string): Float32Array {
  const values = rows.column(name);
  if (!values) throw notHere(`the column ${name}`);
  return Float32Array.from({ length: rows.nNodes }, (_, node) => {
    let total = 0;
    let count = 0;
    for (let i = rows.indptr[node]; i < rows.indptr[node + 1]; i += 1) {
      const value = values[rows.members[i]];
      if (!Number.isFinite(value)) continue;
      total += value;
      count += 1;
    }
    return total / count;
  });
}

function histograms(rows: RunRows, held: Int32Array): SelectionSummary['lens'] {
  return rows.meta.histograms.map(({ name, edges, all }) => {
    const { column } = rows.meta.lens.find((lens) => lens.name === name) ?? { column: 0 };
    const counts = new Array<number>(all.length).fill(0);
    for (const row of held) {
      const bin = binOf(edges, rows.lens(column, row));
      if (bin >= 0) counts[bin] += 1;
    }
    return { name, edges, counts, all };
  });
}

/** The bin of a value, of which the last one holds its upper edge; -1: outside. */
function binOf(edges: number[], value: number): number {
  const last = edges.length - 1;
  if (!(value >= edges[0] && value <= edges[last])) return -1;
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (value >= edges[middle]) low = middle;
    else high = middle;
  }
  return low;
}

/** The most frequent classes, and the significant ones with the largest lift; by share. */
function listedClasses<T extends { id: number; lift: number; p: number }>(table: T[]): T[] {
  const strong = table
    .filter(({ lift, p }) => p < SIGNIFICANT && lift > 1)
    .sort((a, b) => b.lift - a.lift || a.id - b.id)
    .slice(0, MOST_LIFTED);
  return table.filter((each, at) => at < MOST_CLASSES || strong.includes(each));
}

function errorRate(rows: Int32Array, classes: Int32Array, predicted: Column | null): number | null {
  let known = 0;
  let wrong = 0;
  if (!predicted) return null;
  for (const row of rows) {
    if (classes[row] < 0 || predicted[row] < 0) continue;
    known += 1;
    wrong += Number(classes[row] !== predicted[row]);
  }
  return known ? wrong / known : null;
}

function meanOf(rows: Int32Array, values: Column | null): number | null {
  let known = 0;
  let total = 0;
  if (!values) return null;
  for (const row of rows) {
    if (Number.isNaN(values[row])) continue;
    known += 1;
    total += values[row];
  }
  return known ? total / known : null;
}

function wordsOf(rows: RunRows, held: Int32Array): SelectionSummary['words'] {
  if (rows.meta.words === null) return [];
  const { codes, names, base } = rows.classesBy(rows.meta.words);
  const { table } = countTable(held, codes, base);
  return table
    .slice(0, MOST_CLASSES)
    .map(({ id, count, lift }) => ({ word: names[id], count, lift }));
}

type Typical = Pick<
  SelectionSummary,
  'mean_activation' | 'top_columns' | 'exemplars' | 'per_class'
>;

/**
 * What the server works out from activations. Of a single node it is in the file; of several, the
 * exemplars are those of the nodes in turn, and what is a mean of activations is unknown.
 */
function typicalOf(
  { rows, details }: Kept,
  nodes: number[],
  label: string | null,
  table: { id: number }[],
): Typical {
  const classes = label === null ? null : rows.classesBy(label);
  const view = (row: number): RowView => {
    const name = classes && classes.codes[row] >= 0 ? classes.names[classes.codes[row]] : null;
    return { ...details.views[row], class: name };
  };
  const [only] = nodes.length === 1 ? [details.nodes[nodes[0]]] : [];
  const shown = nodes.map((node) => details.nodes[node].exemplars);
  const exemplars = only ? only.exemplars : distinct(inTurn(shown), details, 12);
  const stored = only && label === rows.meta.label ? only.per_class : null;
  const all = nodes.map((node) => [
    ...details.nodes[node].exemplars,
    ...details.nodes[node].per_class.flatMap((each) => each.rows),
  ]);
  const perClass =
    stored ??
    table.slice(0, 5).map(({ id }) => {
      const own = inTurn(all).filter((row) => classes?.codes[row] === id);
      return { id, rows: distinct(own, details, 5) };
    });
  return {
    mean_activation: only?.mean_activation ?? null,
    top_columns: only?.top_columns ?? [],
    exemplars: exemplars.map(view),
    per_class: perClass
      .filter((each) => each.rows.length > 0)
      .map(({ id, rows: own }) => ({ id, name: classes?.names[id] ?? '', rows: own.map(view) })),
  };
}

/** The first of each list, then the second, and so on. */
function inTurn(lists: number[][]): number[] {
  const most = Math.max(0, ...lists.map(({ length }) => length));
  const found: number[] = [];
  for (let at = 0; at < most; at += 1)
    for (const list of lists) if (at < list.length) found.push(list[at]);
  return found;
}

/** At most `most` rows, each once and no two of one input. */
function distinct(rows: number[], details: Details, most: number): number[] {
  const seen = new Set<string>();
  return rows
    .filter((row) => {
      const { input } = details.views[row];
      const key = input === null ? `row ${row}` : String(input);
      return !seen.has(key) && seen.add(key);
    })
    .slice(0, most);
}

function comparedClasses(
  { codes, names }: Classes,
  a: Int32Array,
  b: Int32Array,
): Comparison['classes'] {
  const counts = new Map<number, [number, number]>();
  const total = [0, 0];
  [a, b].forEach((rows, side) => {
    for (const row of rows) {
      const code = codes[row];
      if (code < 0) continue;
      const found = counts.get(code) ?? [0, 0];
      found[side] += 1;
      total[side] += 1;
      counts.set(code, found);
    }
  });
  const [nA, nB] = total;
  if (!nA || !nB) return [];
  const found = [...counts].sort((x, y) => x[0] - y[0]);
  const chances = corrected(
    found.map(([, [inA, inB]]) => {
      const marked = inA + inB;
      const tails = [upperTail(inA, nA, marked, nA + nB), upperTail(inB, nB, marked, nA + nB)];
      return Math.min(1, 2 * Math.min(...tails));
    }),
  );
  return found
    .map(([id, [inA, inB]], at) => ({
      id,
      name: names[id],
      a: inA / nA,
      b: inB / nB,
      log_odds: Math.log((inA + 0.5) / (nA - inA + 0.5) / ((inB + 0.5) / (nB - inB + 0.5))),
      p: chances[at],
    }))
    .sort((x, y) => x.p - y.p || Math.abs(y.log_odds) - Math.abs(x.log_odds) || x.id - y.id)
    .slice(0, MOST_COMPARED);
}

/** Rows of two runs that are the same, ascending by the first; null: row for row. */
type Pairs = { first: Column; second: Column } | null;

function countFlows(first: RunRows, second: RunRows, pairs: Pairs, nodes: number[]): Flows {
  const rows = first.rowsOf(nodes);
  const { indptr, nodes: nodesOf } = second.byRow;
  const starts = pairs && startsOf(pairs.first, first.nRows);
  const partners = (row: number): ArrayLike<number> =>
    pairs && starts ? (pairs.second.subarray(starts[row], starts[row + 1]) as Column) : [row];
  const counts = new Map<string, { source: number; target: number; count: number }>();
  const add = (source: number, target: number) => {
    const key = `${source} ${target}`;
    const found = counts.get(key) ?? { source, target, count: 0 };
    found.count += 1;
    counts.set(key, found);
  };
  for (const source of nodes)
    for (let i = first.indptr[source]; i < first.indptr[source + 1]; i += 1)
      for (const partner of Array.from(partners(first.members[i]))) {
        if (indptr[partner] === indptr[partner + 1]) add(source, -1);
        for (let j = indptr[partner]; j < indptr[partner + 1]; j += 1) add(source, nodesOf[j]);
      }
  const reached = new Int32Array(second.nNodes);
  let matched = 0;
  for (const row of rows) {
    const found = Array.from(partners(row));
    matched += Number(found.length > 0);
    const own = new Set(
      found.flatMap((p) => Array.from(nodesOf.subarray(indptr[p], indptr[p + 1]))),
    );
    for (const node of own) reached[node] += 1;
  }
  const targets = Array.from(reached, (count, node) => ({ node, count, share: count / matched }));
  return {
    n_rows: rows.length,
    n_matched: matched,
    flows: [...counts.values()]
      .sort((a, b) => b.count - a.count || a.source - b.source || a.target - b.target)
      .slice(0, MOST_FLOWS),
    targets: targets
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.count - a.count || a.node - b.node)
      .slice(0, MOST_FLOWS),
  };
}

/** Where the pairs of each row begin, in pairs that ascend. */
function startsOf(first: ArrayLike<number>, n: number): Int32Array {
  const starts = new Int32Array(n + 1);
  for (let at = 0; at < first.length; at += 1) starts[first[at] + 1] += 1;
  for (let row = 0; row < n; row += 1) starts[row + 1] += starts[row];
  return starts;
}

/** Sum over nodes of the smaller share of two classes' memberships; NaN where one has none. */
function overlapOf(rows: RunRows, codes: Int32Array, a: number, b: number): number {
  const counts = [a, b].map((wanted) =>
    Array.from({ length: rows.nNodes }, (_, node) => {
      let count = 0;
      for (let i = rows.indptr[node]; i < rows.indptr[node + 1]; i += 1)
        count += Number(codes[rows.members[i]] === wanted && wanted >= 0);
      return count;
    }),
  );
  const [nA, nB] = counts.map(sum);
  if (!nA || !nB) return NaN;
  return counts[0].reduce(
    (total, count, node) => total + Math.min(count / nA, counts[1][node] / nB),
    0,
  );
}

function picturesOf(arrays: Record<string, Column>): Pictures {
  const mapOf = (name: string) => {
    const numbers = arrays[`${name}_picture`];
    return new Map(Array.from(arrays[`${name}_of`], (id, at) => [id, numbers[at]]));
  };
  return {
    data: arrays.data as Uint8Array,
    start: arrays.start,
    kind: arrays.kind as Uint8Array,
    of: { patch: mapOf('patch'), average: mapOf('average'), input: mapOf('input') },
    urls: new Map(),
  };
}
