"""Faults of cameras, odometry and clock."""

from __future__ import annotations

from bench import Fault
from disturbing import (
    LONG_S,
    OTHER,
    anew,
    both,
    clock_ahead,
    clock_back,
    clock_fast,
    clock_stands,
    every,
    frozen,
    larger_pictures,
    late,
    lost,
    moved,
    of_all_cameras,
    of_camera,
    of_odometry,
    stale_odometry,
    stamped,
    swapped,
    twice,
    with_data,
    with_fields,
)
from world import RAW

from alpamayo_ros.ros.conversions import stamp_from_ns

NAN = float("nan")
GARBAGE = bytes(range(256)) * 4
ANYWHERE = 1e4
"""Where odometry lies, or is away, poses are what they are."""


def _refused(reason: str) -> str:
    return rf"refusals/{reason}[^=]*=[1-9]"


CAMERA_FAULTS: tuple[Fault, ...] = (
    Fault("reference camera lost", of_camera(RAW, lost), LONG_S, f"cameras/{RAW}", "s old: check", True),
    Fault("other camera lost", of_camera(OTHER, lost), LONG_S, f"cameras/{OTHER}", "s old: check", True),
    Fault("all cameras lost", of_all_cameras(lost), LONG_S, f"cameras/{OTHER}", "s old: check", True),
    Fault(
        "reference camera frozen",
        anew(lambda: of_camera(RAW, frozen())),
        LONG_S,
        f"cameras/{RAW}",
        "been the same",
        True,
    ),
    Fault(
        "other camera frozen",
        anew(lambda: of_camera(OTHER, frozen())),
        LONG_S,
        f"cameras/{OTHER}",
        "been the same",
        True,
    ),
    Fault(
        "camera late by 80 ms",
        of_camera(OTHER, late(0.08)),
        LONG_S,
        f"cameras/{OTHER}",
        "age_ms=[1-9]",
        False,
    ),
    Fault(
        "camera late by 300 ms", of_camera(OTHER, late(0.3)), LONG_S, f"cameras/{OTHER}", r"age_ms=[2-9]\d\d"
    ),
    Fault(
        "reference camera late by 300 ms",
        of_camera(RAW, late(0.3)),
        LONG_S,
        f"cameras/{RAW}",
        r"age_ms=[2-9]\d\d",
    ),
    Fault(
        "camera at half rate",
        anew(lambda: of_camera(OTHER, every(2))),
        LONG_S,
        "inference",
        _refused("camera_"),
        True,
    ),
    Fault(
        "reference camera at half rate",
        anew(lambda: of_camera(RAW, every(2))),
        LONG_S,
        "inference",
        _refused("camera_"),
        True,
    ),
    Fault(
        "frames in swapped order",
        anew(lambda: of_camera(OTHER, swapped())),
        LONG_S,
        f"cameras/{OTHER}",
        "out_of_order=[1-9]",
    ),
    Fault(
        "duplicated stamps", of_camera(OTHER, twice), LONG_S, f"cameras/{OTHER}", "duplicates=[1-9]", False
    ),
    Fault(
        "corrupt JPEG",
        of_camera(OTHER, with_data(lambda d: d[:2] + GARBAGE)),
        LONG_S,
        f"cameras/{OTHER}",
        "decode_errors=[1-9]",
        True,
    ),
    Fault(
        "truncated JPEG",
        of_camera(OTHER, with_data(lambda d: d[: len(d) // 2])),
        LONG_S,
        f"cameras/{OTHER}",
        "decode_errors=[1-9]",
        True,
    ),
    Fault(
        "empty JPEG",
        of_camera(OTHER, with_data(lambda d: b"")),
        LONG_S,
        f"cameras/{OTHER}",
        "decode_errors=[1-9]",
        True,
    ),
    Fault("pictures of another size", larger_pictures, LONG_S, "inference", "camera_size|state=active"),
    Fault(
        "wrong encoding", of_camera(RAW, with_fields(encoding="yuv9")), LONG_S, f"cameras/{RAW}", "yuv9", True
    ),
    Fault(
        "raw picture with missing rows",
        of_camera(RAW, with_data(lambda d: d[: len(d) // 2])),
        LONG_S,
        f"cameras/{RAW}",
        "decode_errors=[1-9]",
        True,
    ),
    Fault(
        "black pictures",
        of_camera(RAW, with_data(lambda d: bytes(len(d)))),
        LONG_S,
        f"cameras/{RAW}",
        "been black",
        True,
    ),
    Fault(
        "camera stamps of zero",
        of_camera(OTHER, with_fields(header__stamp=stamp_from_ns(0))),
        LONG_S,
        f"cameras/{OTHER}",
        "expected a positive stamp",
        True,
    ),
    Fault(
        "camera clock 0.5 s behind",
        of_camera(OTHER, stamped(-0.5)),
        LONG_S,
        f"cameras/{OTHER}",
        r"age_ms=[4-9]\d\d|rate_hz",
    ),
)

ODOMETRY_FAULTS: tuple[Fault, ...] = (
    Fault("odometry lost", of_odometry(lost), LONG_S, "odometry", "s old: check", True, ANYWHERE),
    Fault(
        "odometry stale",
        anew(lambda: of_odometry(stale_odometry())),
        LONG_S,
        "odometry",
        "duplicates=[1-9]",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry jumps by 1 m",
        of_odometry(moved(1.0)),
        LONG_S,
        "gate",
        "failed/v0_of_history=[1-9]",
        None,
        1.5,
    ),
    Fault(
        "odometry jumps by 30 m",
        of_odometry(moved(30.0)),
        LONG_S,
        "inference",
        _refused("odometry_jump"),
        True,
        31.0,
    ),
    Fault(
        "odometry NaN",
        of_odometry(with_fields(pose__pose__position__x=NAN)),
        LONG_S,
        "odometry",
        "finite",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry twist NaN",
        of_odometry(with_fields(twist__twist__linear__x=NAN)),
        LONG_S,
        "odometry",
        "twist",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry in another frame",
        of_odometry(with_fields(header__frame_id="map")),
        LONG_S,
        "odometry",
        "'odom' as before, got 'map'",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry of an unknown body",
        of_odometry(with_fields(child_frame_id="trailer")),
        LONG_S,
        "odometry",
        "trailer",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry with a zero quaternion",
        of_odometry(with_fields(pose__pose__orientation__z=0.0, pose__pose__orientation__w=0.0)),
        LONG_S,
        "odometry",
        "unit length",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry stamps of zero",
        of_odometry(with_fields(header__stamp=stamp_from_ns(0))),
        LONG_S,
        "odometry",
        "expected a time after 0",
        True,
        ANYWHERE,
    ),
    Fault(
        "odometry stamps that go back",
        of_odometry(stamped(-5.0, one_of=7)),
        0.5,
        "inference",
        "backward_jumps=[1-9]",
        True,
        ANYWHERE,
    ),
    # The rate is that of two seconds, and reported once a second.
    Fault("odometry at 5 Hz", anew(lambda: of_odometry(every(10))), 3.6, "odometry", r"rate_hz=[345]\."),
    Fault(
        "odometry late by 300 ms",
        of_odometry(late(0.3)),
        LONG_S,
        "inference",
        _refused("odometry_late"),
        True,
        10.0,
    ),
    Fault(
        "odometry says that it stands",
        of_odometry(with_fields(twist__twist__linear__x=0.0)),
        LONG_S,
        "gate",
        "failed/v0_of_plan=[1-9]",
        None,
    ),
    Fault(
        "odometry and cameras lost",
        both(of_odometry(lost), of_all_cameras(lost)),
        LONG_S,
        "odometry",
        "s old: check",
        True,
        ANYWHERE,
    ),
)

CLOCK_FAULTS: tuple[Fault, ...] = (
    Fault("clock goes back (bag loop)", clock_back, 0.3, "inference", "clock_jumps=[1-9]", sim_time=True),
    Fault("clock jumps ahead by 10 s", clock_ahead, 0.3, "inference", "refusals/|waiting", sim_time=True),
    Fault("clock stands", clock_stands, LONG_S, "inference", "the clock has stood", sim_time=True),
    Fault(
        "clock runs five times as fast",
        clock_fast,
        LONG_S,
        "inference",
        "state=active",
        None,
        ANYWHERE,  # odometry is too old by that clock, and this vehicle does not stop
        sim_time=True,
    ),
)
