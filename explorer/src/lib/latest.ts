/** Answers that come back late must not overwrite newer ones. */

export const STALE = Symbol('stale');

export class Latest {
  private turn = 0;

  /**
   * Await `work`; STALE where another call or `drop` came in between, even if `work` failed.
   * With `wait`, quick calls pass by: `work` starts only if no other call came in that time.
   */
  async run<T>(work: () => Promise<T>, wait = 0): Promise<T | typeof STALE> {
    this.turn += 1;
    const turn = this.turn;
    if (wait > 0) await pause(wait);
    if (turn !== this.turn) return STALE;
    try {
      const value = await work();
      return turn === this.turn ? value : STALE;
    } catch (error) {
      if (turn !== this.turn) return STALE;
      throw error;
    }
  }

  /** `run`, where `use` gets the result and `fail` what went wrong; neither, where it is stale. */
  async ask<T>(
    work: () => Promise<T>,
    use: (result: T) => void,
    fail: (message: string) => void,
  ): Promise<void> {
    try {
      const result = await this.run(work);
      if (result !== STALE) use(result);
    } catch (error) {
      fail(messageOf(error));
    }
  }

  /** Whatever is under way is stale from now on. */
  drop(): void {
    this.turn += 1;
  }
}

/** Resolve after `milliseconds`. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
