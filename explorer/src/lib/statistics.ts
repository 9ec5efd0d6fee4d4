/** Chances of counts, as the server works them out (topoact_gpu/lift.py). */

/** Terms of Stirling's series for the logarithm of the gamma function. */
const STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360];

/** Natural logarithm of n!, for whole n from 0 on. */
export function logFactorial(n: number): number {
  let x = n + 1;
  let shift = 0;
  while (x < 16) {
    shift -= Math.log(x);
    x += 1;
  }
  let series = 0;
  let power = x;
  for (const term of STIRLING) {
    series += term / power;
    power *= x * x;
  }
  return shift + (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}

function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

/**
 * Chance of at least `count` marked rows among `drawn` of `total` rows, `marked` of which are
 * marked: the upper tail of the hypergeometric distribution.
 */
export function upperTail(count: number, drawn: number, marked: number, total: number): number {
  const least = Math.max(0, drawn + marked - total);
  const most = Math.min(drawn, marked);
  if (count <= least) return 1;
  if (count > most) return 0;
  const rest = total - marked - drawn;
  const upwards = (x: number) => ((marked - x) * (drawn - x)) / ((x + 1) * (rest + x + 1));
  // from the side on which fewer is summed, so that nothing is lost to rounding
  const below = count <= (drawn * marked) / total;
  let x = below ? count - 1 : count;
  let term = Math.exp(
    logChoose(marked, x) + logChoose(total - marked, drawn - x) - logChoose(total, drawn),
  );
  let sum = 0;
  while (term > sum * 1e-18 && x >= least && x <= most) {
    sum += term;
    if (below) {
      x -= 1;
      term = x >= least ? term / upwards(x) : 0;
    } else {
      term *= upwards(x);
      x += 1;
    }
  }
  return Math.min(1, Math.max(0, below ? 1 - sum : sum));
}

/** Chances corrected for their number (Benjamini & Hochberg 1995). */
export function corrected(chances: number[]): number[] {
  const order = chances.map((_, at) => at).sort((a, b) => chances[a] - chances[b]);
  const result = new Array<number>(chances.length);
  let least = 1;
  for (let rank = order.length - 1; rank >= 0; rank -= 1) {
    least = Math.min(least, (chances[order[rank]] * chances.length) / (rank + 1));
    result[order[rank]] = least;
  }
  return result;
}

export interface Counted {
  id: number;
  count: number;
  share: number;
  base: number;
  lift: number;
  p: number;
}

/** The kinds among some rows, the most frequent first; negative codes are unknown. */
export function countTable(
  rows: ArrayLike<number>,
  codes: ArrayLike<number>,
  base: ArrayLike<number>,
): { table: Counted[]; known: number } {
  const counts = new Map<number, number>();
  let known = 0;
  for (let at = 0; at < rows.length; at += 1) {
    const code = codes[rows[at]];
    if (code < 0) continue;
    known += 1;
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  let total = 0;
  for (let code = 0; code < base.length; code += 1) total += base[code];
  const found = [...counts].sort((a, b) => a[0] - b[0]);
  const p = corrected(found.map(([id, count]) => upperTail(count, known, base[id], total)));
  const table = found.map(([id, count], at) => {
    const share = count / known;
    const rate = base[id] / Math.max(total, 1);
    return { id, count, share, base: rate, lift: share / rate, p: p[at] };
  });
  table.sort((a, b) => b.count - a.count || a.id - b.id);
  return { table, known };
}

/** Rows of each code; negative ones are left out. */
export function tally(codes: ArrayLike<number>, n: number): Int32Array {
  const found = new Int32Array(n);
  for (let row = 0; row < codes.length; row += 1) if (codes[row] >= 0) found[codes[row]] += 1;
  return found;
}
