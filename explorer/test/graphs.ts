/** Small graphs for tests. */

import type { GraphData } from '../src/lib/types';

export interface Small {
  size: number[];
  interval: number[];
  edges: [number, number, number][];
  jaccard?: number[];
  component?: number[];
  intervals?: number[];
  classes?: string[];
  top?: number[];
}

/** A graph of one lens; its lens is the interval, its components are found. */
export function graphOf(small: Small): GraphData {
  const n = small.size.length;
  const component = small.component ?? componentsOf(n, small.edges);
  const degree = new Int32Array(n);
  for (const [a, b] of small.edges) {
    degree[a] += 1;
    degree[b] += 1;
  }
  const unknown = () => new Float32Array(n).fill(NaN);
  const none = () => new Int32Array(3 * n).fill(-1);
  const top = none();
  small.top?.forEach((id, a) => (top[3 * a] = id));
  return {
    n,
    nEdges: small.edges.length,
    nLens: 1,
    size: Int32Array.from(small.size),
    interval: Int32Array.from(small.interval),
    component: Int32Array.from(component),
    degree,
    lens: Float32Array.from(small.interval),
    lensStd: new Float32Array(n),
    lensMin: Float32Array.from(small.interval),
    lensMax: Float32Array.from(small.interval),
    purity: unknown(),
    entropy: unknown(),
    errorRate: unknown(),
    confidence: unknown(),
    topClass: top,
    topShare: new Float32Array(3 * n).fill(0.5),
    topLift: new Float32Array(3 * n).fill(2),
    topP: new Float32Array(3 * n),
    liftClass: none(),
    liftShare: new Float32Array(3 * n),
    liftLift: new Float32Array(3 * n),
    liftP: new Float32Array(3 * n),
    edge: Int32Array.from(small.edges.flat()),
    jaccard: Float32Array.from(small.jaccard ?? small.edges.map(() => 0.5)),
    exemplar: Float64Array.from({ length: n }, (_, a) => a),
    meta: {
      run: {
        id: '1',
        name: 'small',
        origin: 'file',
        store: null,
        layer: null,
        settings: {
          lens: 'l2norm',
          cover: 'UniformCover',
          intervals: small.intervals ?? [Math.max(...small.interval) + 1],
          overlap: [0.3],
          eps: 1,
          clusterer: 'DBSCAN',
          min_samples: 5,
          metric: 'euclidean',
          min_intersection: 1,
        },
        n_rows: 100,
        n_nodes: n,
        n_edges: small.edges.length,
        can_recompute: false,
        can_trace: false,
      },
      label: small.classes ? 'label' : null,
      class_names: small.classes ?? [],
      columns: [],
      lens_names: ['L2 norm'],
      coverage: 1,
      noise: 0,
      coverage_floor: 0.8,
      warnings: [],
      n_components: new Set(component).size,
      n_loops: 0,
      n_rows: 100,
      class_coverage: [],
      class_noise: [],
      class_counts: [],
      interval: { ids: [], offered: null, taken: [], noise: [] },
      has_images: false,
      has_text: false,
      has_activations: false,
      branches: [],
      loops: [],
    },
  };
}

function componentsOf(n: number, edges: [number, number, number][]): number[] {
  const of = Array.from({ length: n }, (_, a) => a);
  for (let round = 0; round < n; round += 1)
    for (const [a, b] of edges) of[a] = of[b] = Math.min(of[a], of[b]);
  return of;
}

/** Two arms of a fork, a separate pair and a node alone:
 *  0-1-2-3, 2-4-5, 6-7, 8. */
export const FORK: Small = {
  size: [10, 20, 40, 20, 30, 10, 5, 5, 5],
  interval: [0, 1, 2, 3, 3, 4, 0, 1, 2],
  edges: [
    [0, 1, 5],
    [1, 2, 10],
    [2, 3, 2],
    [2, 4, 8],
    [4, 5, 4],
    [6, 7, 1],
  ],
  jaccard: [0.2, 0.3, 0.05, 0.2, 0.1, 0.1],
};
