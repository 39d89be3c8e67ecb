"""Whether the instruction is obeyed: the way of plans through junctions, as told and told otherwise.

Looked at are samples of simulated drives with "left", "right" or "straight" in their navigation text, the
vehicle still before the junction, and an expert's plan that gets far enough into it to show its way, which
is the one that was told. So every one of them can be followed within the plan's 6.4 s, and who goes on
straight at the present speed follows but the straight ones. What "the way" is, junctions.py defines.

The same pictures are then shown with the texts of the other ways that the same lane leads to. A plan that
goes where it is told now has read the text; one that goes where it went before has learned the road, or
sees what stands in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.sim.roads import Float64Array, Turn
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.training.dataset import EpisodeSamples
from alpamayo_ros.training.episode import Moment
from alpamayo_ros.training.episode_file import EpisodeFile
from alpamayo_ros.training.report.draw import draw_rows, episode_starts
from alpamayo_ros.training.report.junctions import (
    TURNS,
    RouteJunction,
    Taken,
    junctions_of,
    way_taken,
)
from alpamayo_ros.training.sample import SampleSource
from alpamayo_ros.types import Float32Array, Observation, Plan, Planner


@dataclass(frozen=True, eq=False)
class JunctionSample:
    """A sample that shows whether the instruction is obeyed.

    Attributes:
        index: in the data set.
        scene_id: its scene.
        junction: the one ahead.
        told: where the navigation text sends.
        others: the texts of the other ways from here, by where they send.
    """

    index: int
    scene_id: str
    junction: RouteJunction
    told: Turn
    others: Mapping[Turn, str]


@dataclass(frozen=True, eq=False)
class Followed:
    """What a planner did in a junction sample.

    Attributes:
        sample: which.
        told: where the text sent: the sample's own, or another way's.
        taken: where the chosen candidate goes.
        path_xy_m: float64 [65, 2] it, in local, from t0 on.
    """

    sample: JunctionSample
    told: Turn
    taken: Taken
    path_xy_m: Float64Array

    @property
    def scene_id(self) -> str:
        """The sample's scene."""
        return self.sample.scene_id


def junction_samples(
    samples: EpisodeSamples,
    count: int,
    *,
    seed: int,
    progress: Callable[[str], None] = lambda scene_id: None,
) -> tuple[JunctionSample, ...]:
    """Return up to `count` samples of the kind described above, evenly over their episodes.

    Args:
        samples: a data set; episodes of bags have no map and are left out.
        count: at least one.
        seed: of what is drawn.
        progress: told each scene whose map is looked at.

    Raises:
        DataSetError, InvalidInput: for a file that is damaged, or a scene that cannot be made.
    """
    fit: list[list[JunctionSample]] = []
    for entry, start in zip(samples.entries, episode_starts(samples), strict=True):
        if not {*entry.tags.get("route", {})} & {*TURNS}:
            continue
        file = EpisodeFile(samples.folder / entry.file)
        if file.head.origin != "simulation":
            continue
        progress(entry.scene_id)
        junctions = junctions_of(make_scene(entry.scene_id))
        mine = []
        for row in range(len(file)):
            if file.tags(row).get("route") in TURNS:
                found = _fitting(file.moment(row), junctions, index=start + row, scene_id=entry.scene_id)
                mine += [] if found is None else [found]
        fit += [mine] if mine else []
    if not fit:
        return ()
    return tuple(fit[episode][row] for episode, row in draw_rows([len(m) for m in fit], count, seed=seed))


def follow(
    planner: Planner,
    samples: SampleSource,
    chosen: Sequence[JunctionSample],
    *,
    swapped: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Followed, ...]:
    """Return what a planner does in the samples with their own texts, or swapped with those of other ways.

    `progress` is told each sample.
    """
    found = []
    for each in chosen:
        observation = samples[each.index].observation
        texts: Mapping[Turn, str | None] = each.others if swapped else {each.told: observation.instruction}
        for told, text in texts.items():
            plan = planner.plan(replace(observation, instruction=text))
            path = path_in_local(plan, observation)
            found.append(Followed(each, told, way_taken(each.junction, path), path))
        progress()
    return tuple(found)


def as_before(followed: Sequence[Followed]) -> int:
    """Return how many of the plans with swapped texts go the way that the sample's own text told."""
    return sum(each.taken == each.sample.told for each in followed)


def path_in_local(plan: Plan, observation: Observation) -> Float64Array:
    """Return the chosen candidate's way [65, 2] in the odometry frame, in simulation the local one."""
    return _in_local(plan.xyz_in_rig_t0[plan.chosen], observation.rig_pose_in_odom_at_t0)


def _in_local(xyz_in_rig_t0: Float32Array, local_from_rig: Float64Array) -> Float64Array:
    xyz = np.concatenate([np.zeros((1, 3)), xyz_in_rig_t0.astype(np.float64)])
    return np.ascontiguousarray((xyz @ local_from_rig[:3, :3].T + local_from_rig[:3, 3])[:, :2])


def _fitting(
    moment: Moment, junctions: Sequence[RouteJunction], *, index: int, scene_id: str
) -> JunctionSample | None:
    """Return a moment as a junction sample; None where it shows nothing."""
    here = moment.odom_from_rig_t0[:2, 3]
    told = moment.tags["route"]
    for junction in junctions:
        before_m = junction.before_entry_m(here)
        if before_m <= 0.0:
            continue  # behind it, or in it
        if junction.route_turn != told:
            return None
        if way_taken(junction, _in_local(moment.future_xyz_in_rig_t0, moment.odom_from_rig_t0)) != told:
            return None
        others: dict[Turn, str] = {
            way.turn: junction.instruction(way.turn, before_m=before_m)
            for way in junction.ways
            if way.is_from_route and way.turn != told
        }
        return JunctionSample(index, scene_id, junction, junction.route_turn, others)
    return None
