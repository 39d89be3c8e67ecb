"""The OpenGL side: programs, buffers, framebuffers. Everything here belongs to the thread that makes it.

An OpenGL context works in one thread only (in another every call gives black without a word); see
render_thread.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sim.render import overlay_shaders, shaders
from alpamayo_ros.sim.render.gpu_arrays import grid_mesh
from alpamayo_ros.sim.render.ground_tiles import TILE_PX, GroundTiles, noise_picture
from alpamayo_ros.sim.render.lens import RADIAL_SAMPLES, GpuLens, gpu_lens
from alpamayo_ros.sim.render.mesh_library import MeshLibrary, build_library
from alpamayo_ros.sim.render.mipmaps import upload_mipmaps
from alpamayo_ros.sim.render.pictures import all_pictures
from alpamayo_ros.sim.render.terrain_mesh import TerrainMesh, terrain_mesh

_MAX_TARGETS, _MAX_LENSES = 12, 32
_PICTURES, _TILES, _PAGES, _NOISE, _RADIUS, _SKY = range(6)
_MESH_INPUTS = ("position", "normal", "paint", "texcoord")
_INSTANCE_INPUTS = ("row0", "row1", "row2", "tint", "tint2", "extra")
_DECAL_GRID = 8
_EGL: dict[str, Any] = {"backend": "egl"}  # moderngl's hints want a dict of settings


class RendererUnavailable(RuntimeError):
    """OpenGL cannot be had on this machine; the message says what to install."""


def open_context() -> moderngl.Context:
    """Make a context without a screen; it belongs to this thread. Raises RendererUnavailable."""
    try:
        return moderngl.create_context(standalone=True, require=430, **_EGL)
    except Exception as error:  # moderngl raises plain Exception and ValueError
        raise RendererUnavailable(
            f"no OpenGL 4.3 context through EGL ({error}); on Debian and Ubuntu: "
            "apt-get install libegl1 libgl1-mesa-dri"
        ) from error


@dataclass(frozen=True, eq=False)
class Target:
    """A framebuffer of one size."""

    framebuffer: moderngl.Framebuffer
    parts: tuple[moderngl.Texture | moderngl.Renderbuffer, ...]

    def release(self) -> None:
        """Free it."""
        self.framebuffer.release()
        for part in self.parts:
            part.release()


@dataclass(frozen=True, eq=False)
class LensOnGpu:
    """A lens, its table of radii, and its grid of rays."""

    lens: GpuLens
    radius: moderngl.Texture
    sky: moderngl.VertexArray
    buffers: tuple[moderngl.Buffer, ...]

    def release(self) -> None:
        """Free it."""
        self.sky.release()
        self.radius.release()
        for buffer in self.buffers:
            buffer.release()


@dataclass(frozen=True, eq=False)
class GroundOnGpu:
    """A scene's tiles and pages."""

    tiles: moderngl.TextureArray
    pages: moderngl.Texture
    ground: GroundTiles = field(repr=False)

    def release(self) -> None:
        """Free it."""
        self.tiles.release()
        self.pages.release()


class Stream:
    """A buffer that is rewritten for every draw, and grows."""

    def __init__(self, context: moderngl.Context, size: int = 1 << 16) -> None:
        self.buffer = context.buffer(reserve=size, dynamic=True)

    def write(self, data: NDArray[np.generic]) -> None:
        """Replace its content; the buffer object stays the same, so vertex arrays stay valid."""
        if data.nbytes > self.buffer.size:
            self.buffer.orphan(1 << int(data.nbytes - 1).bit_length())
        self.buffer.write(np.ascontiguousarray(data))


class Gpu:
    """The context and what all scenes share."""

    def __init__(self) -> None:
        self.context = open_context()
        self.library: MeshLibrary = build_library()
        self.terrain: TerrainMesh = terrain_mesh()
        self._targets: OrderedDict[tuple[int, int, int], Target] = OrderedDict()
        self._lenses: OrderedDict[CameraModel, LensOnGpu] = OrderedDict()
        self.alive = 0
        """Grounds and skies of scenes that are on the GPU."""
        self._uniforms: dict[str, list[moderngl.Uniform]] = {}
        self._compile()
        self._upload()
        self.context.front_face = "cw"  # images are drawn upside down
        self.context.cull_face = "back"

    # ------------------------------------------------------------------------------------------- set-up

    def _compile(self) -> None:
        c = self.context
        s, o = shaders, overlay_shaders
        self.sky = c.program(vertex_shader=s.SKY_VERTEX, fragment_shader=s.SKY_FRAGMENT)
        self.sky_picture = c.program(
            vertex_shader=s.SKY_PICTURE_VERTEX, fragment_shader=s.SKY_PICTURE_FRAGMENT
        )
        self.ground = c.program(vertex_shader=s.TERRAIN_VERTEX, fragment_shader=s.TERRAIN_FRAGMENT)
        self.plain = c.program(vertex_shader=s.mesh_vertex(textured=False), fragment_shader=s.MESH_FRAGMENT)
        self.textured = c.program(
            vertex_shader=s.mesh_vertex(textured=True), fragment_shader=s.TEXTURED_FRAGMENT
        )
        self.ids = c.program(vertex_shader=s.ID_VERTEX, fragment_shader=s.ID_FRAGMENT)
        self.id_ground = c.program(vertex_shader=s.TERRAIN_VERTEX, fragment_shader=s.NOTHING_FRAGMENT)
        self.decals = c.program(vertex_shader=o.DECAL_VERTEX, fragment_shader=o.DECAL_FRAGMENT)
        self.glows = c.program(vertex_shader=o.GLOW_VERTEX, fragment_shader=o.GLOW_FRAGMENT)
        self.rain = c.program(vertex_shader=o.RAIN_VERTEX, fragment_shader=o.RAIN_FRAGMENT)
        self.project = c.program(vertex_shader=s.PROJECT_VERTEX, varyings=("pixel",))
        units = {
            "pictures": _PICTURES,
            "tiles": _TILES,
            "pages": _PAGES,
            "noise": _NOISE,
            "lens_radius": _RADIUS,
            "sky": _SKY,
        }
        for program in self.programs:
            for name in program:
                member = program[name]
                if isinstance(member, moderngl.Uniform):
                    self._uniforms.setdefault(name, []).append(member)
        self.set_uniforms(units)

    @property
    def programs(self) -> tuple[moderngl.Program, ...]:
        """Every program."""
        return (
            self.sky, self.sky_picture, self.ground, self.plain, self.textured, self.ids, self.id_ground,
            self.decals, self.glows, self.rain, self.project,
        )  # fmt: skip

    def _upload(self) -> None:
        c = self.context
        self.vertices = c.buffer(self.library.vertices.tobytes())
        self.indices = c.buffer(self.library.indices.tobytes())
        self.instances = Stream(c)
        self.commands = Stream(c, 1 << 14)
        self.decal_rows, self.glow_rows, self.rain_rows = Stream(c), Stream(c), Stream(c)
        self.points = Stream(c)
        self.meshes = {
            program: self._mesh_array(program) for program in (self.plain, self.textured, self.ids)
        }
        ground_vertices = c.buffer(self.terrain.vertices.tobytes())
        ground_indices = c.buffer(self.terrain.indices.tobytes())
        self.ground_array, self.id_ground_array = (
            c.vertex_array(program, [(ground_vertices, "2f", "offset")], ground_indices, index_element_size=4)
            for program in (self.ground, self.id_ground)
        )
        corners, triangles = grid_mesh(_DECAL_GRID)
        self.decal_array = c.vertex_array(
            self.decals,
            [
                (c.buffer(corners.tobytes()), "2f", "corner"),
                (self.decal_rows.buffer, "4f 4f 4f/i", "placement", "shape", "ink"),
            ],
            c.buffer(triangles.tobytes()),
            index_element_size=4,
        )
        corners, triangles = grid_mesh(1)
        self.glow_array = c.vertex_array(
            self.glows,
            [
                (c.buffer(corners.tobytes()), "2f", "corner"),
                (self.glow_rows.buffer, "4f 4f/i", "centre", "ink"),
            ],
            c.buffer(triangles.tobytes()),
            index_element_size=4,
        )
        self.sky_array = c.vertex_array(
            self.sky_picture,
            [(c.buffer(corners.tobytes()), "2f", "corner")],
            c.buffer(triangles.tobytes()),
            index_element_size=4,
        )
        self.rain_array = c.vertex_array(self.rain, [(self.rain_rows.buffer, "3f", "streak")])
        self.project_array = c.vertex_array(self.project, [(self.points.buffer, "3f", "point")])
        pictures, self.picture_layers = all_pictures()
        count, height, width, _ = pictures.shape
        self.pictures = c.texture_array((width, height, count), 4, pictures.tobytes())
        upload_mipmaps(self.pictures, pictures)
        self.pictures.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        noise = noise_picture()
        self.noise = c.texture((noise.shape[1], noise.shape[0]), 4, noise.tobytes())
        self.noise.build_mipmaps()
        self.noise.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)

    def _mesh_array(self, program: moderngl.Program) -> moderngl.VertexArray:
        vertex = _layout(
            program, _MESH_INPUTS, {"position": "3f", "normal": "3f", "paint": "4f1", "texcoord": "2f"}
        )
        instance = _layout(
            program, _INSTANCE_INPUTS, {**dict.fromkeys(_INSTANCE_INPUTS, "4f"), "extra": "2f"}
        )
        content = [(self.vertices, *vertex), (self.instances.buffer, f"{instance[0]}/i", *instance[1:])]
        return self.context.vertex_array(program, content, self.indices, index_element_size=4)

    # ------------------------------------------------------------------------------------------ resources

    def target(self, size: tuple[int, int], number: int = 0) -> Target:
        """Return one of several framebuffers of a size; the least recently used of too many are freed."""
        key = (*size, number)
        if key not in self._targets:
            while len(self._targets) >= _MAX_TARGETS:
                self._targets.popitem(last=False)[1].release()
            colour, depth = self.context.texture(size, 4), self.context.depth_renderbuffer(size)
            self._targets[key] = Target(self.context.framebuffer([colour], depth), (colour, depth))
        self._targets.move_to_end(key)
        return self._targets[key]

    def lens(self, model: CameraModel) -> LensOnGpu:
        """Return a camera model's lens; raises InvalidInput for one that cannot be drawn with."""
        if model not in self._lenses:
            lens = gpu_lens(model)
            while len(self._lenses) >= _MAX_LENSES:
                self._lenses.popitem(last=False)[1].release()
            self._lenses[model] = self._upload_lens(lens)
        self._lenses.move_to_end(model)
        return self._lenses[model]

    def _upload_lens(self, lens: GpuLens) -> LensOnGpu:
        c = self.context
        radius = c.texture((RADIAL_SAMPLES, 1), 1, lens.radius.tobytes(), dtype="f4")
        radius.filter = (moderngl.NEAREST, moderngl.NEAREST)
        corners = c.buffer(np.concatenate([lens.grid.ndc, lens.grid.rays], axis=1).tobytes())
        triangles = c.buffer(lens.grid.triangles.tobytes())
        sky = c.vertex_array(self.sky, [(corners, "2f 3f", "ndc", "ray")], triangles, index_element_size=4)
        return LensOnGpu(lens, radius, sky, (corners, triangles))

    def upload_ground(self, ground: GroundTiles) -> GroundOnGpu:
        """Bring a scene's ground to the GPU; release it when the scene goes."""
        tiles = self.context.texture_array((TILE_PX, TILE_PX, len(ground.tiles)), 4, ground.tiles.tobytes())
        upload_mipmaps(tiles, ground.tiles)
        tiles.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        tiles.repeat_x = tiles.repeat_y = False
        height, width = ground.pages.shape
        pages = self.context.texture((width, height), 1, ground.pages.tobytes(), dtype="f4")
        pages.filter = (moderngl.NEAREST, moderngl.NEAREST)
        pages.repeat_x = pages.repeat_y = False
        self.alive += 1
        return GroundOnGpu(tiles, pages, ground)

    def draw_sky(self) -> moderngl.Texture:
        """Return the sky's picture by the environment in the uniforms; release it when the scene goes."""
        side = shaders.SKY_PICTURE_PX
        picture = self.context.texture((side, side), 4)
        picture.repeat_x = picture.repeat_y = False
        picture.filter = (moderngl.LINEAR, moderngl.LINEAR)
        framebuffer = self.context.framebuffer([picture])
        framebuffer.use()
        self.noise.use(_NOISE)
        self.context.enable_only(moderngl.NOTHING)
        self.sky_array.render()
        framebuffer.release()
        self.alive += 1
        return picture

    def free_sky(self, picture: moderngl.Texture) -> None:
        """Take a scene's sky off the GPU."""
        picture.release()
        self.alive -= 1

    def free_ground(self, ground: GroundOnGpu) -> None:
        """Take a scene's ground off the GPU."""
        ground.release()
        self.alive -= 1

    # -------------------------------------------------------------------------------------------- drawing

    def set_uniforms(self, values: Mapping[str, object]) -> None:
        """Set uniforms by name in all programs that have them."""
        for name, value in values.items():
            for member in self._uniforms.get(name, ()):
                member.value = value

    def use_lens(self, on_gpu: LensOnGpu) -> None:
        """Give a lens to all programs."""
        lens = on_gpu.lens
        on_gpu.radius.use(_RADIUS)
        self.set_uniforms(
            {
                "lens_kind": lens.kind,
                "lens_linear": tuple(lens.linear.ravel()),
                "lens_centre": lens.centre_px,
                "lens_size": (float(lens.size[0]), float(lens.size[1])),
                "lens_angles": lens.angles_rad,
                "lens_distortion": lens.distortion,
                "pixels_per_rad": lens.pixels_per_rad,
            }
        )

    def use_textures(self, ground: GroundOnGpu, sky: moderngl.Texture) -> None:
        """Bind what the programs sample."""
        sky.use(_SKY)
        self.pictures.use(_PICTURES)
        ground.tiles.use(_TILES)
        ground.pages.use(_PAGES)
        self.noise.use(_NOISE)

    def draw_commands(self, array: moderngl.VertexArray, commands: NDArray[np.uint32]) -> None:
        """Draw commands of glMultiDrawElementsIndirect."""
        if len(commands):
            self.commands.write(commands)
            array.render_indirect(self.commands.buffer, moderngl.TRIANGLES, count=len(commands))

    def project_points(
        self, model: CameraModel, points_in_camera: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the pixels [N, 2] at which the vertex stage puts points [N, 3], by transform feedback."""
        points = np.ascontiguousarray(points_in_camera, np.float32)
        self.target((16, 16)).framebuffer.use()  # without one nothing is drawn, not even to a buffer
        self.use_lens(self.lens(model))
        self.points.write(points)
        out = self.context.buffer(reserve=len(points) * 8)
        try:
            self.project_array.transform(out, moderngl.POINTS, vertices=len(points))
            return np.frombuffer(out.read(), np.float32).reshape(-1, 2)
        finally:
            out.release()

    def release(self) -> None:
        """Free the context and all in it."""
        for target in self._targets.values():
            target.release()
        for lens in self._lenses.values():
            lens.release()
        self._targets.clear()
        self._lenses.clear()
        self.context.release()


def _layout(program: moderngl.Program, names: tuple[str, ...], formats: dict[str, str]) -> tuple[str, ...]:
    """Return format and names of a vertex buffer, inputs that the program lacks skipped as padding."""
    parts, used = [], []
    sizes = {"4f": 16, "3f": 12, "2f": 8, "4f1": 4}
    for name in names:
        if name in program:
            parts.append(formats[name])
            used.append(name)
        else:
            parts.append(f"{sizes[formats[name]]}x")
    return (" ".join(parts), *used)
