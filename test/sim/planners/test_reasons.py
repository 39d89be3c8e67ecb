"""What the expert says of what it does."""

from __future__ import annotations

import pytest

from alpamayo_ros.sim.planners.reasons import Cause, sentence


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause("free", speed_mps=9.0), "Keep lane and speed since the lane ahead is clear."),
        (Cause("free", speed_mps=0.1, speed_change_mps=3.0), "Start moving since the lane ahead is clear."),
        (Cause("free", turn=1), "Turn left at the junction since the path is clear."),
        (Cause("light", "red", stops=True), "Stop for the red traffic light ahead."),
        (
            Cause("light", "green", speed_change_mps=-1.0),
            "Slow down for the traffic light ahead since it is about to turn red.",
        ),
        (Cause("sign", stops=True, stands=True), "Remain stopped for the stop sign ahead."),
        (
            Cause("crossing", "pedestrian", speed_change_mps=-3.0),
            "Slow down to yield to the pedestrian crossing the road.",
        ),
        (
            Cause("leader", "car", stops=True),
            "Stop behind the lead vehicle since it is stopped ahead in our lane.",
        ),
        (
            Cause("leader", "car", speed_change_mps=-2.0),
            "Slow down to keep a safe distance to the lead vehicle ahead in our lane.",
        ),
        (
            Cause("bend", speed_change_mps=-2.0, bend_side=-1),
            "Slow down for the right curve ahead.",
        ),
        (
            Cause("free", nudge_side=1, nudge_kind="cone"),
            "Nudge to the left to increase clearance from the construction cones encroaching into the lane.",
        ),
        (
            Cause("oncoming", "van", stops=True, turn=1),
            "Stop to yield to the oncoming van before turning left at the junction.",
        ),
    ],
)
def test_sentences(cause: Cause, expected: str) -> None:
    assert sentence(cause) == expected
