/** Which labels are drawn: the most important first, none over another or over a disc. */

export interface Placed {
  node: number;
  x: number;
  y: number;
  align: 'left' | 'right';
}

export interface LabelTask {
  /** Nodes by importance; the first `forced` are drawn even over discs. */
  order: ArrayLike<number>;
  forced: number;
  screen: Float32Array;
  radius: (a: number) => number;
  shown: (a: number) => boolean;
  /** May the node carry a label, if it is not forced? */
  wanted: (a: number) => boolean;
  width: (a: number) => number;
  size: { width: number; height: number };
  /** Smallest disc that carries a label, px. */
  least: number;
  most: number;
}

const HEIGHT = 14;
const SPACE = 4;
const TRIES = 500;

/** Place labels beside their nodes: right of them, else left, else not at all. */
export function placeLabels(task: LabelTask): Placed[] {
  const { screen, size } = task;
  const discs = new Ground(size.width, size.height);
  const texts = new Ground(size.width, size.height);
  for (let a = 0; 2 * a < screen.length; a += 1)
    if (task.shown(a)) {
      const [x, y, r] = [screen[2 * a], screen[2 * a + 1], 0.8 * task.radius(a)];
      discs.take(x - r, y - r, x + r, y + r);
    }
  const placed: Placed[] = [];
  const seen = new Set<number>();
  let tries = 0;
  for (let at = 0; at < task.order.length && placed.length < task.most && tries < TRIES; at += 1) {
    const a = task.order[at];
    const forced = at < task.forced;
    const radius = task.radius(a);
    if (seen.has(a) || !task.shown(a)) continue;
    if (!forced && (radius < task.least || !task.wanted(a))) continue;
    const [x, y] = [screen[2 * a], screen[2 * a + 1]];
    if (x < 0 || y < 0 || x > size.width || y > size.height) continue;
    seen.add(a);
    tries += 1;
    const wide = task.width(a);
    for (const align of ['left', 'right'] as const) {
      const start = align === 'left' ? x + radius + SPACE : x - radius - SPACE - wide;
      const box = [start, y - HEIGHT / 2, start + wide, y + HEIGHT / 2] as const;
      if (start < 0 || start + wide > size.width || !texts.isFree(...box)) continue;
      if (!forced && !discs.isFree(...box)) continue;
      // a little air around each label
      texts.take(box[0] - 8, box[1] - 3, box[2] + 8, box[3] + 3);
      placed.push({ node: a, x: align === 'left' ? start : start + wide, y, align });
      break;
    }
  }
  return placed;
}

const CELL = 4;

/** What is taken of the frame, in small cells. */
class Ground {
  private readonly across: number;
  private readonly down: number;
  private readonly taken: Uint8Array;

  constructor(width: number, height: number) {
    this.across = Math.ceil(width / CELL) + 1;
    this.down = Math.ceil(height / CELL) + 1;
    this.taken = new Uint8Array(this.across * this.down);
  }

  take(left: number, top: number, right: number, bottom: number): void {
    const [l, t, r, b] = this.cells(left, top, right, bottom);
    for (let y = t; y <= b; y += 1)
      if (l <= r) this.taken.fill(1, y * this.across + l, y * this.across + r + 1);
  }

  isFree(left: number, top: number, right: number, bottom: number): boolean {
    const [l, t, r, b] = this.cells(left, top, right, bottom);
    for (let y = t; y <= b; y += 1)
      for (let x = l; x <= r; x += 1) if (this.taken[y * this.across + x]) return false;
    return true;
  }

  private cells(left: number, top: number, right: number, bottom: number): number[] {
    return [
      Math.max(0, Math.floor(left / CELL)),
      Math.max(0, Math.floor(top / CELL)),
      Math.min(this.across - 1, Math.floor(right / CELL)),
      Math.min(this.down - 1, Math.floor(bottom / CELL)),
    ];
  }
}
