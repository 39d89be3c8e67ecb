"""Measure how long AlpaSim waits for an answer to `drive` beyond the plan itself; prints JSON, a line a way.

    python benchmarks/driver.py [--size 1920x1080] [--steps 200] [--samples 6]

A client in this process tells a session as AlpaSim's runtime does, over gRPC: each step four JPEGs of quality
95, a pose and a route, all at once, then `drive`. The driver is another process; its planner gives K samples
of constant velocity and notes how long that took. `beyond_ms` is the client's round trip without it: the
wire, the observation, the choice among samples, all K of them resampled, and the answer's message.

Two ways take turns in the same run: pictures decoded and brought to the model's 576x320 when they arrive, as
our driver does it, and all four decoded side by side when `drive` comes. `told_ms` is how long the client
takes to tell a step: what decoding on arrival costs there, on the simulator's side of `drive`. `wire_ms` is
an empty call's round trip.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection as Pipe
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np

from alpamayo_ros.cli.bag import image_size
from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.sensing.rigid import compose
from alpamayo_ros.sim.cameras import LOGICAL_IDS, USUAL_CAMERA_IDS
from alpamayo_ros.sim.driver import driver as driver_module
from alpamayo_ros.sim.driver.inputs import Lacking, SessionInputs
from alpamayo_ros.sim.driver.server import serve_driver
from alpamayo_ros.sim.planners import ConstantVelocityPlanner
from alpamayo_ros.sim.protocol.channel import Connection
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient
from alpamayo_ros.sim.protocol.egodriver_messages import CameraFrame, DriveSession, Egomotion, Route
from alpamayo_ros.sim.protocol.generated import common_pb2, egodriver_pb2
from alpamayo_ros.types import Observation, Plan, Planner, PrepareFrame

STEP_US = 100_000
START_US = 1_700_000_000_000_000
WARM_UP_STEPS = 20
ROUND = 10
WAYS = ("on_arrival", "at_drive")
PICTURES = 4


def prepare_frame() -> PrepareFrame:
    """Return the model's own preparation at the released checkpoints' pixel budget."""
    from alpamayo_ros.model.images import ImagePreparer

    budget = SimpleNamespace(pixel_budget=(163_840, 196_608))  # all that it asks of a checkpoint's config
    return ImagePreparer(budget).prepare_frame  # type: ignore[arg-type]


@dataclass(eq=False)
class SampledPlanner:
    """K equal samples of constant velocity; notes how long each plan took."""

    num_samples: int
    took_ms: dict[int, float]

    def plan(self, observation: Observation) -> Plan:
        began_s = time.perf_counter()
        plan = ConstantVelocityPlanner().plan(observation)
        count = self.num_samples
        arrays = ("xyz_in_rig_t0", "rot_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps")
        arrays = (*arrays, "normalised_action")
        texts = ("reasoning", "reasoning_complete", "meta_action", "token_ids", "sections")
        plan = replace(
            plan,
            **{
                name: np.repeat(getattr(plan, name), count, axis=0) for name in (*arrays, "normalised_action")
            },
            **{name: getattr(plan, name) * count for name in texts},
        )
        self.took_ms[observation.t0_ns // 1000] = (time.perf_counter() - began_s) * 1e3
        return plan


@dataclass(eq=False)
class SampledPlanners:
    """DriverPlanners around them."""

    num_samples: int
    prepare_frame: PrepareFrame | None
    model_id: str = "constant"
    takes_instruction: bool = True
    took_ms: dict[int, float] = field(default_factory=dict)

    def start(self, session: DriveSession, *, seed: int) -> Planner:
        return SampledPlanner(self.num_samples, self.took_ms)


class LateInputs(SessionInputs):
    """Keeps pictures as they come, and decodes what is new, side by side, when they are asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept: list[CameraFrame] = []
        self._decoders = ThreadPoolExecutor(4)

    def add_frame(self, frame: CameraFrame) -> int | None:
        self._kept.append(frame)
        return None

    def observe(self, now_us: int, *, instruction: str) -> Observation | Lacking:
        kept, self._kept = self._kept, []
        list(self._decoders.map(super().add_frame, kept))
        return super().observe(now_us, instruction=instruction)


def serve(way: str, num_samples: int, pipe: Pipe) -> None:
    """Serve a driver until told to stop: sends its address, then how long each plan took by its t0 in us."""
    planners = SampledPlanners(num_samples, prepare_frame())
    with ExitStack() as stack:
        if way == "at_drive":
            stack.enter_context(mock.patch.object(driver_module, "SessionInputs", LateInputs))
        server = serve_driver(driver_module.Driver(planners, load_rig("sim")), port=0)
        stack.callback(server.stop)
        pipe.send(server.address)
        pipe.recv()
    pipe.send(planners.took_ms)


def pose_at(time_us: int) -> np.ndarray:
    """Return a vehicle on a circle at 8 m/s and 0.1 rad/s."""
    angle = 0.1 * (time_us - START_US) / 1e6
    c, s = np.cos(angle), np.sin(angle)
    return compose(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), [80.0 * s, 80.0 * (1 - c), 0.5])


def egomotion(first_us: int, last_us: int, step_us: int) -> Egomotion:
    stamps_us = np.arange(first_us, last_us + 1, step_us, dtype=np.int64)
    return Egomotion(stamps_us, np.stack([pose_at(stamp) for stamp in stamps_us.tolist()]))


def pictures(width: int, height: int) -> list[bytes]:
    """Return JPEGs with about as much in them as a street has: edges, textures, a little noise."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(PICTURES):
        image = cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), (width, height))
        for scale, weight in ((4, 0.25), (16, 0.25)):
            texture = rng.integers(0, 256, (height // scale, width // scale, 3), np.uint8)
            image = cv2.addWeighted(image, 1.0 - weight, cv2.resize(texture, (width, height)), weight, 0)
        encoded.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    return encoded


@dataclass(eq=False)
class Way:
    """One driver, and the session that it is told."""

    connection: Connection
    client: EgodriverClient
    uuid: str
    images: list[bytes]
    now_us: int = START_US + 1_600_000
    told_ms: list[float] = field(default_factory=list)
    drive_ms: dict[int, float] = field(default_factory=dict)
    wire_ms: list[float] = field(default_factory=list)

    def begin(self) -> None:
        self.client.start_session(DriveSession(self.uuid, 7, "benchmark", {}))
        self.client.submit_egomotion(self.uuid, egomotion(START_US, self.now_us - STEP_US, 10_000))

    def step(self, pool: ThreadPoolExecutor) -> None:
        """Tell all of a step at once, and ask."""
        now_us = self.now_us
        image = self.images[now_us // STEP_US % len(self.images)]
        along = np.arange(20)[:, None] * np.array([80.0 / 19.0, 0.0, 0.0])
        began_s = time.perf_counter()
        told = [
            pool.submit(
                self.client.submit_frame,
                self.uuid,
                CameraFrame(LOGICAL_IDS[camera_id], now_us - 30_000, now_us, image),
            )
            for camera_id in USUAL_CAMERA_IDS
        ]
        told.append(pool.submit(self.client.submit_egomotion, self.uuid, egomotion(now_us, now_us, STEP_US)))
        told.append(pool.submit(self.client.submit_route, self.uuid, Route(now_us, along)))
        for each in told:
            each.result()
        asked_s = time.perf_counter()
        request = egodriver_pb2.DriveRequest(
            session_uuid=self.uuid, time_now_us=now_us, time_query_us=now_us + STEP_US
        )
        answer = self.connection.call("drive", request)
        answered_s = time.perf_counter()
        self.connection.call("get_version", common_pb2.Empty())
        self.wire_ms.append((time.perf_counter() - answered_s) * 1e3)
        self.told_ms.append((asked_s - began_s) * 1e3)
        self.drive_ms[now_us] = (answered_s - asked_s) * 1e3
        self.answer_bytes, self.num_samples = answer.ByteSize(), len(answer.debug_info.sampled_trajectories)
        self.now_us += STEP_US


@contextmanager
def running(way: str, num_samples: int, images: list[bytes]) -> Iterator[tuple[Way, Pipe]]:
    """Start a driver in a process of its own, and a session of it."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(way, num_samples, there))
    process.start()
    try:
        with Connection(here.recv(), service=EGODRIVER) as connection:
            client = EgodriverClient(connection)
            told = Way(connection, client, way, images)
            told.begin()
            yield told, here
            client.close()
    finally:
        process.terminate()
        process.join()


def percentiles(values: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values, (50, 99))
    return {"best": round(min(values), 2), "p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=image_size, default=(1920, 1080), help="of a picture, WIDTHxHEIGHT")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--samples", type=int, default=6)
    args = parser.parse_args()
    images = pictures(*args.size)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(8))
        ways = {way: stack.enter_context(running(way, args.samples, images)) for way in WAYS}
        for first in range(0, WARM_UP_STEPS + args.steps, ROUND):
            for way in WAYS if first // ROUND % 2 else reversed(WAYS):
                for _ in range(ROUND):
                    ways[way][0].step(pool)
        for way in WAYS:
            told, pipe = ways[way]
            pipe.send("stop")
            took_ms = pipe.recv()
            counted = list(told.drive_ms)[WARM_UP_STEPS:]
            beyond_ms = [told.drive_ms[now_us] - took_ms[now_us] for now_us in counted]
            row = {
                "way": way,
                "beyond_ms": percentiles(beyond_ms),
                "told_ms": percentiles(told.told_ms[WARM_UP_STEPS:]),
                "wire_ms": percentiles(told.wire_ms[WARM_UP_STEPS:]),
                "plan_ms": percentiles([took_ms[now_us] for now_us in counted]),
                "steps": len(counted),
                "samples": told.num_samples,
                "answer_kB": round(told.answer_bytes / 1e3, 1),
                "jpeg_kB": round(np.mean([len(image) for image in images]) / 1e3),
                "cores": os.cpu_count(),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
