/** The page's colours, read from its style sheet, for what is drawn on canvases. */

import type { Theme } from './looks';
import type { Rgb } from './palette';

export function readTheme(): Theme {
  const root = document.documentElement;
  const style = getComputedStyle(root);
  const read = (name: string) => parseColour(style.getPropertyValue(name));
  return {
    dark: root.dataset.theme === 'dark',
    paper: read('--paper'),
    panel: read('--panel'),
    ink: read('--ink'),
    quiet: read('--quiet'),
    line: read('--line'),
    accent: read('--accent'),
    warn: read('--warn'),
  };
}

/** "#rgb" or "#rrggbb"; anything else is grey. */
export function parseColour(text: string): Rgb {
  const digits = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text.trim())?.[1];
  if (!digits) return [128, 128, 128];
  const wide = digits.length === 3 ? [...digits].map((digit) => digit + digit).join('') : digits;
  return [0, 2, 4].map((at) => parseInt(wide.slice(at, at + 2), 16)) as Rgb;
}
