/** Names of CSV files. */

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
