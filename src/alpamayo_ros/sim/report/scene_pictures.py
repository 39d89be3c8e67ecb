"""One picture of each family of scenes, for docs/SCENES.md, and README's of a rollout.

`python -m alpamayo_ros.sim.report.scene_pictures DIR` drives a scene of each family with the expert and
writes DIR/FAMILY.jpg: the front camera and the surroundings from above, at the moment that tells most.
With `--film` it writes DIR/FAMILY.png, the film's frame of that moment.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.sim.planner_sources import ExpertSource
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.report.drawn_pictures import DrawnPictures
from alpamayo_ros.sim.report.film import still
from alpamayo_ros.sim.report.live_map import LiveMap
from alpamayo_ros.sim.report.pictures import PictureSource, jpeg, strip
from alpamayo_ros.sim.report.scene_moments import telling_step
from alpamayo_ros.sim.rollout_driver import Job, drive_rollout
from alpamayo_ros.sim.scene import FAMILIES, scene_id_of
from alpamayo_ros.types import UInt8Array

SEEDS = {
    **dict(zip(FAMILIES, range(len(FAMILIES)), strict=True)),
    "pedestrian": 111,
    "oncoming": 53,
}
"""The scene that is shown of each family: its first seed, or one that shows better what it is about."""
_CAMERA_PX, _MAP_PX = (800, 450), 330
_FRONT_WIDE = 1
_MOST_BYTES = 80_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description="Write one picture of each family of scenes.")
    parser.add_argument("out", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="of these only")
    parser.add_argument("--film", action="store_true", help="write the film's frame, as PNG, instead")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with DrawnPictures() as images:
        for family in options.families or FAMILIES:
            record = drive_rollout(Job(scene_id_of(f"{family}-{SEEDS[family]}")), ExpertSource())
            step = telling_step(record)
            path = options.out / f"{family}.{'png' if options.film else 'jpg'}"
            path.write_bytes(
                png(still(record, step, images))
                if options.film
                else small_jpeg(scene_picture(record, step, images))
            )
            print(f"{path}: {record.scene.scene_id} at {step / 10:.1f} s. {record.scene.description}")
    return 0


def scene_picture(record: RolloutRecord, step: int, images: PictureSource) -> UInt8Array:
    """Return the front camera and the surroundings from above, side by side, uint8 RGB [450, 1136, 3]."""
    width, height = _CAMERA_PX
    camera = images.render(record, step, camera_ids=(_FRONT_WIDE,), width=width, height=height)[_FRONT_WIDE]
    driven = np.array([state.xy_m for state in record.ego])
    above = LiveMap(record.scene, driven).view(record, step, width=_MAP_PX, height=height)
    return strip([camera, above])


def small_jpeg(image: UInt8Array) -> bytes:
    """Return a picture as JPEG of at most 80 kB, as good as that allows."""
    for quality in range(90, 40, -5):
        data = jpeg(image, quality)
        if len(data) <= _MOST_BYTES:
            break
    return data


def png(image: UInt8Array) -> bytes:
    """Return a picture [H, W, 3] RGB as PNG."""
    _, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data.tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
