"""A camera's frames from message to assembler: decoded, warped and prepared once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from alpamayo_ros.sensing.camera_models import Pinhole
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.rig import CameraConfig, ModelCamera, nominal_model
from alpamayo_ros.sensing.warp import WarpMap
from alpamayo_ros.types import InvalidInput

LENS = Pinhole(width=320, height=200, fx=100, fy=100, cx=159.5, cy=99.5)
PLAIN = CameraConfig(camera_id=1, topic="/front", info_topic="/front/camera_info")
WARPED = replace(PLAIN, intrinsics=LENS, model_camera=ModelCamera(nominal_model(1, width=192, height=108)))


def picture(height: int = 200, width: int = 320) -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 4)


def half(frame: np.ndarray) -> np.ndarray:
    return frame[:, ::2, ::2]


def test_frames_are_handed_to_the_model_s_preparation() -> None:
    rgb = picture()
    result = FramePipeline(PLAIN, half).process_image(
        rgb.tobytes(), encoding="rgb8", height=200, width=320, step=960
    )
    np.testing.assert_array_equal(result.frame, rgb[::2, ::2].transpose(2, 0, 1))
    assert result.total_ms >= result.prepare_ms >= 0


def test_without_preparation_frames_keep_their_size() -> None:
    png = cv2.imencode(".png", picture()[..., ::-1])[1].tobytes()
    result = FramePipeline(PLAIN).process_compressed(png, format="png")
    np.testing.assert_array_equal(result.frame, picture().transpose(2, 0, 1))


def test_frames_are_warped_to_the_model_camera_before_preparation() -> None:
    pipeline = FramePipeline(WARPED, half)
    frame = picture().transpose(2, 0, 1)
    result = pipeline.finish(frame)
    assert WARPED.model_camera is not None
    expected = WarpMap.between(LENS, WARPED.model_camera.model).apply(frame)
    np.testing.assert_array_equal(result.frame, half(expected))


def test_the_map_is_computed_once_for_a_size_and_scales_with_it(monkeypatch) -> None:
    computed = []
    original = WarpMap.between

    def counted(source, target, rotation):
        computed.append((source.width, source.height))
        return original(source, target, rotation)

    monkeypatch.setattr(WarpMap, "between", counted)
    pipeline = FramePipeline(WARPED)
    large = picture().transpose(2, 0, 1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: pipeline.finish(large).frame, range(8)))
    assert computed == [(320, 200)]
    assert all((result == results[0]).all() for result in results)
    small = cv2.resize(picture(), (160, 100), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    scaled = pipeline.finish(small).frame
    assert computed == [(320, 200), (160, 100)]
    assert np.abs(scaled.astype(int) - results[0]).mean() < 4, "half the pixels, the same view"


def test_intrinsics_may_come_at_run_time() -> None:
    pipeline = FramePipeline(replace(WARPED, intrinsics=None))
    frame = picture().transpose(2, 0, 1)
    with pytest.raises(
        InvalidInput,
        match=r"camera front_wide: expected intrinsics .* no CameraInfo on /front/camera_info yet",
    ):
        pipeline.finish(frame)
    assert pipeline.set_intrinsics(LENS)
    assert not pipeline.set_intrinsics(LENS), "nothing new"
    first = pipeline.finish(frame).frame
    assert pipeline.set_intrinsics(replace(LENS, fx=120.0))
    assert (pipeline.finish(frame).frame != first).any(), "the map follows"
    assert pipeline.intrinsics == replace(LENS, fx=120.0)


def test_the_rig_file_s_intrinsics_stay() -> None:
    pipeline = FramePipeline(WARPED)
    assert not pipeline.set_intrinsics(replace(LENS, fx=120.0))
    assert pipeline.intrinsics is LENS


def test_warnings_about_the_view() -> None:
    pipeline = FramePipeline(PLAIN)
    assert pipeline.warnings == []
    pipeline.set_intrinsics(LENS)
    assert pipeline.warnings == [], "116 degrees are near 120"
    pipeline.set_intrinsics(replace(LENS, fx=400.0))
    assert "near 120 degrees" in pipeline.warnings[0]
    assert "got 43.6" in pipeline.warnings[0]
    narrow = FramePipeline(replace(WARPED, intrinsics=replace(LENS, fx=200.0, fy=200.0)))
    assert narrow.warnings == [], "the model camera has the role's view"
    narrow.finish(picture().transpose(2, 0, 1))
    assert "expected it to see its whole model_camera image, got" in narrow.warnings[0]


def test_bad_messages_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 192000 bytes"):
        FramePipeline(PLAIN).process_image(b"", encoding="rgb8", height=200, width=320, step=960)
    with pytest.raises(InvalidInput, match="expected JPEG or PNG data"):
        FramePipeline(PLAIN).process_compressed(b"nothing", format="jpeg")
