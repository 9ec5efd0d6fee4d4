/** The page's colours for what is drawn on a canvas. */

import type { Rgb } from './palette';

export type Ink = 'paper' | 'ink' | 'quiet' | 'line' | 'accent' | 'edge';

/** A colour variable of the page, such as `--accent`, as it is now. */
export function inkOf(name: Ink): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function inkRgb(name: Ink): Rgb {
  const found = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(inkOf(name));
  return found ? (found.slice(1).map((part) => parseInt(part, 16)) as Rgb) : [128, 128, 128];
}

/** Call `redraw` when the page turns dark or light; the result stops that. */
export function onTheme(redraw: () => void): () => void {
  const observer = new MutationObserver(redraw);
  observer.observe(document.documentElement, { attributeFilter: ['data-theme'] });
  return () => observer.disconnect();
}
