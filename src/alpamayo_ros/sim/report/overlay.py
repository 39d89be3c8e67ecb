"""Plans painted into camera pictures."""

from __future__ import annotations

import cv2
import numpy as np

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sensing.view import View
from alpamayo_ros.sim.record import DriveRecord
from alpamayo_ros.sim.report.style import CANDIDATES, PLAN, WARM_UP, WARN
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import UInt8Array

_TRACK_M = 1.7
"""Width of the ribbon: about the vehicle's."""
_CANDIDATE_M = 0.25
_SOURCE_COLOURS = {"plan": PLAN, "stop": WARN, "reference": WARM_UP}
_OPACITY = 0.5
_SHORTEST_M = 0.5
_SHIFT = 4
_BEYOND_PX = 20_000.0


def rgb(colour: str) -> tuple[int, int, int]:
    """Return "#rrggbb" as three numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def paint_drive(image: UInt8Array, view: View, *, drive: DriveRecord, ego: EgoState) -> UInt8Array:
    """Return a picture with the driven trajectory and the other candidates painted on the road.

    Args:
        image: uint8 RGB [H, W, 3], taken at the drive's time; it is left as it is.
        view: the camera that took it.
        drive: the step's plan.
        ego: where the vehicle was then.
    """
    rig_from_local = invert(ego.local_from_rig)
    painted = image.copy()
    for index, line in enumerate(drive.candidates):
        if index != drive.chosen:
            _ribbon(painted, view, _in_rig(line, rig_from_local), CANDIDATES, ribbon_width_m=_CANDIDATE_M)
    line = _in_rig(drive.local_from_rig[:, :3, 3], rig_from_local)
    _ribbon(painted, view, line, _SOURCE_COLOURS[drive.source], ribbon_width_m=_TRACK_M)
    return np.asarray(cv2.addWeighted(painted, _OPACITY, image, 1 - _OPACITY, 0))


def _in_rig(points: Float64Array, rig_from_local: Float64Array) -> Float64Array:
    return np.asarray(points @ rig_from_local[:3, :3].T + rig_from_local[:3, 3])


def _ribbon(image: UInt8Array, view: View, line: Float64Array, colour: str, *, ribbon_width_m: float) -> None:
    line = line[np.isfinite(line).all(axis=1)]
    if len(line) < 2 or float(np.linalg.norm(np.ptp(line, axis=0))) < _SHORTEST_M:
        return
    outline = view.ribbon(line, ribbon_width_m=ribbon_width_m, width=image.shape[1])
    if len(outline):
        # Whole-number pixels are pixel centres, here and in OpenCV.
        corners = np.round(np.clip(outline, -_BEYOND_PX, _BEYOND_PX) * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(image, [corners], rgb(colour), lineType=cv2.LINE_AA, shift=_SHIFT)
