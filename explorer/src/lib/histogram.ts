/** Histograms as rectangles, and what they say in words. */

import { count, counted, range } from './format';

export interface Bar {
  x: number;
  width: number;
  /** Heights in [0, 1], each series over its own highest bar. */
  part: number;
  all: number;
  title: string;
}

export interface Histogram {
  edges: number[];
  counts: number[];
  all: number[];
}

/** Bars of a histogram on an axis from 0 to 1; a bar that holds something is never invisible. */
export function histogramBars({ edges, counts, all }: Histogram, least = 0.02): Bar[] {
  const low = edges[0];
  const width = edges[edges.length - 1] - low;
  const n = counts.length;
  const [mostPart, mostAll] = [highest(counts), highest(all)];
  return counts.map((part, at) => ({
    x: width > 0 ? (edges[at] - low) / width : at / n,
    width: width > 0 ? (edges[at + 1] - edges[at]) / width : 1 / n,
    part: heightOf(part, mostPart, least),
    all: heightOf(all[at], mostAll, least),
    title: `${range(edges[at], edges[at + 1])}: ${count(part)} of ${counted(all[at], 'row')}`,
  }));
}

/** Where the rows lie, for those who cannot see the bars. */
export function histogramText(name: string, { edges, counts }: Histogram): string {
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (!total) return `${name}: no rows.`;
  const first = counts.findIndex((n) => n > 0);
  const last = counts.findLastIndex((n) => n > 0);
  const peak = counts.indexOf(highest(counts));
  return (
    `${name}: ${counted(total, 'selected row')} from ${range(edges[first], edges[last + 1])}, ` +
    `most of them (${count(counts[peak])}) from ${range(edges[peak], edges[peak + 1])}.`
  );
}

export interface Stretch {
  first: number;
  last: number;
  offered: number;
  taken: number;
  noise: number;
}

/** Intervals in at most `most` stretches of neighbours, so that a chart of them can be seen. */
export function stretches(
  interval: { ids: number[]; offered: number[] | null; taken: number[]; noise: number[] },
  most = 100,
): Stretch[] {
  const { ids, offered, taken, noise } = interval;
  const step = Math.max(1, Math.ceil(ids.length / most));
  const found: Stretch[] = [];
  for (let at = 0; at < ids.length; at += step) {
    const end = Math.min(at + step, ids.length);
    let [sumOffered, sumTaken] = [0, 0];
    for (let i = at; i < end; i += 1) {
      sumTaken += taken[i];
      sumOffered += offered?.[i] ?? (noise[i] < 1 ? taken[i] / (1 - noise[i]) : taken[i]);
    }
    const lost = step === 1 ? noise[at] : sumOffered > 0 ? 1 - sumTaken / sumOffered : 0;
    found.push({
      first: ids[at],
      last: ids[end - 1],
      offered: sumOffered,
      taken: sumTaken,
      noise: lost,
    });
  }
  return found;
}

export function highest(values: ArrayLike<number>): number {
  let most = 0;
  for (let at = 0; at < values.length; at += 1) if (values[at] > most) most = values[at];
  return most;
}

function heightOf(value: number, most: number, least: number): number {
  return value > 0 && most > 0 ? Math.max(value / most, least) : 0;
}
