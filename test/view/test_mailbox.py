"""What waits for a slow reader is bounded, and nothing busy keeps the rest from being read."""

from __future__ import annotations

import threading

import pytest

from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.mailbox import Mailbox


def drained(box: Mailbox) -> list[object]:
    found = []
    while (item := box.take()) is not None:
        found.append(item)
    return found


def test_of_a_state_only_the_newest_waits_and_the_others_are_counted():
    box = Mailbox()
    for value in range(5):
        box.put_state("pose", value)
    box.put_state("map", "m")
    assert drained(box) == [4, "m"]
    assert (box.replaced, box.dropped) == (4, 0)


def test_of_events_the_newest_wait_and_the_others_are_counted():
    box = Mailbox(max_events=3)
    for value in range(10):
        box.put_event(value)
    assert drained(box) == [7, 8, 9]
    assert (box.replaced, box.dropped) == (0, 7)


def test_a_flood_of_events_lets_states_through_and_the_other_way_round():
    box = Mailbox()
    for value in range(100):
        box.put_event(f"event {value}")
        box.put_state("busy", f"busy {value}")
    box.put_state("rare", "rare")
    first = [box.take() for _ in range(4)]
    assert "rare" in first and "event 0" in first and "busy 99" in first


def test_one_busy_key_does_not_overtake_another():
    box = Mailbox()
    box.put_state("a", 1)
    box.put_state("b", 2)
    box.put_state("a", 3)
    assert drained(box) == [3, 2]


def test_a_state_can_be_taken_before_its_turn():
    box = Mailbox()
    box.put_state("a", 1)
    box.put_state("b", 2)
    assert (box.take_state("b"), box.take_state("b"), box.take_state("c")) == (2, None, None)
    assert drained(box) == [1]


def test_it_tells_once_when_it_is_no_longer_empty():
    calls = []
    box = Mailbox(on_put=lambda: calls.append(1))
    box.put_event("x")
    box.put_state("k", "y")
    assert len(calls) == 1
    drained(box)
    box.put_state("k", "z")
    assert len(calls) == 2


def test_who_waits_gets_what_comes_and_is_woken_by_the_end():
    box = Mailbox()
    found: list[object] = []

    def read() -> None:
        while (item := box.wait()) is not None:
            found.append(item)

    thread = threading.Thread(target=read)
    thread.start()
    box.put_event("one")
    while not found:
        thread.join(0.01)
    box.close()
    thread.join(10)
    assert not thread.is_alive() and found == ["one"]
    box.put_event("late")
    assert box.take() is None


def test_a_box_without_room_is_refused():
    with pytest.raises(InvalidInput, match=r"max_events: expected 1 or more, got 0"):
        Mailbox(max_events=0)
