"""The world of one rollout: the actors of a procedural scene, which move and react to the ego."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.sim.roads import Float64Array, LightColour
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, Scene
from alpamayo_ros.sim.scenes.agents import EgoMotion, TrafficScript
from alpamayo_ros.sim.scenes.assembly import box_on_ground
from alpamayo_ros.sim.scenes.navigation import Maneuver, instruction_at, maneuvers_of
from alpamayo_ros.sim.scenes.paths import Path
from alpamayo_ros.sim.scenes.traffic import EGO_CAN_BRAKE_MPS2, STEP_S, Traffic
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True, eq=False)
class Intention:
    """Where an actor will be.

    Attributes:
        xy_yaw: [N, 3] m, m, rad, of its box's centre: now, then a step apart.
        speed_mps: [N].
        yields_to_ego: whether it waits for an ego that comes first; one that does not has priority.
    """

    xy_yaw: Float64Array
    speed_mps: Float64Array
    yields_to_ego: bool


class ProceduralWorld:
    """State of a procedural scene in one rollout (a `state.World`).

    The actors' motion depends on the ego's pose and forward speed alone, so an ego on the reference finds
    them on their recorded tracks.
    """

    def __init__(self, scene: Scene) -> None:
        """Begin at the scene's start; raises InvalidInput for a scene that is not procedural."""
        script = scene.extras.get("traffic")
        if not isinstance(script, TrafficScript):
            raise InvalidInput(
                f"world: expected a procedural scene, got {scene.scene_id!r} without a traffic script"
            )
        self._scene = scene
        self._traffic = Traffic(script, scene.extras["tables"])  # type: ignore[arg-type]
        self._traffic.ego_s_m = float(scene.extras["ego_start_s_m"])  # type: ignore[arg-type]
        self._time_us = scene.start_us
        self._maneuvers: tuple[Maneuver, ...] = maneuvers_of(scene)
        self._static = {
            actor_id: ActorState(
                actor_id, spec.kind, spec.size_xyz_m, spec.track.local_from_box[0], 0.0, is_static=True
            )
            for actor_id, spec in scene.actors.items()
            if spec.is_static
        }
        self._actors = self._snapshot()

    @property
    def scene(self) -> Scene:
        """What is fixed."""
        return self._scene

    @property
    def time_us(self) -> int:
        """The instant that `actors` describes."""
        return self._time_us

    @property
    def actors(self) -> tuple[ActorState, ...]:
        """Road users and obstacles now, ordered by id."""
        return self._actors

    def step(self, ego: EgoState, to_us: int) -> None:
        """Move on to `to_us` in steps of at most 100 ms; `ego` is the ego at the present instant.

        Raises:
            InvalidInput: if `to_us` is not later than now.
        """
        if to_us <= self._time_us:
            raise InvalidInput(f"world: expected a time after {self._time_us} us, got {to_us} us")
        motion = motion_of(ego)
        while self._time_us < to_us:
            step_us = min(int(STEP_S * 1e6), to_us - self._time_us)
            self._traffic.step(motion, step_us / 1e6)
            self._time_us += step_us
        self._actors = self._snapshot()

    def instruction(self, ego: EgoState) -> str:
        """Return navigation text for the ego's place on the route, "" where there is none to give."""
        return instruction_at(self._maneuvers, self.route_s_m(ego))

    def route_s_m(self, ego: EgoState) -> float:
        """Return how far along the route's path the ego's rear axle is (nearest place about where it was)."""
        path, last = self._traffic.script.ego_path, self._traffic.ego_s_m
        s_m, _ = path.project(ego.xy_m, last - 15.0, to_m=last + 40.0)
        return s_m

    def light_colour(self, light_id: str, in_s: float = 0.0) -> LightColour:
        """Return the colour of a light `in_s` seconds from now."""
        return self._traffic.script.light_colour(light_id, self._traffic.time_s + in_s)

    def stop_lines_ahead(self, ego: EgoState) -> tuple[tuple[str, float], ...]:
        """Return (id of light or stop sign, distance in m from the ego's front) on the route, in order.

        A line that the front has passed by less than 3 m is still listed, with a negative distance.
        """
        road = self._scene.road
        assert road is not None
        path, now = self._traffic.script.ego_path, self.route_s_m(ego)
        front = now + EGO_BOX_IN_RIG_M[0] + 2.5
        on_route = set(self._scene.route_lane_ids)
        found = []
        regulators = [
            *((light.light_id, light.lane_ids) for light in road.lights),
            *((sign.sign_id, sign.lane_ids) for sign in road.stop_signs),
        ]
        for name, lane_ids in regulators:
            if on_route.isdisjoint(lane_ids):
                continue
            lane = next(i for i in lane_ids if i in on_route)
            line_s, _ = path.project(road.lane(lane).centre[-1, :2])
            if line_s - front > -3.0:
                found.append((name, float(line_s - front)))
        return tuple(sorted(found, key=lambda item: item[1]))

    def predict(
        self, horizon_s: float, step_s: float = STEP_S, ego: Sequence[EgoState] | None = None
    ) -> dict[str, Intention]:
        """Return where every moving actor is going, by id; privileged: planners of pictures never see it.

        Args:
            horizon_s: how far ahead.
            step_s: distance in time of the poses that are returned, a multiple of 0.1 s.
            ego: what the ego will do, a state every 0.1 s from now on; None: it goes on along the route
                at the speed that it was last seen with, but people on foot walk as if it gave way to them,
                unless it could no longer stop.
        """
        every = round(step_s / STEP_S)
        if every < 1 or abs(every * STEP_S - step_s) > 1e-9:
            raise InvalidInput(f"predict: step_s: expected a multiple of {STEP_S}, got {step_s}")
        traffic = self._traffic.copy()
        motions = None if ego is None else [motion_of(state) for state in ego]
        poses, speeds = [traffic.poses()], [traffic.speed_mps.copy()]
        start_s, speed = traffic.ego_s_m, traffic.ego_mps
        for k in range(round(horizon_s / STEP_S)):
            if motions is None:
                path, after_s = traffic.script.ego_path, STEP_S * k
                traffic.step(
                    EgoMotion(*path.pose(start_s + speed * after_s), speed),
                    seen_on_foot=_giving_way(path, start_s, speed, after_s),
                )
            else:
                traffic.step(motions[min(k, len(motions) - 1)])
            poses.append(traffic.poses())
            speeds.append(traffic.speed_mps.copy())
        all_poses, all_speeds = np.stack(poses)[::every], np.stack(speeds)[::every]
        return {
            agent.actor_id: Intention(all_poses[:, i], all_speeds[:, i], agent.yields_to_ego)
            for i, agent in enumerate(traffic.script.agents)
        }

    def _snapshot(self) -> tuple[ActorState, ...]:
        states = dict(self._static)
        poses = self._traffic.poses()
        for i, agent in enumerate(self._traffic.script.agents):
            states[agent.actor_id] = ActorState(
                agent.actor_id,
                agent.kind,
                agent.size_xyz_m,
                box_on_ground(self._scene.terrain, poses[i], agent.size_xyz_m[2]),
                float(self._traffic.speed_mps[i]),
            )
        return tuple(states[actor_id] for actor_id in sorted(states))


def _giving_way(path: Path, start_s_m: float, speed_mps: float, after_s: float) -> EgoMotion:
    """Return the ego some time after it began to brake for those on foot, on the route's path."""
    braked_s = min(after_s, speed_mps / EGO_CAN_BRAKE_MPS2)
    s_m = start_s_m + speed_mps * braked_s - EGO_CAN_BRAKE_MPS2 * braked_s**2 / 2
    return EgoMotion(*path.pose(s_m), max(0.0, speed_mps - EGO_CAN_BRAKE_MPS2 * after_s))


def motion_of(ego: EgoState) -> EgoMotion:
    """Return what the traffic sees of the ego."""
    x, y = ego.xy_m
    return EgoMotion(float(x), float(y), ego.yaw_rad, ego.speed_mps)


def reference_state(scene: Scene, time_us: int) -> EgoState:
    """Return the ego's state on the reference drive at a time on or between its stamps.

    Raises:
        InvalidInput: for a time outside the drive.
    """
    drive = scene.reference
    stamps = drive.stamps_us
    if not stamps[0] <= time_us <= stamps[-1]:
        raise InvalidInput(f"reference: expected a time in {stamps[0]} ... {stamps[-1]} us, got {time_us} us")
    index = min(int(np.searchsorted(stamps, time_us, side="right")) - 1, len(stamps) - 2)
    part = float(time_us - stamps[index]) / float(stamps[index + 1] - stamps[index])
    before, after = drive.local_from_rig[index], drive.local_from_rig[index + 1]
    if part in (0.0, 1.0):
        pose = (before if part == 0.0 else after).copy()
    else:
        yaws = np.unwrap([np.arctan2(pose[1, 0], pose[0, 0]) for pose in (before, after)])
        xy = before[:2, 3] + (after[:2, 3] - before[:2, 3]) * part
        pose = scene.terrain.pose_on_ground(
            float(xy[0]), float(xy[1]), float(yaws[0] + (yaws[1] - yaws[0]) * part)
        )
    speed = float(drive.speed_mps[index] * (1 - part) + drive.speed_mps[index + 1] * part)
    step_s = float(stamps[index + 1] - stamps[index]) / 1e6
    accel = float(drive.speed_mps[index + 1] - drive.speed_mps[index]) / step_s
    turn = float(np.arctan2(after[1, 0], after[0, 0]) - np.arctan2(before[1, 0], before[0, 0]))
    yaw_rate = ((turn + np.pi) % (2 * np.pi) - np.pi) / step_s
    return EgoState(
        time_us=int(time_us),
        local_from_rig=pose,
        velocity_in_rig_mps=(speed, 0.0),
        yaw_rate_radps=yaw_rate,
        accel_in_rig_mps2=(accel, speed * yaw_rate),
        steer_rad=float(np.arctan2(2.85 * yaw_rate, max(speed, 0.5))) if speed > 0.1 else 0.0,
    )
