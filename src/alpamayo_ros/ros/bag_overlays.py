"""The plans of a recording, painted into what its cameras saw: the visualizer's pictures, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.pictures import pictures_at
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.views import fixed_transform, recorded_parents, recorded_views
from alpamayo_ros.ros.conversions import odometry_from_msg
from alpamayo_ros.ros.plan_conversions import plan_from_msg, require_publishable
from alpamayo_ros.ros.visualizer_plans import timed_plan
from alpamayo_ros.sensing.odometry_frames import OdometryFrames
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sensing.view import View
from alpamayo_ros.types import InvalidInput, UInt8Array
from alpamayo_ros.viz.birds_eye import draw_birds_eye
from alpamayo_ros.viz.labels import paint_labels
from alpamayo_ros.viz.overlay import DEFAULT_STYLE, OverlayStyle, draw_plan_overlay
from alpamayo_ros.viz.timeline import Moment, PlanTimeline, TimedPlan

_AHEAD_NS = 500_000_000
_LATEST_NS = 5_000_000_000
"""A plan is recorded no later than this after its pictures."""
_ORDER = ("front_wide", "front_tele", "cross_left", "cross_right", "rear_left", "rear_tele", "rear_right")


@dataclass(frozen=True, eq=False)
class Recording:
    """What a bag holds for overlays, in the headers' time.

    Attributes:
        rig: with the topics as they are recorded.
        plans: by t0.
        poses: stamps and poses [4, 4] of the rig in the odometry frame, by stamp.
        odometry_frame: its name.
        views: of the cameras whose lens and place are known.
        windows_ns: t0 -> when its pictures were recorded, for plans that were recorded by another clock than
            their headers' (a simulation, by the wall's).
        refused: plans and odometry messages that could not be read.
    """

    rig: Rig
    plans: tuple[TimedPlan, ...]
    poses: tuple[tuple[int, Matrix4], ...]
    odometry_frame: str
    views: Mapping[int, View]
    windows_ns: Mapping[int, tuple[int, int]]
    refused: int

    def stamps_ns(self, *, every_s: float) -> list[int]:
        """Return times to be shown: from the first plan to the last one's end, `every_s` apart, on t0s."""
        chosen: list[int] = []
        for timed in self.plans:
            if not chosen or timed.plan.t0_ns - chosen[-1] >= every_s * 1e9 - 1_000_000:
                chosen.append(timed.plan.t0_ns)
        return chosen


def as_recorded(bag: BagReader, rig: Rig, *, namespace: str, odometry: str | None = None) -> Rig:
    """Return a rig whose relative topics are those of a bag: in the namespace, or at the root."""

    def name(topic: str) -> str:
        if topic.startswith("/"):
            return topic
        spaced = f"/{namespace.strip('/')}/{topic}"
        return spaced if spaced in bag.topics or f"/{topic}" not in bag.topics else f"/{topic}"

    cameras = tuple(
        replace(
            camera,
            topic=name(camera.topic),
            info_topic=None if camera.info_topic is None else name(camera.info_topic),
        )
        for camera in rig.cameras
    )
    return replace(rig, cameras=cameras, odometry_topic=name(odometry or rig.odometry_topic))


def read_recording(bag: BagReader, rig: Rig, *, plan_topic: str) -> Recording:
    """Return what a bag holds for overlays.

    Args:
        bag: open for reading.
        rig: as as_recorded() returns it.
        plan_topic: of alpamayo_ros/Plan.

    Raises:
        BagError: for a bag without plans, odometry or any picture of the rig's; lists what it has.
    """
    bag.require_topics([plan_topic], why="recorded plans, as `alpamayo replay` makes them")
    bag.require_topics([rig.odometry_topic], why="odometry")
    if not any(camera.topic in bag.topics and bag.topics[camera.topic].count for camera in rig.cameras):
        bag.require_topics([camera.topic for camera in rig.cameras], why=f"pictures of the rig {rig.name}")
    refused = 0
    plans: list[TimedPlan] = []
    windows_ns: dict[int, tuple[int, int]] = {}
    for message in bag.messages([plan_topic]):
        try:
            published = plan_from_msg(bag.decode(message))
            require_publishable(published.plan)
            plans.append(timed_plan(published))
            t0_ns, recorded_ns = published.plan.t0_ns, message.stamp_ns
            if not -_AHEAD_NS < recorded_ns - t0_ns < _LATEST_NS:
                windows_ns[t0_ns] = (recorded_ns - _LATEST_NS, recorded_ns + _AHEAD_NS)
        except InvalidInput:
            refused += 1
    frames, frame = OdometryFrames(rig), ""
    parents = recorded_parents(bag)
    for child in {c for pair in parents.items() for c in (pair[0], pair[1][0])}:
        rig_from_child = fixed_transform(parents, rig.rig_frame, child)
        if rig_from_child is not None:
            frames.set_from_tf(child, rig_from_child)
    poses = []
    for message in bag.messages([rig.odometry_topic]):
        try:
            sample = odometry_from_msg(bag.decode(message))
            poses.append(
                (
                    sample.stamp_ns,
                    frames.rig_pose(sample.stamp_ns, sample.odom_from_child, sample.child_frame),
                )
            )
            frame = sample.frame.removeprefix("/")
        except InvalidInput:
            refused += 1
    if not plans or not poses:
        what = "plan" if not plans else "odometry message"
        raise BagError(
            f"bag {bag.path}: expected at least one readable {what}, got {refused} unreadable ones"
        )
    return Recording(
        rig=rig,
        plans=tuple(sorted(plans, key=lambda timed: timed.plan.t0_ns)),
        poses=tuple(sorted(poses, key=lambda pair: pair[0])),
        odometry_frame=frame,
        views=recorded_views(bag, rig),
        windows_ns=windows_ns,
        refused=refused,
    )


def moments(recording: Recording, stamps_ns: Sequence[int]) -> Iterator[Moment]:
    """Yield what is shown at each of some rising times: the newest plan whose t0 is not after it."""
    timeline = PlanTimeline()
    plan = pose = 0
    for stamp_ns in stamps_ns:
        while pose < len(recording.poses) and recording.poses[pose][0] <= stamp_ns + _AHEAD_NS:
            timeline.add_pose(*recording.poses[pose], frame=recording.odometry_frame)
            pose += 1
        while plan < len(recording.plans) and recording.plans[plan].plan.t0_ns <= stamp_ns:
            timeline.add_plan(recording.plans[plan])
            plan += 1
        yield timeline.at(stamp_ns)


def overlay_frames(
    bag: BagReader,
    recording: Recording,
    stamps_ns: Sequence[int],
    *,
    width: int,
    birds_eye: bool = True,
    style: OverlayStyle = DEFAULT_STYLE,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[UInt8Array]:
    """Yield a picture a time, uint8 RGB: the cameras in two rows, and the plan from above beside them.

    Args:
        bag: open for reading.
        recording: of that bag.
        stamps_ns: rising.
        width: of each camera's picture, px.
        birds_eye: whether the plan is shown from above, too.
        style: of the overlays.
        progress: called after each.
    """
    cameras = sorted(recording.rig.cameras, key=lambda camera: _ORDER.index(camera.name))
    cameras = [camera for camera in cameras if camera.topic in bag.topics]
    sizes: dict[int, tuple[int, int]] = {}
    for stamp_ns, moment in zip(stamps_ns, moments(recording, stamps_ns), strict=True):
        pictures = pictures_at(bag, recording.rig, [stamp_ns], windows_ns=recording.windows_ns).get(
            stamp_ns, {}
        )
        tiles = []
        for camera in cameras:
            picture = pictures.get(camera.camera_id)
            if picture is None:
                height = sizes.get(camera.camera_id, (width * 9 // 16, width))[0]
                tile = np.zeros((height, width, 3), np.uint8)
                paint_labels(tile, None, corner=f"{camera.name}: no picture")
                tiles.append(tile)
                continue
            picture = _scaled(picture, width)
            sizes[camera.camera_id] = (picture.shape[0], width)
            view = recording.views.get(camera.camera_id)
            tiles.append(
                draw_plan_overlay(
                    picture,
                    view=None if view is None else moment.view(view),
                    drawing=moment.drawing,
                    style=style,
                    label=camera.name if view is not None else f"{camera.name}: lens or place not known",
                )
            )
        yield _sheet(tiles, moment, birds_eye=birds_eye)
        progress()


def _sheet(tiles: Sequence[UInt8Array], moment: Moment, *, birds_eye: bool) -> UInt8Array:
    """Return pictures of one width in up to two rows, and the plan from above beside them."""
    columns = len(tiles) if len(tiles) < 3 else -(-len(tiles) // 2)
    height, width = max(tile.shape[0] for tile in tiles), tiles[0].shape[1]
    rows = []
    for start in range(0, len(tiles), columns):
        row = [np.pad(t, ((0, height - t.shape[0]), (0, 0), (0, 0))) for t in tiles[start : start + columns]]
        row += [np.zeros((height, width, 3), np.uint8)] * (columns - len(row))
        rows.append(np.concatenate(row, axis=1))
    sheet = np.concatenate(rows, axis=0)
    if birds_eye:
        above = draw_birds_eye(moment.drawing, size=(max(sheet.shape[0] * 4 // 5, 64), sheet.shape[0]))
        sheet = np.concatenate([sheet, above], axis=1)
    return np.ascontiguousarray(sheet)


def _scaled(picture: UInt8Array, width: int) -> UInt8Array:
    if picture.shape[1] == width:
        return picture
    size = (width, max(1, round(picture.shape[0] * width / picture.shape[1])))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
