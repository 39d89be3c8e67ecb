"""One driver process under a crowd of clients: no crash, nothing kept, and nobody else's answers changed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from driver_load import KINDS, Crowd, open_sessions
from driver_process import DriverProcess, Resources

from alpamayo_ros.sim.replay.calls import read_driver_log

IDLE_S = 4.0
GROWTH_BYTES = 20 * 2**20
THREADS_MORE = 8
"""gRPC's pool has as many as were ever busy at a time; one kept for each client would be more."""


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> Path:
    return golden_dir / "alpasim" / "rollout.asl"


def crowded(
    folder: Path, recorded: Path, *options: object, warm_up: int, replays: int
) -> tuple[Resources, Resources]:
    """Let a crowd come, then another one; return what the driver held after each."""
    held = []
    with DriverProcess(folder / "driver.log", *options, "--idle-timeout", IDLE_S) as driver:
        crowd = Crowd(driver.address, read_driver_log(recorded))
        for count in (warm_up, replays):
            started_s = time.monotonic()
            crowd.run(count)
            outcome = crowd.outcome
            assert driver.process.poll() is None, driver.output
            assert outcome.problems == [], outcome.problems[:10]
            time.sleep(1.5 * IDLE_S)
            assert outcome.left_open and open_sessions(driver.address, outcome.left_open) == []
            held.append(driver.resources())
            print(f"{count} clients in {time.monotonic() - started_s:.0f} s; so far {outcome}; {held[-1]}")
        assert set(outcome.kinds) == set(KINDS) and sum(outcome.kinds.values()) == warm_up + replays
        assert outcome.compared >= 30 * (outcome.kinds["good"] + outcome.kinds["bad_pictures"]) > 0
        assert outcome.refused["INVALID_ARGUMENT"] > 0
        assert driver.stop() == 0 and "Traceback" not in driver.output, driver.output
    return held[0], held[1]


def require_flat(before: Resources, after: Resources) -> None:
    """Raise unless a process holds what it held before."""
    grown = after.rss_bytes - before.rss_bytes
    assert grown < GROWTH_BYTES, f"memory: expected at most 20 MB more, got {grown / 2**20:.1f}"
    assert after.threads <= before.threads + THREADS_MORE, f"threads: {before.threads}, then {after.threads}"
    assert after.files <= before.files + 2, f"files: {before.files}, then {after.files}"


@pytest.mark.long
def test_a_crowd_leaves_nothing_behind(recorded: Path, tmp_path: Path) -> None:
    require_flat(*crowded(tmp_path, recorded, "--planner", "constant", warm_up=12, replays=12))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_replays_with_a_model_leave_nothing_behind(
    golden_dir: Path, recorded: Path, tmp_path: Path
) -> None:
    model = golden_dir / "alpamayo_r1"
    checkpoint = ("--checkpoint", model / "checkpoint", "--backbone", model / "backbone", "--device", "cpu")
    options = (*checkpoint, "--num-samples", 2)
    require_flat(*crowded(tmp_path, recorded, *options, warm_up=80, replays=200))
