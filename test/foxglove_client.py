"""A client of Foxglove's websocket protocol (foxglove.sdk.v1), on `websockets`."""

from __future__ import annotations

import json
import struct
import threading
from collections import defaultdict
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from view_factory import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SUBPROTOCOL = "foxglove.sdk.v1"
_MESSAGE, _TIME, _PLAYBACK = 1, 2, 5
_CONTROL = 3
STATUSES = ("playing", "paused", "buffering", "ended")


class FoxgloveClient:
    """Connects, and remembers all that it is sent."""

    def __init__(self, port: int, *, read: bool = True) -> None:
        self._stack = ExitStack()
        opened = connect(
            f"ws://127.0.0.1:{port}", subprotocols=[SUBPROTOCOL], max_size=None, compression=None
        )
        self._socket = self._stack.enter_context(opened)
        self.info: dict[str, Any] = json.loads(self._socket.recv())
        self.channels: dict[str, dict[str, Any]] = {}
        self.gone: list[int] = []
        self.messages: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.times_ns: list[int] = []
        self.states: list[dict[str, Any]] = []
        self.infos = [self.info]
        self.statuses: list[dict[str, Any]] = []
        self._topics: dict[int, str] = {}
        self._subscriptions: dict[str, int] = {}
        self._thread = threading.Thread(target=self._read, daemon=True)
        if read:
            self._thread.start()

    def __enter__(self) -> FoxgloveClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if self._thread.is_alive():
            self._thread.join(10)

    def subscribe(self, *topics: str) -> None:
        for topic in topics:
            channel = until(lambda topic=topic: self.channels.get(topic), f"channel {topic}")
            number = len(self._topics) + 1
            self._topics[number], self._subscriptions[topic] = topic, number
            asked = {"op": "subscribe", "subscriptions": [{"id": number, "channelId": channel["id"]}]}
            self._socket.send(json.dumps(asked))

    def unsubscribe(self, topic: str) -> None:
        number = self._subscriptions.pop(topic)
        self._socket.send(json.dumps({"op": "unsubscribe", "subscriptionIds": [number]}))

    def control(self, *, play: bool, rate: float = 1.0, seek_ns: int | None = None, name: str = "r") -> None:
        payload = struct.pack(
            "<BBfBQI", _CONTROL, 0 if play else 1, rate, seek_ns is not None, seek_ns or 0, len(name)
        )
        self._socket.send(payload + name.encode())

    def _read(self) -> None:
        try:
            for data in self._socket:
                self._take(data)
        except ConnectionClosed:
            pass

    def _take(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            if data[0] == _MESSAGE:
                number, stamp_ns = struct.unpack_from("<IQ", data, 1)
                self.messages[self._topics[number]].append((stamp_ns, data[13:]))
            elif data[0] == _TIME:
                self.times_ns.append(struct.unpack_from("<Q", data, 1)[0])
            elif data[0] == _PLAYBACK:
                status, now_ns, rate, seeked, length = struct.unpack_from("<BQfBI", data, 1)
                name = data[19 : 19 + length].decode()
                state = {"status": STATUSES[status], "now_ns": now_ns, "rate": rate, "seeked": bool(seeked)}
                self.states.append({**state, "request": name})
            return
        said = json.loads(data)
        if said["op"] == "advertise":
            self.channels.update({channel["topic"]: channel for channel in said["channels"]})
        elif said["op"] == "unadvertise":
            self.gone += said["channelIds"]
            self.channels = {t: c for t, c in self.channels.items() if c["id"] not in said["channelIds"]}
        elif said["op"] == "serverInfo":
            self.infos.append(said)
        elif said["op"] == "status":
            self.statuses.append(said)
