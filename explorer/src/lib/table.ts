/** The binary table of docs/explorer-api.md: large arrays without parsing text. */

const MAGIC = 0x31544154; // "TAT1", little-endian

const KINDS = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

export type Column =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

interface Entry {
  name: string;
  dtype: keyof typeof KINDS;
  shape: number[];
  offset: number;
}

export interface Table<Meta> {
  meta: Meta;
  arrays: Record<string, Column>;
  shapes: Record<string, number[]>;
}

/** Read a table; the arrays are views of `buffer`. Throws a readable Error where it is damaged. */
export function decodeTable<Meta>(buffer: ArrayBuffer): Table<Meta> {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || view.getUint32(0, true) !== MAGIC)
    throw new Error('The data is no table of the explorer; load the page again.');
  const length = view.getUint32(4, true);
  if (8 + length > buffer.byteLength) throw new Error('The table is cut off; load the page again.');
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as {
    meta: Meta;
    arrays: Entry[];
  };
  const base = Math.ceil((8 + length) / 8) * 8;
  const table: Table<Meta> = { meta: header.meta, arrays: {}, shapes: {} };
  for (const { name, dtype, shape, offset } of header.arrays) {
    const Kind = KINDS[dtype];
    const count = shape.reduce((product, side) => product * side, 1);
    const start = base + offset;
    if (!Kind || start + count * Kind.BYTES_PER_ELEMENT > buffer.byteLength)
      throw new Error(`The column ${name} is damaged; load the page again.`);
    table.arrays[name] = new Kind(buffer, start, count);
    table.shapes[name] = shape;
  }
  return table;
}

/** The inverse of `decodeTable`, for tests and for exports. */
export function encodeTable(
  meta: unknown,
  columns: Record<string, { array: Column; shape?: number[] }>,
): ArrayBuffer {
  const entries: Entry[] = [];
  let offset = 0;
  for (const [name, { array, shape }] of Object.entries(columns)) {
    const dtype = kindOf(array);
    entries.push({ name, dtype, shape: shape ?? [array.length], offset });
    offset += Math.ceil(array.byteLength / 8) * 8;
  }
  const header = new TextEncoder().encode(JSON.stringify({ meta, arrays: entries }));
  const base = Math.ceil((8 + header.length) / 8) * 8;
  const buffer = new ArrayBuffer(base + offset);
  const view = new DataView(buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.length, true);
  new Uint8Array(buffer, 8, header.length).set(header);
  for (const [at, { array }] of Object.values(columns).entries())
    new Uint8Array(buffer, base + entries[at].offset, array.byteLength).set(
      new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength),
    );
  return buffer;
}

function kindOf(array: Column): keyof typeof KINDS {
  for (const [name, Kind] of Object.entries(KINDS))
    if (array instanceof Kind) return name as keyof typeof KINDS;
  throw new Error('no such column');
}
