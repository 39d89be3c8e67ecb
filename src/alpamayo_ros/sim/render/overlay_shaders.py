"""The shader programs of what is blended over the picture: ground decals, glows and rain."""

from __future__ import annotations

from alpamayo_ros.sim.render import lens
from alpamayo_ros.sim.render.shaders import TERRAIN_HEIGHT, VERSION, WORLD

DECAL_VERTEX = (
    VERSION
    + lens.glsl_source()
    + WORLD
    + TERRAIN_HEIGHT
    + """
in vec2 corner;                  // -1 ... 1
in vec4 placement;               // x, y from the camera, axis along (m)
in vec4 shape;                   // half length, half width, softness (share of the half width), kind
in vec4 ink;                     // rgb, strength
uniform mat3 camera_from_local;
uniform vec3 camera_in_local;
out vec3 where;                  // corner, softness
flat out vec4 what;
out float clear;
void main() {
    vec2 ahead = placement.zw;
    vec2 xy = placement.xy + ahead * (corner.x * shape.x) + vec2(-ahead.y, ahead.x) * (corner.y * shape.y);
    float z = terrain_height(camera_in_local.xy + xy) - camera_in_local.z + 0.01;
    vec3 p = vec3(xy, z);
    gl_Position = lens_project(camera_from_local * p);
    // A seventh nearer: its triangles are coarser than the ground's, and only the ground is drawn before it.
    gl_Position.z -= 0.03;
    where = vec3(corner, shape.z);
    what = ink;
    clear = fog_at(length(p));
}
"""
)

DECAL_FRAGMENT = (
    VERSION
    + """
in vec3 where;
flat in vec4 what;
in float clear;
out vec4 colour;
void main() {
    vec2 a = abs(where.xy);
    float inner = 1.0 - where.z;
    vec2 over = max(a - inner, 0.0) / max(where.z, 1e-3);
    float fade = clamp(1.0 - length(over), 0.0, 1.0);
    fade = fade * fade * (3.0 - 2.0 * fade);
    colour = vec4(what.rgb, what.a * fade * clear);
}
"""
)

GLOW_VERTEX = (
    VERSION
    + lens.glsl_source()
    + WORLD
    + """
in vec2 corner;
in vec4 centre;                  // in the optical frame, radius in m
in vec4 ink;                     // rgb, strength
uniform float pixels_per_rad;
out vec2 where;
flat out vec4 what;
void main() {
    vec4 at = lens_project(centre.xyz);
    float d = at.w;
    float radius_px = max(centre.w / d * pixels_per_rad, 1.5);
    gl_Position = at + vec4(corner * radius_px * 2.0 / lens_size * d, 0.0, 0.0);
    gl_Position.z -= 1e-4 * gl_Position.w;
    where = corner;
    what = vec4(ink.rgb, ink.a * sqrt(fog_at(d)));
}
"""
)

GLOW_FRAGMENT = (
    VERSION
    + """
in vec2 where;
flat in vec4 what;
out vec4 colour;
void main() {
    float r = dot(where, where);
    float fade = max(1.0 - r, 0.0);
    fade *= fade;
    colour = vec4(what.rgb * (what.a * (0.35 * fade + 0.65 * fade * fade * fade)), 0.0);
}
"""
)

RAIN_VERTEX = (
    VERSION
    + "in vec3 streak; out float strength;\n"
    + "void main() { gl_Position = vec4(streak.xy, 0.0, 1.0); strength = streak.z; }\n"
)
RAIN_FRAGMENT = (
    VERSION
    + "in float strength; out vec4 colour;\nvoid main() { colour = vec4(0.8, 0.84, 0.9, strength); }\n"
)
