/** Something asked of the source, for a component to show: the last answer, and how it stands. */

import { Latest, STALE } from './latest';

export class Asked<T> {
  value = $state.raw<T | null>(null);
  busy = $state(false);
  error = $state<string | null>(null);

  private latest = new Latest();

  /** With `keeps`, a failure does not take the last answer away. */
  constructor(private readonly keeps = false) {}

  /** Ask; the last answer stays until the new one is there. */
  async ask(work: () => Promise<T>, wait = 0): Promise<void> {
    this.busy = true;
    try {
      const value = await this.latest.run(work, wait);
      if (value === STALE) return;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (!this.keeps) this.value = null;
      this.error = error instanceof Error ? error.message : String(error);
    }
    this.busy = false;
  }

  clear(): void {
    this.latest.drop();
    this.value = null;
    this.error = null;
    this.busy = false;
  }
}
