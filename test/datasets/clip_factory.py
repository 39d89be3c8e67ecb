"""Writes clips in the data set's own on-disk format: the repository's files, small, drawn and known.

What is drawn is computed with the package's lens (numpy polynomials) and scipy's transforms, not with ours.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from physical_ai_av.utils.camera_models import FThetaCameraModel
from scipy.spatial.transform import Rotation

COMPLETE = "11111111-2222-4333-8444-555555555555"
NO_TELE = "22222222-2222-4333-8444-555555555555"
NO_EGOMOTION = "33333333-2222-4333-8444-555555555555"
INVALID = "44444444-2222-4333-8444-555555555555"
CHUNK = 17
WIDTH, HEIGHT = 320, 180
FPS = 30

CAMERAS = (
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_rear_left_70fov",
    "camera_rear_tele_30fov",
    "camera_rear_right_70fov",
    "camera_front_tele_30fov",
)
WRITTEN = (CAMERAS[0], CAMERAS[1], CAMERAS[2], CAMERAS[6])
COLOURS = np.array([(220, 30, 30), (30, 200, 40), (40, 60, 230), (230, 210, 30), (210, 40, 210)], np.uint8)
LANDMARKS = np.array(
    [(26.0, 2.0, 1.2), (30.0, -7.0, 2.5), (20.0, 14.0, 1.0), (14.0, -16.0, 1.5), (45.0, 9.0, 3.0)]
)
"""Points that stand still in the anchor frame, m; each is drawn as a disc of its colour."""
RADIUS_PX = 5
BACKGROUND = (118, 122, 120)
EVENTS = [
    {"event_start_timestamp": 1_600_000, "coc": "Slow down since the lead car brakes."},
    {"event_start_timestamp": 700_000, "coc": "Keep the lane since it is clear."},
]


@dataclass(frozen=True)
class Drive:
    """A left turn on a slope: poses of the rig in the anchor frame, by time on the clip's clock in s."""

    speed_mps: float = 8.0
    yaw_rate_radps: float = 0.12
    climb: float = 0.03
    roll_rad: float = 0.02

    def pose(self, time_s: float) -> NDArray[np.float64]:
        yaw, radius = self.yaw_rate_radps * time_s, self.speed_mps / self.yaw_rate_radps
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("ZYX", (yaw, -self.climb, self.roll_rad)).as_matrix()
        pose[:3, 3] = (radius * np.sin(yaw), radius * (1 - np.cos(yaw)), self.climb * self.speed_mps * time_s)
        return pose

    def velocity(self, time_s: float) -> NDArray[np.float64]:
        yaw = self.yaw_rate_radps * time_s
        return self.speed_mps * np.array([np.cos(yaw), np.sin(yaw), self.climb])


DRIVE = Drive()


def lens(camera: str) -> FThetaCameraModel:
    """A lens of the role's field of view, off centre, with powers of all orders, as NVIDIA's are."""
    number, scale = CAMERAS.index(camera), WIDTH / 1920
    half_rad = np.deg2rad(float(camera.rpartition("_")[2].removesuffix("fov"))) / 2
    focal = WIDTH / 2 / half_rad
    forward = np.array([0.0, focal, (-9.0 + number) * scale, 31.0 * scale, -17.0 * scale])
    theta = np.linspace(0, 1.35 * half_rad, 200)
    radius = np.polynomial.polynomial.polyval(theta, forward)
    powers = radius[:, None] ** np.arange(1, 5)
    size = powers.max(axis=0)
    backward = np.concatenate([[0.0], np.linalg.lstsq(powers / size, theta, rcond=None)[0] / size])
    return FThetaCameraModel(
        width=WIDTH,
        height=HEIGHT,
        principal_point=np.array([WIDTH / 2 + 3.3 - number, HEIGHT / 2 - 4.7 + 2 * number]),
        th2r=np.polynomial.Polynomial(forward),
        r2th=np.polynomial.Polynomial(backward),
    )


def mount(camera: str) -> NDArray[np.float64]:
    """Pose [4, 4] of a camera's optical frame in the rig."""
    yaw_deg = (58.0, 1.0, -61.0, 140.0, 180.0, -140.0, -0.7)[CAMERAS.index(camera)]
    body = Rotation.from_euler("ZYX", (yaw_deg, 1.5, -0.8), degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = body @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[:3, 3] = (1.9, 0.01 * yaw_deg, 1.45)
    return pose


def stamps_us(camera: str, seconds: float) -> NDArray[np.int64]:
    """Times of a camera's pictures: from a little below zero on, each camera a little off, jittering."""
    count = int(seconds * FPS)
    jitter = np.random.default_rng(CAMERAS.index(camera)).integers(-150, 150, count)
    return np.asarray(
        np.round(np.arange(count) * 1e6 / FPS) - 14_212 + 1_900 * CAMERAS.index(camera) + jitter, np.int64
    )


def pixels(camera: str, time_s: float) -> NDArray[np.float64]:
    """Where a camera sees the landmarks, [N, 2], NaN behind it: by the package's own projection."""
    anchor_from_camera = DRIVE.pose(time_s) @ mount(camera)
    points = (LANDMARKS - anchor_from_camera[:3, 3]) @ anchor_from_camera[:3, :3]
    seen = lens(camera).ray2pixel(points)
    seen[points[:, 2] < 1.0] = np.nan
    return np.asarray(seen)


def picture(camera: str, time_s: float) -> NDArray[np.uint8]:
    """RGB [H, W, 3]: discs of the landmarks' colours on grey waves, which move as a picture must."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    waves = 16 * np.sin(u / 11 + 9 * time_s) * np.cos(v / 17)
    image = np.clip(np.array(BACKGROUND) + waves[..., None], 0, 255).astype(np.uint8)
    for colour, (x, y) in zip(COLOURS, pixels(camera, time_s), strict=True):
        if np.isfinite(x):
            image[(u - x) ** 2 + (v - y) ** 2 <= RADIUS_PX**2] = colour
    return image


def video(camera: str, stamps: NDArray[np.int64]) -> bytes:
    """An MP4 of a camera, H.264 at a constant rate, as the data set's are."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(FPS), options={"preset": "ultrafast", "crf": "10"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(picture(camera, stamp * 1e-6), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def egomotion(seconds: float) -> pd.DataFrame:
    """The table of a clip's egomotion, 100 poses a second, beyond the pictures at both ends."""
    stamps = np.arange(-1_003_000, int((seconds + 1) * 1e6), 10_000, dtype=np.int64)
    poses = np.array([DRIVE.pose(t * 1e-6) for t in stamps])
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    velocities = np.array([DRIVE.velocity(t * 1e-6) for t in stamps])
    columns = {"timestamp": stamps}
    columns |= {name: quaternions[:, i] for i, name in enumerate(("qx", "qy", "qz", "qw"))}
    columns |= {name: poses[:, i, 3] for i, name in enumerate("xyz")}
    columns |= {name: velocities[:, i] for i, name in enumerate(("vx", "vy", "vz"))}
    columns |= {name: np.zeros(len(stamps)) for name in ("ax", "ay", "az")}
    columns["curvature"] = np.full(len(stamps), DRIVE.yaw_rate_radps / DRIVE.speed_mps)
    return pd.DataFrame(columns)


def write_repository(root: Path, *, seconds: float = 2.0) -> None:
    """Write the repository's files for four clips of one chunk, of which COMPLETE has all."""
    clips = (COMPLETE, NO_TELE, NO_EGOMOTION, INVALID)
    features = ["egomotion", "camera_intrinsics", "sensor_extrinsics", *CAMERAS]
    _write_features(root, features)
    index = pd.Index(clips, name="clip_id")
    _parquet(
        root / "clip_index.parquet",
        pd.DataFrame(
            {
                "clip_is_valid": [True, True, True, False],
                "chunk": CHUNK,
                "split": ["val", "train", "train", "train"],
            },
            index=index,
        ),
    )
    presence = pd.DataFrame(True, index=index, columns=features)
    presence.loc[:, [c for c in CAMERAS if c not in WRITTEN]] = False
    presence.loc[NO_TELE, "camera_front_tele_30fov"] = False
    presence.loc[NO_EGOMOTION, "egomotion"] = False
    _parquet(root / "metadata/feature_presence.parquet", presence)
    _parquet(
        root / "metadata/data_collection.parquet",
        pd.DataFrame(
            {
                "country": ["Germany", "United States", "Germany", "Germany"],
                "month": [11, 2, 6, 6],
                "hour_of_day": [23, 3, 12, 12],
                "platform_class": ["hyperion_8.1", "hyperion_8", "hyperion_8.1", "hyperion_8.1"],
                "radar_config": "low",
            },
            index=index,
        ),
    )
    _write_calibration(root, clips)
    _zip(
        root / _chunk("labels/egomotion/egomotion", "zip"),
        {f"{c}.egomotion.parquet": _bytes(egomotion(seconds)) for c in (COMPLETE, NO_TELE)},
    )
    for camera in WRITTEN:
        times = stamps_us(camera, seconds)
        film, table = video(camera, times), _bytes(pd.DataFrame({"timestamp": times}))
        boxes = _bytes(pd.DataFrame({"frame_index": np.zeros(0, np.int64)}))
        members = {}
        for clip in (COMPLETE, NO_EGOMOTION):
            members |= {
                f"{clip}.{camera}.mp4": film,
                f"{clip}.{camera}.timestamps.parquet": table,
                f"{clip}.{camera}.blurred_boxes.parquet": boxes,
            }
        _zip(root / _chunk(f"camera/{camera}/{camera}", "zip"), members)
    _parquet(
        root / "reasoning/ood_reasoning.parquet",
        pd.DataFrame(
            {"event_cluster": ["OTHER", "OTHER"], "events": [json.dumps(EVENTS), "[]"]},
            index=pd.Index([COMPLETE, NO_TELE], name="clip_id"),
        ),
    )


def _write_features(root: Path, features: list[str]) -> None:
    rows = []
    for feature in features:
        if feature == "egomotion":
            directory, suffix, members = (
                "labels",
                "zip",
                json.dumps({"egomotion": "{clip_id}.egomotion.parquet"}),
            )
        elif feature.startswith("camera_") and feature.endswith("fov"):
            directory, suffix = "camera", "zip"
            members = json.dumps(
                {
                    "video": f"{{clip_id}}.{feature}.mp4",
                    "frame_timestamps": f"{{clip_id}}.{feature}.timestamps.parquet",
                    "blurred_boxes": f"{{clip_id}}.{feature}.blurred_boxes.parquet",
                }
            )
        else:
            directory, suffix, members = "calibration", "parquet", None
        rows.append(
            (feature, directory, f"{directory}/{feature}/{feature}.chunk_{{chunk_id:04d}}.{suffix}", members)
        )
    root.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=["feature", "directory", "chunk_path", "clip_files_in_zip"])
    table.to_csv(root / "features.csv", index=False)


def _write_calibration(root: Path, clips: tuple[str, ...]) -> None:
    lenses, mounts = [], []
    for clip in clips:
        for camera in CAMERAS:
            model, pose = lens(camera), mount(camera)
            row = {"clip_id": clip, "camera_name": camera, "width": model.width, "height": model.height}
            row |= {"cx": model.principal_point[0], "cy": model.principal_point[1]}
            row |= {f"bw_poly_{i}": model.r2th.coef[i] for i in range(5)}
            row |= {f"fw_poly_{i}": model.th2r.coef[i] for i in range(5)}
            lenses.append(row)
            quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
            row = {"clip_id": clip, "sensor_name": camera}
            row |= dict(zip(("qx", "qy", "qz", "qw"), quaternion, strict=True))
            row |= dict(zip("xyz", np.float32(pose[:3, 3]), strict=True))
            mounts.append(row)
    for feature, rows, second in (
        ("camera_intrinsics", lenses, "camera_name"),
        ("sensor_extrinsics", mounts, "sensor_name"),
    ):
        table = pd.DataFrame(rows).set_index(["clip_id", second])
        _parquet(root / _chunk(f"calibration/{feature}/{feature}", "parquet"), table)


def _chunk(stem: str, suffix: str) -> str:
    return f"{stem}.chunk_{CHUNK:04d}.{suffix}"


def _bytes(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def _parquet(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_bytes(table))


def _zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
