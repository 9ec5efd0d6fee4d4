import { describe, expect, it } from 'vitest';
import { JobQueue, type Wish } from '../src/lib/jobs.svelte';
import { Latest } from '../src/lib/latest';
import { settled } from '../src/lib/polling';
import { SourceError } from '../src/lib/source';
import type { Explorer } from '../src/lib/state.svelte';
import type { Job, Settings } from '../src/lib/types';

const job = (state: Job['state'], done = 0): Job => ({
  state,
  stage: 'cluster',
  done,
  total: 10,
  seconds: 0,
  run: state === 'done' ? 'new' : null,
  error: null,
});

const quick = { milliseconds: 1 };

describe('polling', () => {
  it('goes on until the job is settled', async () => {
    const answers = [job('running', 1), job('running', 5), job('done', 10)];
    const seen: number[] = [];
    const source = { job: () => Promise.resolve(answers.shift() ?? job('failed')) };
    const { signal } = new AbortController();
    const last = await settled(source, '1', {
      ...quick,
      signal,
      onUpdate: (j) => seen.push(j.done),
    });
    expect(last.run).toBe('new');
    expect(seen).toEqual([1, 5, 10]);
  });

  it('bears a few failures, not a refusal', async () => {
    let turn = 0;
    const source = {
      job: () => {
        turn += 1;
        return turn < 3 ? Promise.reject(new SourceError('away', 0)) : Promise.resolve(job('done'));
      },
    };
    const { signal } = new AbortController();
    const poll = { ...quick, signal, onUpdate: () => undefined };
    expect((await settled(source, '1', poll)).state).toBe('done');
    const gone = { job: () => Promise.reject(new SourceError('no such job', 404)) };
    await expect(settled(gone, '1', poll)).rejects.toThrow('no such job');
  });

  it('stops when it is told to, and tells nothing afterwards', async () => {
    const stop = new AbortController();
    const seen: Job[] = [];
    const source = { job: () => Promise.resolve(job('running')) };
    const waiting = settled(source, '1', {
      milliseconds: 10_000,
      signal: stop.signal,
      onUpdate: (j) => {
        seen.push(j);
        setTimeout(() => stop.abort(), 1);
      },
    });
    await expect(waiting).rejects.toThrow();
    expect(seen.length).toBe(1);
  });
});

describe('the latest question', () => {
  it('is the only one that is answered', async () => {
    const latest = new Latest();
    const got: string[] = [];
    let release: (value: string) => void = () => undefined;
    const slow = latest.ask(
      () => new Promise<string>((resolve) => (release = resolve)),
      (value) => got.push(value),
      (message) => got.push(message),
    );
    await latest.ask(
      () => Promise.resolve('new'),
      (value) => got.push(value),
      (message) => got.push(message),
    );
    release('old');
    await slow;
    await latest.ask(
      () => Promise.reject(new Error('why')),
      (value) => got.push(String(value)),
      (message) => got.push(message),
    );
    expect(got).toEqual(['new', 'why']);
  });
});

describe('the queue', () => {
  const wish = (name: string, swept = false): Wish => ({
    parent: 'p',
    name,
    settings: {} as Settings,
    swept,
  });

  function stage(answers: Record<string, Job>, refuse: string[] = []) {
    const log: string[] = [];
    let next = 0;
    const explorer = {
      view: { run: 'p' },
      source: {
        recompute: () => {
          next += 1;
          const id = `j${next}`;
          log.push(`start ${id}`);
          return refuse.includes(id)
            ? Promise.reject(new SourceError('overlap is too large', 422))
            : Promise.resolve(id);
        },
        job: (id: string) => Promise.resolve(answers[id]),
        cancel: (id: string) => {
          log.push(`cancel ${id}`);
          return Promise.resolve();
        },
      },
      refresh: () => Promise.resolve(void log.push('refresh')),
      showRun: (id: string) => Promise.resolve(void log.push(`show ${id}`)),
    };
    return { queue: new JobQueue(explorer as unknown as Explorer), log };
  }

  const rest = () => new Promise((resolve) => setTimeout(resolve, 20));

  it('computes one after another and shows a run that was asked for alone', async () => {
    const { queue, log } = stage({ j1: job('done'), j2: job('done') });
    queue.add([wish('a', true), wish('b')]);
    await rest();
    expect(log).toEqual(['start j1', 'refresh', 'start j2', 'refresh', 'show new']);
    expect(queue.busy).toBe(false);
    queue.clear();
    expect(queue.items.length).toBe(0);
  });

  it('goes on after a refusal', async () => {
    const { queue, log } = stage({ j2: job('done') }, ['j1']);
    queue.add([wish('a'), wish('b', true)]);
    await rest();
    expect(queue.items.map(({ state, status }) => [state, status])).toEqual([
      ['failed', 422],
      ['done', 0],
    ]);
    expect(log).not.toContain('show new');
  });

  it('cancels what runs and what waits', async () => {
    const { queue, log } = stage({ j1: job('running') });
    queue.add([wish('a'), wish('b')]);
    await rest();
    expect(queue.running?.name).toBe('a');
    queue.cancelAll();
    await rest();
    expect(queue.items.map(({ state }) => state)).toEqual(['cancelled', 'cancelled']);
    expect(log).toEqual(['start j1', 'cancel j1']);
  });
});
