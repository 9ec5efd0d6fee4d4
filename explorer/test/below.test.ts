import { describe, expect, it } from 'vitest';
import { curvePath, curveScale, epsAt, shareWithin, stepped, ticks, yOf } from '../src/lib/curve';
import { bandsOf } from '../src/lib/flows';
import { furthest, layersOf, neighboursOf } from '../src/lib/layers';
import { brief, percent, seconds } from '../src/lib/format';
import { layered, radiusOf } from '../src/lib/small';
import type { RunInfo, Session } from '../src/lib/types';

describe('the k-distance curve', () => {
  const knee = { distances: [1, 2, 4], quantile: [0, 0.5, 1], k: 5, eps: 2 };
  const frame = { left: 10, right: 110, top: 0, bottom: 100 };
  const scale = curveScale(knee, frame);

  it('goes from a place to eps and back', () => {
    expect(scale.high).toBeCloseTo(4.2);
    expect(epsAt(scale, yOf(scale, 3))).toBe(3);
    expect(epsAt(scale, 1e9)).toBeGreaterThan(0);
    expect(epsAt(scale, -1e9)).toBeCloseTo(4.2);
    expect(stepped(scale, 2, 1)).toBeCloseTo(2.04);
    expect(stepped(scale, 0.01, -9)).toBeGreaterThan(0);
  });

  it('tells the share of rows within eps', () => {
    expect([0.5, 1, 1.5, 3, 4, 9].map((eps) => shareWithin(knee, eps))).toEqual([
      0, 0, 0.25, 0.75, 1, 1,
    ]);
    expect(shareWithin({ distances: [2, 2, 2], quantile: [0, 0.5, 1], k: 1, eps: null }, 2)).toBe(
      1,
    );
    expect(shareWithin({ distances: [], quantile: [], k: 1, eps: null }, 2)).toBe(0);
  });

  it('is a path and has round ticks', () => {
    expect(curvePath(scale, knee)).toMatch(/^M10\.0 \d+\.\dL60\.0 \d+\.\dL110\.0 \d+\.\d$/);
    expect(ticks(4.2)).toEqual([0, 2, 4]);
    expect(ticks(0.7)).toEqual([0, 0.2, 0.4, 0.6]);
    expect(ticks(0)).toEqual([0]);
  });
});

describe('flows', () => {
  it('make bands as wide as their rows, stacked without crossing', () => {
    const at = (x: number) => (node: number) => [x, 10 * node] as [number, number];
    const flows = [
      { source: 1, target: 3, count: 30 },
      { source: 1, target: -1, count: 10 },
      { source: 1, target: 0, count: 0 },
    ];
    const bands = bandsOf(flows, at(0), at(100), 20);
    expect(bands.map(({ width }) => width)).toEqual([15, 5, 0.6]);
    const start = (path: string) => Number(/^M\S+ (\S+)C/.exec(path)?.[1]);
    const [three, none, zero] = bands.map(({ path }) => start(path));
    expect(none).toBeLessThan(zero);
    expect(zero).toBeLessThan(three);
    expect(bandsOf([], at(0), at(1))).toEqual([]);
  });
});

describe('small graphs', () => {
  const graph = {
    n: 4,
    nLens: 1,
    nEdges: 3,
    lens: Float32Array.from([1, 2, 2, 3]),
    interval: Int32Array.from([0, 1, 1, 2]),
    edge: Int32Array.from([0, 1, 5, 0, 2, 5, 1, 3, 2]),
  };

  it('rise with the lens and stay inside', () => {
    const xy = layered(graph);
    expect([xy[1], xy[3], xy[7]]).toEqual([0, 0.5, 1]);
    expect(xy[2]).not.toBe(xy[4]);
    expect(xy.every((value) => value >= 0 && value <= 1)).toBe(true);
    expect(layered({ ...graph, n: 0, nEdges: 0 }).length).toBe(0);
    const flat = layered({ ...graph, lens: new Float32Array(4) });
    expect(flat.every((value) => value >= 0 && value <= 1)).toBe(true);
  });

  it('have larger circles for larger nodes', () => {
    expect(radiusOf(100, 100)).toBeCloseTo(7);
    expect(radiusOf(1, 100)).toBeLessThan(radiusOf(10, 100));
  });
});

describe('layers', () => {
  const run = (id: string, layer: string, overlap: number): RunInfo =>
    ({ id, layer, store: 's', settings: { overlap: [overlap] } }) as unknown as RunInfo;
  const runs = [run('a', '1', 0.3), run('b', '1', 0.5), run('c', '3', 0.3), run('d', '3', 0.5)];
  const layer = (name: string, ids: string[]) => ({ name, n_rows: 9, n_cols: 2, runs: ids });
  const session = {
    runs,
    stores: [
      {
        id: 's',
        name: 's',
        model: null,
        layers: [layer('1', ['a', 'b']), layer('2', []), layer('3', ['c', 'd', 'gone'])],
      },
    ],
  } as unknown as Session;

  it('stand beside each other by settings, past layers without runs', () => {
    const layers = layersOf(session, runs[1]);
    expect(layers.map((one) => one.runs.map(({ id }) => id))).toEqual([['b', 'a'], [], ['d', 'c']]);
    expect(neighboursOf(layers, runs[1])).toEqual({ before: null, after: runs[3] });
    expect(neighboursOf(layersOf(session, runs[2]), runs[2]).before).toBe(runs[0]);
    expect(layersOf(session, null)).toEqual([]);
    expect(neighboursOf([], null)).toEqual({ before: null, after: null });
  });

  it('separate classes somewhere', () => {
    const at = (name: string, overlap: number) => ({ layer: name, run: name, overlap });
    expect(furthest({ layers: [at('1', 0.9), at('2', 0.1), at('3', 0.1)] })?.layer).toBe('2');
    expect(furthest({ layers: [] })).toBeNull();
  });
});

describe('numbers', () => {
  it('are short', () => {
    expect([percent(0), percent(0.0001), percent(0.056), percent(0.5), percent(NaN)]).toEqual([
      '0%',
      '< 0.1%',
      '5.6%',
      '50%',
      '–',
    ]);
    expect([brief(0), brief(1.23456), brief(1e-5)]).toEqual(['0', '1.23', '1e-5']);
    expect([seconds(1.25), seconds(75)]).toEqual(['1.3 s', '1 min 15 s']);
  });
});
