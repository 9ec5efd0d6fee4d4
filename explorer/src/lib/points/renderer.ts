/** Points in WebGL 2: one buffer of places, one of colours, and a list of those that are lit. */

import type { Rgb } from '../palette';
import type { Camera, Size } from './camera';
import { FRAGMENT, VERTEX } from './shaders';

export interface Frame {
  camera: Camera;
  size: Size;
  /** Device pixels a CSS pixel. */
  ratio: number;
  /** Diameter of a point, CSS pixels. */
  point: number;
  /**
   * Which share of the points to draw, in the order of drawing; from 0 it begins a new picture,
   * from elsewhere it goes on with the last one. Those that are lit come last, and some of them
   * with the first.
   */
  from: number;
  to: number;
  paper: Rgb;
  ring: Rgb;
}

/** Lit points in the first draw of a picture. */
const LIT_AT_ONCE = 20_000;

/** More lit points than this hide each other's colours behind their rims. */
const MOST_RINGED = 1_000;

const UNIFORMS = [
  'u_centre',
  'u_scale',
  'u_size',
  'u_paper',
  'u_ring',
  'u_fade',
  'u_alpha',
  'u_ring_width',
] as const;

export class PointRenderer {
  private gl: WebGL2RenderingContext;
  private uniforms!: Record<(typeof UNIFORMS)[number], WebGLUniformLocation | null>;
  private buffers!: { places: WebGLBuffer; colours: WebGLBuffer; lit: WebGLBuffer };
  private vertices!: WebGLVertexArrayObject;
  private nPoints = 0;
  private nLit = -1;
  private fence: WebGLSync | null = null;
  /** Points are drawn in this order: shuffled, so that none lie above others for their number. */
  private order = new Uint32Array(0);
  private place = new Uint32Array(0);

  /** Null where the browser has no WebGL 2. */
  static on(canvas: HTMLCanvasElement): PointRenderer | null {
    const gl = canvas.getContext('webgl2', {
      alpha: true,
      antialias: false,
      depth: false,
      // a picture is made of several draws
      preserveDrawingBuffer: true,
    });
    return gl ? new PointRenderer(gl) : null;
  }

  private constructor(gl: WebGL2RenderingContext) {
    this.gl = gl;
    this.prepare();
  }

  get lost(): boolean {
    return this.gl.isContextLost();
  }

  /** Build everything that lives on the device; again after a lost context comes back. */
  prepare(): void {
    const { gl } = this;
    this.fence = null;
    const program = linked(gl);
    gl.useProgram(program);
    const found = UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)]);
    this.uniforms = Object.fromEntries(found) as typeof this.uniforms;
    this.vertices = gl.createVertexArray();
    gl.bindVertexArray(this.vertices);
    const places = gl.createBuffer();
    const colours = gl.createBuffer();
    this.buffers = { places, colours, lit: gl.createBuffer() };
    this.attribute(gl.getAttribLocation(program, 'a_place'), places, 2, gl.FLOAT, false, 8);
    const colour = gl.getAttribLocation(program, 'a_colour');
    this.attribute(colour, colours, 3, gl.UNSIGNED_BYTE, true, 4);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  /** `xy`: flat pairs. */
  setPoints(xy: Float32Array): void {
    const { gl } = this;
    this.nPoints = Math.floor(xy.length / 2);
    this.nLit = -1;
    [this.order, this.place] = shuffled(this.nPoints);
    const drawn = new Float32Array(2 * this.nPoints);
    for (let at = 0; at < this.nPoints; at += 1) {
      const point = this.order[at];
      drawn[2 * at] = xy[2 * point];
      drawn[2 * at + 1] = xy[2 * point + 1];
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.places);
    gl.bufferData(gl.ARRAY_BUFFER, drawn, gl.STATIC_DRAW);
  }

  /** `rgb`: three bytes a point. */
  setColours(rgb: Uint8Array): void {
    const { gl } = this;
    const drawn = new Uint8Array(4 * this.nPoints);
    for (let at = 0; at < this.nPoints; at += 1) {
      const from = 3 * this.order[at];
      drawn[4 * at] = rgb[from];
      drawn[4 * at + 1] = rgb[from + 1];
      drawn[4 * at + 2] = rgb[from + 2];
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.colours);
    gl.bufferData(gl.ARRAY_BUFFER, drawn, gl.DYNAMIC_DRAW);
  }

  /** Points that stand out while the others fade; null: none fades. */
  setLit(points: Int32Array | null): void {
    const { gl } = this;
    this.nLit = points ? points.length : -1;
    if (!points) return;
    gl.bindVertexArray(this.vertices);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.lit);
    // in the order of drawing, so that the first few are a fair sample
    const places = Uint32Array.from(points, (point) => this.place[point]).sort();
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, places, gl.DYNAMIC_DRAW);
  }

  draw({ camera, size, ratio, point, from, to, paper, ring }: Frame): void {
    const { gl, uniforms } = this;
    const width = Math.round(size.width * ratio);
    const height = Math.round(size.height * ratio);
    const { canvas } = gl;
    if (canvas.width !== width || canvas.height !== height)
      Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    if (from === 0) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
    }
    if (!this.nPoints) return;
    gl.bindVertexArray(this.vertices);
    gl.uniform2f(uniforms.u_centre, camera.x, camera.y);
    gl.uniform2f(
      uniforms.u_scale,
      (2 * camera.scale) / size.width,
      (2 * camera.scale) / size.height,
    );
    gl.uniform3fv(uniforms.u_paper, unit(paper));
    gl.uniform3fv(uniforms.u_ring, unit(ring));
    const faded = this.nLit >= 0;
    gl.uniform1f(uniforms.u_size, point * ratio);
    gl.uniform1f(uniforms.u_fade, faded ? 0.78 : 0);
    gl.uniform1f(uniforms.u_alpha, faded ? 0.7 : 0.85);
    gl.uniform1f(uniforms.u_ring_width, 0);
    const first = Math.ceil(this.nPoints * from);
    gl.drawArrays(gl.POINTS, first, Math.ceil(this.nPoints * to) - first);
    const nLit = to === 1 ? this.nLit : from === 0 ? Math.min(this.nLit, LIT_AT_ONCE) : 0;
    if (nLit > 0) {
      const lit = Math.max(point * 1.25, 3);
      gl.uniform1f(uniforms.u_size, lit * ratio);
      gl.uniform1f(uniforms.u_fade, 0);
      gl.uniform1f(uniforms.u_alpha, 1);
      gl.uniform1f(uniforms.u_ring_width, lit >= 5 && nLit <= MOST_RINGED ? 0.8 * ratio : 0);
      gl.drawElements(gl.POINTS, nLit, gl.UNSIGNED_INT, 0);
    }
  }

  /** Begin to time what was drawn. */
  time(): void {
    this.fence = this.gl.fenceSync(this.gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    this.gl.flush();
  }

  /** Whether everything that was timed has been drawn. */
  get done(): boolean {
    const { gl, fence } = this;
    if (!fence) return true;
    if (gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) return false;
    gl.deleteSync(fence);
    this.fence = null;
    return true;
  }

  dispose(): void {
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }

  private attribute(
    at: number,
    buffer: WebGLBuffer,
    parts: number,
    type: number,
    unitRange: boolean,
    stride: number,
  ): void {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, parts, type, unitRange, stride, 0);
  }
}

/** A fixed shuffle of 0..n-1, and the place of each number in it. */
export function shuffled(n: number): [Uint32Array<ArrayBuffer>, Uint32Array<ArrayBuffer>] {
  const order = Uint32Array.from({ length: n }, (_, at) => at);
  let state = 0x9e3779b9;
  for (let at = n - 1; at > 0; at -= 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const other = (state >>> 0) % (at + 1);
    const moved = order[at];
    order[at] = order[other];
    order[other] = moved;
  }
  const place = new Uint32Array(n);
  for (let at = 0; at < n; at += 1) place[order[at]] = at;
  return [order, place];
}

function linked(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  const parts: [number, string][] = [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ];
  for (const [kind, text] of parts) {
    const shader = gl.createShader(kind);
    if (!shader) throw new Error('WebGL has no room for a shader.');
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error(`The shaders do not link: ${gl.getProgramInfoLog(program) ?? 'no reason'}`);
  return program;
}

function unit(colour: Rgb): Float32Array {
  return Float32Array.from(colour, (part) => part / 255);
}
