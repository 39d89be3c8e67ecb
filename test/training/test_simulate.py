"""An episode of the simulator: real histories, the expert's continuation, the pictures of their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest

from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.sim.planners.route_frame import RouteFrame
from alpamayo_ros.sim.protocol.sensorsim import AvailableCamera
from alpamayo_ros.sim.scene import FORCE_GT_US, STEP_US
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.training.episode import Episode, FrameCodec, Moment
from alpamayo_ros.training.labels.automatic import AutomaticLabels
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.simulate import (
    EpisodeJob,
    PictureSettings,
    PlansOwnLabels,
    resize_frame,
    simulate_episode,
)
from alpamayo_ros.types import InvalidInput

SCENE = "straight-100"
TICKS = 12


class TimedPictures:
    """Plain pictures whose grey tells which step of the rollout they were taken at."""

    def __init__(self) -> None:
        self.start_us = make_scene(SCENE).start_us

    @property
    def available(self) -> Mapping[str, AvailableCamera]:
        return {}

    def render(
        self, ego: EgoState, actors: Sequence[ActorState], *, camera_ids: Sequence[int]
    ) -> Mapping[int, bytes]:
        step = (ego.time_us - self.start_us) // STEP_US
        return {i: FrameCodec("png").encode(np.full((3, 32, 48), step + 2 * i, np.uint8)) for i in camera_ids}


def make(variant: int = 0, *, ticks: int = TICKS) -> Episode:
    settings = PictureSettings(camera_ids=(1, 6), height=32, width=48, codec=FrameCodec("png"))
    job = EpisodeJob(SCENE, variant)
    return simulate_episode(job, settings, TimedPictures(), labeller=PlansOwnLabels(), ticks=ticks)


@pytest.fixture(scope="module")
def undisturbed() -> Episode:
    return make()


def test_each_tick_is_a_sample_from_the_handover_on(undisturbed: Episode) -> None:
    assert [moment.tick for moment in undisturbed.moments] == list(range(TICKS))
    start_us = make_scene(SCENE).start_us
    assert undisturbed.moments[0].t0_ns == (start_us + FORCE_GT_US) * 1000
    head = undisturbed.head
    assert (head.episode_id, head.family, head.seed, head.split) == (f"{SCENE}.0", "straight", 100, "train")


def test_a_sample_shows_the_four_newest_pictures(undisturbed: Episode) -> None:
    handover = FORCE_GT_US // STEP_US
    for index in (0, TICKS - 1):
        grey = undisturbed.sample(index).observation.frames[:, :, 0, 0, 0].astype(int)
        steps = handover + index + np.arange(-3, 1)
        np.testing.assert_array_equal(grey, [steps + 2, steps + 12])


def test_the_future_begins_where_the_vehicle_is_and_at_its_speed(undisturbed: Episode) -> None:
    for moment in undisturbed.moments:
        past, future = moment.history_xyz_in_rig_t0, moment.future_xyz_in_rig_t0
        np.testing.assert_allclose(future[0], past[-1] - past[-2], atol=0.05)


def test_an_undisturbed_vehicle_goes_where_its_samples_said(undisturbed: Episode) -> None:
    first, last = undisturbed.moments[0], undisturbed.moments[-1]
    promised = first.odom_from_rig_t0 @ np.array([*first.future_xyz_in_rig_t0[TICKS - 2], 1.0])
    np.testing.assert_allclose(last.odom_from_rig_t0[:3, 3], promised[:3], atol=0.3)


def test_samples_carry_the_experts_reason_and_are_tagged(undisturbed: Episode) -> None:
    sample = undisturbed.sample(0)
    assert sample.source is ReasoningSource.AUTOMATIC and sample.reasoning.endswith(".")
    assert (sample.tags["family"], sample.tags["recovery"]) == ("straight", "none")


def test_automatic_labels_name_component_and_meta_action() -> None:
    settings = PictureSettings(camera_ids=(1,), height=32, width=48)
    made = simulate_episode(
        EpisodeJob(SCENE), settings, TimedPictures(), labeller=AutomaticLabels(), seed=1, ticks=3
    )
    for moment in made.moments:
        assert moment.reasoning and moment.meta_action and moment.tags["component"]


def test_wording_differs_from_episode_to_episode_and_is_repeated() -> None:
    seeds = [EpisodeJob(SCENE, variant).wording_seed(seed) for variant in (0, 1) for seed in (0, 1)]
    assert len(set(seeds)) == 4 and seeds[0] == EpisodeJob(SCENE, 0).wording_seed(0)


def test_the_same_job_gives_the_same_episode(undisturbed: Episode) -> None:
    again = make()
    assert again.frames == undisturbed.frames
    for one, other in zip(again.moments, undisturbed.moments, strict=True):
        np.testing.assert_array_equal(one.future_xyz_in_rig_t0, other.future_xyz_in_rig_t0)
        assert (one.reasoning, one.tags) == (other.reasoning, other.tags)


@pytest.mark.long
def test_a_disturbed_vehicle_is_driven_off_and_its_samples_lead_back() -> None:
    """On a straight road: off the line as far as a lane allows, the histories real, the plans lead back."""
    made = make(2, ticks=200)
    route = RouteFrame(make_scene(SCENE))

    def off_m(moment: Moment, index: int | None = None) -> float:
        """How far left of the route it is, or will be at a waypoint."""
        pose = np.array(moment.odom_from_rig_t0)
        if index is not None:
            pose[:3, 3] += pose[:3, :3] @ moment.future_xyz_in_rig_t0[index]
            pose[:3, :3] = pose[:3, :3] @ moment.future_rot_in_rig_t0[index]
        return route.project_near(pose[:2, 3], float(np.arctan2(pose[1, 0], pose[0, 0])))[1]

    off = np.array([off_m(moment) for moment in made.moments])
    assert 0.3 < np.abs(off).max() < 1.8
    worst = made.moments[int(np.abs(off).argmax())]
    assert worst.tags["recovery"] in ("disturbed", "recovering")
    assert abs(off_m(worst, -1)) < 0.25
    for before, after in pairwise(made.moments):
        steps = np.diff(after.history_xyz_in_rig_t0[:, :2].astype(np.float64), axis=0)
        speeds = np.linalg.norm(steps, axis=1) / 0.1
        assert np.abs(np.diff(speeds)).max() < 1.0  # m/s in 0.1 s: no vehicle jumps
        moved = np.linalg.norm(after.odom_from_rig_t0[:2, 3] - before.odom_from_rig_t0[:2, 3])
        assert moved == pytest.approx(np.linalg.norm(after.history_xyz_in_rig_t0[-2, :2]), abs=1e-3)


def test_frames_are_resized_as_the_model_does_it() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 90, 160), np.uint8)
    got = resize_frame(frame, height=32, width=64)
    np.testing.assert_array_equal(got, ImagePreparer._resized(frame[None], (32, 64))[0])
    assert resize_frame(frame, height=90, width=160) is frame


def test_what_is_no_job_or_size_is_refused() -> None:
    with pytest.raises(InvalidInput, match="variant: expected 0 or more"):
        EpisodeJob(SCENE, -1)
    with pytest.raises(InvalidInput, match="scene: expected a family"):
        EpisodeJob("moon-1")
    with pytest.raises(InvalidInput, match=r"height: expected 1 \.\.\. 4096 pixels, got 0"):
        PictureSettings(height=0)
