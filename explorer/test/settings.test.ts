import { describe, expect, it } from 'vitest';
import {
  differences,
  draftOf,
  fieldOf,
  parentOf,
  readDraft,
  sweep,
  tabsOf,
  twinOf,
  type Draft,
} from '../src/lib/settings';
import type { RunInfo, Settings } from '../src/lib/types';

const base: Settings = {
  lens: 'l2norm',
  cover: 'uniform',
  intervals: [15],
  overlap: [0.3],
  eps: 'knee',
  clusterer: 'DBSCAN',
  min_samples: 5,
  metric: 'euclidean',
  min_intersection: 1,
};

const read = (changes: Partial<Draft>) => readDraft({ ...draftOf(base), ...changes });

function run(id: string, origin: RunInfo['origin'], settings: Partial<Settings> = {}): RunInfo {
  return {
    id,
    name: `run ${id}`,
    origin,
    store: 's',
    layer: 'a',
    settings: { ...base, ...settings },
    n_rows: 1,
    n_nodes: 1,
    n_edges: 0,
    can_recompute: true,
    can_trace: true,
  };
}

describe('the form', () => {
  it('gives back what it was given', () => {
    const settings = [
      base,
      { ...base, lens: 'pca:2', intervals: [4, 6], overlap: [0.1, 0.2], eps: 2.5 },
      { ...base, lens: 'column:0', eps: 'knee-per-interval', metric: 'cosine' },
      { ...base, lens: 'my lens', clusterer: 'HDBSCAN' },
    ];
    for (const one of settings)
      expect(readDraft(draftOf(one))).toEqual({ settings: one, errors: {} });
  });

  it.each([
    [{ intervals: '' }, 'intervals'],
    [{ intervals: '2.5' }, 'intervals'],
    [{ intervals: '0' }, 'intervals'],
    [{ intervals: '3, 4' }, 'intervals'],
    [{ intervals: '100001' }, 'intervals'],
    [{ overlap: '1' }, 'overlap'],
    [{ overlap: '-0.1' }, 'overlap'],
    [{ overlap: 'half' }, 'overlap'],
    [{ epsKind: 'number', eps: '0' }, 'eps'],
    [{ epsKind: 'number', eps: '' }, 'eps'],
    [{ epsKind: 'number', eps: 'Infinity' }, 'eps'],
    [{ minSamples: '0' }, 'min_samples'],
    [{ minSamples: '2.5' }, 'min_samples'],
    [{ minIntersection: 'x' }, 'min_intersection'],
    [{ lens: 'pca', lensNumber: '0' }, 'lens'],
    [{ lens: 'column', lensNumber: '-1' }, 'lens'],
    [{ lens: 'pca', lensNumber: '3', intervals: '4, 4' }, 'intervals'],
    [{ lens: 'pca', lensNumber: '3', intervals: '1000' }, 'intervals'],
  ] as [Partial<Draft>, string][])('says what is wrong with %o', (changes, field) => {
    expect(Object.keys(read(changes).errors)).toEqual([field]);
  });

  it('knows the field that the server speaks of', () => {
    expect(fieldOf('overlap must be below 1, got 1.5; lower it')).toBe('overlap');
    expect(fieldOf('n_intervals must be a whole number')).toBe('intervals');
    expect(fieldOf("eps='knee' works with the metrics euclidean")).toBe('eps');
    expect(fieldOf('metric must be one of, eps')).toBe('metric');
    expect(fieldOf('out of memory')).toBeNull();
  });
});

describe('tabs', () => {
  it('are named by what tells them apart', () => {
    expect(differences(base, { ...base, overlap: [0.4], eps: 2 })).toEqual([
      'overlap 0.4',
      'eps 2',
    ]);
    const runs = [
      run('1', 'file'),
      run('2', 'file', { lens: 'pca:2', intervals: [5, 6] }),
      run('3', 'recomputed', { overlap: [0.5] }),
      run('4', 'recomputed', { lens: 'pca:2', intervals: [7, 8] }),
      run('5', 'recomputed'),
    ];
    expect(parentOf(runs[2], runs)?.id).toBe('1');
    expect(parentOf(runs[0], runs)).toBeNull();
    expect(tabsOf(runs).map(({ run: { id }, name }) => [id, name])).toEqual([
      ['1', 'run 1'],
      ['3', 'overlap 0.5'],
      ['5', 'same settings'],
      ['2', 'run 2'],
      ['4', 'intervals 7 × 8'],
    ]);
  });

  it('know the run that there is already', () => {
    const runs = [run('1', 'file'), run('2', 'recomputed', { eps: 2 })];
    expect(twinOf(runs[0], { ...base, eps: 2 }, runs)?.id).toBe('2');
    expect(twinOf(runs[0], { ...base, eps: 3 }, runs)).toBeNull();
    expect(twinOf({ ...runs[0], layer: 'b', id: '7' }, { ...base, eps: 2 }, runs)).toBeNull();
  });

  it('of the same name are numbered', () => {
    const runs = [run('1', 'file'), run('2', 'recomputed'), run('3', 'recomputed')];
    expect(tabsOf(runs).map(({ name }) => name)).toEqual([
      'run 1',
      'same settings',
      'same settings (2)',
    ]);
  });

  it('keep a run whose parent is gone', () => {
    const orphan = { ...run('9', 'recomputed'), layer: 'b' };
    expect(tabsOf([run('1', 'file'), orphan]).map(({ name }) => name)).toEqual(['run 1', 'run 9']);
  });
});

describe('sweeps', () => {
  it('take up to six values', () => {
    const { settings, error } = sweep(base, 'overlap', '0.2, 0.3 0.4, 0.4');
    expect(error).toBeNull();
    expect(settings.map(({ overlap }) => overlap)).toEqual([[0.2], [0.3], [0.4]]);
    expect(sweep(base, 'eps', 'knee 1.5').settings.map(({ eps }) => eps)).toEqual(['knee', 1.5]);
  });

  it('refuse what the form refuses', () => {
    expect(sweep(base, 'overlap', '1 2 3 4 5 6 7').error).toMatch('these are 7');
    expect(sweep(base, 'intervals', '4 0').error).toMatch('0: ');
    expect(sweep(base, 'intervals', ' ').error).toMatch('up to 6');
  });
});
