"""What four overlays of 576 x 320 cost: shares of a core at 10 Hz, and ratios to the codec's own work.

    python -m benchmarks.visualizer [--ticks 40] [--samples 6] [--no-ros]

Processor time, so that a busy machine hardly matters. The baseline decodes and encodes the same JPEGs and
does nothing else; it is measured in turns with the overlays. The last row is the whole node over real topics,
fed by a process of its own, with everybody looking and with nobody.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from alpamayo_ros.sensing.images import decode_compressed
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.sensing.view import View
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS, default_cameras
from alpamayo_ros.types import Plan, UInt8Array
from alpamayo_ros.viz.overlay import draw_plan_overlay
from alpamayo_ros.viz.timeline import PlanTimeline, TimedPlan

WIDTH, HEIGHT = 576, 320
HZ = 10
QUALITY = 80
T0_NS = 1_700_000_000 * 10**9
STEP_NS = 100_000_000
SPEED_MPS = 8.0


def pictures() -> dict[int, bytes]:
    """Return a JPEG of each camera, with detail at all scales."""
    rng = np.random.default_rng(0)
    found = {}
    for camera_id in USUAL_CAMERA_IDS:
        image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        for octave in range(7):
            noise = rng.normal(size=(HEIGHT >> octave, WIDTH >> octave, 3)).astype(np.float32)
            image += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * 4.0 * 1.35**octave
        picture = np.clip(image + 110, 0, 255).astype(np.uint8)
        found[camera_id] = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return found


def plan(t0_ns: int, samples: int, number: int) -> Plan:
    """Return a plan in a bend, with candidates to both sides; its words change from plan to plan."""
    times = np.arange(1, 65) * 0.1
    xyz = np.zeros((samples, 64, 3), np.float32)
    for k in range(samples):
        curvature = 0.02 + 0.006 * k
        angle = curvature * SPEED_MPS * times
        xyz[k, :, 0], xyz[k, :, 1] = np.sin(angle) / curvature, (1 - np.cos(angle)) / curvature
    words = f"Slow down for the pedestrian who is about to cross {20 + number % 40} m ahead from the right."
    return Plan(
        t0_ns=t0_ns,
        xyz_in_rig_t0=xyz,
        rot_in_rig_t0=np.tile(np.eye(3, dtype=np.float32), (samples, 64, 1, 1)),
        accel_mps2=np.zeros((samples, 64), np.float32),
        curvature_per_m=np.zeros((samples, 64), np.float32),
        speed_mps=np.full((samples, 65), SPEED_MPS, np.float32),
        normalised_action=np.zeros((samples, 64, 2), np.float32),
        reasoning=(words,) * samples,
        reasoning_complete=(True,) * samples,
        meta_action=("",) * samples,
        token_ids=((1,),) * samples,
        sections=(None,) * samples,
    )


def encode(image: UInt8Array) -> bytes:
    """Return a picture as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def drawing_shares(ticks: int, samples: int) -> tuple[float, float, float]:
    """Return the medians of a tick of four pictures, ms: codec alone, overlays with it, drawing alone."""
    jpegs = pictures()
    cameras = {camera.camera_id: camera for camera in default_cameras()}
    views = {i: View(cameras[i].model, cameras[i].rig_from_camera) for i in USUAL_CAMERA_IDS}
    timeline = PlanTimeline()
    codec, whole, drawing = [], [], []
    for tick in range(ticks + 5):
        stamp_ns = T0_NS + tick * STEP_NS
        for part in range(5):
            at_ns = stamp_ns - STEP_NS + (part + 1) * STEP_NS // 5
            x = SPEED_MPS * (at_ns - T0_NS) / 1e9
            timeline.add_pose(at_ns, compose(np.eye(3), (x, 0, 0)))
        # A plan is there one tick after its t0.
        pose = compose(np.eye(3), (SPEED_MPS * (tick - 1) * 0.1, 0, 0))
        made = plan(stamp_ns - STEP_NS, samples, tick)
        timeline.add_plan(TimedPlan(made, "VALID", odom_from_rig_t0=pose, instruction="Turn left in 30 m"))
        images = {i: decode_compressed(jpegs[i]).transpose(1, 2, 0) for i in USUAL_CAMERA_IDS}

        def overlays(stamp_ns: int = stamp_ns) -> None:
            for i in USUAL_CAMERA_IDS:
                moment = timeline.at(stamp_ns)
                image = decode_compressed(jpegs[i]).transpose(1, 2, 0)
                encode(
                    draw_plan_overlay(image, view=moment.view(views[i]), drawing=moment.drawing, label=str(i))
                )

        def draw(stamp_ns: int = stamp_ns, images: dict[int, UInt8Array] = images) -> None:
            moment = timeline.at(stamp_ns)
            for i in USUAL_CAMERA_IDS:
                draw_plan_overlay(images[i], view=moment.view(views[i]), drawing=moment.drawing, label=str(i))

        def only_codec() -> None:
            for i in USUAL_CAMERA_IDS:
                encode(decode_compressed(jpegs[i]).transpose(1, 2, 0))

        # The overlays first: what a plan costs once is in their figure, as it is in the node's.
        taken = seconds(overlays), seconds(only_codec), seconds(draw)
        if tick >= 5:
            whole.append(taken[0])
            codec.append(taken[1])
            drawing.append(taken[2])
    return tuple(1e3 * float(np.median(times)) for times in (codec, whole, drawing))  # type: ignore[return-value]


def node_share(ticks: int, samples: int) -> tuple[float, float, int]:
    """Return the node's share of a core with everybody looking, with nobody, and how many overlays came."""
    import rclpy
    from rclpy.parameter import Parameter

    from alpamayo_ros.nodes.visualizer import VisualizerNode
    from alpamayo_ros.ros.executors import new_executor
    from alpamayo_ros.ros.runner import apply_shared_memory_profile
    from benchmarks.visualizer_feed import Feed

    apply_shared_memory_profile()  # as every node of ours does; the feed inherits it
    rclpy.init()
    executor = new_executor()
    namespace = f"/bench_visualizer_{time.time_ns() % 10**6}"
    node = VisualizerNode(
        namespace=namespace,
        parameter_overrides=[Parameter("rig", value="sim"), Parameter("max_rate_hz", value=30.0)],
    )
    executor.add_node(node)
    with Feed(namespace, pictures(), samples=samples) as feed:
        shares = []
        for look in (False, True):
            feed.look(look)
            end = time.monotonic() + 2.0
            while time.monotonic() < end:
                executor.spin_once(timeout_sec=0.05)
            begun, cpu = time.monotonic(), time.process_time()
            counted = sum(s["drawn"] for s in node.overlays.statistics.values())
            end = begun + ticks / HZ
            while time.monotonic() < end:
                executor.spin_once(timeout_sec=0.05)
            shares.append((time.process_time() - cpu) / (time.monotonic() - begun))
        drawn = sum(s["drawn"] for s in node.overlays.statistics.values()) - counted
    executor.remove_node(node)
    node.destroy_node()
    executor.shutdown()
    rclpy.try_shutdown()
    return shares[1], shares[0], drawn


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=40, help="ticks of 0.1 s (default: 40)")
    parser.add_argument("--samples", type=int, default=6, help="candidates of a plan (default: 6)")
    parser.add_argument("--no-ros", action="store_true", help="leave the node out")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    codec, whole, drawing = drawing_shares(arguments.ticks, arguments.samples)

    def row(name: str, ms: float) -> None:
        print(f"{name:52s} {ms:7.2f} ms {ms * HZ / 10:6.1f} % of a core at {HZ} Hz {ms / codec:6.2f}")

    row("four pictures decoded and encoded, nothing drawn", codec)
    row(f"four overlays, K = {arguments.samples}, decoded and encoded", whole)
    row("of that, drawing", drawing)
    if not arguments.no_ros:
        looked, alone, drawn = node_share(arguments.ticks, arguments.samples)
        rate = drawn / (arguments.ticks / HZ) / len(USUAL_CAMERA_IDS)
        print(f"the node over topics: {looked:.1%} of a core at {rate:.1f} Hz; nobody looking {alone:.1%}")


if __name__ == "__main__":
    main()
