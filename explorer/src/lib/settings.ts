/** Settings of a run: what a form says, what is wrong with it, and how two of them differ. */

import { brief, count as amount } from './format';
import type { RunInfo, Settings } from './types';

export interface Draft {
  lens: string;
  /** The number after the colon of a lens that takes one. */
  lensNumber: string;
  cover: string;
  intervals: string;
  overlap: string;
  epsKind: 'number' | 'knee' | 'knee-per-interval';
  eps: string;
  clusterer: string;
  minSamples: string;
  metric: string;
  minIntersection: string;
}

export type Field = keyof Settings;
export type Errors = Partial<Record<Field, string>>;

/** Lenses that the form offers; `number`: least value after the colon, and its start. */
export const LENSES: { name: string; title: string; number?: { least: number; start: number } }[] =
  [
    { name: 'l2norm', title: 'l2norm – vector length' },
    { name: 'l1norm', title: 'l1norm – sum of absolutes' },
    { name: 'linf', title: 'linf – largest absolute' },
    { name: 'mean', title: 'mean' },
    { name: 'median', title: 'median' },
    { name: 'max', title: 'max' },
    { name: 'std', title: 'std – spread of the values' },
    { name: 'column', title: 'column – one column', number: { least: 0, start: 0 } },
    { name: 'pca', title: 'pca – principal components', number: { least: 1, start: 1 } },
    { name: 'density', title: 'density – k nearest rows', number: { least: 1, start: 15 } },
    { name: 'eccentricity', title: 'eccentricity – mean distance' },
  ];

export const COVERS = ['uniform', 'kepler', 'balanced'];
export const METRICS = ['euclidean', 'cosine'];
/** What the server allows, too. */
const MOST_INTERVALS = 100_000;
const MOST_PER_GRID = 1_000_000;
const MOST_OVERLAP = 0.99;

export function draftOf(settings: Settings): Draft {
  const [lens, number] = parts(settings.lens);
  const known = LENSES.find(({ name }) => name === lens);
  const { eps } = settings;
  return {
    lens: known ? lens : settings.lens,
    lensNumber: number ?? String(known?.number?.start ?? ''),
    cover: settings.cover,
    intervals: settings.intervals.join(', '),
    overlap: settings.overlap.join(', '),
    epsKind: eps === 'knee' || eps === 'knee-per-interval' ? eps : 'number',
    eps: typeof eps === 'number' ? String(eps) : '',
    clusterer: settings.clusterer,
    minSamples: settings.min_samples === null ? '' : String(settings.min_samples),
    metric: settings.metric ?? 'euclidean',
    minIntersection: String(settings.min_intersection),
  };
}

/** The settings that a form asks for; where a field is wrong, `errors` says what it needs. */
export function readDraft(draft: Draft): { settings: Settings; errors: Errors } {
  const errors: Errors = {};
  const lens = readLens(draft, errors);
  const columns = lensColumns(lens);
  const intervals = readList(draft.intervals, (n) => Number.isInteger(n) && n >= 1);
  const overlap = readList(draft.overlap, (o) => o >= 0 && o <= MOST_OVERLAP);
  checkList(intervals, columns, 'intervals', 'Whole numbers of at least 1', errors);
  if (intervals && !errors.intervals) {
    const grid = intervals.length === 1 && columns ? intervals[0] ** columns : product(intervals);
    if (intervals.some((n) => n > MOST_INTERVALS) || grid > MOST_PER_GRID)
      errors.intervals = `At most ${amount(MOST_INTERVALS)} a lens column and ${amount(MOST_PER_GRID)} in all.`;
  }
  checkList(overlap, columns, 'overlap', `Numbers from 0 to ${MOST_OVERLAP}`, errors);
  const settings: Settings = {
    lens,
    cover: draft.cover,
    intervals: intervals ?? [],
    overlap: overlap ?? [],
    eps: readEps(draft, errors),
    clusterer: draft.clusterer,
    min_samples: readWhole(draft.minSamples, 'min_samples', errors),
    metric: draft.metric,
    min_intersection: readWhole(draft.minIntersection, 'min_intersection', errors) ?? 1,
  };
  return { settings, errors };
}

/** How many columns a lens has, as far as its name tells. */
export function lensColumns(lens: string): number | null {
  const [name, number] = parts(lens);
  const known = LENSES.find((one) => one.name === name);
  if (!known) return null;
  return name === 'pca' ? Number(number ?? 1) : 1;
}

/** The field that a server's message speaks of. */
export function fieldOf(message: string): Field | null {
  const words: [RegExp, Field][] = [
    [/\bmin_?samples\b/i, 'min_samples'],
    [/\bmin_intersection\b/i, 'min_intersection'],
    [/\b(n_intervals|intervals|n_cubes)\b/i, 'intervals'],
    [/\b(perc_)?overlap\b/i, 'overlap'],
    [/\bmetric\b/i, 'metric'],
    [/\beps\b/i, 'eps'],
    [/\blens\b/i, 'lens'],
    [/\bcover\b/i, 'cover'],
    [/\bclusterer\b/i, 'clusterer'],
  ];
  const found = words
    .map(([pattern, field]) => ({ field, at: message.search(pattern) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at);
  return found[0]?.field ?? null;
}

export const FIELDS: { field: Field; name: string }[] = [
  { field: 'lens', name: 'lens' },
  { field: 'cover', name: 'cover' },
  { field: 'intervals', name: 'intervals' },
  { field: 'overlap', name: 'overlap' },
  { field: 'clusterer', name: 'clusterer' },
  { field: 'eps', name: 'eps' },
  { field: 'min_samples', name: 'min_samples' },
  { field: 'metric', name: 'metric' },
  { field: 'min_intersection', name: 'min_intersection' },
];

/** One setting as text. */
export function shown(value: Settings[Field]): string {
  if (value === null) return '–';
  if (Array.isArray(value)) return value.map(brief).join(' × ');
  return typeof value === 'number' ? brief(value) : value;
}

/** What `settings` change in `from`, such as ["overlap 0.4", "eps 2.1"]. */
export function differences(from: Settings, settings: Settings): string[] {
  return FIELDS.filter(
    ({ field }) => JSON.stringify(from[field]) !== JSON.stringify(settings[field]),
  ).map(({ field, name }) => {
    const text = shown(settings[field]);
    return field === 'lens' || field === 'clusterer' || field === 'metric'
      ? text
      : `${name} ${text}`;
  });
}

/** The run from a file that a recomputed one came from: same store, same layer. */
export function parentOf(run: RunInfo, runs: RunInfo[]): RunInfo | null {
  if (run.origin === 'file') return null;
  const files = runs.filter(
    ({ origin, store, layer }) => origin === 'file' && store === run.store && layer === run.layer,
  );
  const near = files.map((file) => differences(file.settings, run.settings).length);
  return files[near.indexOf(Math.min(...near))] ?? null;
}

export interface Tab {
  run: RunInfo;
  /** Short: what tells this run from its parent. */
  name: string;
  /** Whole: name, layer and settings. */
  title: string;
}

/** Runs as tabs, every recomputed one after the run it came from. */
export function tabsOf(runs: RunInfo[]): Tab[] {
  const files = runs.filter(({ origin }) => origin === 'file');
  const children = runs.filter(({ origin }) => origin !== 'file');
  const placed = files.flatMap((file) => [
    file,
    ...children.filter((child) => parentOf(child, runs) === file),
  ]);
  const orphans = children.filter((child) => !placed.includes(child));
  const used = new Map<string, number>();
  return [...placed, ...orphans].map((run) => {
    const parent = parentOf(run, runs);
    const changes = parent ? differences(parent.settings, run.settings) : [];
    const plain = parent ? changes.join(', ') || 'same settings' : run.name;
    const key = `${parent?.id ?? ''} ${plain}`;
    const times = (used.get(key) ?? 0) + 1;
    used.set(key, times);
    const name = times > 1 ? `${plain} (${times})` : plain;
    const whole = FIELDS.map((f) => `${f.name} ${shown(run.settings[f.field])}`).join(', ');
    const layer = run.layer === null ? '' : `, layer ${run.layer}`;
    return { run, name, title: `${(parent ?? run).name}${layer}: ${whole}` };
  });
}

/** A run of the same rows with these settings, if there is one already. */
export function twinOf(of: RunInfo, settings: Settings, runs: RunInfo[]): RunInfo | null {
  const same = (run: RunInfo) =>
    run.id === of.id || (run.store !== null && run.store === of.store && run.layer === of.layer);
  return runs.find((run) => same(run) && !differences(run.settings, settings).length) ?? null;
}

export type SweepField = 'intervals' | 'overlap' | 'eps' | 'min_samples' | 'min_intersection';
export const MOST_SWEPT = 6;

/** Up to six values of one parameter as the settings they make of `base`. */
export function sweep(
  base: Settings,
  field: SweepField,
  text: string,
): { settings: Settings[]; error: string | null } {
  const words = [...new Set(text.split(/[\s,;]+/).filter(Boolean))];
  if (!words.length) return { settings: [], error: `Write up to ${MOST_SWEPT} values.` };
  if (words.length > MOST_SWEPT)
    return { settings: [], error: `At most ${MOST_SWEPT} values, these are ${words.length}.` };
  const settings: Settings[] = [];
  for (const word of words) {
    const draft = draftOf(base);
    if (field === 'intervals') draft.intervals = word;
    else if (field === 'overlap') draft.overlap = word;
    else if (field === 'min_samples') draft.minSamples = word;
    else if (field === 'min_intersection') draft.minIntersection = word;
    else if (word === 'knee' || word === 'knee-per-interval') draft.epsKind = word;
    else Object.assign(draft, { epsKind: 'number', eps: word });
    const read = readDraft(draft);
    const wrong = read.errors[field];
    if (wrong) return { settings: [], error: `${word}: ${wrong}` };
    settings.push(read.settings);
  }
  return { settings, error: null };
}

function readLens(draft: Draft, errors: Errors): string {
  const known = LENSES.find(({ name }) => name === draft.lens);
  if (!known?.number) return draft.lens;
  const { least } = known.number;
  const text = draft.lensNumber.trim();
  if (!/^\d{1,9}$/.test(text) || Number(text) < least)
    errors.lens = `${known.name} needs a whole number of at least ${least}.`;
  return `${known.name}:${text}`;
}

function readEps(draft: Draft, errors: Errors): number | string | null {
  if (draft.epsKind !== 'number') return draft.epsKind;
  const value = numberOf(draft.eps);
  if (!(value > 0)) errors.eps = 'A number above 0, or let the knee choose.';
  return value;
}

function readWhole(
  text: string,
  field: 'min_samples' | 'min_intersection',
  errors: Errors,
): number | null {
  const value = numberOf(text);
  if (!Number.isInteger(value) || value < 1) errors[field] = 'A whole number of at least 1.';
  return Number.isNaN(value) ? null : value;
}

function readList(text: string, good: (value: number) => boolean): number[] | null {
  const words = text.split(/[\s,;×]+/).filter(Boolean);
  const values = words.map(numberOf);
  return values.length && values.every(good) ? values : null;
}

function checkList(
  values: number[] | null,
  columns: number | null,
  field: 'intervals' | 'overlap',
  wanted: string,
  errors: Errors,
): void {
  if (!values) errors[field] = `${wanted}.`;
  else if (columns !== null && values.length > 1 && values.length !== columns)
    errors[field] =
      columns === 1
        ? 'One number: the lens has one column.'
        : `One number, or one for each of the ${columns} lens columns.`;
}

function numberOf(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : Number.NaN;
}

function product(values: number[]): number {
  return values.reduce((all, value) => all * value, 1);
}

function parts(lens: string): [string, string | undefined] {
  const at = lens.indexOf(':');
  return at < 0 ? [lens, undefined] : [lens.slice(0, at), lens.slice(at + 1)];
}
