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

/** Time between two pictures: often while the graph is small, seldom where drawing takes long. */
const few = 120;
const many = 900;

onmessage = ({ data }: MessageEvent<ForceTask>) => {
  const run = new ForceRun(data.shape, data.start, data.pins);
  const wait = data.shape.n > 3000 ? many : few;
  let last = performance.now();
  while (run.done < run.total) {
    run.step();
    if (performance.now() - last >= wait && run.done < run.total) {
      report(run);
      last = performance.now();
    }
  }
  report(run);
};

function report(run: ForceRun): void {
  const { positions, spacing } = run.result();
  const message: ForceReport = { positions, spacing, done: run.done, total: run.total };
  postMessage(message, { transfer: [positions.buffer, spacing.buffer] });
}
