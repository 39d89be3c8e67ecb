"""The shader programs: sky, ground, meshes and ids; what is laid over them is in overlay_shaders.py.

Colours are computed in linear light at vertices and encoded with gamma 2.2 there; what textures hold is
encoded already, and factors of light are applied to it as their 1/2.2th power, which is the same thing.
"""

from __future__ import annotations

from alpamayo_ros.sim.render import lens

VERSION = "#version 330\n"

MAX_WAVES = 8

SKY_PICTURE_PX = 1536
_SKY_REACH = 1.05  # of the sky's picture: the horizon is at 1

WORLD = """
uniform vec3 sun_strength;       // linear, times the sun's colour
uniform vec3 sky_top;            // encoded
uniform vec3 sky_horizon;        // encoded
uniform vec3 ambient;            // linear
uniform float fog_per_m;
uniform float wetness;
uniform float lamps_lit;

vec3 encode(vec3 c) { return pow(max(c, vec3(0.0)), vec3(1.0 / 2.2)); }
float fog_at(float d) { return exp(-fog_per_m * d); }
vec3 sky_at(float up) { return mix(sky_horizon, sky_top, smoothstep(0.0, 0.55, up)); }
"""

TERRAIN_HEIGHT = f"""
uniform int wave_count;
uniform vec4 waves[{MAX_WAVES}];         // amplitude, kx, ky, phase
float terrain_height(vec2 xy) {{
    float h = 0.0;
    for (int i = 0; i < wave_count; ++i)
        h += waves[i].x * sin(dot(waves[i].yz, xy) + waves[i].w);
    return h;
}}
"""

# ---------------------------------------------------------------------------------------------- sky, ground

SKY_VERTEX = (
    VERSION
    + """
in vec2 ndc;
in vec3 ray;
uniform mat3 local_from_camera;
out vec2 place;
void main() {
    gl_Position = vec4(ndc, 1.0, 1.0);  // behind everything
    vec3 d = local_from_camera * ray;
    // Straight down is infinitely far out, and never sky.
    place = d.xy / (1.0 + max(d.z, -0.5)) * (0.5 / SKY_REACH) + 0.5;
}
""".replace("SKY_REACH", f"{_SKY_REACH:.6f}")
)
SKY_FRAGMENT = (
    VERSION
    + """
in vec2 place;
uniform sampler2D sky;
out vec4 colour;
void main() { colour = texture(sky, place); }
"""
)
"""The sky is drawn once a scene, by SKY_PICTURE_*: a stereographic picture with the zenith in its middle."""

_SKY = """
uniform vec3 sun_in_local;       // towards the sun
uniform sampler2D noise;
uniform float clouds;
vec3 sky_colour(vec3 ray) {
    vec3 d = normalize(ray);
    float up = max(d.z, 0.0);
    vec3 colour = sky_at(up);
    vec2 at = d.xy / (up + 0.12);
    float cover = textureLod(noise, at * 0.045, 1.0).a * 0.65 + textureLod(noise, at * 0.13, 2.0).a * 0.35;
    float cloud = 0.85 * smoothstep(0.52, 0.78, cover) * clouds * smoothstep(0.02, 0.25, up);
    colour = mix(colour, min(sky_horizon * 1.12, vec3(1.0)), cloud);
    float towards = max(dot(d, sun_in_local), 0.0);
    float t2 = towards * towards, t8 = t2 * t2 * t2 * t2, t64 = t8 * t8; t64 *= t64; t64 *= t64;
    vec3 glow = encode(sun_strength);
    colour += glow * (0.05 * t8 + 0.30 * t64) * (1.0 - 0.6 * cloud);
    if (d.z < 0.06) {  // woods and hills about 550 m away
        float azimuth = atan(d.y, d.x) * 0.15915494;
        float wide = textureLod(noise, vec2(azimuth * 2.0, 0.37), 0.0).a - 0.5;
        float fine = textureLod(noise, vec2(azimuth * 5.0, 0.71), 0.0).b - 0.5;
        float top = 0.014 + 0.030 * wide + 0.009 * fine;
        vec3 woods = encode(vec3(0.10, 0.15, 0.07) * (ambient + 0.5 * sun_strength));
        float seen = smoothstep(top + 0.0015, top - 0.0015, d.z) * fog_at(550.0);
        colour = mix(colour, woods, seen);
    }
    return colour;
}
"""

SKY_PICTURE_VERTEX = (
    VERSION
    + "in vec2 corner; out vec2 at;\nvoid main() { gl_Position = vec4(corner, 0.0, 1.0); at = corner; }\n"
)
SKY_PICTURE_FRAGMENT = (
    VERSION
    + WORLD
    + _SKY
    + """
in vec2 at;
out vec4 colour;
void main() {
    vec2 p = at * SKY_REACH;
    colour = vec4(sky_colour(vec3(2.0 * p, 1.0 - dot(p, p))), 1.0);
}
""".replace("SKY_REACH", f"{_SKY_REACH:.6f}")
)

_GROUND = """
uniform sampler2DArray tiles;    // encoded albedo, alpha: how much of the sun arrives
uniform sampler2D pages;         // tile of each square of the map
uniform vec4 page_map;           // the first page's tile x, y; pages across, up
uniform vec2 camera_in_tiles;    // the camera's place in tiles
uniform float tiles_per_m;
uniform vec3 tile_inside;        // of a picture: the tile's own share, where it begins; tiles a texel
uniform float lod_per_m;         // texels of a tile that a pixel covers at 1 m
uniform vec3 light_factor;       // encoded: sun and ambient on flat ground
uniform vec3 shade_factor;       // encoded: ambient alone
vec4 albedo_at(vec2 place, float lod) {
    vec2 tile = floor(place);
    ivec2 page = clamp(ivec2(tile - page_map.xy), ivec2(0), ivec2(page_map.zw) - 1);
    vec2 inside = (place - tile) * tile_inside.x + tile_inside.y;
    return textureLod(tiles, vec3(inside, texelFetch(pages, page, 0).r), lod);
}
vec3 ground_colour(vec2 from_camera, float d, float drop) {
    float fine_lod = log2(d * lod_per_m) + 0.3;
    float lod = max(fine_lod, 0.0);
    float graze = clamp(d / max(drop, 0.2), 1.0, 7.0);
    float texels = graze * d * lod_per_m;
    vec2 along = from_camera * (0.28 * texels * tile_inside.z / max(length(from_camera), 0.01));
    vec2 place = camera_in_tiles + from_camera * tiles_per_m;
    vec4 albedo;
    if (texels > 1.2)
        albedo = 0.5 * (albedo_at(place + along, lod) + albedo_at(place - along, lod));
    else
        albedo = albedo_at(place, lod);
    float wide = textureLod(noise, place * 0.21, max(lod - 2.0, 0.0)).g;
    float fine = textureLod(noise, place * 7.0, max(fine_lod + 3.0, 0.0)).r;
    vec3 c = albedo.rgb * (0.86 + 0.18 * wide + 0.12 * fine) * mix(shade_factor, light_factor, albedo.a);
    if (wetness > 0.0) {
        float cosine = clamp(drop / d, 0.0, 1.0);
        float f = 1.0 - cosine;
        float gloss = wetness * (0.06 + 0.62 * f * f * f * f) * (0.55 + 0.9 * wide);
        c = mix(c * (1.0 - 0.38 * wetness), sky_horizon * 0.92, clamp(gloss, 0.0, 0.75));
    }
    return mix(sky_horizon, c, fog_at(d));
}
"""

TERRAIN_VERTEX = (
    VERSION
    + lens.glsl_source()
    + TERRAIN_HEIGHT
    + """
in vec2 offset;                  // from the camera's foot, m
uniform mat3 camera_from_local;
uniform vec3 camera_in_local;
out vec4 ground;                 // x, y from the camera, distance, drop
void main() {
    float z = terrain_height(camera_in_local.xy + offset);
    vec3 from_camera = vec3(offset, z - camera_in_local.z);
    gl_Position = lens_project(camera_from_local * from_camera);
    ground = vec4(offset, length(from_camera), max(-from_camera.z, 0.2));
}
"""
)

TERRAIN_FRAGMENT = (
    VERSION
    + WORLD
    + "uniform sampler2D noise;\n"
    + _GROUND
    + """
in vec4 ground;
out vec4 colour;
void main() { colour = vec4(ground_colour(ground.xy, ground.z, ground.w), 1.0); }
"""
)

# --------------------------------------------------------------------------------------------------- meshes

MATERIALS: tuple[str, ...] = (
    "fixed", "tint", "tint2", "glass", "head", "tail", "red", "yellow", "green", "lamp", "leaf",
)  # fmt: skip
"""What the vertex colour's alpha, as a whole number, says of a face. The order is the shader's."""

_INSTANCE = """
in vec3 position;
in vec3 normal;
in vec4 paint;                   // rgb albedo (encoded), a material / 255
in vec2 texcoord;
in vec4 row0;                    // camera_from_model, scale included
in vec4 row1;
in vec4 row2;
in vec4 tint;                    // rgb linear, a: flags
in vec4 tint2;                   // rgb linear, a: id
in vec2 extra;                   // texture layer, bays of the facade a metre
"""

MESH_VERTEX = (
    VERSION
    + lens.glsl_source()
    + WORLD
    + _INSTANCE
    + """
uniform vec3 sun_in_camera;
uniform vec3 up_in_camera;
out vec4 shaded;                 // encoded colour; a: how much of it is not fog
TEXTURED_OUT

void main() {
    vec3 p = vec3(dot(row0.xyz, position) + row0.w, dot(row1.xyz, position) + row1.w,
                  dot(row2.xyz, position) + row2.w);
    gl_Position = lens_project(p);
    vec3 scale2 = row0.xyz * row0.xyz + row1.xyz * row1.xyz + row2.xyz * row2.xyz;
    vec3 n0 = normal / scale2;
    vec3 n = normalize(vec3(dot(row0.xyz, n0), dot(row1.xyz, n0), dot(row2.xyz, n0)));
    int material = int(paint.a * 255.0 + 0.5);
    int flags = int(tint.a + 0.5);
    vec3 albedo = paint.rgb * paint.rgb;
    if (material == 1 || material == 10) albedo *= tint.rgb;
    if (material == 2) albedo *= tint2.rgb;
    float d = length(p);
    vec3 view = p / max(d, 1e-3);
    float up = dot(n, up_in_camera);
    float facing = max(dot(n, sun_in_camera), 0.0);
    if (material == 10) facing = 0.25 + 0.75 * (0.5 + 0.5 * dot(n, sun_in_camera));
    vec3 light = ambient * (0.72 + 0.28 * up) + sun_strength * facing;
    vec3 c = albedo * light;
    vec3 mirrored = reflect(view, n);
    float grazing = 1.0 - abs(dot(view, n));
    if (material == 1 && flags < 64) {
        float gloss = 0.05 + 0.35 * grazing * grazing * grazing;
        c += gloss * 0.5 * pow(sky_at(max(dot(mirrored, up_in_camera), 0.0)), vec3(2.2))
             * smoothstep(-0.1, 0.3, dot(mirrored, up_in_camera));
        float highlight = max(dot(mirrored, sun_in_camera), 0.0);
        highlight *= highlight; highlight *= highlight; highlight *= highlight;
        c += sun_strength * 0.22 * highlight * highlight;
    }
    if (material == 3) {
        float towards = dot(mirrored, up_in_camera);
        vec3 seen = mix(vec3(0.03, 0.035, 0.04), pow(sky_at(max(towards, 0.0)), vec3(2.2)),
                        smoothstep(-0.15, 0.25, towards));
        c = albedo * light + seen * (0.16 + 0.5 * grazing * grazing);
    }
    float lit_lamps = lamps_lit * (1.0 - float((flags >> 3) & 1));
    if (material == 4) c = mix(c, vec3(1.3, 1.25, 1.1), lit_lamps);
    if (material == 5) c = mix(c, vec3(0.85, 0.03, 0.02), max(lit_lamps * 0.35, float(flags & 1)));
    if (material >= 6 && material <= 8) {
        int lit = (flags >> 1) & 3;
        vec3 on = material == 6 ? vec3(1.3, 0.05, 0.03) : material == 7 ? vec3(1.4, 0.75, 0.03)
                                                                        : vec3(0.04, 1.15, 0.35);
        c = lit == material - 5 ? on : c * 0.35;
    }
    if (material == 9) c = mix(c, vec3(1.4, 1.2, 0.8), lamps_lit);
    float clear = fog_at(d);
    TEXTURED_CODE
}
"""
)

_PLAIN_CODE = "shaded = vec4(mix(sky_horizon, encode(c), clear), 1.0);"
_TEXTURED_CODE = """
    // The texture multiplies what is not fog: shaded.rgb is the encoded light, shaded.a how clear it is.
    shaded = vec4(encode(c), clear);
    bool on_x = abs(normal.x) > 0.5;
    float width = sqrt(on_x ? scale2.y : scale2.x), high = sqrt(scale2.z);
    vec2 repeats = extra.y > 0.0 ? max(round(vec2(width, high) * extra.y), vec2(1.0)) * 0.25 : vec2(1.0);
    if (extra.y > 0.0 && abs(normal.z) > 0.5) repeats = vec2(0.0);
    place = vec3(texcoord * repeats, extra.x);
"""


def mesh_vertex(*, textured: bool) -> str:
    """Return the vertex shader of plain or textured meshes."""
    return MESH_VERTEX.replace("TEXTURED_OUT", "out vec3 place;" if textured else "").replace(
        "TEXTURED_CODE", _TEXTURED_CODE if textured else _PLAIN_CODE
    )


MESH_FRAGMENT = (
    VERSION
    + """
in vec4 shaded;
out vec4 colour;
void main() { colour = shaded; }
"""
)

TEXTURED_FRAGMENT = (
    VERSION
    + WORLD
    + """
in vec4 shaded;
in vec3 place;
uniform sampler2DArray pictures;  // encoded albedo; alpha: what glows when lamps are lit
out vec4 colour;
void main() {
    vec4 picture = texture(pictures, place);
    vec3 c = picture.rgb * shaded.rgb;
    c = mix(c, vec3(1.0, 0.86, 0.58), picture.a * lamps_lit);
    colour = vec4(mix(sky_horizon, c, shaded.a), 1.0);
}
"""
)

ID_VERTEX = (
    VERSION
    + lens.glsl_source()
    + _INSTANCE
    + """
flat out float identity;
void main() {
    vec3 p = vec3(dot(row0.xyz, position) + row0.w, dot(row1.xyz, position) + row1.w,
                  dot(row2.xyz, position) + row2.w);
    gl_Position = lens_project(p);
    identity = tint2.a;
}
"""
)

ID_FRAGMENT = (
    VERSION
    + """
flat in float identity;
out vec4 colour;
void main() {
    int id = int(identity + 0.5);
    colour = vec4(float(id & 255), float((id >> 8) & 255), float((id >> 16) & 255), 255.0) / 255.0;
}
"""
)

NOTHING_FRAGMENT = VERSION + "out vec4 colour;\nvoid main() { colour = vec4(0.0, 0.0, 0.0, 1.0); }\n"

PROJECT_VERTEX = (
    VERSION
    + lens.glsl_source()
    + """
in vec3 point;                   // in the optical frame
out vec2 pixel;
void main() {
    gl_Position = lens_project(point);
    pixel = (gl_Position.xy / gl_Position.w + 1.0) * 0.5 * lens_size - 0.5;
}
"""
)
"""For checks: where the vertex stage itself puts points."""
