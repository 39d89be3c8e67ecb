"""What happens to a frame once, on arrival: decode, warp to the model's camera, prepare for the model."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from alpamayo_ros.sensing.camera_models import CameraModel
from alpamayo_ros.sensing.images import decode_compressed, decode_image
from alpamayo_ros.sensing.rig import CameraConfig
from alpamayo_ros.sensing.warp import WarpMap
from alpamayo_ros.types import InvalidInput, PrepareFrame, UInt8Array

# A virtual image with more of it black than this is worth a warning.
_LITTLE_COVERAGE = 0.9


@dataclass(frozen=True, eq=False)
class ProcessedFrame:
    """A frame ready for the assembler, uint8 RGB [3, h, w], and what it took in ms."""

    frame: UInt8Array
    decode_ms: float
    warp_ms: float
    prepare_ms: float

    @property
    def total_ms(self) -> float:
        """The sum of the stages."""
        return self.decode_ms + self.warp_ms + self.prepare_ms


class FramePipeline:
    """The pipeline of one camera. Its methods may be called from several threads at once.

    Args:
        camera: how the camera is configured; with a model_camera frames are warped.
        prepare_frame: the model's own preparation (uint8 [3, H, W] to uint8 [3, h, w]); None leaves frames
            at their size.
    """

    def __init__(self, camera: CameraConfig, prepare_frame: PrepareFrame | None = None) -> None:
        self.camera = camera
        self._prepare_frame = prepare_frame
        self._lock = threading.Lock()
        self._intrinsics = camera.intrinsics
        self._warp: WarpMap | None = None
        self._warnings = camera.warnings()

    @property
    def intrinsics(self) -> CameraModel | None:
        """The camera's lens: the rig file's, else that of set_intrinsics, else None."""
        with self._lock:
            return self._intrinsics

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about the camera, as far as it is known by now."""
        with self._lock:
            return list(self._warnings)

    def set_intrinsics(self, intrinsics: CameraModel) -> bool:
        """Take over intrinsics that came at run time (CameraInfo), unless the rig file gave some.

        Returns whether they are new; the warp's map is computed anew with the next frame then.
        """
        with self._lock:
            if self.camera.intrinsics is not None or intrinsics == self._intrinsics:
                return False
            self._intrinsics = intrinsics
            self._warp = None
            self._warnings = self.camera.warnings(intrinsics)
            return True

    def process_image(
        self, data: Any, *, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
    ) -> ProcessedFrame:
        """Return the frame of an Image message; raises InvalidInput as decode_image and finish do."""
        start = time.perf_counter()
        image = decode_image(
            data, encoding=encoding, height=height, width=width, step=step, is_bigendian=is_bigendian
        )
        return self.finish(image, decode_ms=(time.perf_counter() - start) * 1e3)

    def process_compressed(self, data: Any, *, format: str = "") -> ProcessedFrame:
        """Return the frame of a CompressedImage; raises InvalidInput as decode_compressed and finish do."""
        start = time.perf_counter()
        image = decode_compressed(data, format=format)
        return self.finish(image, decode_ms=(time.perf_counter() - start) * 1e3)

    def finish(self, image: UInt8Array, *, decode_ms: float = 0.0) -> ProcessedFrame:
        """Return a decoded image, uint8 RGB [3, H, W], warped and prepared.

        Raises:
            InvalidInput: if the rig asks for a virtual camera and the intrinsics are not known yet.
        """
        start = time.perf_counter()
        if self.camera.model_camera is not None:
            image = self._warp_for(image.shape[2], image.shape[1]).apply(image)
        warped = time.perf_counter()
        if self._prepare_frame is not None:
            image = self._prepare_frame(image)
        prepared = time.perf_counter()
        return ProcessedFrame(
            frame=image,
            decode_ms=decode_ms,
            warp_ms=(warped - start) * 1e3,
            prepare_ms=(prepared - warped) * 1e3,
        )

    def _warp_for(self, width: int, height: int) -> WarpMap:
        """Return the map for frames of a size, computed at the first one (others wait meanwhile)."""
        with self._lock:
            if self._warp is not None and self._warp.source_size == (width, height):
                return self._warp
            target = self.camera.model_camera
            assert target is not None
            if self._intrinsics is None:
                raise InvalidInput(
                    f"camera {self.camera.name}: expected intrinsics for its model_camera, got none in the "
                    f"rig file and no CameraInfo on {self.camera.info_topic} yet"
                )
            # Frames may come at another size than the calibration's.
            source = self._intrinsics.scaled_to(width, height)
            self._warp = WarpMap.between(source, target.model, target.camera_from_virtual)
            self._warnings = self.camera.warnings(self._intrinsics)
            if self._warp.coverage < _LITTLE_COVERAGE:
                self._warnings.append(
                    f"camera {self.camera.name}: expected it to see its whole model_camera image, got "
                    f"{self._warp.coverage:.0%}: the rest is black"
                )
            return self._warp
