/** What end-to-end tests may ask of the graph, which is pixels to them. */

import type { Pane } from './pane.svelte';
import type { Explorer } from './state.svelte';

export interface TestInterface {
  explorer: Explorer;
  /** Where a node is in the window, px; null: there is none, or it is hidden. */
  nodePosition(node: number): { x: number; y: number; radius: number } | null;
  /** Times between frames while the view last moved, ms. */
  frameTimes(): number[];
  /** Draw at once, to time it. */
  redraw(): void;
  /** Whether a layout is running. */
  layingOut(): boolean;
  /** Nodes whose labels are drawn. */
  labelled(): number[];
  pinned(): number[];
}

declare global {
  interface Window {
    topoactExplorer?: TestInterface;
  }
}

export function exposeForTests(explorer: Explorer, pane: Pane): void {
  window.topoactExplorer = {
    explorer,
    nodePosition(node) {
      const { stage, graph } = pane;
      if (!stage || !(node >= 0 && node < graph.n) || !stage.shown(node)) return null;
      const frame = document.querySelector('[role="application"]')?.getBoundingClientRect();
      const [x, y] = stage.toScreen(node);
      return { x: x + (frame?.left ?? 0), y: y + (frame?.top ?? 0), radius: stage.radius(node) };
    },
    frameTimes: () => pane.stage?.frameTimes() ?? [],
    redraw: () => pane.stage?.redraw(),
    layingOut: () => pane.progress !== null,
    labelled: () => pane.stage?.labels.map(({ node }) => node) ?? [],
    pinned: () => [...pane.pins.keys()],
  };
}
