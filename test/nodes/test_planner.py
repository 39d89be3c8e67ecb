"""The planner node over real topics with a scripted planner: plans, refusals, time, questions."""

from __future__ import annotations

import numpy as np
from planner_harness import ScriptedPlanner, active, wait_for


def test_plans_come_out(tmp_path):
    planner = ScriptedPlanner()
    with active(tmp_path, planner) as (world, _):
        world.drive(lambda: len(world.plans) >= 3, what="three plans")
        wait_for(lambda: world.received["path"], "a path")
        plan = world.plans[0]
        observation = planner.observations[0]
        assert plan.header.stamp.sec * 10**9 + plan.header.stamp.nanosec == observation.t0_ns
        assert plan.status == plan.STATUS_UNCHECKED
        assert np.all(observation.frames_of(1)[:, 1] == 255)
