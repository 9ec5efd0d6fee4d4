/** Colours: perceptually even scales for numbers, colour-blind-safe hues for kinds. */

export type Rgb = [number, number, number];

/** Anchors of matplotlib's viridis (CC0), evenly spaced; between them colours are mixed. */
const VIRIDIS: Rgb[] = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [109, 205, 89],
  [180, 222, 44],
  [253, 231, 37],
];

/** Blue, white, orange: for what departs from a middle (lift from 1). */
const DIVERGING: Rgb[] = [
  [33, 82, 155],
  [112, 152, 201],
  [218, 218, 214],
  [226, 157, 84],
  [166, 86, 12],
];

/** Okabe and Ito's hues, which the common colour blindnesses keep apart; grey is for the rest. */
export const HUES: Rgb[] = [
  [0, 114, 178],
  [230, 159, 0],
  [0, 158, 115],
  [204, 121, 167],
  [86, 180, 233],
  [213, 94, 0],
  [240, 228, 66],
  [128, 80, 160],
];

export const UNKNOWN: Rgb = [150, 150, 150];

export type Scale = 'sequential' | 'diverging';

/** Colour at `t` in [0, 1]; NaN is grey. */
export function colourAt(t: number, scale: Scale = 'sequential'): Rgb {
  if (Number.isNaN(t)) return UNKNOWN;
  const anchors = scale === 'diverging' ? DIVERGING : VIRIDIS;
  const place = Math.min(Math.max(t, 0), 1) * (anchors.length - 1);
  const left = Math.min(Math.floor(place), anchors.length - 2);
  return mix(anchors[left], anchors[left + 1], place - left);
}

/** Hue of a kind; after eight they come again, darker and then lighter. */
export function hueOf(kind: number): Rgb {
  if (kind < 0) return UNKNOWN;
  const hue = HUES[kind % HUES.length];
  const round = Math.floor(kind / HUES.length) % 3;
  if (round === 0) return hue;
  return round === 1 ? mix(hue, [0, 0, 0], 0.35) : mix(hue, [255, 255, 255], 0.4);
}

export function mix(a: Rgb, b: Rgb, share: number): Rgb {
  return [0, 1, 2].map((at) => Math.round(a[at] + (b[at] - a[at]) * share)) as Rgb;
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r},${g},${b})`;
}

export function hex([r, g, b]: Rgb): string {
  return `#${((1 << 24) | (r << 16) | (g << 8) | b).toString(16).slice(1)}`;
}

/** A CSS gradient of a whole scale, for legends. */
export function gradient(scale: Scale): string {
  const steps = Array.from({ length: 11 }, (_, at) => css(colourAt(at / 10, scale)));
  return `linear-gradient(to right, ${steps.join(', ')})`;
}
