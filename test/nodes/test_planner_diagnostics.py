"""What /diagnostics says of the planner when something is wrong, and that it says what to do about it."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from planner_harness import ScriptedPlanner, active, jpeg_of, straight_plan, wait_for
from rclpy.parameter import Parameter

from alpamayo_ros.msg import Plan as PlanMsg
from alpamayo_ros.ros.parameters import Changes
from alpamayo_ros.ros.planner_parameters import PARAMETERS
from alpamayo_ros.srv import Engage

PAGE = Path(__file__).parents[2] / "docs" / "DIAGNOSTICS.md"


def says(world, name: str, words: str, *, level: str):
    """Drive until a status says something at a level."""

    def said() -> bool:
        status = world.diagnostics(f"alpamayo/{name}")
        return words in status.get("message", "") and status.get("level") == level

    world.drive(said, what=f"{words!r} of {name}")
    return world.diagnostics(f"alpamayo/{name}")


def test_all_is_well(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        world.drive(lambda: len(world.plans) >= 5, what="plans", pause_s=0.1)
        for name in ("inference", "model", "gate", "monitor", "engagement", "audit", "odometry"):
            world.drive(
                lambda name=name: world.diagnostics(f"alpamayo/{name}").get("level") == "0",
                what=f"{name} is well",
                pause_s=0.1,
            )
        wait_for(lambda: float(world.diagnostics("alpamayo/inference")["latency_p99_ms"]) > 0, "a latency")
        assert world.diagnostics("alpamayo/gate")["mode"] == "valid"
        assert float(world.diagnostics("alpamayo/model")["process_rss_mib"]) > 10
        assert world.diagnostics("alpamayo/odometry")["speed_from"] == "poses"
        camera = world.diagnostics("alpamayo/cameras/front_wide")
        assert float(camera["rate_hz"]) == pytest.approx(10, abs=3) and float(camera["brightness"]) > 10


def test_whoever_engages_without_a_watchdog_is_told(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        world.drive(lambda: len(world.plans) >= 5, what="plans", pause_s=0.1)
        client = world.node.create_client(Engage, "engage")
        assert world.call(client, Engage.Request(engage=True)).success
        assert says(world, "engagement", "without a watchdog", level="1")["watched"] == "false"
        world.node.create_publisher(PlanMsg, "plan", 1)  # as a watchdog does
        assert says(world, "engagement", "engaged", level="0")["watched"] == "true"


def test_the_page_names_every_status_and_key(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, _):
        world.drive(lambda: len(world.plans) >= 3, what="plans")
        wait_for(lambda: world.diagnostics("alpamayo/gate").get("mode") == "valid", "the gate's status")
        statuses = world.received["diagnostics"][-1].status
        page = PAGE.read_text()
        named = set(re.findall(r"`([^`\n]+)`", page))
        for status in statuses:
            name = re.sub(r"cameras/.*", "cameras/<name>", status.name.removeprefix("alpamayo/"))
            assert name in named, name
            for pair in status.values:
                key = re.sub(r"^(refusals|failed)/.*", r"\1/<name>", pair.key)
                assert key in named, f"{name}: {key}"


@pytest.mark.parametrize(
    "error", [MemoryError("no room"), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")]
)
def test_out_of_memory_is_counted_the_next_plan_is_tried_and_many_lead_to_an_error_state(tmp_path, error):
    planner = ScriptedPlanner()
    with active(tmp_path, planner, max_inference_failures=3) as (world, node):
        world.drive(lambda: world.plans, what="a plan")
        good = len(world.plans)

        def exhausted(observation):
            raise error

        def exhausted_once(observation):
            planner.plan_of = straight_plan
            raise error

        planner.plan_of = exhausted_once
        world.drive(lambda: node.statistics.refusals.get("out_of_memory", 0) == 1, what="one failure")
        world.drive(lambda: len(world.plans) > good, what="the next plan")
        planner.plan_of = exhausted
        status = says(world, "inference", "plans in a row have failed", level="2")
        assert "free the GPU's memory" in status["message"]
        assert int(status["out_of_memory"]) >= 3
        world.drive(lambda: "plans in a row have failed" in world.stops[-1].status_reason, what="a stop")
        planner.plan_of = straight_plan
        good = len(world.plans)
        world.drive(lambda: len(world.plans) > good + 2, what="plans again")
        says(world, "inference", "active", level="0")


def test_a_model_that_hangs_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("alpamayo_ros.ros.planner_status._HANGS_MS", 300.0)
    planner = ScriptedPlanner()
    planner.gate = threading.Event()
    with active(tmp_path, planner) as (world, _):
        world.drive(lambda: planner.observations, what="an observation")
        says(world, "inference", "if it does not end, restart it", level="2")
        planner.gate.set()


def test_what_is_missing_is_named_with_its_topic(tmp_path):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        wait_for(
            lambda: "no message yet" in world.diagnostics("alpamayo/cameras/front_wide").get("message", ""),
            "the camera that is missing",
        )
        message = world.diagnostics("alpamayo/cameras/front_wide")["message"]
        assert "check that front is published" in message
        assert "odometry: no message yet" in world.diagnostics("alpamayo/odometry")["message"]


@pytest.mark.parametrize("black", [True, False], ids=["black", "frozen"])
def test_a_camera_that_sees_nothing_is_refused_by_name(tmp_path, black):
    with active(tmp_path, ScriptedPlanner()) as (world, node):
        world.drive(lambda: len(world.plans) >= 2, what="plans")
        good = world.publish_left
        data = jpeg_of((0, 0, 0) if black else (0, 0, 250))
        world.publish_left = lambda stamp_ns: good(stamp_ns, data)
        words = "have been black" if black else "have been the same"
        says(world, "cameras/cross_left", words, level="2")
        assert node.statistics.refusals["camera_blind/cross_left"] >= 1
        world.drive(lambda: words in world.stops[-1].status_reason, what="a stop that says why")
        world.publish_left = good
        plans = len(world.plans)
        world.drive(lambda: len(world.plans) > plans + 1, what="plans again")


def test_a_rejected_plan_and_a_contradiction_are_on_diagnostics(tmp_path):
    planner = ScriptedPlanner()
    planner.plan_of = lambda o: straight_plan(o, reasoning=("Stop for the red light.",))
    with active(tmp_path, planner) as (world, _):
        status = says(world, "monitor", "expected to stop as the reasoning says", level="1")
        assert int(status["contradicts"]) >= 1 and status["last_contradiction"]
        planner.plan_of = lambda o: straight_plan(o, accel_mps2=np.full((1, 64), np.nan, np.float32))
        status = says(world, "gate", "stopping: finite: expected", level="1")
        assert int(status["failed/finite"]) >= 1


def test_a_clock_that_stands_is_named(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, _):
        world.drive(lambda: world.plans, what="a plan")
        wait_for(
            lambda: "the clock has stood" in world.diagnostics("alpamayo/inference")["message"], "the clock"
        )
        assert "/clock" in world.diagnostics("alpamayo/inference")["message"]


def test_every_parameter_changes_live_or_says_what_to_do(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (_, node):
        for spec in PARAMETERS:
            (result,) = node.set_parameters([Parameter(spec.name, value=node.get_parameter(spec.name).value)])
            if spec.changes is Changes.LIVE:
                assert result.successful, (spec.name, result.reason)
            elif spec.changes is Changes.CONFIGURE:
                assert not result.successful
                assert "deactivate and clean up" in result.reason, (spec.name, result.reason)
            else:
                assert not result.successful and result.reason, spec.name
            if spec.minimum is not None and spec.changes is Changes.LIVE:
                kind = type(spec.default)
                below = Parameter(spec.name, value=kind(spec.minimum - 1))
                (result,) = node.set_parameters([below])
                assert not result.successful and result.reason, spec.name


def test_throttled_logs_name_what_is_missing(tmp_path, capfd):
    with active(tmp_path, ScriptedPlanner(), sim_time=False) as (world, _):
        deadline = time.monotonic() + 20
        said = ""
        while "no observation for 2 s; waiting for" not in said and time.monotonic() < deadline:
            world.publish_odometry(time.time_ns())
            time.sleep(0.05)
            said += capfd.readouterr().err
        line = next(line for line in said.splitlines() if "no observation for 2 s" in line)
        assert "front_wide" in line and "cross_left" in line
