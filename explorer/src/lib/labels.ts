/** Which labels are drawn: the most important first, none over another. */

export interface Placed {
  node: number;
  x: number;
  y: number;
  align: 'left' | 'right';
}

export interface LabelTask {
  /** Nodes by importance; the first `forced` are drawn wherever there is room at all. */
  order: ArrayLike<number>;
  forced: number;
  screen: Float32Array;
  radius: (a: number) => number;
  shown: (a: number) => boolean;
  width: (a: number) => number;
  size: { width: number; height: number };
  /** Smallest disc that carries a label, px. */
  least: number;
  most: number;
}

const HEIGHT = 15;
const SPACE = 4;
const TRIES = 600;

/** Place labels beside their nodes: right of them, else left, else not at all. */
export function placeLabels(task: LabelTask): Placed[] {
  const placed: Placed[] = [];
  const boxes: [number, number, number, number][] = [];
  const seen = new Set<number>();
  let tries = 0;
  for (let at = 0; at < task.order.length && placed.length < task.most && tries < TRIES; at += 1) {
    const a = task.order[at];
    if (seen.has(a) || !task.shown(a)) continue;
    seen.add(a);
    const radius = task.radius(a);
    if (at >= task.forced && radius < task.least) continue;
    const [x, y] = [task.screen[2 * a], task.screen[2 * a + 1]];
    const { width, height } = task.size;
    if (x < 0 || y < 0 || x > width || y > height) continue;
    tries += 1;
    const wide = task.width(a);
    const right = x + radius + SPACE;
    const left = x - radius - SPACE - wide;
    const options: [number, 'left' | 'right'][] =
      right + wide <= width
        ? [
            [right, 'left'],
            [left, 'right'],
          ]
        : [
            [left, 'right'],
            [right, 'left'],
          ];
    for (const [start, align] of options) {
      const box: [number, number, number, number] = [
        start - 2,
        y - HEIGHT / 2,
        start + wide + 2,
        y + HEIGHT / 2,
      ];
      if (at >= task.forced && (start < 0 || start + wide > width)) continue;
      if (boxes.some((other) => overlap(box, other))) continue;
      boxes.push(box);
      placed.push({ node: a, x: align === 'left' ? start : start + wide, y, align });
      break;
    }
  }
  return placed;
}

function overlap(
  [l, t, r, b]: [number, number, number, number],
  [l2, t2, r2, b2]: [number, number, number, number],
): boolean {
  return l < r2 && l2 < r && t < b2 && t2 < b;
}
