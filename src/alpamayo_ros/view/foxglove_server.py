"""Serves a source to Foxglove: its websocket protocol, by foxglove-sdk; messages pass as they are."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.playback import Playback, PlayState, Standing
from alpamayo_ros.view.source import Source, Topic, require_extra

PORT = 8765
BACKLOG = 256
"""Messages that may wait for one client."""

_TIME_PERIOD_NS = 100_000_000
_OVERFULL = "outbox for client"


@dataclass(frozen=True)
class FoxgloveStatistics:
    """What a server has done.

    Attributes:
        topics: offered now.
        subscribed: of them, those that a client reads.
        clients: that read anything.
        messages: handed on.
        overfull: times that a client was found too slow and lost messages, of which foxglove-sdk tells no
            number and speaks at most twice a minute.
    """

    topics: int
    subscribed: int
    clients: int
    messages: int
    overfull: int


class FoxgloveServer:
    """A websocket for the Foxglove app.

    A topic is asked of the source only while a client reads it. What a client is too slow for waits, up to
    `backlog` messages; then the oldest is dropped. Nothing ever waits for a client.

    Args:
        source: the live graph, or a Playback, which the app can then pause and seek.
        host, port: to listen at; port 0 takes a free one.
        name: shown in the app.
        backlog: messages that may wait for one client.

    Raises:
        InvalidInput: where foxglove-sdk is missing, the address cannot be listened at, or an argument is
            out of range.
    """

    def __init__(
        self, source: Source, *, host: str, port: int, name: str = "alpamayo", backlog: int = BACKLOG
    ) -> None:
        self._sdk = require_extra("foxglove", why="Foxglove's websocket")
        self._websocket = require_extra("foxglove.websocket", why="Foxglove's websocket")
        if not 0 <= port <= 65535:
            raise InvalidInput(f"port: expected 0 … 65535, got {port}")
        if not 16 <= backlog <= 100_000:
            raise InvalidInput(f"backlog: expected 16 … 100000 messages, got {backlog}")
        self._source = source
        self._playback = source if isinstance(source, Playback) else None
        self._lock = threading.Lock()
        self._channels: dict[str, tuple[Topic, Any]] = {}
        self._readers: dict[str, set[int]] = defaultdict(set)
        self._messages = 0
        self._last_time_ns = 0
        self._told: Standing | None = None
        self._overfull = _Overfull()
        self._context = self._sdk.Context()
        capabilities = [self._websocket.Capability.Time]
        playback = self._playback
        try:
            self._server = self._sdk.start_server(
                name=name,
                host=host,
                port=port,
                capabilities=capabilities,
                server_listener=_Listener(self),
                context=self._context,
                playback_time_range=None if playback is None else (playback.start_ns, playback.end_ns),
                message_backlog_size=backlog,
            )
        except (RuntimeError, OSError, ValueError) as error:
            self._overfull.remove()
            raise InvalidInput(
                f"{host}:{port}: expected an address to listen at, got {_reason(error)}"
            ) from error
        source.attach(self)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.port)

    @property
    def statistics(self) -> FoxgloveStatistics:
        """What it has done so far."""
        with self._lock:
            read = {name: readers for name, readers in self._readers.items() if readers}
            clients = set().union(*read.values()) if read else set()
            return FoxgloveStatistics(
                len(self._channels), len(read), len(clients), self._messages, self._overfull.count
            )

    def close(self) -> None:
        """Disconnect everybody and stop listening."""
        self._server.stop()
        self._overfull.remove()

    def topics_changed(self, topics: Mapping[str, Topic]) -> None:
        """Offer these topics, each by a channel; a topic of another type than before gets a new one."""
        with self._lock:
            gone = [name for name, (topic, _) in self._channels.items() if topics.get(name) != topic]
            closed = [self._channels.pop(name)[1] for name in gone]
            fresh = [topic for name, topic in topics.items() if name not in self._channels]
        # Without the lock: the SDK calls the listener from within.
        for channel in closed:
            channel.close()
        for topic in fresh:
            schema = self._sdk.Schema(
                name=topic.type_name, encoding=topic.encoding, data=topic.definition.encode()
            )
            channel = self._sdk.Channel(
                topic.name, schema=schema, message_encoding="cdr", context=self._context
            )
            with self._lock:
                self._channels[topic.name] = (topic, channel)

    def message(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Hand a message on to those who read its topic."""
        with self._lock:
            known = self._channels.get(topic)
            self._messages += 1
        if known is not None:
            known[1].log(data, log_time=max(stamp_ns, 0))

    def time_is(self, stamp_ns: int) -> None:
        """Tell the time ten times a second, and how a playback stands when that has changed."""
        if abs(stamp_ns - self._last_time_ns) >= _TIME_PERIOD_NS:
            self._last_time_ns = stamp_ns
            self._server.broadcast_time(max(stamp_ns, 0))
        if self._playback is not None:
            standing = self._playback.standing
            told, self._told = self._told, standing
            if told is None or (told.state, told.rate, told.jumps) != (
                standing.state,
                standing.rate,
                standing.jumps,
            ):
                seeked = told is not None and told.jumps != standing.jumps
                self._server.broadcast_playback_state(self._state(standing, did_seek=seeked))

    def jumped(self) -> None:
        """Have the app forget what it shows, where it is not it that has sought."""
        self._last_time_ns = 0
        if self._playback is None:
            self._server.clear_session()

    def subscribed(self, client: int, topic: str) -> None:
        """Take note of a client that reads a topic."""
        with self._lock:
            others = bool(self._readers[topic])
            self._readers[topic].add(client)
            wanted = {name for name, readers in self._readers.items() if readers}
            known = self._channels.get(topic)
        self._told = None  # the newcomer does not know how the playback stands
        self._source.want(wanted)
        if others and known is not None and known[0].latched:
            self._source.renew(topic)

    def unsubscribed(self, client: int, topic: str) -> None:
        """Take note of a client that reads a topic no longer."""
        with self._lock:
            self._readers[topic].discard(client)
            wanted = {name for name, readers in self._readers.items() if readers}
        self._source.want(wanted)

    def control(self, request: Any) -> Any:
        """Do what the app's controls ask for; a rate that is out of range leaves all as it is."""
        assert self._playback is not None
        try:
            standing = self._playback.control(
                playing=request.playback_command == self._websocket.PlaybackCommand.Play,
                rate=request.playback_speed,
                seek_ns=request.seek_time,
            )
        except InvalidInput as error:
            self._server.publish_status(str(error), self._sdk.StatusLevel.Warning)
            standing = self._playback.standing
        self._told = standing
        return self._state(standing, did_seek=request.seek_time is not None, request_id=request.request_id)

    def _state(self, standing: Standing, *, did_seek: bool, request_id: str | None = None) -> Any:
        status = self._websocket.PlaybackStatus
        return self._websocket.PlaybackState(
            status={
                PlayState.PLAYING: status.Playing,
                PlayState.PAUSED: status.Paused,
                PlayState.ENDED: status.Ended,
            }[standing.state],
            current_time=standing.now_ns,
            playback_speed=standing.rate,
            did_seek=did_seek,
            request_id=request_id,
        )


class _Listener:
    """What the SDK calls, from threads of its own: it takes any object, and looks methods up by name."""

    def __init__(self, server: FoxgloveServer) -> None:
        self._server = server

    def on_subscribe(self, client: Any, channel: Any) -> None:
        self._server.subscribed(client.id, channel.topic)

    def on_unsubscribe(self, client: Any, channel: Any) -> None:
        self._server.unsubscribed(client.id, channel.topic)

    def on_playback_control_request(self, request: Any) -> Any:
        return self._server.control(request)


class _Overfull(logging.Handler):
    """Counts the SDK's remarks that a client was too slow: it drops messages and keeps no count."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0
        self._logger = logging.getLogger("foxglove")
        self._former = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False  # its remarks on every connection are for nobody
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record."""
        if _OVERFULL in record.getMessage():
            self.count += 1

    def remove(self) -> None:
        """Leave logging as it was."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._former[0])
        self._logger.propagate = self._former[1]


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
