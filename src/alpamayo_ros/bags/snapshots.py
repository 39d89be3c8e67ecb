"""Bags of what a ring holds and of the seconds after it, written while recording goes on."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.recording import QUEUE_BYTES, BagRecording, Message, Topic, TopicCatalog
from alpamayo_ros.bags.ring import JUMP_NS, Ring
from alpamayo_ros.bags.writer import MIN_FREE_BYTES, DiskFull, WriteOptions

TRIGGERS_KEY = "triggers"
"""In the bag's custom data: why it was saved, as JSON: a list of {"stamp_ns": …, "label": …}."""

_MAX_LABEL = 40
_WAITING_RINGS = 2


@dataclass
class _Snapshot:
    recording: BagRecording
    until_ns: int
    triggered_ns: int
    triggers: list[dict[str, object]]


class Snapshots:
    """Saves the ring on demand. All methods return at once; the disk is another thread's.

    A trigger while a bag still takes in what comes after an earlier one prolongs that bag. Until the disk
    has caught up, saved messages stay in memory: at most twice what the ring may hold.

    Args:
        folder: where a folder is made for each.
        ring: what is saved.
        catalog: its topics.
        queue_bytes: limit on the messages after the trigger that wait for the disk.
        min_free_bytes: space to leave on the disk.
        options: how the bags are stored; they are never split.

    Attributes:
        saved: bags that are whole.
        failed: bags that are not, or were refused.
        last_path: of the newest bag, None before there is one.
        last_error: what went wrong last, "" if nothing did.
    """

    def __init__(
        self,
        folder: Path,
        ring: Ring,
        catalog: TopicCatalog,
        *,
        queue_bytes: int = QUEUE_BYTES,
        min_free_bytes: int = MIN_FREE_BYTES,
        options: WriteOptions | None = None,
    ) -> None:
        self.folder = folder
        self.saved = 0
        self.failed = 0
        self.last_path: Path | None = None
        self.last_error = ""
        self._ring = ring
        self._catalog = catalog
        self._queue_bytes = queue_bytes
        self._min_free_bytes = min_free_bytes
        self._options = WriteOptions(chunks=options.chunks) if options is not None else None
        self._active: _Snapshot | None = None
        self._ending: list[_Snapshot] = []

    @property
    def is_saving(self) -> bool:
        """Whether a bag is not whole yet."""
        return self._active is not None or bool(self._ending)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of messages that wait for the disk."""
        return sum(s.recording.waiting_bytes for s in self._all())

    @property
    def dropped(self) -> dict[str, int]:
        """Topic -> messages after a trigger that the disk was too slow for, of bags that are not whole."""
        counts: dict[str, int] = {}
        for snapshot in self._all():
            for topic, count in snapshot.recording.dropped.items():
                counts[topic] = counts.get(topic, 0) + count
        return counts

    def trigger(self, label: str, *, stamp_ns: int, after_ns: int) -> Path:
        """Save what the ring holds, and what comes until `after_ns` later.

        Args:
            label: why; becomes part of the folder's name.
            stamp_ns: now, by the clock that stamps messages.
            after_ns: how long to go on.

        Returns:
            The bag's folder.

        Raises:
            BagError: where the disk has no space for it, or is still busy with earlier ones.
        """
        told: dict[str, object] = {"stamp_ns": stamp_ns, "label": label}
        active = self._active
        if active is not None and active.recording.error is None:
            active.until_ns = max(active.until_ns, stamp_ns + after_ns)
            active.triggers.append(told)
            active.recording.custom_data[TRIGGERS_KEY] = json.dumps(active.triggers)
            return active.recording.path
        try:
            self._require_room()
        except BagError as error:
            self.failed += 1
            self.last_error = str(error)
            raise
        before: list[Topic | Message] = [*self._catalog.topics, *self._ring.content()]
        path = self._new_path(label)
        recording = BagRecording(
            path,
            queue_bytes=self._queue_bytes,
            min_free_bytes=self._min_free_bytes,
            custom_data={TRIGGERS_KEY: json.dumps([told])},
            options=self._options,
            catalog=self._catalog,
            before=before,
            in_background=True,
        )
        self._active = _Snapshot(recording, stamp_ns + after_ns, stamp_ns, [told])
        self.last_path = path
        self.tick(stamp_ns)
        return path

    def add(self, topic: Topic) -> None:
        """Tell the bag that is being saved of a new topic."""
        if self._active is not None:
            self._active.recording.add(topic)

    def put(self, message: Message) -> None:
        """Add a message to the bag that is being saved, if there is one."""
        self.tick(message.stamp_ns)
        if self._active is not None:
            self._active.recording.put(message.topic, message.stamp_ns, message.data)

    def tick(self, now_ns: int) -> None:
        """Let a bag end whose time is over (or whose clock has gone back), and count those that are whole."""
        active = self._active
        if active is not None and not active.triggered_ns - JUMP_NS <= now_ns < active.until_ns:
            active.recording.finish()
            self._ending.append(active)
            self._active = None
        for snapshot in [s for s in self._ending if s.recording.ended]:
            self._ending.remove(snapshot)
            self._count(snapshot.recording)

    def close(self) -> None:
        """End the bag that is being saved, and wait until all are whole."""
        for snapshot in self._all():
            snapshot.recording.close()
            self._count(snapshot.recording)
        self._active = None
        self._ending.clear()

    def _all(self) -> list[_Snapshot]:
        return [*self._ending, *([] if self._active is None else [self._active])]

    def _count(self, recording: BagRecording) -> None:
        lost = sum(recording.dropped.values())
        if recording.error is not None:
            self.failed += 1
            self.last_error = str(recording.error)
        elif lost:
            self.failed += 1
            self.last_error = f"bag {recording.path}: the disk was too slow for {lost} messages"
        else:
            self.saved += 1

    def _require_room(self) -> None:
        if self.waiting_bytes + self._ring.bytes > _WAITING_RINGS * self._ring.max_bytes:
            raise BagError(
                f"ring: expected the disk to have written what was saved before, got "
                f"{self.waiting_bytes >> 20} MiB that still wait"
            )
        folder = next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())
        free, needed = shutil.disk_usage(folder).free, self._ring.bytes + self._min_free_bytes
        if free < needed:
            raise DiskFull(
                f"ring: expected {needed >> 20} MiB of free disk space in {folder}, got {free >> 20} MiB"
            )

    def _new_path(self, label: str) -> Path:
        slug = re.sub(r"[^A-Za-z0-9-]+", "_", label).strip("_")[:_MAX_LABEL].strip("_")
        name = time.strftime("ring_%Y%m%dT%H%M%SZ", time.gmtime()) + (f"_{slug}" if slug else "")
        path, number = self.folder / name, 1
        taken = {s.recording.path for s in self._all()}
        while path.exists() or path in taken:
            number += 1
            path = self.folder / f"{name}_{number}"
        return path
