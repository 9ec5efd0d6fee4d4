import { describe, expect, it } from 'vitest';
import { decodeTable, encodeTable } from '../src/lib/table';

describe('tables', () => {
  it('come back as they went', () => {
    const buffer = encodeTable(
      { title: 'ünï' },
      {
        a: { array: Int32Array.of(1, -2, 3), shape: [3, 1] },
        b: { array: Float64Array.of(0.5) },
        c: { array: Uint8Array.of(7) },
        d: { array: new Float32Array(0), shape: [0, 4] },
      },
    );
    const table = decodeTable<{ title: string }>(buffer);
    expect(table.meta.title).toBe('ünï');
    expect([...table.arrays.a]).toEqual([1, -2, 3]);
    expect(table.shapes.a).toEqual([3, 1]);
    expect([...table.arrays.b, ...table.arrays.c]).toEqual([0.5, 7]);
    expect(table.shapes.d).toEqual([0, 4]);
  });

  it.each([0, 4, 8, 30, 100])('say so where they are cut off after %i bytes', (length) => {
    const buffer = encodeTable({}, { a: { array: new Float64Array(9) } });
    expect(() => decodeTable(buffer.slice(0, length))).toThrow();
  });
});
