"""Scores of rollouts: AlpaSim's by its rules and under its names, and our own beside them.

`score_rollout(record)` scores one rollout, `aggregate(scores)` a run; `score_input` scores a rollout that is
given as arrays (from a log). `events.StepChecker` judges single steps while a rollout runs.

Beside AlpaSim's metrics a `RolloutScore` has, from the handover to the first event or the rollout's end:

- strict_collision, strict_collision_at_fault: AlpaSim's collisions, also after leaving the recorded drive;
- strict_offroad: the ego's shape leaves the drivable area (`lanes.LaneMap.strictly_off_road`);
- red_light_runs, stop_sign_runs: stop lines crossed on red, or without a stop;
- accel_lon, accel_lat, jerk, yaw_rate `_over_limit_share`, uncomfortable_share: shares of steps over the
  limits of `driving`, and over any of them;
- ttc_under_1s_share: steps with a collision less than 1 s away at constant velocity;
- mean_speed_mps, reference_mean_speed_mps, speed_rel_to_reference, window_s.
"""

from alpamayo_ros.sim.scoring.aggregate import aggregate
from alpamayo_ros.sim.scoring.inputs import ActorInput, DriveInput, ScoreInput, from_record
from alpamayo_ros.sim.scoring.score import METRICS, RolloutScore, score_input, score_rollout

__all__ = [
    "METRICS",
    "ActorInput",
    "DriveInput",
    "RolloutScore",
    "ScoreInput",
    "aggregate",
    "from_record",
    "score_input",
    "score_rollout",
]
