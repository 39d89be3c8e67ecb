"""One clip of the data set in the stack's own terms: lenses, places of cameras, poses, reasoning."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.names import (
    CALIBRATION,
    EGOMOTION,
    FRAME_TIMESTAMPS,
    REASONING_FILE,
    VIDEO,
    camera_feature,
)
from alpamayo_ros.datasets.physical_ai.source import has_feature, read_members, read_table, require_clip
from alpamayo_ros.sensing.camera_models import FTheta
from alpamayo_ros.sensing.rigid import Matrix4, require_rigid
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput, camera_name, require_finite

FloatArray = NDArray[np.float64]
Int64Array = NDArray[np.int64]

_EGOMOTION_COLUMNS = (
    *("qx", "qy", "qz", "qw", "x", "y", "z"),
    *("vx", "vy", "vz", "ax", "ay", "az", "curvature"),
)
_DROPPED_CONSTANT_PX = 0.01


@dataclass(frozen=True, eq=False)
class ClipCamera:
    """A camera of a clip.

    Attributes:
        camera_id: Alpamayo's.
        lens: NVIDIA's f-theta, for the video's pictures.
        rig_from_camera: pose [4, 4] of the optical frame (x right, y down, z forward) in the rig frame.
        stamps_us: int64 [N] of its pictures, on the clip's clock, rising.
        video: the file (MP4).
    """

    camera_id: int
    lens: FTheta
    rig_from_camera: Matrix4
    stamps_us: Int64Array
    video: bytes

    def __post_init__(self) -> None:
        name = camera_name(self.camera_id)
        require_rigid(f"camera {name}: sensor_extrinsics", self.rig_from_camera)
        _require_rising(f"camera {name}: frame timestamps", self.stamps_us, least=1)


@dataclass(frozen=True, eq=False)
class Egomotion:
    """How the vehicle went, as the data set estimates it, about 100 poses a second.

    The anchor frame does not move with the vehicle: its origin is where the rig's is at the clip's zero, its
    z is against gravity, and the vehicle's yaw in it is zero then.

    Attributes:
        stamps_us: int64 [N] on the clip's clock, rising.
        anchor_from_rig: [N, 4, 4].
        velocity_in_anchor_mps: [N, 3].
    """

    stamps_us: Int64Array
    anchor_from_rig: FloatArray
    velocity_in_anchor_mps: FloatArray

    def __post_init__(self) -> None:
        _require_rising("egomotion: timestamps", self.stamps_us, least=2)
        require_finite("egomotion: poses", self.anchor_from_rig)
        require_finite("egomotion: velocities", self.velocity_in_anchor_mps)

    @property
    def velocity_in_rig_mps(self) -> FloatArray:
        """[N, 3]: what an Odometry message wants, while the data set's is in the anchor frame."""
        rotation = self.anchor_from_rig[:, :3, :3]
        return np.asarray(np.einsum("nji,nj->ni", rotation, self.velocity_in_anchor_mps), np.float64)

    @property
    def turning_in_rig_radps(self) -> FloatArray:
        """[N, 3]: angular velocity from the rotations before and after each pose (one-sided at the ends)."""
        rotation = Rotation.from_matrix(self.anchor_from_rig[:, :3, :3])
        index = np.arange(len(rotation))
        before, after = np.maximum(index - 1, 0), np.minimum(index + 1, len(rotation) - 1)
        seconds = (self.stamps_us[after] - self.stamps_us[before]) * 1e-6
        turned = (rotation[before].inv() * rotation[after]).as_rotvec()
        return np.asarray(turned / seconds[:, None], np.float64)


@dataclass(frozen=True)
class ReasoningEvent:
    """A Chain-of-Causation of the data set, and the moment on the clip's clock that it is about."""

    time_us: int
    text: str


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip, read whole.

    Attributes:
        clip_id: the data set's.
        revision: commit of the data set, or "folder".
        facts: what the data set's tables tell of it (country, month, hour_of_day, split ...), as text.
        cameras: by Alpamayo's camera id, ascending.
        egomotion: how the vehicle went.
        reasoning: events by time; empty for most clips.
    """

    clip_id: str
    revision: str
    facts: Mapping[str, str]
    cameras: tuple[ClipCamera, ...]
    egomotion: Egomotion
    reasoning: tuple[ReasoningEvent, ...]


def read_clip(dataset: Any, clip_id: str, *, camera_ids: Iterable[int]) -> Clip:
    """Read a clip.

    Args:
        dataset: of source.open_fetched or source.open_folder.
        clip_id: the data set's.
        camera_ids: Alpamayo's.

    Raises:
        DatasetError: for an unknown clip, one without one of the cameras or egomotion, or files that were
            not fetched, are cut off, or do not hold what the data set's format promises.
    """
    require_clip(dataset, clip_id)
    ids = sorted(set(camera_ids))
    require_features(dataset, clip_id, ids)
    intrinsics, extrinsics = (read_table(dataset, clip_id, feature) for feature in CALIBRATION)
    with _of_clip(clip_id):
        cameras = tuple(_camera(dataset, clip_id, i, intrinsics, extrinsics) for i in ids)
        return Clip(
            clip_id=clip_id,
            revision=str(dataset.revision),
            facts=facts_of(dataset, clip_id),
            cameras=cameras,
            egomotion=_egomotion(dataset, clip_id),
            reasoning=_reasoning(dataset, clip_id),
        )


def require_features(dataset: Any, clip_id: str, camera_ids: Iterable[int]) -> None:
    """Raise DatasetError unless a clip has cameras, calibration and egomotion by the data set's own table."""
    missing = [i for i in camera_ids if not has_feature(dataset, clip_id, camera_feature(i))]
    if missing:
        have = [n for i, n in enumerate(CAMERA_NAMES) if has_feature(dataset, clip_id, camera_feature(i))]
        raise DatasetError(
            f"clip {clip_id}: expected the camera {camera_name(missing[0])}, got none: the clip has "
            f"{', '.join(have) or 'no camera'}"
        )
    for feature in (EGOMOTION, *CALIBRATION):
        if not has_feature(dataset, clip_id, feature):
            raise DatasetError(
                f"clip {clip_id}: expected its {feature}, got none: the data set has none of it"
            )


def facts_of(dataset: Any, clip_id: str) -> dict[str, str]:
    """Return what the data set's tables tell of a clip, column -> text."""
    facts: dict[str, str] = {}
    for table in (dataset.clip_index, dataset.data_collection):
        if clip_id in table.index:
            facts.update({str(name): str(value) for name, value in table.loc[clip_id].items()})
    return facts


def lens_of(model: Any) -> FTheta:
    """Return our lens of the package's FThetaCameraModel.

    Its th2r (fw_poly: angle -> pixels) is the exact one, as in its own ray2pixel; r2th (bw_poly), fitted to
    the inverse, is kept beside it. Both have their lowest power first, as ours do, and pixel coordinates
    are the same. A constant term below 0.01 pixels is a fit's rounding and dropped: a lens maps its axis
    to the principal point.

    Raises:
        InvalidInput: for coefficients that are no lens.
    """
    forward, backward = ([float(c) for c in p.coef] for p in (model.th2r, model.r2th))
    if abs(forward[0]) < _DROPPED_CONSTANT_PX:
        forward[0] = 0.0
    cx, cy = (float(value) for value in model.principal_point)
    return FTheta(
        width=int(model.width),
        height=int(model.height),
        cx=cx,
        cy=cy,
        angle_to_pixeldist=tuple(forward),
        pixeldist_to_angle=tuple(backward),
    )


def reasoning_events(cell: object) -> tuple[ReasoningEvent, ...]:
    """Return the events of one cell of the reasoning table's column `events`, by time.

    A cell is a list of mappings, or JSON of one; the text is under `coc`, or `cot` in older revisions.
    Events without a text say nothing and are left out.

    Raises:
        DatasetError: for a cell of another form.
    """
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ()
    try:
        listed: Any = (json.loads(cell) if cell.strip() else []) if isinstance(cell, str) else cell
        events = []
        for event in listed:
            text = event.get("coc", event.get("cot"))
            if isinstance(text, str) and text.strip():
                events.append(ReasoningEvent(int(event["event_start_timestamp"]), text.strip()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(
            f"{REASONING_FILE}: expected events with event_start_timestamp and coc, got "
            f"{type(error).__name__}: {error}"
        ) from error
    return tuple(sorted(events, key=lambda event: event.time_us))


@contextmanager
def _of_clip(clip_id: str) -> Iterator[None]:
    """Name the clip in what is refused."""
    try:
        yield
    except InvalidInput as error:
        if clip_id in str(error):
            raise
        raise DatasetError(f"clip {clip_id}: {error}") from error


def _camera(dataset: Any, clip_id: str, camera_id: int, intrinsics: Any, extrinsics: Any) -> ClipCamera:
    feature = camera_feature(camera_id)
    for table, entries in zip(CALIBRATION, (intrinsics.camera_models, extrinsics.sensor_poses), strict=True):
        if feature not in entries:
            raise DatasetError(f"{table}: expected {feature}, got {', '.join(sorted(entries)) or 'none'}")
    files = read_members(dataset, clip_id, feature, aliases=(VIDEO, FRAME_TIMESTAMPS))
    what = f"camera {camera_name(camera_id)}: frame timestamps"
    stamps_us = _stamps_us(what, _table(what, files[FRAME_TIMESTAMPS]))
    try:
        lens = lens_of(intrinsics.camera_models[feature])
    except InvalidInput as error:
        raise DatasetError(f"camera_intrinsics of {feature}: {error}") from error
    pose = np.asarray(extrinsics.sensor_poses[feature].as_matrix(), np.float64)
    return ClipCamera(camera_id, lens, pose, stamps_us, files[VIDEO])


def _egomotion(dataset: Any, clip_id: str) -> Egomotion:
    from physical_ai_av.egomotion import EgomotionState

    table = _table(EGOMOTION, read_members(dataset, clip_id, EGOMOTION, aliases=(EGOMOTION,))[EGOMOTION])
    stamps_us = _stamps_us(EGOMOTION, table)
    require_finite(EGOMOTION, _numbers(EGOMOTION, table, _EGOMOTION_COLUMNS))
    try:
        state = EgomotionState.from_egomotion_df(table)
    except ValueError as error:
        raise DatasetError(f"{EGOMOTION}: expected rotations, got: {error}") from error
    return Egomotion(
        stamps_us,
        np.asarray(state.pose.as_matrix(), np.float64),
        np.asarray(state.velocity, np.float64),
    )


def _reasoning(dataset: Any, clip_id: str) -> tuple[ReasoningEvent, ...]:
    import pandas

    if not dataset.is_file_cached(REASONING_FILE):
        return ()
    with dataset.open_file(REASONING_FILE) as stream:
        table = _table(REASONING_FILE, stream.read())
    _require_columns(REASONING_FILE, table, ("events",))
    if clip_id not in table.index:
        return ()
    cells = table.loc[clip_id, "events"]
    rows = list(cells) if isinstance(cells, pandas.Series) else [cells]  # a clip may have several rows
    events = [event for cell in rows for event in reasoning_events(cell)]
    return tuple(sorted(events, key=lambda event: event.time_us))


def _table(what: str, data: bytes) -> Any:
    import pandas

    try:
        return pandas.read_parquet(io.BytesIO(data))
    except Exception as error:  # pyarrow raises whatever the bytes lead it to
        raise DatasetError(
            f"{what}: expected a parquet table, got {type(error).__name__}: {error}"
        ) from error


def _stamps_us(what: str, table: Any) -> Int64Array:
    stamps = _numbers(what, table, ("timestamp",))[:, 0]
    require_finite(what, stamps)
    return np.asarray(table["timestamp"].to_numpy(np.int64, copy=True), np.int64)


def _numbers(what: str, table: Any, columns: tuple[str, ...]) -> FloatArray:
    """Return columns of a table, float64 [N, C]; raises DatasetError where they are missing or no numbers."""
    _require_columns(what, table, columns)
    try:
        return np.asarray(table[list(columns)].to_numpy(np.float64), np.float64)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{what}: expected numbers, got: {error}") from error


def _require_columns(what: str, table: Any, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        have = ", ".join(map(str, table.columns))
        raise DatasetError(f"{what}: expected the column {missing[0]}, got {have or 'none'}")


def _require_rising(what: str, stamps: Int64Array, *, least: int) -> None:
    if len(stamps) < least:
        raise InvalidInput(f"{what}: expected at least {least}, got {len(stamps)}")
    falling = np.flatnonzero(np.diff(stamps) <= 0)
    if len(falling):
        at = int(falling[0])
        raise InvalidInput(f"{what}: expected rising ones, got {stamps[at]} and then {stamps[at + 1]} us")
