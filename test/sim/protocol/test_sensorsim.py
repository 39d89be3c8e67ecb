"""What a renderer answers, taken by its word where it is right and named where it is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from sensorsim_fakes import FOREIGN_SCENE, START_US, ScriptedRenderer, grey_at, jpeg

from alpamayo_ros.sensing.camera_models import FTheta
from alpamayo_ros.sim.cameras import LOGICAL_IDS, default_cameras
from alpamayo_ros.sim.protocol.channel import CallPolicy, Connection, ServiceError
from alpamayo_ros.sim.protocol.convert import trajectory_message
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.protocol.sensorsim import SENSORSIM, RenderError, SensorsimClient
from alpamayo_ros.types import InvalidInput

FRONT, TELE = LOGICAL_IDS[1], LOGICAL_IDS[6]
Items = list[pb.BatchRGBRenderReturnItem]
Asked = tuple[ScriptedRenderer, SensorsimClient, list[str]]


@pytest.fixture
def asked(scripted: tuple[ScriptedRenderer, str]) -> Iterator[Asked]:
    servicer, address = scripted
    said: list[str] = []
    policy = CallPolicy(deadline_s=10.0, retry_delays_s=(0.05, 0.1))
    with Connection(address, service=SENSORSIM, policy=policy) as connection:
        yield servicer, SensorsimClient(connection, warn=said.append), said


def requests(*names: str) -> dict[str, pb.RGBRenderRequest]:
    return {
        name: pb.RGBRenderRequest(
            resolution_w=64, resolution_h=36, camera_intrinsics=pb.CameraSpec(logical_id=name)
        )
        for name in names
    }


def test_what_a_renderer_says_of_itself(asked: Asked) -> None:
    servicer, client, _ = asked
    version = client.version()
    assert (version.version_id, version.git_hash, version.api) == (servicer.version_id, "abc", (0, 54, 0))
    assert not version.is_ours
    servicer.version_id = "alpamayo_ros-0.1.0"
    assert client.version().is_ours
    assert client.scene_ids() == (FOREIGN_SCENE,)
    loaded = client.loaded_scenes()
    assert (loaded.instances, loaded.capacity) == ({FOREIGN_SCENE: 2}, 3)
    assert client.ego_masks() == ((FRONT, "hyperion_8_1"),)
    servicer.failures = [(grpc.StatusCode.UNIMPLEMENTED, "")]
    assert client.ego_masks() == ()
    servicer.failures = [(grpc.StatusCode.INTERNAL, "")]
    with pytest.raises(ServiceError):
        client.ego_masks()


def test_cameras(asked: Asked) -> None:
    _, client, _ = asked
    cameras = client.cameras(FOREIGN_SCENE)
    assert tuple(cameras) == LOGICAL_IDS
    for mine, theirs in zip(default_cameras(), cameras.values(), strict=True):
        np.testing.assert_allclose(theirs.rig_from_camera, mine.rig_from_camera, atol=1e-6)
        assert isinstance(theirs.model, FTheta) and not theirs.has_windshield
        assert (theirs.model.width, theirs.model.angle_to_pixeldist) == (1920, mine.model.angle_to_pixeldist)
    assert tuple(client.cameras(FOREIGN_SCENE, [TELE])) == (TELE,)
    with pytest.raises(InvalidInput, match="expected camera_roof among the renderer's, got camera_cross"):
        client.cameras(FOREIGN_SCENE, ["camera_roof"])


def test_a_windshield_is_no_part_of_the_lens_and_is_sent_back(asked: Asked) -> None:
    servicer, client, _ = asked
    servicer.cameras.available_cameras[1].intrinsics.bivariate_windshield_model_param.horizontal_poly.append(
        1.0
    )
    camera = client.cameras(FOREIGN_SCENE, [FRONT])[FRONT]
    assert camera.has_windshield and camera.model.width == 1920
    assert camera.intrinsics == servicer.cameras.available_cameras[1].intrinsics


def test_cameras_that_are_wrong_are_named(asked: Asked) -> None:
    servicer, client, _ = asked
    servicer.cameras.available_cameras[1].rig_to_camera.quat.w = 9.0
    with pytest.raises(RenderError, match=f"camera '{FRONT}': rig_to_camera"):
        client.cameras(FOREIGN_SCENE)
    assert TELE in client.cameras(FOREIGN_SCENE, [TELE])  # others do not matter
    servicer.cameras.available_cameras[6].intrinsics.ClearField("ftheta_param")
    with pytest.raises(RenderError, match=f"camera '{TELE}': expected f-theta"):
        client.cameras(FOREIGN_SCENE, [TELE])
    servicer.cameras.available_cameras.add().CopyFrom(servicer.cameras.available_cameras[0])
    with pytest.raises(RenderError, match=f"got {LOGICAL_IDS[0]} twice"):
        client.cameras(FOREIGN_SCENE, [LOGICAL_IDS[0]])


def test_trajectories(asked: Asked) -> None:
    servicer, client, _ = asked
    ((stamps_us, poses),) = client.trajectories(FOREIGN_SCENE)
    assert stamps_us[0] == START_US and poses.shape == (221, 4, 4) and poses[-1, 0, 3] == pytest.approx(220.0)
    servicer.drives = [trajectory_message(np.array([3, 2]), np.tile(np.eye(4), (2, 1, 1)))]
    with pytest.raises(RenderError, match=r"recorded drive 0\[1\]: expected rising stamps"):
        client.trajectories(FOREIGN_SCENE)
    servicer.drives = []
    assert client.trajectories(FOREIGN_SCENE) == ()


def test_a_batch_is_one_call(asked: Asked) -> None:
    servicer, client, said = asked
    images = client.render(requests(FRONT, TELE))
    drawn = jpeg(64, 36, grey=grey_at(servicer.requests[0].frame_end_us))
    assert images == {FRONT: drawn, TELE: drawn} and not said
    assert servicer.calls == {"batch_render_rgb": 1}
    assert [request.camera_intrinsics.logical_id for request in servicer.requests] == [FRONT, TELE]


def failed(items: Items) -> None:
    items[1].success, items[1].error_message = False, "out of paint"


def silent(items: Items) -> None:
    items[0].success = False


def blank(items: Items) -> None:
    items[1].result.image_bytes = b""


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (failed, f"{TELE}: out of paint"),
        (silent, f"{FRONT}: failed, it does not say why"),
        (blank, f"{TELE}: no bytes"),
        (lambda items: items.pop(), f"{TELE}: missing"),
        (lambda items: items.clear(), f"{FRONT}: missing; {TELE}: missing"),
        (lambda items: items.append(items[0]), f"{FRONT}: came twice"),
        (lambda items: setattr(items[0], "camera_name", "roof"), f"roof: not asked for; {FRONT}: missing"),
        (lambda items: items.append(pb.BatchRGBRenderReturnItem(camera_name="roof")), "roof: not asked for"),
    ],
)
def test_a_batch_that_is_not_what_was_asked_for_is_named(
    asked: Asked, spoil: Callable[[Items], None], message: str
) -> None:
    servicer, client, _ = asked
    servicer.spoil = spoil
    with pytest.raises(RenderError, match=f"expected an image of each of {FRONT}, {TELE}; {message}"):
        client.render(requests(FRONT, TELE))
    assert servicer.calls["batch_render_rgb"] == 1  # asking again would not make it right


def test_without_batches_images_are_asked_for_one_by_one(asked: Asked) -> None:
    servicer, client, said = asked
    servicer.batches = False
    for _ in range(2):
        assert set(client.render(requests(FRONT, TELE))) == {FRONT, TELE}
    assert servicer.calls == {"batch_render_rgb": 1, "render_rgb": 4}
    assert len(said) == 1 and "no batch_render_rgb" in said[0]
    servicer._draw = lambda request: pb.RGBRenderReturn()  # type: ignore[method-assign]
    with pytest.raises(RenderError, match=f"{FRONT}: expected an image, got no bytes"):
        client.render(requests(FRONT))


def test_the_deadline_is_for_the_whole_set(asked: Asked) -> None:
    servicer, client, _ = asked
    servicer.batches = False
    servicer.delay_s = 0.4
    with pytest.raises(ServiceError, match=r"render_rgb: 2 of 7 images within 1 s") as caught:
        client.render(requests(*LOGICAL_IDS), deadline_s=1.0)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert servicer.calls["render_rgb"] == 3


def test_a_refusal_is_not_taken_for_a_lack_of_batches(asked: Asked) -> None:
    servicer, client, said = asked
    servicer.failures = [(grpc.StatusCode.NOT_FOUND, "scene_id: unknown")]
    with pytest.raises(ServiceError, match="NOT_FOUND: scene_id: unknown"):
        client.render(requests(FRONT))
    client.render(requests(FRONT))
    assert servicer.calls == {"batch_render_rgb": 2} and not said


def test_a_renderer_that_is_busy_for_a_moment_is_asked_again(asked: Asked) -> None:
    servicer, client, _ = asked
    servicer.failures = [(grpc.StatusCode.UNAVAILABLE, "loading")] * 2
    assert set(client.render(requests(FRONT))) == {FRONT}
    assert servicer.calls == {"batch_render_rgb": 3}


def test_calls_of_several_threads_do_not_disturb_each_other(asked: Asked) -> None:
    _, client, _ = asked
    results: list[int] = []

    def ask() -> None:
        results.extend(len(client.render(requests(FRONT, TELE))) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2] * 20
