"""A rollout's pictures: drawn again from its record, with the plan where the road is."""

from __future__ import annotations

import numpy as np
import pytest
from rollout_factory import FlatPictures, example_scene, record_of

from alpamayo_ros.sim.report.drawn_pictures import DrawnPictures
from alpamayo_ros.sim.report.moments import choose_moments, events
from alpamayo_ros.sim.report.pictures import painted_pictures, strip
from alpamayo_ros.sim.report.scene_moments import telling_step
from alpamayo_ros.sim.report.style import PLAN, WARN
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.viz.colours import rgb


def share_painted(image: np.ndarray, before: np.ndarray, colour: str) -> np.ndarray:
    """Return which pixels moved towards a colour, bool [H, W]."""
    moved = image.astype(int) - before
    towards = np.array(rgb(colour)) - before
    return (np.abs(moved).max(axis=2) > 20) & ((moved * towards).sum(axis=2) > 0)


@pytest.mark.parametrize(("stop_from", "colour"), [(None, PLAN), (20, WARN)])
def test_the_plan_lies_on_the_road_ahead(stop_from: int | None, colour: str) -> None:
    record = record_of(example_scene(), steps=60, stop_from=stop_from)
    flat = FlatPictures()
    before = flat.render(record, 40, camera_ids=(0, 1), width=480, height=270)
    images = painted_pictures(flat, record, 40, camera_ids=(0, 1), width=480, height=270)
    painted = share_painted(images[1], before[1], colour)
    rows, columns = np.nonzero(painted)
    assert painted.mean() > 0.05
    assert rows.min() > 130  # below the horizon
    assert columns.mean() == pytest.approx(240, abs=12)  # the plan leads straight on
    assert painted[269, 200:280].any()  # up to the vehicle
    assert np.array_equal(before[1], flat.render(record, 40, camera_ids=(1,), width=480, height=270)[1])


def test_drawn_pictures_show_what_the_record_holds() -> None:
    scene = make_scene("lead_braking-9")
    record = record_of(scene, steps=40)
    with DrawnPictures() as drawn:
        near = drawn.render(record, 30, camera_ids=(1,), width=240, height=135)[1]
        lead = record.actors["lead"]
        gone = np.zeros(40, bool)
        gone[0] = True
        object.__setattr__(lead, "present", gone)
        without = drawn.render(record, 30, camera_ids=(1,), width=240, height=135)[1]
        assert drawn.render(record, 30, camera_ids=(0, 2), width=240, height=135).keys() == {0, 2}
    assert near.shape == (135, 240, 3)
    changed = np.abs(near.astype(int) - without).max(axis=2) > 30
    rows, columns = np.nonzero(changed)
    assert 4 < changed.sum() < 0.1 * changed.size
    assert columns.mean() == pytest.approx(120, abs=25)
    assert rows.mean() == pytest.approx(70, abs=20)


def test_pictures_stand_side_by_side() -> None:
    image = np.full((20, 30, 3), 7, np.uint8)
    assert strip([image, image, image]).shape == (20, 30 * 3 + 2 * 6, 3)


def test_what_happened_is_told_in_order_and_the_end_is_shown() -> None:
    record = record_of(example_scene(), steps=100, stop_from=70, end_reason="collision")
    told = events(record)
    assert [moment.step for moment in told] == sorted(moment.step for moment in told)
    assert [moment.text for moment in told if "takes over" in moment.text]
    assert told[-1].step == 99
    assert told[-1].text == "collision"
    shown = choose_moments(record, 4)
    assert len(shown) == 4
    assert {17, 70, 99} <= {moment.step for moment in shown}
    assert min(np.diff([moment.step for moment in shown])) >= 10


def test_the_shortest_rollout_has_a_moment() -> None:
    assert [moment.step for moment in choose_moments(record_of(example_scene(), steps=1), 4)] == [0]


@pytest.mark.parametrize(
    ("scene_id", "actor", "ahead_m", "beside_m"),
    [
        ("cones-6", "cone", (5, 14), 6),
        ("cyclist-12", "cyclist", (5, 14), 4),
        ("pedestrian-11", "crossing", (4, 20), 4),
        ("queue-10", "queue", (5, 20), 3),
    ],
)
def test_a_family_is_shown_when_what_it_is_named_after_is_near(
    scene_id: str, actor: str, ahead_m: tuple[float, float], beside_m: float
) -> None:
    record = record_of(make_scene(scene_id))
    step = telling_step(record)
    ego = record.ego[step].local_from_rig
    near = []
    for track in record.actors.values():
        if track.actor_id.startswith(actor):
            x, y, _ = ego[:3, :3].T @ (track.local_from_box[step, :3, 3] - ego[:3, 3])
            near.append(ahead_m[0] <= x <= ahead_m[1] and abs(y) <= beside_m)
    assert any(near)
