"""What a recording's cameras saw at given times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.sensing.images import decode_compressed, decode_image
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import InvalidInput, UInt8Array

_NEAREST_NS = 60_000_000


def pictures_at(
    bag: BagReader,
    rig: Rig,
    stamps_ns: Iterable[int],
    *,
    windows_ns: Mapping[int, tuple[int, int]] | None = None,
) -> dict[int, dict[int, UInt8Array]]:
    """Return stamp -> camera id -> picture [H, W, 3] RGB nearest to it, of cameras with one within 60 ms.

    Images are as recorded, not warped. One that cannot be decoded is left out: the planner has refused it,
    too, and counted it.

    Args:
        bag: open for reading.
        rig: its cameras are looked at; those that the bag lacks are left out.
        stamps_ns: in headers' time.
        windows_ns: stamp -> first and last time of recording to look at, where the bag was recorded by
            another clock than the headers'.
    """
    best: dict[tuple[int, int], tuple[int, Any, str]] = {}
    by_topic = {camera.topic: camera for camera in rig.cameras}
    for wanted_ns in stamps_ns:
        # Recorded after their stamps: by transport, and by waiting for a slow executor.
        start_ns, stop_ns = wanted_ns - 2 * _NEAREST_NS, wanted_ns + 10 * _NEAREST_NS
        if windows_ns is not None and wanted_ns in windows_ns:
            start_ns, stop_ns = windows_ns[wanted_ns]
        for message in bag.messages(by_topic, start_ns=start_ns, stop_ns=stop_ns):
            content = bag.decode(message)
            stamp = content.header.stamp
            distance_ns = abs(stamp.sec * 10**9 + stamp.nanosec - wanted_ns)
            key = (wanted_ns, by_topic[message.topic].camera_id)
            if distance_ns <= _NEAREST_NS and (key not in best or distance_ns < best[key][0]):
                best[key] = (distance_ns, content, by_topic[message.topic].transport)
    pictures: dict[int, dict[int, UInt8Array]] = {}
    for (wanted_ns, camera_id), (_, content, transport) in best.items():
        try:
            pictures.setdefault(wanted_ns, {})[camera_id] = _decoded(content, transport)
        except InvalidInput:
            continue
    return pictures


def _decoded(content: Any, transport: str) -> UInt8Array:
    if transport == "compressed":
        return decode_compressed(bytes(content.data), format=content.format).transpose(1, 2, 0)
    frame = decode_image(
        bytes(content.data),
        encoding=content.encoding,
        height=content.height,
        width=content.width,
        step=content.step,
        is_bigendian=bool(content.is_bigendian),
    )
    return frame.transpose(1, 2, 0)
