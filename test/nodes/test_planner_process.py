"""The planner as users start it: a process of its own, a checkpoint, real topics, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from planner_harness import DOMAIN_ID, RIG, Graph, World, connected, graph, wait_for
from std_msgs.msg import String

from alpamayo_ros.ros.plan_conversions import plan_from_msg
from alpamayo_ros.srv import Ask

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    from alpamayo_ros.model.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_random_checkpoint(folder, size="tiny", seed=0)
    return folder


@contextmanager
def process(corner: Graph, folder: Path, **parameters: object) -> Iterator[subprocess.Popen]:
    (folder / "rig.yaml").write_text(RIG)
    values = {"rig": folder / "rig.yaml", "use_sim_time": True, "device": "cpu", **parameters}
    arguments = ["-r", f"__ns:=/{corner.name}"]
    for remap in corner.remaps:
        arguments += ["-r", remap]
    for name, value in values.items():
        arguments += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(DOMAIN_ID),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "alpamayo_ros.nodes.planner", "--ros-args", *arguments]
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def end(child: subprocess.Popen, *numbers: signal.Signals) -> tuple[int, str]:
    """Send signals a moment apart; return exit code and output."""
    for number in numbers:
        child.send_signal(number)
        time.sleep(0.05)
    output, _ = child.communicate(timeout=20)
    return child.returncode, output


def model_says(world: World, text: str) -> bool:
    return text in world.diagnostics("alpamayo/model").get("message", "")


def test_a_checkpoint_plans_answers_and_ends_cleanly(tmp_path, checkpoint):
    options = {"checkpoint": checkpoint, "autostart": True, "num_samples": 2, "seed": 3, "max_plan_age": 30.0}
    with graph(sim_time=True) as (corner, world), process(corner, tmp_path, **options) as child:
        wait_for(lambda: model_says(world, "loaded") or child.poll() is not None, "the model", timeout_s=90)
        wait_for(world.get_state.service_is_ready, "the node")
        wait_for(lambda: world.state() == "active", "activation")
        connected(world)
        world.drive(lambda: len(world.plans) >= 3, what="three plans", timeout_s=60)
        published = plan_from_msg(world.plans[0])
        plan = published.plan
        assert plan.num_samples == 2
        assert plan.seed == 3
        assert "random weights" in plan.model
        assert plan.times.total_ms > plan.times.vision_ms > 0
        assert np.isfinite(plan.xyz_in_rig_t0).all()
        assert all(plan.token_ids)
        # It drives at 5 m/s, and the model is told so by the history.
        assert np.abs(plan.speed_mps[:, 0] - 5.0).max() < 0.5
        wait_for(lambda: len(world.received["reasoning"]) >= 3, "reasoning")
        assert world.received["reasoning"][0].data == plan.reasoning[plan.chosen]

        world.instruction.publish(String(data="Turn left in 30m"))
        world.drive(lambda: world.plans[-1].instruction == "Turn left in 30m", what="it", timeout_s=60)
        response = world.call(world.ask, Ask.Request(question="What is ahead of the ego vehicle?"))
        assert response.success, response.message
        assert response.answer
        assert not world.call(world.ask, Ask.Request(question="What is <i7>?")).success

        code, output = end(child, signal.SIGINT, signal.SIGINT)
        assert code == 0, output
        assert "Traceback" not in output


def test_it_ends_cleanly_while_the_model_loads(tmp_path, checkpoint):
    with (
        graph(sim_time=True) as (corner, world),
        process(corner, tmp_path, checkpoint=checkpoint, autostart=True) as child,
    ):
        wait_for(lambda: model_says(world, "loading"), "loading", timeout_s=60)
        code, output = end(child, signal.SIGTERM)
        assert code == 0, output
        assert "Traceback" not in output


def test_a_checkpoint_that_is_not_there_is_an_error_and_no_end(tmp_path):
    options = {"checkpoint": tmp_path / "nothing", "autostart": True}
    with graph(sim_time=True) as (corner, world), process(corner, tmp_path, **options) as child:
        wait_for(lambda: model_says(world, "configure failed"), "the error", timeout_s=60)
        assert str(tmp_path / "nothing") in world.diagnostics("alpamayo/model")["message"]
        assert world.state() == "unconfigured"
        code, output = end(child, signal.SIGINT, signal.SIGINT)
        assert code == 0, output
        assert "configure failed" in output


def test_a_parameter_out_of_range_ends_the_process(tmp_path):
    with graph(sim_time=True) as (corner, _), process(corner, tmp_path, num_samples=0) as child:
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 2
        assert "parameter num_samples: expected integer 1 … 64" in output
