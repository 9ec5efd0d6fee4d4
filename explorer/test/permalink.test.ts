import { describe, expect, it } from 'vitest';
import { fromHash, packNodes, START, toHash, unpackNodes } from '../src/lib/permalink';

describe('permalinks', () => {
  it('come back as they went', () => {
    const state = {
      ...START,
      run: '1',
      label: 'a&b=c#d',
      colour: 'share:7',
      edgeWidth: 'count' as const,
      minJaccard: 0.25,
      minSize: 12,
      layout: 'layered' as const,
      selected: [1, 2, 3, 9],
      compared: [4],
      marks: ['class:1', 'word:22'],
      panel: 'layers' as const,
      images: true,
    };
    expect(fromHash(`#${toHash(state)}`)).toEqual(state);
  });

  it('start empty', () => {
    expect(toHash(START)).toBe('');
    expect(fromHash('')).toEqual(START);
  });

  it('shrug off nonsense', () => {
    const state = fromHash('#jaccard=x&size=-4&nodes=1-,a,3-2,5&panel=<b>&layout=evil');
    expect(state).toEqual({ ...START, selected: [5] });
  });

  it('packs runs of nodes', () => {
    expect(packNodes([7, 1, 2, 3, 3])).toBe('1-3,7');
    expect(unpackNodes('1-3,7')).toEqual([1, 2, 3, 7]);
    expect(unpackNodes('0-999999999').length).toBe(100_000);
  });
});
