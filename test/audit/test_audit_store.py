"""The log's file: whole after a kill, a cut, damage and a disk that was full."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from audit_making import T0_NS, session, valid
from mcap.reader import make_reader

from alpamayo_ros.audit.reader import AuditError, read_log
from alpamayo_ros.audit.record import EventRecord, FrameHasher, record_of
from alpamayo_ros.audit.store import AuditFile, new_path
from alpamayo_ros.audit.verify import check_log


def written(path: Path, count: int = 6, *, close: bool = True) -> AuditFile:
    """Write a session and some decisions."""
    file, hasher = AuditFile(path, min_free_bytes=0), FrameHasher()
    file.append(session())
    for number in range(count):
        file.append(record_of(valid(number), hasher))
    if close:
        file.append(EventRecord("closed", T0_NS + 10**9, {"records": file.records}))
        file.close()
    else:
        file.abandon()
    return file


def test_the_standard_reader_reads_it(tmp_path: Path) -> None:
    file = written(tmp_path / "log.mcap")
    with file.path.open("rb") as stream:
        messages = list(make_reader(stream).iter_messages())
    assert [channel.topic for _, channel, _ in messages] == (
        ["/audit/session"] + 6 * ["/audit/decision"] + ["/audit/event"]
    )
    assert all(schema.encoding == "jsonschema" for schema, _, _ in messages)
    content = read_log(file.path)
    assert content.problem == "" and content.records[-1].sha256 == file.head
    assert not check_log(content).problems


def test_a_file_without_its_end_is_whole_as_far_as_it_goes(tmp_path: Path) -> None:
    file = written(tmp_path / "log.mcap", close=False)
    content = read_log(file.path)
    assert len(content.records) == file.records == 7 and content.records[-1].sha256 == file.head
    assert not check_log(content).problems


@pytest.mark.parametrize("share", [0.35, 0.5, 0.75, 0.95])
def test_a_cut_takes_what_comes_after_it_and_no_more(tmp_path: Path, share: float) -> None:
    file = written(tmp_path / "log.mcap", close=False)
    whole = read_log(file.path).records
    data = file.path.read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: int(len(data) * share)])
    content = read_log(cut)
    assert 0 < len(content.records) < len(whole)
    assert [r.sha256 for r in content.records] == [r.sha256 for r in whole[: len(content.records)]]
    assert not check_log(content).problems


def test_a_damaged_record_is_told_and_those_behind_it_are_read(tmp_path: Path) -> None:
    file = written(tmp_path / "log.mcap", close=False)
    data = bytearray(file.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.path.write_bytes(data)
    content = read_log(file.path)
    (bad,) = [record for record in content.records if record.entry is None]
    assert bad.problem and len(content.records) == 7
    problems = check_log(content).problems
    assert problems and any(bad.problem in problem for problem in problems)


def test_a_killed_process_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from test_audit_store import written\n"
        "file = written(Path(sys.argv[2]), 4, close=False)\n"
        "print(file.head, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "log.mcap"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    content = read_log(path)
    assert len(content.records) == 5 and content.records[-1].sha256 == done.stdout.strip()
    assert not check_log(content).problems


def test_a_full_disk_leaves_no_half_record_between_two(tmp_path: Path) -> None:
    """The kernel itself refuses the write, in the middle of a record; with room again it goes on."""
    file, hasher = AuditFile(tmp_path / "log.mcap", min_free_bytes=0), FrameHasher()
    file.append(session())
    size = file.path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.append(record_of(valid(0), hasher))
        assert file.waits and file.path.stat().st_size == size + 1000
        head = file.head
        with pytest.raises(OSError, match="File too large"):
            file.append(record_of(valid(1), hasher))
        assert file.head == head, "what was refused is not part of the log"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    file.append(record_of(valid(2), hasher))
    file.close()
    content = read_log(file.path)
    assert not check_log(content).problems and content.problem == ""
    assert [r.entry and r.entry.stamp_ns - T0_NS for r in content.records] == [0, 50_000_000, 250_000_000]


def test_it_leaves_room_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"expected at least \d+ MiB of free disk space, got \d+ MiB"):
        AuditFile(tmp_path / "log.mcap", min_free_bytes=2**60)


def test_an_older_log_is_never_written_to(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        path = new_path(tmp_path, now_s=0.0)
        AuditFile(path, min_free_bytes=0).abandon()
        names.append(path.name)
    assert names == [f"audit_19700101T000000Z{suffix}.mcap" for suffix in ("", "_2", "_3")]
    with pytest.raises(FileExistsError):
        AuditFile(path, min_free_bytes=0)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no log")
    with pytest.raises(AuditError, match=r"expected an audit log \(MCAP\)"):
        read_log(tmp_path / "text")
    with pytest.raises(AuditError, match="expected a log, got"):
        read_log(tmp_path / "nothing")
    (tmp_path / "empty").touch()
    with pytest.raises(AuditError, match="got"):
        read_log(tmp_path / "empty")
