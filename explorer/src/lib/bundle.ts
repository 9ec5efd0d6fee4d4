/** The data that an exported file holds (topoact_gpu/explore/bundle.py). */

import { decodeTable, type Table } from './table';
import type { Note, Session } from './types';

export interface Manifest {
  format: string;
  version: number;
  session: Session;
  /** Name of a block to the id of its element. */
  blocks: Record<string, string>;
  notes: Record<string, Note[]>;
  left_out: string[];
}

const DAMAGED =
  'The file is damaged or cut off; export it again (topoact export RUN --format html).';

/** Text of the element with an id; null where there is none. */
export type Lookup = (id: string) => string | null;

/** Whether the page came with data. */
export function hasBundle(lookup: Lookup): boolean {
  return lookup('topoact-manifest') !== null;
}

export class Bundle {
  private known: Manifest | null = null;
  private readonly tables = new Map<string, Promise<Table<never>>>();

  constructor(private readonly lookup: Lookup) {}

  /** What there is; throws a readable Error where the file is damaged. */
  get manifest(): Manifest {
    if (this.known) return this.known;
    let found: Manifest;
    try {
      found = JSON.parse(this.lookup('topoact-manifest') ?? '') as Manifest;
    } catch {
      throw new Error(DAMAGED);
    }
    if (found.format !== 'topoact-gpu/explorer' || found.version !== 1 || !found.session)
      throw new Error(DAMAGED);
    this.known = found;
    return found;
  }

  has(name: string): boolean {
    return name in this.manifest.blocks;
  }

  /** A block of data, decoded once. */
  table<Meta>(name: string): Promise<Table<Meta>> {
    let found = this.tables.get(name);
    if (!found) {
      found = this.read(name);
      this.tables.set(name, found);
    }
    return found as unknown as Promise<Table<Meta>>;
  }

  private async read(name: string): Promise<Table<never>> {
    const id = this.manifest.blocks[name];
    const text = id === undefined ? null : this.lookup(id);
    if (text === null) throw new Error(DAMAGED);
    try {
      return decodeTable<never>(await unpack(fromBase64(text)));
    } catch {
      throw new Error(DAMAGED);
    }
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

async function unpack(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}
