"""A log in progress: whoever decides never waits, and what is lost is counted and said in the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_making import T0_NS, session, valid

from alpamayo_ros.audit import log as log_module
from alpamayo_ros.audit.log import MAX_WAITING, AuditLog
from alpamayo_ros.audit.reader import read_log
from alpamayo_ros.audit.record import DecisionRecord, EventRecord
from alpamayo_ros.audit.store import AuditFile
from alpamayo_ros.audit.verify import check_log, entries


def until(condition: Callable[[], Any], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def events(path: str) -> list[EventRecord]:
    return [e.body for e in entries(read_log(path)) if isinstance(e.body, EventRecord)]


class Gate:
    """Holds the log's thread up at its next record, as a slow disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        append = AuditFile.append

        def held(file: AuditFile, body: Any) -> None:
            if isinstance(body, DecisionRecord):
                self.reached.set()
                assert self.open.wait(20)
            append(file, body)

        monkeypatch.setattr(AuditFile, "append", held)


def test_what_was_offered_is_in_the_log_in_order(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "logs", session(), min_free_bytes=0)
    for number in range(5):
        assert log.decided(valid(number))
        assert log.event("engaged", {"engaged": bool(number % 2)}, now_ns=T0_NS + number)
    assert log.close(timeout_s=20)
    status = log.status
    assert status.lost == status.waiting == 0 and status.error == ""
    content = read_log(status.path)
    assert content.records[-1].sha256 == status.head and status.written == len(content.records) == 12
    kinds = [entry.kind for entry in entries(content)]
    assert kinds == ["session", *(5 * ["decision", "event"]), "event"]
    assert not check_log(content).problems
    assert not log.decided(valid(9)) and log.status.lost == 1


def test_offering_never_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is held up until all has been offered: a caller that waited for it would never come back."""
    gate = Gate(monkeypatch)
    log = AuditLog(tmp_path, session(), min_free_bytes=0)
    decision = valid(0)
    log.decided(decision)
    assert gate.reached.wait(20)
    try:
        for _ in range(2 * MAX_WAITING):
            log.decided(decision)
        status = log.status
        assert status.waiting == MAX_WAITING and status.lost == MAX_WAITING
    finally:
        gate.open.set()
    assert log.close(timeout_s=20)
    (lost,) = [event for event in events(log.status.path) if event.name == "lost"]
    assert lost.details["count"] == MAX_WAITING and lost.details["reasons"] == ["the queue was full"]
    found = check_log(read_log(log.status.path))
    assert found.lost == MAX_WAITING and not found.problems


def test_a_disk_that_is_full_for_a_while_costs_records_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "RETRY_S", 0.05)
    push, full = AuditFile.push, threading.Event()

    def pushed(file: AuditFile) -> None:
        if full.is_set() and file.waits:
            raise OSError(28, "No space left on device")
        push(file)

    monkeypatch.setattr(AuditFile, "push", pushed)
    log = AuditLog(tmp_path, session(), min_free_bytes=0)
    log.decided(valid(0))
    until(lambda: log.status.written == 2)
    full.set()
    for number in range(1, 5):
        log.decided(valid(number))
        until(lambda: not log.status.waiting)
    until(lambda: log.status.error)
    assert "No space left on device; make room or set `audit_log`" in log.status.error
    full.clear()
    until(lambda: not log.status.error)
    log.decided(valid(5))
    assert log.close(timeout_s=20)
    content = read_log(log.status.path)
    found = check_log(content)
    decided = [e.body for e in entries(content) if isinstance(e.body, DecisionRecord)]
    assert not found.problems and found.lost == log.status.lost >= 1
    assert len(decided) + found.lost == 6 and decided[-1].t0_ns == T0_NS + 5 * 10**8


def in_their_chain(folder: Path) -> list[Path]:
    """Return the files, each behind the one that it continues: two may have the same time of writing."""
    before = {}
    for path in folder.glob("*.mcap"):
        continued = [event.details["file"] for event in events(str(path)) if event.name == "continues"]
        assert len(continued) <= 1
        before[str(continued[0]) if continued else ""] = path
    chain = [before.pop("")]
    while chain[-1].name in before:
        chain.append(before.pop(chain[-1].name))
    assert not before, f"expected all files in one chain, got {before} beside it"
    return chain


def test_a_long_drive_goes_into_one_file_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is whole by itself and names the end of the one before; so no index grows without end."""
    monkeypatch.setattr(log_module, "MAX_RECORDS", 5)
    log = AuditLog(tmp_path, session(), min_free_bytes=0)
    for number in range(10):
        assert log.decided(valid(number))
    assert log.close(timeout_s=20) and log.status.lost == 0
    files = in_their_chain(tmp_path)
    assert len(files) >= 3
    decided = []
    for number, path in enumerate(files):
        content = read_log(path)
        found = check_log(content)
        assert not found.problems and found.closed and len(content.records) <= 6
        kinds = [entry.kind for entry in entries(content)]
        assert kinds[0] == "session" and kinds[-1] == "event"
        decided += [e.body.t0_ns for e in entries(content) if isinstance(e.body, DecisionRecord)]
        continued = [event for event in events(str(path)) if event.name == "continues"]
        assert len(continued) == (1 if number else 0)
        if number:
            assert continued[0].details["file"] == files[number - 1].name
            assert continued[0].details["head"] == read_log(files[number - 1]).records[-1].sha256
    assert decided == [T0_NS + number * 10**8 for number in range(10)]
    data = files[0].read_bytes()
    files[0].write_bytes(data[: len(data) // 2])
    (problem,) = check_log(read_log(files[1])).problems
    assert problem.startswith(f"continues {files[0].name}: expected its last record to have the hash")


def test_a_folder_that_cannot_be_made_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = AuditLog(tmp_path / "file" / "logs", session(), min_free_bytes=0)
    log.decided(valid(0))
    until(lambda: log.status.lost)
    assert "expected to write to" in log.status.error and "`audit_log`" in log.status.error
    assert log.close(timeout_s=20) and log.status.path == ""


def test_a_file_that_is_removed_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_SYNC_S", 0.02)
    monkeypatch.setattr(log_module, "RETRY_S", 0.05)
    log = AuditLog(tmp_path, session(), min_free_bytes=0)
    log.decided(valid(0))
    until(lambda: log.status.written == 2)
    first = Path(log.status.path)
    first.rename(tmp_path / "elsewhere")
    until(lambda: log.status.lost == 2)
    until(lambda: not log.status.error)
    log.decided(valid(1))
    assert log.close(timeout_s=20)
    said = events(log.status.path)
    assert [event.details["reasons"] for event in said if event.name == "lost"] == [["the file was removed"]]


def test_one_record_that_cannot_be_written_is_lost_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, session(), min_free_bytes=0)
    log.event("odd", {"what": {1, 2}}, now_ns=T0_NS)
    log.decided(valid(0))
    assert log.close(timeout_s=20)
    assert log.status.lost == 1 and log.status.errors == 1
    found = check_log(read_log(log.status.path))
    assert found.lost == 1 and not found.problems and found.decisions == {"valid": 1}
