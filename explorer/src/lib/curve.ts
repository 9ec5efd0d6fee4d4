/** The curve of distances to the k-th neighbour: places in a chart, and eps by place. */

import type { Knee } from './types';

export interface Frame {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface CurveScale {
  frame: Frame;
  /** Distances at the foot and the head of the chart. */
  low: number;
  high: number;
}

export function curveScale({ distances, eps }: Knee, frame: Frame, chosen = 0): CurveScale {
  const most = Math.max(distances[distances.length - 1] ?? 0, eps ?? 0, chosen);
  return { frame, low: 0, high: most > 0 ? most * 1.05 : 1 };
}

export function yOf({ frame, low, high }: CurveScale, distance: number): number {
  const share = Math.min(Math.max((distance - low) / (high - low), 0), 1);
  return frame.bottom - share * (frame.bottom - frame.top);
}

export function xOf({ frame }: CurveScale, quantile: number): number {
  return frame.left + quantile * (frame.right - frame.left);
}

/** eps at a height of the chart, in three figures; never zero. */
export function epsAt(scale: CurveScale, y: number): number {
  const { frame, low, high } = scale;
  const share = (frame.bottom - y) / (frame.bottom - frame.top);
  return rounded(low + Math.min(Math.max(share, 0), 1) * (high - low), high);
}

/** eps after so many steps of a hundredth of the chart. */
export function stepped(scale: CurveScale, eps: number, steps: number): number {
  return rounded(eps + (steps * (scale.high - scale.low)) / 100, scale.high);
}

export function curvePath(scale: CurveScale, { distances, quantile }: Knee): string {
  return distances
    .map((distance, at) => {
      const x = xOf(scale, quantile[at] ?? at / Math.max(distances.length - 1, 1));
      return `${at ? 'L' : 'M'}${x.toFixed(1)} ${yOf(scale, distance).toFixed(1)}`;
    })
    .join('');
}

/** Share of the rows whose k-th neighbour lies within eps. */
export function shareWithin({ distances, quantile }: Knee, eps: number): number {
  if (!distances.length || eps < distances[0]) return 0;
  let at = 0;
  while (at + 1 < distances.length && distances[at + 1] <= eps) at += 1;
  if (at + 1 === distances.length) return 1;
  const [low, high] = [quantile[at], quantile[at + 1]];
  const gap = distances[at + 1] - distances[at];
  return low + (gap > 0 ? (eps - distances[at]) / gap : 0) * (high - low);
}

/** A few round values between 0 and `high`. */
export function ticks(high: number): number[] {
  const rough = high / 4;
  if (!(rough > 0) || !Number.isFinite(rough)) return [0];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10]
    .map((factor) => factor * power)
    .find((size) => size >= rough * 0.999);
  const width = step ?? 10 * power;
  const n = Math.floor(high / width);
  return Array.from({ length: n + 1 }, (_, at) => Number((at * width).toPrecision(12)));
}

function rounded(value: number, high: number): number {
  const least = high / 1000;
  return Number(Math.min(Math.max(value, least), high).toPrecision(3));
}
