/** The shapes of docs/explorer-api.md. */

export interface Settings {
  lens: string;
  cover: string;
  intervals: number[];
  overlap: number[];
  eps: number | string | null;
  clusterer: string;
  min_samples: number | null;
  metric: string | null;
  min_intersection: number;
}

export interface RunInfo {
  id: string;
  name: string;
  origin: 'file' | 'recomputed';
  store: string | null;
  layer: string | null;
  settings: Settings;
  n_rows: number;
  n_nodes: number;
  n_edges: number;
  can_recompute: boolean;
  can_trace: boolean;
}

export interface StoreInfo {
  id: string;
  name: string;
  model: string | null;
  layers: { name: string; n_rows: number; n_cols: number; runs: string[] }[];
}

export interface Session {
  version: number;
  read_only: boolean;
  title: string;
  runs: RunInfo[];
  stores: StoreInfo[];
}

export interface Feature {
  id: string;
  kind: 'branch' | 'loop' | 'hub';
  name: string;
  nodes: number[];
  rank: number;
  score: number;
}

export interface GraphMeta {
  run: RunInfo;
  label: string | null;
  class_names: string[];
  columns: { name: string; kind: 'category' | 'number'; n_values: number }[];
  lens_names: string[];
  coverage: number;
  noise: number;
  coverage_floor: number;
  warnings: string[];
  n_components: number;
  n_loops: number;
  n_rows: number;
  class_coverage: number[];
  /** null: it is not known how many elements each row was offered to */
  class_noise: (number | null)[];
  class_counts: number[];
  interval: { ids: number[]; offered: number[] | null; taken: number[]; noise: number[] };
  has_images: boolean;
  has_text: boolean;
  has_activations: boolean;
  branches: Feature[];
  loops: Feature[];
  hubs?: Feature[];
}

/** The graph as arrays; [n, 3] and [n, k] arrays are flat, row after row. */
export interface GraphData {
  meta: GraphMeta;
  n: number;
  nEdges: number;
  nLens: number;
  size: Int32Array;
  interval: Int32Array;
  component: Int32Array;
  degree: Int32Array;
  lens: Float32Array;
  lensStd: Float32Array;
  lensMin: Float32Array;
  lensMax: Float32Array;
  purity: Float32Array;
  entropy: Float32Array;
  errorRate: Float32Array;
  confidence: Float32Array;
  topClass: Int32Array;
  topShare: Float32Array;
  topLift: Float32Array;
  topP: Float32Array;
  liftClass: Int32Array;
  liftShare: Float32Array;
  liftLift: Float32Array;
  liftP: Float32Array;
  /** [nEdges, 3]: source, target, shared rows */
  edge: Int32Array;
  jaccard: Float32Array;
  exemplar: Float64Array;
}

export interface Members {
  label: string;
  rows: number;
  nodes: Int32Array;
  count: Int32Array;
  share: Float32Array;
}

export type FoundKind = 'class' | 'input' | 'word';

export interface Found {
  kind: FoundKind;
  id: number;
  label: string;
  rows: number;
}

export interface RowView {
  row: number;
  input: number | null;
  name: string;
  class: string | null;
  prediction: string | null;
  confidence: number | null;
  box: [number, number, number, number] | null;
  shape: [number, number] | null;
  image: boolean;
  context: { before: string; word: string; after: string } | null;
}

export interface ClassShare {
  id: number;
  name: string;
  count: number;
  share: number;
  base: number;
  lift: number;
  p: number;
}

export interface SelectionSummary {
  n_nodes: number;
  n_rows: number;
  share: number;
  lens: { name: string; edges: number[]; counts: number[]; all: number[] }[];
  classes: ClassShare[];
  n_classes: number;
  purity: number | null;
  entropy: number | null;
  error_rate: number | null;
  confidence: number | null;
  mean_activation: number | null;
  top_columns: { column: number; mean: number; all: number }[];
  exemplars: RowView[];
  per_class: { id: number; name: string; rows: RowView[] }[];
  words: { word: string; count: number; lift: number }[];
  /** Rows whose activations were read: a sample of very many. */
  n_read?: number;
}

export interface RowQuery {
  nodes: number[];
  offset: number;
  limit: number;
  sort: string | null;
  descending: boolean;
  filter: Record<string, { text: string } | { min?: number; max?: number }>;
}

export type Cell = string | number | null;

export interface RowPage {
  total: number;
  matching: number;
  columns: string[];
  rows: Cell[][];
}

export interface Comparison {
  n_a: number;
  n_b: number;
  n_both: number;
  classes: { id: number; name: string; a: number; b: number; log_odds: number; p: number }[];
  columns: { column: number; mean_a: number; mean_b: number; effect: number }[];
}

export interface ProjectionInfo {
  methods: { name: string; ready: boolean; explained?: number[] }[];
  n_rows: number;
}

export interface Projection {
  rows: Int32Array;
  /** [m, 2] flat */
  xy: Float32Array;
  class: Int32Array;
  lens: Float32Array;
  node: Int32Array;
}

export interface Flows {
  n_rows: number;
  n_matched: number;
  flows: { source: number; target: number; count: number }[];
  targets: { node: number; count: number; share: number }[];
}

export interface Separation {
  layers: { layer: string; run: string; overlap: number }[];
}

export interface Knee {
  distances: number[];
  quantile: number[];
  k: number;
  eps: number | null;
}

export interface Job {
  state: 'running' | 'done' | 'failed' | 'cancelled';
  stage: string;
  done: number;
  total: number;
  seconds: number;
  run: string | null;
  error: string | null;
}

export interface Note {
  nodes: number[];
  text: string;
  when: string;
  /** Written on a graph that was replaced since: its nodes may be others now. */
  stale?: boolean;
}
