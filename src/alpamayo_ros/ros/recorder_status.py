"""What the recorder says on /diagnostics: one status."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alpamayo_ros.bags.recording import BagRecording
from alpamayo_ros.bags.ring import Ring
from alpamayo_ros.bags.snapshots import Snapshots
from alpamayo_ros.bags.writer import SizeReached
from alpamayo_ros.ros.diagnostics import Level, Status

NAME = "recorder"

_MIB = 2**20
_QUEUE_FILLS = 0.5
_SHORT = 0.9


class RecorderReporter:
    """Makes the status of a recorder, and remembers what it has said of dropped messages."""

    def __init__(self) -> None:
        self._dropped_before = 0
        self._failed_before = 0

    def status(
        self,
        *,
        recording: BagRecording | None,
        ring: Ring | None,
        snapshots: Snapshots | None,
        ignored: Mapping[str, str],
        lost: Mapping[str, int],
        queue_bytes: int,
        running_s: float,
    ) -> Status:
        """Return the status.

        Args:
            recording: the continuous bag, None for none.
            ring: the last seconds, None for none.
            snapshots: what saves them, None without a ring.
            ignored: topic -> why it cannot be recorded.
            lost: topic -> messages that the middleware lost on their way here.
            queue_bytes: limit on what waits for the disk.
            running_s: how long messages have come, by their stamps.
        """
        dropped = dict(recording.dropped) if recording is not None else {}
        for topic, count in (snapshots.dropped if snapshots is not None else {}).items():
            dropped[topic] = dropped.get(topic, 0) + count
        values: dict[str, object] = {"dropped": sum(dropped.values())}
        values |= {f"dropped/{topic}": count for topic, count in sorted(dropped.items()) if count}
        values |= {f"lost/{topic}": count for topic, count in sorted(lost.items()) if count}
        values |= {f"ignored/{topic}": why for topic, why in sorted(ignored.items())}
        if recording is not None:
            values |= {
                "path": recording.path,
                "written": recording.written,
                "size_mib": recording.size / _MIB,
                "files": recording.file_count,
                "waiting_mib": recording.waiting_bytes / _MIB,
                "free_mib": recording.free_bytes / _MIB,
                "error": recording.error or "",
            }
        if ring is not None and snapshots is not None:
            values |= {
                "ring_s": ring.held_s,
                "ring_mib": ring.bytes / _MIB,
                "ring_cut_short": ring.cut_short,
                "saving": snapshots.is_saving,
                "saved": snapshots.saved,
                "not_saved": snapshots.failed,
                "saved_last": snapshots.last_path or "",
                "not_saved_last": snapshots.last_error,
            }
        level, message = self._verdict(
            recording, ring, snapshots, dropped=dropped, queue_bytes=queue_bytes, running_s=running_s
        )
        return Status(NAME, level, message, values)

    def _verdict(
        self,
        recording: BagRecording | None,
        ring: Ring | None,
        snapshots: Snapshots | None,
        *,
        dropped: Mapping[str, int],
        queue_bytes: int,
        running_s: float,
    ) -> tuple[Level, str]:
        total, failed = sum(dropped.values()), 0 if snapshots is None else snapshots.failed
        new, self._dropped_before = total - self._dropped_before, total
        newly_failed, self._failed_before = failed > self._failed_before, failed
        if recording is not None and recording.error is not None:
            if isinstance(recording.error, SizeReached):
                return Level.WARN, f"recording has ended: {recording.error}"
            return Level.ERROR, f"recording has ended: {recording.error}"
        if newly_failed and snapshots is not None:
            return Level.ERROR, f"not saved: {snapshots.last_error}"
        if new > 0:
            return Level.WARN, f"the disk is too slow: {new} messages were dropped"
        if recording is not None and recording.waiting_bytes > _QUEUE_FILLS * queue_bytes:
            return Level.WARN, f"the disk is too slow: {recording.waiting_bytes >> 20} MiB wait for it"
        if ring is not None and ring.cut_short and ring.held_s < _SHORT * min(ring.seconds, running_s):
            return (
                Level.WARN,
                f"the ring holds {ring.held_s:.1f} s of {ring.seconds:g} s in {ring.max_bytes >> 20} MiB; "
                "raise ring_mib or record fewer topics",
            )
        if recording is not None:
            return Level.OK, f"recording to {Path(recording.path).name}"
        return Level.OK, "keeping the ring"
