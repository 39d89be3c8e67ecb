"""Measure how many sets of camera images a second the embedded renderer gives; prints JSON, one line a size.

    python benchmarks/renderer.py [--scene junction_4way-5] [--sizes 576x320 1920x1080] [--sets 40]

A client asks `alpamayo sim-renderer`, another process, over gRPC, set after set, along the scene's reference
drive, with all moving actors as dynamic objects, JPEG 95. The cameras are those of an AlpaSim log, by default
of $ALPAMAYO_GOLDEN/alpasim/rollout.asl, or without one the simulator's own usual four.

In the same run, round by round, the same views are drawn in this process: as the server draws them but
neither encoded nor sent ("drawn"), and without culling, everything at its finest level ("naive").
Times are medians over sets; CPU times are of all threads, and tell more where other programs run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import cv2
import grpc
import numpy as np

from alpamayo_ros.cli.bag import image_size
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS, SimCamera, default_cameras
from alpamayo_ros.sim.protocol.convert import camera_spec, pose_message
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.render import culling, renderer
from alpamayo_ros.sim.render.instances import actor_pose_at
from alpamayo_ros.sim.render.process import RendererProcess
from alpamayo_ros.sim.render.requests import parse_request
from alpamayo_ros.sim.scene import STEP_US, Scene
from alpamayo_ros.sim.scenes import make_scene

ROUND = 10
LIMIT_BYTES = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def cameras_of(log: Path | None) -> tuple[SimCamera, ...]:
    if log is None:
        return tuple(default_cameras()[i] for i in USUAL_CAMERA_IDS)
    from alpamayo_ros.sim.scene_from_asl import scene_from_asl

    return scene_from_asl(log).cameras


def pair(pose: np.ndarray) -> sensorsim_pb2.PosePair:
    message = pose_message(pose)
    return sensorsim_pb2.PosePair(start_pose=message, end_pose=message)


def batch_at(
    scene: Scene, cameras: tuple[SimCamera, ...], time_us: int, size: tuple[int, int]
) -> sensorsim_pb2.BatchRGBRenderRequest:
    index = int(np.searchsorted(scene.reference.stamps_us, time_us))
    local_from_rig = scene.reference.local_from_rig[min(index, len(scene.reference.stamps_us) - 1)]
    objects = [
        sensorsim_pb2.DynamicObject(track_id=actor.actor_id, pose_pair=pair(actor_pose_at(actor, time_us)))
        for actor in scene.actors.values()
        if not actor.is_static
    ]
    items = [
        sensorsim_pb2.BatchRGBRenderRequestItem(
            camera_name=camera.logical_id,
            request=sensorsim_pb2.RGBRenderRequest(
                scene_id=scene.scene_id,
                resolution_w=size[0],
                resolution_h=size[1],
                camera_intrinsics=camera_spec(camera.model, camera.logical_id),
                frame_start_us=time_us - 30_000,
                frame_end_us=time_us,
                sensor_pose=pair(local_from_rig @ camera.rig_from_camera),
                dynamic_objects=objects,
                image_format=sensorsim_pb2.JPEG,
                image_quality=95,
            ),
        )
        for camera in cameras
    ]
    return sensorsim_pb2.BatchRGBRenderRequest(items=items)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check(answer: sensorsim_pb2.BatchRGBRenderReturn, size: tuple[int, int]) -> None:
    for item in answer.items:
        if not item.success:
            raise SystemExit(f"{item.camera_name}: {item.error_message}")
        image = cv2.imdecode(np.frombuffer(item.result.image_bytes, np.uint8), cv2.IMREAD_COLOR)
        if image is None or image.shape[:2] != (size[1], size[0]):
            raise SystemExit(f"{item.camera_name}: expected {size[0]}x{size[1]} pixels")


class _Rates:
    """Wall time of each set, and the CPU time of all of them, of one way to get images."""

    def __init__(self) -> None:
        self.each_s: list[float] = []
        self.cpu_s = 0.0

    def time(self, run: Callable[[], object], cpu_of: Callable[[], float]) -> None:
        before, start = cpu_of(), time.perf_counter()
        run()
        self.each_s.append(time.perf_counter() - start)
        self.cpu_s += cpu_of() - before

    def report(self, name: str) -> dict[str, float]:
        median_s = statistics.median(self.each_s)
        return {
            f"{name}_ms": round(median_s * 1e3, 1),
            f"{name}_best_ms": round(min(self.each_s) * 1e3, 1),
            f"{name}_cpu_ms": round(self.cpu_s / len(self.each_s) * 1e3, 1),
            f"{name}_sets_per_s": round(1 / median_s, 2),
        }


@contextmanager
def without_culling() -> Iterator[None]:
    """Draw everything, at the finest level: every sphere is in view, and fills it."""

    def everything(lens: object, centres: np.ndarray, radius_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(centres), 1e6), np.ones(len(centres), bool)

    with ExitStack() as stack:
        for module in (culling, renderer):
            stack.enter_context(mock.patch.object(module, "footprint_px", everything))
        near = mock.patch.object(culling, "near_distance_m", lambda boxes: np.full(len(boxes), 1e-3))
        stack.enter_context(near)
        yield


def measure(
    scene_id: str, cameras: tuple[SimCamera, ...], size: tuple[int, int], sets: int
) -> dict[str, object]:
    scene = make_scene(scene_id)
    first_us = int(scene.reference.stamps_us[0])
    span_us = int(scene.reference.stamps_us[-1]) - first_us
    batches = [
        batch_at(scene, cameras, first_us + k * span_us // sets // STEP_US * STEP_US, size)
        for k in range(sets)
    ]
    views = [[parse_request(item.request).view for item in batch.items] for batch in batches]
    here = renderer.SceneRenderer(scene)
    server, drawn, naive = _Rates(), _Rates(), _Rates()
    with RendererProcess() as process, grpc.insecure_channel(process.address, options=LIMIT_BYTES) as channel:
        stub = sensorsim_pb2_grpc.SensorsimServiceStub(channel)
        began = time.perf_counter()
        check(stub.batch_render_rgb(batches[0]), size)
        first_s = time.perf_counter() - began
        for batch in batches[:3]:
            stub.batch_render_rgb(batch)
        here.render_rgba(views[0])
        for start in range(0, sets, ROUND):
            for batch in batches[start : start + ROUND]:
                server.time(lambda batch=batch: stub.batch_render_rgb(batch), lambda: cpu_s(process.pid))
            for view in views[start : start + ROUND]:
                drawn.time(lambda view=view: here.render_rgba(view), time.process_time)
            with without_culling():
                for view in views[start : start + 2]:
                    naive.time(lambda view=view: here.render_rgba(view), time.process_time)
    here.release()
    both = [statistics.median(rates.each_s) for rates in (server, drawn, naive)]
    return {
        "scene": scene_id,
        "size": f"{size[0]}x{size[1]}",
        "cameras": len(cameras),
        "instances": len(scene.props) + len(scene.actors),
        "sets": sets,
        **server.report("server"),
        **drawn.report("drawn"),
        **naive.report("naive"),
        "server_to_drawn": round(both[0] / both[1], 2),
        "naive_to_drawn": round(both[2] / both[1], 2),
        "first_set_s": round(first_s, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    golden = Path(os.environ.get("ALPAMAYO_GOLDEN", "../shared/golden")) / "alpasim" / "rollout.asl"
    parser.add_argument("--scene", default="junction_4way-5")
    parser.add_argument("--sizes", type=image_size, nargs="+", default=[(576, 320), (1920, 1080)])
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--log", type=Path, default=golden if golden.is_file() else None)
    args = parser.parse_args()
    for size in args.sizes:
        print(json.dumps(measure(args.scene, cameras_of(args.log), size, args.sets)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
