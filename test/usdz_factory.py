"""A .usdz as AlpaSim's scenes have them, made here: as far as we read it."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

START_US = 1_700_000_000_000_000
METADATA = {"scene_id": "clipgt-7", "version_string": "26.02", "sensors": {}}


def example() -> dict[str, Any]:
    """Return the members of an example: 5 s at 10 m/s, a car that moves, a truck that does not."""
    stamps = [START_US + 100_000 * i for i in range(51)]
    poses = np.tile(np.eye(4), (51, 1, 1))
    poses[:, 0, 3] = np.arange(51)
    turned = np.sqrt(0.5)
    return {
        "metadata.yaml": copy.deepcopy(METADATA),
        "rig_trajectories.json": {
            "rig_trajectories": [
                {
                    "T_rig_world_timestamps_us": stamps,
                    "T_rig_worlds": poses.tolist(),
                    "cameras_frame_timestamps_us": {
                        "camera_front_wide_120fov@a": [[START_US - 3, START_US + 30_000]],
                        "camera_front_tele_30fov@a": [[START_US, START_US + 41_000]],
                        "camera_rear@a": [],
                    },
                }
            ]
        },
        "sequence_tracks.json": {
            "clip": {
                "tracks_data": {
                    "tracks_id": ["12", "x"],
                    "tracks_label_class": ["automobile", "heavy_truck"],
                    "tracks_flags": ["CONTROLLABLE", "NONE"],
                    "tracks_timestamps_us": [stamps[:2], stamps[:1]],
                    "tracks_poses": [
                        [[1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0], [2.0, 2.0, 3.0, 0.0, 0.0, turned, turned]],
                        [[9.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]],
                    ],
                },
                "cuboidtracks_data": {"cuboids_dims": [[4.5, 1.9, 1.6], [9.0, 2.6, 3.5]]},
            }
        },
    }


def write(path: Path, members: dict[str, Any], *, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            text = content if isinstance(content, str) else None
            if text is None:
                text = yaml.safe_dump(content) if name.endswith(".yaml") else json.dumps(content)
            archive.writestr(name, text)
    return path
