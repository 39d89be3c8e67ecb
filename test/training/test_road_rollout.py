"""Guided rollouts of stand-in policies: the expert with errors of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from road_factory import PlainPictures

from alpamayo_ros.sim.planners import ExpertPlanner
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.episode import Episode, FrameCodec
from alpamayo_ros.training.episode_file import DataSetError, write_episode
from alpamayo_ros.training.road_guidance import Guidance
from alpamayo_ros.training.road_rollout import GuidedSteerer, RolloutFigures, figures_of
from alpamayo_ros.training.shards import open_writer
from alpamayo_ros.training.simulate import EpisodeJob, PictureSettings, PlansOwnLabels, simulate_episode
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, PrepareFrame

SCENE = "straight-100"
PICTURES = PictureSettings(camera_ids=(1, 6), height=24, width=40, codec=FrameCodec("png"))
GUIDANCE = Guidance(num_samples=3, near_m=1.5, recovery_ticks=4)
TICKS = 16


class ErringExpert:
    """The expert, its samples drawn aside: each by the same drift, and by noise of its own."""

    def __init__(self, world: ProceduralWorld, *, drift_left_mps: float, samples: int, seed: int) -> None:
        self._expert = ExpertPlanner(world)
        self._drift_left_mps, self._samples = drift_left_mps, samples
        self._rng = np.random.default_rng(seed)
        self.shapes: list[tuple[int, ...]] = []

    def plan(self, observation: Observation) -> Plan:
        assert isinstance(observation.frames, np.ndarray)
        self.shapes.append(observation.frames.shape)
        plan = self._expert.plan(observation)
        rows = [plan.chosen] * self._samples
        drift_mps = self._drift_left_mps + self._rng.normal(0, 0.1, self._samples)
        xyz = plan.xyz_in_rig_t0[rows].copy()
        xyz[..., 1] += drift_mps[:, None] * 0.1 * np.arange(1, 65)
        arrays = ("rot_in_rig_t0", "accel_mps2", "curvature_per_m", "speed_mps", "normalised_action")
        texts = ("reasoning", "reasoning_complete", "meta_action", "token_ids", "sections")
        return replace(
            plan,
            xyz_in_rig_t0=xyz.astype(np.float32),
            **{name: getattr(plan, name)[rows] for name in arrays},
            **{name: tuple(getattr(plan, name)[row] for row in rows) for name in texts},
            chosen=0,
        )


@dataclass(frozen=True)
class ErringSource:
    drift_left_mps: float = 0.3
    samples: int = 3
    name: str = "erring"
    camera_ids: ClassVar[tuple[int, ...]] = (1, 6)

    def start(self, world: ProceduralWorld, *, seed: int) -> Planner:
        return ErringExpert(world, drift_left_mps=self.drift_left_mps, samples=self.samples, seed=seed)

    def prepare_frame(self) -> PrepareFrame | None:
        return None


def drive(
    source: ErringSource, *, guidance: Guidance = GUIDANCE, ticks: int = TICKS, seed: int = 0
) -> Episode:
    steerer = GuidedSteerer(source, guidance=guidance, iteration=2)
    job = EpisodeJob(SCENE, 0, steerer.kind)
    return simulate_episode(
        job, PICTURES, PlainPictures(), labeller=PlansOwnLabels(), steerer=steerer, seed=seed, ticks=ticks
    )


@pytest.fixture(scope="module")
def followed() -> Episode:
    """A policy that drifts, never so far from the expert that it would be stopped."""
    return drive(ErringSource())


def figures(episode: Episode, folder: Path) -> RolloutFigures:
    with open_writer(folder, {}) as writer:
        writer.add(write_episode(folder, episode))
    return figures_of(folder)


def left_of_start_m(episode: Episode) -> np.ndarray:
    """How far left of the line of its first pose the vehicle is at each sample."""
    poses = np.stack([moment.odom_from_rig_t0 for moment in episode.moments])
    first = poses[0]
    return np.asarray((poses[:, :3, 3] - first[:3, 3]) @ first[:3, 1])


def test_samples_are_of_the_states_that_the_policy_got_into(followed: Episode) -> None:
    """The vehicle is where the drift took it, and histories are the ones that were driven."""
    assert followed.head.episode_id == f"{SCENE}.road2.0" and len(followed) == TICKS
    assert left_of_start_m(followed)[-1] > 0.1
    for before, after in zip(followed.moments, followed.moments[1:], strict=False):
        moved = np.linalg.inv(after.odom_from_rig_t0) @ before.odom_from_rig_t0
        np.testing.assert_allclose(after.history_xyz_in_rig_t0[-2], moved[:3, 3], atol=1e-4)


def test_the_target_is_the_experts_way_from_there(followed: Episode) -> None:
    """Not the drifting sample that was driven: it begins at the vehicle and turns back."""
    last = followed.moments[-1]
    drifted = left_of_start_m(followed)[-1]
    heading = last.future_xyz_in_rig_t0[-1]
    assert np.linalg.norm(last.future_xyz_in_rig_t0[0]) < 3.0
    ends = last.odom_from_rig_t0 @ np.array([*heading, 1.0])
    first = followed.moments[0].odom_from_rig_t0
    assert abs((ends[:3] - first[:3, 3]) @ first[:3, 1]) < drifted


def test_samples_say_who_drove_on(followed: Episode, tmp_path: Path) -> None:
    assert {moment.tags["road"] for moment in followed.moments} == {"policy"}
    assert {moment.tags["iteration"] for moment in followed.moments} == {"2"}
    told = figures(followed, tmp_path / "set")
    assert (told.ticks, told.recovered, told.asked, told.undrivable) == (TICKS, 0, TICKS, 0)
    # Of three samples that drift by 0.3 m/s and noise of 0.1 the nearest drifts by less than 0.3, on average.
    assert told.mean_nearest_m is not None and 0.0 < told.mean_nearest_m < 0.3 * 1.05


def test_a_held_plan_is_driven_on(tmp_path: Path) -> None:
    """Asked every fourth tick; between, the vehicle goes on along the plan that it has."""
    episode = drive(ErringSource(), guidance=replace(GUIDANCE, held_ticks=4))
    assert {moment.tags["road"] for moment in episode.moments} == {"policy"}
    told = figures(episode, tmp_path / "set")
    assert (told.ticks, told.recovered, told.asked) == (TICKS, 0, TICKS // 4)
    assert left_of_start_m(episode)[-1] > 0.1


def test_the_policy_is_part_of_the_data_sets_settings_where_it_is_named() -> None:
    named = GuidedSteerer(ErringSource(), guidance=GUIDANCE, iteration=1, policy="sha256:1")
    assert "sha256:1" in repr(named) and "ErringSource" not in repr(named)


def test_where_none_is_near_the_expert_recovers_for_its_time(tmp_path: Path) -> None:
    """At 3 m/s aside no sample is within 1.5 m at 2 s: asked, then four ticks of the expert, and so on."""
    episode = drive(ErringSource(drift_left_mps=3.0))
    assert {moment.tags["road"] for moment in episode.moments} == {"recovered"}
    assert {moment.tags["recovery"] for moment in episode.moments} == {"recovering"}
    told = figures(episode, tmp_path / "set")
    assert (told.ticks, told.recovered, told.recovered_share) == (TICKS, TICKS, 1.0)
    assert told.asked == TICKS // GUIDANCE.recovery_ticks
    assert np.abs(left_of_start_m(episode)).max() < 0.1


def test_a_policy_that_gives_no_numbers_is_recovered_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ErringExpert.plan

    def broken(self: ErringExpert, observation: Observation) -> Plan:
        plan = real(self, observation)
        plan.xyz_in_rig_t0[:] = np.nan
        return plan

    monkeypatch.setattr(ErringExpert, "plan", broken)
    told = figures(drive(ErringSource(), ticks=4), tmp_path / "set")
    assert (told.recovered, told.asked, told.undrivable, told.mean_nearest_m) == (4, 1, 1, None)


def test_another_number_of_samples_is_refused() -> None:
    with pytest.raises(InvalidInput, match="policy: expected 3 samples, got 2"):
        drive(ErringSource(samples=2), ticks=2)


def test_the_same_job_gives_the_same_rollout_and_another_seed_another(followed: Episode) -> None:
    again, other = drive(ErringSource()), drive(ErringSource(), seed=1)
    for one, same in zip(followed.moments, again.moments, strict=True):
        np.testing.assert_array_equal(one.odom_from_rig_t0, same.odom_from_rig_t0)
        np.testing.assert_array_equal(one.future_xyz_in_rig_t0, same.future_xyz_in_rig_t0)
    assert not np.array_equal(followed.moments[-1].odom_from_rig_t0, other.moments[-1].odom_from_rig_t0)


def test_other_episodes_have_no_figures(followed: Episode, tmp_path: Path) -> None:
    head = replace(followed.head, notes={"disturbances": ""})
    with pytest.raises(DataSetError, match="expected a guided rollout"):
        figures(replace(followed, head=head), tmp_path / "set")
    with pytest.raises(InvalidInput, match="iteration: expected 1 or more, got 0"):
        GuidedSteerer(ErringSource(), guidance=GUIDANCE, iteration=0)
