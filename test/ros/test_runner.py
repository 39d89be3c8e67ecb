"""The runner: environment, ROS arguments, signals, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from alpamayo_ros.cli.main import main
from alpamayo_ros.ros import runner
from alpamayo_ros.ros.runner import (
    PROFILE_VARIABLES,
    StopSignals,
    apply_shared_memory_profile,
    profile_variable,
    ros_arguments,
    shared_file,
)
from alpamayo_ros.types import InvalidInput

GRAPH = {"ROS_DOMAIN_ID": "42", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def run_python(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    env = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**env, **GRAPH, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 30.0) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return process.returncode, out, err


def test_the_profile_is_applied_unless_the_user_chose_one() -> None:
    environment: dict[str, str] = {}
    profile = apply_shared_memory_profile(environment)
    assert profile is not None
    assert environment == {profile_variable(): str(profile)}
    assert "segment_size" in profile.read_text()
    for name in PROFILE_VARIABLES:
        mine = {name: "/mine.xml"}
        assert apply_shared_memory_profile(mine) is None
        assert mine == {name: "/mine.xml"}


def test_the_variable_is_the_installed_fast_dds_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.sys, "prefix", str(tmp_path / "none"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert profile_variable() == "FASTDDS_DEFAULT_PROFILES_FILE"
    (tmp_path / "share" / "fastrtps").mkdir(parents=True)
    assert profile_variable() == "FASTRTPS_DEFAULT_PROFILES_FILE"


def test_fast_dds_reads_the_profile_before_the_first_node() -> None:
    script = """
import os, sys
from rclpy.node import Node
from alpamayo_ros.ros.runner import run_nodes
class Done(Node):
    done, error = True, None
    def __init__(self): super().__init__("done")
    def destroy_node(self):
        print(os.environ["FASTDDS_DEFAULT_PROFILES_FILE"], self.get_namespace())
        super().destroy_node()
sys.exit(run_nodes([Done], ["--ros-args", "-r", "__ns:=/car", "--"]))
"""
    code, out, err = finish(run_python(script))
    assert code == 0, err
    assert out.split() == [str(shared_file("config/fastdds_shm.xml")), "/car"]
    assert "deprecated" not in err
    _, out, _ = finish(run_python(script, FASTDDS_DEFAULT_PROFILES_FILE="/mine.xml"))
    assert out.split()[0] == "/mine.xml"


def test_shipped_files_are_found_or_named() -> None:
    assert shared_file("config/fastdds_shm.xml").is_file()
    with pytest.raises(InvalidInput, match=r"config/none\.xml: expected it in one of"):
        shared_file("config/none.xml")


def test_arguments_become_what_rcl_reads(tmp_path: Path) -> None:
    params = tmp_path / "p.yaml"
    params.write_text("{}")
    assert ros_arguments(
        namespace="car/",
        remaps={"odometry": "/odom"},
        params_file=params,
        parameters={"flag": True, "n": 3, "x": 0.5, "text": "it's 1", "names": ["a", "b"]},
        log_level="warn",
    ) == [
        *("--ros-args", "-r", "__ns:=/car", "-r", "odometry:=/odom", "--params-file", str(params)),
        *(
            "-p",
            "flag:=true",
            "-p",
            "n:=3",
            "-p",
            "x:=0.5",
            "-p",
            "text:='it''s 1'",
            "-p",
            "names:=['a', 'b']",
        ),
        *("--log-level", "warn", "--"),
    ]
    with pytest.raises(InvalidInput, match="params file: expected a YAML file"):
        ros_arguments(params_file=tmp_path / "none.yaml")


def test_signals_are_counted_and_the_handlers_restored() -> None:
    former = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        assert not stop
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while stop.count < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop
        assert stop.last in (signal.SIGINT, signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is former

    def elsewhere() -> None:
        with StopSignals() as other:
            assert not other

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()


WORKER = """
import sys, time
from rclpy.node import Node
from alpamayo_ros.ros.runner import run_nodes
class Slow(Node):
    def __init__(self):
        super().__init__("slow")
        print("ready", flush=True)
    def destroy_node(self):
        time.sleep(1.0)
        print("closed", flush=True)
        super().destroy_node()
sys.exit(run_nodes([Slow], []))
"""


@pytest.mark.parametrize("names", [["SIGINT"], ["SIGINT", "SIGINT"], ["SIGTERM", "SIGINT"]])
def test_a_second_signal_does_not_cut_the_end_short(names: list[str]) -> None:
    process = run_python(WORKER)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for name in names:
        process.send_signal(getattr(signal, name))
        time.sleep(0.3)
    code, out, err = finish(process)
    assert (code, out) == (0, "closed\n"), err


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise InvalidInput('expected this, got that')", 2, "expected this, got that"),
        ("self.declare_parameter('x', 1); self.declare_parameter('x', 1)", 2, "already declared"),
        ("self.done, self.error = True, 'it broke'", 1, "it broke"),
        ("self.done, self.error = True, None", 0, ""),
    ],
)
def test_exit_codes(body: str, code: int, message: str) -> None:
    script = f"""
import sys
from rclpy.node import Node
from alpamayo_ros.ros.runner import run_nodes
from alpamayo_ros.types import InvalidInput
class Thing(Node):
    def __init__(self):
        super().__init__("thing")
        {body}
sys.exit(run_nodes([Thing], []))
"""
    got, _, err = finish(run_python(script))
    assert got == code, err
    assert message in err
    assert "Traceback" not in err


def test_bad_ros_arguments_are_refused() -> None:
    script = "import sys; from alpamayo_ros.ros.runner import run_nodes; sys.exit(run_nodes([], sys.argv))"
    code, _, err = finish(run_python(script, "--ros-args", "-p", "nonsense"))
    assert code == 2
    assert "ROS arguments: expected what `ros2 run` takes" in err


def test_run_composes_player_and_recorder_in_one_process(tmp_path: Path) -> None:
    from alpamayo_ros.bags.reader import BagReader
    from alpamayo_ros.bags.writer import BagWriter

    kind = "std_msgs/msg/String"
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/text", kind)
        for i in range(20):
            message = writer.typestore.types[kind](data=str(i))
            writer.write_message("/text", 10**12 + i * 20_000_000, message)
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"/**": {"player": {"ros__parameters": {"hold_s": 0.5, "rate": 3.0}}}}))
    command = [
        *("run", "player", "recorder", "--bag", str(tmp_path / "bag"), "--rate", "2", "--use-sim-time"),
        *("--record", str(tmp_path / "out"), "--params-file", str(params), "--remap", "/text:=/words"),
        *("--param", "player:wait_for_subscribers:=['/text']", "--log-level", "info"),
    ]
    script = "import sys; from alpamayo_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    code, _, err = finish(run_python(script, *command))
    assert code == 0, err
    assert "rate 2" in err  # the flag wins over the file
    with BagReader(tmp_path / "out") as bag:
        assert bag.topics["/words"].count == 20
        assert bag.start_ns >= 10**12  # simulated time


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["nobody"],
            "expected one of planner, player, recorder, sim_bridge, watchdog, visualizer, sim, "
            "vehicle, got 'nobody'",
        ),
        (["player", "--param", "rate=2"], "--param: expected [NODE:]NAME:=VALUE"),
        (["player", "--param", "nobody:rate:=2"], "--param: expected [NODE:]NAME:=VALUE with NODE of"),
        (["player", "--param", "rate:=]["], "--param rate: expected a YAML value"),
        (["player", "--remap", "a"], "--remap: expected FROM:=TO"),
        (["player", "--params-file", "none.yaml"], "params file: expected a YAML file"),
    ],
)
def test_run_refuses(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *arguments]) == 2
    assert expected in capsys.readouterr().err
