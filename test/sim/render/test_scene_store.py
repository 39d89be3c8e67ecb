"""Scenes come and go: the least recently used is freed, one in use never, nothing is left behind."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest
from render_scenes import looking
from wire import FRONT, make_plain

from alpamayo_ros.sim.render.render_thread import RenderThread
from alpamayo_ros.sim.render.scene_store import SceneStore, UnknownScene
from alpamayo_ros.types import InvalidInput

OF_A_SCENE = 2
"""Its ground and its sky."""
VIEW = looking(FRONT.model.scaled_to(96, 54))


def on_gpu(thread: RenderThread) -> int:
    return thread.call(lambda gpu: gpu.alive)


def draw(store, scene_id):
    with store.lease(scene_id) as renderer:
        return renderer.render([VIEW])[0]


@pytest.fixture
def store(render_thread):
    store = SceneStore(render_thread, make_plain, capacity=2)
    yield store
    with store._lock:
        left = list(store._entries.values())
    for entry in left:
        entry.ready.result().release()


def test_the_least_recently_used_scene_is_freed(store, render_thread):
    before = on_gpu(render_thread)
    for seed in (0, 1, 0, 2):
        draw(store, f"plain-{seed}")
    assert set(store.loaded) == {"plain-0", "plain-2"}
    assert on_gpu(render_thread) == before + 2 * OF_A_SCENE


def test_a_scene_in_use_is_kept_even_when_there_is_no_room(store, render_thread):
    before = on_gpu(render_thread)
    with store.lease("plain-0") as renderer:
        for seed in range(1, 5):
            draw(store, f"plain-{seed}")
        assert store.loaded["plain-0"] == 1
        renderer.render([VIEW])
    draw(store, "plain-4")
    assert len(store.loaded) == 2
    assert on_gpu(render_thread) == before + 2 * OF_A_SCENE


def test_memory_stays_flat_over_many_scenes(store, render_thread):
    """Textures of llvmpipe lie in this process' memory; a scene of these is about 20 MB."""

    def rss_mb():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    before = on_gpu(render_thread)
    for seed in range(6):
        draw(store, f"plain-{seed}")
    warm = rss_mb()
    for seed in range(6, 30):
        draw(store, f"plain-{seed}")
    assert rss_mb() - warm < 60.0
    assert on_gpu(render_thread) == before + 2 * OF_A_SCENE


def test_a_scene_is_made_once_for_all_who_ask_at_the_same_time(render_thread):
    made, go = [], threading.Event()

    def slowly(scene_id):
        go.wait(5.0)
        made.append(scene_id)
        return make_plain(scene_id)

    store = SceneStore(render_thread, slowly, capacity=1)
    images = []
    askers = [
        threading.Thread(target=lambda: images.append(draw(store, "plain-0").tobytes())) for _ in range(4)
    ]
    for asker in askers:
        asker.start()
    go.set()
    for asker in askers:
        asker.join(20.0)
    assert made == ["plain-0"]
    assert len(images) == 4 and len(set(images)) == 1
    with store.lease("plain-0") as renderer:
        renderer.release()


def test_a_scene_that_could_not_be_made_is_tried_again(store):
    for _ in range(2):
        with pytest.raises(UnknownScene, match=r"scene_id: .*'other-1'"), store.lease("other-1"):
            pass
    assert not store.loaded


def test_there_is_room_for_at_least_one(render_thread):
    with pytest.raises(InvalidInput, match="at least 1, got 0"):
        SceneStore(render_thread, make_plain, capacity=0)
