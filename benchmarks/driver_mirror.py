"""Measure what it costs an answer of the driver for AlpaSim that somebody looks at all of its session in ROS.

    python benchmarks/driver_mirror.py [--steps 150] [--rounds 2]

`alpamayo alpasim-driver --planner constant` is told, over gRPC, four 1080p JPEGs a step, a pose and a route.
Ways take turns: nobody subscribes to anything of it, or a node to every topic of `watched/`, images and
CameraInfo of all cameras too. `overhead` is the driver's own, of /diagnostics: an answer without the planner.
Prints JSON, a line a way and round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import rclpy

from alpamayo_ros.ros.executors import new_executor
from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient

TEST = Path(__file__).resolve().parents[1] / "test"
sys.path[:0] = [str(TEST), str(TEST / "nodes")]

PORT = 7050
NAMESPACE = "mirror_benchmark"
START_TIMEOUT_S = 60.0
LAST_REPORT_S = 2.5
KEYS = ("overhead_p50_ms", "overhead_p99_ms", "mirror_dropped/image", "mirror_failures")


def picture() -> bytes:
    """Return an encoded 1080p image of smooth noise, about the size of a camera's."""
    noise = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (9, 9), 0))[1].tobytes())


@contextmanager
def driver() -> Iterator[EgodriverClient]:
    """Run a driver in a process of its own, and connect to it."""
    command = [sys.executable, "-m", "alpamayo_ros.cli.main", "alpasim-driver", "--planner", "constant"]
    command += ["--port", str(PORT), "--namespace", NAMESPACE]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Connection(f"127.0.0.1:{PORT}", service=EGODRIVER) as connection:
            client = EgodriverClient(connection)
            _await(client)
            yield client
            client.close()
    finally:
        process.terminate()
        process.wait()


def _await(client: EgodriverClient) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            client.version()
            return
        except ServiceError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)


def measure(prefixes: tuple[str, ...], *, steps: int, jpeg: bytes) -> dict[str, object]:
    """Drive one session while a node subscribes to all topics under `prefixes`."""
    from alpasim_harness import Caller, Looker

    looker = Looker(*prefixes, namespace=f"/{NAMESPACE}")
    executor = new_executor()
    executor.add_node(looker)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        with driver() as client:
            time.sleep(2.0)  # until publishers and subscriptions have found one another
            caller = Caller(client)
            caller.jpeg = jpeg
            caller.steps(steps)
            time.sleep(LAST_REPORT_S)
            status = looker.status("driver")
            caller.close()
    finally:
        stop.set()
        thread.join()
    images = sum(len(got) for topic, got in looker.received.items() if topic.endswith("compressed"))
    looker.destroy_node()
    values = {key: float(status.get(key, 0)) for key in KEYS}
    return {"looked_at": bool(prefixes), "steps": steps, "images_seen": images, **values}


def main() -> None:
    """Measure both ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", "77")
    rclpy.init()
    jpeg = picture()
    for _ in range(arguments.rounds):
        for prefixes in ((), ("watched",)):
            print(json.dumps(measure(prefixes, steps=arguments.steps, jpeg=jpeg)), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
