/** Points sorted into the cells of a grid, to find the nearest one and those inside an outline. */

import { boundsOf, type Bounds, type Spot } from './camera';

const POINTS_A_CELL = 8;
const MOST_CELLS = 1024;

export class PointGrid {
  readonly bounds: Bounds;
  private readonly columns: number;
  private readonly lines: number;
  private readonly cell: number;
  /** Cell `c` holds `ids[starts[c]..starts[c + 1]]`, ascending. */
  private readonly starts: Int32Array;
  private readonly ids: Int32Array;

  /** `xy`: flat pairs; points that are not finite are in no cell. */
  constructor(readonly xy: ArrayLike<number>) {
    const box = boundsOf(xy);
    const across = Math.max(box.right - box.left, 1e-12);
    const up = Math.max(box.top - box.bottom, 1e-12);
    const wanted = Math.max(xy.length / 2 / POINTS_A_CELL, 1);
    this.cell = Math.max(
      Math.sqrt((across * up) / wanted),
      across / MOST_CELLS,
      up / MOST_CELLS,
      1e-12,
    );
    this.bounds = box;
    this.columns = Math.floor(across / this.cell) + 1;
    this.lines = Math.floor(up / this.cell) + 1;
    this.starts = new Int32Array(this.columns * this.lines + 1);
    this.ids = this.sorted();
  }

  /** The point nearest to (x, y) and at most `radius` away; -1 where there is none. */
  nearest(x: number, y: number, radius: number): number {
    let best = -1;
    let least = radius * radius;
    const [left, right, low, high] = this.cells(x - radius, x + radius, y - radius, y + radius);
    for (let line = low; line <= high; line += 1) {
      const row = line * this.columns;
      for (let at = this.starts[row + left]; at < this.starts[row + right + 1]; at += 1) {
        const point = this.ids[at];
        const distance = (this.xy[2 * point] - x) ** 2 + (this.xy[2 * point + 1] - y) ** 2;
        if (distance < least || (distance === least && (best < 0 || point < best))) {
          least = distance;
          best = point;
        }
      }
    }
    return best;
  }

  /** Points inside a closed outline (even-odd), ascending. */
  inside(outline: Spot[]): Int32Array {
    if (outline.length < 3) return new Int32Array(0);
    const box = boundsOf(outline.flat());
    const [left, right, low, high] = this.cells(box.left, box.right, box.bottom, box.top);
    const crossed = this.crossed(outline);
    const found: number[] = [];
    for (let line = low; line <= high; line += 1)
      for (let column = left; column <= right; column += 1) {
        const cell = line * this.columns + column;
        if (this.starts[cell] === this.starts[cell + 1]) continue;
        // no side of the outline passes: what holds for the middle holds for every point
        const settled = !crossed.has(cell);
        if (settled && !contains(outline, ...this.middle(column, line))) continue;
        for (let at = this.starts[cell]; at < this.starts[cell + 1]; at += 1) {
          const point = this.ids[at];
          if (settled || contains(outline, this.xy[2 * point], this.xy[2 * point + 1]))
            found.push(point);
        }
      }
    return Int32Array.from(found).sort();
  }

  private sorted(): Int32Array {
    const n = Math.floor(this.xy.length / 2);
    const cells = new Int32Array(n);
    for (let point = 0; point < n; point += 1) {
      const cell = this.cellOf(this.xy[2 * point], this.xy[2 * point + 1]);
      cells[point] = cell;
      if (cell >= 0) this.starts[cell + 1] += 1;
    }
    for (let cell = 1; cell < this.starts.length; cell += 1)
      this.starts[cell] += this.starts[cell - 1];
    const ids = new Int32Array(this.starts[this.starts.length - 1]);
    const next = this.starts.slice(0, -1);
    for (let point = 0; point < n; point += 1) {
      const cell = cells[point];
      if (cell >= 0) ids[next[cell]++] = point;
    }
    return ids;
  }

  private cellOf(x: number, y: number): number {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return -1;
    return this.lineOf(y) * this.columns + this.columnOf(x);
  }

  private columnOf(x: number): number {
    return clamp(Math.floor((x - this.bounds.left) / this.cell), this.columns - 1);
  }

  private lineOf(y: number): number {
    return clamp(Math.floor((y - this.bounds.bottom) / this.cell), this.lines - 1);
  }

  private cells(left: number, right: number, bottom: number, top: number): number[] {
    return [this.columnOf(left), this.columnOf(right), this.lineOf(bottom), this.lineOf(top)];
  }

  private middle(column: number, line: number): Spot {
    return [
      this.bounds.left + (column + 0.5) * this.cell,
      this.bounds.bottom + (line + 0.5) * this.cell,
    ];
  }

  /** Cells that a side of the outline may pass; sides are cut into pieces as short as a cell. */
  private crossed(outline: Spot[]): Set<number> {
    const found = new Set<number>();
    const slack = this.cell * 1e-3;
    for (let at = 0; at < outline.length; at += 1) {
      const [x0, y0] = outline[at];
      const [x1, y1] = outline[(at + 1) % outline.length];
      const pieces = Math.ceil(Math.hypot(x1 - x0, y1 - y0) / this.cell) + 1;
      const most = Math.min(pieces, 4 * MOST_CELLS);
      for (let piece = 0; piece < most; piece += 1) {
        const xs = [x0 + ((x1 - x0) * piece) / most, x0 + ((x1 - x0) * (piece + 1)) / most];
        const ys = [y0 + ((y1 - y0) * piece) / most, y0 + ((y1 - y0) * (piece + 1)) / most];
        const [left, right, low, high] = this.cells(
          Math.min(...xs) - slack,
          Math.max(...xs) + slack,
          Math.min(...ys) - slack,
          Math.max(...ys) + slack,
        );
        for (let line = low; line <= high; line += 1)
          for (let column = left; column <= right; column += 1)
            found.add(line * this.columns + column);
      }
    }
    return found;
  }
}

/** Whether (x, y) lies inside a closed outline, by the even-odd rule. */
export function contains(outline: Spot[], x: number, y: number): boolean {
  let inside = false;
  for (let at = 0, before = outline.length - 1; at < outline.length; before = at, at += 1) {
    const [x0, y0] = outline[before];
    const [x1, y1] = outline[at];
    if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) inside = !inside;
  }
  return inside;
}

/** An outline drawn by hand without the points that lie closer than `gap` to the one before. */
export function thinned(outline: Spot[], gap: number): Spot[] {
  const kept: Spot[] = [];
  for (const spot of outline) {
    const last = kept[kept.length - 1];
    if (!last || Math.hypot(spot[0] - last[0], spot[1] - last[1]) >= gap) kept.push(spot);
  }
  return kept;
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}
