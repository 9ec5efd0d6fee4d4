/** Where a text matches what was typed, as parts to be set in different weights. */

export interface Part {
  text: string;
  hit: boolean;
}

export function emphasise(text: string, typed: string): Part[] {
  const wanted = typed.trim();
  if (!wanted) return [{ text, hit: false }];
  const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&'), 'gi');
  const parts: Part[] = [];
  let from = 0;
  for (const found of text.matchAll(pattern)) {
    if (found.index > from) parts.push({ text: text.slice(from, found.index), hit: false });
    parts.push({ text: found[0], hit: true });
    from = found.index + found[0].length;
  }
  if (from < text.length || !parts.length) parts.push({ text: text.slice(from), hit: false });
  return parts;
}
