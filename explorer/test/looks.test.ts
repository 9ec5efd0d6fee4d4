import { describe, expect, it } from 'vitest';
import { COLOURED_KINDS, colourOf, ownValues } from '../src/lib/colouring';
import { placeLabels } from '../src/lib/labels';
import { legendOf } from '../src/lib/legend';
import { describe as inWords, labelOf, looksOf, radii } from '../src/lib/looks';
import { hex, hueOf, UNKNOWN, type Rgb } from '../src/lib/palette';
import { escape, pictureOf, toSvg } from '../src/lib/picture';
import { parseColour } from '../src/lib/theme';
import { FORK, graphOf } from './graphs';

const theme = {
  dark: false,
  paper: [255, 255, 255] as Rgb,
  panel: [245, 246, 248] as Rgb,
  ink: [20, 20, 20] as Rgb,
  quiet: [90, 90, 90] as Rgb,
  line: [210, 210, 210] as Rgb,
  accent: [5, 80, 174] as Rgb,
  warn: [138, 70, 0] as Rgb,
};
const graph = graphOf(FORK);
const plain = {
  coloured: ownValues(graph, 'lens:0'),
  edgeWidth: 'jaccard' as const,
  minJaccard: 0,
  minSize: 1,
  selected: [] as number[],
  images: false,
  marks: [],
};

describe('looks', () => {
  it('grow with the log of the size', () => {
    const radius = radii([1, 10, 100], 3);
    expect(radius[1] - radius[0]).toBeCloseTo(radius[2] - radius[1], 4);
    expect(new Set(radii([7, 7], 2)).size).toBe(1);
  });

  it('hide edges by Jaccard, and nodes by size with their edges', () => {
    const weak = looksOf(graph, { ...plain, minJaccard: 0.2 }, theme);
    expect([...weak.edgeHidden]).toEqual([0, 0, 1, 0, 1, 1]);
    const small = looksOf(graph, { ...plain, minSize: 20 }, theme);
    expect([...small.hidden]).toEqual([1, 0, 0, 0, 0, 1, 1, 1, 1]);
    expect([...small.edgeHidden]).toEqual([1, 0, 0, 0, 1, 1]);
    expect([small.nShown, small.nEdgesShown]).toEqual([4, 3]);
  });

  it('fade what is not selected', () => {
    const looks = looksOf(graph, { ...plain, selected: [1, 2] }, theme);
    expect([...looks.faded]).toEqual([1, 0, 0, 1, 1, 1, 1, 1, 1]);
    expect([...looks.edgeFaded]).toEqual([1, 0, 1, 1, 1, 1]);
  });

  it('widen edges by Jaccard or by rows', () => {
    const byRows = looksOf(graph, { ...plain, edgeWidth: 'count' }, theme).edgeWidth;
    expect(byRows.indexOf(Math.max(...byRows))).toBe(1);
    const byJaccard = looksOf(graph, plain, theme).edgeWidth;
    expect(byJaccard[1]).toBeGreaterThan(byJaccard[2]);
  });

  it('divide discs among marks and size them by share', () => {
    const marks = [
      { members: { nodes: [0, 2], count: [3, 4], share: [0.3, 0.1] } },
      { members: { nodes: [2], count: [12], share: [0.3] } },
    ].map(({ members }) => ({
      members: {
        nodes: Int32Array.from(members.nodes),
        count: Int32Array.from(members.count),
        share: Float32Array.from(members.share),
      },
    }));
    const looks = looksOf(graph, { ...plain, marks }, theme);
    expect([...looks.parts!.subarray(0, 6)]).toEqual([1, 0, 0, 0, 0.25, 0.75]);
    expect(looks.radius[2]).toBeGreaterThan(looks.radius[0]);
    expect(looks.radius[0]).toBeGreaterThan(looks.radius[1]);
  });

  it('colour the most frequent kinds and leave the rest grey', () => {
    const n = 40;
    const many = graphOf({
      size: Array<number>(n).fill(1),
      interval: Array<number>(n).fill(0),
      edges: [],
      classes: Array.from({ length: n }, (_, id) => `c${id}`),
      top: Array.from({ length: n }, (_, a) => (a < 2 ? 7 : a)),
    });
    const coloured = ownValues(many, 'top')!;
    expect(colourOf(coloured, 0)).toEqual(hueOf(0));
    expect(colourOf(coloured, n - 1)).toEqual(UNKNOWN);
    const legend = legendOf(many, coloured, [], 'jaccard', theme);
    expect(legend.kinds.length).toBe(COLOURED_KINDS);
    expect(legend.others).toBe(new Set(coloured.values as Int32Array).size - COLOURED_KINDS);
    expect(legend.kinds[0].name).toBe('c7');
  });
});

describe('words', () => {
  it('name nodes', () => {
    const named = graphOf({ ...FORK, classes: ['cat', 'dog'], top: [0, 1, 1, -1, 0, 0, 0, 0, 0] });
    named.liftClass[0] = 1;
    expect(labelOf(named, 0)).toBe('cat · ↑dog');
    expect(labelOf(named, 1)).toBe('dog');
    expect(labelOf(named, 3)).toBe('node 3');
    expect(inWords(named, 1)).toBe('Node 1: 20 rows; L2 norm 1; largest class dog, 50%; 2 edges.');
  });

  it('read colours', () => {
    expect(parseColour(' #fff')).toEqual([255, 255, 255]);
    expect(parseColour('#0550ae')).toEqual([5, 80, 174]);
    expect(parseColour('red')).toEqual([128, 128, 128]);
  });
});

describe('labels', () => {
  const screen = Float32Array.from({ length: 400 }, (_, at) =>
    at % 2 ? 20 + 9 * Math.floor(at / 40) : 20 + 40 * ((at / 2) % 20),
  );
  const task = {
    order: Array.from({ length: 200 }, (_, a) => a),
    forced: 0,
    screen,
    radius: () => 4,
    shown: () => true,
    wanted: () => true,
    width: () => 60,
    size: { width: 900, height: 300 },
    least: 3,
    most: 100,
  };

  it('never lie over one another', () => {
    for (const forced of [0, 200]) {
      const placed = placeLabels({ ...task, forced });
      expect(placed.length).toBeGreaterThan(forced ? 5 : 0);
      const boxes = placed.map(({ x, y, align }) => [align === 'left' ? x : x - 60, y - 7]);
      for (const [at, [x, y]] of boxes.entries())
        for (const [x2, y2] of boxes.slice(0, at))
          expect(Math.abs(x - x2) < 60 && Math.abs(y - y2) < 14).toBe(false);
    }
  });

  it('leave out small discs, unless they must be named', () => {
    expect(placeLabels({ ...task, radius: () => 1 })).toEqual([]);
    expect(placeLabels({ ...task, radius: () => 1, order: [5], forced: 1 })[0].node).toBe(5);
  });
});

describe('pictures', () => {
  const evil = '<script>alert("1")</script>&\u0000';
  const named = graphOf({ ...FORK, classes: [evil], top: Array<number>(9).fill(0) });
  const coloured = ownValues(named, 'top');
  const view = {
    width: 400,
    height: 300,
    screen: Float32Array.from({ length: 18 }, (_, at) => 20 + 10 * at),
    zoom: 1,
    shrink: 1,
    edge: named.edge,
    looks: looksOf(named, { ...plain, coloured }, theme),
    hues: [],
    photos: new Map(),
    chosen: [2],
    labels: [{ node: 0, x: 30, y: 20, align: 'left' as const, text: evil }],
    legend: legendOf(named, coloured, [], 'jaccard', theme),
    theme,
  };

  it('escape what data says', () => {
    const svg = toSvg(pictureOf(view), evil);
    expect(svg).not.toContain('<script');
    expect(svg).not.toContain('\u0000');
    expect(svg).toContain('&#60;script&#62;');
    expect(escape('a & "b"')).toBe('a &#38; &#34;b&#34;');
  });

  it('show nodes, edges, the selection and the legend', () => {
    const picture = pictureOf(view);
    expect(picture.height).toBeGreaterThan(view.height);
    const discs = picture.shapes.filter(({ is }) => is === 'disc');
    expect(discs.length).toBeGreaterThanOrEqual(9);
    const ringed = discs.filter(
      (shape) => shape.is === 'disc' && shape.stroke === hex(theme.accent),
    );
    expect(ringed.length).toBe(1);
    expect(picture.shapes.filter(({ is }) => is === 'line').length).toBe(6 + 2);
    const texts = picture.shapes.flatMap((shape) => (shape.is === 'text' ? [shape.text] : []));
    expect(texts).toContain('Largest label');
    expect(texts).toContain('Jaccard');
  });
});
