/** Runs to compute, one after another; they go on while the panel is closed. */

import { messageOf } from './latest';
import { settled } from './polling';
import type { Explorer } from './state.svelte';
import type { Job, Settings } from './types';

export interface Item {
  id: number;
  parent: string;
  name: string;
  settings: Settings;
  /** Part of a sweep: the page stays where it is when it is done. */
  swept: boolean;
  state: 'waiting' | Job['state'];
  job: Job | null;
  /** The server's word for what is wrong. */
  error: string | null;
  /** HTTP status of a refusal: 422 speaks of a field. */
  status: number;
}

export type Wish = Pick<Item, 'parent' | 'name' | 'settings' | 'swept'>;

export class JobQueue {
  items = $state<Item[]>([]);
  private next = 1;
  private working = false;
  private current: { item: number; job: string | null; stop: AbortController } | null = null;

  constructor(private readonly explorer: Explorer) {}

  get running(): Item | undefined {
    return this.items.find(({ state }) => state === 'running');
  }

  get busy(): boolean {
    return this.items.some(({ state }) => state === 'running' || state === 'waiting');
  }

  add(wishes: Wish[]): void {
    for (const wish of wishes) {
      this.items.push({
        ...wish,
        id: this.next,
        state: 'waiting',
        job: null,
        error: null,
        status: 0,
      });
      this.next += 1;
    }
    void this.work();
  }

  async cancel(id: number): Promise<void> {
    const item = this.items.find((one) => one.id === id);
    if (!item) return;
    if (item.state === 'waiting') item.state = 'cancelled';
    if (item.state !== 'running' || this.current?.item !== id) return;
    item.state = 'cancelled';
    const { job, stop } = this.current;
    try {
      if (job !== null) await this.explorer.source.cancel(job);
    } catch {
      // it had come to its end before
    }
    stop.abort();
  }

  cancelAll(): void {
    for (const { id, state } of this.items)
      if (state === 'waiting' || state === 'running') void this.cancel(id);
  }

  /** Leave out what has come to its end. */
  clear(): void {
    this.items = this.items.filter(({ state }) => state === 'running' || state === 'waiting');
  }

  private async work(): Promise<void> {
    if (this.working) return;
    this.working = true;
    try {
      for (;;) {
        const item = this.items.find(({ state }) => state === 'waiting');
        if (!item) break;
        await this.compute(item);
      }
    } finally {
      this.working = false;
    }
  }

  private async compute(item: Item): Promise<void> {
    const { source } = this.explorer;
    const stop = new AbortController();
    const current = { item: item.id, job: null as string | null, stop };
    this.current = current;
    item.state = 'running';
    const from = this.explorer.view.run;
    try {
      current.job = await source.recompute(item.parent, $state.snapshot(item.settings));
      // cancelled before the server had given it a number
      if (isCancelled(item)) {
        await source.cancel(current.job).catch(() => undefined);
        return;
      }
      const job = await settled(source, current.job, {
        signal: stop.signal,
        onUpdate: (update) => {
          if (!isCancelled(item)) item.job = update;
        },
      });
      if (isCancelled(item)) return;
      item.state = job.state;
      item.error = job.error;
      if (job.state === 'done' && job.run !== null) await this.welcome(item, job.run, from);
    } catch (error) {
      if (isCancelled(item)) return;
      item.state = 'failed';
      item.error = messageOf(error);
      item.status = (error as { status?: number }).status ?? 0;
    } finally {
      if (this.current === current) this.current = null;
    }
  }

  /** Show a new run, unless the reader has gone elsewhere meanwhile. */
  private async welcome(item: Item, run: string, from: string | null): Promise<void> {
    await this.explorer.refresh();
    if (!item.swept && this.explorer.view.run === from) await this.explorer.showRun(run);
  }
}

function isCancelled(item: Item): boolean {
  return item.state === 'cancelled';
}

const QUEUES = new WeakMap<Explorer, JobQueue>();

export function queueOf(explorer: Explorer): JobQueue {
  let queue = QUEUES.get(explorer);
  if (!queue) QUEUES.set(explorer, (queue = new JobQueue(explorer)));
  return queue;
}
