"""A recording as a source: plays at its own pace, pauses, seeks, loops."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.playback import Timeline
from alpamayo_ros.bags.qos import is_transient_local
from alpamayo_ros.bags.reader import BagReader, BagTopic, RawMessage
from alpamayo_ros.bags.typestore import definition_of
from alpamayo_ros.view.source import ROS2_IDL, ROS2_MSG, Topic, Viewer

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

NEVER_SHOWN = ("/clock", "/parameter_events")
PRIME_NS = 1_000_000_000
"""How far back a topic's last message is looked for after a seek."""

_TICK_S = 0.1
_MAX_LATCHED = 1000


class PlayState(Enum):
    """What a playback is doing."""

    PLAYING = "playing"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True)
class Standing:
    """Where a playback stands; `jumps` counts seeks and new rounds."""

    state: PlayState
    now_ns: int
    rate: float
    jumps: int


class Playback:
    """Plays a bag to one viewer, in a thread of its own. Time stands still while nobody wants anything.

    A topic that is newly wanted, and every topic after a seek, starts with what was the state then: all
    messages so far of a latched topic, the last of the second before of any other.

    Args:
        path: the bag.
        rate: bag seconds a wall second.
        loop: whether it begins again at the end.
        paused: whether it waits to be played.

    Raises:
        BagError: for a bag that cannot be read, or that holds nothing.
        InvalidInput: for a rate out of range.
    """

    def __init__(
        self, path: str | Path, *, rate: float = 1.0, loop: bool = False, paused: bool = False
    ) -> None:
        self.reader = BagReader(path)
        try:
            if not self.reader.message_count:
                raise BagError(f"bag {path}: expected messages, got none")
            self.topics: dict[str, Topic] = {}
            self.ignored: dict[str, str] = {}
            """Topic -> why it cannot be shown."""
            for name, topic in self.reader.topics.items():
                if topic.count and name not in NEVER_SHOWN:
                    try:
                        self.topics[name] = self._topic(topic)
                    except BagError as error:  # neither recorded nor installed
                        self.ignored[name] = str(error)
            self.start_ns, self.end_ns = self.reader.start_ns, self.reader.end_ns
            self._line = Timeline(self.start_ns, rate=rate)
        except BaseException:
            self.reader.close()
            raise
        self.error: BagError | None = None
        self._loop = loop
        self._playing = not paused
        self._running = False
        self._ended = False
        self._jumps = 0
        self._wanted: frozenset[str] = frozenset()
        self._primed: set[str] = set()
        self._reopen = False
        self._jumped = False
        self._pending_ns: int | None = None  # from here on nothing is out; None: all until now is
        self._last_ns = -1
        self._told: Counter[str] = Counter()  # by topic, messages of the stamp _last_ns that are out
        self._stop = False
        self._change = threading.Condition()
        self._viewer: Viewer | None = None
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)

    @property
    def typestore(self) -> Typestore:
        """The bag's types."""
        return self.reader.typestore

    @property
    def standing(self) -> Standing:
        """Where it stands now."""
        with self._change:
            return self._standing()

    def attach(self, viewer: Viewer) -> None:
        """Name the viewer, tell it the topics, and begin."""
        self._viewer = viewer
        viewer.topics_changed(self.topics)
        self._thread.start()

    def want(self, topics: Collection[str]) -> None:
        """Play these topics alone."""
        with self._change:
            self._wanted = frozenset(topics) & frozenset(self.topics)
            self._primed &= self._wanted
            self._reopen = True
            self._set_running()

    def renew(self, topic: str) -> None:
        """Send a topic's state again."""
        with self._change:
            self._primed.discard(topic)
            self._reopen = True
            self._change.notify()

    def control(
        self, *, playing: bool | None = None, rate: float | None = None, seek_ns: int | None = None
    ) -> Standing:
        """Play or pause, change the rate, jump; what is None stays.

        Played from its end, it starts anew. A time out of the bag is brought into it.

        Raises:
            InvalidInput: for a rate out of range; nothing is changed then.
        """
        with self._change:
            if rate is not None:
                self._line.set_rate(rate)
            if seek_ns is None and playing and self._ended:
                seek_ns = self.start_ns
            if playing is not None:
                self._playing = playing
                self._reopen = True
            if seek_ns is not None:
                self._jump(seek_ns)
            self._set_running()
            return self._standing()

    def close(self) -> None:
        """Stop playing and close the bag."""
        with self._change:
            self._stop = True
            self._change.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self.reader.close()

    def _topic(self, topic: BagTopic) -> Topic:
        """Return a topic with the definition that was recorded, or, without one, the one that is known."""
        recorded = self.reader.definition(topic.type_name)
        text = (recorded or definition_of(self.reader.typestore, topic.type_name)).text
        # MCAP's registry of formats has each part of a ros2idl begin with a rule and this word.
        encoding = ROS2_IDL if text.lstrip("=\r\n ").startswith("IDL: ") else ROS2_MSG
        latched = topic.name == "/tf_static" or is_transient_local(topic.qos)
        return Topic(topic.name, topic.type_name, text, encoding=encoding, latched=latched)

    # What follows is called with `_change` held.

    def _standing(self) -> Standing:
        state = PlayState.PLAYING if self._playing else PlayState.PAUSED
        now_ns = min(max(self._line.now_ns(), self.start_ns), self.end_ns)
        return Standing(PlayState.ENDED if self._ended else state, now_ns, self._line.rate, self._jumps)

    def _set_running(self) -> None:
        """Let time run, or hold it, as is due."""
        run = self._playing and bool(self._wanted) and not self._ended
        if run and not self._running:
            if self._pending_ns is None:
                self._pending_ns = self._line.now_ns()
            self._line.start()
        elif self._running and not run:
            self._line = Timeline(self._line.now_ns(), rate=self._line.rate)
        self._running = run
        self._change.notify()

    def _jump(self, to_ns: int) -> None:
        to_ns = min(max(to_ns, self.start_ns), self.end_ns)
        self._line = Timeline(to_ns, rate=self._line.rate)
        self._running = self._ended = False
        self._pending_ns, self._last_ns = to_ns, -1
        self._told.clear()
        self._primed.clear()
        self._jumps += 1
        self._jumped = self._reopen = True

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            while not self._stop:
                self._round()
        except BagError as error:
            with self._change:
                self.error = error
                self._playing = False
                self._set_running()

    def _round(self) -> None:
        """Play until something is changed, or to the end."""
        assert self._viewer is not None
        with self._change:
            jumped, self._jumped, self._reopen = self._jumped, False, False
            begin_ns = self._standing().now_ns
            if self._pending_ns is not None:
                begin_ns = min(begin_ns, self._pending_ns)
            self._pending_ns = begin_ns
            wanted, told = self._wanted, Counter(self._told if self._last_ns == begin_ns else {})
            fresh = wanted - self._primed
            self._primed |= fresh
        if jumped:
            self._viewer.jumped()
        for message in self._state_at(fresh, begin_ns):
            self._viewer.message(message.topic, message.stamp_ns, message.data)
        for message in self.reader.messages(wanted, start_ns=begin_ns) if wanted else ():
            if message.stamp_ns == begin_ns and told[message.topic] > 0:
                told[message.topic] -= 1
                continue
            if not self._await(message.stamp_ns, pending=True):
                return
            self._viewer.message(message.topic, message.stamp_ns, message.data)
            with self._change:
                if self._jumped:  # it has said what is next
                    return
                if message.stamp_ns != self._last_ns:
                    self._last_ns = message.stamp_ns
                    self._told.clear()
                self._told[message.topic] += 1
        with self._change:
            if not self._jumped:
                self._pending_ns = None
        if self._await(self.end_ns):
            with self._change:
                if self._playing and wanted and not self._ended and not self._reopen:
                    if self._loop:
                        self._jump(self.start_ns)
                    else:
                        self._ended = True
                    self._set_running()
        self._hold()

    def _state_at(self, topics: Collection[str], now_ns: int) -> Iterator[RawMessage]:
        """Yield what the topics last said before a time."""
        latched = {name for name in topics if self.topics[name].latched}
        if latched:
            yield from deque(self.reader.messages(latched, stop_ns=now_ns), maxlen=_MAX_LATCHED)
        others = set(topics) - latched
        if others:
            recent = self.reader.messages(others, start_ns=now_ns - PRIME_NS, stop_ns=now_ns)
            yield from {message.topic: message for message in recent}.values()

    def _await(self, stamp_ns: int, *, pending: bool = False) -> bool:
        """Wait until it is this time, of a message or not; False where something was changed meanwhile."""
        assert self._viewer is not None
        while True:
            with self._change:
                if self._stop or self._reopen:
                    return False
                if pending:
                    self._pending_ns = stamp_ns
                wait_s = self._line.wait_s(stamp_ns)
                if wait_s <= 0:
                    return True
                self._change.wait(min(wait_s, _TICK_S))
                now_ns = self._standing().now_ns
            self._viewer.time_is(now_ns)

    def _hold(self) -> None:
        """Say where it stands, and wait for a change."""
        assert self._viewer is not None
        self._viewer.time_is(self.standing.now_ns)
        with self._change:
            while not (self._stop or self._reopen):
                self._change.wait()
