declare module 'graphology-layout-forceatlas2/iterate' {
  /** One iteration, in place; the matrices are those of ForceAtlas2's own worker. */
  export default function iterate(
    settings: Record<string, number | boolean>,
    nodes: Float32Array,
    edges: Float32Array,
  ): unknown;
}
