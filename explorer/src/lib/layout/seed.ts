/** Where a force layout starts: set by lens, interval and component, so the same run looks the same. */

import { layered } from './layered';
import { componentsOf, scatter, type LayoutShape } from './shape';

/** Positions [n, 2]: the lens runs from left to right, layers are ordered as in `layered`. */
export function seed(shape: LayoutShape): Float32Array {
  const positions = layered(shape);
  for (const nodes of componentsOf(shape.component)) {
    let low = Infinity;
    let high = -Infinity;
    for (const a of nodes) {
      low = Math.min(low, shape.lens[a]);
      high = Math.max(high, shape.lens[a]);
    }
    const width = high - low || 1;
    for (const a of nodes) {
      // within its layer a node leans to where its lens lies in the component
      if (!shape.row) positions[2 * a] += 0.3 * ((shape.lens[a] - low) / width - 0.5);
      positions[2 * a] += 0.1 * scatter(2 * a);
      positions[2 * a + 1] += 0.1 * scatter(2 * a + 1);
    }
  }
  return positions;
}
