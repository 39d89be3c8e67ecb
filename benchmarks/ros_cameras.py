"""Four 1080p JPEG cameras over DDS into the planner node's inputs: latency, processor time, frames lost.

    python benchmarks/ros_cameras.py [--seconds 10] [--rates 10 30 30+] [--executors single events]

A publisher process sends four CompressedImage cameras, stamped when they are sent, and odometry at 50 Hz;
this process runs the real planner node up to the observation (no plan is made: what is measured is the
inputs alone). Each row is a run of its own:

    latency     newest stamp of an observation -> observation ready, ms: median, p90, p99
    cpu         processor time of this process as a share of one core
    codec       that of decoding and resizing alone for the frames that were decoded: cv2.imdecode and the
                model's own resize, on the same pictures, in as many threads, right after the run
    ratio       cpu over codec
    sent, received, dropped, decoded, used   frames of all four cameras; used: in some observation
    late        observations that had to wait for a frame that was thought not to be needed
    exact       observations whose pixels are bit by bit those of the plain path, of those that were looked at

A rate with `+` decodes every frame (t0_interval_ms:=0). Each rate is run with each executor that there is
(ros/executors.py).
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alpamayo_ros.interpreter import settle_collector
from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.ros.runner import apply_shared_memory_profile
from alpamayo_ros.sensing.images import decode_compressed
from alpamayo_ros.types import Observation, PrepareFrame, UInt8Array
from benchmarks.sensing import prepare_frame, scene

DOMAIN_ID = 87
PICTURES = 4
WARM_UP_S = 2.5
ODOMETRY_HZ = 50
CAMERAS = {"cross_left": 0, "front_wide": 1, "cross_right": 2, "front_tele": 6}
SPEED_MPS = 10.0
KEPT = 12
MS = 1_000_000


def pictures() -> list[bytes]:
    """Return JPEGs of 1080p street-like scenes, quality 90: the same one, moved on a little each time."""
    base = scene()
    return [
        bytes(
            cv2.imencode(".jpg", np.roll(base, 37 * i, axis=1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[
                1
            ].tobytes()
        )
        for i in range(PICTURES)
    ]


def picture_of(camera: int, tick: int) -> int:
    """Return which picture a camera sends at a tick."""
    return (camera + tick) % PICTURES


def publish(folder: Path, rate_hz: float, seconds: float) -> None:
    """Send until `seconds` are over; print the cameras' stamps as JSON."""
    apply_shared_memory_profile()
    import rclpy
    from nav_msgs.msg import Odometry
    from rclpy.qos import qos_profile_sensor_data
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage

    rclpy.init(args=[], domain_id=DOMAIN_ID)
    node = rclpy.create_node("cameras")
    serialised = []
    for path in sorted(folder.glob("*.jpg")):
        message = CompressedImage(format="jpeg")
        message.data.frombytes(path.read_bytes())
        serialised.append(bytearray(serialize_message(message)))
    images = [node.create_publisher(CompressedImage, name, qos_profile_sensor_data) for name in CAMERAS]
    odometry = node.create_publisher(Odometry, "odometry", qos_profile_sensor_data)
    while not all(p.get_subscription_count() for p in (*images, odometry)):
        time.sleep(0.05)
    time.sleep(0.5)
    stamps: list[int] = []
    start_ns = time.time_ns()
    pose = Odometry(child_frame_id="base_link")
    pose.header.frame_id, pose.pose.pose.orientation.w = "odom", 1.0
    ticks = sorted(
        [(i * 10**9 // ODOMETRY_HZ, -1) for i in range(int(seconds * ODOMETRY_HZ))]
        + [(round(i * 1e9 / rate_hz), i) for i in range(int(seconds * rate_hz))]
    )
    for due_ns, tick in ticks:
        time.sleep(max(0.0, (start_ns + due_ns - time.time_ns()) / 1e9))
        stamp_ns = time.time_ns()
        seconds_part, nanoseconds = divmod(stamp_ns, 10**9)
        if tick < 0:
            pose.header.stamp.sec, pose.header.stamp.nanosec = seconds_part, nanoseconds
            pose.pose.pose.position.x = SPEED_MPS * (stamp_ns - start_ns) / 1e9
            odometry.publish(pose)
            continue
        stamps.append(stamp_ns)
        header = seconds_part.to_bytes(4, "little") + nanoseconds.to_bytes(4, "little")
        for camera, publisher in enumerate(images):
            message = serialised[picture_of(camera, tick)]
            message[4:12] = header
            publisher.publish(bytes(message))
    # Odometry behind the last t0, and time for what is on its way.
    stamp_ns = time.time_ns()
    pose.header.stamp.sec, pose.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    pose.pose.pose.position.x = SPEED_MPS * (stamp_ns - start_ns) / 1e9
    odometry.publish(pose)
    time.sleep(0.5)
    print(json.dumps(stamps), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


class Inputs(PlannerBackend):
    """Prepares frames as the released checkpoints do, and plans nothing."""

    def __init__(self, prepare: PrepareFrame) -> None:
        super().__init__(self, model_id="inputs only")  # type: ignore[arg-type]
        self._prepare = prepare
        settle_collector()  # as AlpamayoBackend does

    def prepare_frame(self, frame: UInt8Array) -> UInt8Array:
        return self._prepare(frame)

    def close(self) -> None:
        """Undo what the beginning did."""
        gc.unfreeze()


@dataclass(frozen=True)
class Row:
    """What one run gave; see the module."""

    name: str
    latency_ms: tuple[float, float, float]
    cpu: float
    codec: float
    sent: int
    received: int
    dropped: int
    decoded: int
    used: int
    late: int
    observations: int
    checked: int
    exact: int

    @property
    def ratio(self) -> float:
        return self.cpu / self.codec if self.codec else float("nan")

    def __str__(self) -> str:
        latency = " ".join(f"{value:6.1f}" for value in self.latency_ms)
        return (
            f"{self.name:>10s} {latency}  {self.cpu:5.2f} {self.codec:5.2f} {self.ratio:5.2f}  "
            f"{self.sent:5d} {self.received:5d} {self.dropped:4d} {self.decoded:5d} {self.used:5d}  "
            f"{self.observations:4d} {self.late:4d}  {self.exact}/{self.checked}"
        )


HEADER = (
    "      rate median    p90    p99    cpu codec ratio   sent recvd drop decod  used  obs. late  exact\n"
    "        Hz     ms     ms     ms  cores cores"
)


def rig_file(folder: Path) -> Path:
    """Write the rig of the four cameras."""
    rows = "".join(f"  - {{role: {name}, topic: {name}, transport: compressed}}\n" for name in CAMERAS)
    path = folder / "rig.yaml"
    path.write_text(f"name: bench\nrig_frame: base_link\ncameras:\n{rows}")
    return path


def run(
    folder: Path,
    jpegs: Sequence[bytes],
    rate_hz: float,
    seconds: float,
    *,
    every: bool,
    executor: str = "single",
) -> Row:
    """Run node and publisher once."""
    import rclpy
    from rclpy.context import Context
    from rclpy.parameter import Parameter

    from alpamayo_ros.nodes.planner import PlannerNode
    from alpamayo_ros.ros.executors import EXECUTOR_VARIABLE, new_executor

    prepare = prepare_frame()
    seen: list[tuple[int, int, NDArray[np.int64]]] = []  # t0, when it was ready, stamps
    kept: list[Observation] = []
    cpu_marks: list[tuple[float, float, int]] = []  # wall, processor time, decoded

    class Node(PlannerNode):
        def _on_observation(self, observation: Observation, epoch: int) -> None:
            seen.append((observation.t0_ns, time.time_ns(), observation.frame_stamps_ns))
            self.statistics.observed(observation.t0_ns)
            if len(seen) % 7 == 0 and len(kept) < KEPT:
                kept.append(observation)

    context = Context()
    rclpy.init(args=[], context=context, domain_id=DOMAIN_ID)
    values = {"rig": str(rig_file(folder)), "safety_gate": False, "autostart": True}
    values |= {"t0_interval_ms": 0.0} if every else {}
    node = Node(
        load=lambda settings, options: Inputs(prepare),
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
    )
    spinner = new_executor(context, {EXECUTOR_VARIABLE: executor})
    spinner.add_node(node)
    arguments = ["--publish", str(folder), "--rates", f"{rate_hz:g}", "--seconds", str(seconds + WARM_UP_S)]
    sender = None
    try:
        begin_s: float | None = None
        while True:
            spinner.spin_once(timeout_sec=0.1)
            if sender is None and node._active:
                sender = subprocess.Popen(
                    [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True
                )
            feed = None if node._parts is None else node._parts.feed
            if sender is None or feed is None:
                continue
            now_s = time.monotonic()
            if begin_s is None:
                begin_s = now_s if feed.cameras[1]["received"] else None
                continue
            marks_s = (begin_s + WARM_UP_S, begin_s + WARM_UP_S + seconds - 0.3)
            if len(cpu_marks) < 2 and now_s > marks_s[len(cpu_marks)]:
                decoded = sum(c["decoded"] for c in feed.cameras.values())
                cpu_marks.append((now_s, time.process_time(), decoded))
            elif len(cpu_marks) == 2 and sender.poll() is not None:
                break
        assert sender.stdout is not None
        stamps: list[int] = json.loads(sender.stdout.read())
        cameras = list(feed.cameras.values())
        received, dropped, decoded = (
            sum(c[what] for c in cameras) for what in ("received", "dropped", "decoded")
        )
    finally:
        if sender is not None and sender.poll() is None:
            sender.terminate()
        spinner.remove_node(node)
        node.destroy_node()
        context.try_shutdown()

    (wall_a, cpu_a, decoded_a), (wall_b, cpu_b, decoded_b) = cpu_marks
    from_ns = stamps[0] + round(WARM_UP_S * 1e9)
    latencies = [(ready - int(s.max())) / MS for t0, ready, s in seen if t0 >= from_ns]
    codec_s = codec_seconds(jpegs, prepare)
    tick_of = {stamp: tick for tick, stamp in enumerate(stamps)}
    plain = [prepare(decode_compressed(jpeg)) for jpeg in jpegs]
    exact = sum(is_exact(observation, tick_of, plain) for observation in kept)
    used = {(camera, int(s)) for _, _, rows in seen for camera, row in enumerate(rows) for s in row}
    asked = sum(c["asked"] for c in cameras)
    assert asked >= decoded
    return Row(
        name=f"{executor} {rate_hz:g}" + ("+" if every else ""),
        latency_ms=tuple(float(np.percentile(latencies, q)) for q in (50, 90, 99)),  # type: ignore[arg-type]
        cpu=(cpu_b - cpu_a) / (wall_b - wall_a),
        codec=(decoded_b - decoded_a) * codec_s / (wall_b - wall_a),
        sent=len(stamps) * len(CAMERAS),
        received=received,
        dropped=dropped,
        decoded=decoded,
        used=len(used),
        late=feed.late,
        observations=len(latencies),
        checked=len(kept),
        exact=exact,
    )


def codec_seconds(jpegs: Sequence[bytes], prepare: PrepareFrame, repeats: int = 12) -> float:
    """Return the processor time of decoding and resizing one picture alone, in two threads as in the node."""
    buffers = [np.frombuffer(jpeg, np.uint8) for jpeg in jpegs]

    def one(buffer: UInt8Array) -> None:
        image: Any = cv2.imdecode(buffer, getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR))
        prepare(image.transpose(2, 0, 1))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, buffers))
        start = time.process_time()
        list(pool.map(one, buffers * repeats))
        return (time.process_time() - start) / (repeats * len(buffers))


def is_exact(observation: Observation, tick_of: dict[int, int], plain: Sequence[UInt8Array]) -> bool:
    """Return whether every frame is the picture that was sent with its stamp, by the plain path."""
    for camera, stamps in enumerate(observation.frame_stamps_ns):
        for frame, stamp in zip(observation.frames[camera], stamps, strict=True):
            if not np.array_equal(frame, plain[picture_of(camera, tick_of[int(stamp)])]):
                return False
    return True


def executors() -> list[str]:
    """Return the executors that the installed rclpy has."""
    return ["single", "events"] if importlib.util.find_spec("rclpy.experimental") else ["single"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row (default 10)")
    parser.add_argument("--rates", nargs="+", default=["10", "30", "30+"], help='Hz (default "10 30 30+")')
    parser.add_argument(
        "--executors",
        nargs="+",
        default=executors(),
        choices=("single", "events"),
        help="default: all there are",
    )
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--publish", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if arguments.publish:
        publish(Path(arguments.publish), float(arguments.rates[0]), arguments.seconds)
        return
    rows = list(itertools.product(arguments.rates, arguments.executors))
    if not arguments.row:
        print(f"{len(CAMERAS)} cameras of 1920x1080, JPEGs of {len(pictures()[0]) / 1e3:.0f} kB, ", end="")
        print(f"load {os.getloadavg()[0]:.1f}\n{HEADER}", flush=True)
        for rate, executor in rows:  # each in a process of its own: the events executor leaves traces
            options = ["--row", "--rates", rate, "--executors", executor, "--seconds", str(arguments.seconds)]
            subprocess.run([sys.executable, __file__, *options], check=True)
        return
    apply_shared_memory_profile()
    cv2.setNumThreads(1)
    jpegs = pictures()
    with tempfile.TemporaryDirectory() as folder:
        for i, jpeg in enumerate(jpegs):
            (Path(folder) / f"{i}.jpg").write_bytes(jpeg)
        for rate, executor in rows:
            rate_hz, every = float(rate.rstrip("+")), rate.endswith("+")
            row = run(Path(folder), jpegs, rate_hz, arguments.seconds, every=every, executor=executor)
            print(row, flush=True)


if __name__ == "__main__":
    main()
