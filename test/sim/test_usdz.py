"""Reading what a .usdz says of its scene."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import pytest
from usdz_factory import START_US, example, write

from alpamayo_ros.sim.usdz import read_usdz
from alpamayo_ros.types import InvalidInput


def test_drive_and_tracks_are_read(tmp_path):
    scene = read_usdz(write(tmp_path / "a.usdz", example()))
    assert (scene.scene_id, scene.version) == ("clipgt-7", "26.02")
    assert len(scene.stamps_us) == 51
    assert scene.local_from_rig[50, 0, 3] == 50.0
    assert scene.first_frame_us == START_US + 41_000
    car, truck = scene.actors["12"], scene.actors["x"]
    assert (car.kind, car.size_xyz_m, car.is_static) == ("car", (4.5, 1.9, 1.6), False)
    assert (truck.kind, truck.is_static) == ("truck", True)
    np.testing.assert_allclose(car.track.local_from_box[1, :3, 3], (2, 2, 3))
    np.testing.assert_allclose(car.track.local_from_box[1, :3, 0], (0, 1, 0), atol=1e-9)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("person", "pedestrian"),
        ("stroller", "pedestrian"),
        ("rider", "cyclist"),
        ("bus", "truck"),
        ("van", "van"),
        ("traffic_cone", "cone"),
        ("Automobile", "car"),
        ("something", "car"),
    ],
)
def test_classes_count_as_what_they_are_nearest_to(tmp_path, label, kind):
    members = example()
    members["sequence_tracks.json"]["clip"]["tracks_data"]["tracks_label_class"][0] = label
    assert read_usdz(write(tmp_path / "a.usdz", members)).actors["12"].kind == kind


def _set(*path: Any, to: Any) -> Any:
    def change(members: dict[str, Any]) -> None:
        at: Any = members
        for key in path[:-1]:
            at = at[key]
        if to is KeyError:
            del at[path[-1]]
        else:
            at[path[-1]] = to

    return change


DRIVE = ("rig_trajectories.json", "rig_trajectories", 0)
TRACKS = ("sequence_tracks.json", "clip", "tracks_data")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("metadata.yaml", to=KeyError), "expected a member metadata.yaml, got none"),
        (_set("metadata.yaml", to="a: ["), "metadata.yaml: expected YAML"),
        (_set("metadata.yaml", "scene_id", to=7), "metadata.yaml: scene_id: expected a text, got 7"),
        (_set("rig_trajectories.json", to="{"), "rig_trajectories.json: expected JSON"),
        (_set("rig_trajectories.json", "rig_trajectories", to=[]), "expected one recorded drive, got 0"),
        (_set(*DRIVE, "T_rig_worlds", to=KeyError), "expected a key 'T_rig_worlds', got none"),
        (_set(*DRIVE, "T_rig_worlds", to=[[1.0]]), "expected 51 x 4 x 4 numbers"),
        (_set(*DRIVE, "T_rig_world_timestamps_us", to=[5, 4]), "expected at least one stamp, rising"),
        (_set(*DRIVE, "T_rig_world_timestamps_us", to=[1.5]), "stamps in whole microseconds"),
        (_set(*DRIVE, "cameras_frame_timestamps_us", to={}), "a camera's frame times at least"),
        (_set(*DRIVE, "cameras_frame_timestamps_us", to={"a": []}), "a camera with a frame"),
        (_set("sequence_tracks.json", to={}), "expected one sequence"),
        (_set(*TRACKS, "tracks_id", to=["12"]), "columns of one length, got .1, 2, 2, 2, 2, 2."),
        (_set(*TRACKS, "tracks_id", to=["x", "x"]), "expected each track once, got 'x'"),
        (_set(*TRACKS, "tracks_poses", 1, 0, 6, to=0.0), r"tracks_poses.*\[1\]"),
        (_set(*TRACKS, "tracks_poses", 1, 0, 6, to="NaN"), "expected finite numbers"),
        (
            _set("sequence_tracks.json", "clip", "cuboidtracks_data", "cuboids_dims", 0, to=[4, 0, 1]),
            "expected positive sizes",
        ),
    ],
)
def test_what_is_not_as_described_is_refused_by_name(tmp_path, change, expected):
    members = example()
    change(members)
    path = write(tmp_path / "a.usdz", members)
    with pytest.raises(InvalidInput, match=expected) as refusal:
        read_usdz(path)
    assert str(path) in str(refusal.value)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "a.usdz"
    path.write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="expected a zip archive"):
        read_usdz(path)
    with pytest.raises(InvalidInput, match="expected a zip archive"):
        read_usdz(tmp_path / "none.usdz")


def test_a_compressed_member_is_refused(tmp_path):
    path = write(tmp_path / "a.usdz", example(), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidInput, match="expected it stored"):
        read_usdz(path)
