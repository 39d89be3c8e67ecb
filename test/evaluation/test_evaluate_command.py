"""`alpamayo evaluate` from the command line: a real model, recorded plans, and all that it refuses."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_factory import rig_file, small_rig, write_small_bag

from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.cli.evaluate_checkpoint import CheckpointPolicy, seed_of
from alpamayo_ros.cli.main import main
from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
from alpamayo_ros.evaluation.plan_store import PlanStore
from alpamayo_ros.evaluation.run import read_evaluation
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.types import PlanOptions

PLAN_TYPE, PLANS = "alpamayo_ros/msg/Plan", "/alpamayo/plan"


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bag(tmp_path_factory.mktemp("bag") / "drive", seconds=10.0)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rig_file(tmp_path_factory.mktemp("rig") / "one.yaml")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_random_checkpoint(folder, generation="alpamayo1_5", size="tiny")
    (folder / "plan_options.json").write_text('{"flow_steps": 2, "max_reasoning_tokens": 4}')
    return folder


@pytest.fixture(scope="module")
def planned(bag: Path, rig: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planned") / "run"
    command = ["evaluate", str(bag), "--rig", str(rig), "--checkpoint", str(checkpoint), "--out", str(out)]
    assert main([*command, "--samples", "2", "--every", "1", "--worst", "1", "--threads", "1"]) == 0
    return out


def copy_with_plans(source: Path, target: Path, store: PlanStore, *, statuses: list[int]) -> None:
    """Write a bag with the odometry of another and plans as the stack would publish them."""
    with BagReader(source) as bag, BagWriter(target) as writer:
        for topic in ("/odom", "/tf_static"):
            writer.add_topic(topic, bag.topics[topic].type_name)
        writer.add_topic(PLANS, PLAN_TYPE)
        for message in bag.messages(["/odom", "/tf_static"]):
            writer.write(message.topic, message.stamp_ns, message.data)
        types = bag.typestore.types
        for status, (plan, instruction, _) in zip(statuses, store.plans(), strict=False):
            stamp = types["builtin_interfaces/msg/Time"](plan.t0_ns // 10**9, plan.t0_ns % 10**9)
            writer.write_message(
                PLANS, plan.t0_ns + 80_000_000, message_of(types, plan, status, instruction, stamp)
            )
        # Three that are no plans of the model: of an instant that is taken, without candidates, of no length.
        first, instruction, _ = next(store.plans())
        stamp = types["builtin_interfaces/msg/Time"](first.t0_ns // 10**9, first.t0_ns % 10**9)
        later = types["builtin_interfaces/msg/Time"](first.t0_ns // 10**9, first.t0_ns % 10**9 + 1)
        again, empty, flat = (message_of(types, first, 2, instruction, at) for at in (stamp, later, later))
        empty.candidates.clear()
        flat.candidates[0].waypoints[3].pose.orientation.w = 5.0
        for message in (again, empty, flat):
            writer.write_message(PLANS, first.t0_ns + 90_000_000, message)


def message_of(types, plan, status: int, instruction: str, stamp):  # type: ignore[no-untyped-def]
    from scipy.spatial.transform import Rotation

    def make(name: str, *values: object):  # type: ignore[no-untyped-def]
        return types[name](*values)

    def pose(xyz, rotation):  # type: ignore[no-untyped-def]
        point = make("geometry_msgs/msg/Point", *map(float, xyz))
        q = Rotation.from_matrix(np.asarray(rotation, np.float64)).as_quat()
        return make("geometry_msgs/msg/Pose", point, make("geometry_msgs/msg/Quaternion", *map(float, q)))

    zero = make("builtin_interfaces/msg/Duration", 0, 0)
    candidates = [
        make(
            "alpamayo_ros/msg/PlanCandidate",
            [
                make(
                    "alpamayo_ros/msg/PlanWaypoint",
                    pose(plan.xyz_in_rig_t0[k, i], plan.rot_in_rig_t0[k, i]),
                    zero,
                    float(plan.speed_mps[k, i + 1]),
                    float(plan.accel_mps2[k, i]),
                    float(plan.curvature_per_m[k, i]),
                )
                for i in range(64)
            ],
            float(plan.speed_mps[k, 0]),
            plan.normalised_action[k].reshape(-1),
            plan.reasoning[k],
            plan.reasoning_complete[k],
            "",
            "",
            "",
            "",
            plan.meta_action[k],
            np.array(plan.token_ids[k], np.int32),
        )
        for k in range(plan.num_samples)
    ]
    times = make("alpamayo_ros/msg/StageTimes", 0.0, 1.0, 2.0, 3.0, 4.0, 10.0, 5)
    return make(
        PLAN_TYPE,
        make("std_msgs/msg/Header", stamp, "base_link"),
        "odom",
        pose((0, 0, 0), np.eye(3)),
        status,
        "",
        False,
        stamp,
        [],
        0,
        "",
        candidates,
        plan.chosen,
        plan.reasoning[plan.chosen],
        plan.meta_action[plan.chosen],
        stamp,
        instruction,
        "tiny",
        plan.seed,
        times,
    )


def test_a_checkpoint_plans_offline(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, rows = read_evaluation(planned)
    mine = [row for row in rows if row.planner == "policy"]
    assert content["about"]["name"] == "tiny" and "RANDOM" in content["about"]["notice"]
    assert content["about"]["plan_options"]["flow_steps"] == 2  # as its plan_options.json recommends
    assert content["counts"]["candidates"] == {"2": len(mine)} and len(mine) >= 6
    assert content["reasoning"]["texts"] == len(mine)
    plans = list(PlanStore(planned / "plans" / "drive.jsonl").plans())
    assert [plan.seed for plan, _, _ in plans] == [seed_of(0, plan.t0_ns) for plan, _, _ in plans]
    assert "RANDOM" in (planned / "report.html").read_text()


def test_a_process_loads_a_checkpoint_once(checkpoint: Path) -> None:
    policy = CheckpointPolicy(CheckpointSource(str(checkpoint)), PlanOptions())
    first, second = (pickle.loads(pickle.dumps(policy)) for _ in range(2))
    assert first.prepare_frame() is not None and first.prepare_frame() == second.prepare_frame()
    other = replace(policy, source=CheckpointSource(str(checkpoint), device="cpu"))
    assert other.prepare_frame() != first.prepare_frame()  # another model: their preparations are bound to it


def test_recorded_plans_are_judged_as_those_made_here(
    bag: Path, rig: Path, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "drive"
    store = PlanStore(planned / "plans" / "drive.jsonl")
    copy_with_plans(bag, recorded, store, statuses=[2, 4, 3, *[2] * 20])
    out = tmp_path / "run"
    assert main(["evaluate", str(recorded), "--rig", str(rig), "--all", "--out", str(out)]) == 0
    content, rows = read_evaluation(out)
    assert content["settings"]["mode"] == "recorded"
    left_out = content["bags"][0]["left_out"]
    assert left_out["a stop in the place of a plan"] == left_out["a second plan of the same t0"] == 1
    assert left_out["a plan that cannot be read (candidates)"] == 1
    assert left_out["a plan that cannot be read (waypoints)"] == 1
    assert content["bags"][0]["status"]["rejected"] == 1
    assert content["latency_ms"]["publish"]["p50"] == 80.0 and content["latency_ms"]["denoise"]["p99"] == 4.0
    _, made = read_evaluation(planned)
    expected = {row.t0_ns: row for row in made if row.planner == "policy"}
    mine = [row for row in rows if row.planner == "policy"]
    assert len(mine) == len(expected) - 1
    for row in mine:
        for name in ("ade@1s", "min_ade@6.4s", "lateral_m@3s", "heading_deg@1s", "jerk_mps3"):
            value = expected[row.t0_ns].values[name]
            assert row.values[name] == (value if value is None else pytest.approx(value, abs=2e-3, rel=1e-3))
        assert row.said is not None and row.said.text == expected[row.t0_ns].said.text  # type: ignore[union-attr]
    assert "These plans were recorded" in (out / "report.html").read_text()
    assert main(["evaluate", str(recorded), str(bag), "--rig", str(rig), "--out", str(tmp_path / "b")]) == 2
    assert "two of the name drive" in capsys.readouterr().err
    assert (
        main(["evaluate", str(recorded), "--rig", str(rig), "--plans", "/x", "--out", str(tmp_path / "b")])
        == 2
    )
    assert "expected plans on /x in bag drive, got /alpamayo/plan" in capsys.readouterr().err


def test_comparing_with_an_earlier_run(
    bag: Path, rig: Path, planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(bag), "--rig", str(rig), "--every", "1", "--no-report"]
    out = tmp_path / "run"
    assert main([*command, "--out", str(out), "--start", "0.05", "--compare", str(tmp_path)]) == 2
    assert "expected a finished evaluation" in capsys.readouterr().err
    assert not out.exists()
    earlier = tmp_path / "earlier"
    assert main([*command, "--out", str(earlier)]) == 0
    assert main([*command, "--out", str(out), "--miss", "1", "--compare", str(earlier)]) == 0
    compared = json.loads((out / "comparison.json").read_text())
    assert compared["figures"]["ade@1s"]["difference"]["value"] == 0.0
    assert compared["figures"]["miss@3s"]["difference"]["value"] >= 0.0
    assert not (out / "report.html").exists()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 2
    error = capsys.readouterr().err.strip()
    lines = [line for line in error.splitlines() if not line.startswith("The bags hold no plans")]
    assert len(lines) == 1 and lines[0].startswith("alpamayo evaluate: "), error
    return lines[0]


def test_what_cannot_be_evaluated_is_refused_in_one_line(
    bag: Path, rig: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    common = ("--out", out)
    blind = tmp_path / "blind"
    with BagReader(bag) as source, BagWriter(blind) as writer:
        writer.add_topic("/odom", source.topics["/odom"].type_name)
        for message in source.messages(["/odom"]):
            writer.write(message.topic, message.stamp_ns, message.data)
    deaf = tmp_path / "deaf"
    camera = small_rig().cameras[0].topic
    with BagReader(bag) as source, BagWriter(deaf) as writer:
        writer.add_topic(camera, source.topics[camera].type_name)
        for message in source.messages([camera]):
            writer.write(message.topic, message.stamp_ns, message.data)
    (tmp_path / "damaged.mcap").write_bytes(b"\x89MCAP0\r\n" + bytes(100))
    plan = ("--checkpoint", checkpoint)
    for arguments, message in (
        ((deaf, "--rig", rig), "expected odometry on /odom, got none at all"),
        ((blind, "--rig", rig, *plan), "expected the rig's topics, got no /camera/front_wide"),
        ((bag, "--rig", "kitti", *plan), "expected the rig's topics, got no /camera/gray_left"),
        ((bag, "--rig", "nobody"), "nobody"),
        ((bag, "--rig", rig, "--duration", "1"), "in the part that is looked at, got a drive of 10.0 s"),
        ((bag, "--rig", rig, "--start", "9.5"), "expected at least 2.5 s of odometry"),
        ((bag, "--rig", rig, "--odometry", "/other"), "expected odometry on /other, got that on /odom"),
        ((tmp_path / "damaged.mcap", "--rig", rig), "damaged.mcap: expected"),
        ((tmp_path / "missing", "--rig", rig), "no such file or folder"),
        ((bag, bag, "--rig", rig), "two of the name drive"),
        (
            (bag, "--rig", rig, "--checkpoint", tmp_path / "none"),
            "--checkpoint: expected a checkpoint's folder",
        ),
        ((bag, "--rig", rig, "--samples", "3"), "--samples: expected --checkpoint beside it"),
        ((bag, "--rig", rig, *plan, "--plans", "/a"), "--plans: expected no --checkpoint"),
        ((bag, "--rig", rig, *plan, "--samples", "0"), "num_samples: expected at least 1"),
        (
            (bag, "--rig", rig, *plan, "--samples", "2", "--plan-options", "num_samples=3"),
            "got both",
        ),
        ((bag, "--rig", rig, "--hz", "0"), "hz: expected over 0"),
        ((bag, "--rig", rig, "--every", "0"), "--every: expected over 0"),
        ((bag, "--rig", rig, "--jobs", "0"), "jobs: expected at least 1"),
        ((bag, "--rig", rig, "--worst", "-1"), "--worst: expected zero or more"),
    ):
        assert message in refusal(capsys, *arguments, *common), arguments
        assert not out.exists(), arguments
