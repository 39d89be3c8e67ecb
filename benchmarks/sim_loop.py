"""Measure the closed loop on ROS topics, and where its time goes; prints JSON.

    python benchmarks/sim_loop.py [--scenarios cut_in-8,junction_4way-5] [--size 576x320] [--planner expert]

Processes as `sim.launch.py planner:=expert` starts them: the bridge, with the planner node that it hosts, and
the embedded renderer, four f-theta cameras, JPEG 95 onto topics and from topics into the planner, in
lock-step. Beside it, as the baseline, the same rollouts without ROS and without images. Figures are of what
comes after warm-up; `factor` is simulated time over wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from alpamayo_ros.cli.bag import image_size
from alpamayo_ros.ros.runner import ros_arguments
from alpamayo_ros.sim.planner_sources import SOURCES
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout
from alpamayo_ros.sim.scenarios import parse_scenarios
from alpamayo_ros.sim.scene import STEP_US

DOMAIN_ID = "43"


def on_topics(scenarios: str, planner: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return scores.json of rollouts on topics."""
    with tempfile.TemporaryDirectory() as folder:
        parameters: dict[str, Any] = {"scenarios": scenarios, "planner": planner, "out": folder}
        parameters |= {"image_width": size[0], "image_height": size[1]}
        command = [sys.executable, "-m", "alpamayo_ros.nodes.sim_bridge"]
        command += ros_arguments(namespace="alpamayo", parameters=parameters, log_level="warn")
        environment = {**os.environ, "ROS_DOMAIN_ID": DOMAIN_ID, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        subprocess.run(command, check=True, env=environment)
        content: dict[str, Any] = json.loads((Path(folder) / "scores.json").read_text(encoding="utf-8"))
        return content


def headless(scene_id: str, planner: str) -> dict[str, float]:
    """Return the same rollout's figures without ROS and without images."""
    began_s = time.perf_counter()
    record = drive_rollout(Job(scene_id), SOURCES[planner])
    wall_s = time.perf_counter() - began_s
    plans_ms = [drive.latency_ms for drive in record.drives if drive.source == "plan"]
    return {
        "factor": round(len(record.drives) * STEP_US / 1e6 / wall_s, 2),
        "ms_a_step": round(1e3 * wall_s / len(record.drives), 2),
        "plan_ms": round(statistics.fmean(plans_ms), 2),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--scenarios", default="cut_in-8,junction_4way-5,curve-1,straight-0", metavar="SCENARIOS"
    )
    parser.add_argument("--planner", choices=("expert", "constant"), default="expert")
    parser.add_argument("--size", type=image_size, default=(576, 320), metavar="WxH")
    arguments = parser.parse_args()
    scores = on_topics(arguments.scenarios, arguments.planner, arguments.size)
    by_name = {f"{score['scene_id']}#{score['rollout_index']}": score for score in scores["rollouts"]}
    result: dict[str, Any] = {}
    for scene_id in parse_scenarios(arguments.scenarios):
        timing, score = scores["timing"]["rollouts"][f"{scene_id}#0"], by_name[f"{scene_id}#0"]
        alone = headless(scene_id, arguments.planner)
        result[scene_id] = {
            "end_reason": score["end_reason"],
            "scene_score": score["scene_score"],
            "steps": timing["steps"],
            "factor": timing["realtime_factor"],
            "ms_a_step": {**timing["ms_a_step"], "all": round(100.0 / timing["realtime_factor"], 2)},
            "without_ros_and_images": alone,
            "factor_rel_to_without": round(timing["realtime_factor"] / alone["factor"], 3),
        }
    result["mean_factor"] = round(statistics.fmean(each["factor"] for each in result.values()), 3)
    result["cores"] = len(os.sched_getaffinity(0))
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
