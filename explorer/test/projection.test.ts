import { describe, expect, it } from 'vitest';
import type { Rgb } from '../src/lib/palette';
import { holders, pointColours, pointsOf, spread, type Painting } from '../src/lib/projection';

const ints = (...values: number[]) => Int32Array.from(values);

describe('rows as points', () => {
  it('are found where they are drawn', () => {
    expect(Array.from(pointsOf(ints(2, 4, 6, 9), ints(1, 4, 9, 10)))).toEqual([1, 3]);
    expect(pointsOf(ints(), ints(1)).length).toBe(0);
    expect(Array.from(pointsOf(ints(0, 1, 2), ints(0, 1, 2)))).toEqual([0, 1, 2]);
  });

  it('are sampled evenly when there are too many', () => {
    expect(Array.from(spread(ints(1, 2, 3, 4, 5, 6), 3))).toEqual([1, 3, 5]);
    expect(spread(ints(1, 2), 3)).toEqual(ints(1, 2));
  });

  it('rank the nodes that hold them', () => {
    const found = holders({ nodes: ints(3, 5, 7), count: ints(1, 4, 4) }, 8, Int32Array.from({ length: 8 }, () => 4)); // prettier-ignore
    expect(found.map(({ node }) => node)).toEqual([5, 7, 3]);
    expect(found[0]).toMatchObject({ ofChosen: 0.5, ofNode: 1 });
  });

  it('have a colour each, grey where nothing is known', () => {
    const projection = {
      rows: ints(0, 1, 2),
      xy: new Float32Array(6),
      class: ints(1, -1, 0),
      lens: Float32Array.from([0, NaN, 1]),
      node: ints(0, 0, 0),
    };
    const ranks = new Map([
      [1, 0],
      [0, 1],
    ]);
    const painting = {
      ranks,
      marked: new Map<number, Rgb>(),
      lit: ints(2),
      accent: [1, 2, 3] as Rgb,
    };
    const colours = (changes: Pick<Painting, 'by'> & Partial<Painting>) =>
      Array.from(pointColours(projection, { ...painting, ...changes }));
    expect(colours({ by: 'class' }).slice(0, 6)).toEqual([0, 114, 178, 150, 150, 150]);
    expect(colours({ by: 'class', marked: new Map([[0, [7, 8, 9]]]) })).toEqual([
      150, 150, 150, 150, 150, 150, 7, 8, 9,
    ]);
    expect(colours({ by: 'lens' })).toEqual([68, 1, 84, 150, 150, 150, 253, 231, 37]);
    expect(colours({ by: 'selection' }).slice(3)).toEqual([150, 150, 150, 1, 2, 3]);
  });
});
