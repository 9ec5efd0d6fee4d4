/** Where things lie on the page: a receptive field on its input, a popover beside its patch. */

import type { RowView } from './types';

export interface Overlay {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The receptive field in percent of the input, cut to it; null where it is not known. */
export function overlayOf({ box, shape }: Pick<RowView, 'box' | 'shape'>): Overlay | null {
  if (!box || !shape || shape[0] <= 0 || shape[1] <= 0) return null;
  const [height, width] = shape;
  const [top, left, bottom, right] = box;
  const [y0, y1] = [clamp(top, 0, height), clamp(bottom, 0, height)];
  const [x0, x1] = [clamp(left, 0, width), clamp(right, 0, width)];
  if (y1 <= y0 || x1 <= x0) return null;
  return {
    left: (100 * x0) / width,
    top: (100 * y0) / height,
    width: (100 * (x1 - x0)) / width,
    height: (100 * (y1 - y0)) / height,
  };
}

export interface Rectangle {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Top left corner of a popover beside `anchor`: left of it, else below, else above; on screen. */
export function besides(
  anchor: Rectangle,
  size: { width: number; height: number },
  screen: { width: number; height: number },
  gap = 8,
): { left: number; top: number } {
  const across = (left: number) => clamp(left, gap, Math.max(gap, screen.width - size.width - gap));
  const down = (top: number) => clamp(top, gap, Math.max(gap, screen.height - size.height - gap));
  if (anchor.left - gap - size.width >= gap)
    return { left: anchor.left - gap - size.width, top: down(anchor.top) };
  const fitsBelow = anchor.bottom + gap + size.height + gap <= screen.height;
  const top = fitsBelow ? anchor.bottom + gap : anchor.top - gap - size.height;
  return { left: across(anchor.left), top: down(top) };
}

/** Whole numbers of pixels that an input of this shape takes within a square. */
export function fitted(shape: [number, number] | null, side: number): [number, number] | null {
  if (!shape || shape[0] <= 0 || shape[1] <= 0) return null;
  const scale = side / Math.max(shape[0], shape[1]);
  return [Math.max(1, Math.round(shape[0] * scale)), Math.max(1, Math.round(shape[1] * scale))];
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}
