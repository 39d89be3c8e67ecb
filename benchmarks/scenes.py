"""Measure the procedural scenes of a range of seeds: soundness, lengths, and how long one takes to make.

    python benchmarks/scenes.py [--first 0] [--count 200]

For each seed alone (families in turn) the scene is made, its world is run beside an ego on the reference, and
the reference is checked by the shapes of the scores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from alpamayo_ros.sim.scene import scene_id_of
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.scoring.events import StepChecker
from alpamayo_ros.sim.world import ProceduralWorld, reference_state


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the procedural scenes of a range of seeds.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    make_s, step_s, lengths, drawn, off_track = [], [], [], [], 0.0
    incidents: list[str] = []
    for seed in range(arguments.first, arguments.first + arguments.count):
        begin = time.perf_counter()
        scene = make_scene(scene_id_of(seed))
        make_s.append(time.perf_counter() - begin)
        stamps = scene.reference.stamps_us
        world, checker = ProceduralWorld(scene), StepChecker(scene)
        states = [reference_state(scene, int(stamp)) for stamp in stamps]
        for index, ego in enumerate(states[:-1]):
            begin = time.perf_counter()
            world.step(ego, int(stamps[index + 1]))
            step_s.append(time.perf_counter() - begin)
            after = states[index + 1]
            if checker.collision(after, world.actors) or checker.off_road(after):
                incidents.append(f"{scene.scene_id} at step {index + 1}")
            for actor in world.actors:
                if not actor.is_static:
                    there = scene.actors[actor.actor_id].track.local_from_box[index + 1]
                    off_track = max(off_track, float(np.abs(there - actor.local_from_box).max()))
        xy = scene.reference.local_from_rig[:, :2, 3]
        lengths.append(float(np.linalg.norm(np.diff(xy, axis=0), axis=1).sum()))
        drawn.append(len(scene.props) + len(scene.actors))
    print(f"scenes                      {len(lengths)}")
    print(f"with an incident            {len(incidents)} {' '.join(incidents)}")
    print(f"references under 20 m       {sum(length < 20 for length in lengths)}")
    print(f"reference length            {np.median(lengths):.0f} m median, {min(lengths):.0f} m least")
    print(f"actors off their tracks by  {off_track:.1e} m at most")
    print(f"things to draw              {np.median(drawn):.0f} median, {min(drawn)} ... {max(drawn)}")
    print(f"making a scene              {np.median(make_s):.2f} s median, {max(make_s):.2f} s at most")
    print(f"a step of the world         {1e3 * np.median(step_s):.2f} ms median")


if __name__ == "__main__":
    main()
