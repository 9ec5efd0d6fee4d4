/** CSV files: their names, and saving them. */

import { packNodes } from './permalink';

/** A file name that every system takes: the run, the nodes, and whether rows were left out. */
export function csvName(run: string, nodes: number[], filtered = false): string {
  const base = run
    .normalize('NFKD')
    .replace(/[^\p{L}\p{N}._-]+/gu, '-')
    .replace(/^[-.]+|[-.]+$/g, '')
    .slice(0, 60);
  const packed = packNodes(nodes).replaceAll(',', '_');
  const which = packed.length > 40 ? `${nodes.length}-nodes` : packed ? `nodes-${packed}` : 'all';
  return `${base || 'run'}-${which}${filtered ? '-filtered' : ''}.csv`;
}

/** Save what was fetched under a name. */
export function download(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
