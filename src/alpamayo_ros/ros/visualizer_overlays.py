"""Overlays of a rig's cameras: pictures in, pictures with the plan out; knows no rclpy.

Of a picture that nobody looks at, or that comes sooner than the rate allows, not a byte is decoded. One whose
time odometry has not reached yet waits for it, the newest one of each camera.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from alpamayo_ros.ros.decoding import KeyedPool
from alpamayo_ros.ros.diagnostics import InputStatistics
from alpamayo_ros.ros.image_cdr import CompressedImage, RawImage, parse_compressed_image, parse_image
from alpamayo_ros.ros.visualizer_cameras import CameraViews
from alpamayo_ros.ros.visualizer_parameters import VisualizerSettings
from alpamayo_ros.sensing.images import decode_compressed, decode_image
from alpamayo_ros.sensing.timing import require_stamp
from alpamayo_ros.types import InvalidInput, UInt8Array, camera_name
from alpamayo_ros.viz.overlay import draw_plan_overlay
from alpamayo_ros.viz.timeline import Moment, PlanTimeline

_EARLY = 0.75
"""Share of the period at which the next picture is welcome: stamps jitter."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """A picture with the plan, as JPEG, under its stamp and frame."""

    stamp_ns: int
    frame_id: str
    jpeg: bytes


@dataclass(frozen=True, eq=False)
class _Job:
    image: RawImage | CompressedImage
    epoch: int
    moment: Moment | None = None
    arrived_ns: int = 0


class Overlays:
    """Draws, in a thread of its own; the methods are called by one thread, the executor's.

    Args:
        settings: rig, rate, size, quality, style.
        timeline: plans and poses.
        views: lens and place of the cameras.
        steady_ns: a clock that only measures.
        done: called with camera id and overlay in the drawing thread.

    Attributes:
        statistics: of each camera: received, skipped, refused, drawn, without_plan.
    """

    def __init__(
        self,
        settings: VisualizerSettings,
        *,
        timeline: PlanTimeline,
        views: CameraViews,
        steady_ns: Callable[[], int],
        done: Callable[[int, Overlay], None],
    ) -> None:
        self._settings = settings
        self._timeline = timeline
        self._views = views
        self._steady_ns = steady_ns
        self._done = done
        self._period_ns = 1e9 / settings.max_rate_hz
        self._taken_ns: dict[int, int] = {}
        self._waiting: dict[int, _Job] = {}
        self._epoch = 0
        self._lock = threading.Lock()
        self.statistics = {camera_id: InputStatistics() for camera_id in settings.rig.camera_ids}
        self._pool: KeyedPool[_Job] = KeyedPool(
            settings.rig.camera_ids, handle=self._draw, threads=1, queue_length=1
        )

    def image(self, camera_id: int, serialised: bytes) -> None:
        """Take a serialised Image or CompressedImage, as the rig's transport says."""
        statistics = self.statistics[camera_id]
        statistics.count("received")
        try:
            compressed = self._settings.rig.camera(camera_id).transport == "compressed"
            image = parse_compressed_image(serialised) if compressed else parse_image(serialised)
            stamp_ns = require_stamp("image stamp", image.stamp_ns)
        except InvalidInput as error:
            self._refused(camera_id, error)
            return
        last_ns = self._taken_ns.get(camera_id)
        if last_ns is not None and 0 <= stamp_ns - last_ns < _EARLY * self._period_ns:
            statistics.count("skipped")
            return
        self._taken_ns[camera_id] = stamp_ns
        job = _Job(image, self._epoch, arrived_ns=self._steady_ns())
        before = self._waiting.pop(camera_id, None)
        if before is not None:
            self._submit(camera_id, before)
        if self._can_be_placed(stamp_ns) or not self._settings.odometry_wait_ms:
            self._submit(camera_id, job)
        else:
            self._waiting[camera_id] = job

    def poll(self) -> None:
        """Draw what has waited for odometry that has come, or for too long."""
        oldest_ns = self._steady_ns() - round(self._settings.odometry_wait_ms * 1e6)
        for camera_id, job in list(self._waiting.items()):
            if self._can_be_placed(job.image.stamp_ns) or job.arrived_ns <= oldest_ns:
                del self._waiting[camera_id]
                self._submit(camera_id, job)

    @property
    def waiting(self) -> bool:
        """Whether a picture waits for odometry of its time."""
        return bool(self._waiting)

    def clear(self) -> None:
        """Forget the pictures that wait or are being drawn: time went back."""
        with self._lock:
            self._epoch += 1
        self._pool.clear()
        self._waiting.clear()
        self._taken_ns.clear()
        for statistics in self.statistics.values():
            statistics.clear_stamps()

    def close(self) -> None:
        """End the thread."""
        self._pool.close()

    def _can_be_placed(self, stamp_ns: int) -> bool:
        newest_ns = self._timeline.poses.buffer.newest_ns
        return newest_ns is not None and newest_ns >= stamp_ns

    def _submit(self, camera_id: int, job: _Job) -> None:
        # What a picture shows is decided here, in the thread that brings plans and poses.
        moment = self._timeline.at(job.image.stamp_ns)
        if self._pool.submit(camera_id, _Job(job.image, job.epoch, moment)) is not None:
            self.statistics[camera_id].count("dropped")

    def _refused(self, camera_id: int, error: Exception) -> None:
        self.statistics[camera_id].count("refused")
        self.statistics[camera_id].problem = str(error)

    def _draw(self, camera_id: int, job: _Job) -> None:
        statistics, image = self.statistics[camera_id], job.image
        try:
            jpeg, problem = self._picture(camera_id, job)
        except Exception as error:  # whatever is wrong with one picture, the next one may be right
            self._refused(camera_id, error)
            return
        statistics.problem = problem
        with self._lock:
            if job.epoch != self._epoch:
                return
        statistics.count("drawn")
        if job.moment is not None and job.moment.drawing.status == "NONE":
            statistics.count("without_plan")
        statistics.stamped(image.stamp_ns)
        self._done(camera_id, Overlay(image.stamp_ns, image.frame_id, jpeg))

    def _picture(self, camera_id: int, job: _Job) -> tuple[bytes, str]:
        """Return the JPEG, and what is missing for the plan to be drawn into it."""
        assert job.moment is not None
        rgb = self._fitting(_decoded(job.image))
        view = self._views.view(camera_id, job.image.frame_id)
        drawn = draw_plan_overlay(
            rgb,
            view=None if isinstance(view, str) else job.moment.view(view),
            drawing=job.moment.drawing,
            style=self._settings.style,
            label=camera_name(camera_id),
        )
        encoded, data = cv2.imencode(
            ".jpg",
            cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality],
        )
        if not encoded:
            raise InvalidInput(f"overlay: expected a picture that JPEG can hold, got {list(drawn.shape)}")
        return data.tobytes(), view if isinstance(view, str) else ""

    def _fitting(self, rgb: UInt8Array) -> UInt8Array:
        """Return a picture [H, W, 3] that is no wider than wished for."""
        height, width = rgb.shape[:2]
        limit = self._settings.max_width
        if not 0 < limit < width:
            return rgb
        size = (limit, max(1, round(height * limit / width)))
        return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _decoded(image: RawImage | CompressedImage) -> UInt8Array:
    """Return the pixels [H, W, 3], as the planner decodes them."""
    if isinstance(image, CompressedImage):
        return decode_compressed(image.data, format=image.format).transpose(1, 2, 0)
    return decode_image(
        image.data,
        encoding=image.encoding,
        height=image.height,
        width=image.width,
        step=image.step,
        is_bigendian=image.is_bigendian,
    ).transpose(1, 2, 0)
