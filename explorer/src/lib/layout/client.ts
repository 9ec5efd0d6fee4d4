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
  worker.onmessage = ({ data }: MessageEvent<ForceReport>) => {
    if (data.done >= data.total) worker.terminate();
    told(data);
  };
  worker.onerror = (event) => {
    worker.terminate();
    failed(event.message || 'The layout could not run in a worker.');
  };
  worker.postMessage(task);
  return () => worker.terminate();
}
