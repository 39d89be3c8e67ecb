"""A clip in the stack's own terms: lenses against the package's, poses against the drive, refusals."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("physical_ai_av", reason="the extra `dataset` is not installed")

import clip_factory as factory
import pandas as pd
from clip_factory import COMPLETE, DRIVE, NO_EGOMOTION, NO_TELE, WRITTEN
from physical_ai_av.utils.camera_models import FThetaCameraModel
from scipy.spatial.transform import Rotation

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.clip import Clip, lens_of, read_clip, reasoning_events
from alpamayo_ros.datasets.physical_ai.names import CLIP_ZERO_NS, camera_feature, stamp_ns
from alpamayo_ros.datasets.physical_ai.source import open_fetched, open_folder
from alpamayo_ros.sim.cameras import USUAL_CAMERA_IDS
from alpamayo_ros.types import CAMERA_NAMES, InvalidInput

REFUSED = r"^(?=.*expected)(?=.*got)"


def read(root: Path, clip_id: str = COMPLETE, camera_ids: Any = USUAL_CAMERA_IDS) -> Clip:
    return read_clip(open_folder(root), clip_id, camera_ids=camera_ids)


@pytest.fixture(scope="module")
def clip(repository: Path) -> Clip:
    return read(repository)


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository, tmp_path / "copy"))


def rays(model: FThetaCameraModel, count: int = 2000) -> np.ndarray:
    """Rays [N, 3] all over a lens' picture, by the package's own inverse."""
    pixels = np.random.default_rng(1).uniform((0, 0), (model.width, model.height), (count, 2))
    return np.asarray(model.pixel2ray(pixels))


@pytest.mark.parametrize("name", factory.CAMERAS)
def test_our_lens_is_the_packages(name: str) -> None:
    theirs = factory.lens(name)
    ours, points = lens_of(theirs), rays(theirs) * 7.5
    np.testing.assert_allclose(ours.project(points)[0], theirs.ray2pixel(points), atol=1e-7)
    # Backwards theirs is a fit and ours the exact inverse: they differ by what their fit misses.
    pixels = theirs.ray2pixel(points)
    back, valid = ours.unproject(pixels)
    assert valid.all()
    angle = np.arccos(points[:, 2] / np.linalg.norm(points, axis=1))
    np.testing.assert_allclose(np.arccos(back[:, 2]), angle, atol=1e-7)
    missed = np.abs(theirs.r2th(theirs.th2r(angle)) - angle).max()
    between = np.linalg.norm(np.cross(back, theirs.pixel2ray(pixels)), axis=1)
    assert between.max() <= missed + 1e-9 < 2e-3


def test_the_convention_is_that_of_the_formula() -> None:
    """theta = atan2(|xy|, z), r = sum of fw_poly[i] theta^i from the lowest power, along (x, y)."""
    polynomials = [np.polynomial.Polynomial(c) for c in ([0, 900.0, -4.0, 30.0, -9.0], [0, 1 / 900.0])]
    ours = lens_of(FThetaCameraModel(1920, 1080, np.array([955.0, 547.0]), *polynomials))
    theta = np.arctan2(5.0, 10.0)
    radius = 900 * theta - 4 * theta**2 + 30 * theta**3 - 9 * theta**4
    expected = (955.0 + radius * 3 / 5, 547.0 - radius * 4 / 5)
    np.testing.assert_allclose(ours.project(np.array([[3.0, -4.0, 10.0]]))[0][0], expected, atol=1e-9)
    np.testing.assert_allclose(ours.project(np.array([[0.0, 0.0, 4.0]]))[0][0], (955.0, 547.0), atol=1e-9)


def test_a_fits_rounding_is_no_constant_and_a_ring_is_no_lens() -> None:
    def lens(constant: float) -> FThetaCameraModel:
        polynomials = [np.polynomial.Polynomial(c) for c in ([constant, 900.0], [0, 1 / 900.0])]
        return FThetaCameraModel(1920, 1080, np.array([960.0, 540.0]), *polynomials)

    assert lens_of(lens(-0.004)).angle_to_pixeldist == (0.0, 900.0)
    with pytest.raises(InvalidInput, match="expected a polynomial"):
        lens_of(lens(0.4))


def test_a_clip_is_read_as_it_was_recorded(clip: Clip) -> None:
    assert clip.clip_id == COMPLETE and clip.revision == "folder"
    assert clip.facts == {
        "clip_is_valid": "True",
        "chunk": "17",
        "split": "val",
        "country": "Germany",
        "month": "11",
        "hour_of_day": "23",
        "platform_class": "hyperion_8.1",
        "radar_config": "low",
    }
    assert [camera.camera_id for camera in clip.cameras] == [0, 1, 2, 6]
    for camera, name in zip(clip.cameras, WRITTEN, strict=True):
        assert camera_feature(camera.camera_id) == name
        np.testing.assert_array_equal(camera.stamps_us, factory.stamps_us(name, 2.0))
        assert camera.stamps_us[0] < 0  # the first pictures are a little before the clip's zero
        np.testing.assert_allclose(camera.rig_from_camera, factory.mount(name), atol=1e-6)
        theirs = factory.lens(name)
        points = rays(theirs)
        np.testing.assert_allclose(camera.lens.project(points)[0], theirs.ray2pixel(points), atol=1e-7)
    assert [(e.time_us, e.text) for e in clip.reasoning] == [
        (700_000, "Keep the lane since it is clear."),
        (1_600_000, "Slow down since the lead car brakes."),
    ]


def test_egomotion_is_the_rigs_in_the_anchor_frame_and_its_velocity_turned_into_the_rig(clip: Clip) -> None:
    times_s = clip.egomotion.stamps_us * 1e-6
    np.testing.assert_allclose(clip.egomotion.anchor_from_rig, [DRIVE.pose(t) for t in times_s], atol=1e-9)
    np.testing.assert_allclose(np.diff(times_s), 0.01)
    # The drive goes where the vehicle's nose points, up the slope; roll leaves that direction as it is.
    speed = DRIVE.speed_mps * np.hypot(1, DRIVE.climb)
    np.testing.assert_allclose(clip.egomotion.velocity_in_rig_mps[:, 0], speed, atol=2e-3)
    np.testing.assert_allclose(clip.egomotion.velocity_in_rig_mps[:, 1:], 0, atol=2e-3)
    # Turning about the anchor's z, seen from the tilted rig.
    tilt = Rotation.from_euler("ZYX", (0.0, -DRIVE.climb, DRIVE.roll_rad)).as_matrix()
    expected = tilt.T @ (0, 0, DRIVE.yaw_rate_radps)
    np.testing.assert_allclose(
        clip.egomotion.turning_in_rig_radps, np.tile(expected, (len(times_s), 1)), atol=1e-9
    )


def test_stamps_are_the_clips_clock_to_the_nanosecond() -> None:
    assert stamp_ns(0) == CLIP_ZERO_NS == 1_000_000_000_000_000_000
    assert stamp_ns(-14_212) == 999_999_999_985_788_000
    assert stamp_ns(5_100_000) == 1_000_000_005_100_000_000
    with pytest.raises(DatasetError, match=REFUSED):
        stamp_ns(1_767_225_600_000_000)  # microseconds since 1970


@pytest.mark.parametrize(
    "cell",
    [
        json.dumps([{"event_start_timestamp": 3, "coc": " b "}, {"event_start_timestamp": 1, "coc": "a"}]),
        [{"event_start_timestamp": 3, "coc": "b"}, {"event_start_timestamp": 1, "cot": "a"}],
        np.array([{"event_start_timestamp": 3, "coc": "b"}, {"event_start_timestamp": 1, "coc": "a"}]),
        [
            {"event_start_timestamp": 3, "coc": "b"},
            {"event_start_timestamp": 1, "coc": "a"},
            {"event_start_timestamp": 2, "coc": ""},
            {"event_start_timestamp": 2, "coc": None},
        ],
    ],
    ids=["json", "older key", "array", "without a text"],
)
def test_reasoning_in_each_of_its_forms(cell: object) -> None:
    assert [(e.time_us, e.text) for e in reasoning_events(cell)] == [(1, "a"), (3, "b")]


@pytest.mark.parametrize("cell", [None, float("nan"), "", "  ", "[]", []])
def test_no_reasoning(cell: object) -> None:
    assert reasoning_events(cell) == ()


@pytest.mark.parametrize("cell", ["{", 7, [7], [{"coc": "no time"}], "[1]"])
def test_other_reasoning_is_refused(cell: object) -> None:
    with pytest.raises(DatasetError, match=f"ood_reasoning{REFUSED[1:]}"):
        reasoning_events(cell)


def test_an_unknown_clip_is_refused(repository: Path) -> None:
    with pytest.raises(DatasetError, match=r"clip 'nobody': expected one of the 4 clips of .*, got"):
        read(repository, "nobody")


def test_a_clip_without_a_camera_or_egomotion_is_refused(repository: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"expected the camera front_tele, got none: the clip has cross_left, front_wide, cross_right$",
    ):
        read(repository, NO_TELE)
    with pytest.raises(DatasetError, match="expected the camera rear_left"):
        read(repository, COMPLETE, [CAMERA_NAMES.index("rear_left")])
    with pytest.raises(DatasetError, match="expected its egomotion, got none: the data set has none"):
        read(repository, NO_EGOMOTION)


def test_what_was_not_fetched_is_named_with_the_remedy(copy: Path) -> None:
    archive = copy / "camera/camera_front_wide_120fov/camera_front_wide_120fov.chunk_0017.zip"
    archive.unlink()
    with pytest.raises(
        DatasetError,
        match=rf"camera_front_wide_120fov, got none: it was not fetched: `alpamayo dataset fetch {COMPLETE}`",
    ):
        read(copy)
    (copy / "calibration/sensor_extrinsics/sensor_extrinsics.chunk_0017.parquet").unlink()
    with pytest.raises(DatasetError, match="its sensor_extrinsics, got none: it was not fetched"):
        read(copy)


def test_a_download_that_broke_off_is_refused(copy: Path) -> None:
    archive = copy / "camera/camera_front_wide_120fov/camera_front_wide_120fov.chunk_0017.zip"
    archive.write_bytes(archive.read_bytes()[:-4000])
    with pytest.raises(
        DatasetError, match=r"chunk_0017\.zip: expected a whole archive, got .*; remove it and fetch it again"
    ):
        read(copy)


def test_a_damaged_archive_is_refused_by_its_checksum(copy: Path) -> None:
    archive = copy / "camera/camera_front_wide_120fov/camera_front_wide_120fov.chunk_0017.zip"
    data = bytearray(archive.read_bytes())
    data[2000:2010] = bytes(10)
    archive.write_bytes(data)
    with pytest.raises(DatasetError, match="expected a whole archive, got Bad CRC"):
        read(copy)


def test_an_archive_without_the_clip_is_refused(copy: Path) -> None:
    archive = copy / "camera/camera_front_wide_120fov/camera_front_wide_120fov.chunk_0017.zip"
    with zipfile.ZipFile(archive, "w") as emptied:
        emptied.writestr("another", b"")
    with pytest.raises(DatasetError, match=f"expected the files of clip {COMPLETE}, got none"):
        read(copy)


def change_egomotion(root: Path, change: Any) -> None:
    archive = root / "labels/egomotion/egomotion.chunk_0017.zip"
    table = change(factory.egomotion(2.0))
    factory._zip(archive, {f"{COMPLETE}.egomotion.parquet": factory._bytes(table)})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop(columns="qw"), "egomotion: expected the column qw, got timestamp, qx"),
        (lambda t: t.assign(qx=0.0, qy=0.0, qz=0.0, qw=0.0), "egomotion: expected rotations, got"),
        (lambda t: t.drop(columns="curvature"), "egomotion: expected the column curvature, got timestamp"),
        (lambda t: t.assign(x=np.nan), "egomotion: expected finite values"),
        (lambda t: t.assign(vx="fast"), "egomotion: expected numbers, got"),
        (lambda t: t.assign(timestamp=np.nan), "egomotion: expected finite values"),
        (lambda t: pd.concat([t, t]), "egomotion: timestamps: expected rising ones, got"),
        (lambda t: t.head(1), "egomotion: timestamps: expected at least 2, got 1"),
    ],
    ids=["column", "quaternion", "other column", "nan", "text", "no time", "order", "one pose"],
)
def test_egomotion_that_is_none_is_refused(copy: Path, change: Any, problem: str) -> None:
    change_egomotion(copy, change)
    with pytest.raises(DatasetError, match=f"{COMPLETE}: {problem}"):
        read(copy)


def test_a_table_that_is_no_parquet_is_refused(copy: Path) -> None:
    factory._zip(copy / "labels/egomotion/egomotion.chunk_0017.zip", {f"{COMPLETE}.egomotion.parquet": b"no"})
    with pytest.raises(DatasetError, match="egomotion: expected a parquet table, got Arrow"):
        read(copy)
    (copy / "reasoning/ood_reasoning.parquet").write_bytes(b"no")
    change_egomotion(copy, lambda t: t)
    with pytest.raises(DatasetError, match=r"ood_reasoning\.parquet: expected a parquet table"):
        read(copy)
    (copy / "calibration/camera_intrinsics/camera_intrinsics.chunk_0017.parquet").write_bytes(b"no")
    with pytest.raises(DatasetError, match="expected a readable camera_intrinsics, got"):
        read(copy)


def test_a_clip_without_the_reasoning_table_has_none(copy: Path) -> None:
    (copy / "reasoning/ood_reasoning.parquet").unlink()
    assert read(copy, camera_ids=[1]).reasoning == ()


def test_places_that_hold_no_data_set_are_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"expected a folder with the data set's clip_index\.parquet, got none"
    ):
        open_folder(tmp_path)
    with pytest.raises(DatasetError, match=r"expected something fetched in .*, got nothing of it"):
        open_fetched(cache=tmp_path)
    (copy / "metadata/data_collection.parquet").unlink()
    with pytest.raises(DatasetError, match=r"expected the data set's metadata .*, got FileNotFoundError"):
        open_folder(copy)
