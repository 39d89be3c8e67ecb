"""`alpamayo sim-renderer` as a process: alike everywhere, gone with its parent, clear if it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from wire import FRONT, batch, pair, request

from alpamayo_ros.sim.protocol.generated import sensorsim_pb2_grpc
from alpamayo_ros.sim.render.gpu import RendererUnavailable
from alpamayo_ros.sim.render.process import RendererProcess
from alpamayo_ros.sim.scenes import make_scene

SCENES = ("cut_in-8", "rain_dark-19")


def pictures(address):
    """Return what a renderer gives of two scenes, no object listed, from the reference drive."""
    items = {}
    for scene_id in SCENES:
        reference = make_scene(scene_id).reference
        stamp = int(reference.stamps_us[60])
        items[scene_id] = request(
            scene_id,
            sensor_pose=pair(reference.local_from_rig[60] @ FRONT.rig_from_camera),
            frame_start_us=stamp - 30_000,
            frame_end_us=stamp,
        )
    with grpc.insecure_channel(address) as channel:
        answer = sensorsim_pb2_grpc.SensorsimServiceStub(channel).batch_render_rgb(batch(**items))
    return [item.result.image_bytes for item in answer.items]


def test_two_processes_draw_the_same_bytes(render_thread, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    with RendererProcess() as first:
        monkeypatch.setenv("PYTHONHASHSEED", "2")
        with RendererProcess() as second, ThreadPoolExecutor(2) as pool:
            one, other = pool.map(pictures, (first.address, second.address))
    assert all(one) and one == other
    assert not first.alive and not second.alive


def test_it_ends_when_its_parent_is_killed(render_thread):
    script = (
        "import time\n"
        "from alpamayo_ros.sim.render.process import RendererProcess\n"
        "child = RendererProcess()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def running(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RendererUnavailable, match=f"expected an address that is free, got .*:{port}"):
            RendererProcess(port=port)


def test_without_egl_it_says_what_to_install(monkeypatch):
    """With a vendor's list that names nothing, libEGL finds nothing, as on a machine without Mesa."""
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", os.devnull)
    with pytest.raises(RendererUnavailable, match=r"apt-get install libegl1 libgl1-mesa-dri"):
        RendererProcess()


def test_it_gives_up_after_its_time():
    with pytest.raises(RendererUnavailable, match=r"did not serve within 0\.01 s"):
        RendererProcess(startup_timeout_s=0.01)
