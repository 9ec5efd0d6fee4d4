/** Wait for a job of the server. */

import type { Source } from './source';
import type { Job } from './types';

export const POLL_MS = 250;
const MOST_MISSES = 8;

export interface Poll {
  /** Told of every answer. */
  onUpdate: (job: Job) => void;
  /** Stop asking; the promise is rejected then. */
  signal: AbortSignal;
  milliseconds?: number;
}

/** Ask for a job until it is no longer running; a few answers may fail to come. */
export async function settled(
  source: Pick<Source, 'job'>,
  id: string,
  { onUpdate, signal, milliseconds = POLL_MS }: Poll,
): Promise<Job> {
  let misses = 0;
  for (;;) {
    signal.throwIfAborted();
    try {
      const job = await source.job(id);
      signal.throwIfAborted();
      misses = 0;
      onUpdate(job);
      if (job.state !== 'running') return job;
    } catch (error) {
      signal.throwIfAborted();
      misses += 1;
      if (misses >= MOST_MISSES || isRefusal(error)) throw error;
    }
    await pause(milliseconds * (1 + misses), signal);
  }
}

/** The server knows the job no more, or won't tell: asking again is of no use. */
function isRefusal(error: unknown): boolean {
  const status = (error as { status?: unknown } | null)?.status;
  return typeof status === 'number' && status >= 400 && status < 500;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', stop, { once: true });
  });
}
