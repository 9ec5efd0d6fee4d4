/** The state of the graph's pane: gestures, layout, focus. Its components read and call it. */

import { download, loadPhotos } from './files';
import { runForce } from './layout/client';
import { layered } from './layout/layered';
import { seed } from './layout/seed';
import { shapeOf, type LayoutShape } from './layout/shape';
import { legendOf, type Legend } from './legend';
import { describe, looksOf, markHues, type Looks, type Theme } from './looks';
import { paint, pictureOf, toSvg, type Picture } from './picture';
import {
  branchAround,
  lassoed,
  linksOf,
  nextOver,
  reachable,
  shortestPath,
  type Direction,
  type Links,
} from './selecting';
import { Stage, type Handlers } from './stage';
import type { Explorer } from './state.svelte';
import type { GraphData } from './types';

export type Mode = 'select' | 'lasso' | 'path';

interface Remembered {
  positions: Float32Array;
  spacing: Float32Array;
  pins: Map<number, [number, number]>;
}

/** Layouts of this visit, by run and kind: turning back to a run finds it as it was left. */
const remembered = new Map<string, Remembered>();

export class Pane {
  mode = $state<Mode>('select');
  labels = $state(true);
  focused = $state<number | null>(null);
  lasso = $state.raw<number[]>([]);
  progress = $state.raw<{ done: number; total: number } | null>(null);
  /** What the last action did, where the picture alone does not show it. */
  message = $state('');
  /** What a screen reader is told of the focused node. */
  spoken = $state('');
  pins = $state.raw<Map<number, [number, number]>>(new Map());
  lit = $state.raw<number[]>([]);
  stage = $state.raw<Stage | null>(null);
  /** Counts pictures drawn, and changes of place or look. */
  frame = $state(0);
  /** How much smaller than usual discs are drawn in this frame. */
  shrink = $state(1);
  changes = $state(0);
  dialog = $state<'none' | 'keys' | 'list'>('none');
  pathFrom = $state<number | null>(null);

  readonly shape: LayoutShape;
  private spacing: Float32Array = new Float32Array();
  private stop: (() => void) | null = null;
  private shownLayout: 'force' | 'layered' | null = null;

  constructor(
    readonly explorer: Explorer,
    readonly graph: GraphData,
    public theme: Theme,
  ) {
    this.shape = shapeOf(graph);
  }

  // life

  open(box: HTMLElement, canvas: HTMLCanvasElement): void {
    const { layout } = this.explorer.view;
    const start = this.recall(layout) ?? (layout === 'force' ? seed : layered)(this.shape);
    this.stage = new Stage(box, canvas, this.graph, start, this.theme, this.handlers());
    this.show(layout);
  }

  close(): void {
    this.stopLayout();
    this.stage?.kill();
    this.stage = null;
  }

  looks(): Looks {
    const { coloured, marks, view } = this.explorer;
    return looksOf(
      this.graph,
      {
        coloured,
        marks,
        edgeWidth: view.edgeWidth,
        minJaccard: view.minJaccard,
        minSize: view.minSize,
        selected: $state.snapshot(view.selected),
        images: view.images && this.graph.meta.has_images,
      },
      this.theme,
    );
  }

  legend(): Legend {
    const { coloured, marks, view } = this.explorer;
    return legendOf(this.graph, coloured, marks, view.edgeWidth, this.theme);
  }

  picture(a: number): string | null {
    const { source, view } = this.explorer;
    const row = this.graph.exemplar[a];
    return view.run !== null && row >= 0 ? source.patchUrl(view.run, row, 96) : null;
  }

  // layout

  /** Turn to a layout; what was laid out before is found again. */
  show(layout: 'force' | 'layered'): void {
    if (this.shownLayout === layout || !this.stage) return;
    this.stopLayout();
    this.shownLayout = layout;
    const before = this.recall(layout);
    const positions = before ?? (layout === 'force' ? seed : layered)(this.shape);
    if (!before) this.pins = new Map();
    this.settle(positions);
    if (layout === 'force' && !before) this.runLayout();
  }

  runLayout(): void {
    this.stopLayout();
    const { stage } = this;
    if (!stage) return;
    if (this.explorer.view.layout === 'layered') {
      this.settle(layered(this.shape));
      this.message = 'Laid out by interval.';
      return;
    }
    const pins = this.pins.size
      ? {
          nodes: [...this.pins.keys()],
          positions: stage.positions.slice(),
          spacing: this.spacing.slice(),
        }
      : null;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.progress = { done: 0, total: 1 };
    this.stop = runForce(
      { shape: this.shape, start: seed(this.shape), pins },
      ({ positions, spacing, done, total }) => {
        const finished = done >= total;
        this.spacing = spacing;
        this.progress = finished ? null : { done, total };
        if (finished) this.stop = null;
        if (finished || !calm) this.settle(positions);
      },
      (reason) => {
        this.progress = null;
        this.stop = null;
        this.message = reason;
      },
    );
  }

  stopLayout(): void {
    this.stop?.();
    this.stop = null;
    this.progress = null;
  }

  private settle(positions: Float32Array): void {
    this.stage?.place(positions, this.pins);
    this.changes += 1;
    this.keep();
  }

  private key(layout: string): string {
    const { run } = this.graph.meta;
    return `${run.id} ${run.n_nodes} ${run.n_edges} ${layout}`;
  }

  private keep(): void {
    if (!this.stage || this.progress || !this.shownLayout) return;
    const { positions } = this.stage;
    const { spacing, pins } = this;
    remembered.set(this.key(this.shownLayout), { positions: positions.slice(), spacing, pins });
  }

  private recall(layout: 'force' | 'layered'): Float32Array | null {
    const found = remembered.get(this.key(layout));
    if (!found || found.positions.length !== 2 * this.graph.n) return null;
    this.spacing = found.spacing;
    this.pins = found.pins;
    return found.positions;
  }

  pin(a: number): void {
    if (!this.stage) return;
    const { positions } = this.stage;
    this.pins = new Map(this.pins).set(a, [positions[2 * a], positions[2 * a + 1]]);
    this.changes += 1;
    this.keep();
  }

  togglePin(a: number): void {
    if (!this.pins.has(a)) {
      this.pin(a);
      this.spoken = `Node ${a} pinned.`;
      return;
    }
    const pins = new Map(this.pins);
    pins.delete(a);
    this.pins = pins;
    this.keep();
    this.spoken = `Node ${a} is free again.`;
  }

  unpinAll(): void {
    this.pins = new Map();
    this.keep();
    this.message = 'No node is pinned now.';
  }

  nudge(a: number, dx: number, dy: number): void {
    if (!this.stage) return;
    this.stopLayout();
    this.stage.moveNode(a, this.stage.stepped(a, dx, dy));
    this.pin(a);
  }

  // selecting

  links(): Links {
    const hidden = this.stage?.looks?.edgeHidden;
    return linksOf(this.graph.n, this.graph.edge, hidden && ((e) => !hidden[e]));
  }

  click(a: number, more: boolean): void {
    this.message = '';
    this.focused = null;
    if (this.mode === 'path') this.pathStep(a);
    else if (more) this.explorer.toggle(a);
    else this.explorer.select([a]);
  }

  /** In path mode: the first click takes one end, the second the other. */
  pathStep(a: number): void {
    if (this.pathFrom === null || this.pathFrom === a) {
      this.pathFrom = a;
      this.explorer.select([a]);
      this.message = 'Now choose the node at the other end.';
      return;
    }
    this.selectPath(this.pathFrom, a);
    this.pathFrom = null;
  }

  setMode(mode: Mode): void {
    const { selected } = this.explorer;
    this.pathFrom = null;
    this.message = '';
    if (mode === 'path' && this.mode !== 'path' && selected.length === 2) {
      this.selectPath(selected[0], selected[1]);
      return;
    }
    this.mode = this.mode === mode ? 'select' : mode;
    if (this.mode === 'path') {
      this.pathFrom = selected.length === 1 ? selected[0] : null;
      this.message =
        this.pathFrom === null ? 'Choose two nodes.' : 'Choose the node at the other end.';
    } else if (this.mode === 'lasso') this.message = 'Draw a line around nodes.';
  }

  private selectPath(from: number, to: number): void {
    const path = shortestPath(this.links(), this.graph.jaccard, from, to);
    if (!path) {
      this.message = `No visible path joins nodes ${from} and ${to}.`;
      return;
    }
    this.explorer.select(path);
    this.message = `A path of ${path.length} nodes.`;
  }

  selectComponent(from = this.start()): void {
    if (!from.length) return;
    const found = reachable(this.links(), from);
    this.explorer.select(found);
    this.message = `A component of ${count(found.length)}.`;
  }

  selectBranch(): void {
    const links = this.links();
    const known = this.graph.meta.branches;
    const found = new Set(this.start().flatMap((a) => branchAround(links, a, known)));
    if (!found.size) return;
    this.explorer.select(found);
    this.message = found.size > 1 ? `A branch of ${found.size} nodes.` : 'This node is a junction.';
  }

  /** Where the selecting of a component or a branch starts. */
  start(): number[] {
    const { selected } = this.explorer;
    return selected.length ? [...selected] : this.focused === null ? [] : [this.focused];
  }

  endLasso(more: boolean): void {
    const polygon = this.lasso;
    this.lasso = [];
    const { stage, explorer } = this;
    if (!stage || polygon.length < 6) return;
    const found = lassoed(stage.screen, polygon, (a) => stage.shown(a));
    explorer.select(more ? [...explorer.selected, ...found] : found);
    this.message = `${count(found.length)} inside the lasso.`;
  }

  clear(): void {
    this.message = '';
    this.pathFrom = null;
    this.mode = 'select';
    this.lasso = [];
    this.explorer.select([]);
  }

  // focus

  focus(a: number): void {
    this.focused = a;
    this.stage?.reveal(a);
    this.spoken = describe(this.graph, a);
    this.explorer.hovered = a;
  }

  move(direction: Direction): void {
    const { stage } = this;
    if (!stage) return;
    const shown = (a: number) => stage.shown(a);
    if (this.focused === null || !stage.shown(this.focused)) {
      const from = this.explorer.selected.find(shown) ?? this.largest();
      if (from !== null) this.focus(from);
      return;
    }
    const next = nextOver(stage.screen, this.focused, direction, shown);
    if (next === null) this.spoken = 'No node further this way.';
    else this.focus(next);
  }

  largest(): number | null {
    const { size, n } = this.graph;
    let best: number | null = null;
    for (let a = 0; a < n; a += 1)
      if (this.stage?.shown(a) && (best === null || size[a] > size[best])) best = a;
    return best;
  }

  blur(): void {
    if (this.focused !== null && this.explorer.hovered === this.focused)
      this.explorer.hovered = null;
    this.focused = null;
  }

  // pictures

  async exportAs(format: 'svg' | 'png'): Promise<void> {
    const { stage, explorer, graph } = this;
    if (!stage?.looks) return;
    const picture = await this.still(stage);
    const { width, height } = picture;
    const name = fileName(graph.meta.run.name);
    if (format === 'svg') {
      const svg = toSvg(picture, `Mapper graph: ${graph.meta.run.name}`);
      download(new Blob([svg], { type: 'image/svg+xml' }), `${name}.svg`);
      return;
    }
    const canvas = document.createElement('canvas');
    const scale = Math.max(2, window.devicePixelRatio || 1);
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext('2d')!;
    context.scale(scale, scale);
    paint(picture.shapes, context);
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, 'image/png'));
    if (blob) download(blob, `${name}.png`);
    else explorer.error = 'The picture is too large for this browser; make the window smaller.';
  }

  private async still(stage: Stage): Promise<Picture> {
    const { explorer, graph } = this;
    const wanted = explorer.view.images && graph.meta.has_images ? stage.inFrame() : [];
    return pictureOf({
      ...stage.size(),
      shrink: stage.shrink,
      screen: stage.screen,
      zoom: stage.zoomFactor(),
      edge: graph.edge,
      looks: stage.looks!,
      hues: markHues(explorer.marks.length),
      photos: await loadPhotos(wanted.slice(0, 500), (a) => this.picture(a)),
      chosen: [...explorer.selected],
      labels: stage.labels.map((placed) => ({ ...placed, text: stage.labelText(placed.node) })),
      legend: this.legend(),
      theme: this.theme,
    });
  }

  private handlers(): Handlers {
    const { explorer } = this;
    return {
      click: (node, more) => this.click(node, more),
      doubleClick: (node) => this.selectComponent([node]),
      empty: () => {
        if (this.mode === 'select' && explorer.selected.length) explorer.select([]);
        this.message = '';
        this.blur();
      },
      hover: (node) => (explorer.hovered = node),
      grab: () => this.stopLayout(),
      drop: (node) => this.pin(node),
      drawn: () => {
        this.frame += 1;
        this.shrink = this.stage?.shrink ?? 1;
      },
    };
  }
}

function count(nodes: number): string {
  return nodes === 1 ? '1 node' : `${nodes.toLocaleString('en')} nodes`;
}

function fileName(name: string): string {
  return `topoact-${name.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^-|-$/g, '') || 'graph'}`;
}
