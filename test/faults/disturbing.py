"""How the messages of cameras, odometry and clock are disturbed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from bench import Bench
from world import Delivery, Disturb

from alpamayo_ros.ros.conversions import stamp_from_ns, stamp_to_ns

OTHER = "cross_left"
"""A camera that is not the reference, and sends JPEG."""
LONG_S = 2.6
"""Longer than a plan is valid, and than it takes to be called stale and reported."""

Inject = Callable[[Bench], AbstractContextManager[object]]


def of_camera(name: str, change: Disturb) -> Inject:
    """Change the messages of one camera."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        def disturb(camera: str, message: Any) -> Sequence[Delivery]:
            return change(camera, message) if camera == name else [(0.0, message)]

        bench.world.disturb.cameras = disturb
        try:
            yield
        finally:
            bench.world.disturb.cameras = lambda _, message: [(0.0, message)]

    return inject


def of_all_cameras(change: Disturb) -> Inject:
    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        bench.world.disturb.cameras = change
        try:
            yield
        finally:
            bench.world.disturb.cameras = lambda _, message: [(0.0, message)]

    return inject


def of_odometry(change: Disturb) -> Inject:
    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        bench.world.disturb.odometry = change
        try:
            yield
        finally:
            bench.world.disturb.odometry = lambda _, message: [(0.0, message)]

    return inject


def both(*injects: Inject) -> Inject:
    """Several at once."""

    @contextmanager
    def inject(bench: Bench) -> Iterator[None]:
        from contextlib import ExitStack

        with ExitStack() as stack:
            for one in injects:
                stack.enter_context(one(bench))
            yield

    return inject


def anew(make: Callable[[], Inject]) -> Inject:
    """Make the injection when it begins: what it remembers is of this time alone."""
    return lambda bench: make()(bench)


def lost(_: str, message: Any) -> Sequence[Delivery]:
    return []


def late(seconds: float) -> Disturb:
    return lambda _, message: [(seconds, message)]


def every(number: int) -> Disturb:
    """Let through one of so many."""
    seen = [0]

    def change(_: str, message: Any) -> Sequence[Delivery]:
        seen[0] += 1
        return [(0.0, message)] if seen[0] % number == 0 else []

    return change


def swapped() -> Disturb:
    """Send each pair in the wrong order."""
    kept: list[Any] = []

    def change(_: str, message: Any) -> Sequence[Delivery]:
        if not kept:
            kept.append(message)
            return []
        return [(0.0, message), (0.0, kept.pop())]

    return change


def twice(_: str, message: Any) -> Sequence[Delivery]:
    return [(0.0, message), (0.0, message)]


def with_data(change: Callable[[bytes], bytes]) -> Disturb:
    def disturb(_: str, message: Any) -> Sequence[Delivery]:
        changed = copy.deepcopy(message)
        data = change(bytes(message.data))
        del changed.data[:]
        changed.data.frombytes(data)
        return [(0.0, changed)]

    return disturb


def frozen() -> Disturb:
    """The first picture again and again, under new stamps."""
    first: list[bytes] = []

    def same(data: bytes) -> bytes:
        if not first:
            first.append(data)
        return first[0]

    return with_data(same)


def with_fields(**fields: Any) -> Disturb:
    """Set fields, by names such as `header__frame_id`."""

    def disturb(_: str, message: Any) -> Sequence[Delivery]:
        changed = copy.deepcopy(message)
        for name, value in fields.items():
            *path, last = name.split("__")
            owner = changed
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, last, value)
        return [(0.0, changed)]

    return disturb


def stamped(shift_s: float, *, one_of: int = 1) -> Disturb:
    """Move stamps."""
    seen = [0]

    def disturb(_: str, message: Any) -> Sequence[Delivery]:
        seen[0] += 1
        if seen[0] % one_of:
            return [(0.0, message)]
        changed = copy.deepcopy(message)
        changed.header.stamp = stamp_from_ns(stamp_to_ns(message.header.stamp) + round(shift_s * 1e9))
        return [(0.0, changed)]

    return disturb


def moved(metres: float) -> Disturb:
    """Odometry that jumps aside."""

    def disturb(_: str, message: Any) -> Sequence[Delivery]:
        changed = copy.deepcopy(message)
        changed.pose.pose.position.y += metres
        return [(0.0, changed)]

    return disturb


def stale_odometry() -> Disturb:
    """The first message again and again."""
    first: list[Any] = []

    def disturb(_: str, message: Any) -> Sequence[Delivery]:
        if not first:
            first.append(message)
        return [(0.0, first[0])]

    return disturb


@contextmanager
def larger_pictures(bench: Bench) -> Iterator[None]:
    import cv2

    ok, jpeg = cv2.imencode(".jpg", np.random.default_rng(1).integers(60, 200, (96, 128, 3), np.uint8))
    assert ok
    noise = [bytes(jpeg.tobytes())]

    def change(data: bytes) -> bytes:
        return noise[0]

    with of_camera(OTHER, with_data(change))(bench):
        yield


@contextmanager
def clock_back(bench: Bench) -> Iterator[None]:
    bench.world.jump(-30.0)
    yield


@contextmanager
def clock_ahead(bench: Bench) -> Iterator[None]:
    bench.world.jump(10.0)
    yield


@contextmanager
def clock_stands(bench: Bench) -> Iterator[None]:
    bench.world.disturb.clock_stands = True
    try:
        yield
    finally:
        bench.world.disturb.clock_stands = False


@contextmanager
def clock_fast(bench: Bench) -> Iterator[None]:
    bench.world.disturb.clock_rate = 5.0
    try:
        yield
    finally:
        bench.world.disturb.clock_rate = 1.0
