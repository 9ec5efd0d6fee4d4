/** The graph on the screen: sigma draws discs and edges, a canvas above it rings and labels. */

import { createNodeBorderProgram } from '@sigma/node-border';
import { createNodeImageProgram } from '@sigma/node-image';
import { createNodePiechartProgram } from '@sigma/node-piechart';
import Graph from 'graphology';
import Sigma from 'sigma';
import { EdgeLineProgram, NodePointProgram } from 'sigma/rendering';
import type { Coordinates } from 'sigma/types';
import { roundPicture } from './files';
import { placeLabels, type Placed } from './labels';
import { labelOf, markHues, MOST_MARKS, type Looks, type Theme } from './looks';
import { css, hex } from './palette';
import type { GraphData } from './types';

type NodeLook = Record<string, number | string | boolean>;

interface EdgeLook {
  size: number;
  color: string;
  hidden: boolean;
  type: string;
  zIndex: number;
}

export interface Handlers {
  click(node: number, more: boolean): void;
  doubleClick(node: number): void;
  empty(): void;
  hover(node: number | null): void;
  /** A node is about to be dragged: whatever moves nodes must stop. */
  grab(): void;
  /** A node was dragged here. */
  drop(node: number): void;
  drawn(): void;
}

/** Rings and labels above the graph. */
export interface Above {
  selected: number[];
  compared: number[];
  lit: number[];
  pinned: number[];
  focused: number | null;
  hovered: number | null;
  lasso: number[];
  labels: boolean;
}

export const NOTHING_ABOVE: Above = {
  selected: [],
  compared: [],
  lit: [],
  pinned: [],
  focused: null,
  hovered: null,
  lasso: [],
  labels: true,
};

const FONT = "12px system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
/** Discs of at least so many pixels carry labels and pictures. */
const LABELLED = 5;
const PICTURED = 7;
const MOST_PICTURES = 500;
/** So many selected nodes are labelled over discs; more only where there is room. */
const MOST_FORCED = 12;
/** Longest that drawing may take, ms, while the view moves. */
const SLOW_FRAME = 25;
/** Graphs up to so many nodes and edges are quick to draw in any case. */
const FEW = 800;
/** From so many on, points are drawn for discs, and hairs for all but the widest edges. */
const MANY_NODES = 3000;
const MANY_EDGES = 5000;
const WIDE_EDGES = 500;

export class Stage {
  readonly positions: Float32Array;
  readonly screen: Float32Array;
  above: Above = NOTHING_ABOVE;
  labels: Placed[] = [];
  looks: Looks | null = null;
  /** Counts changes of the looks. */
  drawn = 0;

  private readonly sigma: Sigma;
  private readonly nodes: NodeLook[] = [];
  private readonly edges: EdgeLook[] = [];
  private readonly edgeNames: string[][];
  private readonly texts = new Map<number, { text: string; width: number }>();
  private readonly watcher: ResizeObserver;
  private readonly context: CanvasRenderingContext2D;
  private order: Int32Array = new Int32Array();
  private frames: number[] = [];
  private watching = 0;
  private pictures: ((node: number) => string | null) | null = null;
  private pictureTimer = 0;
  private refreshTimer = 0;
  /** Nodes whose pictures were asked for. */
  private readonly asked = new Set<number>();
  private dead = false;
  /** Draw with the programs that a computer without a graphics card is quick at. */
  private cheap: boolean;
  /** Discs are smaller in a small frame. */
  shrink = 1;

  constructor(
    box: HTMLElement,
    private readonly canvas: HTMLCanvasElement,
    private readonly graph: GraphData,
    start: Float32Array,
    private theme: Theme,
    private readonly handlers: Handlers,
  ) {
    this.positions = start.slice();
    this.screen = new Float32Array(2 * graph.n);
    this.context = canvas.getContext('2d')!;
    this.cheap = graph.n > MANY_NODES || graph.nEdges > MANY_EDGES;
    const { drawn, names } = this.build();
    this.edgeNames = names;
    this.sigma = new Sigma(drawn, box, {
      allowInvalidContainer: true,
      renderLabels: false,
      zIndex: true,
      stagePadding: 44,
      minCameraRatio: 0.002,
      maxCameraRatio: 4,
      minEdgeThickness: 0.4,
      defaultNodeType: 'disc',
      defaultEdgeType: 'line',
      defaultDrawNodeHover: () => undefined,
      nodeProgramClasses: programs(graph.meta.has_images),
      edgeProgramClasses: { hair: EdgeLineProgram },
      zoomToSizeRatioFunction: (ratio) => Math.sqrt(ratio) / this.shrink,
    });
    // layers that stay empty, or repeat what the canvas above shows: each costs the browser time
    const layers = this.sigma.getCanvases();
    for (const name of ['edgeLabels', 'labels', 'hovers', 'hoverNodes'])
      if (layers[name]) layers[name].style.display = 'none';
    this.fitDiscs();
    this.listen();
    this.watcher = new ResizeObserver(() => {
      if (this.dead) return;
      this.sigma.resize();
      this.fitDiscs();
      this.sigma.scheduleRender();
    });
    this.watcher.observe(box);
  }

  private fitDiscs(): void {
    const { width, height } = this.size();
    this.shrink = Math.min(1, Math.max(0.45, Math.sqrt((width * height) / 420_000)));
  }

  kill(): void {
    this.dead = true;
    clearTimeout(this.pictureTimer);
    clearTimeout(this.refreshTimer);
    cancelAnimationFrame(this.watching);
    this.watcher.disconnect();
    this.sigma.kill();
  }

  /** Redraw everything in these looks. */
  apply(looks: Looks, theme: Theme, pictures: ((node: number) => string | null) | null): void {
    this.theme = theme;
    this.looks = looks;
    this.drawn += 1;
    if (this.drawn === 1 && this.graph.n + this.graph.nEdges > FEW)
      setTimeout(() => this.timeDrawing(), 1000);
    if (this.drawn === 1)
      this.sigma.once('afterRender', () => performance.mark('topoact-first-paint'));
    this.pictures = pictures;
    const k = looks.parts ? looks.parts.length / this.graph.n : 0;
    const plain = this.cheap ? 'point' : 'disc';
    for (let a = 0; a < this.graph.n; a += 1) {
      const look = this.nodes[a];
      look.size = looks.radius[a];
      look.color = looks.colour[a];
      look.outline = looks.outline[a];
      look.hidden = looks.hidden[a] === 1;
      look.zIndex = looks.faded[a] ? 0 : 1;
      look.type = !pictures && looks.parts && partsAt(looks.parts, a, k, look) ? 'pie' : plain;
      if (pictures && look.image) look.type = 'image';
    }
    const wide = this.widthCut(looks);
    for (let e = 0; e < this.graph.nEdges; e += 1) {
      const look = this.edges[e];
      look.size = looks.edgeWidth[e];
      look.type = looks.edgeWidth[e] > wide ? 'line' : 'hair';
      look.color = looks.edgeColour[e];
      look.hidden = looks.edgeHidden[e] === 1;
      look.zIndex = looks.edgeFaded[e] ? 0 : 1;
    }
    const { radius } = looks;
    this.order = Int32Array.from(radius.keys()).sort((a, b) => radius[b] - radius[a] || a - b);
    this.sigma.refresh({ schedule: true });
    this.askPictures();
  }

  /** Width over which an edge is drawn wide: of many edges only the strongest, the rest as hairs. */
  private widthCut(looks: Looks): number {
    const { nEdges } = this.graph;
    if (!this.cheap || nEdges <= WIDE_EDGES) return -1;
    return looks.edgeWidth.slice().sort()[nEdges - WIDE_EDGES];
  }

  /** Move all nodes; the view stays on the graph as a whole. */
  place(positions: Float32Array, pinned: Map<number, [number, number]>): void {
    this.positions.set(positions);
    for (const [a, [x, y]] of pinned) {
      this.positions[2 * a] = x;
      this.positions[2 * a + 1] = y;
    }
    for (let a = 0; a < this.graph.n; a += 1) {
      this.nodes[a].x = this.positions[2 * a];
      this.nodes[a].y = this.positions[2 * a + 1];
    }
    this.sigma.setCustomBBox(null);
    this.sigma.refresh({ schedule: true });
    this.askPictures();
  }

  /** Put one node where the pointer or a key moved it. */
  moveNode(a: number, { x, y }: Coordinates): void {
    if (!this.sigma.getCustomBBox()) this.sigma.setCustomBBox(this.sigma.getBBox());
    this.positions[2 * a] = this.nodes[a].x = x;
    this.positions[2 * a + 1] = this.nodes[a].y = y;
    this.sigma.refresh({
      partialGraph: { nodes: [String(a)], edges: this.edgeNames[a] },
      skipIndexation: true,
      schedule: true,
    });
  }

  /** Where a step of so many pixels would take a node. */
  stepped(a: number, dx: number, dy: number): Coordinates {
    const [x, y] = this.toScreen(a);
    return this.sigma.viewportToGraph({ x: x + dx, y: y + dy });
  }

  draw(above: Above): void {
    this.above = above;
    this.sigma.scheduleRender();
  }

  toScreen(a: number): [number, number] {
    const { x, y } = this.sigma.graphToViewport({
      x: this.positions[2 * a],
      y: this.positions[2 * a + 1],
    });
    return [x, y];
  }

  size(): { width: number; height: number } {
    return this.sigma.getDimensions();
  }

  shown(a: number): boolean {
    return !this.looks?.hidden[a];
  }

  /** Radius of a node on the screen. */
  radius(a: number): number {
    return this.sigma.scaleSize(Number(this.nodes[a].size));
  }

  zoomFactor(): number {
    return this.sigma.scaleSize(1);
  }

  /** Nodes shown inside the frame. */
  inFrame(): number[] {
    const { width, height } = this.size();
    const found: number[] = [];
    for (let a = 0; a < this.graph.n; a += 1) {
      const [x, y] = [this.screen[2 * a], this.screen[2 * a + 1]];
      if (this.shown(a) && x >= 0 && y >= 0 && x <= width && y <= height) found.push(a);
    }
    return found;
  }

  // the camera

  fit(): void {
    this.sigma.setCustomBBox(null);
    this.sigma.refresh({ schedule: true });
    void this.camera({ x: 0.5, y: 0.5, ratio: 1, angle: 0 });
  }

  /** Show these nodes as large as they fit. */
  frame(nodes: number[]): void {
    if (!nodes.length) return this.fit();
    const { width, height } = this.size();
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const a of nodes) {
      const [x, y] = this.toScreen(a);
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    const share = Math.max((right - left) / width, (bottom - top) / height, 0.06);
    const middle = this.sigma.viewportToFramedGraph({
      x: (left + right) / 2,
      y: (top + bottom) / 2,
    });
    const ratio = this.sigma.getCamera().ratio * share * 1.5;
    void this.camera({ ...middle, ratio: Math.max(ratio, 0.05) });
  }

  zoom(factor: number): void {
    void this.camera({
      ratio: this.sigma.getCamera().getBoundedRatio(this.sigma.getCamera().ratio / factor),
    });
  }

  pan(dx: number, dy: number): void {
    const { width, height } = this.size();
    void this.camera(this.sigma.viewportToFramedGraph({ x: width / 2 + dx, y: height / 2 + dy }));
  }

  /** Move the view to a place of the graph, at once. */
  lookAt(point: Coordinates): void {
    const screen = this.sigma.graphToViewport(point);
    this.sigma.getCamera().setState(this.sigma.viewportToFramedGraph(screen));
  }

  /** Bring a node into view if it is outside or near the rim. */
  reveal(a: number): void {
    const [x, y] = this.toScreen(a);
    const { width, height } = this.size();
    const rim = 40;
    if (x < rim || y < rim || x > width - rim || y > height - rim)
      void this.camera(this.sigma.viewportToFramedGraph({ x, y }));
  }

  /** Corners of the frame in the graph: [left, top, right, bottom]. */
  frameInGraph(): [number, number, number, number] {
    const { width, height } = this.size();
    const [a, b] = [
      this.sigma.viewportToGraph({ x: 0, y: 0 }),
      this.sigma.viewportToGraph({ x: width, y: height }),
    ];
    return [a.x, a.y, b.x, b.y];
  }

  /** Whether some of the graph lies outside the frame. */
  isPartial(): boolean {
    const { width, height } = this.size();
    for (let a = 0; a < this.graph.n; a += 1) {
      const [x, y] = [this.screen[2 * a], this.screen[2 * a + 1]];
      if (x < 0 || y < 0 || x > width || y > height) return true;
    }
    return false;
  }

  /** Draw at once. */
  redraw(): void {
    this.sigma.refresh({ partialGraph: {}, skipIndexation: true });
  }

  /** Times between frames while the view last moved, ms. */
  frameTimes(): number[] {
    return [...this.frames];
  }

  private camera(state: { x?: number; y?: number; ratio?: number; angle?: number }): Promise<void> {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const camera = this.sigma.getCamera();
    if (!calm) return camera.animate(state, { duration: 220 });
    camera.setState(state);
    return Promise.resolve();
  }

  // building and listening

  private build(): { drawn: Graph; names: string[][] } {
    const { n, nEdges, edge } = this.graph;
    const drawn = new Graph({ type: 'undirected', multi: true });
    const names: string[][] = Array.from({ length: n }, () => []);
    const [color, line] = [hex(this.theme.quiet), hex(this.theme.line)];
    for (let a = 0; a < n; a += 1) {
      const look: NodeLook = {
        x: this.positions[2 * a],
        y: this.positions[2 * a + 1],
        size: 4,
        color,
        outline: line,
        hidden: false,
        type: 'disc',
        zIndex: 1,
      };
      drawn.addNode(a, look);
      this.nodes.push(drawn.getNodeAttributes(a) as NodeLook);
    }
    for (let e = 0; e < nEdges; e += 1) {
      const [a, b] = [edge[3 * e], edge[3 * e + 1]];
      const name = String(e);
      const look: EdgeLook = { size: 1, color: line, hidden: false, type: 'hair', zIndex: 1 };
      drawn.addEdgeWithKey(name, a, b, look);
      this.edges.push(drawn.getEdgeAttributes(name) as EdgeLook);
      names[a].push(name);
      names[b].push(name);
    }
    return { drawn, names };
  }

  private listen(): void {
    const { sigma, handlers } = this;
    let held: { node: number; x: number; y: number; moved: boolean } | null = null;
    const more = (event: MouseEvent | TouchEvent) =>
      event.shiftKey || event.ctrlKey || event.metaKey;
    let dropped = -Infinity; // a drag ends in a click, which is none
    sigma.on('clickNode', ({ node, event }) => {
      if (performance.now() - dropped > 100) handlers.click(Number(node), more(event.original));
    });
    sigma.on('doubleClickNode', ({ node, event }) => {
      event.preventSigmaDefault();
      handlers.doubleClick(Number(node));
    });
    sigma.on('clickStage', ({ event }) => {
      if (!more(event.original)) handlers.empty();
    });
    sigma.on('enterNode', ({ node }) => handlers.hover(Number(node)));
    sigma.on('leaveNode', () => handlers.hover(null));
    sigma.on('downNode', ({ node, event }) => {
      held = { node: Number(node), x: event.x, y: event.y, moved: false };
    });
    sigma.on('moveBody', ({ event }) => {
      if (!held) return;
      if (!held.moved && Math.hypot(event.x - held.x, event.y - held.y) < 4) return;
      if (!held.moved) handlers.grab();
      held.moved = true;
      event.preventSigmaDefault();
      event.original.preventDefault();
      event.original.stopPropagation();
      this.moveNode(held.node, sigma.viewportToGraph(event));
    });
    const release = () => {
      if (held?.moved) {
        dropped = performance.now();
        handlers.drop(held.node);
      }
      held = null;
    };
    sigma.on('upNode', release);
    sigma.on('upStage', release);
    sigma.on('afterRender', () => {
      if (!this.dead) this.overlay();
    });
    sigma.getCamera().on('updated', () => {
      this.watchFrames();
      this.askPictures();
    });
  }

  /** Follow the frames while the view moves. */
  private watchFrames(): void {
    if (this.watching) {
      this.lastMove = performance.now();
      return;
    }
    this.lastMove = performance.now();
    let last = 0;
    this.frames = this.frames.slice(-600);
    const frame = (now: number) => {
      if (last) {
        this.frames.push(now - last);
      }
      last = now;
      if (now - this.lastMove < 150 && !this.dead) this.watching = requestAnimationFrame(frame);
      else this.watching = 0;
    };
    this.watching = requestAnimationFrame(frame);
  }

  private lastMove = 0;

  /** Time a picture to its last pixel; if it takes long, draw cheaply, then move without edges. */
  private timeDrawing(): void {
    if (this.dead || !this.looks) return;
    const canvases = this.sigma.getCanvases();
    const layers = [canvases.nodes, canvases.edges] as HTMLCanvasElement[];
    const pixel = new Uint8Array(4);
    const wait = () => {
      for (const layer of layers) {
        const gl = layer.getContext('webgl2') ?? layer.getContext('webgl');
        gl?.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
      }
    };
    wait();
    const start = performance.now();
    this.redraw();
    wait();
    if (performance.now() - start < SLOW_FRAME) return;
    if (this.cheap) {
      this.sigma.setSetting('hideEdgesOnMove', true);
      return;
    }
    this.cheap = true;
    this.apply(this.looks, this.theme, this.pictures);
    setTimeout(() => this.timeDrawing(), 1000);
  }

  // pictures on nodes

  /** Once the view rests, ask for the pictures of the discs that are large enough to show one. */
  private askPictures(): void {
    clearTimeout(this.pictureTimer);
    if (!this.pictures) return;
    this.pictureTimer = window.setTimeout(() => this.showPictures(), 200);
  }

  private showPictures(): void {
    const { pictures } = this;
    if (!pictures || this.dead) return;
    const large = this.inFrame()
      .filter((a) => this.radius(a) >= PICTURED && !this.nodes[a].image)
      .sort((a, b) => this.radius(b) - this.radius(a))
      .slice(0, MOST_PICTURES);
    for (const a of large) void this.showPicture(a, pictures(a));
  }

  private async showPicture(a: number, url: string | null): Promise<void> {
    if (url === null || this.asked.has(a)) return;
    this.asked.add(a);
    const image = await roundPicture(url);
    if (image === null || this.dead) return;
    this.nodes[a].image = image;
    if (!this.pictures) return;
    this.nodes[a].type = 'image';
    clearTimeout(this.refreshTimer);
    this.refreshTimer = window.setTimeout(() => this.sigma.refresh({ schedule: true }), 60);
  }

  // the canvas above

  private overlay(): void {
    const { width, height } = this.size();
    const scale = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale))
      this.canvas.width = Math.round(width * scale);
    if (this.canvas.height !== Math.round(height * scale))
      this.canvas.height = Math.round(height * scale);
    this.project();
    const { context, above, theme } = this;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    this.rings(above.compared, css(theme.warn), 2, 3, [4, 3]);
    this.rings(above.lit, css(theme.warn), 3, 2);
    this.rings(above.selected, css(theme.accent), above.selected.length > 20 ? 1.5 : 2.5, 1);
    if (above.hovered !== null) {
      this.hoveredEdges(above.hovered);
      this.rings([above.hovered], css(theme.ink), 1.5, 2);
    }
    if (above.focused !== null) {
      this.rings([above.focused], css(theme.paper), 6, 5);
      this.rings([above.focused], css(theme.accent), 2.5, 5, [5, 3]);
    }
    this.pins();
    this.labels = this.chooseLabels(width, height);
    this.writeLabels();
    this.lasso();
    this.handlers.drawn();
  }

  /** Screen positions of all nodes: what sigma does to a point is affine. */
  private project(): void {
    const origin = this.sigma.graphToViewport({ x: 0, y: 0 });
    const right = this.sigma.graphToViewport({ x: 1, y: 0 });
    const up = this.sigma.graphToViewport({ x: 0, y: 1 });
    const [xx, xy] = [right.x - origin.x, right.y - origin.y];
    const [yx, yy] = [up.x - origin.x, up.y - origin.y];
    for (let a = 0; a < this.graph.n; a += 1) {
      const [x, y] = [this.positions[2 * a], this.positions[2 * a + 1]];
      this.screen[2 * a] = origin.x + x * xx + y * yx;
      this.screen[2 * a + 1] = origin.y + x * xy + y * yy;
    }
  }

  private rings(
    nodes: number[],
    colour: string,
    width: number,
    gap: number,
    dash: number[] = [],
  ): void {
    if (!nodes.length) return;
    const { context } = this;
    const size = this.size();
    const zoom = this.zoomFactor();
    context.beginPath();
    for (const a of nodes) {
      if (!this.shown(a)) continue;
      const [x, y] = [this.screen[2 * a], this.screen[2 * a + 1]];
      const r = Number(this.nodes[a].size) * zoom + gap;
      if (x < -r || y < -r || x > size.width + r || y > size.height + r) continue;
      context.moveTo(x + r, y);
      context.arc(x, y, r, 0, 2 * Math.PI);
    }
    context.setLineDash(dash);
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
    context.setLineDash([]);
  }

  private hoveredEdges(node: number): void {
    const { context, graph } = this;
    context.beginPath();
    for (const name of this.edgeNames[node]) {
      const e = Number(name);
      if (this.edges[e].hidden) continue;
      const [a, b] = [graph.edge[3 * e], graph.edge[3 * e + 1]];
      const far = a === node ? b : a;
      const [x, y] = [this.screen[2 * node], this.screen[2 * node + 1]];
      const [dx, dy] = [this.screen[2 * far] - x, this.screen[2 * far + 1] - y];
      const length = Math.hypot(dx, dy) || 1;
      const [from, to] = [this.radius(node) / length, 1 - this.radius(far) / length];
      if (from >= to) continue;
      context.moveTo(x + dx * from, y + dy * from);
      context.lineTo(x + dx * to, y + dy * to);
    }
    context.strokeStyle = css(this.theme.ink);
    context.lineWidth = 2;
    context.stroke();
  }

  private pins(): void {
    const { context } = this;
    context.fillStyle = css(this.theme.ink);
    context.strokeStyle = css(this.theme.paper);
    context.lineWidth = 1.5;
    for (const a of this.above.pinned) {
      if (!this.shown(a)) continue;
      const [x, y] = [this.screen[2 * a], this.screen[2 * a + 1] - this.radius(a)];
      context.beginPath();
      context.arc(x, y, 3.2, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  private chooseLabels(width: number, height: number): Placed[] {
    const { above } = this;
    const first = [above.focused, above.hovered].filter((a): a is number => a !== null);
    const few = above.selected.length <= MOST_FORCED;
    const forced = few ? [...first, ...above.selected] : first;
    const wished = few ? [] : above.selected.slice(0, 1000);
    if (!above.labels && !forced.length && !wished.length) return [];
    const order = [...forced, ...wished, ...(above.labels ? this.order.subarray(0, 4000) : [])];
    return placeLabels({
      order,
      forced: forced.length,
      screen: this.screen,
      radius: (a) => this.radius(a),
      shown: (a) => this.shown(a),
      wanted: (a) => !this.looks?.faded[a],
      width: (a) => this.text(a).width,
      size: { width, height },
      least: LABELLED,
      most: Math.min(60, Math.round((width * height) / 12_000)) + forced.length,
    });
  }

  labelText(a: number): string {
    return this.text(a).text;
  }

  private text(a: number): { text: string; width: number } {
    let known = this.texts.get(a);
    if (!known) {
      this.context.font = FONT;
      const text = labelOf(this.graph, a);
      known = { text, width: this.context.measureText(text).width };
      this.texts.set(a, known);
    }
    return known;
  }

  private writeLabels(): void {
    const { context, theme } = this;
    context.font = FONT;
    context.textBaseline = 'middle';
    context.lineJoin = 'round';
    context.lineWidth = 3;
    context.strokeStyle = css(theme.paper);
    context.fillStyle = css(theme.ink);
    for (const { node, x, y, align } of this.labels) {
      context.textAlign = align;
      const { text } = this.text(node);
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
  }

  private lasso(): void {
    const { context, theme } = this;
    const points = this.above.lasso;
    if (points.length < 4) return;
    context.beginPath();
    context.moveTo(points[0], points[1]);
    for (let at = 2; at < points.length; at += 2) context.lineTo(points[at], points[at + 1]);
    context.closePath();
    context.globalAlpha = 0.12;
    context.fillStyle = css(theme.accent);
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([5, 4]);
    context.lineWidth = 1.5;
    context.strokeStyle = css(theme.accent);
    context.stroke();
    context.setLineDash([]);
  }
}

/** Write the parts of a node's disc; false where it has none. */
function partsAt(parts: Float32Array, a: number, k: number, look: NodeLook): boolean {
  let any = false;
  for (let at = 0; at < MOST_MARKS; at += 1) {
    const part = at < k ? parts[a * k + at] : 0;
    look[`part${at}`] = part;
    any ||= part > 0;
  }
  return any;
}

function programs(images: boolean) {
  const drawHover = () => undefined;
  const hues = markHues(MOST_MARKS);
  const slices = hues.map((value, at) => ({
    color: { value },
    value: { attribute: `part${at}` },
  }));
  return {
    point: NodePointProgram,
    disc: createNodeBorderProgram({
      borders: [
        { size: { value: 1, mode: 'pixels' }, color: { attribute: 'outline' } },
        { size: { fill: true }, color: { attribute: 'color' } },
      ],
      drawHover,
    }),
    pie: createNodePiechartProgram({
      defaultColor: '#808080',
      slices: slices as [(typeof slices)[0], ...typeof slices],
      drawHover,
    }),
    // it opens a drawing context of its own, which takes its time
    ...(images && {
      image: createNodeImageProgram({
        size: { mode: 'force', value: 96 },
        keepWithinCircle: true,
        padding: 0.1, // there the disc's colour shows
        drawHover,
      }),
    }),
  };
}
