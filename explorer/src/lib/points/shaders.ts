/** Discs of one diameter; `u_fade` mixes them with the paper so that lit ones stand out. */

export const VERTEX = `#version 300 es
uniform vec2 u_centre;
uniform vec2 u_scale;
uniform float u_size;
in vec2 a_place;
in vec3 a_colour;
out vec3 v_colour;
void main() {
  gl_Position = vec4((a_place - u_centre) * u_scale, 0.0, 1.0);
  gl_PointSize = u_size;
  v_colour = a_colour;
}`;

export const FRAGMENT = `#version 300 es
precision highp float;
uniform vec3 u_paper;
uniform vec3 u_ring;
uniform float u_fade;
uniform float u_alpha;
uniform float u_size;
uniform float u_ring_width;
in vec3 v_colour;
out vec4 colour;
void main() {
  float alpha = u_alpha;
  vec3 own = mix(v_colour, u_paper, u_fade);
  if (u_size > 3.0) {
    float away = length(gl_PointCoord - 0.5) * u_size;
    float edge = u_size * 0.5;
    if (away > edge) discard;
    alpha *= clamp(edge - away, 0.0, 1.0);
    if (u_ring_width > 0.0 && away > edge - 0.5 - u_ring_width) own = u_ring;
  }
  colour = vec4(own * alpha, alpha);
}`;
