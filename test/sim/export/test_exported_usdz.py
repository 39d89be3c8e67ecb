"""A scene as a .usdz: the archive, and what it says of drive, vehicle, cameras, tracks and place."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import yaml

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.export import export_scene
from alpamayo_ros.sim.export.geodesy import ecef_from_local
from alpamayo_ros.sim.export.usdz_writer import usdz_bytes
from alpamayo_ros.sim.scene import EGO_BOX_IN_RIG_M, EGO_SIZE_XYZ_M, Scene
from alpamayo_ros.sim.scenes import make_scene
from alpamayo_ros.sim.usdz import read_usdz
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("cones-6")  # with what moves and what does not


@pytest.fixture(scope="module")
def path(scene, tmp_path_factory):
    return export_scene(scene, tmp_path_factory.mktemp("usdz") / "new")


def _json(path, member: str):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(member))


def test_members_are_stored_and_aligned_as_usdz_wants(path):
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            "metadata.yaml",
            "map.xodr",
            "rig_trajectories.json",
            "sequence_tracks.json",
            "mesh.ply",
            "mesh_ground.ply",
        }
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            name_bytes, extra_bytes = np.frombuffer(content, "<u2", 2, info.header_offset + 26)
            start = info.header_offset + 30 + int(name_bytes) + int(extra_bytes)
            assert start % 64 == 0
            assert content[start : start + info.file_size] == archive.read(info)


@pytest.mark.parametrize("length", range(30, 100, 3))
def test_names_of_any_length_are_aligned(length):
    content = usdz_bytes({"n" * length: b"some", "other": b"thing"})
    assert content.index(b"some") % 64 == content.index(b"thing") % 64 == 0


def test_our_reader_reads_the_scene_again(scene, path):
    read = read_usdz(path)
    assert read.scene_id == scene.scene_id
    np.testing.assert_array_equal(read.stamps_us, scene.reference.stamps_us)
    np.testing.assert_array_equal(read.local_from_rig, scene.reference.local_from_rig)
    assert read.first_frame_us == scene.start_us + 100_000
    assert list(read.actors) == list(scene.actors)
    for actor_id, actor in scene.actors.items():
        again = read.actors[actor_id]
        assert (again.kind, again.size_xyz_m, again.is_static) == (
            actor.kind,
            actor.size_xyz_m,
            actor.is_static,
        )
        if len(actor.track.stamps_us) > 1:
            np.testing.assert_array_equal(again.track.stamps_us, actor.track.stamps_us)
        else:  # stands at the start and at the end
            np.testing.assert_array_equal(again.track.stamps_us, scene.reference.stamps_us[[0, -1]])
        difference = again.track.local_from_box - actor.track.local_from_box
        assert np.abs(difference).max() < 1e-9
    assert any(actor.is_static for actor in scene.actors.values())
    assert not all(actor.is_static for actor in scene.actors.values())


def test_the_vehicle_and_its_cameras_are_ours(scene, path):
    rig = _json(path, "rig_trajectories.json")
    (drive,) = rig["rig_trajectories"]
    assert drive["rig_bbox"] == {
        "centroid": list(EGO_BOX_IN_RIG_M),
        "dim": list(EGO_SIZE_XYZ_M),
        "rot": [0.0, 0.0, 0.0],
    }
    logical = {key: c["logical_sensor_name"] for key, c in rig["camera_calibrations"].items()}
    assert sorted(logical.values()) == sorted(LOGICAL_IDS)
    frames = drive["cameras_frame_timestamps_us"]
    assert set(frames) == set(logical)
    for windows in frames.values():
        opened, closed = np.array(windows).T
        assert np.all(closed > opened) and np.all(opened[1:] >= closed[:-1])
        # Whoever renders a frame must know where the rig was all the while.
        assert scene.reference.stamps_us[0] <= opened[0] and closed[-1] <= scene.reference.stamps_us[-1]


def test_metadata_has_what_alpasim_requires_and_is_the_contents(scene, path, tmp_path):
    with zipfile.ZipFile(path) as archive:
        about = yaml.safe_load(archive.read("metadata.yaml"))
    required = {"scene_id", "version_string", "training_date", "dataset_hash", "uuid", "is_resumable"}
    assert required | {"sensors", "logger", "time_range"} <= set(about)
    assert set(about["sensors"]["camera_ids"]) == set(LOGICAL_IDS)
    assert export_scene(scene, tmp_path).read_bytes() == path.read_bytes()
    other = make_scene("cones-26")
    with zipfile.ZipFile(export_scene(other, tmp_path)) as archive:
        assert yaml.safe_load(archive.read("metadata.yaml"))["uuid"] != about["uuid"]


def _ecef_m(latitude_deg: float, longitude_deg: float, height_m: float) -> np.ndarray:
    phi, lam = np.radians([latitude_deg, longitude_deg])
    a, b = 6378137.0, 6356752.314245
    n = a**2 / np.hypot(a * np.cos(phi), b * np.sin(phi))
    return np.array(
        [
            (n + height_m) * np.cos(phi) * np.cos(lam),
            (n + height_m) * np.cos(phi) * np.sin(lam),
            (b**2 / a**2 * n + height_m) * np.sin(phi),
        ]
    )


@pytest.mark.parametrize(("latitude_deg", "longitude_deg"), [(0.0, 0.0), (48.1, 11.6), (-33.9, 151.2)])
def test_the_frame_in_ecef_is_east_north_up(latitude_deg, longitude_deg):
    pose, h = ecef_from_local(latitude_deg, longitude_deg), 1e-4
    np.testing.assert_allclose(pose[:3, 3], _ecef_m(latitude_deg, longitude_deg, 0.0), atol=1e-3)
    steps = np.array([[0, h, 0], [h, 0, 0], [0, 0, 10]])  # east, north, up
    for axis, (north, east, up) in zip(pose[:3, :3].T, steps, strict=True):
        step = _ecef_m(latitude_deg + north, longitude_deg + east, up) - pose[:3, 3]
        np.testing.assert_allclose(axis, step / np.linalg.norm(step), atol=1e-5)


def test_map_and_drive_are_in_one_frame(path):
    with zipfile.ZipFile(path) as archive:
        place = re.search(r"<geoReference>(.*)</geoReference>", archive.read("map.xodr").decode())
    assert place is not None
    values = dict(part[1:].split("=") for part in place[1].split() if "=" in part)
    origin = ecef_from_local(float(values["lat_0"]), float(values["lon_0"]))
    assert float(values["alt_0"]) == 0.0
    np.testing.assert_array_equal(_json(path, "rig_trajectories.json")["T_world_base"], origin)


def test_a_file_that_is_there_is_kept_unless_forced(scene, tmp_path):
    path = tmp_path / "cones-6.usdz"
    path.write_bytes(b"mine")
    with pytest.raises(InvalidInput, match=r"expected no file .*cones-6\.usdz, got one"):
        export_scene(scene, tmp_path)
    assert path.read_bytes() == b"mine"
    export_scene(scene, tmp_path, force=True)
    assert read_usdz(path).scene_id == "cones-6"
    assert [p.name for p in tmp_path.iterdir()] == ["cones-6.usdz"]


def test_a_scene_without_a_map_is_refused(scene, tmp_path):
    with pytest.raises(InvalidInput, match="export of cones-6: expected a scene with a map, got one without"):
        export_scene(replace(scene, road=None), tmp_path)


def test_a_folder_that_cannot_be_is_refused(scene, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="export: expected to write"):
        export_scene(scene, tmp_path / "file")


def test_the_command_writes_one_file_a_scene(tmp_path, capsys):
    assert main(["sim", "export-usdz", "6-7,straight-0", "--out", str(tmp_path)]) == 0
    names = ["cones-6.usdz", "parked-7.usdz", "straight-0.usdz"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export-usdz", "cones-6,7"], "expected no files there, got"),
        (["export-usdz", "cones-x"], "scenarios: expected all, a seed"),
        (
            ["--planner", "constant", "export-usdz", "7"],
            "expected no options for driving beside it, got --planner",
        ),
        (["--asl", "x.asl", "export-usdz", "7"], "expected no options for driving beside it, got --asl"),
    ],
)
def test_the_command_refuses_before_it_writes(tmp_path, capsys, arguments, message):
    (tmp_path / "cones-6.usdz").write_bytes(b"mine")
    assert main(["sim", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"mine"]
