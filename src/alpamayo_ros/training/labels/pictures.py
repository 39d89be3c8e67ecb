"""What a reviewer looks at: the newest picture of each camera, side by side."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.training.sample import TrainingSample
from alpamayo_ros.types import UInt8Array


def picture_path(folder: Path, sample_id: str) -> Path:
    """Return where the picture of a sample is in a folder of pictures."""
    return folder / (re.sub(r"[^\w.#-]+", "_", sample_id) + ".jpg")


def write_picture(sample: TrainingSample, folder: Path) -> Path:
    """Write the picture of a sample; cameras in their order, scaled to the height of the first."""
    observation = sample.observation
    views: list[UInt8Array] = []
    for camera_id in observation.camera_ids:
        frame = observation.frames_of(camera_id)[-1]
        view = np.ascontiguousarray(frame.transpose(1, 2, 0)[..., ::-1])
        if views and view.shape[0] != views[0].shape[0]:
            height = views[0].shape[0]
            width = max(1, round(view.shape[1] * height / view.shape[0]))
            view = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
        views.append(view)
    folder.mkdir(parents=True, exist_ok=True)
    path = picture_path(folder, sample.sample_id)
    if not cv2.imwrite(str(path), np.concatenate(views, axis=1)):
        raise OSError(f"{path}: writing the picture failed")
    return path
