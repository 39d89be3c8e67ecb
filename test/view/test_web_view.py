"""The web page's server: what a page is sent, who may come, and what a slow one costs."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from view_factory import CAMERAS, STEP_NS, T0_NS, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from alpamayo_ros.sensing.rig import load_rig
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.playback import Playback
from alpamayo_ros.view.web import WebView
from alpamayo_ros.view.web_server import MAX_CLIENTS, WebServer


class Page:
    """A page's websocket; remembers what it is told by kind, and the pictures by camera."""

    def __init__(self, port: int, *, read: bool = True, **headers: str) -> None:
        self._stack = ExitStack()
        opened = connect(
            f"ws://127.0.0.1:{port}/socket", compression=None, max_size=None, additional_headers=headers
        )
        self.socket = self._stack.enter_context(opened)
        self.told: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.pictures: dict[str, list[tuple[dict[str, Any], bytes]]] = defaultdict(list)
        if read:
            threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def ask(self, content: object) -> None:
        self.socket.send(json.dumps(content))

    def _read(self) -> None:
        try:
            for data in self.socket:
                if isinstance(data, str):
                    said = json.loads(data)
                    self.told[said["kind"]].append(said)
                else:
                    (length,) = struct.unpack_from(">I", data)
                    head = json.loads(data[4 : 4 + length])
                    self.pictures[head["camera"]].append((head, data[4 + length :]))
        except ConnectionClosed:
            pass


@contextmanager
def served(bag: Path, *, rig: str = "", **options: Any) -> Iterator[tuple[WebView, Playback]]:
    playback = Playback(bag, **options)
    found = load_rig(rig) if rig else None
    view = WebView(playback, host="127.0.0.1", port=0, rig=found, allowed_hosts=["car.example"])
    try:
        yield view, playback
        assert playback.error is None
    finally:
        view.close()
        playback.close()


@pytest.fixture(scope="module")
def standing(view_bag: Path) -> Iterator[tuple[WebView, Playback]]:
    """A page's server whose recording waits."""
    with served(view_bag, paused=True) as pair:
        yield pair


def get(port: int, path: str = "/", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_page_is_told_all_that_there_is(view_bag):
    with served(view_bag, rate=10.0, loop=True) as (view, _), Page(view.port) as page:
        until(lambda: all(page.pictures[camera] for camera in CAMERAS), "a picture of each camera")
        until(lambda: len(page.told["thought"]) > 3 and page.told["pose"], "plans and poses")
        until(lambda: page.told["map"] and page.told["diagnostics"] and page.told["pulse"], "the rest")
        assert page.told["cameras"][-1]["names"] == list(CAMERAS)
        assert page.told["thought"][0]["text"].startswith("Reason ")
        assert page.told["plan"][0]["status"] == "VALID"
        head, jpeg = page.pictures["front_wide"][0]
        assert head["type"] == "image/jpeg"
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (36, 64, 3)
        assert page.told["hello"][0]["speed_scale"][0][0] == 0.0
        assert view.problems == {}


def test_who_comes_later_knows_what_was_said_before(view_bag):
    with served(view_bag, rate=10.0) as (view, playback), Page(view.port) as first:
        until(lambda: playback.standing.state.value == "ended", "the end")
        until(lambda: len(first.told["thought"]) > 5 and first.told["pose"], "thoughts and a pose")
        assert view.problems == {}
        with Page(view.port) as second:
            thoughts = until(lambda: second.told["thoughts"], "the thoughts so far")[0]["items"]
            assert len(thoughts) > 5
            until(lambda: all(t in first.told["thought"] for t in thoughts), "the same for the first page")
            assert second.told["map"] and second.told["pose"]


@pytest.mark.parametrize("rig", ["", "sim"])
def test_without_overlays_the_plan_is_painted_here(camera_bag, rig):
    with served(camera_bag, rig=rig, rate=2.0, loop=True) as (view, _), Page(view.port) as page:

        def painted() -> bool:
            return all(any(head["plan"] for head, _ in page.pictures[camera]) for camera in CAMERAS)

        until(painted, "a plan in every picture", timeout_s=40)
        _, jpeg = next((h, j) for h, j in page.pictures["front_wide"] if h["plan"])
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
        # The road ahead is grey but for the plan: green where it may be driven.
        assert (image[18:, :, 1] - image[18:, :, 2]).max() > 30
        assert abs(image[:10, :, 1] - image[:10, :, 2]).max() < 15
        assert view.problems == {}


def test_nothing_is_asked_of_the_source_while_nobody_looks(view_bag):
    with served(view_bag, paused=True) as (view, playback):
        assert not playback._wanted
        with Page(view.port) as page:
            until(lambda: playback._wanted, "topics")
            assert "/alpamayo/plan" in playback._wanted and page
        until(lambda: not playback._wanted, "no more topics")
        assert view.statistics.clients == 0


def test_a_page_controls_a_recording(view_bag):
    with served(view_bag) as (view, playback), Page(view.port) as page:
        page.ask({"playing": False, "seek": T0_NS / 1e9 + 1.0, "rate": 0.5})
        until(lambda: page.told["jump"], "the jump")
        pulse = until(lambda: [p for p in page.told["pulse"] if p["playback"]["rate"] == 0.5], "a pulse")[0]
        assert pulse["playback"]["state"] == "paused"
        assert pulse["playback"]["now"] == pytest.approx(T0_NS / 1e9 + 1.0, abs=1e-3)
        assert playback.standing.now_ns == T0_NS + 10 * STEP_NS


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"rate": 1e9}, "rate: expected 0.01"),
        ({"rate": True}, "controls: expected playing, rate or seek, got rate: True"),
        ({"playing": 1}, "controls: expected playing, rate or seek, got playing: 1"),
        ({"delete": "all"}, "controls: expected playing, rate or seek, got delete: 'all'"),
        ([1, 2], "expected an object, got list"),
    ],
)
def test_a_control_that_is_none_is_refused_and_the_page_goes_on(standing, asked, why):
    view, playback = standing
    with Page(view.port) as page:
        page.ask(asked)
        page.socket.send("no JSON")
        told = until(lambda: len(page.told["refused"]) == 2 and page.told["refused"], "two refusals")
        assert told[0]["why"].startswith(why)
        assert playback.standing.rate == 1.0
        page.ask({"rate": 2.0})
        until(lambda: playback.standing.rate == 2.0, "the rate")
        playback.control(rate=1.0)


def test_all_files_are_there_and_load_nothing_from_elsewhere(standing):
    view, _ = standing
    for path, kind in (
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/birdseye.js", "text/javascript"),
        ("/strip.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ):
        status, headers, body = get(view.port, path)
        assert status == 200 and headers["Content-Type"].startswith(kind) and body
        text = body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "innerHTML" not in text
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert get(view.port, "/../secret")[0] == 404
    assert get(view.port, "/web_server.py")[0] == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("192.168.1.7:8080", 200),
        ("car.example", 200),
        ("CAR.example:8080", 200),
        (socket.gethostname(), 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost;x", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_only_our_names_and_addresses_are_answered(standing, host, status):
    view, _ = standing
    assert get(view.port, "/", Host=host)[0] == status


def test_another_site_s_page_may_not_open_the_socket(standing):
    view, _ = standing
    own = f"http://127.0.0.1:{view.port}"
    with Page(view.port, Origin=own) as page:
        until(lambda: page.told["hello"], "hello")
    for origin in ("http://evil.example", "null", f"http://localhost:{view.port}"):
        with pytest.raises(InvalidStatus) as refusal:
            Page(view.port, Origin=origin)
        assert refusal.value.response.status_code == 403


def test_more_pages_than_can_be_served_are_refused(view_bag):
    with served(view_bag, paused=True) as (view, _), ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            stack.enter_context(Page(view.port))
        until(lambda: view.statistics.clients == MAX_CLIENTS, "all pages")
        with pytest.raises(InvalidStatus) as refusal:
            Page(view.port)
        assert refusal.value.response.status_code == 503


@pytest.mark.long
def test_a_page_that_reads_nothing_holds_up_nobody_and_what_it_misses_is_counted():
    told: list[bool] = []
    server = WebServer(
        host="127.0.0.1",
        port=0,
        snapshot=list,
        watched=told.append,
        control=print,
        pulse=lambda: {"kind": "p"},
    )
    try:
        with Page(server.port, read=False), Page(server.port) as quick:
            until(lambda: server.statistics.clients == 2, "both pages")
            text = "x" * 600_000
            for number in range(100):  # 60 MB: more than sockets hold
                server.state("big", {"kind": "big", "number": number, "text": text})
                until(lambda n=number: any(b["number"] == n for b in quick.told["big"]), "the quick page's")
            for number in range(300):
                server.event({"kind": "small", "number": number})
            until(lambda: server.statistics.replaced > 30 and server.statistics.dropped >= 40, "counts")
            until(lambda: quick.told["small"] and quick.told["small"][-1]["number"] == 299, "the last event")
        until(lambda: server.statistics.clients == 0, "their end")
        assert told == [True, False] and server.statistics.dropped >= 40
    finally:
        server.close()


def test_an_address_that_is_taken_and_a_port_that_is_none_are_refused(view_bag):
    playback = Playback(view_bag)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(InvalidInput, match=rf"127\.0\.0\.1:{port}: expected an address to listen at"):
                WebView(playback, host="127.0.0.1", port=port)
        with pytest.raises(InvalidInput, match=r"port: expected 0 … 65535, got -1"):
            WebView(playback, host="127.0.0.1", port=-1)
    finally:
        playback.close()


def test_a_missing_package_is_named_with_the_extra(view_bag, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "websockets"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "websockets", None)
    playback = Playback(view_bag)
    try:
        with pytest.raises(InvalidInput, match=r"package websockets, .*'alpamayo_ros\[view\]'"):
            WebView(playback, host="127.0.0.1", port=0)
    finally:
        playback.close()
