/** Numbers as the page writes them. */

const WHOLE = new Intl.NumberFormat('en');

export function whole(value: number): string {
  return WHOLE.format(value);
}

export function percent(share: number): string {
  if (!Number.isFinite(share)) return 'unknown';
  const value = 100 * share;
  if (value === 0 || value >= 10) return `${Math.round(value)}%`;
  return value < 0.1 ? '<\u00a00.1%' : `${value.toFixed(1)}%`;
}

/** Three significant figures, without an exponent where it can be helped. */
export function brief(value: number): string {
  if (!Number.isFinite(value)) return 'unknown';
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3))
    return value.toExponential(2);
  return String(Number(value.toPrecision(3)));
}

export function seconds(value: number): string {
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** "1 row", "2 rows". */
export function counted(n: number, noun: string): string {
  return `${whole(n)} ${noun}${n === 1 ? '' : 's'}`;
}
