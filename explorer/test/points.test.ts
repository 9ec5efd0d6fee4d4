import { describe, expect, it } from 'vitest';
import {
  boundsOf,
  fitted,
  nextShare,
  panned,
  toPlane,
  toScreen,
  zoomed,
  type Spot,
} from '../src/lib/points/camera';
import { contains, PointGrid, thinned } from '../src/lib/points/grid';
import { shuffled } from '../src/lib/points/renderer';

/** The same numbers on every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

function cloud(n: number, seed: number): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: 2 * n }, () => next() * 10 - 3);
}

describe('camera', () => {
  const size = { width: 400, height: 200 };

  it('shows the whole box', () => {
    const camera = fitted({ left: 0, right: 10, bottom: 0, top: 1 }, size, 10);
    expect(camera.scale).toBe(38);
    expect(toScreen(camera, size, [0, 0.5])).toEqual([10, 100]);
  });

  it('goes to the plane and back', () => {
    const camera = panned({ x: 1, y: 2, scale: 7 }, 13, -5);
    const [x, y] = toScreen(camera, size, toPlane(camera, size, [33, 44]));
    expect(x).toBeCloseTo(33);
    expect(y).toBeCloseTo(44);
  });

  it('keeps the spot under the pointer while it zooms', () => {
    const home = { x: 1, y: 2, scale: 7 };
    const before = toPlane(home, size, [50, 60]);
    const after = toPlane(zoomed(home, size, [50, 60], 3, home), size, [50, 60]);
    expect(after[0]).toBeCloseTo(before[0]);
    expect(after[1]).toBeCloseTo(before[1]);
    expect(zoomed(home, size, [0, 0], 1e-9, home).scale).toBe(7 / 8);
  });

  it('draws less when frames are slow and all when they are not', () => {
    expect(nextShare(1, 100, 50)).toBe(0.5);
    expect(nextShare(1, 1200, 50)).toBe(0.25);
    expect(nextShare(0.1, 40, 50)).toBeCloseTo(0.125);
    expect(nextShare(0.1, 16, 50)).toBeCloseTo(0.2);
    expect(nextShare(0.9, 10, 50)).toBe(1);
  });

  it('has bounds without points', () => {
    expect(boundsOf([NaN, 1])).toEqual({ left: -1, right: 1, bottom: -1, top: 1 });
  });
});

describe('grid', () => {
  it.each([1, 63, 500, 5000])('finds the nearest of %i points', (n) => {
    const xy = cloud(n, n);
    const grid = new PointGrid(xy);
    const next = random(7);
    for (let turn = 0; turn < 60; turn += 1) {
      const [x, y, radius] = [next() * 12 - 4, next() * 12 - 4, next() * 2];
      let best = -1;
      let least = radius * radius;
      for (let a = 0; a < n; a += 1) {
        const distance = (xy[2 * a] - x) ** 2 + (xy[2 * a + 1] - y) ** 2;
        if (distance < least) [best, least] = [a, distance];
      }
      expect(grid.nearest(x, y, radius)).toBe(best);
    }
  });

  it.each([1, 63, 3000])('finds those of %i points that lie inside a lasso', (n) => {
    const xy = cloud(n, n + 1);
    const grid = new PointGrid(xy);
    const next = random(11);
    for (let turn = 0; turn < 30; turn += 1) {
      // outlines that cross themselves and leave the plane, too
      const outline: Spot[] = Array.from({ length: 3 + turn }, () => [
        next() * 14 - 5,
        next() * 14 - 5,
      ]);
      const expected = Array.from({ length: n }, (_, a) => a).filter((a) =>
        contains(outline, xy[2 * a], xy[2 * a + 1]),
      );
      expect(Array.from(grid.inside(outline))).toEqual(expected);
    }
  });

  it('copes with equal points, lines and what is not finite', () => {
    const grid = new PointGrid([2, 2, 2, 2, NaN, 0, 2, Infinity]);
    expect(grid.nearest(2, 2, 0.1)).toBe(0);
    expect(Array.from(grid.inside([[1, 1], [3, 1], [3, 3], [1, 3]]))).toEqual([0, 1]); // prettier-ignore
    const line = new PointGrid(Float32Array.from({ length: 200 }, (_, at) => (at % 2 ? 5 : at)));
    expect(line.nearest(100, 5, 0.5)).toBe(50);
    expect(new PointGrid([]).nearest(0, 0, 9)).toBe(-1);
  });

  it('ties go to the smallest number', () => {
    expect(new PointGrid([1, 0, -1, 0]).nearest(0, 0, 2)).toBe(0);
  });

  it('thins an outline', () => {
    expect(thinned([[0, 0], [0.1, 0], [2, 0]], 1)).toEqual([[0, 0], [2, 0]]); // prettier-ignore
  });
});

describe('order of drawing', () => {
  it('is a shuffle that can be undone', () => {
    const [order, place] = shuffled(1000);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, at) => at));
    expect(order[place[123]]).toBe(123);
    expect(order.slice(0, 5)).not.toEqual(Uint32Array.from([0, 1, 2, 3, 4]));
  });
});
