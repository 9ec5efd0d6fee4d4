/** The page's end of the layout's worker. */

import ForceWorker from './force.worker?worker&inline';
import type { ForceReport, ForceTask } from './force.worker';

/** Start a layout; `told` hears of each picture, the last with done === total. Returns its stop. */
export function runForce(
  task: ForceTask,
  told: (report: ForceReport) => void,
  failed: (reason: string) => void,
): () => void {
  const worker = new ForceWorker();
  const next = () => worker.postMessage('drawn');
  worker.onmessage = ({ data }: MessageEvent<ForceReport>) => {
    if (data.done >= data.total) worker.terminate();
    // so that a graph slow to draw leaves the page time for its user
    else afterDrawing(next);
    told(data);
  };
  worker.onerror = (event) => {
    worker.terminate();
    failed(event.message || 'The layout could not run in a worker.');
  };
  worker.postMessage(task);
  return () => worker.terminate();
}

/** Call back when a frame was drawn, and after a rest of as long as the drawing took. */
function afterDrawing(next: () => void): void {
  const start = performance.now();
  requestAnimationFrame(() =>
    requestAnimationFrame(() => setTimeout(next, Math.min(performance.now() - start, 2000))),
  );
}
