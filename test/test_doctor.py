"""`alpamayo doctor`: what it says of this environment, and of broken ones."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from alpamayo_ros.cli import doctor, doctor_model, doctor_ros, doctor_sim
from alpamayo_ros.cli.doctor_report import Finding, Status, fail, format_line, ok, warn

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "config" / "fastdds_shm.xml"


def _arguments(*, as_json: bool = False) -> argparse.Namespace:
    return argparse.Namespace(json=as_json)


# --- The command -------------------------------------------------------------------------------------


def test_here_the_stack_can_run() -> None:
    environment = dict(
        os.environ,
        HF_HUB_OFFLINE="1",
        ROS_DOMAIN_ID="47",
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        FASTDDS_DEFAULT_PROFILES_FILE=str(PROFILE),
        FASTRTPS_DEFAULT_PROFILES_FILE=str(PROFILE),
    )
    command = [sys.executable, "-c", "import sys; from alpamayo_ros.cli.main import main; sys.exit(main())"]
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run([*command, "doctor", "--json"], env=environment, capture_output=True, text=True)
    report = json.loads(done.stdout)
    by_name = {finding["name"]: finding for finding in report["findings"]}
    assert [n for n, f in by_name.items() if f["status"] == "FAIL"] == []
    assert report["can_run"] is True
    assert done.returncode == 0
    for name in ("python", "libraries", "ros", "rmw", "messages", "transport", "Fast DDS profile", "bags"):
        assert by_name[name]["status"] == "OK", by_name[name]
    assert set(by_name) >= {"torch", "gpu", "transformers", "model hub", "egl", "shared memory"}


def test_a_failure_is_named_and_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        ok("one", "fine"),
        warn("two", "slow", "buy"),
        fail("three", "gone", "get it"),
        ok("four", "fine"),
    ]
    checks = [lambda f=f: f for f in findings]
    assert doctor.run(_arguments(), checks) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "OK    one               fine"
    assert lines[2] == "FAIL  three             gone -> get it"
    assert lines[3].startswith("OK    four"), "later checks run all the same"
    assert lines[-1] == "The stack cannot run: three."
    assert doctor.run(_arguments(as_json=True), checks) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["can_run"] is False
    assert report["findings"][1] == {"name": "two", "status": "WARN", "detail": "slow", "remedy": "buy"}


def test_warnings_alone_give_exit_code_0() -> None:
    assert doctor.run(_arguments(), [lambda: warn("gpu", "none", "buy one")]) == 0


def test_every_finding_but_ok_needs_a_remedy() -> None:
    with pytest.raises(ValueError, match="gpu: expected a remedy with WARN, got none"):
        Finding("gpu", Status.WARN, "none")


def test_a_terminal_sees_colours() -> None:
    assert format_line(fail("a", "b", "c"), colour=True).startswith("\033[31mFAIL\033[0m  a ")


# --- Python and its libraries ------------------------------------------------------------------------


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    version = namedtuple("version", "major minor micro")(3, 8, 10)
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor_model.check_python().status is Status.FAIL


def test_a_missing_library_is_named() -> None:
    finding = doctor_model.check_libraries({"numpy": "numpy", "OpenCV": "no_such_module"})
    assert finding.status is Status.FAIL
    assert "cannot import OpenCV (ModuleNotFoundError" in finding.detail
    assert "numpy" not in finding.detail


def test_missing_bag_libraries_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_model, "find_spec", lambda name: None if name == "rosbags" else object())
    finding = doctor_model.check_bags()
    assert (finding.status, finding.detail) == (Status.FAIL, "not installed: rosbags")


# --- ROS 2 -------------------------------------------------------------------------------------------


def test_no_rclpy_fails_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    monkeypatch.setitem(sys.modules, "rclpy.utilities", None)
    for check in (doctor_ros.check_ros, doctor_ros.check_rmw, doctor_ros.check_transport):
        finding = check()
        assert finding.status is Status.FAIL
        assert finding.remedy


def test_two_ros_in_one_shell_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    rclpy = pytest.importorskip("rclpy")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/humble")
    monkeypatch.setattr(sys, "prefix", str(Path(rclpy.__file__).parents[4]))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    finding = doctor_ros.check_ros()
    assert finding.status is Status.WARN
    assert "/opt/ros/humble is sourced too" in finding.detail


def test_a_message_that_was_not_built_fails() -> None:
    finding = doctor_ros.check_messages({"alpamayo_ros": {"msg": ("Plan", "NoSuchMessage")}})
    assert finding.status is Status.FAIL
    assert "alpamayo_ros/msg/NoSuchMessage: AttributeError" in finding.detail
    assert doctor_ros.check_messages({"no_such_msgs": {"msg": ("A",)}}).status is Status.FAIL


def test_an_interface_changed_since_the_build_is_named(tmp_path: Path) -> None:
    (tmp_path / "package.xml").write_text("<package/>")
    (tmp_path / "msg").mkdir()
    for source in ROOT.glob("msg/*.msg"):
        (tmp_path / "msg" / source.name).write_bytes(source.read_bytes())
    assert doctor_ros.stale_interfaces(tmp_path) == []
    with (tmp_path / "msg" / "Plan.msg").open("a") as file:
        file.write("float32 something_new\n")
    (tmp_path / "msg" / "New.msg").write_text("int8 a\n")
    assert doctor_ros.stale_interfaces(tmp_path) == ["msg/New.msg", "msg/Plan.msg"]


def test_an_installed_package_has_no_source_to_compare(tmp_path: Path) -> None:
    assert doctor_ros.stale_interfaces(tmp_path) == []


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("usage", "status", "detail", "remedy"),
    [
        (Usage(8 << 30, 0, 8 << 30), Status.OK, "8192 MiB", ""),
        (Usage(64 << 20, 0, 64 << 20), Status.WARN, "64 MiB free, 256 MiB wanted", "--shm-size"),
        (Usage(1 << 30, 1 << 30, 0), Status.WARN, "1 Fast DDS files", "rm "),
    ],
)
def test_shared_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usage: Usage, status: Status, detail: str, remedy: str
) -> None:
    (tmp_path / "fastdds_0123").touch()
    monkeypatch.setattr(doctor_ros.shutil, "disk_usage", lambda folder: usage)
    finding = doctor_ros.check_shared_memory(tmp_path)
    assert finding.status is status
    assert detail in finding.detail
    assert remedy in finding.remedy


def test_no_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert doctor_ros.check_shared_memory(tmp_path / "absent").status is Status.WARN


def _profile(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "profile.xml"
    path.write_text(text)
    return {"FASTDDS_DEFAULT_PROFILES_FILE": str(path), "FASTRTPS_DEFAULT_PROFILES_FILE": str(path)}


def test_the_shipped_profile_is_large_enough(tmp_path: Path) -> None:
    finding = doctor_ros.check_profile(_profile(tmp_path, PROFILE.read_text()))
    assert finding.status is Status.OK
    assert finding.detail.endswith("segments of 16 MiB")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (
            "<dds><a><segment_size>524288</segment_size></a></dds>",
            "no shared-memory segment for a 1080p image",
        ),
        ('<dds xmlns="http://www.eprosima.com"/>', "no shared-memory segment"),
        ("<dds>", "cannot be read"),
    ],
)
def test_a_profile_that_does_not_help_is_warned_about(tmp_path: Path, text: str, detail: str) -> None:
    finding = doctor_ros.check_profile(_profile(tmp_path, text))
    assert finding.status is Status.WARN
    assert detail in finding.detail
    assert "fastdds_shm.xml" in finding.remedy


def test_no_profile_or_an_absent_one_is_warned_about(tmp_path: Path) -> None:
    assert "not set" in doctor_ros.check_profile({}).detail
    absent = _profile(tmp_path, "")
    Path(absent["FASTDDS_DEFAULT_PROFILES_FILE"]).unlink()
    assert "cannot be read" in doctor_ros.check_profile(absent).detail


# --- The model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2.13.0+cpu", (2, 13, 0)),
        ("4.57.1", (4, 57, 1)),
        ("5.0.0rc1", (5, 0, 0)),
        ("6.dev0", (6,)),
        ("x", ()),
    ],
)
def test_version_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert doctor_model.version_tuple(text) == numbers


def test_torch_absent_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "__version__", "2.1.0")
    assert doctor_model.check_torch().status is Status.FAIL
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor_model.check_torch().status is Status.FAIL
    assert doctor_model.check_gpu().status is Status.WARN


def test_gpu_memory() -> None:
    assert doctor_model.judge_gpus({"0 A": 25_386_352_640}).status is Status.OK
    small = doctor_model.judge_gpus({"0 B": 12_884_901_888})
    assert small.status is Status.WARN
    assert "12.9 GB; the 10B checkpoints need 24 GB" in small.detail
    assert doctor_model.judge_gpus({"0 B": 1, "1 A": 80 << 30}).status is Status.OK


@pytest.mark.parametrize(
    ("version", "status"),
    [("4.56.2", Status.FAIL), ("4.57.0", Status.OK), ("5.23.0", Status.OK), ("6.0.0", Status.WARN)],
)
def test_transformers_range(monkeypatch: pytest.MonkeyPatch, version: str, status: Status) -> None:
    monkeypatch.setattr(doctor_model.metadata, "version", lambda name: version)
    assert doctor_model.check_transformers().status is status


def test_no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor_model.metadata, "version", absent)
    assert doctor_model.check_transformers().detail == "not installed"


class _Hub(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        time.sleep(1.0 if self.status == 0 else 0.0)
        self.send_response(self.status or 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[_Hub]]:
    """A model hub on the loopback that answers with `_Hub.status`, and an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield _Hub
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "status", "detail", "remedy"),
    [
        (200, Status.OK, "answers; ", ""),
        (401, Status.WARN, "refuses nvidia/Alpamayo-1.5-10B (401)", "hf auth login"),
        (500, Status.WARN, "answers 500", "as folders"),
        (0, Status.WARN, "cannot be reached", "as folders"),
    ],
)
def test_hub(
    monkeypatch: pytest.MonkeyPatch, hub: type[_Hub], answer: int, status: Status, detail: str, remedy: str
) -> None:
    monkeypatch.setattr(hub, "status", answer)
    finding = doctor_model.check_hub(timeout_s=5.0 if answer else 0.3)
    assert finding.status is status
    assert detail in finding.detail
    assert remedy in finding.remedy


def test_a_hub_out_of_reach_is_a_warning_soon(monkeypatch: pytest.MonkeyPatch, hub: type[_Hub]) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    finding = doctor_model.check_hub()
    assert finding.status is Status.WARN
    assert "cannot be reached" in finding.detail
    assert time.monotonic() - start < 5.0


def test_an_offline_user_is_not_sent_to_the_hub(monkeypatch: pytest.MonkeyPatch, hub: type[_Hub]) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(doctor_model, "_ask_hub", lambda *_: pytest.fail("asked all the same"))
    finding = doctor_model.check_hub()
    assert finding.status is Status.WARN
    assert "not asked (HF_HUB_OFFLINE)" in finding.detail


def test_what_draws_is_named() -> None:
    finding = doctor_sim.check_egl()
    if finding.status is Status.WARN and not os.environ.get("CI"):
        pytest.skip(finding.detail)
    assert finding.status is Status.OK and "OpenGL 4" in finding.detail


def test_no_egl_is_a_warning() -> None:
    """With a vendor's list that names nothing, libEGL finds nothing, as on a machine without Mesa."""
    finding = doctor_sim.check_egl({**os.environ, "__EGL_VENDOR_LIBRARY_FILENAMES": os.devnull})
    assert finding.status is Status.WARN
    assert "no OpenGL 4.3 context" in finding.detail
    assert "libegl1 libgl1-mesa-dri" in finding.remedy


def test_a_driver_that_hangs_is_a_warning() -> None:
    assert doctor_sim.check_egl(timeout_s=0.01).detail == "no OpenGL context within 0.01 s"
