import { describe, expect, it } from 'vitest';
import {
  axisEnd,
  diverging,
  fromZero,
  length,
  orderClasses,
  reach,
  worstCovered,
} from '../src/lib/bars';
import { besides, fitted, overlayOf } from '../src/lib/boxes';
import { csvName } from '../src/lib/csv';
import { emphasise } from '../src/lib/emphasis';
import {
  brief,
  count,
  counted,
  lift,
  moment,
  named,
  number,
  percent,
  probability,
  signed,
} from '../src/lib/format';
import { groupFound, numberKinds, step } from '../src/lib/found';
import { histogramBars, histogramText, stretches } from '../src/lib/histogram';
import { Latest, pause, STALE } from '../src/lib/latest';
import {
  componentsOf,
  connected,
  largest,
  lensRange,
  neighboursOf,
  nodesName,
  sameNodes,
} from '../src/lib/neighbours';
import { addNote, editNote, LONGEST_NOTE, removeNote, sortNotes } from '../src/lib/noting';
import {
  ariaSort,
  cellText,
  columnKinds,
  filterOf,
  learnKinds,
  nextSorting,
  numberOf,
  pagingOf,
} from '../src/lib/rowtable';
import type { ClassShare, GraphData } from '../src/lib/types';

describe('numbers', () => {
  it('writes counts with separators and nouns', () => {
    expect(count(1234567)).toBe('1,234,567');
    expect(count(null)).toBe('–');
    expect(counted(1, 'node')).toBe('1 node');
    expect(counted(2, 'branch', 'branches')).toBe('2 branches');
  });

  it('never rounds a share to nothing or to all', () => {
    expect(percent(0)).toBe('0%');
    expect(percent(0.00001)).toBe('< 0.1%');
    expect(percent(0.99999)).toBe('> 99.9%');
    expect(percent(1)).toBe('100%');
    expect(percent(0.1234)).toBe('12.3%');
    expect([0.5, 0.00321, 0.8785].map(percent)).toEqual(['50%', '0.3%', '87.8%']);
    expect(percent(Number.NaN)).toBe('–');
  });

  it('keeps significant digits', () => {
    expect(number(1234.5678)).toBe('1,235');
    expect(number(0.00012345)).toBe('1.2e-4');
    expect(number(0)).toBe('0');
    expect(lift(2.345)).toBe('2.3×');
    expect(lift(1234)).toBe('1,234×');
    expect(probability(0)).toBe('< 1e-300');
    expect(probability(3.14e-12)).toBe('3.1e-12');
    expect(probability(0.0432)).toBe('0.043');
    expect(signed(1.5)).toBe('+1.5');
    expect(signed(-1.23456)).toBe('−1.23');
    expect(brief(0.0123456)).toBe('0.0123');
    expect(number(-2e-9)).toBe('−2e-9');
    expect([0, 0.12345, 12.345, 12345, 1e-5, 2.5e7, NaN].map(brief)).toEqual([
      '0',
      '0.123',
      '12.3',
      '12,345',
      '1e-5',
      '2.5e7',
      '–',
    ]);
  });

  it('keeps a date that it cannot read, and names what has no name', () => {
    expect(moment('yesterday')).toBe('yesterday');
    expect(moment('2026-01-02T10:00:00Z')).toContain('2026');
    expect(named('  ')).toBe('(no name)');
  });
});

describe('Latest', () => {
  it('drops an answer that a newer question overtook', async () => {
    const latest = new Latest();
    const slow = latest.run(() => pause(20).then(() => 'old'));
    const quick = latest.run(async () => 'new');
    expect(await quick).toBe('new');
    expect(await slow).toBe(STALE);
  });

  it('drops an old failure but reports a current one', async () => {
    const latest = new Latest();
    const old = latest.run(() => pause(5).then(() => Promise.reject(new Error('old'))));
    const now = latest.run(() => Promise.reject(new Error('now')));
    await expect(now).rejects.toThrow('now');
    expect(await old).toBe(STALE);
  });

  it('does not even start what was overtaken while it waited', async () => {
    const latest = new Latest();
    let started = 0;
    const ask = () => latest.run(async () => (started += 1), 10);
    const [first, second] = [ask(), ask()];
    expect(await first).toBe(STALE);
    expect(await second).toBe(1);
    const dropped = ask();
    latest.drop();
    expect(await dropped).toBe(STALE);
    expect(started).toBe(1);
  });
});

describe('histograms', () => {
  it('scales each series to its own peak and shows the smallest bar', () => {
    const bars = histogramBars({ edges: [0, 1, 3], counts: [1, 4], all: [1000, 1] });
    expect(bars.map(({ x, width }) => [x, width])).toEqual([
      [0, 1 / 3],
      [1 / 3, 2 / 3],
    ]);
    expect(bars.map(({ part, all }) => [part, all])).toEqual([
      [0.25, 1],
      [1, 0.02],
    ]);
    expect(bars[0].title).toBe('0 to 1: 1 of 1,000 rows');
  });

  it('survives a lens of one value and a selection without rows', () => {
    const flat = histogramBars({ edges: [2, 2, 2], counts: [0, 0], all: [0, 5] });
    expect(flat.every(({ x, width, part }) => x >= 0 && width === 0.5 && part === 0)).toBe(true);
    expect(histogramText('norm', { edges: [0, 1], counts: [0], all: [1] })).toBe('norm: no rows.');
  });

  it('says in words where the rows lie', () => {
    const text = histogramText('norm', { edges: [0, 1, 2, 3], counts: [0, 2, 5], all: [9, 9, 9] });
    expect(text).toBe('norm: 7 selected rows from 1 to 3, most of them (5) from 2 to 3.');
  });

  it('joins many intervals into few stretches', () => {
    const ids = Array.from({ length: 250 }, (_, at) => at);
    const interval = {
      ids,
      offered: ids.map(() => 10),
      taken: ids.map(() => 8),
      noise: ids.map(() => 0.2),
    };
    const found = stretches(interval, 100);
    expect(found.length).toBe(84);
    expect(found[0]).toMatchObject({ first: 0, last: 2, offered: 30, taken: 24 });
    expect(found[0].noise).toBeCloseTo(0.2);
    expect(found.at(-1)).toMatchObject({ first: 249, last: 249 });
    expect(found.at(-1)?.noise).toBeCloseTo(0.2);
    expect(stretches({ ids: [0], offered: null, taken: [3], noise: [0.25] })[0].offered).toBe(4);
  });
});

function shareOf(id: number, share: number, lifted: number, p: number): ClassShare {
  return { id, name: String(id), count: 1, share, base: 0.1, lift: lifted, p };
}

describe('class bars', () => {
  it('puts significant lifts before high ones that chance explains', () => {
    const classes = [shareOf(0, 0.1, 50, 0.9), shareOf(1, 0.5, 2, 0.01), shareOf(2, 0.2, 3, 0.001)];
    expect(orderClasses(classes, 'lift').map(({ id }) => id)).toEqual([2, 1, 0]);
    expect(orderClasses(classes, 'share').map(({ id }) => id)).toEqual([1, 2, 0]);
    expect(classes[0].id).toBe(0);
  });

  it('leaves room for the base rate and never leaves the axis', () => {
    expect(axisEnd([{ share: 0.1, base: 0.3 }])).toBe(0.3);
    expect(axisEnd([])).toBe(1);
    expect(length(2, 1)).toBe(100);
    expect(diverging(-1, 2)).toEqual({ left: 25, width: 25 });
    expect(diverging(Infinity, 2)).toEqual({ left: 50, width: 50 });
    expect(fromZero(-1, -1, 3)).toEqual({ left: 0, width: 25 });
    expect(fromZero(3, -1, 3)).toEqual({ left: 25, width: 75 });
    expect(fromZero(1, 0, 0)).toEqual({ left: 0, width: 0 });
    expect(reach([1, -3, Infinity])).toBe(3);
    expect(reach([])).toBe(1);
  });

  it('lists the worst covered class first and leaves empty ones out', () => {
    const worst = worstCovered([0.9, 0.2, 0.2, 0], [10, 5, 8, 0]);
    expect(worst.map(({ id }) => id)).toEqual([2, 1, 0]);
  });
});

const graph = {
  n: 5,
  nEdges: 3,
  nLens: 1,
  size: Int32Array.of(10, 20, 5, 7, 40),
  component: Int32Array.of(0, 0, 0, 0, 1),
  edge: Int32Array.of(0, 1, 4, 1, 2, 3, 0, 2, 1),
  jaccard: Float32Array.of(0.5, 0.25, 0.125),
  lensMin: Float32Array.of(0, 1, 2, 3, 9),
  lensMax: Float32Array.of(1, 2, 3, 4, 9),
} as unknown as GraphData;

describe('neighbours', () => {
  it('gives the strongest edge to each, the strongest first', () => {
    expect(neighboursOf(graph, [0])).toEqual([
      { node: 1, jaccard: 0.5, shared: 4 },
      { node: 2, jaccard: 0.125, shared: 1 },
    ]);
    expect(neighboursOf(graph, [0, 1])).toEqual([{ node: 2, jaccard: 0.25, shared: 3 }]);
    expect(neighboursOf(graph, [4])).toEqual([]);
  });

  it('lists components and nodes by size', () => {
    expect(componentsOf(graph).map(({ id, memberships }) => [id, memberships])).toEqual([
      [0, 42],
      [1, 40],
    ]);
    expect(connected(graph, [2])).toEqual([0, 1, 2, 3]);
    expect(largest(graph)).toEqual([4, 1, 0, 3, 2]);
    expect(lensRange(graph, [0, 2], 0)).toEqual([0, 3]);
    expect(lensRange(graph, [], 0)).toEqual([NaN, NaN]);
    expect([[3], [1, 2, 3, 9], Array.from({ length: 30 }, (_, a) => 2 * a)].map(nodesName)).toEqual(
      ['node 3', 'nodes 1–3, 9', '30 nodes'],
    );
    expect(sameNodes([1, 2], [2, 1])).toBe(true);
    expect(sameNodes([1, 2], [1, 3])).toBe(false);
  });
});

describe('emphasis', () => {
  it('marks each match and loses no character', () => {
    const parts = emphasise('Banana (an)', 'AN');
    expect(parts.filter(({ hit }) => hit).map(({ text }) => text)).toEqual(['an', 'an', 'an']);
    expect(parts.map(({ text }) => text).join('')).toBe('Banana (an)');
  });

  it('takes what was typed as it is, not as a pattern', () => {
    expect(emphasise('a.b', '.')).toEqual([
      { text: 'a', hit: false },
      { text: '.', hit: true },
      { text: 'b', hit: false },
    ]);
    expect(emphasise('abc', '(')).toEqual([{ text: 'abc', hit: false }]);
    expect(emphasise('abc', ' ')).toEqual([{ text: 'abc', hit: false }]);
    expect(emphasise('', 'a')).toEqual([{ text: '', hit: false }]);
  });
});

describe('boxes', () => {
  it('scales the receptive field and cuts it to the input', () => {
    expect(overlayOf({ box: [50, -10, 150, 50], shape: [100, 200] })).toEqual({
      left: 0,
      top: 50,
      width: 25,
      height: 50,
    });
    expect(overlayOf({ box: null, shape: [1, 1] })).toBeNull();
    expect(overlayOf({ box: [0, 0, 0, 0], shape: [1, 1] })).toBeNull();
  });

  it('keeps the popover on the screen', () => {
    const screen = { width: 400, height: 800 };
    const size = { width: 300, height: 300 };
    const at = (left: number, top: number) => ({ left, top, right: left + 64, bottom: top + 64 });
    expect(besides(at(350, 100), size, screen)).toEqual({ left: 42, top: 100 });
    expect(besides(at(10, 100), size, screen)).toEqual({ left: 10, top: 172 });
    expect(besides(at(200, 700), size, screen)).toEqual({ left: 92, top: 392 });
    expect(fitted([100, 200], 64)).toEqual([32, 64]);
    expect(fitted(null, 64)).toBeNull();
  });
});

describe('csv', () => {
  it('names files after run and nodes, whatever they are called', () => {
    expect(csvName('run 1/…', [1, 2, 3, 7])).toBe('run-1-nodes-1-3_7.csv');
    expect(csvName('../..', [])).toBe('run-all.csv');
    const many = Array.from({ length: 99 }, (_, at) => 2 * at);
    expect(csvName('a', many, true)).toBe('a-99-nodes-filtered.csv');
  });
});

describe('notes', () => {
  const now = new Date('2026-05-01T00:00:00Z');
  const old = { nodes: [1], text: 'old', when: '2026-01-01T00:00:00Z' };

  it('adds, edits and removes without changing the list', () => {
    const notes = addNote([old], [2, 3], '  new ', now);
    expect(notes[1]).toEqual({ nodes: [2, 3], text: 'new', when: '2026-05-01T00:00:00.000Z' });
    expect(editNote(notes, old, 'other', now)[0].text).toBe('other');
    expect(editNote(notes, old, ' ', now)).toBe(notes);
    expect(removeNote(notes, old)).toEqual([notes[1]]);
    expect(old.text).toBe('old');
  });

  it('refuses blanks and cuts what is too long', () => {
    expect(addNote([], [1], ' \n', now)).toEqual([]);
    expect(addNote([], [], 'text', now)).toEqual([]);
    expect(addNote([], [1], 'x'.repeat(5000), now)[0].text.length).toBe(LONGEST_NOTE);
  });

  it('puts the notes of the selection first, the newest before the older', () => {
    const notes = addNote([old], [1, 2], 'new', now);
    expect(sortNotes(notes, [1]).here.map(({ text }) => text)).toEqual(['new', 'old']);
    expect(sortNotes(notes, [2]).elsewhere).toEqual([old]);
  });
});

describe('table of rows', () => {
  it('knows columns by what the graph says and by their cells', () => {
    const page = {
      total: 1,
      matching: 1,
      columns: ['row', 'class', 'lens', 'empty', 'blank'],
      rows: [[1, 'cat', 0.5, null, null]],
    };
    const columns = [
      { name: 'class', kind: 'category' as const, n_values: 2 },
      { name: 'empty', kind: 'number' as const, n_values: 0 },
    ];
    const kinds = learnKinds({}, page);
    const expected = ['number', 'text', 'number', 'number', 'text'];
    expect(columnKinds(page, columns, kinds)).toEqual(expected);
    const none = { ...page, rows: [] };
    expect(columnKinds(none, columns, learnKinds(kinds, none))).toEqual(expected);
  });

  it('sends only filters that say something', () => {
    const typed = { a: { text: ' cat ' }, b: { min: '1', max: '' }, c: { text: ' ' } };
    expect(filterOf(typed)).toEqual({ a: { text: 'cat' }, b: { min: 1 } });
    expect(filterOf({ d: { min: 'x', max: '−2' } })).toEqual({ d: { max: -2 } });
    expect(numberOf('1e3')).toBe(1000);
  });

  it('turns pages', () => {
    expect(pagingOf(50, 120)).toEqual({ page: 1, pages: 3, first: 51, last: 100 });
    expect(pagingOf(100, 120)).toMatchObject({ first: 101, last: 120 });
    expect(pagingOf(500, 20)).toMatchObject({ page: 0, first: 1, last: 20 });
    expect(pagingOf(0, 0)).toEqual({ page: 0, pages: 1, first: 0, last: 0 });
  });

  it('sorts up, down and not at all', () => {
    const up = nextSorting({ sort: null, descending: false }, 'a');
    const down = nextSorting(up, 'a');
    expect(ariaSort(up, 'a')).toBe('ascending');
    expect(ariaSort(down, 'a')).toBe('descending');
    expect(nextSorting(down, 'a').sort).toBeNull();
    expect(nextSorting(down, 'b')).toEqual({ sort: 'b', descending: false });
    expect(ariaSort(up, 'b')).toBe('none');
  });

  it('writes cells', () => {
    expect([null, 'x', 12345, 0.123456].map(cellText)).toEqual(['–', 'x', '12345', '0.1235']);
  });
});

describe('search', () => {
  it('groups what was found', () => {
    const found = (kind: 'class' | 'input' | 'word', id: number) => ({
      kind,
      id,
      label: '',
      rows: 1,
    });
    const groups = groupFound([found('input', 1), found('class', 2), found('input', 3)]);
    expect(groups.map(({ kind }) => kind)).toEqual(['class', 'input']);
    expect(groups[1].found.map(({ id }) => id)).toEqual([1, 3]);
  });

  it('counts branches and loops from one, by rank', () => {
    const feature = (kind: 'branch' | 'loop', rank: number) => ({
      id: `${rank}`,
      kind,
      name: '',
      nodes: [rank],
      rank,
      score: 1,
    });
    const numbered = numberKinds([feature('branch', 1), feature('loop', 0), feature('branch', 0)]);
    expect(numbered.map((one) => [one.feature.kind, one.feature.rank, one.number])).toEqual([
      ['branch', 0, 1],
      ['branch', 1, 2],
      ['loop', 0, 1],
    ]);
  });

  it('goes round through the options and the field', () => {
    expect([step(-1, 1, 2), step(0, 1, 2), step(1, 1, 2), step(-1, -1, 2)]).toEqual([0, 1, -1, 1]);
    expect(step(-1, 1, 0)).toBe(-1);
  });
});
