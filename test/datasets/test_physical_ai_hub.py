"""Fetching from a hub: login and licence, resuming, whole chunks, and the way to a bag without the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("physical_ai_av", reason="the extra `dataset` is not installed")

from clip_factory import COMPLETE, NO_TELE
from loopback_hub import COMMIT, GOOD_TOKEN, LICENCE_MISSING, LoopbackHub, point_client_at

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.cli.main import main

FETCH = ["dataset", "fetch", COMPLETE, "--cameras", "front_wide,front_tele"]
TELE = "camera/camera_front_tele_30fov/camera_front_tele_30fov.chunk_0017.zip"


@pytest.fixture
def cache(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's client with a login that accepted the licence, and an empty cache."""
    monkeypatch.chdir(tmp_path)
    hub.requests.clear()
    hub.broken.clear()
    return point_client_at(hub.url, monkeypatch, tmp_path / "home", token=GOOD_TOKEN)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused; returns its one line."""
    assert main(list(words)) == 2
    err = capsys.readouterr().err.strip()
    assert "\n" not in err and err.startswith("alpamayo dataset: ") and "expected" in err and "got" in err
    return err


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", ("expected a login, got none", "gated", "accept NVIDIA's licence", "`hf auth login`")),
        (
            LICENCE_MISSING,
            ("got one that may not", "accept NVIDIA's licence", "PhysicalAI-Autonomous-Vehicles"),
        ),
        ("hf_expired", ("got one that it refuses", "still valid", "`hf auth login`")),
    ],
    ids=["no login", "licence not accepted", "token unknown"],
)
def test_who_may_not_read_is_told_what_to_do(
    hub: LoopbackHub,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    token: str,
    says: tuple[str, ...],
) -> None:
    point_client_at(hub.url, monkeypatch, tmp_path, token=token)
    err = refused(capsys, *FETCH)
    for part in says:
        assert part in err


def test_a_clips_own_files_are_fetched_once_and_become_a_bag_without_the_hub(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(FETCH) == 0
    out = capsys.readouterr().out
    assert f"revision       {COMMIT}" in out and f"to-bag {COMPLETE}" in out
    assert not list(cache.rglob("*.zip"))  # the chunk itself stays where it is
    assert not list(cache.rglob("*cross_left*"))
    hub.requests.clear()
    assert main(FETCH) == 0
    assert not [r for r in hub.requests if r[0] == "GET" and "/resolve/" in r[1]]  # not a byte of data again

    hub.requests.clear()
    capsys.readouterr()
    words = ["dataset", "to-bag", COMPLETE, "--cameras", "front_wide,front_tele", "--out", "clip"]
    assert main(words) == 0
    assert hub.requests == []
    out = capsys.readouterr().out
    assert f"revision {COMMIT}" in out and "front_wide     60 of 60 pictures, JPEG quality 95" in out
    with BagReader("clip") as bag:
        assert bag.topics["/camera/front_tele/image/compressed"].count == 60
        assert bag.topics["/dataset/reasoning"].count == 2
    err = refused(capsys, "dataset", "to-bag", COMPLETE, "--out", "more")
    assert "expected its camera_cross_left_120fov, got none: it was not fetched" in err
    err = refused(capsys, "dataset", "to-bag", COMPLETE, "--out", "more", "--revision", "abc")
    assert f"expected revision abc in the hub's cache {cache}, got {COMMIT} only" in err
    assert not Path("more").exists()


def test_what_arrived_before_a_break_is_kept(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # its waits between retries
    hub.broken.add(TELE)
    err = refused(capsys, *FETCH)
    assert err.startswith(f"alpamayo dataset: {TELE}: expected a connection to the hub, got ")
    assert err.endswith("the same command goes on where it stopped")
    assert not list(cache.rglob("*front_tele*.mp4"))  # nothing half is left
    (front,) = cache.rglob("*front_wide*.mp4")
    hub.broken.clear()
    hub.requests.clear()
    before = front.stat().st_mtime_ns
    assert main(FETCH) == 0
    assert hub.bytes_of("camera_front_tele_30fov.chunk_0017.zip")
    assert not hub.bytes_of("camera_front_wide_120fov.chunk_0017.zip")
    assert front.stat().st_mtime_ns == before
    assert list(cache.rglob("*front_tele*.mp4"))


def test_whole_chunks_serve_all_their_clips(
    hub: LoopbackHub, cache: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FETCH, "--chunks", "--dry-run"]) == 0
    assert not list(cache.rglob("*.zip"))
    assert main([*FETCH, "--chunks"]) == 0
    names = sorted(path.name for path in cache.rglob("*.zip"))
    assert names == [
        "camera_front_tele_30fov.chunk_0017.zip",
        "camera_front_wide_120fov.chunk_0017.zip",
        "egomotion.chunk_0017.zip",
    ]
    assert not (cache / "subsetcache").exists()
    capsys.readouterr()
    assert main([*FETCH, "--chunks", "--dry-run"]) == 0
    assert " 0.0 MB of it not here yet" in capsys.readouterr().out
    words = ["dataset", "to-bag", COMPLETE, "--cameras", "front_wide", "--out", "clip"]
    assert main(words) == 0
    assert not (cache / "subsetcache").exists()  # read out of the archive, not unpacked beside it


def test_a_chunk_that_breaks_off_is_gone_on_with(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.broken.add(TELE)
    err = refused(capsys, *FETCH, "--chunks")
    assert "files of the data set: expected a connection to the hub, got" in err
    assert not list(cache.rglob("camera_front_tele*.zip"))
    hub.broken.clear()
    assert main([*FETCH, "--chunks"]) == 0
    assert list(cache.rglob("camera_front_tele*.zip"))


def test_a_clip_is_not_fetched_beside_the_chunk_that_holds_it(hub: LoopbackHub, cache: Path) -> None:
    assert main([*FETCH, "--chunks"]) == 0
    hub.requests.clear()
    assert main(FETCH) == 0
    assert not hub.bytes_of(".zip") and not (cache / "subsetcache").exists()


def test_a_chunk_that_lacks_the_clip_is_refused(
    hub: LoopbackHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refused(capsys, "dataset", "fetch", NO_TELE, "--cameras", "front_wide")
    assert f"expected an archive with the files of clip {NO_TELE}, got" in err


def test_clips_are_chosen_by_what_the_tables_tell(
    hub: LoopbackHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "dataset",
        "fetch",
        "--cameras",
        "front_wide",
        "--country",
        "germany",
        "--dry-run",
        "--limit",
        "5",
    ]
    assert main([*words, "--with-reasoning"]) == 0
    out = capsys.readouterr().out
    assert out.count("clip           ") == 1 and COMPLETE in out
    assert "none that meet all the options" in refused(capsys, *words, "--hours", "13-14")


def test_what_is_not_there_is_refused_before_anything_is_fetched(
    hub: LoopbackHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch = ("dataset", "fetch", COMPLETE)
    assert "clip 'nobody': expected one of the 4 clips" in refused(capsys, *fetch, "nobody")
    assert "expected the camera front_tele" in refused(capsys, *fetch, NO_TELE)
    assert "expected a revision" in refused(capsys, *FETCH, "--revision", "nightly")
    assert not list(cache.rglob("*.mp4")) and not list(cache.rglob("camera_intrinsics*"))


def test_without_a_hub_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point_client_at("http://127.0.0.1:9", monkeypatch, tmp_path, token=GOOD_TOKEN)
    assert "expected a connection to the hub, got ConnectError" in refused(capsys, *FETCH)


def test_a_disk_without_room_is_refused(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alpamayo_ros.datasets.physical_ai.fetch._SPARE_BYTES", 2**60)
    assert "GB of free disk space, got" in refused(capsys, *FETCH)
