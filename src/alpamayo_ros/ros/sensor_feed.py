"""From serialised camera messages and odometry to observations, off the executor; knows no rclpy.

Images are decoded, warped and resized in a thread pool, each once, as they arrive. Compressed ones only if a
plan can use them (sensing/frame_demand): the others wait as they came, in case they are needed after all.
Whenever something has arrived, the thread that brought it asks the assembler for the newest observation and
hands it on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from alpamayo_ros.ros.decoding import KeyedPool
from alpamayo_ros.ros.diagnostics import InputStatistics
from alpamayo_ros.ros.image_cdr import CompressedImage, parse_compressed_image, parse_image
from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.frame_health import FrameWatch
from alpamayo_ros.sensing.frame_pipeline import FramePipeline, ProcessedFrame
from alpamayo_ros.sensing.images import check_complete
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sensing.stamped_buffer import Added
from alpamayo_ros.sensing.timing import BackwardJump, ObservationRefused, TimingConfig, require_stamp
from alpamayo_ros.types import Observation, PrepareFrame, UInt8Array


@dataclass(frozen=True)
class _Job:
    """A message to be decoded: its CDR bytes, or what was found in them where that has been read already."""

    epoch: int
    message: bytes | CompressedImage


@dataclass(frozen=True)
class FeedListener:
    """Who is told; the functions are called in threads of the pool or in that of the messages.

    Attributes:
        observed: a new observation, and the assembler's epoch that it belongs to; one at a time.
        refused: an observation that the timing contract refuses.
        image_refused: camera name and error of an image that cannot be used.
        jumped: time went backwards in an input, and every buffer was cleared.
        decoded: camera id, stamp and frame of an image that was decoded and kept; None if nobody wants it.
    """

    observed: Callable[[Observation, int], None]
    refused: Callable[[ObservationRefused], None]
    image_refused: Callable[[str, Exception], None]
    jumped: Callable[[BackwardJump], None]
    decoded: Callable[[int, int, UInt8Array], None] | None = None


class SensorFeed:
    """Owns the assembler, the cameras' pipelines and the decode threads.

    Args:
        rig: cameras and body frames.
        timing: the timing contract's numbers.
        prepare_frame: the model's own preparation of a frame.
        decode_threads: size of the pool.
        now_ns: the clock of the messages.
        listener: who is told.

    Attributes:
        late: how often an observation had to wait for images that did not seem to be needed when they came.
    """

    def __init__(
        self,
        rig: Rig,
        *,
        timing: TimingConfig,
        prepare_frame: PrepareFrame,
        decode_threads: int,
        now_ns: Callable[[], int],
        listener: FeedListener,
    ) -> None:
        self.rig = rig
        self.assembler = ObservationAssembler(rig, timing, on_backward_jump=listener.jumped)
        self.cameras = {camera.camera_id: InputStatistics() for camera in rig.cameras}
        self.sights = {camera.camera_id: FrameWatch() for camera in rig.cameras}
        self._pipelines = {c.camera_id: FramePipeline(c, prepare_frame) for c in rig.cameras}
        self._now_ns = now_ns
        self._listener = listener
        self.late = 0
        self._pump_lock = threading.Lock()
        self._pump_wanted = False
        self._pump_queued = False
        self._pool: KeyedPool[_Job] = KeyedPool(rig.camera_ids, handle=self._decode, threads=decode_threads)

    def image(self, camera_id: int, serialised: bytes) -> None:
        """Take a serialised Image or CompressedImage, as the rig's transport says."""
        statistics = self.cameras[camera_id]
        statistics.count("received")
        job = _Job(self.assembler.epoch, serialised)
        if self._pipelines[camera_id].camera.transport != "compressed":
            # Raw images are too large to be kept in case of need, and cost little: all are prepared.
            self._submit(camera_id, job)
            return
        try:
            image = parse_compressed_image(serialised)
            stamp_ns = require_stamp("image stamp", image.stamp_ns)
            check_complete(image.data, format=image.format)
            added = self.assembler.announce(camera_id, stamp_ns, image, epoch=job.epoch)
        except Exception as error:  # whatever is wrong with one image, the next one may be right
            self._refused(camera_id, error)
            return
        if added is Added.KEPT:
            statistics.count("announced")
            statistics.stamped(stamp_ns)
        if not self._decode_demanded() and self.assembler.waits_on(camera_id):
            self.poll()

    def odometry(self, stamp_ns: int, odom_from_child: Matrix4, *, child_frame: str) -> None:
        """Take a pose of a body frame; raises InvalidInput if it cannot be brought to the rig frame."""
        self.assembler.add_odometry(stamp_ns, odom_from_child, child_frame=child_frame)
        if self.assembler.waits_on(None):
            self.poll()

    def intrinsics(self, camera_id: int, model: CameraModel) -> list[str]:
        """Use a lens that came by CameraInfo; returns warnings about its field of view."""
        pipeline = self._pipelines[camera_id]
        return pipeline.warnings if pipeline.set_intrinsics(model) else []

    def poll(self) -> None:
        """Ask for the newest observation soon, in a thread of the pool: for waits that may be over by now."""
        if not self._pump_queued:
            self._pump_queued = True
            self._pool.run(self._pump)

    def clear(self) -> None:
        """Forget every frame, pose and image that is being decoded: time has jumped, or the node was off."""
        self._pool.clear()
        self.assembler.clear()
        for statistics in self.cameras.values():
            statistics.clear_stamps()
        for sight in self.sights.values():
            sight.clear()

    def close(self) -> None:
        """End the threads."""
        self._pool.close()

    def _decode_demanded(self) -> bool:
        """Hand frames that are to be decoded to the pool; returns whether there were any."""
        demands = self.assembler.demands()
        for demand in demands:
            assert isinstance(demand.payload, CompressedImage)
            self.cameras[demand.camera_id].count("asked")
            self._submit(demand.camera_id, _Job(demand.epoch, demand.payload))
        return bool(demands)

    def _submit(self, camera_id: int, job: _Job) -> None:
        dropped = self._pool.submit(camera_id, job)
        if dropped is None:
            return
        self.cameras[camera_id].count("dropped")
        self._withdraw(camera_id, dropped)

    def _withdraw(self, camera_id: int, job: _Job) -> None:
        """Let the assembler do without an image, if it knows of it."""
        if isinstance(job.message, CompressedImage):
            self.assembler.withdraw(camera_id, job.message.stamp_ns, epoch=job.epoch)

    def _refused(self, camera_id: int, error: Exception) -> None:
        statistics = self.cameras[camera_id]
        statistics.count("decode_errors")
        statistics.problem = str(error)
        self._listener.image_refused(self.rig.camera(camera_id).name, error)

    def _decode(self, camera_id: int, job: _Job) -> None:
        statistics = self.cameras[camera_id]
        try:
            stamp_ns, processed = self._frame(camera_id, job.message)
        except Exception as error:  # whatever is wrong with one image, the next one may be right
            self._withdraw(camera_id, job)
            self._refused(camera_id, error)
            self._pump()
            return
        frame = processed.frame
        statistics.count("decoded")
        self.sights[camera_id].see(stamp_ns, frame)
        if self.assembler.add_frame(camera_id, stamp_ns, frame, epoch=job.epoch) is None:
            return
        statistics.problem = ""
        if not isinstance(job.message, CompressedImage):
            statistics.stamped(stamp_ns)
        self._pump()
        if self._listener.decoded is not None:
            self._listener.decoded(camera_id, stamp_ns, frame)

    def _frame(self, camera_id: int, message: bytes | CompressedImage) -> tuple[int, ProcessedFrame]:
        pipeline = self._pipelines[camera_id]
        if isinstance(message, CompressedImage):
            return message.stamp_ns, pipeline.process_compressed(message.data, format=message.format)
        image = parse_image(message)
        stamp_ns = require_stamp("image stamp", image.stamp_ns)
        processed = pipeline.process_image(
            image.data,
            encoding=image.encoding,
            height=image.height,
            width=image.width,
            step=image.step,
            is_bigendian=image.is_bigendian,
        )
        return stamp_ns, processed

    def _pump(self) -> None:
        # Whoever finds the lock taken leaves the wish behind, and the holder looks again before it goes.
        self._pump_queued = False
        self._pump_wanted = True
        while self._pump_wanted and self._pump_lock.acquire(blocking=False):
            try:
                self._pump_wanted = False
                self._take()
            finally:
                self._pump_lock.release()

    def _take(self) -> None:
        now_ns = self._now_ns()
        if now_ns <= 0:  # simulated time that has not begun
            return
        epoch = self.assembler.epoch
        try:
            observation = self.assembler.take(now_ns)
        except ObservationRefused as refusal:
            self._listener.refused(refusal)
            return
        finally:
            self.late += self._decode_demanded()
        if observation is not None:
            self._listener.observed(observation, epoch)
