"""Serves the web page and its one websocket; a page that is slow gets the newest, and holds up nobody."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import socket
import struct
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.cameras import Picture
from alpamayo_ros.view.mailbox import Mailbox
from alpamayo_ros.view.source import require_extra
from alpamayo_ros.view.web_messages import Json

PORT = 8080
MAX_CLIENTS = 16
SOCKET_PATH = "/socket"

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/birdseye.js": ("birdseye.js", "text/javascript; charset=utf-8"),
    "/strip.js": ("strip.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]+")
_PULSE_S = 0.5
_START_TIMEOUT_S = 10.0
_MAX_REQUEST_BYTES = 4096


@dataclass(frozen=True)
class WebStatistics:
    """What a server has done: pages open now, messages sent, and what a slow page did not get."""

    clients: int
    sent: int
    replaced: int
    dropped: int


class _Client:
    """A page: what waits for it, and what wakes its sender."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready = asyncio.Event()
        self.box = Mailbox(on_put=lambda: _call(loop, self.ready.set))
        self.sent = 0


class WebServer:
    """HTTP and a websocket at one address, in a thread of its own.

    A page sends what its controls ask for as JSON; it is handed to `control`. A request whose Host is a name
    that nobody allowed is refused, so that no other site's name can be made to point here, and so is a
    websocket that another site's page opens.

    Args:
        host, port: to listen at; port 0 takes a free one.
        snapshot: what a page that opens is told first.
        watched: called with whether any page is open, when that changes.
        control: called with what a page asks for; InvalidInput is told to the page.
        pulse: what every page is told twice a second.
        allowed_hosts: names, beside localhost, this machine's name and addresses, by which pages come here.

    Raises:
        InvalidInput: where websockets is missing or too old, or the address cannot be listened at.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        snapshot: Callable[[], list[Json]],
        watched: Callable[[bool], None],
        control: Callable[[Json], None],
        pulse: Callable[[], Json],
        allowed_hosts: Collection[str] = (),
    ) -> None:
        require_extra("websockets.asyncio.server", why="the web page")
        if not 0 <= port <= 65535:
            raise InvalidInput(f"port: expected 0 … 65535, got {port}")
        self._host, self._wanted_port = host, port
        self._snapshot, self._watched, self._control, self._pulse = snapshot, watched, control, pulse
        names = ("localhost", host, socket.gethostname(), *allowed_hosts)
        self._allowed = {name.lower() for name in names}
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._past = WebStatistics(0, 0, 0, 0)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._problem: BaseException | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="web server", daemon=True)
        self._thread.start()
        self._started.wait(_START_TIMEOUT_S)
        if self._problem is not None or not self.port:
            raise InvalidInput(
                f"{host}:{port}: expected an address to listen at, got {self._problem or 'no answer'}"
            ) from self._problem

    @property
    def statistics(self) -> WebStatistics:
        """What it has done so far."""
        with self._lock:
            clients, past = list(self._clients), self._past
        return WebStatistics(
            len(clients),
            past.sent + sum(c.sent for c in clients),
            past.replaced + sum(c.box.replaced for c in clients),
            past.dropped + sum(c.box.dropped for c in clients),
        )

    def close(self) -> None:
        """Send everybody away and stop listening."""
        _call(self._loop, self._stop.set)
        if self._thread is not threading.current_thread():
            self._thread.join()

    # What the feed calls.

    def state(self, key: str, content: Json) -> None:
        """Have this wait for every page, in the place of what waited under the key."""
        text = json.dumps(content, allow_nan=False)
        for client in self._everybody():
            client.box.put_state(key, text)

    def event(self, content: Json) -> None:
        """Have this wait for every page, in a row with the other events."""
        text = json.dumps(content, allow_nan=False)
        for client in self._everybody():
            client.box.put_event(text)

    def picture(self, picture: Picture) -> None:
        """Have a camera's picture wait for every page: the length of a head, the head in JSON, the data."""
        head = {
            "camera": picture.camera,
            "stamp": picture.stamp_ns / 1e9,
            "type": picture.media_type,
            "plan": picture.plan,
        }
        text = json.dumps(head).encode()
        data = struct.pack(">I", len(text)) + text + picture.data
        for client in self._everybody():
            client.box.put_state(f"picture/{picture.camera}", data)

    def _everybody(self) -> list[_Client]:
        with self._lock:
            return list(self._clients)

    # What runs in the thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._problem = error
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        async with serve(
            self._handle,
            self._host,
            self._wanted_port,
            process_request=self._answer,
            logger=_quiet(),
            compression=None,  # pictures are compressed already
            max_size=_MAX_REQUEST_BYTES,
            server_header=None,
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._started.set()
            pulse = asyncio.create_task(self._beat())
            await self._stop.wait()
            pulse.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_PULSE_S)
            if self._clients:
                self.state("pulse", self._pulse())

    def _answer(self, connection: Any, request: Any) -> Any:
        """Answer a request for a file; None lets a websocket be opened."""
        hosts = request.headers.get_all("Host")
        host = hosts[0] if len(hosts) == 1 else ""
        if not self._is_allowed(host):
            return _response(403, f"Host {host!r} is not allowed here; see --allow-host\n")
        path = urlsplit(request.path).path
        if path == SOCKET_PATH:
            origin = request.headers.get("Origin")
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                return _response(403, "This socket is for pages of this server\n")
            if len(self._clients) >= MAX_CLIENTS:
                return _response(503, f"{MAX_CLIENTS} pages are open already\n")
            return None
        if path not in _FILES:
            return _response(404, "There is no such page\n")
        name, media_type = _FILES[path]
        body = resources.files("alpamayo_ros.view").joinpath("web", name).read_bytes()
        return _response(200, body, media_type=media_type, host=host)

    def _is_allowed(self, host: str) -> bool:
        """Return whether a Host is an address, or one of our names: no foreign name that points here."""
        if not _HOST.fullmatch(host):
            return False
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.lower() in self._allowed:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _handle(self, connection: Any) -> None:
        """Serve one page until it goes."""
        client = _Client(self._loop)
        with self._lock:
            self._clients.add(client)
            first = len(self._clients) == 1
        if first:
            self._watched(True)
        for content in (*self._snapshot(), self._pulse()):
            client.box.put_event(json.dumps(content, allow_nan=False))
        sender = asyncio.create_task(self._send(connection, client))
        try:
            async for text in connection:
                self._take(text, client)
        except Exception as error:  # a connection that breaks is no news; anything else would end the page
            if type(error).__module__.partition(".")[0] != "websockets":
                raise
        finally:
            sender.cancel()
            with self._lock:
                self._clients.discard(client)
                last = not self._clients
                past = self._past
                self._past = WebStatistics(
                    0,
                    past.sent + client.sent,
                    past.replaced + client.box.replaced,
                    past.dropped + client.box.dropped,
                )
            client.box.close()
            if last:
                self._watched(False)

    async def _send(self, connection: Any, client: _Client) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                item = client.box.take()
                if item is None:
                    client.ready.clear()
                    item = client.box.take()  # it may have come before the clear
                    if item is None:
                        await client.ready.wait()
                        continue
                await connection.send(item)
                client.sent += 1
        except ConnectionClosed:
            return

    def _take(self, text: Any, client: _Client) -> None:
        try:
            content = json.loads(text)
            if not isinstance(content, dict):
                raise InvalidInput(f"expected an object, got {type(content).__name__}")
            self._control(content)
        except (ValueError, TypeError) as error:  # InvalidInput is a ValueError
            client.box.put_event(json.dumps({"kind": "refused", "why": str(error)}))


def _quiet() -> logging.Logger:
    """Return a logger that says nothing: who breaks a connection off, or scans the port, is no news."""
    logger = logging.getLogger(f"{__name__}.connections")
    logger.disabled = True
    return logger


def _response(status: int, body: str | bytes, *, media_type: str = "text/plain", host: str = "") -> Any:
    """Return an answer that lets the page load nothing from elsewhere."""
    from http import HTTPStatus

    from websockets.datastructures import Headers
    from websockets.http11 import Response

    data = body.encode() if isinstance(body, str) else body
    # Older browsers do not take a websocket for part of 'self'.
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = Headers(
        {
            "Content-Type": media_type,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )
    return Response(status, HTTPStatus(status).phrase, headers, data)


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Have a loop call something, unless it has ended."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass
