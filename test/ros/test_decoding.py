"""The pool keeps each camera's order, drops the oldest, and survives what its items do."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.ros.decoding import KeyedPool
from alpamayo_ros.types import InvalidInput


def finish(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=60), st.integers(1, 4))
def test_items_of_a_key_are_handled_one_by_one_in_order(keys, threads):
    handled: dict[int, list[int]] = {0: [], 1: [], 2: []}
    running: set[int] = set()
    overlaps: list[int] = []

    def handle(key: int, item: int) -> None:
        if key in running:
            overlaps.append(key)
        running.add(key)
        time.sleep(0)
        handled[key].append(item)
        running.discard(key)

    pool: KeyedPool[int] = KeyedPool(range(3), handle=handle, threads=threads, queue_length=100)
    for item, key in enumerate(keys):
        assert pool.submit(key, item) is None
    finish(lambda: sum(map(len, handled.values())) == len(keys))
    pool.close()
    assert not overlaps
    assert all(items == sorted(items) for items in handled.values())


def test_the_oldest_is_dropped_and_other_keys_go_on():
    gate, handled = threading.Event(), []

    def handle(key: int, item: int) -> None:
        if key == 0:
            assert gate.wait(10)
        handled.append((key, item))

    pool: KeyedPool[int] = KeyedPool([0, 1], handle=handle, threads=2, queue_length=2)
    pool.submit(0, 0)
    finish(lambda: not pool._waiting[0])
    dropped = [pool.submit(0, item) for item in (1, 2, 3, 4)]
    pool.submit(1, 9)
    finish(lambda: (1, 9) in handled)
    gate.set()
    finish(lambda: len(handled) == 4)
    pool.close()
    assert dropped == [None, None, 1, 2]
    assert [item for key, item in handled if key == 0] == [0, 3, 4]


def test_an_item_that_raises_does_not_stop_its_key():
    handled = []

    def handle(key: int, item: int) -> None:
        if item == 0:
            raise RuntimeError
        handled.append(item)

    pool: KeyedPool[int] = KeyedPool([0], handle=handle, threads=1)
    pool.submit(0, 0)
    pool.submit(0, 1)
    finish(lambda: handled == [1])
    pool.close()
    assert pool.submit(0, 2) is None
    assert handled == [1]


@pytest.mark.parametrize(("threads", "queue_length"), [(0, 1), (1, 0)])
def test_a_pool_needs_a_thread_and_a_place(threads, queue_length):
    with pytest.raises(InvalidInput, match="pool: expected at least one thread and place"):
        KeyedPool([0], handle=lambda key, item: None, threads=threads, queue_length=queue_length)
