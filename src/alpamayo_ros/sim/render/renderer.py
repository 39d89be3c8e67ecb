"""Draw a scene: camera views to RGB images and id masks. Usable from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.render import lights
from alpamayo_ros.sim.render.culling import draw_list, footprint_px
from alpamayo_ros.sim.render.environment import environment_uniforms, sight_m
from alpamayo_ros.sim.render.gpu import Gpu, GroundOnGpu, LensOnGpu, Target
from alpamayo_ros.sim.render.gpu_arrays import camera_from, matrix_uniform
from alpamayo_ros.sim.render.ground_tiles import (
    BORDER_PX,
    INNER_PX,
    TEXEL_M,
    TILE_M,
    TILE_PX,
    GroundTiles,
    bake_ground,
)
from alpamayo_ros.sim.render.instants import Instants, Moment, Shapes
from alpamayo_ros.sim.render.render_thread import RenderThread, shared_thread
from alpamayo_ros.sim.render.shaders import MAX_WAVES
from alpamayo_ros.sim.render.view import View, require_known
from alpamayo_ros.sim.scene import Environment, Scene
from alpamayo_ros.types import InvalidInput

UInt8Array = NDArray[np.uint8]

_IN_FLIGHT = 4
"""How many views are drawn before the first of them is read; each has a framebuffer."""
_GL_CLIP_DISTANCE0 = 0x3000


class SceneRenderer:
    """Draws one scene.

    Actors that `View.poses` does not list are where the recording had them at that time. What is far below
    the ground is not drawn. Ids of masks are 1 + the index in `actor_ids`; 0 is everything else.

    Args:
        scene: what to draw.
        thread: the drawing thread; the process' own by default.

    Raises:
        RendererUnavailable: where OpenGL cannot be had.
    """

    def __init__(self, scene: Scene, thread: RenderThread | None = None) -> None:
        self.scene = scene
        self.actor_ids: tuple[str, ...] = tuple(scene.actors)
        self._thread = shared_thread() if thread is None else thread
        if len(scene.terrain.waves) > MAX_WAVES:
            raise InvalidInput(f"terrain: expected at most {MAX_WAVES} waves, got {len(scene.terrain.waves)}")
        self._baked: GroundTiles | None = bake_ground(scene)
        self._ground: GroundOnGpu | None = None
        self._sky: moderngl.Texture | None = None
        self._instants: Instants | None = None
        self._released = False

    def render(self, views: Sequence[View]) -> list[UInt8Array]:
        """Return an image uint8 RGB [H, W, 3] of each view."""
        return [cv2.cvtColor(image, cv2.COLOR_RGBA2RGB) for image in self.render_rgba(views)]

    def render_rgba(
        self, views: Sequence[View], finished: Callable[[int, UInt8Array], None] | None = None
    ) -> list[UInt8Array]:
        """Return an image uint8 RGBA [H, W, 4] of each view; the fourth channel means nothing.

        `finished(index, image)` is called as each is ready, in the drawing thread: it must be quick.
        """
        for view in views:
            require_known(self.scene, view)
        return self._thread.call(lambda gpu: self._render(gpu, views, finished))

    def render_ids(self, view: View, *, shapes: Shapes = "drawn") -> NDArray[np.int32]:
        """Return which actor each pixel shows, int32 [H, W]: 1 + its index in `actor_ids`, else 0.

        With shapes "box" actors are drawn as their boxes. Scenery and the ground hide what is behind them.
        """
        require_known(self.scene, view)
        return self._thread.call(lambda gpu: self._render_ids(gpu, view, shapes))

    def project(self, view: View, points_in_local: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the pixels [N, 2] at which the vertex stage puts points [N, 3]; for checks."""
        inverse = camera_from(view.local_from_camera)
        points = (np.asarray(points_in_local) @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.float32)
        return self._thread.call(lambda gpu: gpu.project_points(view.model, points))

    def release(self) -> None:
        """Free what the scene holds on the GPU; it cannot be drawn afterwards."""
        if not self._released:
            self._released = True
            self._thread.call(self._free)

    # ------------------------------------------------------------------------------- in the drawing thread

    def _free(self, gpu: Gpu) -> None:
        if self._ground is not None:
            gpu.free_ground(self._ground)
        if self._sky is not None:
            gpu.free_sky(self._sky)
        self._ground = self._instants = self._sky = None

    def _prepare(self, gpu: Gpu) -> GroundOnGpu:
        if self._released:
            raise RuntimeError(f"scene {self.scene.scene_id} has been released")
        if self._ground is None:
            assert self._baked is not None
            self._ground = gpu.upload_ground(self._baked)
            self._baked = None
            self._instants = Instants(self.scene, gpu.library.kinds, picture_layers=gpu.picture_layers)
        return self._ground

    def _instants_ready(self) -> Instants:
        assert self._instants is not None  # _prepare made them
        return self._instants

    def _render(
        self, gpu: Gpu, views: Sequence[View], finished: Callable[[int, UInt8Array], None] | None
    ) -> list[UInt8Array]:
        ground = self._prepare(gpu)
        self._use_environment(gpu)
        if self._sky is None:
            self._sky = gpu.draw_sky()
        gpu.use_textures(ground, self._sky)
        images: list[UInt8Array] = []
        for first in range(0, len(views), _IN_FLIGHT):
            # Reading waits for all that was drawn, so a view's vertices are worked on while the pixels of the
            # one before are filled only if none is read in between.
            drawn = []
            for number, view in enumerate(views[first : first + _IN_FLIGHT]):
                on_gpu = gpu.lens(view.model)
                target = gpu.target(on_gpu.lens.size, number)
                target.framebuffer.use()
                self._draw(gpu, view, on_gpu, target, ground)
                drawn.append((target, on_gpu))
            for target, on_gpu in drawn:
                image = _read(target.framebuffer, on_gpu)
                images.append(image)
                if finished is not None:
                    finished(len(images) - 1, image)
        return images

    def _draw(self, gpu: Gpu, view: View, on_gpu: LensOnGpu, target: Target, ground: GroundOnGpu) -> None:
        context, environment = gpu.context, self.scene.environment
        pose = view.local_from_camera
        inverse, at = camera_from(pose), pose[:3, 3]
        moment = self._instants_ready().at(view)
        drawn = draw_list(
            moment.instances,
            camera_from_local=inverse,
            lens=on_gpu.lens,
            library=gpu.library,
            sight_m=sight_m(environment),
        )
        self._use_camera(gpu, view, on_gpu, ground)
        target.framebuffer.clear(0.0, 0.0, 0.0, 1.0)
        context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        with _clip_distance(context):
            gpu.draw_commands(gpu.ground_array, self._ground_commands(gpu, on_gpu, inverse, at))
        # What lies on the ground comes right after it: whatever stands there is drawn over it, so its depth
        # need not agree with the ground's to the centimetre.
        target.framebuffer.depth_mask = False
        self._draw_decals(gpu, moment, at)
        target.framebuffer.depth_mask = True
        context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        with _clip_distance(context):
            gpu.instances.write(drawn.instances)
            gpu.draw_commands(gpu.meshes[gpu.plain], drawn.plain)
            gpu.draw_commands(gpu.meshes[gpu.textured], drawn.textured)
        context.depth_func = "<="
        context.enable_only(moderngl.DEPTH_TEST)
        on_gpu.sky.render()
        context.depth_func = "<"
        target.framebuffer.depth_mask = False
        self._draw_glows(gpu, moment, inverse, at)
        target.framebuffer.depth_mask = True
        if environment.wetness > 0:
            self._draw_rain(gpu, view)

    def _draw_decals(self, gpu: Gpu, moment: Moment, at: NDArray[np.float64]) -> None:
        """Draw shadows and pools of light on the ground."""
        context, environment = gpu.context, self.scene.environment
        context.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND)
        with _clip_distance(context):
            shadows = lights.shadow_decals(moment.bodies, environment, at)
            if len(shadows):
                context.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
                gpu.decal_rows.write(shadows)
                gpu.decal_array.render(instances=len(shadows))
            if environment.lamps_lit:
                pools = lights.pool_decals(
                    moment.lamps, moment.bodies, sources=moment.sources, scene=self.scene, camera_xyz=at
                )
                if len(pools):
                    context.blend_func = moderngl.SRC_ALPHA, moderngl.ONE
                    gpu.decal_rows.write(pools)
                    gpu.decal_array.render(instances=len(pools))

    def _draw_glows(self, gpu: Gpu, moment: Moment, inverse: Matrix4, at: NDArray[np.float64]) -> None:
        """Draw the shine about lamps, over everything that is not before them."""
        glows = lights.glow_rows(moment.sources, inverse, at)
        if not len(glows):
            return
        gpu.context.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND)
        gpu.context.blend_func = moderngl.ONE, moderngl.ONE
        gpu.glow_rows.write(glows)
        with _clip_distance(gpu.context):
            gpu.glow_array.render(instances=len(glows))

    def _draw_rain(self, gpu: Gpu, view: View) -> None:
        streaks = lights.rain_streaks(
            view.time_us, self.scene.environment.wetness, aspect=view.model.width / view.model.height
        )
        gpu.rain_rows.write(streaks)
        gpu.context.enable_only(moderngl.BLEND)
        gpu.context.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        gpu.rain_array.render(moderngl.LINES, vertices=len(streaks))

    def _render_ids(self, gpu: Gpu, view: View, shapes: Shapes) -> NDArray[np.int32]:
        ground = self._prepare(gpu)
        self._use_environment(gpu)
        on_gpu = gpu.lens(view.model)
        target = gpu.target(on_gpu.lens.size)
        target.framebuffer.use()
        context = gpu.context
        context.clear(0.0, 0.0, 0.0, 1.0)
        inverse, at = camera_from(view.local_from_camera), view.local_from_camera[:3, 3]
        self._use_camera(gpu, view, on_gpu, ground)
        drawn = draw_list(
            self._instants_ready().instances(view, shapes=shapes),
            camera_from_local=inverse,
            lens=on_gpu.lens,
            library=gpu.library,
            sight_m=sight_m(Environment()),
        )
        context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        gpu.instances.write(drawn.instances)
        with _clip_distance(context):
            gpu.draw_commands(gpu.meshes[gpu.ids], np.concatenate([drawn.plain, drawn.textured]))
            gpu.draw_commands(gpu.id_ground_array, self._ground_commands(gpu, on_gpu, inverse, at))
        image = _read(target.framebuffer, on_gpu).astype(np.int32)
        return np.asarray(image[..., 0] | image[..., 1] << 8 | image[..., 2] << 16, np.int32)

    def _ground_commands(
        self, gpu: Gpu, on_gpu: LensOnGpu, inverse: Matrix4, at: NDArray[np.float64]
    ) -> NDArray[np.uint32]:
        """Return the blocks of the ground's mesh that the camera sees, nearest first."""
        centres, radius = gpu.terrain.block_spheres(self.scene.terrain, at)
        in_camera = centres @ inverse[:3, :3].T + inverse[:3, 3]
        _, seen = footprint_px(on_gpu.lens, in_camera, radius)
        blocks = gpu.terrain.blocks[seen]
        commands = np.zeros((len(blocks), 5), np.uint32)
        commands[:, 0], commands[:, 1], commands[:, 2] = blocks[:, 1], 1, blocks[:, 0]
        return commands

    # --------------------------------------------------------------------------------------------- uniforms

    def _use_environment(self, gpu: Gpu) -> None:
        gpu.set_uniforms(environment_uniforms(self.scene))

    def _use_camera(self, gpu: Gpu, view: View, on_gpu: LensOnGpu, ground: GroundOnGpu) -> None:
        gpu.use_lens(on_gpu)
        pose = view.local_from_camera
        rotation, at = pose[:3, :3], pose[:3, 3]
        to_sun = -np.array(self.scene.environment.sun_direction)
        to_sun /= np.linalg.norm(to_sun)
        pages, origin = ground.ground.pages, ground.ground.origin
        values: dict[str, object] = {
            "local_from_camera": matrix_uniform(rotation),
            "camera_from_local": matrix_uniform(rotation.T),
            "camera_in_local": tuple(at),
            "sun_in_camera": tuple(rotation.T @ to_sun),
            "up_in_camera": tuple(rotation[2]),
            "camera_in_tiles": tuple(at[:2] / TILE_M),
            "page_map": (float(origin[0]), float(origin[1]), float(pages.shape[1]), float(pages.shape[0])),
            "tiles_per_m": 1.0 / TILE_M,
            "tile_inside": (INNER_PX / TILE_PX, BORDER_PX / TILE_PX, 1.0 / INNER_PX),
            "lod_per_m": 1.0 / (on_gpu.lens.pixels_per_rad * TEXEL_M),
        }
        gpu.set_uniforms(values)


@contextmanager
def _clip_distance(context: moderngl.Context) -> Iterator[None]:
    """Clip by the distance that `lens_project` writes; shaders without it must not run so."""
    context.enable_direct(_GL_CLIP_DISTANCE0)
    try:
        yield
    finally:
        context.disable_direct(_GL_CLIP_DISTANCE0)


def _read(framebuffer: moderngl.Framebuffer, on_gpu: LensOnGpu) -> UInt8Array:
    width, height = on_gpu.lens.size
    image = np.frombuffer(framebuffer.read(components=4), np.uint8).reshape(height, width, 4)
    if on_gpu.lens.unmapped is not None:
        image = image.copy()
        image[on_gpu.lens.unmapped] = 0
    return image
