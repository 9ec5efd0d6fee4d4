/** Runs a force layout beside the page and tells it how far it is. */

import { ForceRun, type Pins } from './force';
import type { LayoutShape } from './shape';

export interface ForceTask {
  shape: LayoutShape;
  start: Float32Array;
  pins: Pins | null;
}

export interface ForceReport {
  positions: Float32Array;
  spacing: Float32Array;
  done: number;
  total: number;
}

/** Time between two pictures, ms, if the page has drawn the one before. */
const WAIT = 120;
/** Time between two looks at what the page said. */
const SLICE = 40;

let run: ForceRun | null = null;
let drawn = true;
let reported = 0;

/** A task starts a layout; anything else says that the last picture was drawn. */
onmessage = ({ data }: MessageEvent<ForceTask | 'drawn'>) => {
  drawn = true;
  if (data === 'drawn') return;
  run = new ForceRun(data.shape, data.start, data.pins);
  reported = performance.now();
  slice();
};

function slice(): void {
  if (!run) return;
  const start = performance.now();
  while (run.done < run.total && performance.now() - start < SLICE) run.step();
  const finished = run.done >= run.total;
  if (finished || (drawn && performance.now() - reported > WAIT)) {
    const { positions, spacing } = run.result();
    const report: ForceReport = { positions, spacing, done: run.done, total: run.total };
    postMessage(report, { transfer: [positions.buffer, spacing.buffer] });
    drawn = false;
    reported = performance.now();
  }
  if (!finished) setTimeout(slice);
}
