import { describe, expect, it } from 'vitest';
import { ForceRun, iterationsOf, turn } from '../src/lib/layout/force';
import { layered, spread } from '../src/lib/layout/layered';
import { pack } from '../src/lib/layout/pack';
import { seed } from '../src/lib/layout/seed';
import { ranks, scatter, shapeOf } from '../src/lib/layout/shape';
import { FORK, graphOf } from './graphs';

const shape = shapeOf(graphOf(FORK));

function finish(run: ForceRun): Float32Array {
  while (run.done < run.total) run.step();
  return run.result().positions;
}

function at(positions: Float32Array, a: number): [number, number] {
  return [positions[2 * a], positions[2 * a + 1]];
}

describe('shape', () => {
  it('ranks intervals in use', () => {
    expect([...ranks(Int32Array.of(40, 7, 7, 90))]).toEqual([1, 0, 0, 2]);
  });

  it('reads the cells of a grid', () => {
    const grid = graphOf({
      size: [1, 1, 1],
      interval: [0, 5, 11],
      edges: [],
      intervals: [3, 4],
    });
    const { column, row } = shapeOf(grid);
    expect([...column]).toEqual([0, 1, 2]);
    expect([...row!]).toEqual([0, 1, 2]); // 0, 1 and 3, ranked
  });

  it('scatters evenly and the same each time', () => {
    const values = Array.from({ length: 2000 }, (_, key) => scatter(key));
    expect(values).toEqual(Array.from({ length: 2000 }, (_, key) => scatter(key)));
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-0.5);
    expect(Math.max(...values)).toBeLessThan(0.5);
    expect(Math.abs(values.reduce((sum, value) => sum + value, 0) / 2000)).toBeLessThan(0.02);
  });
});

describe('layered layout', () => {
  const positions = layered(shape);

  it('puts an interval in a column', () => {
    for (let a = 0; a < shape.n; a += 1) expect(positions[2 * a]).toBe(FORK.interval[a]);
  });

  it('keeps components apart and nodes off each other', () => {
    const lowest = Math.min(...[0, 1, 2, 3, 4, 5].map((a) => positions[2 * a + 1]));
    for (const a of [6, 7, 8]) expect(positions[2 * a + 1]).toBeLessThan(lowest);
    const places = new Set(Array.from({ length: shape.n }, (_, a) => at(positions, a).join()));
    expect(places.size).toBe(shape.n);
  });

  it('uncrosses two chains that start crossed', () => {
    // 0-3-4 and 1-2-5, where the lens alone would cross them
    const crossed = shapeOf(
      graphOf({
        size: [1, 1, 1, 1, 1, 1, 1],
        interval: [0, 0, 1, 1, 2, 2, 3],
        edges: [
          [0, 3, 1],
          [3, 4, 1],
          [1, 2, 1],
          [2, 5, 1],
          [4, 6, 1],
          [5, 6, 1],
        ],
      }),
    );
    const y = (a: number) => layered(crossed)[2 * a + 1];
    const first = Math.sign(y(0) - y(1));
    expect(Math.sign(y(3) - y(2))).toBe(first);
    expect(Math.sign(y(4) - y(5))).toBe(first);
  });

  it('spreads by least squares', () => {
    expect(spread([0, 5])).toEqual([0, 5]);
    expect(spread([0, 0, 0])).toEqual([-1, 0, 1]);
    expect(spread([3, 1])).toEqual([1.5, 2.5]);
    expect(spread([])).toEqual([]);
  });

  it('takes a graph without nodes, or without edges', () => {
    expect(
      layered(shapeOf(graphOf({ size: [], interval: [], edges: [], intervals: [3] }))),
    ).toEqual(new Float32Array());
    const alone = layered(shapeOf(graphOf({ size: [1, 1], interval: [0, 0], edges: [] })));
    expect(at(alone, 0)).not.toEqual(at(alone, 1));
  });
});

describe('seed', () => {
  it('is the same each time, and parts all nodes', () => {
    expect(seed(shape)).toEqual(seed(shape));
    const places = new Set(Array.from({ length: shape.n }, (_, a) => at(seed(shape), a).join()));
    expect(places.size).toBe(shape.n);
  });
});

describe('packing', () => {
  it('overlaps nothing', () => {
    const boxes = Array.from({ length: 60 }, (_, key) => ({
      width: 1 + 4 * (scatter(key) + 0.5),
      height: 1 + 4 * (scatter(key + 999) + 0.5),
    }));
    const places = pack(boxes);
    for (let a = 0; a < boxes.length; a += 1)
      for (let b = 0; b < a; b += 1) {
        const apart =
          places[a].x + boxes[a].width <= places[b].x + 1e-9 ||
          places[b].x + boxes[b].width <= places[a].x + 1e-9 ||
          places[a].y + boxes[a].height <= places[b].y + 1e-9 ||
          places[b].y + boxes[b].height <= places[a].y + 1e-9;
        expect(apart).toBe(true);
      }
    expect(pack([])).toEqual([]);
  });
});

describe('force layout', () => {
  it('ends in the same picture, however it was sliced', () => {
    const sliced = new ForceRun(shape, seed(shape));
    while (sliced.done < sliced.total) {
      sliced.step();
      if (sliced.done % 7 === 0) sliced.result();
    }
    expect(sliced.result().positions).toEqual(finish(new ForceRun(shape, seed(shape))));
    expect(sliced.total).toBe(iterationsOf(6));
  });

  it('draws neighbours near and small components beside the large', () => {
    const positions = finish(new ForceRun(shape, seed(shape)));
    expect(positions.every(Number.isFinite)).toBe(true);
    const distance = (a: number, b: number) =>
      Math.hypot(positions[2 * a] - positions[2 * b], positions[2 * a + 1] - positions[2 * b + 1]);
    expect(distance(0, 1)).toBeLessThan(distance(0, 5));
    for (const a of [6, 7, 8])
      expect(Math.min(...[0, 1, 2, 3, 4, 5].map((b) => distance(a, b)))).toBeLessThan(8);
    // the lens grows to the right
    expect(positions[0]).toBeLessThan(positions[10]);
  });

  it('leaves pinned nodes alone and works on the rest of their component', () => {
    const first = new ForceRun(shape, seed(shape));
    finish(first);
    const { positions, spacing } = first.result();
    positions.set([positions[0] - 3, positions[1] + 2], 0);
    const pins = { nodes: [0], positions: positions.slice(), spacing };
    const again = finish(new ForceRun(shape, seed(shape), pins));
    expect(again[0]).toBeCloseTo(positions[0], 4);
    expect(again[1]).toBeCloseTo(positions[1], 4);
    expect(at(again, 1)).not.toEqual(at(positions, 1));
    expect(again.every(Number.isFinite)).toBe(true);
  });

  it('has nothing to do without components of three', () => {
    const pairs = shapeOf(graphOf({ size: [1, 1, 1], interval: [0, 1, 0], edges: [[0, 1, 1]] }));
    const run = new ForceRun(pairs, seed(pairs));
    expect(run.total).toBe(0);
    expect(run.result().positions.every(Number.isFinite)).toBe(true);
  });

  it('turns the long side to the horizontal, the lens to the right', () => {
    const x = Float64Array.of(0, 0, 0.1);
    const y = Float64Array.of(0, 5, 10);
    turn(x, y, Float64Array.of(9, 5, 1));
    expect(x[0] - x[2]).toBeCloseTo(10, 1);
    expect(Math.abs(y[0] - y[2])).toBeLessThan(0.2);
  });
});
