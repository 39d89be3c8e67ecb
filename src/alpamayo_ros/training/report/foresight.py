"""What the plans before a collision made of what was hit: was it not seen, or seen and passed too closely.

Two things tell. A plan either leads into the road user, where that was to be, or past it. And its reason
names something, or says that the way is free.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from alpamayo_ros.evaluation.component import component_of_text
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.sim.scoring.inputs import from_record
from alpamayo_ros.sim.scoring.plans import MovingActor
from alpamayo_ros.sim.scoring.shapes import box_shape

WINDOW_S = 4.0
_NOTHING = "nothing"


@dataclass(frozen=True)
class Foresight:
    """The planner's plans of the last WINDOW_S before a collision.

    Attributes:
        plans: how many there were.
        led_into: how many of them met the road user that was hit, where it was in the rollout.
        named: how many named which critical component, the most frequent first; "nothing" if none.
    """

    plans: int
    led_into: int
    named: dict[str, int]

    def words(self) -> str:
        """Return it for people."""
        named = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.named.items())
        return f"{self.led_into} of {self.plans} plans led into it; named: {named}"

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        return {"plans": self.plans, "led_into": self.led_into, "named": self.named}


def foresight(record: RolloutRecord, score: RolloutScore) -> Foresight | None:
    """Return what led to a rollout's collision; None without one, without plans or without who was hit."""
    if score.collision_with is None or score.event_time_s is None:
        return None
    rollout = from_record(record)
    hit = next((each for each in rollout.actors or () if each.actor_id == score.collision_with), None)
    end_us = record.scene.start_us + round(score.event_time_s * 1e6)
    begin_us = end_us - round(WINDOW_S * 1e6)
    reasons = {drive.time_us: drive.reasoning for drive in record.drives}
    plans = [each for each in rollout.drives if each.from_planner and begin_us <= each.time_us < end_us]
    if hit is None or not plans:
        return None
    moving = MovingActor(rollout, hit, box_shape(hit.length_m, hit.width_m))
    ego = box_shape(*rollout.ego_size_m)
    led_into, named = 0, Counter[str]()
    for plan in plans:
        ahead = plan.stamps_us > plan.time_us
        boxes = rollout.box_poses(plan.rig_poses[ahead])
        led_into += bool(ahead.any() and moving.meets(ego, boxes, plan.stamps_us[ahead]))
        component = component_of_text(reasons[plan.time_us])
        named[_NOTHING if component is None else component.value] += 1
    return Foresight(len(plans), led_into, dict(named.most_common()))
