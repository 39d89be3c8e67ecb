"""A Trajectory's bytes, all poses at once.

Made field by field, six samples of 65 poses take longer than the rest of a driver's answer. On the wire each
pose of a trajectory takes the same 52 bytes, tags and lengths included: rows of a numpy array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.protocol.generated import common_pb2
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.types import InvalidInput

_FLOAT, _FIXED64, _BYTES = 5, 1, 2
"""Wire types of protobuf."""


def _tag(number: int, wire_type: int) -> int:
    return number << 3 | wire_type


_ROW = np.dtype(
    [
        ("poses", "u1", 2),
        ("pose", "u1", 2),
        ("vec", "u1", 2),
        *((f"{axis}{kind}", *form) for axis in "xyz" for kind, form in (("_tag", ("u1",)), ("", ("<f4",)))),
        ("quat", "u1", 2),
        *((f"q{axis}{kind}", *form) for axis in "wxyz" for kind, form in (("_tag", ("u1",)), ("", ("<f4",)))),
        ("timestamp_us_tag", "u1"),
        ("timestamp_us", "<u8"),
    ]
)
_OFFSETS = {name: int(field[1]) for name, field in (_ROW.fields or {}).items()}


def _size_from(name: str, end: str = "") -> int:
    """Return how many bytes follow the tag and length called `name`, up to `end` or the row's end."""
    return (_OFFSETS[end] if end else _ROW.itemsize) - _OFFSETS[name] - 2


_BLANK = np.zeros(1, _ROW)
_BLANK["poses"] = _tag(1, _BYTES), _size_from("poses")
_BLANK["pose"] = _tag(1, _BYTES), _size_from("pose", "timestamp_us_tag")
_BLANK["vec"] = _tag(1, _BYTES), _size_from("vec", "quat")
_BLANK["quat"] = _tag(2, _BYTES), _size_from("quat", "timestamp_us_tag")
_BLANK["timestamp_us_tag"] = _tag(2, _FIXED64)
for _first, _axes in (("", "xyz"), ("q", "wxyz")):
    for _number, _axis in enumerate(_axes, start=1):
        _BLANK[f"{_first}{_axis}_tag"] = _tag(_number, _FLOAT)


def trajectory_from_rows(
    stamps_us: NDArray[np.int64], xyz: Float64Array, quaternions_wxyz: Float64Array
) -> common_pb2.Trajectory:
    """Return stamps [N] in us, positions [N, 3] and quaternions [N, 4] as a message.

    Raises:
        InvalidInput: for a stamp below zero, which the wire does not know.
    """
    if np.any(stamps_us < 0):
        raise InvalidInput(f"trajectory: expected stamps in us from 0 on, got {int(stamps_us.min())}")
    rows = np.repeat(_BLANK, len(stamps_us))
    rows["timestamp_us"] = stamps_us
    for column, axis in enumerate("xyz"):
        rows[axis] = xyz[:, column]
    for column, axis in enumerate("wxyz"):
        rows[f"q{axis}"] = quaternions_wxyz[:, column]
    return common_pb2.Trajectory.FromString(rows.tobytes())
