import { describe, expect, it } from 'vitest';
import {
  branchAround,
  inside,
  lassoed,
  linksOf,
  neighbours,
  nextOver,
  reachable,
  shortestPath,
} from '../src/lib/selecting';
import { FORK, graphOf } from './graphs';

const graph = graphOf(FORK);
const links = linksOf(graph.n, graph.edge);
const all = () => true;

describe('links', () => {
  it('go both ways', () => {
    expect(neighbours(links, 2).sort()).toEqual([1, 3, 4]);
    expect(neighbours(links, 8)).toEqual([]);
  });

  it('leave out hidden edges', () => {
    const strong = linksOf(graph.n, graph.edge, (e) => graph.jaccard[e] >= 0.2);
    expect(reachable(strong, [0])).toEqual([0, 1, 2, 4]);
  });
});

describe('paths', () => {
  it('have the fewest edges', () => {
    expect(shortestPath(links, graph.jaccard, 0, 5)).toEqual([0, 1, 2, 4, 5]);
    expect(shortestPath(links, graph.jaccard, 3, 3)).toEqual([3]);
    expect(shortestPath(links, graph.jaccard, 0, 6)).toBeNull();
  });

  it('prefer the larger Jaccard among equals', () => {
    const square = Int32Array.of(0, 1, 1, 0, 2, 1, 1, 3, 1, 2, 3, 1);
    const ways = linksOf(4, square);
    expect(shortestPath(ways, [0.1, 0.4, 0.3, 0.2], 0, 3)).toEqual([0, 2, 3]);
    expect(shortestPath(ways, [0.4, 0.1, 0.3, 0.2], 0, 3)).toEqual([0, 1, 3]);
  });

  it('agree with trying all paths, on a ladder', () => {
    const edges: number[] = [];
    for (let a = 0; a < 5; a += 1) {
      edges.push(2 * a, 2 * a + 1, 1);
      if (a < 4) edges.push(2 * a, 2 * a + 2, 1, 2 * a + 1, 2 * a + 3, 1);
    }
    const jaccard = edges.flatMap((_, at) => (at % 3 ? [] : [((at * 37) % 11) / 11]));
    const ladder = linksOf(10, Int32Array.from(edges));
    const best = { steps: Infinity, worth: -1 };
    const walk = (a: number, seen: number[], worth: number) => {
      if (a === 9) {
        const steps = seen.length;
        if (steps < best.steps || (steps === best.steps && worth > best.worth))
          Object.assign(best, { steps, worth });
        return;
      }
      for (let at = ladder.indptr[a]; at < ladder.indptr[a + 1]; at += 1)
        if (!seen.includes(ladder.to[at]))
          walk(ladder.to[at], [...seen, ladder.to[at]], worth + jaccard[ladder.edge[at]]);
    };
    walk(0, [0], 0);
    const path = shortestPath(ladder, jaccard, 0, 9)!;
    let worth = 0;
    for (let step = 1; step < path.length; step += 1)
      for (let at = ladder.indptr[path[step - 1]]; at < ladder.indptr[path[step - 1] + 1]; at += 1)
        if (ladder.to[at] === path[step]) worth += jaccard[ladder.edge[at]];
    expect(path.length).toBe(best.steps);
    expect(worth).toBeCloseTo(best.worth);
  });
});

describe('components and branches', () => {
  it('reach everything joined', () => {
    expect(reachable(links, [3])).toEqual([0, 1, 2, 3, 4, 5]);
    expect(reachable(links, [7, 8])).toEqual([6, 7, 8]);
  });

  it('end before a junction', () => {
    expect(branchAround(links, 0)).toEqual([0, 1]);
    expect(branchAround(links, 4)).toEqual([4, 5]);
    expect(branchAround(links, 2)).toEqual([2]);
    expect(branchAround(links, 8)).toEqual([8]);
  });

  it('are the server’s where it knows one', () => {
    const known = [
      { id: 'b1', kind: 'branch' as const, name: 'long', nodes: [4, 5, 2], rank: 1, score: 1 },
      { id: 'b2', kind: 'branch' as const, name: 'short', nodes: [5, 4], rank: 2, score: 1 },
    ];
    expect(branchAround(links, 5, known)).toEqual([4, 5]);
    expect(branchAround(links, 0, known)).toEqual([0, 1]);
  });
});

describe('lasso', () => {
  const bay = [0, 0, 10, 0, 10, 10, 5, 4, 0, 10];

  it('knows in from out of a shape with a bay', () => {
    expect(inside(2, 2, bay)).toBe(true);
    expect(inside(5, 8, bay)).toBe(false);
    expect(inside(9, 8, bay)).toBe(true);
    expect(inside(11, 2, bay)).toBe(false);
  });

  it('takes shown nodes alone', () => {
    const screen = Float32Array.of(2, 2, 5, 8, 9, 8, 3, 3);
    expect(lassoed(screen, bay, (a) => a !== 3)).toEqual([0, 2]);
  });
});

describe('going from node to node', () => {
  const screen = Float32Array.of(0, 0, 10, 1, 30, 0, 12, 40, 0, -20);

  it('takes the nearest ahead', () => {
    expect(nextOver(screen, 0, 'right', all)).toBe(1);
    expect(nextOver(screen, 1, 'right', all)).toBe(2);
    expect(nextOver(screen, 0, 'up', all)).toBe(4);
    expect(nextOver(screen, 0, 'down', all)).toBe(3);
    expect(nextOver(screen, 0, 'left', all)).toBeNull();
  });

  it('passes hidden nodes by', () => {
    expect(nextOver(screen, 0, 'right', (a) => a !== 1)).toBe(2);
  });
});
