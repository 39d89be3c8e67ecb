"""Traffic as a service, of two kinds: the actors of our scenes, which react, or a recording's, which do not.

servicer = TrafficServicer(ReactiveTraffic(make_scene))      # our scenes, by FAMILY-SEED
servicer = TrafficServicer(ReplayedTraffic())                # any scene, as AlpaSim without traffic does
with serve(servicer.register, port=6005): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.protocol.server import NotFound
from alpamayo_ros.sim.protocol.traffic import LoggedObject, TrafficRollout
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_ID, STEP_US, Scene, Track
from alpamayo_ros.sim.served_physics import listed_scene_ids
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.sim.trajectories import interpolate_poses
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.types import InvalidInput

MAX_STEP_US = 60_000_000
"""How far one call may move on: a wrong number is to cost an error and not the server."""


class ReplayedTraffic:
    """Objects where they were recorded, whatever the ego does (a protocol.traffic.TrafficHandler)."""

    minimum_history_us = 0

    def scene_ids(self) -> Sequence[str]:
        """Return "*": the recording comes with the session."""
        return ("*",)

    def start(self, rollout: TrafficRollout) -> ReplaySession:
        """Begin a rollout."""
        return ReplaySession(rollout.objects)


class ReplaySession:
    """One rollout's recording (a TrafficSession)."""

    def __init__(self, objects: Mapping[str, LoggedObject]) -> None:
        self._objects = {object_id: each for object_id, each in objects.items() if object_id != EGO_ID}

    def simulate(self, to_us: int, updates: Mapping[str, Track]) -> dict[str, Track]:
        """Return where the others were; static ones always, moving ones while their track lasts."""
        at_us = np.array([to_us], np.int64)
        found = {}
        for object_id, each in self._objects.items():
            track = each.track
            if len(track.stamps_us) == 1:  # nothing to interpolate
                if each.is_static or to_us == track.stamps_us[0]:
                    found[object_id] = Track(at_us, track.local_from_box)
            elif each.is_static or track.stamps_us[0] <= to_us <= track.stamps_us[-1]:
                poses = interpolate_poses(track.stamps_us, track.local_from_box, at_us)
                found[object_id] = Track(at_us, poses)
        return found

    def close(self) -> None:
        """Nothing is held."""


class ReactiveTraffic:
    """The actors of our procedural scenes, which react to the ego (a protocol.traffic.TrafficHandler).

    Args:
        make_scene: scene id -> Scene; raises InvalidInput for an id that it does not know.
    """

    minimum_history_us = 0

    def __init__(self, make_scene: Callable[[str], Scene]) -> None:
        self._make_scene = make_scene

    def scene_ids(self) -> Sequence[str]:
        """Return the scenes that are listed."""
        return listed_scene_ids()

    def start(self, rollout: TrafficRollout) -> ReactiveSession:
        """Begin a rollout.

        Raises:
            NotFound: for a scene that is not ours, or objects that it does not have.
            InvalidInput: where the ego is not among the objects, or not there at the scene's start.
        """
        try:
            scene = self._make_scene(rollout.scene_id)
        except InvalidInput as error:
            raise NotFound(f"scene_id: {error}") from error
        strangers = sorted(set(rollout.objects) - set(scene.actors) - {EGO_ID})
        if strangers:
            raise NotFound(
                f"logged_object_trajectories: expected actors of {rollout.scene_id}, got "
                f"{', '.join(map(repr, strangers))}"
            )
        return ReactiveSession(scene, rollout)


class ReactiveSession:
    """One rollout's world (a TrafficSession). It moves in steps of 100 ms from the scene's start on."""

    def __init__(self, scene: Scene, rollout: TrafficRollout) -> None:
        self._world = ProceduralWorld(scene)
        self._wanted = set(rollout.objects)
        track = rollout.ego.track
        known = track.stamps_us <= rollout.handover_us
        if not known.any() or track.stamps_us[0] > scene.start_us:
            raise InvalidInput(
                f"logged object {EGO_ID!r}: expected a trajectory from the scene's start, "
                f"{scene.start_us} us, to the handover, {rollout.handover_us} us, got one from "
                f"{track.stamps_us[0]} us"
            )
        self._stamps_us = track.stamps_us[known]
        self._poses = _rig_of(track.local_from_box[known])

    def simulate(self, to_us: int, updates: Mapping[str, Track]) -> dict[str, Track]:
        """Move on; see TrafficSession."""
        world = self._world
        if not world.time_us <= to_us <= world.time_us + MAX_STEP_US:
            raise InvalidInput(
                f"time_query_us: expected {world.time_us} us or up to {MAX_STEP_US} us later, got {to_us} us"
            )
        if set(updates) != {EGO_ID}:
            raise InvalidInput(
                f"object_trajectory_updates: expected {EGO_ID} alone, got {', '.join(updates) or 'none'}"
            )
        self._take(updates[EGO_ID])
        if self._stamps_us[-1] < to_us:
            raise InvalidInput(
                f"object_trajectory_updates: expected {EGO_ID} up to time_query_us, {to_us} us, "
                f"got it up to {self._stamps_us[-1]} us"
            )
        while world.time_us < to_us:
            world.step(self._ego_at(world.time_us), min(world.time_us + STEP_US, to_us))
        at_us = np.array([to_us], np.int64)
        return {
            actor.actor_id: Track(at_us, actor.local_from_box[None])
            for actor in world.actors
            if actor.actor_id in self._wanted
        }

    def close(self) -> None:
        """Nothing is held."""

    def _take(self, update: Track) -> None:
        """Take where the ego is; what the recording says of these instants no longer counts."""
        before = self._stamps_us < update.stamps_us[0]
        self._stamps_us = np.concatenate([self._stamps_us[before], update.stamps_us])
        self._poses = np.concatenate([self._poses[before], _rig_of(update.local_from_box)])

    def _ego_at(self, time_us: int) -> EgoState:
        """Return where the ego is and how fast it is, from where it is 100 ms before and after."""
        first_us, last_us = int(self._stamps_us[0]), int(self._stamps_us[-1])
        if first_us == last_us:
            return EgoState(time_us, self._poses[0])
        from_us, to_us = max(first_us, time_us - STEP_US), min(last_us, time_us + STEP_US)
        at_us = np.array([from_us, time_us, to_us], np.int64)
        before, here, after = interpolate_poses(self._stamps_us, self._poses, at_us)
        way_m = float((after[:3, 3] - before[:3, 3]) @ here[:3, 0])
        return EgoState(time_us, here, (way_m / ((to_us - from_us) / 1e6), 0.0))


def _rig_of(local_from_box: Float64Array) -> Matrix4:
    """Return poses of the rig [N, 4, 4] of those of the ego's box centre."""
    poses = np.array(local_from_box)
    poses[:, :3, 3] -= poses[:, :3, :3] @ np.array(EGO_BOX_IN_RIG_M)
    return poses
