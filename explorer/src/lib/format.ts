/** Numbers as the page writes them. */

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 });
const THREE = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const TWO = new Intl.NumberFormat('en', { maximumSignificantDigits: 2 });
const POWER = new Intl.NumberFormat('en', { notation: 'scientific', maximumSignificantDigits: 2 });
const WHEN = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });

export const NONE = '–';

type Maybe = number | null | undefined;

export function known(value: Maybe): value is number {
  return value !== null && value !== undefined && !Number.isNaN(value);
}

export function count(value: Maybe): string {
  return known(value) ? WHOLE.format(value) : NONE;
}

/** A count with its noun: 1 node, 2 nodes, 3 branches. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share of one in percent; what is there but rounds to nothing is said to be little. */
export function percent(share: Maybe): string {
  if (!known(share)) return NONE;
  if (share > 0 && share < 0.0005) return '< 0.1%';
  if (share < 1 && share > 0.9995) return '> 99.9%';
  // as Python rounds it: the command line and the page say the same
  return `${Number((100 * share).toFixed(1))}%`;
}

/** Four significant digits; powers of ten where zeros would fill the line. */
export function number(value: Maybe): string {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e7) ? power(value) : minus(SHORT.format(value));
}

/** Three significant digits, for narrow columns; all digits of what is before the point. */
export function brief(value: Maybe): string {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return power(value);
  return minus((size >= 1000 ? WHOLE : THREE).format(value));
}

/** How long something took. */
export function seconds(value: number): string {
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** Three significant digits as a form takes them: no separators, no typographic minus. */
export function typed(value: number): string {
  return String(Number(value.toPrecision(3)));
}

export function lift(value: Maybe): string {
  return known(value) ? `${value >= 100 ? count(value) : TWO.format(value)}×` : NONE;
}

export function probability(p: Maybe): string {
  if (!known(p)) return NONE;
  if (p === 0) return '< 1e-300';
  return p < 1e-3 ? power(p) : TWO.format(p);
}

export function signed(value: Maybe): string {
  if (!known(value)) return NONE;
  return value > 0 ? `+${brief(value)}` : brief(value);
}

export function range(low: number, high: number): string {
  return `${number(low)} to ${number(high)}`;
}

/** A day and time as read from ISO 8601; the text itself where it is none. */
export function moment(iso: string): string {
  const time = Date.parse(iso);
  return Number.isNaN(time) ? iso : WHEN.format(time);
}

/** A name for what may have an empty one. */
export function named(name: string | null | undefined): string {
  return name?.trim() ? name : '(no name)';
}

function power(value: number): string {
  return minus(POWER.format(value).replace('E', 'e'));
}

function minus(text: string): string {
  return text.replace(/^-/, '−');
}
