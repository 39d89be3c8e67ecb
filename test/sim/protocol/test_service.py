"""Sessions of servers: opened once, used by one call at a time, closed when nobody uses them."""

from __future__ import annotations

import threading

import pytest

from alpamayo_ros.sim.protocol.server import AlreadyExists, NotFound
from alpamayo_ros.sim.protocol.service import IDLE_S, Sessions
from alpamayo_ros.types import InvalidInput


class Thing:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_idle_sessions_are_closed_when_another_begins() -> None:
    clock = Clock()
    sessions: Sessions[Thing] = Sessions(clock=clock)
    old, busy, new = Thing(), Thing(), Thing()
    sessions.start("old", lambda: old)
    sessions.start("busy", lambda: busy)
    assert IDLE_S >= 600.0, "a first picture can take minutes, and be tried again"
    clock.now_s = IDLE_S - 1
    with sessions.use("busy"):
        pass
    clock.now_s = IDLE_S + 1
    sessions.start("new", lambda: new)
    assert (old.closed, busy.closed, new.closed) == (1, 0, 0) and len(sessions) == 2
    with pytest.raises(NotFound, match=r"expected one of 2 open sessions, got 'old' .*after 30 min"):
        sessions.close("old")
    sessions.close_all()
    assert busy.closed == new.closed == 1 and len(sessions) == 0


class Broken(Thing):
    def close(self) -> None:
        super().close()
        raise RuntimeError("it does not end")


def test_a_session_that_does_not_end_well_is_no_fault_of_the_others() -> None:
    clock, expired = Clock(), list[str]()
    sessions: Sessions[Thing] = Sessions(clock=clock, on_expire=lambda: expired.append("one"))
    old, also_old = Broken(), Thing()
    sessions.start("old", lambda: old)
    sessions.start("also old", lambda: also_old)
    clock.now_s = IDLE_S + 1
    sessions.start("new", Broken)
    assert (old.closed, also_old.closed) == (1, 1) and expired == ["one", "one"]
    last = Thing()
    sessions.start("last", lambda: last)
    sessions.close_all()
    assert last.closed == 1 and len(sessions) == 0


def test_a_session_in_use_is_not_idle() -> None:
    clock = Clock()
    sessions: Sessions[Thing] = Sessions(clock=clock)
    thing = Thing()
    sessions.start("a", lambda: thing)
    with sessions.use("a"):
        clock.now_s = 10 * IDLE_S
        sessions.start("b", Thing)
    assert thing.closed == 0


def test_one_call_at_a_time_and_closing_waits_for_it() -> None:
    sessions: Sessions[Thing] = Sessions()
    thing = Thing()
    sessions.start("a", lambda: thing)
    closing = threading.Thread(target=sessions.close, args=("a",))
    with sessions.use("a"):
        closing.start()
        closing.join(0.05)
        assert closing.is_alive() and not thing.closed
    closing.join(5.0)
    assert thing.closed == 1


def test_ids_are_new_and_a_failed_start_leaves_none() -> None:
    sessions: Sessions[Thing] = Sessions()
    with pytest.raises(InvalidInput, match="expected an id, got none"):
        sessions.start("", Thing)

    def fails() -> Thing:
        raise InvalidInput("scene: unknown")

    with pytest.raises(InvalidInput, match="scene: unknown"):
        sessions.start("a", fails)
    sessions.start("a", Thing)
    with pytest.raises(AlreadyExists, match="expected a new id, got 'a'"):
        sessions.start("a", Thing)

    def started_meanwhile() -> Thing:
        with pytest.raises(AlreadyExists, match="expected a new id, got 'b'"):
            sessions.start("b", fails)
        return Thing()

    sessions.start("b", started_meanwhile)
    assert len(sessions) == 2


def test_shared_calls_run_beside_the_one_that_has_its_turn_and_closing_waits_for_all() -> None:
    sessions: Sessions[Thing] = Sessions()
    thing = Thing()
    sessions.start("a", lambda: thing)
    closing = threading.Thread(target=sessions.close, args=("a",))
    with sessions.use("a", shared=True), sessions.use("a", shared=True):
        with sessions.use("a"):
            closing.start()
            closing.join(0.05)
        closing.join(0.05)
        assert closing.is_alive() and not thing.closed
        with pytest.raises(NotFound), sessions.use("a", shared=True):
            pass
    closing.join(5.0)
    assert thing.closed == 1
