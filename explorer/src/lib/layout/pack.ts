/** Boxes side by side on a page, the small beside the large. */

export interface Box {
  width: number;
  height: number;
}

/** Lower left corner of each box, in the given order, on a page of about `aspect` (width : height). */
export function pack(boxes: Box[], aspect = 1.5): { x: number; y: number }[] {
  const area = boxes.reduce((sum, { width, height }) => sum + width * height, 0);
  const widest = boxes.reduce((most, { width }) => Math.max(most, width), 0);
  const page = Math.max(widest, Math.sqrt(1.15 * area * aspect));
  let skyline = [{ x: 0, width: page, y: 0 }];
  return boxes.map((box) => {
    const place = lowest(skyline, box.width, page);
    skyline = raise(skyline, place.x, box.width, place.y + box.height);
    return place;
  });
}

interface Step {
  x: number;
  width: number;
  y: number;
}

/** The lowest place, then the leftmost, where a box of this width rests on the skyline. */
function lowest(skyline: Step[], width: number, page: number): { x: number; y: number } {
  let best = { x: 0, y: Infinity };
  for (let at = 0; at < skyline.length; at += 1) {
    const { x } = skyline[at];
    if (x + width > page * (1 + 1e-9)) break;
    let y = 0;
    for (let to = at; to < skyline.length && skyline[to].x < x + width - 1e-9; to += 1)
      y = Math.max(y, skyline[to].y);
    if (y < best.y) best = { x, y };
  }
  return best.y === Infinity ? { x: 0, y: Math.max(...skyline.map(({ y }) => y)) } : best;
}

function raise(skyline: Step[], x: number, width: number, y: number): Step[] {
  const right = x + width;
  const cut: Step[] = [];
  for (const step of skyline) {
    const end = step.x + step.width;
    if (step.x < x) cut.push({ ...step, width: Math.min(end, x) - step.x });
    if (end > right) {
      const from = Math.max(step.x, right);
      cut.push({ x: from, width: end - from, y: step.y });
    }
  }
  const level = [...cut, { x, width, y }].filter((step) => step.width > 1e-9);
  level.sort((a, b) => a.x - b.x);
  return level.reduce<Step[]>((merged, step) => {
    const last = merged[merged.length - 1];
    if (last && Math.abs(last.y - step.y) < 1e-9) last.width = step.x + step.width - last.x;
    else merged.push({ ...step });
    return merged;
  }, []);
}
