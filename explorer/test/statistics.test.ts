import { describe, expect, it } from 'vitest';
import { corrected, countTable, logFactorial, tally, upperTail } from '../src/lib/statistics';

describe('the logarithm of a factorial', () => {
  it('is that of the product', () => {
    let log = 0;
    for (let n = 1; n <= 170; n += 1) {
      log += Math.log(n);
      expect(Math.abs(logFactorial(n) - log)).toBeLessThan(1e-12 * Math.max(log, 1));
    }
  });
});

describe('the hypergeometric tail', () => {
  // scipy.stats.hypergeom(total, marked, drawn).sf(count - 1)
  it.each([
    [2, 2, 2, 4, 1 / 6],
    [0, 5, 5, 10, 1],
    [3, 2, 9, 10, 0],
    [5, 10, 20, 100, 0.025464546427043128],
    [30, 100, 200, 1000, 0.007877459541672122],
    [1, 100, 200, 1000, 0.9999999999465762],
    [120, 500, 2000, 10000, 0.01392732271516787],
  ])('%i of %i drawn, %i of %i marked', (count, drawn, marked, total, wanted) => {
    expect(upperTail(count, drawn, marked, total)).toBeCloseTo(wanted, 10);
  });

  it('sums to one with the other side', () => {
    for (let count = 0; count <= 12; count += 1) {
      const rest = upperTail(12 - count + 1, 12, 30 - 11, 30);
      expect(upperTail(count, 12, 11, 30) + rest).toBeCloseTo(1, 12);
    }
  });
});

describe('correction', () => {
  it('is that of Benjamini and Hochberg', () => {
    const found = corrected([0.01, 0.5, 0.02]);
    [0.03, 0.5, 0.03].forEach((p, at) => expect(found[at]).toBeCloseTo(p, 12));
    expect(corrected([])).toEqual([]);
  });
});

describe('a table of counts', () => {
  it('leaves out what is unknown', () => {
    const codes = [0, 0, 1, -1, 1, 1];
    const { table, known } = countTable([0, 1, 2, 3], codes, tally(codes, 3));
    expect(known).toBe(3);
    expect(table.map(({ id, count }) => [id, count])).toEqual([
      [0, 2],
      [1, 1],
    ]);
    expect(table[0].lift).toBeCloseTo(2 / 3 / (2 / 5), 12);
  });
});
