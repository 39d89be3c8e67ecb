"""Reading a request: its images encoded or found encoded, its prompt read, all of it or behind a start."""

from __future__ import annotations

from collections.abc import Sequence

from alpamayo_ros.model.engine import Engine, PromptState, StopRule
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.model.prompt_start import (
    NUM_START_IMAGES,
    PromptStart,
    PromptStarts,
    StartLayout,
    StartStatistics,
)
from alpamayo_ros.model.request import Request
from alpamayo_ros.model.speed import SpeedOptions
from alpamayo_ros.model.static_runner import StaticStatistics
from alpamayo_ros.model.stopwatch import Stopwatch
from alpamayo_ros.model.vision_cache import VisionCache, VisionStatistics, joined, weakly
from alpamayo_ros.types import NUM_WAYPOINTS, UInt8Array


class PromptReader:
    """Reads requests, and beforehand what is known of the next one. Not for several threads at once.

    Args:
        engine: computes.
        images: how images are prepared.
        speed: what is kept, and whether prompts are read in two parts.
    """

    def __init__(self, engine: Engine, images: ImagePreparer, *, speed: SpeedOptions) -> None:
        self._engine: Engine | None = engine
        self._images = images
        # A cycle would keep the weights of a model that nobody has.
        self._vision = VisionCache(
            weakly(self.look), max_images=speed.vision_cache_images, max_bytes=speed.vision_cache_bytes
        )
        self._starts = PromptStarts() if speed.read_ahead and engine.reads_in_parts else None

    @property
    def engine(self) -> Engine:
        """What computes; raises RuntimeError once closed."""
        if self._engine is None:
            raise RuntimeError("this Alpamayo was closed")
        return self._engine

    @property
    def vision_statistics(self) -> VisionStatistics:
        """How many images were encoded, and how many were found encoded."""
        return self._vision.statistics

    @property
    def graph_statistics(self) -> StaticStatistics | None:
        """What ran on fixed buffers; None where nothing does, or once closed."""
        return None if self._engine is None else self._engine.static_statistics

    @property
    def start_statistics(self) -> StartStatistics | None:
        """How many prompts' starts were read ahead, and how many of them used; None where none is."""
        return None if self._starts is None else self._starts.statistics

    def look(self, image: UInt8Array) -> VisualFeatures:
        """Return the features of one image of any size, uint8 [3, H, W]."""
        prepared, engine = self._images.prepare_frame(image), self.engine
        pixel_values, grid_thw = self._images.patchify((prepared[None],), device=engine.network.device)
        return engine.look(pixel_values, grid_thw)

    def encode_ahead(self, camera_id: int, stamp_ns: int, frame: UInt8Array) -> bool:
        """Encode a frame that may be asked for later; False if it is there, or nothing is kept."""
        _ = self.engine  # closed: say so, whatever is kept
        return self._vision.encode_ahead(camera_id, stamp_ns, frame)

    def read_ahead(self) -> bool:
        """Read the start of a prompt like the last one, of its first camera's newest frames.

        False where that has been done, or cannot be: before the first prompt, or without the frames.
        """
        engine, starts = self.engine, self._starts
        if starts is None or starts.layout is None:
            return False
        features = self._vision.newest(starts.layout.camera_id, NUM_START_IMAGES)
        if not starts.layout.takes(features) or starts.has(starts.layout, features):
            return False
        starts.keep(engine.read_start(starts.layout, features))
        return True

    def read(self, request: Request, stop: StopRule, *, num_samples: int, watch: Stopwatch) -> PromptState:
        """Read a request's prompt; the cache has room for one sample's tokens, of more each gets a copy."""
        watch.lap("preprocess")
        seen, prompt = request.observation, request.prompt
        features = [
            self._vision.features(camera_id, int(stamp_ns), image)
            for camera_id, stamps_ns, images in zip(
                seen.camera_ids, seen.frame_stamps_ns, seen.frames, strict=True
            )
            for stamp_ns, image in zip(stamps_ns, images, strict=True)
        ]
        watch.lap("vision")
        start = self._start(request, features[:NUM_START_IMAGES])
        length = len(prompt.fused_ids)
        state = self.engine.prefill(
            prompt.fused_ids,
            joined(features if start is None else features[NUM_START_IMAGES:]),
            grids=request.grids,
            capacity=length + (stop.limit + NUM_WAYPOINTS if num_samples == 1 else 0),
            start=start,
        )
        watch.lap("prefill")
        return state

    def close(self) -> None:
        """Let go of the weights, all images and starts; counts stay."""
        self._engine = None
        self._vision.clear()
        if self._starts is not None:
            self._starts.clear()

    def _start(self, request: Request, features: Sequence[VisualFeatures]) -> PromptStart | None:
        """Return the start of a request's prompt, read now if it was not; None where all is read at once."""
        if self._starts is None:
            return None
        layout = StartLayout.of(
            int(request.observation.camera_ids[0]),
            request.prompt.fused_ids,
            request.grids,
            image_token_id=self.engine.image_token_id,
        )
        self._starts.layout = layout
        return self._starts.take(layout, features) or self.engine.read_start(layout, features)
