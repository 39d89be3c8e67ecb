"""Which actors are seen and where: near the camera, behind it, below the ground, moved, and who brakes."""

from __future__ import annotations

import numpy as np
import pytest
from render_scenes import GOLDEN_LENSES, actor, box_pose, house, light, looking, plain_scene

from alpamayo_ros.sim.render.brake_lamps import RecordedBraking
from alpamayo_ros.sim.render.renderer import SceneRenderer
from alpamayo_ros.sim.render.view import UnknownActor
from alpamayo_ros.sim.scene import START_US, ActorSpec, Environment, Track

WIDE = GOLDEN_LENSES["wide"].scaled_to(576, 320)
HALF_CAR_M = 0.8


@pytest.fixture
def drawn(render_thread):
    """Make renderers of scenes, and free them."""
    made = []

    def make(*actors, **scene):
        made.append(SceneRenderer(plain_scene(*actors, **scene), render_thread))
        return made[-1]

    yield make
    for renderer in made:
        renderer.release()


def pixels(renderer, view, actor_id, **options):
    return int((renderer.render_ids(view, **options) == renderer.actor_ids.index(actor_id) + 1).sum())


def test_a_dynamic_object_takes_the_place_of_the_recorded_one(drawn):
    renderer = drawn(actor("car", x=20.0))
    recorded = renderer.render_ids(looking(WIDE)) == 1
    moved = renderer.render_ids(looking(WIDE, poses={"car": box_pose(12.0, 4.0, HALF_CAR_M)})) == 1
    assert recorded.any() and moved.any()
    assert not (recorded & moved).any()
    assert np.nonzero(moved)[1].mean() < np.nonzero(recorded)[1].mean()  # to the left
    assert moved.sum() > 2 * recorded.sum()  # and nearer


def test_a_recorded_actor_that_is_not_listed_moves_with_time(drawn):
    renderer = drawn(actor("car", x=15.0, speed=10.0))
    early, late = looking(WIDE), looking(WIDE, time_us=START_US + 1_000_000)
    assert pixels(renderer, late, "car") < 0.6 * pixels(renderer, early, "car")


def test_an_actor_far_below_the_ground_is_not_seen(drawn):
    renderer = drawn(actor("car", x=15.0), actor("other", x=15.0, y=4.0))
    hidden = looking(WIDE, poses={"car": box_pose(15.0, 0.0, HALF_CAR_M - 100.0)})
    assert pixels(renderer, hidden, "car") == 0
    assert pixels(renderer, hidden, "other") > 200
    without = drawn(actor("other", x=15.0, y=4.0)).render([looking(WIDE)])[0]
    assert (renderer.render([hidden])[0] == without).all()  # nor its shadow


def test_an_unknown_dynamic_object_is_refused_by_name(drawn):
    with pytest.raises(UnknownActor, match=r"track id of scene plain, got 'ghost'"):
        drawn().render([looking(WIDE, poses={"ghost": np.eye(4)})])


def test_what_is_behind_a_wide_camera_is_not_seen(drawn):
    renderer = drawn(actor("car", x=-12.0))
    assert pixels(renderer, looking(WIDE), "car") == 0
    assert pixels(renderer, looking(WIDE, yaw=np.pi), "car") > 200


@pytest.mark.parametrize("shapes", ["drawn", "box"])
@pytest.mark.parametrize("x", [0.7, -0.4, -1.5])
def test_a_truck_that_passes_beside_the_camera_covers_its_side_and_no_more(drawn, x, shapes):
    """Parts of it are before, beside and behind the camera; triangles reaching behind must not flip over."""
    renderer = drawn(actor("truck", "truck", x=x, y=2.2))
    ids = renderer.render_ids(looking(WIDE), shapes=shapes) == 1
    assert ids[:, :60].mean() > 0.5
    assert not ids[:, WIDE.width // 2 :].any()


def test_the_camera_inside_a_box_sees_out(drawn):
    """Back faces are left out, so a camera within an actor (as on a roof that is too low) is not blinded."""
    renderer = drawn(actor("car", x=0.0), actor("ahead", x=12.0))
    assert pixels(renderer, looking(WIDE, at=(0, 0, 0.8)), "ahead", shapes="box") > 200


def test_buildings_hide_what_is_behind_them(drawn):
    behind = actor("car", x=25.0, y=-24.0)
    assert pixels(drawn(behind), looking(WIDE, yaw=-0.7), "car") > 50
    assert pixels(drawn(behind, props=(house(x=16.0, y=-15.0),)), looking(WIDE, yaw=-0.7), "car") == 0


def test_a_lit_signal_is_seen_and_changes(drawn):
    """By day too: the lit lamp is brighter than the others by far, in its colour."""
    renderer = drawn(actor("car", x=60.0), lights=(light(),))
    on_green, on_red = (
        renderer.render([looking(WIDE, time_us=START_US + int(seconds * 1e6))])[0].astype(int)
        for seconds in (1.0, 8.0)
    )
    change = on_red - on_green
    redder, greener = np.argwhere(change[..., 0] > 100), np.argwhere(change[..., 1] < -100)
    assert len(redder) >= 4 and len(greener) >= 4
    assert redder[:, 0].mean() < greener[:, 0].mean() - 3  # red is at the top
    assert (on_red[tuple(redder.T)][:, 0] > 120).all()


# --------------------------------------------------------------------------------------------- brake lamps


def braking_car(*, stops_at_s=4.0):
    """A car that drives 10 m/s for 2 s, brakes until `stops_at_s`, and stands."""
    seconds = np.arange(0.0, 8.01, 0.1)
    rate = 10.0 / (stops_at_s - 2.0)
    speed = np.clip(10.0 - rate * (seconds - 2.0), 0.0, 10.0)
    x = 20.0 + np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.1)])
    poses = np.array([box_pose(at, 0.0, HALF_CAR_M) for at in x])
    stamps = START_US + np.round(seconds * 1e6).astype(np.int64)
    return ActorSpec("lead", "car", (4.5, 1.9, 1.6), Track(stamps, poses), False, 1)


def at(spec, seconds):
    index = round(seconds * 10)
    return START_US + index * 100_000, spec.track.local_from_box[index, :3, 3]


@pytest.mark.parametrize(("seconds", "on"), [(0.5, False), (1.5, False), (3.0, True), (6.0, True)])
def test_brake_lamps_are_on_while_the_recording_brakes_and_stands(seconds, on):
    spec = braking_car()
    assert RecordedBraking(spec).lamps_on(*at(spec, seconds), standing=False) is on


def test_brake_lamps_of_who_has_left_its_recorded_track_say_only_that_it_stands():
    spec = braking_car()
    time_us, xyz = at(spec, 3.0)
    elsewhere = xyz + np.array([3.0, 0.0, 0.0])
    assert not RecordedBraking(spec).lamps_on(time_us, elsewhere, standing=False)
    assert RecordedBraking(spec).lamps_on(time_us, elsewhere, standing=True)


def test_who_is_parked_or_walks_has_no_brake_lamps():
    for spec in (actor("parked", static=True), actor("walker", "pedestrian")):
        assert not RecordedBraking(spec).lamps_on(START_US, np.zeros(3), standing=True)


@pytest.mark.parametrize(
    "environment", [Environment(), Environment(name="dusk", lamps_lit=True, ambient=0.2)]
)
def test_brake_lamps_are_seen(drawn, environment):
    spec = braking_car()
    renderer = drawn(spec, environment=environment)

    def redness(seconds):
        time_us, xyz = at(spec, seconds)
        view = looking(WIDE, at=(float(xyz[0]) - 12.0, 0.0, 1.5), time_us=time_us)
        image = renderer.render([view])[0].astype(int)
        return int(((image[..., 0] > 200) & (image[..., 1:].max(axis=2) < 120)).sum())

    assert redness(3.0) > redness(1.0) + 20
