"""A rollout's plans in its camera pictures."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.sensing.rigid import invert
from alpamayo_ros.sensing.view import View
from alpamayo_ros.sim.record import DriveRecord
from alpamayo_ros.sim.report.style import CANDIDATES, PLAN, WARM_UP, WARN
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import EGO_SIZE_XYZ_M
from alpamayo_ros.sim.state import EgoState
from alpamayo_ros.types import UInt8Array
from alpamayo_ros.viz.colours import rgb
from alpamayo_ros.viz.drawing import PlanDrawing
from alpamayo_ros.viz.overlay import OverlayStyle, draw_plan_overlay

_SOURCE_COLOURS = {"plan": PLAN, "stop": WARN, "reference": WARM_UP}


def paint_drive(image: UInt8Array, view: View, *, drive: DriveRecord, ego: EgoState) -> UInt8Array:
    """Return a picture with the driven trajectory and the other candidates painted on the road.

    Args:
        image: uint8 RGB [H, W, 3], taken at the drive's time; it is left as it is.
        view: the camera that took it.
        drive: the step's plan.
        ego: where the vehicle was then.
    """
    rig_from_local = invert(ego.local_from_rig)
    others = [line for index, line in enumerate(drive.candidates) if index != drive.chosen]
    xyz = drive.local_from_rig[:, :3, 3]
    known = np.isfinite(xyz).all(axis=1)
    path = _in_rig(xyz[known], rig_from_local)
    times_s = np.asarray((drive.stamps_us[known] - ego.time_us) * 1e-6, np.float64)
    drawing = PlanDrawing(
        path=path,
        path_times_s=times_s,
        path_speed_mps=_speeds(path, times_s),
        candidates=tuple(_in_rig(line, rig_from_local) for line in others),
    )
    style = OverlayStyle(
        vehicle_width_m=EGO_SIZE_XYZ_M[1],
        path_colour=rgb(_SOURCE_COLOURS[drive.source]),
        candidate_colour=rgb(CANDIDATES),
        labels=False,
    )
    return draw_plan_overlay(image, view=view, drawing=drawing, style=style)


def _in_rig(points: Float64Array, rig_from_local: Float64Array) -> Float64Array:
    return np.asarray(points @ rig_from_local[:3, :3].T + rig_from_local[:3, 3])


def _speeds(path: Float64Array, times_s: Float64Array) -> Float64Array:
    if len(path) < 2:
        return np.zeros(len(path))
    return np.asarray(np.linalg.norm(np.gradient(path, times_s, axis=0), axis=1))
