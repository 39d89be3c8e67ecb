"""A log in progress: a bounded queue and the thread that hashes, encodes and writes.

Whoever decides never waits for it. What does not fit into the queue, or cannot be written, is counted, and a
record "lost" says how much is missing as soon as records can be written again.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alpamayo_ros.audit.decision import Decision
from alpamayo_ros.audit.identity import hash_folder
from alpamayo_ros.audit.record import EventRecord, FrameHasher, record_of
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.audit.store import MIN_FREE_BYTES, AuditFile, new_path
from alpamayo_ros.types import InvalidInput

MAX_WAITING = 64
MAX_WAITING_BYTES = 256 * 2**20
MAX_RECORDS = 8192
"""After so many a new file goes on (a quarter of an hour at 10 plans a second): the MCAP writer keeps an
index of its file in memory, about 1 kB a record, which must not grow over a day's drive."""
RETRY_S = 1.0
_SYNC_S = 1.0
_CLOSE_TIMEOUT_S = 5.0
HASHING = "hashing"


@dataclass(frozen=True)
class AuditStatus:
    """How a log goes.

    Attributes:
        path: its file; "" before there is one.
        written: records in it.
        lost: records that are missing in it.
        waiting: records that wait for the thread.
        error: what is wrong now, with the remedy; "" while all is well.
        errors: failed attempts to write, so far.
        head: SHA-256 of the newest record. Kept elsewhere, it shows later that nothing before was changed.
        weights: SHA-256 of the checkpoint's files; "hashing" meanwhile, "" without a checkpoint, or what
            went wrong.
    """

    path: str
    written: int
    lost: int
    waiting: int
    error: str
    errors: int
    head: str
    weights: str


@dataclass
class _Loss:
    """What could not be logged since the last record."""

    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    reasons: set[str] = field(default_factory=set)


class AuditLog:
    """A new log in a folder, of one file after the other. Any thread may call anything.

    Nothing here raises for the disk.

    Args:
        folder: where to make the file; it is made if need be.
        session: the first record.
        min_free_bytes: space to leave on the disk.
    """

    def __init__(
        self, folder: str | Path, session: AuditSession, *, min_free_bytes: int = MIN_FREE_BYTES
    ) -> None:
        self._folder = Path(folder).expanduser()
        self._session = session
        self._min_free_bytes = min_free_bytes
        self._file: AuditFile | None = None
        self._hasher = FrameHasher()
        self._changed = threading.Condition()
        self._queue: deque[Decision | EventRecord] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._loss = _Loss()
        self._lost = 0
        self._error = ""
        self._errors = 0
        self._head, self._path, self._written = "", "", 0
        self._weights = HASHING if session.model.checkpoint else ""
        self._weights_details: dict[str, Any] = {}
        self._continues: dict[str, Any] = {}
        self._newest_ns = session.started_ns
        self._retry_at_s = 0.0
        self._synced_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="audit-log", daemon=True)
        self._thread.start()
        if session.model.checkpoint:
            threading.Thread(target=self._hash_weights, name="audit-weights", daemon=True).start()

    def decided(self, decision: Decision) -> bool:
        """Queue a decision; False where it is lost because the queue is full or the log was closed."""
        return self._offer(decision, decision.decided_ns)

    def event(self, name: str, details: Mapping[str, Any] | None = None, *, now_ns: int) -> bool:
        """Queue an event; False where it is lost."""
        return self._offer(EventRecord(name, now_ns, dict(details or {})), now_ns)

    @property
    def status(self) -> AuditStatus:
        """How it goes."""
        with self._changed:
            return AuditStatus(
                path=self._path,
                written=self._written,
                lost=self._lost,
                waiting=len(self._queue),
                error=self._error,
                errors=self._errors,
                head=self._head,
                weights=self._weights,
            )

    def close(self, *, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Write what waits, a last record and the index; False if that takes longer than `timeout_s`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # The queue.

    def _offer(self, item: Decision | EventRecord, stamp_ns: int) -> bool:
        size = _bytes_of(item)
        with self._changed:
            full = len(self._queue) >= MAX_WAITING or (
                self._queue and self._queued_bytes + size > MAX_WAITING_BYTES
            )
            if full or self._closing:
                self._lose(stamp_ns, "the log was closed" if self._closing else "the queue was full")
                return False
            self._queue.append(item)
            self._queued_bytes += size
            self._changed.notify()
            return True

    def _lose(self, stamp_ns: int, reason: str) -> None:
        """Count a loss; the lock is held."""
        loss = self._loss
        loss.first_ns = loss.first_ns if loss.count else stamp_ns
        loss.last_ns = stamp_ns
        loss.count += 1
        loss.reasons.add(reason)
        self._lost += 1

    # The thread.

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing, timeout=RETRY_S)
                item = self._queue.popleft() if self._queue else None
                if item is not None:
                    self._queued_bytes -= _bytes_of(item)
                elif self._closing:
                    break
            if item is None:
                self._ready()
            else:
                self._write(item)
            self._sync()
        self._finish()

    def _ready(self) -> bool:
        """Whether records can be written: opens the file, and writes what waits and what was lost."""
        if self._error and time.monotonic() < self._retry_at_s:
            return False
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = AuditFile(new_path(self._folder), min_free_bytes=self._min_free_bytes)
                self._file.append(self._session)
                self._go_on(self._file)
            self._file.push()
            with self._changed:
                loss, self._loss = self._loss, _Loss()
            if loss.count:
                self._file.append(_lost(loss))  # should that fail, it waits in the file
        except OSError as error:
            self._failed(error)
            return False
        self._went_well()
        return True

    def _go_on(self, file: AuditFile) -> None:
        """Write into a new file what was only said in the one of before."""
        if self._continues:
            file.append(EventRecord("continues", self._newest_ns, self._continues))
            if self._weights_details:
                file.append(EventRecord("weights", self._newest_ns, self._weights_details))

    def _roll(self, file: AuditFile) -> None:
        """End a file that is long enough; the next record begins a new one."""
        try:
            file.append(EventRecord("closed", self._newest_ns, {"records": file.records}))
        except OSError as error:  # it goes on until there is room
            self._failed(error)
            return
        try:
            file.close()
        except OSError as error:  # without its index; the records are all there
            self._failed(error)
        self._note()
        self._continues = {"file": file.path.name, "head": file.head}
        self._file = None

    def _write(self, item: Decision | EventRecord) -> None:
        stamp_ns = item.decided_ns if isinstance(item, Decision) else item.stamp_ns
        if not self._ready() or self._file is None:
            with self._changed:
                self._lose(stamp_ns, self._error)
            return
        try:
            body = record_of(item, self._hasher) if isinstance(item, Decision) else item
            self._file.append(body)
        except OSError as error:  # the record waits in the file
            self._failed(error)
        except Exception as error:  # whatever is wrong with one record, the next one may be right
            with self._changed:
                self._lose(stamp_ns, f"{type(error).__name__}: {error}")
                self._errors += 1
        else:
            self._newest_ns = stamp_ns
            self._went_well()
            if self._file.records >= MAX_RECORDS:
                self._roll(self._file)

    def _failed(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        with self._changed:
            self._errors += 1
            self._error = (
                f"audit log: expected to write to {self._folder}, got: {reason}; make room or set "
                "`audit_log` to another folder; plans go on meanwhile, their records are lost"
            )
        self._retry_at_s = time.monotonic() + RETRY_S
        self._note()

    def _went_well(self) -> None:
        with self._changed:
            self._error = ""
        self._note()

    def _note(self) -> None:
        if self._file is not None:
            with self._changed:
                self._path, self._written = str(self._file.path), self._file.records
                self._head = self._file.head

    def _sync(self) -> None:
        now_s = time.monotonic()
        if self._file is None or now_s - self._synced_s < _SYNC_S:
            return
        self._synced_s = now_s
        try:
            if not self._file.path.exists():
                self._begin_anew()
                raise FileNotFoundError(errno.ENOENT, "the file was removed")
            self._file.sync()
        except OSError as error:
            self._failed(error)

    def _begin_anew(self) -> None:
        """Give up a file that is gone, and all that was in it."""
        if self._file is not None:
            with self._changed:
                self._loss.count += self._file.records
                self._loss.reasons.add("the file was removed")
                self._lost += self._file.records
            self._file.abandon()
            self._file = None

    def _finish(self) -> None:
        if self._file is None and self._continues and not self._loss.count:
            return  # the file of before has just ended in order
        self._retry_at_s = 0.0
        file = self._file if self._ready() else None
        if file is None:
            if self._file is not None:
                self._file.abandon()
            return
        try:
            file.append(EventRecord("closed", self._newest_ns, {"records": file.records}))
            file.close()
        except OSError as error:
            self._failed(error)
        self._note()

    def _hash_weights(self) -> None:
        model = self._session.model
        details: dict[str, Any] = {}
        try:
            for name, folder in (("checkpoint", model.checkpoint), ("backbone", model.backbone)):
                hashed = hash_folder(folder, stop=lambda: self._closing)
                details[name] = {"folder": folder, "sha256": hashed.sha256, "files": dict(hashed.files)}
            weights = details["checkpoint"]["sha256"]
        except InvalidInput as error:
            if self._closing:
                return
            details["error"] = weights = str(error)
        with self._changed:
            self._weights = weights
        self._weights_details = details
        self.event("weights", details, now_ns=self._newest_ns)


def _lost(loss: _Loss) -> EventRecord:
    return EventRecord(
        "lost",
        loss.last_ns,
        {
            "count": loss.count,
            "first_ns": loss.first_ns,
            "last_ns": loss.last_ns,
            "reasons": sorted(loss.reasons),
        },
    )


def _bytes_of(item: Decision | EventRecord) -> int:
    observation = item.observation if isinstance(item, Decision) else None
    return 0 if observation is None else sum(frames.nbytes for frames in observation.frames)
