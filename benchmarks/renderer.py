"""Measure how many sets of camera images a second `alpamayo sim-renderer` gives; prints JSON.

    python benchmarks/renderer.py [--scene junction_4way-5] [--size 576x320] [--sets 60] [--log LOG]

A client asks a renderer in another process over gRPC, set after set, along the scene's reference drive, with
all moving actors as dynamic objects, JPEG 95. The cameras are those of an AlpaSim log, by default of
$ALPAMAYO_GOLDEN/alpasim/rollout.asl, or without one the simulator's own usual four.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import cv2
import grpc
import numpy as np

from alpamayo_ros.cli.bag import image_size
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS, SimCamera, default_cameras
from alpamayo_ros.sim.protocol.convert import camera_spec, pose_message
from alpamayo_ros.sim.protocol.generated import sensorsim_pb2, sensorsim_pb2_grpc
from alpamayo_ros.sim.render.instances import actor_pose_at
from alpamayo_ros.sim.render.process import RendererProcess
from alpamayo_ros.sim.scene import STEP_US, Scene
from alpamayo_ros.sim.scenes import make_scene

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


def measure(
    scene_id: str, cameras: tuple[SimCamera, ...], size: tuple[int, int], sets: int
) -> dict[str, object]:
    scene = make_scene(scene_id)
    first_us = int(scene.reference.stamps_us[0])
    last_us = int(scene.reference.stamps_us[-1])
    times = [first_us + (k * STEP_US) % (last_us - first_us) for k in range(sets)]
    batches = [batch_at(scene, cameras, time_us, size) for time_us in times]
    with RendererProcess() as process, grpc.insecure_channel(process.address, options=LIMIT_BYTES) as channel:
        stub = sensorsim_pb2_grpc.SensorsimServiceStub(channel)
        began = time.perf_counter()
        check(stub.batch_render_rgb(batches[0]), size)
        first_s = time.perf_counter() - began
        for batch in batches[:3]:
            stub.batch_render_rgb(batch)
        cpu0, began = cpu_s(process.pid), time.perf_counter()
        each = []
        for batch in batches:
            start = time.perf_counter()
            stub.batch_render_rgb(batch)
            each.append(time.perf_counter() - start)
        wall = time.perf_counter() - began
        cpu = cpu_s(process.pid) - cpu0
    return {
        "scene": scene_id,
        "size": f"{size[0]}x{size[1]}",
        "cameras": len(cameras),
        "instances": len(scene.props) + len(scene.actors),
        "sets": sets,
        "sets_per_s": round(sets / wall, 2),
        "median_ms": round(statistics.median(each) * 1e3, 1),
        "best_ms": round(min(each) * 1e3, 1),
        "server_cpu_ms_per_set": round(cpu / sets * 1e3, 1),
        "first_set_s": round(first_s, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    golden = Path(os.environ.get("ALPAMAYO_GOLDEN", "../shared/golden")) / "alpasim" / "rollout.asl"
    parser.add_argument("--scene", default="junction_4way-5")
    parser.add_argument("--size", type=image_size, default=(576, 320))
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--log", type=Path, default=golden if golden.is_file() else None)
    args = parser.parse_args()
    print(json.dumps(measure(args.scene, cameras_of(args.log), args.size, args.sets)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
