"""What is in an .asl log: read once from beginning to end, also of one that a crash cut off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from alpamayo_ros.sim.asl_score import read_log_entries
from alpamayo_ros.sim.asl_tallies import (
    ActorSummary,
    ActorTally,
    CameraSummary,
    CameraTally,
    ControllerSummary,
    ControllerTally,
    DriveSummary,
    DriveTally,
)
from alpamayo_ros.sim.protocol.asl import LENGTH_BYTES, BrokenLog, read_entries, unknown_fields
from alpamayo_ros.sim.protocol.generated import common_pb2, logging_pb2, sensorsim_pb2
from alpamayo_ros.sim.scoring import RolloutScore, score_input
from alpamayo_ros.types import InvalidInput

UNKNOWN_ENTRY = "(unknown type)"
"""Under this name count entries whose type our protocol does not have."""

_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class EntryCount:
    """Entries of one type: how many, and their bytes with the length before each."""

    count: int
    size_bytes: int


@dataclass(frozen=True)
class Session:
    """What the log's metadata says.

    Attributes:
        scene_id, session_uuid, rollout_index, recording: who it is; `recording` is NuRec's run and version.
        planned_steps, step_s: control steps that the rollout was to have, and how long one is.
        start_us, render_start_us: when the scene begins and when its first pictures are.
        force_gt_s: how long after that the ego follows the recording.
        versions: service -> version; "<skip>" marks one that the rollout does without.
    """

    scene_id: str
    session_uuid: str
    rollout_index: int
    recording: str
    planned_steps: int
    step_s: float
    start_us: int
    render_start_us: int
    force_gt_s: float
    versions: dict[str, str]

    @property
    def handover_s(self) -> float:
        """When the planner takes over, since the scene's start."""
        return (self.render_start_us - self.start_us) / 1e6 + self.force_gt_s


@dataclass(frozen=True)
class Incidents:
    """What went wrong, by AlpaSim's rules from the handover on. None stands for unknown, never for no.

    Attributes:
        why_unknown: why nothing is known, "" where something is.
        collision: "front", "lateral" or "rear"; "" for none.
        collision_with: the other's id.
        at_fault: whether AlpaSim blames the ego.
        off_road: unknown without a map, which only logs of our own scenes have.
        event_s: time of the first of these since the scene's start.
        left_recording: whether the ego was 4 m or more from the recorded drive.
        left_recording_s: when, since the scene's start.
        farthest_from_recording_m: until whichever came first.
        scene_score, progress, dist_traveled_m, min_distance_to_obstacle_m: AlpaSim's metrics.
        unknown_incidents: what would make the scene score 0 and is unknown; it stands for none of these.
    """

    why_unknown: str = ""
    collision: str | None = None
    collision_with: str | None = None
    at_fault: bool | None = None
    off_road: bool | None = None
    event_s: float | None = None
    left_recording: bool | None = None
    left_recording_s: float | None = None
    farthest_from_recording_m: float | None = None
    scene_score: float | None = None
    unknown_incidents: tuple[str, ...] = ()
    progress: float | None = None
    dist_traveled_m: float | None = None
    min_distance_to_obstacle_m: float | None = None


@dataclass(frozen=True)
class LogSummary:
    """One log.

    Attributes:
        path, size_bytes: of the file.
        entries: type -> count, most frequent first.
        session: None where the log has no metadata.
        first_us, last_us: first and last instant with poses of the actors; None without any.
        steps: how many such instants.
        unknown_fields: path (without indices) -> how often our protocol met a field that it does not have.
        broken: what is wrong with the log's end, "" for a whole log; `cut_off`: whether it just ends early.
    """

    path: str
    size_bytes: int
    entries: dict[str, EntryCount]
    session: Session | None
    first_us: int | None
    last_us: int | None
    steps: int
    cameras: tuple[CameraSummary, ...]
    actors: tuple[ActorSummary, ...]
    drives: DriveSummary
    controller: ControllerSummary
    incidents: Incidents
    unknown_fields: dict[str, int]
    broken: str
    cut_off: bool

    @property
    def duration_s(self) -> float | None:
        """From the first to the last instant with poses."""
        if self.first_us is None or self.last_us is None:
            return None
        return (self.last_us - self.first_us) / 1e6

    def as_dict(self) -> dict[str, object]:
        """Return everything as JSON can hold it."""
        return {**asdict(self), "duration_s": self.duration_s}


def summarise_log(path: Path) -> LogSummary:
    """Read a log and return what is in it; of a broken one, what stands before the break.

    Raises:
        InvalidInput: for what is no file, is empty, or has no whole entry.
    """
    tally = _Tally(path)
    entries = tally.watched()
    try:
        # The scores are of the same entries, in the same pass: a log may be larger than the memory.
        score: RolloutScore | str = score_input(read_log_entries(entries, path))
    except InvalidInput as error:
        score = str(error)
    for _ in entries:  # what the scores did not get to
        pass
    if tally.failure is not None and not tally.counts:
        raise tally.failure
    return tally.summary(score)


class _Tally:
    """Everything that is counted on the way through a log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counts: Counter[str] = Counter()
        self.failure: InvalidInput | None = None
        self._bytes: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._metadata: logging_pb2.RolloutMetadata | None = None
        self._stamps_us: list[int] = []
        self._cameras: dict[str, CameraTally] = {}
        self._actors: dict[str, ActorTally] = {}
        self._drives, self._controller = DriveTally(), ControllerTally()

    def watched(self) -> Iterator[logging_pb2.LogEntry]:
        """Yield the log's entries after counting each; end where the log breaks."""
        try:
            for entry in read_entries(self._path):
                self._add(entry)
                yield entry
        except InvalidInput as error:
            self.failure = error

    def _add(self, entry: logging_pb2.LogEntry) -> None:
        kind = entry.WhichOneof("log_entry") or UNKNOWN_ENTRY
        self.counts[kind] += 1
        self._bytes[kind] += entry.ByteSize() + LENGTH_BYTES
        self._unknown.update(_INDEX.sub("", field) for field in unknown_fields(entry))
        match kind:
            case "rollout_metadata":
                self._metadata = self._metadata or entry.rollout_metadata
            case "actor_poses":
                self._stamps_us.append(entry.actor_poses.timestamp_us)
                for each in entry.actor_poses.actor_poses:
                    self._actors.setdefault(each.actor_id, ActorTally()).add(each.actor_pose)
            case "available_cameras_return":
                for camera in entry.available_cameras_return.available_cameras:
                    self._camera(camera.logical_id).define(camera.intrinsics)
            case "render_request":
                self._add_pictures([entry.render_request])
            case "batch_render_request":
                self._add_pictures([item.request for item in entry.batch_render_request.items])
            case "aggregated_render_request":
                self._add_pictures(list(entry.aggregated_render_request.rgb_requests))
            case "driver_camera_image":
                image = entry.driver_camera_image.camera_image
                self._camera(image.logical_id).add_image(image)
            case "driver_ego_trajectory":
                self._drives.add_egomotion(entry.driver_ego_trajectory)
            case "route_request":
                self._drives.add_route(entry.route_request)
            case "ground_truth_request":
                self._drives.ground_truths += 1
            case "driver_request":
                self._drives.add_request(entry.driver_request)
            case "driver_return":
                self._drives.add_answer(entry.driver_return)
            case "controller_request":
                self._controller.add_request(entry.controller_request)
            case "controller_return":
                self._controller.add_answer(entry.controller_return)

    def _camera(self, logical_id: str) -> CameraTally:
        return self._cameras.setdefault(logical_id, CameraTally())

    def _add_pictures(self, requests: list[sensorsim_pb2.RGBRenderRequest]) -> None:
        for request in requests:
            self._camera(request.camera_intrinsics.logical_id).add_request(request)

    def summary(self, score: RolloutScore | str) -> LogSummary:
        """Return the figures; `score` may be why there is none."""
        metadata = self._metadata
        definitions = metadata.actor_definitions.actor_aabb if metadata is not None else ()
        defined = {each.actor_id: each for each in definitions}
        ids = dict.fromkeys([*defined, *self._actors])
        session = None if metadata is None else _session(metadata)
        return LogSummary(
            path=str(self._path),
            size_bytes=self._path.stat().st_size,
            entries={kind: EntryCount(n, self._bytes[kind]) for kind, n in self.counts.most_common()},
            session=session,
            first_us=min(self._stamps_us, default=None),
            last_us=max(self._stamps_us, default=None),
            steps=len(set(self._stamps_us)),
            cameras=tuple(self._cameras[name].summary(name) for name in sorted(self._cameras)),
            actors=tuple(self._actors.get(i, ActorTally()).summary(i, defined.get(i)) for i in ids),
            drives=self._drives.summary(),
            controller=self._controller.summary(),
            incidents=_incidents(score, session),
            unknown_fields=dict(sorted(self._unknown.items())),
            broken="" if self.failure is None else str(self.failure),
            cut_off=isinstance(self.failure, BrokenLog) and self.failure.cut_off,
        )


def _session(metadata: logging_pb2.RolloutMetadata) -> Session:
    told = metadata.session_metadata
    return Session(
        scene_id=told.scene_id,
        session_uuid=told.session_uuid,
        rollout_index=metadata.rollout_index,
        recording=" ".join(text for text in (told.nre_runid, told.nre_version) if text),
        planned_steps=told.n_sim_steps,
        step_s=told.control_timestep_us / 1e6,
        start_us=told.start_timestamp_us,
        render_start_us=told.render_start_timestamp_us,
        force_gt_s=metadata.force_gt_duration / 1e6,
        versions={
            field.name.removesuffix("_version"): _version(version)
            for field, version in metadata.version_ids.ListFields()
        },
    )


def _version(version: common_pb2.VersionId) -> str:
    api = version.grpc_api_version
    return f"{version.version_id} (API {api.major}.{api.minor}.{api.patch})"


def _incidents(score: RolloutScore | str, session: Session | None) -> Incidents:
    """Return the incidents that a score tells of."""
    if isinstance(score, str):
        return Incidents(why_unknown=score)
    if not score.scored:
        return Incidents(why_unknown="a front-wide picture is black: AlpaSim drops such rollouts")
    metrics = score.metrics
    if metrics["duration_frac_20s"] is None:
        return Incidents(why_unknown="the log ends before the planner takes over")
    hit = next((kind for kind in ("front", "lateral", "rear") if metrics[f"collision_{kind}"]), "")
    known = metrics["collision_any"] is not None
    # AlpaSim's metrics end where the ego left the recorded drive, so their end is when that was.
    handover_s = 0.0 if session is None else session.handover_s
    return Incidents(
        collision=hit if known else None,
        collision_with=score.collision_with if hit else None,
        at_fault=bool(metrics["collision_at_fault"]) if known else None,
        off_road=None if metrics["offroad"] is None else bool(metrics["offroad"]),
        event_s=score.event_time_s,
        left_recording=score.left_path,
        left_recording_s=handover_s + 20.0 * metrics["duration_frac_20s"] if score.left_path else None,
        farthest_from_recording_m=metrics["dist_to_gt_trajectory"],
        scene_score=score.scene_score,
        unknown_incidents=score.unknown_incidents,
        progress=metrics["progress"],
        dist_traveled_m=metrics["dist_traveled_m"],
        min_distance_to_obstacle_m=metrics["min_distance_to_obstacle_m"],
    )
