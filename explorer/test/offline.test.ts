import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Bundle, hasBundle } from '../src/lib/bundle';
import { OfflineSource } from '../src/lib/offline';
import { floatText } from '../src/lib/offline_rows';

/**
 * An exported file's elements and what a server answers for the same runs, written by
 * tests/explorer/test_offline_answers.py, which runs this file.
 */
interface Given {
  elements: Record<string, string>;
  asked: { method: string; arguments: unknown[]; answer: unknown }[];
}

const path = process.env.TOPOACT_ANSWERS;
const given = path ? (JSON.parse(readFileSync(path, 'utf8')) as Given) : null;

function sourceOf({ elements }: Given): OfflineSource {
  return new OfflineSource(new Bundle((id) => elements[id] ?? null));
}

/** What the server's answer has must be here, numbers to six digits; NaN is null in JSON. */
function expectSame(found: unknown, wanted: unknown, where: string): void {
  if (ArrayBuffer.isView(found)) found = Array.from(found as Float64Array);
  if (typeof found === 'number' && Number.isNaN(found)) found = null;
  if (typeof wanted === 'number' && typeof found === 'number') {
    const apart = Math.abs(found - wanted);
    if (apart > 1e-6 * Math.max(Math.abs(wanted), 1e-9))
      expect.fail(`${where}: ${found}, not ${wanted}`);
  } else if (Array.isArray(wanted)) {
    expect(Array.isArray(found), where).toBe(true);
    expect((found as unknown[]).length, where).toBe(wanted.length);
    wanted.forEach((each, at) => expectSame((found as unknown[])[at], each, `${where}[${at}]`));
  } else if (wanted !== null && typeof wanted === 'object')
    for (const [name, each] of Object.entries(wanted))
      expectSame((found as Record<string, unknown>)[name], each, `${where}.${name}`);
  else expect(found, where).toStrictEqual(wanted);
}

describe.skipIf(!given)('a file answers as the server does', () => {
  const source = given && sourceOf(given);
  it.each(given?.asked.map((each, at) => ({ ...each, at })) ?? [])(
    '$at: $method $arguments',
    async ({ method, arguments: sent, answer }) => {
      const ask = source as unknown as Record<string, (...sent: unknown[]) => Promise<unknown>>;
      let found = await ask[method](...sent);
      if (found instanceof Blob) found = await found.text();
      expectSame(found, answer, method);
    },
  );

  it('has pictures where the runs have', async () => {
    const session = await source!.session();
    for (const { id } of session.runs) {
      const { meta, exemplar } = await source!.graph(id);
      expect(source!.patchUrl(id, exemplar[0]) !== null).toBe(meta.has_images);
      expect(source!.inputUrl(id, exemplar[0]) !== null).toBe(meta.has_images);
      expect(source!.averageUrl(id, 0) !== null).toBe(meta.has_images);
      expect(source!.averageUrl(id, 0, 1)).toBeNull();
      expect(source!.patchUrl(id, -5)).toBeNull();
    }
  });

  it('says so where a block is damaged or gone', async () => {
    const [name] = Object.keys(given!.elements).filter((id) => /^topoact-\d+$/.test(id));
    const text = given!.elements[name];
    for (const wrong of [text.slice(0, text.length / 2), `${text.slice(0, -40)}AAAA`, '%', null]) {
      const elements = { ...given!.elements, [name]: wrong as string };
      const [{ id }] = (await sourceOf(given!).session()).runs;
      await expect(sourceOf({ ...given!, elements }).graph(id)).rejects.toThrow('export it again');
    }
  });
});

describe('a file without sense', () => {
  it.each(['', '{', '{}', '{"format":"topoact-gpu/explorer","version":2}'])(
    'is a message: %s',
    async (manifest) => {
      const lookup = (id: string) => (id === 'topoact-manifest' ? manifest : null);
      expect(hasBundle(lookup)).toBe(true);
      await expect(new OfflineSource(new Bundle(lookup)).session()).rejects.toThrow(
        'export it again',
      );
    },
  );

  it('refuses what needs a server', async () => {
    const source = new OfflineSource(new Bundle(() => null));
    await expect(source.recompute()).rejects.toThrow('start topoact explore RUN');
    await expect(source.saveNotes()).rejects.toThrow('start topoact explore RUN');
    expect(hasBundle(() => null)).toBe(false);
  });
});

describe('a float as Python writes it', () => {
  it.each([
    [0, '0.0'],
    [-0, '-0.0'],
    [3, '3.0'],
    [-2.5, '-2.5'],
    [0.1, '0.1'],
    [1e-4, '0.0001'],
    [-1.25e-4, '-0.000125'],
    [1e-5, '1e-05'],
    [1.5e-7, '1.5e-07'],
    [123456789012345680, '1.2345678901234568e+17'],
    [1e15, '1000000000000000.0'],
    [1e16, '1e+16'],
    [1e100, '1e+100'],
    [NaN, 'nan'],
    [-Infinity, '-inf'],
  ])('%d', (value, text) => {
    expect(floatText(value)).toBe(text);
  });
});
