"""The requests that AlpaSim's runtime recorded, answered by `sim-renderer --scene-from-asl` over gRPC.

An image shows no masks, so each request is looked at twice. Its RGB answer is compared with the answer to the
same request without the lead car (sent 100 m below the ground, as AlpaSim hides objects): what differs is the
car and its shadow. And the same request is drawn as ids in this process, by the code that the server runs:
that mask is compared with the recorded box, projected by the formula of the recorded camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from masks import hull_mask, iou

from alpamayo_ros.sim.protocol.asl import read_entries
from alpamayo_ros.sim.protocol.channel import MAX_MESSAGE_BYTES
from alpamayo_ros.sim.protocol.convert import camera_model, matrix_of
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2 as pb
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2_grpc
from alpamayo_ros.sim.render.gpu_arrays import camera_from
from alpamayo_ros.sim.render.process import RendererProcess
from alpamayo_ros.sim.render.renderer import SceneRenderer
from alpamayo_ros.sim.render.requests import parse_request
from alpamayo_ros.sim.scene_from_asl import scene_from_asl

CAMERAS = 4
LEAST_PX = 200
CHANGED = 12
"""Of 255, more than JPEG makes of the same pixels with another neighbour."""


@pytest.fixture(scope="module")
def log(golden_dir: Path) -> Path:
    return golden_dir / "alpasim" / "rollout.asl"


@pytest.fixture(scope="module")
def requests(log: Path) -> list[pb.RGBRenderRequest]:
    entries = read_entries(log)
    return [entry.render_request for entry in entries if entry.WhichOneof("log_entry") == "render_request"]


@pytest.fixture(scope="module")
def stub(render_thread, log: Path) -> Iterator[sensorsim_pb2_grpc.SensorsimServiceStub]:
    limits = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with (
        RendererProcess(asl_logs=[log]) as process,
        grpc.insecure_channel(process.address, limits) as channel,
    ):
        yield sensorsim_pb2_grpc.SensorsimServiceStub(channel)


@pytest.fixture(scope="module")
def here(render_thread, log: Path) -> Iterator[SceneRenderer]:
    renderer = SceneRenderer(scene_from_asl(log).scene, render_thread)
    yield renderer
    renderer.release()


@dataclass
class Findings:
    """What was seen over many requests."""

    answered: int = 0
    with_lead: int = 0
    ious: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)


def batches(requests):
    """Return requests of one instant together, as AlpaSim's runtime bundles them."""
    by_time: dict[int, list[pb.RGBRenderRequest]] = {}
    for request in requests:
        by_time.setdefault(request.frame_end_us, []).append(request)
    return list(by_time.values())


def decoded(data: bytes, request) -> np.ndarray:
    assert data[:2] == b"\xff\xd8"
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (request.resolution_h, request.resolution_w, 3)
    return image


def without_lead(request):
    hidden = pb.RGBRenderRequest()
    hidden.CopyFrom(request)
    (lead,) = (item for item in hidden.dynamic_objects if item.track_id == "lead")
    for pose in (lead.pose_pair.start_pose, lead.pose_pair.end_pose):
        pose.vec.z -= 100.0
    return hidden


def check(found: Findings, here: SceneRenderer, request, image: np.ndarray, empty: np.ndarray) -> None:
    """Compare one answer with where the request has the lead car."""
    found.answered += 1
    spec = here.scene.actors["lead"]
    (lead,) = (item for item in request.dynamic_objects if item.track_id == "lead")
    model = camera_model(request.camera_intrinsics).scaled_to(request.resolution_w, request.resolution_h)
    camera = matrix_of(request.sensor_pose.end_pose, "camera")
    box = camera_from(camera) @ matrix_of(lead.pose_pair.end_pose, "lead") @ np.diag([*spec.size_xyz_m, 1.0])
    ids = here.render_ids(parse_request(request).view) == here.actor_ids.index("lead") + 1
    changed = np.abs(image.astype(int) - empty).max(axis=2) > CHANGED
    if box[2, 3] < 0:  # behind this camera
        assert not ids.any() and changed.mean() < 1e-4
        return
    expected = hull_mask(model, box)
    if expected is None or expected.sum() < LEAST_PX:
        return
    found.with_lead += 1
    found.ious.append(iou(ids, expected))
    found.changed.append((changed & ids).sum() / ids.sum())
    # Beyond the box there may be its shadow, below and beside it, and nothing above.
    top = np.nonzero(expected)[0].min()
    assert changed[: max(top - 12, 0)].mean() < 1e-4
    assert changed.sum() < 4 * expected.sum()


def assert_sound(found: Findings, answered: int) -> None:
    assert found.answered == answered
    assert found.with_lead >= 0.45 * answered  # front wide and front tele
    assert min(found.ious) >= 0.8, found.ious
    assert min(found.changed) > 0.9, found.changed


def ask_all(stub, here, requests) -> tuple[Findings, Findings]:
    """Ask for every request singly, and for those of one instant in a batch; return what was seen of both."""
    singly, bundled = Findings(), Findings()
    for group in batches(requests):
        assert len(group) == CAMERAS
        hidden = [without_lead(request) for request in group]
        answers = [stub.batch_render_rgb(batch_of(some)) for some in (group, hidden)]
        for answer in answers:
            assert [item.camera_name for item in answer.items] == [
                r.camera_intrinsics.logical_id for r in group
            ]
            assert all(item.success and not item.error_message for item in answer.items)
        for request, item, empty_item in zip(group, answers[0].items, answers[1].items, strict=True):
            empty = decoded(empty_item.result.image_bytes, request)
            one = stub.render_rgb(request).image_bytes
            check(singly, here, request, decoded(one, request), empty)
            assert one == item.result.image_bytes  # so what was found of it holds for the batch, too
            bundled.answered += 1
    return singly, bundled


def batch_of(requests):
    return pb.BatchRGBRenderRequest(
        items=[
            pb.BatchRGBRenderRequestItem(camera_name=request.camera_intrinsics.logical_id, request=request)
            for request in requests
        ]
    )


def test_recorded_requests_of_some_steps_are_answered_with_the_lead_car_in_place(stub, here, requests):
    assert len(requests) == 124
    some = [request for group in batches(requests)[::30] for request in group]
    singly, bundled = ask_all(stub, here, some)
    assert_sound(singly, len(some))
    assert bundled.answered == len(some)


@pytest.mark.long
def test_all_recorded_requests_are_answered_with_the_lead_car_in_place(stub, here, requests):
    """With -s it prints the figures of docs/MEASUREMENTS.md."""
    singly, bundled = ask_all(stub, here, requests)
    assert_sound(singly, 124)
    assert bundled.answered == 124
    print(
        f"\n124 requests singly and in {len(batches(requests))} batches of {CAMERAS}: lead car expected in "
        f"{singly.with_lead}, IoU least {min(singly.ious):.3f}, median {np.median(singly.ious):.3f}; share "
        f"of its mask that differs without it: least {min(singly.changed):.3f}"
    )


def test_the_lenses_of_the_other_tests_are_those_of_the_log(requests):
    from render_scenes import GOLDEN_LENSES

    recorded = {request.camera_intrinsics.logical_id: request.camera_intrinsics for request in requests}
    assert len(recorded) == CAMERAS
    for name, spec in recorded.items():
        lens, expected = camera_model(spec), GOLDEN_LENSES["tele" if "tele" in name else "wide"]
        rays = np.random.default_rng(0).normal((0.0, 0.0, 1.5), size=(200, 3))
        assert np.allclose(*(np.nan_to_num(model.project(rays)[0]) for model in (lens, expected)), atol=1e-6)
