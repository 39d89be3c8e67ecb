"""`alpamayo view`: what it refuses, in one line and with exit code 2, and what it says when it serves."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from foxglove_client import FoxgloveClient
from view_factory import until

from alpamayo_ros.cli.main import main
from alpamayo_ros.view.source import exposure_warning


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "expected a rosbag2 folder with metadata.yaml, or a .mcap or .db3 file, got nothing"),
        (["--rate", "2"], "--rate: expected a BAG to play, got none"),
        (["--loop"], "--loop: expected a BAG to play, got none"),
        (["BAG", "--rate", "0"], "rate: expected 0.01 ... 100.0, got 0.0"),
        (["BAG", "--rig", "sim"], "--rig: expected with --web"),
        (["BAG", "--allow-host", "car"], "--allow-host: expected with --web"),
        (["BAG", "--web", "--backlog", "99"], "--backlog: expected without --web"),
        (["BAG", "--web", "--rig", "no-such-rig"], "no-such-rig"),
        (["BAG", "--port", "99999"], "port: expected 0 … 65535, got 99999"),
    ],
)
def test_what_it_refuses(view_bag, capsys, tmp_path, arguments, message):
    given = [str(view_bag) if a == "BAG" else str(tmp_path / a) if a == "nowhere" else a for a in arguments]
    assert main(["view", *given]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert captured.err.startswith("alpamayo view: ")


@pytest.mark.parametrize("web", [[], ["--web"]])
def test_a_port_that_is_taken_is_refused(view_bag, capsys, web):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", str(view_bag), *web, "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: expected an address to listen at" in capsys.readouterr().err


def test_only_an_address_that_others_reach_is_warned_of():
    for host in ("127.0.0.1", "localhost", "::1"):
        assert exposure_warning(host, 1) == ""
    assert exposure_warning("0.0.0.0", 8080).startswith("warning: 0.0.0.0:8080 is open to the network")


GRAPH = {"ROS_DOMAIN_ID": str(50 + os.getpid() % 50), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    code = "import sys; from alpamayo_ros.cli.main import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "view", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **GRAPH, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def said_port(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"//[^/:]+:(\d+)", line)
    assert found, line
    return line, int(found[1])


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_a_recording_is_served_until_a_signal_comes(view_bag):
    process = start(view_bag, "--port", "0", "--loop")
    try:
        line, port = said_port(process)
        assert line.startswith("open ws://127.0.0.1:")
        layout = Path(line.partition("layout: ")[2].strip())
        assert layout.name == "alpamayo.json" and layout.is_file()
        with FoxgloveClient(port) as client:
            client.subscribe("/alpamayo/plan")
            until(lambda: client.messages["/alpamayo/plan"], "plans")
    finally:
        code, errors = ended(process)
    assert (code, errors) == (0, "")


def test_the_page_is_served_until_a_signal_comes_and_an_open_address_is_warned_of(view_bag):
    process = start(view_bag, "--web", "--host", "0.0.0.0", "--port", "0")
    try:
        line, port = said_port(process)
        assert line.startswith("open http://0.0.0.0:")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            assert b"<title>Alpamayo</title>" in answer.read()
    finally:
        code, errors = ended(process)
    assert code == 0 and errors.startswith("warning: 0.0.0.0:") and len(errors.splitlines()) == 1


def test_the_live_graph_is_served_until_a_signal_comes_and_it_reports_itself():
    process = start("--port", "0")
    try:
        _, port = said_port(process)
        with FoxgloveClient(port) as client:
            client.subscribe("/diagnostics")
            reports = until(lambda: client.messages["/diagnostics"], "a report", timeout_s=60)
            assert b"alpamayo/viewer" in reports[-1][1]
            assert client.channels["/diagnostics"]["schemaName"] == "diagnostic_msgs/msg/DiagnosticArray"
            assert "playbackControl" not in client.info["capabilities"]
    finally:
        code, errors = ended(process)
    assert (code, errors) == (0, "")
