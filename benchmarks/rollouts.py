"""Measure headless rollouts: what a plan of the expert and a whole rollout cost, against constant velocity.

    python benchmarks/rollouts.py [--scenes 20]

One scene a family (seeds 0, 1, ...), driven by the expert and by constant velocity in turn, in one process
without pictures. Times are of the CPU, of one thread, so that a busy machine disturbs them little; the wall
time of a plan is printed beside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from alpamayo_ros.sim.asl_log import write_asl
from alpamayo_ros.sim.planner_sources import SOURCES
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.rollout_driver import Job, PlannerSource, drive_rollout
from alpamayo_ros.sim.scene import scene_id_of
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring import score_rollout
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import Observation, Plan, Planner, PrepareFrame


class _Timed:
    """A planner, and the CPU time of each of its plans in ms."""

    def __init__(self, planner: Planner, cpu_ms: list[float]) -> None:
        self._planner, self._cpu_ms = planner, cpu_ms

    def plan(self, observation: Observation) -> Plan:
        begin = time.process_time()
        plan = self._planner.plan(observation)
        self._cpu_ms.append((time.process_time() - begin) * 1e3)
        return plan


class _TimedSource:
    """Makes timed planners."""

    camera_ids: tuple[int, ...] = ()

    def __init__(self, source: PlannerSource) -> None:
        self._source = source
        self.name = source.name
        self.cpu_ms: list[float] = []

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        return _Timed(self._source.start(world, seed=seed), self.cpu_ms)

    def prepare_frame(self) -> PrepareFrame | None:
        return None


def _drive(source: _TimedSource, scene_id: str, folder: Path) -> tuple[RolloutRecord, list[float]]:
    """Return a rollout, and the CPU seconds of driving, scoring and logging it."""
    spent, begin = [], time.process_time()
    record = drive_rollout(Job(scene_id), source)
    for work in (lambda: None, lambda: score_rollout(record), lambda: write_asl(folder / "r.asl", record)):
        work()
        spent.append(time.process_time() - begin)
        begin = time.process_time()
    return record, spent


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure headless rollouts.")
    parser.add_argument("--scenes", type=int, default=20)
    scenes = [scene_id_of(seed) for seed in range(parser.parse_args().scenes)]
    make_s = []
    for scene_id in scenes:
        begin = time.process_time()
        make_scene(scene_id)
        make_s.append(time.process_time() - begin)
    print(f"{len(scenes)} scenes; making one {1e3 * np.mean(make_s):.0f} ms")
    a_second: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("constant", "expert"):
            source = _TimedSource(SOURCES[name])
            driven = [_drive(source, scene_id, Path(folder)) for scene_id in scenes]
            simulated_s = sum(len(record.drives) for record, _ in driven) / 10
            drive_s, score_s, log_s = np.sum([spent for _, spent in driven], axis=0)
            wall_ms = [d.latency_ms for record, _ in driven for d in record.drives if d.source == "plan"]
            a_second[name] = (drive_s + score_s + log_s) / simulated_s
            print(
                f"{name:<9} a plan: CPU {np.mean(source.cpu_ms):.2f} ms, 95 % under "
                f"{np.percentile(source.cpu_ms, 95):.2f}; wall {np.mean(wall_ms):.2f} ms\n"
                f"{'':<9} {simulated_s:.0f} s driven: CPU {drive_s:.1f} s of driving, {score_s:.1f} s of "
                f"scoring, {log_s:.1f} s of logging; {1 / a_second[name]:.1f} times real time on one core"
            )
    print(f"expert / constant, a second of driving: {a_second['expert'] / a_second['constant']:.2f}")


if __name__ == "__main__":
    main()
