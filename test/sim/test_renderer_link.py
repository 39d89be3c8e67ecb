"""What a driven simulation gets of its renderer: ours, a foreign one, one that dies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from sensorsim_fakes import FOREIGN_SCENE, START_US, ScriptedRenderer, drive_message, start

from alpamayo_ros.sim import renderer_connection
from alpamayo_ros.sim.protocol.channel import ServiceError
from alpamayo_ros.sim.protocol.sensorsim import RenderError
from alpamayo_ros.sim.recorded_world import RecordedWorld
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.render.render_thread import shared_thread
from alpamayo_ros.sim.renderer_link import RENDERER_ERRORS, LinkImages, RendererLink, link_to_renderer
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput

CAMERAS = (0, 1, 2, 6)


@dataclass(frozen=True)
class Settings:
    renderer: str = ""
    world: str = "auto"
    usdz: str = ""
    image_width: int = 64
    image_height: int = 36
    out: str = ""
    render_timeout_s: float = 20.0
    renderer_timeout_s: float = 20.0


@pytest.fixture
def settings(scripted: tuple[ScriptedRenderer, str]) -> Settings:
    return Settings(renderer=scripted[1])


def rollout_of(
    link: RendererLink, scene_id: str, warn: Callable[[str], None] = lambda text: None
) -> tuple[ClosedLoop, LinkImages]:
    loop = ClosedLoop(link.world(scene_id))
    return loop, link.images(scene_id, link.cameras(scene_id, CAMERAS), warn=warn)


def step(loop: ClosedLoop, images: LinkImages, count: int = 1) -> None:
    for _ in range(count):
        assert set(images.render(loop.time_us, loop.ego, loop.actors)) == set(CAMERAS)
        loop.follow_reference()


def test_a_foreign_renderers_scene_is_its_recording(
    scripted: tuple[ScriptedRenderer, str], settings: Settings
) -> None:
    servicer, address = scripted
    with link_to_renderer(settings) as link:
        assert link.description == f"somebodys-renderer-2.0 at {address} (foreign)"
        assert link.scene_ids("all") == link.scene_ids(FOREIGN_SCENE) == (FOREIGN_SCENE,)
        with pytest.raises(InvalidInput, match=rf"scenarios: .*\({FOREIGN_SCENE}\), got '0'"):
            link.scene_ids("0")
        loop, images = rollout_of(link, FOREIGN_SCENE)
        assert isinstance(link.world(FOREIGN_SCENE), RecordedWorld)
        assert loop.scene.road is None and loop.scene.start_us == START_US
        step(loop, images, 3)
    assert not servicer.requests[-1].dynamic_objects  # nobody knows of any, and what is recorded is drawn
    assert images.exchanges == [] and set(images.sizes.values()) == {(64, 36)}


def test_pictures_are_kept_where_results_are(settings: Settings) -> None:
    with link_to_renderer(replace(settings, out="somewhere")) as link:
        loop, images = rollout_of(link, FOREIGN_SCENE)
        step(loop, images, 2)
    assert len(images.exchanges) == 8


def test_a_renderer_of_ours_is_driven_procedurally_unless_told_otherwise(
    scripted: tuple[ScriptedRenderer, str], settings: Settings
) -> None:
    servicer, _ = scripted
    servicer.version_id, servicer.scene_ids = "alpamayo_ros-0.1.0", ("cut_in-8", "clipgt-0001")
    with link_to_renderer(settings) as link:
        assert "(ours)" in link.description
        assert link.scene_ids("0, 7-8,cut_in-8,clipgt-0001") == (
            "straight-0",
            "parked-7",
            "cut_in-8",
            FOREIGN_SCENE,
        )
        loop, images = rollout_of(link, "cut_in-8")
        assert loop.scene.family == "cut_in" and isinstance(link.world("cut_in-8"), ProceduralWorld)
        step(loop, images)
        assert servicer.requests[-1].dynamic_objects
        assert isinstance(link.world(FOREIGN_SCENE), RecordedWorld)  # made of a log
        with pytest.raises(InvalidInput, match="scenarios: expected"):
            link.scene_ids("nowhere-3")
    with link_to_renderer(replace(settings, world="recorded")) as link:
        assert isinstance(link.world("cut_in-8"), RecordedWorld)


def test_a_foreign_renderer_may_serve_procedural_scenes(settings: Settings) -> None:
    with link_to_renderer(replace(settings, world="procedural")) as link:
        assert link.scene_ids("8") == ("cut_in-8",)
        assert isinstance(link.world("cut_in-8"), ProceduralWorld)


def write_usdz(path: Path, scene_id: str) -> Path:
    """Write what AlpaSim's runtime reads of a scene: a drive, a car that moves, one that is parked."""
    stamps = [START_US + 100_000 * k for k in range(221)]
    rig = np.tile(np.eye(4), (len(stamps), 1, 1))
    rig[:, 0, 3] = np.arange(len(stamps))
    drive = {
        "T_rig_world_timestamps_us": stamps,
        "T_rig_worlds": rig.tolist(),
        "cameras_frame_timestamps_us": {"front": [[START_US, START_US + 200_000]]},
    }
    moving = [[30.0 + k, 4.0, 0.8, 0.0, 0.0, 0.0, 1.0] for k in range(50)]
    tracks = {
        "tracks_data": {
            "tracks_id": ["mover", "parked"],
            "tracks_label_class": ["automobile", "automobile"],
            "tracks_flags": ["CONTROLLABLE", ""],
            "tracks_timestamps_us": [stamps[10:60], stamps[:1]],
            "tracks_poses": [moving, [[20.0, -4.0, 0.8, 0.0, 0.0, 0.0, 1.0]]],
        },
        "cuboidtracks_data": {"cuboids_dims": [[4.5, 1.9, 1.6]] * 2},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.yaml", f"scene_id: {scene_id}\nversion_string: '1'\n")
        archive.writestr("rig_trajectories.json", json.dumps({"rig_trajectories": [drive]}))
        archive.writestr("sequence_tracks.json", json.dumps({"sequence": tracks}))
    return path


def test_a_usdz_gives_tracks_and_its_movers_are_shown_while_they_are_there(
    scripted: tuple[ScriptedRenderer, str], settings: Settings, tmp_path: Path
) -> None:
    servicer, _ = scripted
    told = replace(settings, usdz=str(write_usdz(tmp_path / "scene.usdz", FOREIGN_SCENE)))
    with link_to_renderer(told) as link:
        loop, images = rollout_of(link, FOREIGN_SCENE)
        assert loop.scene.start_us == START_US + 200_000 and set(loop.scene.actors) == {"mover", "parked"}
        heights = []
        for _ in range(12):
            step(loop, images)
            (mover,) = servicer.requests[-1].dynamic_objects
            assert mover.track_id == "mover"
            heights.append(round(mover.pose_pair.end_pose.vec.z))
    assert heights == [-99] * 8 + [1] * 4  # it comes a second after the drive's first pose
    other = replace(settings, usdz=str(write_usdz(tmp_path / "other.usdz", "another")))
    with (
        link_to_renderer(other) as link,
        pytest.raises(InvalidInput, match=f"expected the file of scene '{FOREIGN_SCENE}', got 'another'"),
    ):
        link.world(FOREIGN_SCENE)
    with pytest.raises(InvalidInput, match="usdz"), link_to_renderer(replace(settings, usdz="none.usdz")):
        pass


def test_scenes_that_cannot_be_driven_are_named(
    scripted: tuple[ScriptedRenderer, str], settings: Settings
) -> None:
    servicer, _ = scripted
    with link_to_renderer(settings) as link:
        servicer.drives = []
        with pytest.raises(InvalidInput, match="expected a recorded drive from the renderer, got none"):
            link.world(FOREIGN_SCENE)
        servicer.drives = [drive_message(seconds=1.0)]
        with pytest.raises(InvalidInput, match="expected a recorded drive of at least 3 s"):
            link.world(FOREIGN_SCENE)
        del servicer.cameras.available_cameras[0]
        with pytest.raises(InvalidInput, match="expected camera_cross_left_120fov among the renderer's"):
            link.cameras(FOREIGN_SCENE, CAMERAS)


def test_a_windshield_is_mentioned(scripted: tuple[ScriptedRenderer, str], settings: Settings) -> None:
    servicer, _ = scripted
    servicer.cameras.available_cameras[1].intrinsics.bivariate_windshield_model_param.horizontal_poly.append(
        1.0
    )
    said: list[str] = []
    with link_to_renderer(settings) as link:
        step(*rollout_of(link, FOREIGN_SCENE, said.append))
    assert len(said) == 1 and said[0].startswith("renderer: front_wide: there is a windshield")


def test_nobody_there_is_an_error_at_the_first_question() -> None:
    settings = Settings(renderer="127.0.0.1:1", renderer_timeout_s=0.4)
    with link_to_renderer(settings) as link:
        started_s = time.monotonic()
        with pytest.raises(RENDERER_ERRORS, match=r"nothing answers at 127\.0\.0\.1:1 within 0\.4 s"):
            _ = link.description
        assert time.monotonic() - started_s < 3.0
    with pytest.raises(InvalidInput, match="renderer: expected HOST:PORT"), link_to_renderer(Settings("nvr")):
        pass


def test_a_slow_renderer_is_waited_for_and_a_stuck_one_is_not(
    scripted: tuple[ScriptedRenderer, str], settings: Settings
) -> None:
    servicer, _ = scripted
    with link_to_renderer(replace(settings, render_timeout_s=1.0)) as link:
        loop, images = rollout_of(link, FOREIGN_SCENE)
        servicer.delay_s = 0.5
        step(loop, images)
        servicer.delay_s = 5.0
        with pytest.raises(ServiceError, match="batch_render_rgb: no answer within 1 s"):
            step(loop, images)


def test_cancel_ends_a_picture_that_is_awaited(
    scripted: tuple[ScriptedRenderer, str], settings: Settings
) -> None:
    servicer, _ = scripted
    with link_to_renderer(settings) as link:
        loop, images = rollout_of(link, FOREIGN_SCENE)
        servicer.delay_s = 20.0
        threading.Timer(0.3, link.cancel).start()
        started_s = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            step(loop, images)
        assert time.monotonic() - started_s < 2.0 and caught.value.code == grpc.StatusCode.CANCELLED


def test_a_foreign_renderer_that_comes_back_is_only_a_delay() -> None:
    first = start(ScriptedRenderer())
    with link_to_renderer(Settings(renderer=first.address)) as link:
        loop, images = rollout_of(link, FOREIGN_SCENE)
        step(loop, images, 2)
        first.stop(0.0)
        again: list = []
        threading.Timer(1.0, lambda: again.append(start(ScriptedRenderer(), port=first.port))).start()
        step(loop, images, 2)
    again[0].stop()


def test_faults_of_pictures_are_render_errors(
    scripted: tuple[ScriptedRenderer, str], settings: Settings
) -> None:
    servicer, _ = scripted
    with link_to_renderer(settings) as link:
        loop, images = rollout_of(link, FOREIGN_SCENE)
        servicer.spoil = lambda items: items.pop()
        with pytest.raises(RenderError, match="camera_front_tele_30fov: missing"):
            step(loop, images)
        with pytest.raises(InvalidInput, match="images: expected the ego at"):
            images.render(loop.time_us + 1, loop.ego, loop.actors)


# A renderer of our own, in a process that dies.


@pytest.fixture
def own() -> Iterator[AbstractContextManager[RendererLink]]:
    try:
        shared_thread()
    except RendererUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield link_to_renderer(Settings())


def test_a_renderer_of_ours_that_dies_is_started_anew(
    own: AbstractContextManager[RendererLink],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    children: list[renderer_connection.RendererProcess] = []

    def child(**arguments: object) -> renderer_connection.RendererProcess:
        if len(children) == 2:
            raise RendererUnavailable("the graphics card has been sold")
        children.append(RendererProcess(**arguments))  # type: ignore[arg-type]
        return children[-1]

    RendererProcess = renderer_connection.RendererProcess
    monkeypatch.setattr(renderer_connection, "RendererProcess", child)
    with own as link:
        assert "(ours, started here)" in link.description
        loop, images = rollout_of(link, "straight-0")
        step(loop, images)
        os.kill(children[0].pid, signal.SIGKILL)
        step(loop, images, 2)
        assert len(children) == 2 and children[1].address == children[0].address
        assert f"process {children[0].pid}) has ended" in caplog.text
        os.kill(children[1].pid, signal.SIGKILL)
        started_s = time.monotonic()
        with pytest.raises(ServiceError, match=r"serving on .*\n.*the graphics card has been sold"):
            step(loop, images)
        assert time.monotonic() - started_s < 5.0
    assert not any(each.alive for each in children)
    assert "renderer watch" not in {thread.name for thread in threading.enumerate()}
