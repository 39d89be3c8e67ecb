"""A drawing thread for the renderer's tests; absent EGL skips them, except in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from render_scenes import plain_scene

from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.render.render_thread import RenderThread, shared_thread
from alpamayo_ros.sim.render.renderer import SceneRenderer


@pytest.fixture(scope="session")
def render_thread() -> RenderThread:
    try:
        return shared_thread()
    except RendererUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def plain_renderer(render_thread: RenderThread) -> Iterator[SceneRenderer]:
    renderer = SceneRenderer(plain_scene(), render_thread)
    yield renderer
    renderer.release()
