/** A still picture of the view, from the same shapes as SVG or on a canvas (for PNG). */

import type { Placed } from './labels';
import type { Legend } from './legend';
import type { Looks, Theme } from './looks';
import { css, hex, UNKNOWN } from './palette';

export type Shape =
  | { is: 'rect'; x: number; y: number; w: number; h: number; fill: string; stroke?: string }
  | { is: 'line'; x: number; y: number; x2: number; y2: number; width: number; stroke: string }
  | { is: 'disc'; x: number; y: number; r: number; fill: string; stroke: string; width: number }
  | { is: 'slice'; x: number; y: number; r: number; from: number; to: number; fill: string }
  | { is: 'photo'; x: number; y: number; r: number; photo: Photo }
  | { is: 'ramp'; x: number; y: number; w: number; h: number; stops: string[] }
  | {
      is: 'text';
      x: number;
      y: number;
      text: string;
      align: 'left' | 'right' | 'middle';
      fill: string;
      halo: string | null;
      bold: boolean;
    };

/** An image that was loaded, and its bytes as an address for SVG. */
export interface Photo {
  element: CanvasImageSource;
  url: string;
}

export interface View {
  width: number;
  height: number;
  /** Screen positions [n, 2]. */
  screen: Float32Array;
  /** Scale of sizes at the present zoom. */
  zoom: number;
  /** Scale of sizes in this frame when the whole graph shows. */
  shrink: number;
  edge: Int32Array;
  looks: Looks;
  hues: string[];
  photos: Map<number, Photo>;
  chosen: number[];
  labels: (Placed & { text: string })[];
  legend: Legend;
  theme: Theme;
}

const FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const SIZE = 12;
const ROW = 17;
const RIM = 12;
const KINDS_ABREAST = 4;
const RAMP = 220;

export interface Picture {
  width: number;
  height: number;
  shapes: Shape[];
}

/** What the frame shows, back to front, and the legend below it. */
export function pictureOf(view: View): Picture {
  const { width, theme } = view;
  const height = view.height + legendHeight(view.legend) + RIM;
  const shapes: Shape[] = [{ is: 'rect', x: 0, y: 0, w: width, h: height, fill: hex(theme.paper) }];
  addEdges(shapes, view);
  addNodes(shapes, view);
  for (const { x, y, align, text } of view.labels)
    shapes.push({
      is: 'text',
      x,
      y,
      text,
      align,
      fill: hex(theme.ink),
      halo: hex(theme.paper),
      bold: false,
    });
  // an edge or a disc may reach over the frame
  const below = { x: 0, y: view.height, w: width, h: height - view.height };
  shapes.push({ is: 'rect', ...below, fill: hex(theme.paper) });
  addLegend(shapes, view);
  return { width, height, shapes };
}

function addEdges(shapes: Shape[], view: View): void {
  const { edge, looks, screen, zoom } = view;
  // faded ones first, so that none lies over one that counts
  for (const faded of [1, 0])
    for (let e = 0; e < looks.edgeWidth.length; e += 1) {
      if (looks.edgeHidden[e] || looks.edgeFaded[e] !== faded) continue;
      const [a, b] = [edge[3 * e], edge[3 * e + 1]];
      const [x, y, x2, y2] = [screen[2 * a], screen[2 * a + 1], screen[2 * b], screen[2 * b + 1]];
      if (outside(Math.min(x, x2), Math.max(x, x2), view.width)) continue;
      if (outside(Math.min(y, y2), Math.max(y, y2), view.height)) continue;
      const width = Math.max(looks.edgeWidth[e] * zoom, 0.4);
      shapes.push({ is: 'line', x, y, x2, y2, width, stroke: looks.edgeColour[e] });
    }
}

function addNodes(shapes: Shape[], view: View): void {
  const { looks, screen, zoom, hues, theme } = view;
  const chosen = new Set(view.chosen);
  const k = hues.length;
  for (const faded of [1, 0])
    for (let a = 0; a < looks.radius.length; a += 1) {
      if (looks.hidden[a] || looks.faded[a] !== faded) continue;
      const [x, y, r] = [screen[2 * a], screen[2 * a + 1], looks.radius[a] * zoom];
      if (outside(x - r, x + r, view.width) || outside(y - r, y + r, view.height)) continue;
      const ring = chosen.has(a);
      const stroke = ring ? hex(theme.accent) : looks.outline[a];
      shapes.push({ is: 'disc', x, y, r, fill: looks.colour[a], stroke, width: ring ? 3 : 1 });
      const photo = view.photos.get(a);
      if (photo) shapes.push({ is: 'photo', x, y, r: 0.86 * r, photo });
      if (!looks.parts) continue;
      let from = 0;
      for (let at = 0; at < k; at += 1) {
        const part = looks.parts[a * k + at];
        if (!(part > 0)) continue;
        shapes.push({ is: 'slice', x, y, r, from, to: Math.min(1, from + part), fill: hues[at] });
        from += part;
      }
    }
}

function legendHeight(legend: Legend): number {
  const rows = 1 + (legend.scale ? 2 : Math.ceil((legend.kinds.length + 1) / KINDS_ABREAST));
  return (rows + (legend.unknown ? 1 : 0) + 1.5) * ROW + 14;
}

function addLegend(shapes: Shape[], { legend, theme, width, height, shrink }: View): void {
  const left = RIM;
  const wide = width - 2 * RIM;
  const tall = legendHeight(legend);
  let y = height;
  const text = (x: number, at: string, align: 'left' | 'right' | 'middle' = 'left', bold = false) =>
    shapes.push({ is: 'text', x, y, text: at, align, fill: hex(theme.ink), halo: null, bold });
  shapes.push({
    is: 'rect',
    x: left,
    y,
    w: wide,
    h: tall,
    fill: hex(theme.panel),
    stroke: hex(theme.line),
  });
  const [inner, outer] = [left + 10, left + wide - 10];
  const grey = { stroke: hex(theme.line), width: 1 };
  y += 7 + ROW / 2;
  text(inner, cut(legend.title, 60), 'left', true);
  y += ROW;
  if (legend.scale) {
    const { stops, ticks } = legend.scale;
    shapes.push({ is: 'ramp', x: inner, y: y - 6, w: RAMP, h: 11, stops });
    y += ROW;
    for (const { at, text: tick } of ticks)
      text(inner + at * RAMP, tick, at === 0 ? 'left' : at === 1 ? 'right' : 'middle');
  } else {
    const across = (outer - inner) / KINDS_ABREAST;
    const names = legend.kinds.map(({ colour, name, nodes }) => ({
      colour,
      text: `${cut(name, Math.floor(across / 8))} ${nodes}`,
    }));
    if (legend.others) names.push({ colour: css(UNKNOWN), text: `${legend.others} others` });
    names.forEach(({ colour, text: name }, at) => {
      const x = inner + (at % KINDS_ABREAST) * across;
      if (at && at % KINDS_ABREAST === 0) y += ROW;
      shapes.push({ is: 'disc', x: x + 5, y, r: 5, fill: colour, ...grey });
      text(x + 16, name);
    });
  }
  y += ROW;
  if (legend.unknown) {
    shapes.push({ is: 'disc', x: inner + 5, y, r: 5, fill: css(UNKNOWN), ...grey });
    text(inner + 16, 'unknown');
    y += ROW;
  }
  y += ROW / 3;
  text(inner, legend.sizeTitle);
  legend.sizes.forEach(({ radius, text: rows }, at) => {
    const [x, r] = [inner + 50 + at * 75, Math.min(radius * shrink, 14)];
    const look = { fill: hex(theme.panel), stroke: hex(theme.quiet), width: 1 };
    shapes.push({ is: 'disc', x, y, r, ...look });
    text(x + r + 5, rows);
  });
  if (!legend.edges.length) return;
  const from = inner + (legend.sizes.length ? 300 : 260);
  text(from, legend.edgeTitle);
  legend.edges.forEach(({ width: thick, colour, text: value }, at) => {
    const x = from + 80 + at * 85;
    shapes.push({ is: 'line', x, y, x2: x + 20, y2: y, width: thick, stroke: colour });
    text(x + 26, value);
  });
}

function outside(low: number, high: number, size: number): boolean {
  return high < 0 || low > size || Number.isNaN(low);
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** The picture as an SVG document. */
export function toSvg({ shapes, width, height }: Picture, title: string): string {
  const body: string[] = [];
  const ramps: string[] = [];
  shapes.forEach((shape, at) => body.push(element(shape, at, ramps)));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escape(FONT)}" font-size="${SIZE}">`,
    `<title>${escape(title)}</title>`,
    ramps.length ? `<defs>${ramps.join('')}</defs>` : '',
    ...body,
    '</svg>',
    '',
  ].join('\n');
}

function element(shape: Shape, at: number, ramps: string[]): string {
  switch (shape.is) {
    case 'rect': {
      const line = shape.stroke ? ` stroke="${shape.stroke}" rx="6"` : '';
      return `<rect x="${f(shape.x)}" y="${f(shape.y)}" width="${f(shape.w)}" height="${f(shape.h)}" fill="${shape.fill}"${line}/>`;
    }
    case 'line':
      return `<line x1="${f(shape.x)}" y1="${f(shape.y)}" x2="${f(shape.x2)}" y2="${f(shape.y2)}" stroke="${shape.stroke}" stroke-width="${f(shape.width)}"/>`;
    case 'disc':
      return `<circle cx="${f(shape.x)}" cy="${f(shape.y)}" r="${f(shape.r)}" fill="${shape.fill}" stroke="${shape.stroke}" stroke-width="${shape.width}"/>`;
    case 'slice':
      return slicePath(shape);
    case 'photo': {
      const { x, y, r } = shape;
      const place = `x="${f(x - r)}" y="${f(y - r)}" width="${f(2 * r)}" height="${f(2 * r)}"`;
      return `<image ${place} href="${escape(shape.photo.url)}" preserveAspectRatio="xMidYMid slice" clip-path="circle(${f(r)}px)"/>`;
    }
    case 'ramp': {
      const last = Math.max(shape.stops.length - 1, 1);
      const stops = shape.stops
        .map((colour, place) => `<stop offset="${f(place / last)}" stop-color="${colour}"/>`)
        .join('');
      ramps.push(`<linearGradient id="ramp${at}">${stops}</linearGradient>`);
      return `<rect x="${f(shape.x)}" y="${f(shape.y)}" width="${f(shape.w)}" height="${f(shape.h)}" fill="url(#ramp${at})"/>`;
    }
    case 'text': {
      const anchor = { left: 'start', right: 'end', middle: 'middle' }[shape.align];
      const halo = shape.halo
        ? ` stroke="${shape.halo}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"`
        : '';
      const bold = shape.bold ? ' font-weight="600"' : '';
      return `<text x="${f(shape.x)}" y="${f(shape.y)}" dy="0.35em" text-anchor="${anchor}" fill="${shape.fill}"${halo}${bold}>${escape(shape.text)}</text>`;
    }
  }
}

function slicePath({ x, y, r, from, to, fill }: Extract<Shape, { is: 'slice' }>): string {
  if (to - from > 0.9999) return `<circle cx="${f(x)}" cy="${f(y)}" r="${f(r)}" fill="${fill}"/>`;
  const point = (share: number) => {
    const angle = 2 * Math.PI * share - Math.PI / 2;
    return `${f(x + r * Math.cos(angle))} ${f(y + r * Math.sin(angle))}`;
  };
  const large = to - from > 0.5 ? 1 : 0;
  return `<path d="M${f(x)} ${f(y)}L${point(from)}A${f(r)} ${f(r)} 0 ${large} 1 ${point(to)}Z" fill="${fill}"/>`;
}

function f(value: number): string {
  return String(Math.round(value * 100) / 100);
}

export function escape(text: string): string {
  const safe = text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
  // what XML 1.0 has no way to write
  return safe.replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '');
}

/** Draw the picture on a canvas. */
export function paint(shapes: Shape[], context: CanvasRenderingContext2D): void {
  context.textBaseline = 'middle';
  for (const shape of shapes) {
    context.beginPath();
    switch (shape.is) {
      case 'rect':
        context.fillStyle = shape.fill;
        context.roundRect(shape.x, shape.y, shape.w, shape.h, shape.stroke ? 6 : 0);
        context.fill();
        if (shape.stroke) stroke(context, shape.stroke, 1);
        break;
      case 'line':
        context.moveTo(shape.x, shape.y);
        context.lineTo(shape.x2, shape.y2);
        stroke(context, shape.stroke, shape.width);
        break;
      case 'disc':
        context.arc(shape.x, shape.y, shape.r, 0, 2 * Math.PI);
        context.fillStyle = shape.fill;
        context.fill();
        stroke(context, shape.stroke, shape.width);
        break;
      case 'slice': {
        const start = 2 * Math.PI * shape.from - Math.PI / 2;
        context.moveTo(shape.x, shape.y);
        context.arc(shape.x, shape.y, shape.r, start, 2 * Math.PI * shape.to - Math.PI / 2);
        context.fillStyle = shape.fill;
        context.fill();
        break;
      }
      case 'photo': {
        const { x, y, r, photo } = shape;
        context.save();
        context.arc(x, y, r, 0, 2 * Math.PI);
        context.clip();
        context.drawImage(photo.element, x - r, y - r, 2 * r, 2 * r);
        context.restore();
        break;
      }
      case 'ramp': {
        const ramp = context.createLinearGradient(shape.x, 0, shape.x + shape.w, 0);
        const last = Math.max(shape.stops.length - 1, 1);
        shape.stops.forEach((colour, at) => ramp.addColorStop(at / last, colour));
        context.fillStyle = ramp;
        context.fillRect(shape.x, shape.y, shape.w, shape.h);
        break;
      }
      case 'text':
        writeText(shape, context);
    }
  }
}

function stroke(context: CanvasRenderingContext2D, colour: string, width: number): void {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

function writeText(shape: Extract<Shape, { is: 'text' }>, context: CanvasRenderingContext2D): void {
  context.font = `${shape.bold ? 600 : 400} ${SIZE}px ${FONT}`;
  context.textAlign = shape.align === 'middle' ? 'center' : shape.align;
  if (shape.halo) {
    context.lineJoin = 'round';
    context.strokeStyle = shape.halo;
    context.lineWidth = 3;
    context.strokeText(shape.text, shape.x, shape.y);
  }
  context.fillStyle = shape.fill;
  context.fillText(shape.text, shape.x, shape.y);
}
