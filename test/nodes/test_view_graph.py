"""The live graph in Foxglove and on the page: real nodes, real websockets, the bytes as published."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from foxglove_client import FoxgloveClient
from geometry_msgs.msg import TransformStamped
from planner_harness import DOMAIN_ID, Graph, graph, jpeg_of, wait_for
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from sim_harness import destroyed
from std_msgs.msg import Int32, String
from tf2_msgs.msg import TFMessage
from websockets.sync.client import connect

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.msg import PlanCandidate
from alpamayo_ros.ros.diagnostics import Level, Status
from alpamayo_ros.ros.view_graph import ViewNode
from alpamayo_ros.view.foxglove_server import FoxgloveServer
from alpamayo_ros.view.web import WebView

pytest.importorskip("foxglove")

LATCHED = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@contextmanager
def watched() -> Iterator[tuple[Graph, Node, ViewNode]]:
    """Spin somebody who speaks, and a node that views."""
    with graph(sim_time=False) as (corner, world), ExitStack() as stack:
        world.node.destroy_publisher(world.clock)
        speaker, viewer = Node("speaker", **corner.options), ViewNode(**corner.options)
        stack.enter_context(destroyed(corner, [speaker, viewer]))
        yield corner, speaker, viewer


@contextmanager
def served(viewer: ViewNode) -> Iterator[FoxgloveServer]:
    server = FoxgloveServer(viewer, host="127.0.0.1", port=0)
    try:
        yield server
    finally:
        server.close()


def full(corner: Graph, name: str) -> str:
    return f"/{corner.name}/{name}"


def plan(number: int) -> PlanMsg:
    message = PlanMsg(status=PlanMsg.STATUS_VALID, reasoning=f"Reason {number}: à gauche.")
    message.candidates = [PlanCandidate(reasoning=message.reasoning)]
    message.header.stamp.sec = number
    return message


def test_bytes_are_those_published_and_the_definition_reads_them():
    with watched() as (corner, speaker, viewer), served(viewer) as server:
        publisher = speaker.create_publisher(PlanMsg, "plan", 10)
        topic = full(corner, "plan")
        with FoxgloveClient(server.port) as client:
            client.subscribe(topic)
            # The harness' world listens to plans, too.
            wait_for(lambda: publisher.get_subscription_count() == 2, "the viewer's subscription")
            sent = [plan(number) for number in range(5)]
            published = [serialize_message(message) for message in sent]
            for data in published:  # as bytes: gaps between fields hold whatever was in memory
                publisher.publish(data)
            wait_for(lambda: len(client.messages[topic]) == 5, "all plans")
            got = [data for _, data in client.messages[topic]]
            assert [deserialize_message(data, PlanMsg) for data in got] == sent
            for data, own in zip(got, published, strict=True):
                assert data[: len(own)] == own and len(data) - len(own) < 4  # DDS may pad the end
            channel = client.channels[topic]
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(channel["schema"], channel["schemaName"]))
            assert store.deserialize_cdr(got[3], channel["schemaName"]).reasoning == sent[3].reasoning
            now_ns = time.time_ns()
            assert all(now_ns - 60 * 10**9 < stamp_ns <= now_ns for stamp_ns, _ in client.messages[topic])


def test_a_topic_is_subscribed_to_only_while_somebody_reads_it():
    with watched() as (corner, speaker, viewer), served(viewer) as server:
        publisher = speaker.create_publisher(String, "words", 10)
        topic = full(corner, "words")
        with FoxgloveClient(server.port) as client:
            wait_for(lambda: topic in client.channels, "the channel")
            assert viewer.subscribed_topics == set() and publisher.get_subscription_count() == 0
            client.subscribe(topic)
            wait_for(publisher.get_subscription_count, "a subscription")
            client.unsubscribe(topic)
            wait_for(lambda: not publisher.get_subscription_count(), "its end")
            client.subscribe(topic)
            wait_for(publisher.get_subscription_count, "a subscription, again")
        wait_for(lambda: not publisher.get_subscription_count(), "its end with the client")


def test_topics_come_and_go_while_a_client_is_there():
    with watched() as (corner, speaker, viewer), served(viewer) as server:
        topic = full(corner, "words")
        with FoxgloveClient(server.port) as client:
            publisher = speaker.create_publisher(String, "words", 10)
            client.subscribe(topic)
            wait_for(publisher.get_subscription_count, "a subscription")
            corner.run(lambda: speaker.destroy_publisher(publisher), "the publisher's end")
            wait_for(lambda: topic not in client.channels, "the channel's end")
            wait_for(lambda: topic not in viewer.subscribed_topics, "the subscription's end")
            again = speaker.create_publisher(String, "words", 10)
            client.subscribe(topic)
            wait_for(again.get_subscription_count, "a subscription to the new one")
            again.publish(String(data="back"))
            wait_for(lambda: client.messages[topic], "its word")


def static(child: str) -> TFMessage:
    stamped = TransformStamped(child_frame_id=child)
    stamped.header.frame_id = "base_link"
    return TFMessage(transforms=[stamped])


def test_static_transforms_of_all_publishers_reach_every_client_however_late():
    with watched() as (corner, speaker, viewer), served(viewer) as server:
        topic = full(corner, "tf_static")
        publishers = [speaker.create_publisher(TFMessage, "/tf_static", LATCHED) for _ in range(2)]
        for number, publisher in enumerate(publishers):
            publisher.publish(static(f"camera_{number}"))

        def children(client: FoxgloveClient) -> set[str]:
            found = [deserialize_message(data, TFMessage) for _, data in client.messages[topic]]
            return {t.child_frame_id for message in found for t in message.transforms}

        with FoxgloveClient(server.port) as first:
            # The harness' world publishes this topic too, latched like these.
            first.subscribe(topic)
            wait_for(lambda: children(first) == {"camera_0", "camera_1"}, "both")
            with FoxgloveClient(server.port) as second:
                second.subscribe(topic)
                wait_for(lambda: children(second) == {"camera_0", "camera_1"}, "both, for the second")


def test_a_subscription_suits_every_publisher_and_changes_with_them():
    with watched() as (corner, speaker, viewer), served(viewer) as server:
        reliable = speaker.create_publisher(String, "words", 10)
        topic = full(corner, "words")
        with FoxgloveClient(server.port) as client:
            client.subscribe(topic)
            wait_for(reliable.get_subscription_count, "a subscription")
            profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
            hasty = speaker.create_publisher(String, "words", profile)
            wait_for(lambda: hasty.get_subscription_count() and reliable.get_subscription_count(), "both")
            hasty.publish(String(data="hasty"))
            wait_for(lambda: client.messages[topic], "its word")


@contextmanager
def mixed(corner: Graph) -> Iterator[None]:
    """Have a topic of two types; one process refuses that, so there are two participants."""
    context = Context()
    rclpy.init(args=[], context=context, domain_id=DOMAIN_ID)
    stranger = Node("stranger", **{**corner.options, "context": context})
    try:
        stranger.create_publisher(Int32, "mixed", 10)
        yield
    finally:
        stranger.destroy_node()
        context.try_shutdown()


def test_a_topic_of_two_types_is_left_out_and_said_so():
    with watched() as (corner, speaker, viewer), served(viewer) as server, mixed(corner):
        speaker.create_publisher(String, "mixed", 10)
        speaker.create_publisher(String, "words", 10)
        with FoxgloveClient(server.port) as client:
            wait_for(lambda: full(corner, "mixed") in viewer.ignored, "the refusal")
            wait_for(lambda: full(corner, "words") in client.channels, "the other topic")
            assert (
                "expected one type, got std_msgs/msg/Int32, std_msgs/msg/String"
                in (viewer.ignored[full(corner, "mixed")])
            )


def test_simulated_time_stamps_the_messages_and_a_jump_back_begins_anew():
    with watched() as (corner, speaker, viewer), served(viewer) as server:
        clock, words = (
            speaker.create_publisher(Clock, "/clock", 10),
            speaker.create_publisher(String, "w", 10),
        )
        topic = full(corner, "w")

        def say(seconds: int) -> Any:
            message = Clock()
            message.clock.sec = seconds
            clock.publish(message)
            return viewer.now_ns() == seconds * 10**9

        with FoxgloveClient(server.port) as client:
            client.subscribe(topic)
            wait_for(words.get_subscription_count, "a subscription")
            wait_for(lambda: say(5000), "simulated time")
            words.publish(String(data="x"))
            wait_for(lambda: client.messages[topic], "the word")
            assert client.messages[topic][-1][0] == 5000 * 10**9
            wait_for(lambda: 5000 * 10**9 in client.times_ns, "the time")
            sessions = {info["sessionId"] for info in client.infos}
            wait_for(lambda: say(100), "the jump back")
            wait_for(lambda: client.infos[-1]["sessionId"] not in sessions, "a new session")
            corner.run(lambda: speaker.destroy_publisher(clock), "the end of simulated time")
            wait_for(lambda: abs(viewer.now_ns() - time.time_ns()) < 10**9, "the system's time")


def test_it_says_on_diagnostics_what_it_does():
    with watched() as (corner, speaker, viewer), ExitStack() as stack:
        heard: list[Any] = []
        speaker.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
        viewer.status_of = lambda: Status("viewer", Level.OK, "2 pages", {"clients": 2})
        wait_for(lambda: heard, "a report")
        (status,) = heard[-1].status
        assert (status.name, status.message) == ("alpamayo/viewer", "2 pages")
        stack.enter_context(mixed(corner))
        speaker.create_publisher(String, "mixed", 10)
        wait_for(lambda: ord(heard[-1].status[0].level) == 1, "a warning of what is not shown")
        assert f"not shown/{full(corner, 'mixed')}" in {pair.key for pair in heard[-1].status[0].values}


def test_the_page_shows_the_live_graph():
    with watched() as (corner, speaker, viewer):
        view = WebView(viewer, host="127.0.0.1", port=0, namespace=corner.name)
        try:
            plans = speaker.create_publisher(PlanMsg, "plan", 10)
            overlay = speaker.create_publisher(CompressedImage, "overlay/front_wide", 10)
            with connect(f"ws://127.0.0.1:{view.port}/socket", max_size=None) as page:
                wait_for(lambda: plans.get_subscription_count() == 2, "the viewer beside the world")
                wait_for(overlay.get_subscription_count, "the viewer")
                picture = CompressedImage(format="jpeg")
                picture.data.frombytes(jpeg_of((1, 2, 3)))
                plans.publish(plan(1))
                overlay.publish(picture)
                kinds: dict[str, Any] = {}
                while not {"thought", "picture"} <= kinds.keys():
                    data = page.recv(timeout=20)
                    if isinstance(data, bytes):
                        kinds["picture"] = data
                    else:
                        said = json.loads(data)
                        kinds[said["kind"]] = said
                assert kinds["thought"]["text"] == "Reason 1: à gauche."
                assert kinds["picture"].endswith(bytes(picture.data))
                page.send(json.dumps({"playing": False}))
                while "refused" not in kinds:
                    data = page.recv(timeout=20)
                    if isinstance(data, str):
                        kinds[json.loads(data)["kind"]] = json.loads(data)
                assert "got the live graph" in kinds["refused"]["why"]
            wait_for(lambda: plans.get_subscription_count() == 1, "the viewer's end")
            assert view.problems == {}
        finally:
            view.close()
