"""Faults of the renderer and of the planner in a rollout over topics: said clearly, no hang, no leak."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import sensorsim_fakes
from planner_harness import ScriptedPlanner, straight_plan, wait_for
from sensorsim_fakes import ScriptedRenderer
from sim_harness import corner_of_the_graph, driving, finished, renderer

from alpamayo_ros.sim.cameras import LOGICAL_IDS
from alpamayo_ros.sim.scene import FORCE_GT_US, STEP_US

WARM_UP = FORCE_GT_US // STEP_US
SCENES = ("one", "two")
FRONT = LOGICAL_IDS[1]


def drives(seconds: float = 3.0) -> list[Any]:
    return [sensorsim_fakes.drive_message(seconds=seconds)]


@pytest.fixture
def corner() -> Iterator[Any]:
    with corner_of_the_graph() as pair:
        yield pair


class FaultyOnce(ScriptedRenderer):
    """Spoils the batch of one step of the first scene."""

    def __init__(self, fault: Callable[[list[Any]], None], *, at_step: int = WARM_UP + 3) -> None:
        super().__init__()
        self.scene_ids, self.drives = SCENES, drives()
        self.spoil = lambda items: fault(items) if self.calls["batch_render_rgb"] == at_step + 1 else None


def fail(items: list[Any]) -> None:
    items[1].success = False
    items[1].error_message = "INTERNAL: out of memory"
    items[1].ClearField("result")


def drop(items: list[Any]) -> None:
    del items[1]


def double(items: list[Any]) -> None:
    items.append(items[1])


def rename(items: list[Any]) -> None:
    items[1].camera_name = "camera_nobody"


def resize(items: list[Any]) -> None:
    items[1].result.image_bytes = sensorsim_fakes.jpeg(100, 64)


def garble(items: list[Any]) -> None:
    items[1].result.image_bytes = b"no image"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fail, f"{FRONT}: INTERNAL: out of memory"),
        (drop, f"{FRONT}: missing"),
        (double, f"{FRONT}: came twice"),
        (rename, "camera_nobody: not asked for"),
        (resize, "front_wide: expected images of 96x64 as before, got 100x64"),
        (garble, "front_wide: image: expected a JPEG or PNG, got 8 bytes"),
    ],
)
def test_a_faulty_answer_ends_that_rollout_only(corner, tmp_path, fault, message):
    graph, heard = corner
    with (
        renderer(FaultyOnce(fault)) as told,
        driving(graph, told.address, scenarios="all", out=str(tmp_path)) as bridge,
    ):
        assert finished(bridge) < 20
        wait_for(lambda: heard.simulation.get("level") == "2", "the error on /diagnostics")
    assert [record.end_reason for record in bridge.records] == ["failed", "goal"]
    first = bridge.records[0]
    assert message in first.error
    assert len(first.drives) == WARM_UP + 3
    assert str(bridge.error).startswith("1 of 2 rollouts failed")
    assert message in str(bridge.error)
    assert heard.said(message)
    assert message in heard.simulation["message"]
    assert heard.simulation["rollouts_failed"] == "1"
    assert '"failure_reason": "failed"' in (tmp_path / "rollouts" / "one" / "score.json").read_text()


def test_another_size_than_asked_for_is_taken_and_said_once(corner):
    graph, heard = corner
    with (
        renderer(drives=drives(), size=(80, 48)) as told,
        driving(graph, told.address, scenarios=sensorsim_fakes.FOREIGN_SCENE) as bridge,
    ):
        finished(bridge)
        wait_for(lambda: heard.said("asked for 96x64, got"), "the warning")
    assert bridge.error is None
    assert bridge.records[0].end_reason == "goal"
    assert len(heard.said("asked for 96x64")) == 1
    infos = heard.received["front_wide/info"]
    assert {(info.width, info.height) for info in infos} == {(80, 48)}
    assert infos[0].k[2] == pytest.approx(40.0, abs=1.0)


def test_a_renderer_without_batches_is_asked_for_one_image_at_a_time(corner):
    graph, heard = corner
    with (
        renderer(drives=drives(), batches=False) as told,
        driving(graph, told.address, scenarios=sensorsim_fakes.FOREIGN_SCENE) as bridge,
    ):
        finished(bridge)
        wait_for(lambda: heard.said("no batch_render_rgb"), "the warning")
    assert bridge.records[0].end_reason == "goal"
    assert told.calls["batch_render_rgb"] == 1
    assert told.calls["render_rgb"] == 4 * len(bridge.records[0].drives)


class SlowFrom(ScriptedRenderer):
    """Takes 5 s for images of one step, or from that step on."""

    def __init__(self, step: int, *, once: bool) -> None:
        super().__init__()
        self.drives, self.scene_ids = drives(), SCENES
        self._step, self._once = step, once

    def _enter(self, method: str, context: grpc.ServicerContext) -> None:
        super()._enter(method, context)
        call = self.calls[method] - self._step - 1
        if method == "batch_render_rgb" and (call == 0 if self._once else call >= 0):
            self.released.wait(5.0)


def test_a_slow_answer_is_waited_for(corner):
    graph, _ = corner
    with (
        renderer(SlowFrom(WARM_UP + 4, once=True)) as told,
        driving(graph, told.address, scenarios="one") as bridge,
    ):
        took_s = finished(bridge)
    assert bridge.records[0].end_reason == "goal"
    assert 5 < took_s < 15


def test_one_that_is_too_slow_fails_the_rollout_in_time(corner):
    graph, heard = corner
    with (
        renderer(SlowFrom(5, once=False)) as told,
        driving(graph, told.address, scenarios="all", render_timeout_s=0.5) as bridge,
    ):
        took_s = finished(bridge)
        wait_for(lambda: heard.said("no answer within 0.5 s"), "the error")
    assert took_s < 5
    assert [record.end_reason for record in bridge.records] == ["failed", "failed"]
    assert "no answer within 0.5 s" in str(bridge.error)


def test_a_renderer_that_is_not_there_is_an_error(corner):
    graph, heard = corner
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with driving(graph, address, scenarios="all", renderer_timeout_s=0.5) as bridge:
        assert finished(bridge) < 8
        wait_for(lambda: heard.simulation.get("level") == "2", "the error on /diagnostics")
    assert f"renderer: nothing answers at {address} within 0.5 s" in str(bridge.error)
    assert str(bridge.error) in heard.simulation["message"]
    assert heard.said("nothing answers at")


def test_scenes_that_the_renderer_does_not_have_are_refused_by_name(corner):
    graph, _ = corner
    with renderer(scene_ids=SCENES) as told, driving(graph, told.address, scenarios="three") as bridge:
        finished(bridge)
    assert "expected all or the renderer's scenes (one, two), got 'three'" in str(bridge.error)


def test_a_scene_that_cannot_begin_fails_and_the_next_goes_on(corner, tmp_path):
    graph, _ = corner

    class NoFirstDrive(ScriptedRenderer):
        def get_available_trajectories(self, request: Any, context: grpc.ServicerContext) -> Any:
            self.drives = drives() if request.scene_id == "two" else []
            return super().get_available_trajectories(request, context)

    told = NoFirstDrive()
    told.scene_ids = SCENES
    with renderer(told) as told, driving(graph, told.address, scenarios="all", out=str(tmp_path)) as bridge:
        finished(bridge)
    assert [record.scene.scene_id for record in bridge.records] == ["two"]
    assert "one: scene one: expected a recorded drive from the renderer, got none" in str(bridge.error)
    assert '"end_reason": "failed"' in (tmp_path / "rollouts" / "one" / "score.json").read_text()


SERVE = """
import sys, threading, sensorsim_fakes
told = sensorsim_fakes.ScriptedRenderer()
told.drives = [sensorsim_fakes.drive_message(seconds=6.0)]
running = sensorsim_fakes.start(told, port=int(sys.argv[1]))
print(running.port, flush=True)
threading.Event().wait()
"""


@contextmanager
def renderer_process(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a renderer in a process of its own."""
    path = os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        assert child.stdout is not None
        yield child, int(child.stdout.readline())
    finally:
        child.kill()
        child.communicate()


def test_a_renderer_that_is_killed_and_comes_back_is_waited_for(corner):
    graph, _ = corner
    with (
        renderer_process() as (child, port),
        driving(graph, f"127.0.0.1:{port}", scenarios=sensorsim_fakes.FOREIGN_SCENE) as bridge,
    ):
        wait_for(lambda: bridge.time_us >= sensorsim_fakes.START_US + 3_000_000, "driving")
        child.send_signal(signal.SIGKILL)
        child.wait()
        stood_us = bridge.time_us
        time.sleep(1.0)
        assert bridge.time_us <= stood_us + STEP_US
        assert not bridge.done
        with renderer_process(port):
            finished(bridge)
    assert bridge.error is None
    (record,) = bridge.records
    assert record.end_reason == "goal"
    assert all(drive.source == "plan" for drive in record.drives[WARM_UP:])


def test_one_that_stays_away_ends_the_run(corner):
    graph, _ = corner
    with (
        renderer_process() as (child, port),
        driving(
            graph, f"127.0.0.1:{port}", scenarios=sensorsim_fakes.FOREIGN_SCENE, renderer_timeout_s=1.0
        ) as bridge,
    ):
        wait_for(lambda: bridge.time_us > sensorsim_fakes.START_US + 500_000, "driving")
        child.send_signal(signal.SIGKILL)
        assert finished(bridge) < 10
    assert "renderer: nothing answers at" in str(bridge.error)
    assert bridge.records[0].end_reason == "failed"


def constant(observation: Any) -> Any:
    return straight_plan(observation, speed_mps=10.0)


def test_a_planner_that_ends_ends_the_run(corner):
    graph, heard = corner
    planner = ScriptedPlanner()
    planner.plan_of = constant
    with (
        renderer(drives=drives(20.0), scene_ids=SCENES) as told,
        driving(graph, told.address, planner=planner, scenarios="all") as bridge,
    ):
        wait_for(lambda: len(planner.observations) > WARM_UP, "driving")
        node = next(node for node in graph.executor.get_nodes() if node.get_name() == "planner")
        graph.run(node.trigger_shutdown, "the planner's shutdown")
        assert finished(bridge) < 10
        wait_for(lambda: heard.simulation.get("level") == "2", "the error on /diagnostics")
    assert "planner: expected one that publishes plans, got none any more" in str(bridge.error)
    assert [record.end_reason for record in bridge.records] == ["failed"]


def test_a_planner_that_only_refuses_fails_each_rollout_with_its_reason(corner):
    graph, heard = corner
    planner = ScriptedPlanner()

    def refuse(observation: Any) -> Any:
        raise RuntimeError("no idea")

    planner.plan_of = refuse
    with (
        renderer(drives=drives(), scene_ids=SCENES) as told,
        driving(
            graph, told.address, planner=planner, scenarios="all", plan_timeout_s=0.1, max_missed_plans=3
        ) as bridge,
    ):
        finished(bridge)
    assert [record.end_reason for record in bridge.records] == ["failed", "failed"]
    assert "3 steps in a row without one; last: inference_error: no idea" in str(bridge.error)
    assert len(heard.said("stopping, as there is no plan to drive by")) == 2


def test_no_planner_is_an_error_that_says_where_one_was_expected(corner):
    graph, _ = corner
    with (
        renderer(drives=drives()) as told,
        driving(graph, told.address, hosted="", scenarios="all", planner_timeout_s=0.5) as bridge,
    ):
        finished(bridge)
    assert f"planner: expected /{graph.name}/planner to be active within 0.5 s" in str(bridge.error)


@pytest.mark.parametrize("when", ["rendering", "planning", "waiting"])
def test_a_stop_ends_whatever_is_on(corner, when):
    graph, _ = corner
    planner = ScriptedPlanner()
    planner.plan_of, planner.gate = constant, threading.Event() if when == "planning" else None
    with renderer(drives=drives()) as told:
        try:
            options: dict[str, Any] = {"hosted": ""} if when == "waiting" else {"planner": planner}
            with driving(graph, told.address, scenarios="all", **options) as bridge:
                if when == "planning":
                    wait_for(lambda: bridge.time_us >= sensorsim_fakes.START_US + FORCE_GT_US, "driving")
                elif when == "rendering":
                    wait_for(lambda: told.calls["batch_render_rgb"] > 5, "driving")
                    told.delay_s = 30.0
                time.sleep(0.3)
                began_s = time.monotonic()
                bridge.stop()
                assert time.monotonic() - began_s < 3
                if planner.gate is not None:
                    planner.gate.set()
            assert bridge.error is None
            assert [record.end_reason for record in bridge.records] == (
                [] if when == "waiting" else ["interrupted"]
            )
        finally:
            told.release()


def resources() -> dict[str, int]:
    gc.collect()  # rclpy's contexts are in reference cycles: counted are those that something still holds
    return {
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "children": len(multiprocessing.active_children()),
    }


@pytest.mark.long
def test_nothing_is_left_behind():
    def once(fault: Callable[[list[Any]], None]) -> None:
        with (
            corner_of_the_graph() as (graph, _),
            renderer(FaultyOnce(fault)) as told,
            driving(graph, told.address, scenarios="all") as bridge,
        ):
            finished(bridge)
            assert bridge.error is not None

    once(fail)  # what gRPC and DDS keep for the process is there now
    before = resources()
    for fault in (drop, resize, rename):
        once(fault)
    deadline = time.monotonic() + 10
    while any(resources()[name] > before[name] for name in before) and time.monotonic() < deadline:
        time.sleep(0.1)
    after = resources()
    assert all(after[name] <= before[name] for name in before), (before, after)
