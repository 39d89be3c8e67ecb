"""What a Foxglove client gets of a recording: the bytes and definitions as recorded, and the controls."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from foxglove_client import FoxgloveClient
from rosbags.typesys import get_types_from_msg
from view_factory import STEP_NS, T0_NS, until

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.foxglove_server import FoxgloveServer
from alpamayo_ros.view.playback import Playback
from alpamayo_ros.view.source import Topic, require_extra

pytest.importorskip("foxglove")

PLAN, ODOMETRY, STATIC = "/alpamayo/plan", "/alpamayo/odometry", "/tf_static"


@contextmanager
def served(bag: Path, *, backlog: int = 256, **options: object) -> Iterator[tuple[FoxgloveServer, Playback]]:
    playback = Playback(bag, **options)  # type: ignore[arg-type]
    server = FoxgloveServer(playback, host="127.0.0.1", port=0, backlog=backlog)
    try:
        yield server, playback
        assert playback.error is None
    finally:
        server.close()
        playback.close()


def recorded(bag: Path, topic: str) -> list[tuple[int, bytes]]:
    with BagReader(bag) as reader:
        return [(m.stamp_ns, m.data) for m in reader.messages([topic])]


def test_channels_carry_the_recorded_types_as_ros2msg_that_parses(view_bag):
    with served(view_bag, paused=True) as (server, playback), FoxgloveClient(server.port) as client:
        until(lambda: client.channels.keys() >= playback.topics.keys(), "all channels")
        for topic in playback.topics.values():
            channel = client.channels[topic.name]
            assert (channel["encoding"], channel["schemaName"]) == ("cdr", topic.type_name)
            assert channel["schemaEncoding"] == "ros2msg"
            assert topic.type_name in get_types_from_msg(channel["schema"], topic.type_name)
        assert "alpamayo_ros/PlanWaypoint" in client.channels[PLAN]["schema"]


def test_bytes_and_stamps_are_those_recorded(view_bag):
    with served(view_bag, rate=20.0) as (server, _), FoxgloveClient(server.port) as client:
        client.subscribe(PLAN, ODOMETRY)
        until(lambda: len(client.messages[PLAN]) == 21, "all plans")
        assert client.messages[PLAN] == recorded(view_bag, PLAN)
        got, every = client.messages[ODOMETRY], recorded(view_bag, ODOMETRY)
        assert got == every[-len(got) :]


def test_two_clients_each_get_what_they_asked_for_and_a_latched_topic_both(view_bag):
    with (
        served(view_bag, rate=5.0) as (server, _),
        FoxgloveClient(server.port) as first,
        FoxgloveClient(server.port) as second,
    ):
        first.subscribe(STATIC)
        until(lambda: len(first.messages[STATIC]) == 4, "static transforms")
        second.subscribe(STATIC, PLAN)
        until(lambda: len(second.messages[STATIC]) == 4 and second.messages[PLAN], "those of the second")
        assert [data for _, data in second.messages[STATIC]] == [d for _, d in recorded(view_bag, STATIC)]
        assert not first.messages[PLAN]
        assert server.statistics.clients == 2


def test_only_what_a_client_reads_is_asked_of_the_source(view_bag):
    asked: list[set[str]] = []
    with served(view_bag, paused=True) as (server, playback), FoxgloveClient(server.port) as client:
        want = playback.want
        playback.want = lambda topics: (asked.append(set(topics)), want(topics))  # type: ignore[method-assign]
        client.subscribe(PLAN, ODOMETRY)
        until(lambda: asked and asked[-1] == {PLAN, ODOMETRY}, "both")
        client.unsubscribe(PLAN)
        until(lambda: asked[-1] == {ODOMETRY}, "one")
        client.__exit__(None, None, None)
        until(lambda: asked[-1] == set(), "none")


def test_the_app_s_controls_pause_seek_and_play(view_bag):
    end_ns = recorded(view_bag, PLAN)[-1][0]
    with served(view_bag) as (server, playback), FoxgloveClient(server.port) as client:
        assert "playbackControl" in client.info["capabilities"]
        assert client.info["dataStartTime"] == {"sec": T0_NS // 10**9, "nsec": 0}
        client.subscribe(ODOMETRY)
        client.control(play=False, rate=2.0, seek_ns=T0_NS + 15 * STEP_NS, name="one")
        state = until(lambda: [s for s in client.states if s["request"] == "one"], "an answer")[0]
        assert state == {
            "status": "paused",
            "now_ns": T0_NS + 15 * STEP_NS,
            "rate": 2.0,
            "seeked": True,
            "request": "one",
        }
        until(lambda: client.messages[ODOMETRY][-1:] == recorded(view_bag, ODOMETRY)[15:16], "what was last")
        client.control(play=True, rate=20.0, name="two")
        until(lambda: client.states[-1]["status"] == "ended", "the end")
        assert client.messages[ODOMETRY][-1] == recorded(view_bag, ODOMETRY)[-1]
        assert playback.standing.now_ns == end_ns and client.times_ns


def test_a_rate_out_of_range_is_answered_with_a_warning_and_changes_nothing(view_bag):
    with served(view_bag, paused=True) as (server, playback), FoxgloveClient(server.port) as client:
        client.control(play=True, rate=1e9, name="fast")
        until(lambda: client.states, "an answer")
        assert client.states[-1]["status"] == "paused" and playback.standing.rate == 1.0
        assert until(lambda: client.statuses, "a warning")[0]["message"].startswith("rate: expected")


class Telling:
    """A source that the test speaks for."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.renewed: list[str] = []

    def attach(self, viewer: object) -> None:
        pass

    def want(self, topics: object) -> None:
        self.wanted = set(topics)  # type: ignore[call-overload]

    def renew(self, topic: str) -> None:
        self.renewed.append(topic)


@contextmanager
def telling(*, backlog: int = 256) -> Iterator[tuple[FoxgloveServer, Telling]]:
    source = Telling()
    server = FoxgloveServer(source, host="127.0.0.1", port=0, backlog=backlog)  # type: ignore[arg-type]
    try:
        yield server, source
    finally:
        server.close()


def topic(name: str, text: str = "string data\n", *, latched: bool = False) -> Topic:
    return Topic(name, "std_msgs/msg/String", text, latched=latched)


def test_topics_come_and_go_and_one_of_another_type_comes_anew():
    with telling() as (server, source), FoxgloveClient(server.port) as client:
        server.topics_changed({"/a": topic("/a"), "/b": topic("/b")})
        client.subscribe("/a", "/b")
        until(lambda: source.wanted == {"/a", "/b"}, "both wanted")
        former = client.channels["/b"]["id"]
        server.topics_changed({"/b": topic("/b", "string other\n")})
        until(lambda: "/a" not in client.channels and former in client.gone, "their end")
        until(lambda: client.channels.get("/b", {}).get("schema") == "string other\n", "the new one")
        until(lambda: source.wanted == set(), "nobody wants them")
        server.message("/a", 1, b"lost")  # late, of a topic that is gone


def test_a_second_reader_of_a_latched_topic_has_it_sent_again():
    with telling() as (server, source):
        server.topics_changed({"/a": topic("/a", latched=True), "/b": topic("/b")})
        with FoxgloveClient(server.port) as first, FoxgloveClient(server.port) as second:
            first.subscribe("/a", "/b")
            until(lambda: source.wanted == {"/a", "/b"}, "both wanted")
            second.subscribe("/a", "/b")
            until(lambda: source.renewed, "the second subscription")
            assert source.renewed == ["/a"]


def test_a_client_that_reads_nothing_costs_the_others_nothing_and_is_counted():
    data = bytes(100_000)
    with telling(backlog=16) as (server, _):
        server.topics_changed({"/a": topic("/a")})
        with FoxgloveClient(server.port, read=False) as slow, FoxgloveClient(server.port) as quick:
            until(lambda: quick.channels, "the channels")
            slow.channels = quick.channels
            slow.subscribe("/a")
            quick.subscribe("/a")
            until(lambda: server.statistics.clients == 2, "both clients")
            for number in range(400):  # 40 MB: more than sockets hold
                server.message("/a", number, data)
                if number % 8 == 7:
                    until(lambda n=number: any(s == n for s, _ in quick.messages["/a"]), "the quick one's")
            until(lambda: server.statistics.overfull, "the remark that one is too slow")
            assert len(quick.messages["/a"]) == 400
            slow._socket.socket.close()


def test_what_cannot_be_served_is_refused(view_bag):
    playback = Playback(view_bag)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(InvalidInput, match=rf"127.0.0.1:{port}: expected an address .* in use"):
                FoxgloveServer(playback, host="127.0.0.1", port=port)
        for name, value, message in (
            ("port", 70_000, r"port: expected 0 … 65535, got 70000"),
            ("backlog", 3, r"backlog: expected 16 … 100000 messages, got 3"),
            ("host", "no.such.host.invalid", r"no\.such\.host\.invalid:0: expected an address"),
        ):
            given = {"host": "127.0.0.1", "port": 0, name: value}
            with pytest.raises(InvalidInput, match=message):
                FoxgloveServer(playback, **given)  # type: ignore[arg-type]
    finally:
        playback.close()


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "foxglove", None)
    with pytest.raises(InvalidInput, match=r"package foxglove-sdk, .*'alpamayo_ros\[view\]'"):
        require_extra("foxglove", why="Foxglove's websocket")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a", "std_msgs/msg/String", ""), "absolute name, got 'a'"),
        (("/a", "String", ""), "PACKAGE/msg/NAME, got 'String'"),
        (("/a", "std_msgs/msg/String", "", "proto"), "expected ros2msg or ros2idl, got 'proto'"),
    ],
)
def test_a_topic_that_is_none_is_refused(given, message):
    with pytest.raises(InvalidInput, match=message):
        Topic(*given)
