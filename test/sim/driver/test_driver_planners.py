"""The one thread that plans: in order, for those who still want it."""

from __future__ import annotations

import threading
import time

import pytest

from alpamayo_ros.sim.driver.planners import OneThread
from alpamayo_ros.sim.protocol.server import Unwanted


def test_first_come_first_served_in_one_thread() -> None:
    thread, done = OneThread(), list[int]()
    hold = threading.Event()
    names: set[str] = set()

    def work(index: int) -> int:
        names.add(threading.current_thread().name)
        done.append(index)
        return 10 * index

    first = threading.Thread(target=lambda: thread.run(hold.wait))
    first.start()
    results: dict[int, int] = {}
    others = []
    for index in range(5):
        other = threading.Thread(
            target=lambda i: results.update({i: thread.run(lambda: work(i))}), args=(index,)
        )
        other.start()
        others.append(other)
        while thread.waiting < index + 1:
            time.sleep(0.001)
    hold.set()
    for other in others:
        other.join()
    first.join()
    thread.close()
    assert done == [0, 1, 2, 3, 4] and names == {"inference"}
    assert results == {i: 10 * i for i in range(5)}


def test_what_it_raises_is_raised_and_it_goes_on() -> None:
    thread = OneThread()
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 // 0)
    assert thread.run(lambda: 7) == 7
    thread.close()


def test_work_that_nobody_wants_when_its_turn_comes_is_not_done() -> None:
    thread, done = OneThread(), list[int]()
    with pytest.raises(Unwanted, match="got one that has gone"):
        thread.run(lambda: done.append(1), still_wanted=lambda: False)
    assert not done
    thread.close()


def test_closing_drops_what_waits_and_takes_no_more() -> None:
    thread = OneThread()
    hold, begun = threading.Event(), threading.Event()
    outcomes: list[object] = []

    def wait() -> bool:
        begun.set()
        return hold.wait()

    def ask(work: object) -> None:
        try:
            outcomes.append(thread.run(work))  # type: ignore[arg-type]
        except Unwanted as error:
            outcomes.append(str(error))

    running = threading.Thread(target=ask, args=(wait,))
    running.start()
    begun.wait()
    waiting = threading.Thread(target=ask, args=(lambda: "done",))
    waiting.start()
    while not thread.waiting:
        time.sleep(0.001)
    closing = threading.Thread(target=thread.close)
    closing.start()
    time.sleep(0.02)
    hold.set()
    for each in (running, waiting, closing):
        each.join()
    assert set(outcomes) == {True, "drive: expected a driver that is up, got one that is ending"}
    with pytest.raises(Unwanted):
        thread.run(lambda: 1)
    thread.close()
