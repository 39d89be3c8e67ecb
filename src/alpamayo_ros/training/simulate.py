"""One simulated episode: the expert drives, the cameras look on, and each tick becomes a sample.

The future of a sample is the expert's plan from the state that was actually reached, not what the vehicle
went on to do: in a disturbed rollout (perturb.py) the two differ, and the plan is what is to be learned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sim.attached_driver import VehicleCameras
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
from alpamayo_ros.sim.observations import decode_rgb, observe
from alpamayo_ros.sim.planners import ExpertPlanner
from alpamayo_ros.sim.rollout import ClosedLoop
from alpamayo_ros.sim.scene import FORCE_GT_US, ROLLOUT_US, STEP_US, family_and_seed
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.state import ActorState, EgoState
from alpamayo_ros.sim.world import ProceduralWorld
from alpamayo_ros.training.episode import (
    ROAD_USER_COLUMNS,
    ROAD_USER_KINDS,
    Episode,
    EpisodeHead,
    FrameCodec,
    FrameStore,
    Moment,
    split_of,
)
from alpamayo_ros.training.sample import ReasoningSource
from alpamayo_ros.training.steering import DisturbedSteerer, Steerer
from alpamayo_ros.types import (
    NUM_FRAMES,
    NUM_HISTORY_POSES,
    Float32Array,
    InvalidInput,
    Observation,
    Plan,
    UInt8Array,
)

LEFT_OUT_TICKS = 20
"""Before a collision or leaving the road: where the expert itself failed it is no teacher."""

ROAD_USERS_WITHIN_M = 90.0

MOST_TICKS = (ROLLOUT_US - FORCE_GT_US) // STEP_US
"""From the handover to a rollout's end."""


@dataclass(frozen=True)
class Label:
    """Why a plan is as it is: reasoning, meta action ("" for none), tags to balance and report by."""

    reasoning: str
    meta_action: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class EpisodeLabels(Protocol):
    """Labels the plans of one episode; asked once after each plan of the expert's."""

    def label(self, world: ProceduralWorld, ego: EgoState, plan: Plan) -> Label:
        """Return the label of the plan that the expert has just made."""
        ...


class Labeller(Protocol):
    """Makes the labels of each episode; picklable, as it is sent to worker processes."""

    def start(self, expert: ExpertPlanner, *, seed: int) -> EpisodeLabels:
        """Return the labels of an episode; what varies in their wording comes from `seed` alone."""
        ...


@dataclass(frozen=True)
class PlansOwnLabels:
    """The reasoning that the expert's plan carries, as it is."""

    def start(self, expert: ExpertPlanner, *, seed: int) -> EpisodeLabels:
        """Return itself: it keeps nothing."""
        return self

    def label(self, world: ProceduralWorld, ego: EgoState, plan: Plan) -> Label:
        """Return the chosen candidate's."""
        return Label(plan.reasoning[plan.chosen], plan.meta_action[plan.chosen])


@dataclass(frozen=True)
class PictureSettings:
    """What the pictures of a data set are.

    Attributes:
        camera_ids: Alpamayo's, ascending.
        height, width: at which frames are stored: what the model takes. Frames of another size are resized as
            the model does it (bicubic with antialias on uint8).
        render_height, render_width: at which they are rendered; by default as `alpamayo sim` shows
            them to its planners: what a planner learns from is to be what it sees.
        codec: how they are stored.

    Raises:
        InvalidInput: for no size.
    """

    camera_ids: tuple[int, ...] = USUAL_CAMERA_IDS
    height: int = 96
    width: int = 160
    render_height: int = 320
    render_width: int = 576
    codec: FrameCodec = field(default_factory=FrameCodec)

    def __post_init__(self) -> None:
        for name in ("height", "width", "render_height", "render_width"):
            if not 1 <= getattr(self, name) <= 4096:
                raise InvalidInput(f"{name}: expected 1 ... 4096 pixels, got {getattr(self, name)}")

    def stored_settings(self) -> dict[str, Any]:
        """Return what all frames of a data set have in common, wherever they are from, as JSON."""
        return {
            "camera_ids": list(self.camera_ids),
            "stored": [self.height, self.width],
            "image": self.codec.description,
        }

    def stored(self, frame: UInt8Array) -> bytes:
        """Return a frame, uint8 RGB [3, H, W] of any size, as it is stored."""
        return self.codec.encode(resize_frame(frame, height=self.height, width=self.width))


def resize_frame(frame: UInt8Array, *, height: int, width: int) -> UInt8Array:
    """Return uint8 RGB [3, H, W] at a size, with the pixels that the model's own preparation gives."""
    if frame.shape[1:] == (height, width):
        return frame
    import torch
    from torch.nn.functional import interpolate

    interleaved = np.array(frame.transpose(1, 2, 0), order="C")  # resized faster than separate planes
    tensor = torch.from_numpy(interleaved).permute(2, 0, 1)[None]
    resized = interpolate(tensor, size=(height, width), mode="bicubic", antialias=True)[0]
    return np.ascontiguousarray(resized.numpy())


@dataclass(frozen=True)
class EpisodeJob:
    """One episode to make: a scene, which of its episodes, and of what kind (Steerer.kind)."""

    scene_id: str
    variant: int = 0
    kind: str = ""

    def __post_init__(self) -> None:
        family_and_seed(self.scene_id)
        if self.variant < 0:
            raise InvalidInput(f"variant: expected 0 or more, got {self.variant}")

    @property
    def episode_id(self) -> str:
        """Name of the episode and its file."""
        return ".".join(filter(None, (self.scene_id, self.kind, str(self.variant))))

    def wording_seed(self, seed: int) -> int:
        """Return the seed of an episode's wording in a data set of a seed; the same in every process."""
        return int.from_bytes(hashlib.sha256(f"{seed}/{self.episode_id}".encode()).digest()[:7], "big")


def simulate_episode(
    job: EpisodeJob,
    settings: PictureSettings,
    cameras: VehicleCameras,
    *,
    labeller: Labeller,
    steerer: Steerer | None = None,
    seed: int = 0,
    ticks: int = MOST_TICKS,
) -> Episode:
    """Drive one episode and return it.

    The expert plans from the handover on; each tick is a sample, but for the last two seconds before a
    collision or leaving the road. The histories are those that were really driven, the warm-up's included.

    Args:
        job: which.
        settings: of its pictures.
        cameras: of this scene.
        labeller: says why each plan is as it is.
        steerer: says what is driven; by default the expert's plans, disturbed as the job's variant asks.
        seed: of the data set: of steering and wording.
        ticks: after so many the episode ends at the latest.

    Raises:
        InvalidInput, RuntimeError, ServiceError: what making the scene, its world or its pictures raises.
    """
    family, scene_seed = family_and_seed(job.scene_id)
    world = ProceduralWorld(make_scene(job.scene_id))
    loop = ClosedLoop(world, planner="expert")
    expert = ExpertPlanner(world)
    labels = labeller.start(expert, seed=job.wording_seed(seed))
    steering = (steerer or DisturbedSteerer()).start(job, world, seed=seed)
    store = FrameStore(settings.camera_ids)
    handover_us = loop.scene.start_us + FORCE_GT_US
    made: list[tuple[Moment, NDArray[np.int64]]] = []
    end_us = handover_us + ticks * STEP_US
    while not loop.done and loop.time_us < end_us:
        if loop.time_us >= handover_us - (NUM_FRAMES - 1) * STEP_US:
            steering.look(loop.time_us, _look(loop, cameras, settings, store))
        if loop.warming_up:
            loop.follow_reference()
            continue
        tick = (loop.time_us - handover_us) // STEP_US
        observation = observe(loop.history(NUM_HISTORY_POSES), None, instruction=loop.instruction())
        plan = expert.plan(observation)
        label = labels.label(world, loop.ego, plan)
        steered = steering.steer(tick, loop, plan)
        tags = {**label.tags, **steered.tags, "route": _route(observation.instruction)}
        moment = _moment(tick, observation, plan, label, tags, cameras=len(settings.camera_ids))
        moment = replace(moment, road_users_in_rig_t0=road_users_in_rig(loop.ego, loop.actors))
        made.append((moment, _frame_stamps_ns(loop.time_us, len(settings.camera_ids))))
        loop.drive(*steered.trajectory)
    if loop.end_reason in ("collision", "off_road"):
        made = made[:-LEFT_OUT_TICKS]
    head = EpisodeHead(
        episode_id=job.episode_id,
        origin="simulation",
        scene_id=job.scene_id,
        family=family,
        seed=scene_seed,
        split=split_of(scene_seed),
        camera_ids=settings.camera_ids,
        notes={
            "end": loop.end_reason or "cut",
            **steering.notes,
            "rendered at": f"{settings.render_width}x{settings.render_height}",
            "stored at": f"{settings.width}x{settings.height}",
            "stored as": settings.codec.description,
        },
    )
    return store.close(head, made)


def road_users_in_rig(ego: EgoState, actors: Sequence[ActorState]) -> Float32Array:
    """Return float32 [N, 8], ROAD_USER_COLUMNS of those within ROAD_USERS_WITHIN_M, nearest first."""
    rig_from_local = invert(ego.local_from_rig)
    rows: list[list[float]] = []
    for actor in actors:
        x, y = (rig_from_local[:2, :3] @ actor.local_from_box[:3, 3] + rig_from_local[:2, 3]).tolist()
        if np.hypot(x, y) > ROAD_USERS_WITHIN_M:
            continue
        yaw = (actor.yaw_rad - ego.yaw_rad + np.pi) % (2 * np.pi) - np.pi
        kind = ROAD_USER_KINDS.index(actor.kind)
        rows.append([x, y, yaw, *actor.size_xyz_m, actor.speed_mps, kind])
    rows.sort(key=lambda row: row[0] ** 2 + row[1] ** 2)
    return np.array(rows, np.float32).reshape(-1, len(ROAD_USER_COLUMNS))


def _look(
    loop: ClosedLoop, cameras: VehicleCameras, settings: PictureSettings, store: FrameStore
) -> Mapping[int, bytes]:
    """Store a set of pictures; returns them as rendered."""
    images = cameras.render(loop.ego, loop.actors, camera_ids=settings.camera_ids)
    for camera_id in settings.camera_ids:
        store.add(camera_id, loop.time_us * 1000, settings.stored(decode_rgb(images[camera_id])))
    return images


def _moment(
    tick: int, observation: Observation, plan: Plan, label: Label, tags: Mapping[str, str], *, cameras: int
) -> Moment:
    source = ReasoningSource.AUTOMATIC if label.reasoning else ReasoningSource.NONE
    return Moment(
        tick=tick,
        t0_ns=observation.t0_ns,
        frame_index=np.tile(np.arange(NUM_FRAMES, dtype=np.int32), (cameras, 1)),  # set when the store closes
        history_xyz_in_rig_t0=observation.history_xyz_in_rig_t0,
        history_rot_in_rig_t0=observation.history_rot_in_rig_t0,
        odom_from_rig_t0=observation.rig_pose_in_odom_at_t0,
        future_xyz_in_rig_t0=plan.xyz_in_rig_t0[plan.chosen],
        future_rot_in_rig_t0=plan.rot_in_rig_t0[plan.chosen],
        instruction=observation.instruction or "",
        reasoning=label.reasoning,
        meta_action=label.meta_action,
        source=source,
        tags=tags,
    )


def _frame_stamps_ns(now_us: int, cameras: int) -> NDArray[np.int64]:
    """Return the stamps int64 [C, 4] of the newest frames."""
    stamps_us = now_us + STEP_US * np.arange(1 - NUM_FRAMES, 1, dtype=np.int64)
    return np.tile(stamps_us * 1000, (cameras, 1))


def _route(instruction: str | None) -> str:
    """Return which way the navigation text sends: left, right, straight, exit (of a roundabout), or none."""
    found = re.search(r"\b(left|right|straight|exit)\b", (instruction or "").lower())
    return "none" if found is None else found[1]
