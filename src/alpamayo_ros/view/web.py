"""The web page: a feed that decodes what a source sends, and the server that the pages are connected to."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.feed import WebFeed
from alpamayo_ros.view.playback import Playback
from alpamayo_ros.view.source import Source
from alpamayo_ros.view.web_messages import Json
from alpamayo_ros.view.web_server import WebServer, WebStatistics
from alpamayo_ros.viz.colours import FAST_MPS, speed_colours

_ASKED: dict[str, Any] = {"playing": bool, "rate": (int, float), "seek": (int, float)}


class WebView:
    """Serves the page of one source.

    Args:
        source: the live graph, or a Playback, which the page then controls.
        host, port: to listen at; port 0 takes a free one.
        title: of the page.
        namespace: of our nodes.
        rig: which topics are cameras and odometry, if not the usual ones.
        allowed_hosts: further names by which pages come here.

    Raises:
        InvalidInput: where `websockets` is missing, or the address cannot be listened at.
    """

    def __init__(
        self,
        source: Source,
        *,
        host: str,
        port: int,
        title: str = "Alpamayo",
        namespace: str = "alpamayo",
        rig: Rig | None = None,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._playback = source if isinstance(source, Playback) else None
        self._title = title
        self._feed: WebFeed | None = None
        self._anybody = False
        self.server = WebServer(
            host=host,
            port=port,
            snapshot=self._snapshot,
            watched=self._watched,
            control=self._control,
            pulse=self._pulse,
            allowed_hosts=allowed_hosts,
        )
        self._feed = WebFeed(source, self.server, namespace=namespace, rig=rig)
        self._feed.watched(self._anybody)  # a page may have been quicker

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def statistics(self) -> WebStatistics:
        """What the server has done so far."""
        return self.server.statistics

    @property
    def problems(self) -> dict[str, int]:
        """Topic -> messages that could not be shown."""
        return {} if self._feed is None else self._feed.problems

    def close(self) -> None:
        """Send all pages away."""
        self.server.close()
        if self._feed is not None:
            self._feed.close()

    def _snapshot(self) -> list[Json]:
        speeds = np.linspace(0.0, FAST_MPS, 5)
        scale = [
            [round(float(v), 2), "#{:02x}{:02x}{:02x}".format(*rgb)]
            for v, rgb in zip(speeds, speed_colours(speeds).tolist(), strict=True)
        ]
        hello: Json = {"kind": "hello", "title": self._title, "speed_scale": scale}
        return [hello, *(self._feed.snapshot() if self._feed is not None else [])]

    def _watched(self, anybody: bool) -> None:
        self._anybody = anybody
        if self._feed is not None:
            self._feed.watched(anybody)

    def _pulse(self) -> Json:
        done = self.server.statistics
        pulse: dict[str, Any] = {
            "kind": "pulse",
            "clients": done.clients,
            "replaced": done.replaced,
            "dropped": done.dropped,
            "problem": self._feed.last_problem if self._feed is not None else "",
            "playback": None,
        }
        if self._playback is not None:
            standing = self._playback.standing
            pulse["playback"] = {
                "start": self._playback.start_ns / 1e9,
                "end": self._playback.end_ns / 1e9,
                "now": standing.now_ns / 1e9,
                "rate": standing.rate,
                "state": standing.state.value,
            }
            if self._playback.error is not None:
                pulse["problem"] = str(self._playback.error)
        return pulse

    def _control(self, asked: Json) -> None:
        """Do what a page's controls ask for.

        Raises:
            InvalidInput: for anything else than a recording's playing, rate, and seek, or one out of range.
        """
        if self._playback is None:
            raise InvalidInput("controls: expected a recording to control, got the live graph")
        for name, value in asked.items():
            kind = _ASKED.get(name)
            if kind is None or not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
                raise InvalidInput(f"controls: expected playing, rate or seek, got {name}: {value!r}")
        seek = asked.get("seek")
        self._playback.control(
            playing=asked.get("playing"),
            rate=asked.get("rate"),
            seek_ns=None if seek is None else round(seek * 1e9),
        )
