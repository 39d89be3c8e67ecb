"""Mipmaps made by us are those that OpenGL makes."""

from __future__ import annotations

import moderngl
import numpy as np

from alpamayo_ros.sim.render.mipmaps import half_size, upload_mipmaps
from alpamayo_ros.sim.render.render_thread import RenderThread

VERTEX = """
#version 430
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }
"""
FRAGMENT = """
#version 430
uniform sampler2DArray pictures;
uniform float layer, level;
out vec4 ink;
void main() { ink = textureLod(pictures, vec3(gl_FragCoord.xy / 8.0, layer), level); }
"""


def test_half_is_the_mean_of_four():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 4), dtype=np.uint8)
    mean = images.reshape(3, 4, 2, 4, 2, 4).astype(float).mean(axis=(2, 4))
    np.testing.assert_allclose(half_size(images), mean, atol=0.51)


def levels(thread: RenderThread, *, make: bool) -> np.ndarray:
    """Return every layer and level of random pictures, drawn at 8 x 8, as OpenGL or we make them."""
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 4), dtype=np.uint8)

    def draw(gpu) -> np.ndarray:
        context: moderngl.Context = gpu.context
        pictures = context.texture_array((8, 8, len(images)), 4, images.tobytes())
        if make:
            upload_mipmaps(pictures, images)
        else:
            pictures.build_mipmaps()
        pictures.filter = (moderngl.NEAREST_MIPMAP_NEAREST, moderngl.NEAREST)
        program = context.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
        corners = context.buffer(np.array([-1, -1, 3, -1, -1, 3], "f4").tobytes())
        array = context.vertex_array(program, [(corners, "2f", "corner")])
        target = context.simple_framebuffer((8, 8), 4)
        target.use()
        context.enable_only(moderngl.NOTHING)
        pictures.use(0)
        program["pictures"] = 0
        drawn = []
        for layer in (0, 3, 5):
            for level in range(4):
                program["layer"], program["level"] = float(layer), float(level)
                array.render()
                drawn.append(np.frombuffer(target.read(components=4), np.uint8))
        for resource in (array, corners, program, target, pictures):
            resource.release()
        return np.stack(drawn)

    return thread.call(draw)


def test_levels_are_opengl_s(render_thread):
    made, built = (levels(render_thread, make=make).astype(int) for make in (True, False))
    np.testing.assert_allclose(made, built, atol=2)
