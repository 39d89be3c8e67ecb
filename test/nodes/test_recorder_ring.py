"""The recorder's ring on real topics: the service, engagement and watchdog, and what /diagnostics says."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, String

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.recording import Message
from alpamayo_ros.bags.unfinished import repair
from alpamayo_ros.cli import record
from alpamayo_ros.cli.main import main
from alpamayo_ros.msg import Engagement
from alpamayo_ros.nodes.recorder import RecorderNode
from alpamayo_ros.ros.executors import new_executor
from alpamayo_ros.ros.recorder_parameters import PARAMETERS
from alpamayo_ros.ros.runner import run_nodes
from alpamayo_ros.srv import SaveRecording
from alpamayo_ros.types import InvalidInput

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DOMAIN = "43"


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    monkeypatch.setenv("ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context)
    executor = new_executor(context)
    yield executor
    for node in list(executor.get_nodes()):
        node.destroy_node()
    executor.shutdown()
    rclpy.try_shutdown(context=context)


def spin(executor: Executor, until: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < end, "timed out"
        executor.spin_once(timeout_sec=0.05)


class Scene:
    """A recorder with a ring and a node that talks to it."""

    def __init__(self, executor: Executor, folder: Path, **parameters: Any) -> None:
        self.executor = executor
        given = {"output": str(folder / "bag"), "ring_s": 30.0, "ring_after_s": 0.0, **parameters}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        self.now_s = 1000.0
        self.recorder = RecorderNode(
            now_ns=lambda: round(self.now_s * 1e9),
            context=executor.context,
            parameter_overrides=overrides,
            namespace="alpamayo",
        )
        self.talker = Node("talker", context=executor.context, namespace="alpamayo")
        executor.add_node(self.recorder)
        executor.add_node(self.talker)
        self.text = self.talker.create_publisher(String, "/text", 10)
        self.reports: list[DiagnosticStatus] = []
        self.talker.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.heard: list[bytes] = []
        self.talker.create_subscription(String, "/text", self.heard.append, 10, raw=True)
        spin(executor, lambda: self.text.get_subscription_count() == 2)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.reports += [s for s in message.status if s.name == "alpamayo/recorder"]

    def newest(self) -> Message | None:
        ring = self.recorder.ring
        assert ring is not None
        return next((m for m in reversed(ring.content()) if m.topic == "/text"), None)

    def say(self, *said: str) -> None:
        for text in said:
            self._before = self.newest()
            self.text.publish(String(data=text))
            spin(self.executor, lambda: self.newest() is not self._before)

    def call(self, label: str, after_s: float = -1.0) -> Any:
        client = self.talker.create_client(SaveRecording, "save_recording")
        spin(self.executor, client.service_is_ready)
        answer = client.call_async(SaveRecording.Request(label=label, after_s=after_s))
        spin(self.executor, answer.done)
        return answer.result()

    def wait_saved(self, count: int = 1) -> Path:
        snapshots = self.recorder.snapshots
        assert snapshots is not None
        spin(self.executor, lambda: snapshots.saved == count)
        assert snapshots.last_path is not None
        return snapshots.last_path

    def report(self) -> DiagnosticStatus:
        seen = len(self.reports)
        spin(self.executor, lambda: len(self.reports) > seen)
        return self.reports[-1]


def texts(bag: Path) -> list[str]:
    with BagReader(bag) as reader:
        return [reader.decode(m).data for m in reader.messages(["/text"])]


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_the_service_saves_what_was_and_what_comes(executor: Executor, tmp_path: Path) -> None:
    scene = Scene(executor, tmp_path)
    calibration = scene.talker.create_publisher(Bool, "/calibration", LATCHED)
    calibration.publish(Bool(data=True))
    spin(executor, lambda: "/calibration" in scene.recorder.recorded_topics)
    spin(executor, lambda: scene.recorder.recording.received["/calibration"] == 1)
    scene.say("long ago")
    scene.now_s += 100
    scene.say("a", "b")
    response = scene.call("near miss", after_s=2.0)
    assert response.success, response.message
    assert response.path.startswith(str(tmp_path / "bag_ring" / "ring_"))
    scene.now_s += 1
    scene.say("c")
    scene.now_s += 1.5
    scene.say("too late")
    bag = scene.wait_saved()
    assert texts(bag) == ["a", "b", "c"]
    spin(executor, lambda: len(scene.heard) == 5)
    with BagReader(bag) as reader:
        assert [m.data for m in reader.messages(["/text"])] == scene.heard[1:4], "bit by bit"
        (latched,) = reader.messages(["/calibration"])
        assert reader.decode(latched).data is True
        assert latched.stamp_ns == reader.start_ns == round(1100e9)
    executor.remove_node(scene.recorder)
    scene.recorder.destroy_node()
    assert texts(tmp_path / "bag") == ["long ago", "a", "b", "c", "too late"]


def test_the_end_of_an_engagement_saves_it(executor: Executor, tmp_path: Path) -> None:
    scene = Scene(executor, tmp_path, continuous=False)
    assert scene.recorder.recording is None
    engaged = scene.talker.create_publisher(Engagement, "engaged", LATCHED)
    spin(executor, lambda: engaged.get_subscription_count() == 2)  # the ring's, and the trigger's
    scene.say("driven")
    for active, drives, reason in (
        (False, False, "started"),
        (True, False, "activated"),
        (True, True, "engage was called"),
        (True, False, "the driver took over"),
        (True, False, "once more"),
    ):
        seen = sum(m.topic == "/alpamayo/engaged" for m in scene.recorder.ring.content())
        engaged.publish(Engagement(engaged=drives, active=active, reason=reason))
        spin(
            executor,
            lambda seen=seen: (
                sum(m.topic == "/alpamayo/engaged" for m in scene.recorder.ring.content()) > seen
            ),
        )
    bag = scene.wait_saved()
    assert bag.parent == tmp_path / "bag"
    assert "disengagement_the_driver_took_over" in bag.name
    assert texts(bag) == ["driven"]
    assert len(list((tmp_path / "bag").iterdir())) == 1


def test_a_watchdog_that_acts_saves_it(executor: Executor, tmp_path: Path) -> None:
    scene = Scene(executor, tmp_path, continuous=False)
    diagnostics = scene.talker.create_publisher(DiagnosticArray, "/diagnostics", 10)
    scene.say("before the planner died")
    status = DiagnosticStatus(name="alpamayo/watchdog", message="stopping the vehicle")
    for acting in ("false", "true", "true"):
        status.values = [KeyValue(key="acting", value=acting)]
        diagnostics.publish(DiagnosticArray(status=[status]))
        spin(executor, lambda: scene.report() is not None)
    bag = scene.wait_saved()
    assert "watchdog_stopping_the_vehicle" in bag.name
    assert texts(bag) == ["before the planner died"]


def test_nothing_saves_by_itself_where_that_is_not_wanted(executor: Executor, tmp_path: Path) -> None:
    scene = Scene(executor, tmp_path, continuous=False, save_on=[""])
    assert scene.talker.count_subscribers("engaged") == 0
    assert scene.recorder.snapshots.last_path is None


def test_diagnostics_say_how_it_goes(executor: Executor, tmp_path: Path) -> None:
    scene = Scene(executor, tmp_path, ring_mib=1)
    scene.say("hello")
    status = scene.report()
    assert status.level == DiagnosticStatus.OK
    assert (status.message, values(status)["dropped"]) == ("recording to bag", "0")
    for _ in range(12):
        scene.now_s += 2
        scene.say("x" * 200_000)
    status = scene.report()
    assert status.level == DiagnosticStatus.WARN
    assert "raise ring_mib" in status.message
    assert float(values(status)["ring_mib"]) <= 1.0


def test_a_full_disk_is_an_error_and_nothing_waits_for_it(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    scene = Scene(executor, tmp_path)
    scene.say("before")
    spin(executor, lambda: scene.recorder.recording.waiting_bytes == 0)
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=0))
    scene.recorder.recording._writer._bytes_to_check = 0  # it looks every 16 MiB, which take long here
    scene.say("lost")
    spin(executor, lambda: scene.recorder.error is not None)
    status = scene.report()
    assert status.level == DiagnosticStatus.ERROR
    assert "free disk space" in status.message
    assert values(status)["dropped//text"] == "1"
    assert not scene.recorder.done, "the ring can still be saved"
    response = scene.call("anything")
    assert not response.success and "free disk space" in response.message
    assert scene.report().level == DiagnosticStatus.ERROR
    spin(executor, lambda: (tmp_path / "bag" / "metadata.yaml").exists())
    assert texts(tmp_path / "bag") == ["before"]
    monkeypatch.undo()
    scene.recorder.save("there is space again")
    assert texts(scene.wait_saved()) == ["before", "lost"]


def test_a_bad_request_is_refused(executor: Executor, tmp_path: Path) -> None:
    scene = Scene(executor, tmp_path)
    for after_s in (1e9, float("nan")):
        response = scene.call("", after_s=after_s)
        assert not response.success and "after_s: expected at most 3600 s" in response.message


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"continuous": False}, "ring_s: expected more than 0"),
        ({"output": ""}, "output: expected a folder"),
        ({"ring_s": 1.0, "save_on": ["lunch"]}, "save_on: expected of disengagement, watchdog, got lunch"),
        ({"compression": "zip"}, "compression: expected one of zstd, lz4, none"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    executor: Executor, tmp_path: Path, parameters: dict[str, Any], expected: str
) -> None:
    given = {"output": str(tmp_path / "bag"), **parameters}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    with pytest.raises(InvalidInput, match=expected):
        RecorderNode(context=executor.context, parameter_overrides=overrides)
    assert not (tmp_path / "bag").exists()


def test_patterns_choose_topics_and_the_time_names_the_folder(executor: Executor, tmp_path: Path) -> None:
    overrides = [
        Parameter("output", value=str(tmp_path / "at_%Y")),
        Parameter("topics", value=["/camera/*", "/odom"]),
        Parameter("exclude", value=["/camera/*/raw"]),
    ]
    recorder = RecorderNode(context=executor.context, parameter_overrides=overrides)
    executor.add_node(recorder)
    assert recorder.settings.output == tmp_path / f"at_{time.gmtime().tm_year}"
    wants = recorder.settings.wants
    assert wants("/camera/left/image") and wants("/odom")
    assert not (wants("/camera/left/raw") or wants("/odometry") or wants("/clock"))


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    record.add_arguments(parser)
    return parser.parse_args(words)


def test_flags_become_parameters() -> None:
    given = record.parameters(
        parsed(
            *("/odom", "/camera/*", "--exclude", "/rosout", "--out", "x", "--split-size", "100"),
            *("--split-time", "60", "--max-size", "1000", "--compression", "none", "--ring", "30"),
            *("--ring-size", "64", "--ring-only", "--after", "3", "--save-on", "none", "--queue", "9"),
        )
    )
    specs = {spec.name: spec for spec in PARAMETERS}
    for name, value in given.items():
        specs[name].check(value)
    assert given["topics"] == ["/odom", "/camera/*"]
    assert given["exclude"] == ["/clock", "/parameter_events", "/rosout"]
    assert (given["continuous"], given["ring_s"], given["save_on"]) == (False, 30.0, [""])
    assert set(record.parameters(parsed())) == {"output"}


@pytest.mark.parametrize("words", [("--ring-only",), ("--after", "3"), ("odom",), ("--exclude", "odom")])
def test_bad_flags_are_refused_in_a_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_record_and_save_by_the_commands_until_sigkill(executor: Executor, tmp_path: Path) -> None:
    """The file of a recorder that was killed holds all but its last half second, and is repaired."""
    talker = Node("talker", context=executor.context)
    executor.add_node(talker)
    text = talker.create_publisher(String, "/text", 1000)
    heard: list[bytes] = []
    talker.create_subscription(String, "/text", heard.append, 1000, raw=True)
    alpamayo = [sys.executable, "-m", "alpamayo_ros.cli.main"]
    command = [*alpamayo, "record", "/text", "--out", str(tmp_path / "bag"), "--ring", "30", "--after", "0"]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL) as process:
        try:
            spin(executor, lambda: text.get_subscription_count() == 2, timeout_s=40)
            sent = []
            end_s = time.monotonic() + 3.0
            while time.monotonic() < end_s:
                sent.append(f"{len(sent)} {'x' * 1000}")
                text.publish(String(data=sent[-1]))
                executor.spin_once(timeout_sec=0.01)
                time.sleep(0.02)  # slow enough that no queue on the way overflows
            early = len(sent)
            save = subprocess.run(
                [*alpamayo, "record", "save", "by hand", "--timeout", "30"], capture_output=True, text=True
            )
            assert save.returncode == 0, save.stderr
            saved = Path(save.stdout.strip())
            spin(executor, (saved / "metadata.yaml").exists)
            # `save` took longer than a chunk may be open.
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)
        finally:
            process.kill()
    assert texts(saved) == sent[:early]
    assert not (tmp_path / "bag" / "metadata.yaml").exists()
    assert texts(tmp_path / "bag") == sent
    mcap_reader = pytest.importorskip("mcap.reader", reason="mcap comes with pip, not with package.xml")
    from mcap.exceptions import EndOfFile

    (file,) = (tmp_path / "bag").glob("*.mcap")
    seen = []
    with file.open("rb") as opened, suppress(EndOfFile):  # it was not closed
        for _, channel, message in mcap_reader.NonSeekingReader(opened).iter_messages(log_time_order=False):
            assert channel.topic == "/text"
            seen.append(message.data)
    # Between processes RTPS pads messages to four bytes, within one it does not.
    assert [data.rstrip(b"\0") for data in seen] == [data.rstrip(b"\0") for data in heard]
    repair(tmp_path / "bag")
    assert texts(tmp_path / "bag") == sent
    with file.open("rb") as opened:
        assert mcap_reader.make_reader(opened).get_summary().statistics.message_count == len(sent)


def test_a_size_that_is_reached_ends_it_without_an_error(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talker = Node("talker", context=executor.context)
    executor.add_node(talker)
    text = talker.create_publisher(String, "/text", 10)
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.01):
            text.publish(String(data=os.urandom(50_000).hex()))

    thread = threading.Thread(target=talk)
    thread.start()
    overrides = [Parameter("output", value=str(tmp_path / "bag")), Parameter("max_mib", value=1)]
    try:
        code = run_nodes([lambda: RecorderNode(parameter_overrides=overrides)], ["--ros-args", "--"])
    finally:
        stop.set()
        thread.join()
    assert code == 0
    assert 5 <= len(texts(tmp_path / "bag")) <= 11
