/** Where a plane of points is looked at from. Screen coordinates are CSS pixels, y downwards. */

export interface Bounds {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

export interface Camera {
  /** The point in the middle of the screen. */
  x: number;
  y: number;
  /** Pixels a unit. */
  scale: number;
}

export interface Size {
  width: number;
  height: number;
}

export type Spot = [number, number];

/** The smallest box around the finite points of `xy`, flat pairs. */
export function boundsOf(xy: ArrayLike<number>): Bounds {
  const box = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (let at = 0; at + 1 < xy.length; at += 2) {
    const x = xy[at];
    const y = xy[at + 1];
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    if (x < box.left) box.left = x;
    if (x > box.right) box.right = x;
    if (y < box.bottom) box.bottom = y;
    if (y > box.top) box.top = y;
  }
  return box.left <= box.right ? box : { left: -1, right: 1, bottom: -1, top: 1 };
}

/** See all of `box`, the same scale both ways, with a margin. */
export function fitted(box: Bounds, { width, height }: Size, margin = 16): Camera {
  const across = Math.max(box.right - box.left, 1e-12);
  const up = Math.max(box.top - box.bottom, 1e-12);
  const room = [Math.max(width - 2 * margin, 1), Math.max(height - 2 * margin, 1)];
  return {
    x: (box.left + box.right) / 2,
    y: (box.bottom + box.top) / 2,
    scale: Math.min(room[0] / across, room[1] / up),
  };
}

export function toScreen(camera: Camera, { width, height }: Size, [x, y]: Spot): Spot {
  return [width / 2 + (x - camera.x) * camera.scale, height / 2 - (y - camera.y) * camera.scale];
}

export function toPlane(camera: Camera, { width, height }: Size, [x, y]: Spot): Spot {
  return [camera.x + (x - width / 2) / camera.scale, camera.y - (y - height / 2) / camera.scale];
}

/** Move what is seen by so many pixels. */
export function panned(camera: Camera, right: number, down: number): Camera {
  return {
    ...camera,
    x: camera.x - right / camera.scale,
    y: camera.y + down / camera.scale,
  };
}

/** Zoom by `factor` about a spot of the screen, which stays where it is. */
export function zoomed(
  camera: Camera,
  size: Size,
  spot: Spot,
  factor: number,
  home: Camera,
): Camera {
  const scale = Math.min(Math.max(camera.scale * factor, home.scale / 8), home.scale * 1e5);
  const [x, y] = toPlane(camera, size, spot);
  return {
    x: x - (spot[0] - size.width / 2) / scale,
    y: y + (spot[1] - size.height / 2) / scale,
    scale,
  };
}

/** Diameter in pixels: smaller the more points there are, larger the closer one looks. */
export function pointSize(nPoints: number, camera: Camera, home: Camera): number {
  const resting = Math.min(Math.max(40 / Math.max(nPoints, 1) ** 0.22, 1.6), 8);
  return Math.min(resting * Math.max(camera.scale / home.scale, 0.5) ** 0.35, 16);
}

/** Milliseconds that one draw may take: while the plot moves, and while a resting one fills. */
export const DRAW_MS = { moving: 50, resting: 150 };

/**
 * The share of the points to draw in one go, from the share that was drawn last and the time it
 * took: what fits into the time there is, growing or shrinking by no more than a factor at a time.
 */
export function nextShare(share: number, milliseconds: number, limit: number): number {
  const fits = (share * limit) / Math.max(milliseconds, 1);
  return Math.min(Math.max(fits, share / 4), share * 2, 1);
}
