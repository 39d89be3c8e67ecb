"""A drive through the real planner with an audit log, and what `alpamayo audit verify` says of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_making import SPEED_MPS, T0_NS, plan, session, valid
from mcap.reader import make_reader

from alpamayo_ros.audit.decision import Outcome
from alpamayo_ros.audit.reader import read_log
from alpamayo_ros.audit.record import DecisionRecord, EventRecord, FrameHasher, digest_of, record_of
from alpamayo_ros.audit.replan import SAME, BagDecisions, Recomputed, Verdict, compare_plans, load_model
from alpamayo_ros.audit.store import AuditFile
from alpamayo_ros.audit.verify import check_log, entries, history_problem, session_of, weights_of
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.cli.main import main
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.safety.monitor import Agreement
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.sensing.rigid import compose, from_quaternion, rotation_from_rpy_deg


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A synthetic bag, a small checkpoint, and the log of a replay of the one through the other."""
    folder = tmp_path_factory.mktemp("audit")
    assert main(["bag", "synthetic", str(folder / "bag"), "--seconds", "4", "--size", "480x270"]) == 0
    write_random_checkpoint(folder / "checkpoint", size="tiny", seed=0)
    log = replay(folder, "exact")
    return {"folder": folder, "bag": folder / "bag", "checkpoint": folder / "checkpoint", "log": log}


def replay(folder: Path, name: str, *parameters: str) -> Path:
    """Replay `folder`'s bag through its checkpoint; return the log."""
    out = folder / name
    arguments = ["replay", str(folder / "bag"), "--checkpoint", str(folder / "checkpoint")]
    arguments += ["--out", str(out / "out"), "--max-reasoning-tokens", "6", "--num-samples", "2"]
    for parameter in (f"audit_log:={out / 'log'}", *parameters):
        arguments += ["--param", parameter]
    assert main([*arguments, "--device", "cpu"]) == 0
    (log,) = (out / "log").glob("*.mcap")
    return log


def verify(log: Path, *arguments: str | Path) -> int:
    return main(["audit", "verify", str(log), *map(str, arguments)])


def test_every_decision_comes_out_the_same_from_the_bag(driven, capsys) -> None:
    assert verify(driven["log"], "--bag", driven["bag"], "--every", "5") == 0
    said = capsys.readouterr().out
    assert "chain and verdicts are whole" in said and "closed in order" in said
    assert "DIFFERENT" not in said and "cannot be compared" not in said
    assert said.count("plan same") >= 2
    found = check_log(read_log(driven["log"]))
    assert found.judged >= 5 and found.lost == 0 and found.decisions.get("stop", 0) >= 1


@pytest.mark.long
@pytest.mark.parametrize(("name", "value"), [("fp8", "emulated"), ("read_ahead", True)])
def test_plans_that_round_otherwise_are_recomputed_by_such(driven, capsys, name, value) -> None:
    """The log says how the weights were held and prompts read: otherwise plans would differ."""
    log = replay(driven["folder"], name, f"{name}:={str(value).lower()}")
    assert getattr(session_of(read_log(log)).model, name) == value
    assert verify(log, "--bag", driven["bag"], "--every", "5") == 0
    said = capsys.readouterr().out
    assert said.count("plan same") >= 2 and "DIFFERENT" not in said


def test_the_decisions_are_shown(driven, capsys) -> None:
    assert main(["audit", "show", str(driven["log"])]) == 0
    assert "valid" in capsys.readouterr().out
    assert main(["audit", "show", str(driven["log"]), "--outcome", "stop"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines and all("stop" in line for line in lines)


def rewrite(log: Path, target: Path, change: Any) -> Path:
    """Write a log anew after `change(number, data) -> data or None`; the chain stays as it was."""
    from mcap.writer import Writer

    with log.open("rb") as source, target.open("wb") as file:
        writer = Writer(file, chunk_size=0)
        writer.start()
        channels: dict[str, int] = {}
        for number, (schema, channel, message) in enumerate(make_reader(source).iter_messages()):
            data = change(number, message.data)
            if data is None:
                continue
            if channel.topic not in channels:
                schema_id = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(channel.topic, "json", schema_id)
            writer.add_message(channels[channel.topic], message.log_time, data, message.publish_time)
        writer.finish()
    return target


def test_a_changed_record_is_found(driven, tmp_path, capsys) -> None:
    changed = rewrite(
        driven["log"],
        tmp_path / "changed.mcap",
        lambda number, data: data.replace(b'"engaged":false', b'"engaged":true') if number == 7 else data,
    )
    assert verify(changed) == 1
    assert "record 8: expected the hash" in capsys.readouterr().out


def test_a_record_that_was_taken_out_is_found(driven, tmp_path, capsys) -> None:
    shorter = rewrite(
        driven["log"], tmp_path / "shorter.mcap", lambda number, data: None if number == 9 else data
    )
    assert verify(shorter) == 1
    assert "records are missing" in capsys.readouterr().out


def test_a_log_that_was_forged_with_its_chain_contradicts_its_own_numbers(driven, tmp_path, capsys) -> None:
    """Whoever writes the whole chain anew is found by the verdicts: they follow from what is beside them."""
    content = read_log(driven["log"])
    forged = AuditFile(tmp_path / "forged.mcap", min_free_bytes=0)
    changed = 0
    for entry in entries(content):
        body = entry.body
        if (
            isinstance(body, DecisionRecord)
            and body.judgement is not None
            and body.plan is not None
            and not changed
        ):
            body.plan.xyz_in_rig_t0[:, :, 0] += 10.0
            changed += 1
        forged.append(body)
    forged.close()
    assert changed and digest_of(b"") != forged.head
    assert verify(tmp_path / "forged.mcap") == 1
    assert "gate: candidate 0: expected first_waypoint" in capsys.readouterr().out


def test_a_log_that_was_cut_off_is_whole_as_far_as_it_goes(driven, tmp_path, capsys) -> None:
    data = driven["log"].read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: len(data) * 2 // 3])
    assert verify(cut) == 0
    said = capsys.readouterr().out
    assert "not closed" in said and "chain and verdicts are whole" in said


def test_another_checkpoint_is_refused(driven, tmp_path, capsys) -> None:
    other = write_random_checkpoint(tmp_path / "other", size="tiny", seed=1)
    assert verify(driven["log"], "--bag", driven["bag"], "--checkpoint", other) == 2
    assert "another model" in capsys.readouterr().err


def test_other_pixels_in_the_bag_are_found(driven, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    assert main(["bag", "synthetic", str(other), "--seconds", "4", "--seed", "9", "--size", "480x270"]) == 0
    assert verify(driven["log"], "--bag", other, "--every", "20") == 1
    assert "DIFFERENT" in capsys.readouterr().out


def is_plan(body: object) -> bool:
    return isinstance(body, DecisionRecord) and body.observation is not None and body.plan is not None


def test_a_bag_that_lacks_the_frames_cannot_be_compared(driven, tmp_path, capsys) -> None:
    """Neither the same nor different: exit code 2, and which image is missing."""
    shorter = tmp_path / "shorter"
    last_ns = max(entry.body.t0_ns for entry in entries(read_log(driven["log"])) if is_plan(entry.body))
    with BagReader(driven["bag"]) as bag, BagWriter(shorter) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.type_name)
        for message in bag.messages(stop_ns=last_ns - 250_000_000):
            writer.write(message.topic, message.stamp_ns, message.data)
    assert verify(driven["log"], "--bag", shorter, "--decision", str(last_ns)) == 2
    said = capsys.readouterr().out
    assert "cannot be compared: " in said and "expected an image of" in said


def test_an_image_that_cannot_be_read_spoils_its_own_decisions_alone(driven, tmp_path, capsys) -> None:
    content = read_log(driven["log"])
    records = [entry.body for entry in entries(content) if is_plan(entry.body)]
    topics = set(session_of(content).camera_topics.values())
    with BagReader(driven["bag"]) as bag, BagWriter(tmp_path / "broken") as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.type_name)
        for message in bag.messages():
            if message.topic in topics and "Compressed" in bag.topics[message.topic].type_name:
                image = bag.decode(message)
                if image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == records[0].t0_ns:
                    image.data = image.data[: len(image.data) // 2]
                    writer.write_message(message.topic, message.stamp_ns, image)
                    continue
            writer.write(message.topic, message.stamp_ns, message.data)
    stamps = [str(record.t0_ns) for record in (records[0], records[-1])]
    assert verify(driven["log"], "--bag", tmp_path / "broken", "--decision", stamps[0]) == 2
    assert "got one that cannot be read (" in capsys.readouterr().out
    assert verify(driven["log"], "--bag", tmp_path / "broken", "--decision", stamps[1]) == 0


def with_imu(source: Path, target: Path, *, rig_frame: str, topic: str, place: Any, shift_m: float) -> None:
    """Write a bag anew with the odometry of a body `imu`; only /tf_static knows its `place`, if any."""
    from scipy.spatial.transform import Rotation

    known = np.eye(4) if place is None else place
    with BagReader(source) as bag, BagWriter(target) as writer:
        for each in bag.topics.values():
            writer.add_topic(each.name, each.type_name)
        if place is not None:
            writer.add_topic("/tf_static", "tf2_msgs/msg/TFMessage")
            types = writer.typestore.types
            x, y, z, w = Rotation.from_matrix(known[:3, :3]).as_quat()
            transform = types["geometry_msgs/msg/Transform"](
                translation=types["geometry_msgs/msg/Vector3"](*known[:3, 3]),
                rotation=types["geometry_msgs/msg/Quaternion"](x, y, z, w),
            )
            stamp = types["builtin_interfaces/msg/Time"](bag.start_ns // 10**9, 0)
            header = types["std_msgs/msg/Header"](stamp, rig_frame)
            stamped = types["geometry_msgs/msg/TransformStamped"](header, "imu", transform)
            writer.write_message("/tf_static", bag.start_ns, types["tf2_msgs/msg/TFMessage"]([stamped]))
        for message in bag.messages():
            if message.topic != topic:
                if message.topic != "/tf_static":
                    writer.write(message.topic, message.stamp_ns, message.data)
                continue
            odometry = bag.decode(message)
            p, q = odometry.pose.pose.position, odometry.pose.pose.orientation
            pose = from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w)) @ known
            p.x, p.y, p.z = (float(v) for v in pose[:3, 3])
            p.x += shift_m
            q.x, q.y, q.z, q.w = (float(v) for v in Rotation.from_matrix(pose[:3, :3]).as_quat())
            odometry.child_frame_id = "imu"
            writer.write_message(message.topic, message.stamp_ns, odometry)


def test_another_odometry_than_the_bags_is_found_wherever_its_body_sits(driven, tmp_path) -> None:
    """The body's place is told by /tf_static alone: the log has poses of the rig, the bag those of an IMU."""
    content = read_log(driven["log"])
    logged = session_of(content)
    record = next(entry.body for entry in entries(content) if is_plan(entry.body))
    assert isinstance(record, DecisionRecord)
    model, doubt = load_model(logged, weights_of(content))
    assert doubt == ""

    def recompute(name: str, place: Any, shift_m: float = 0.0) -> Recomputed:
        odometry = {"rig_frame": logged.rig_frame, "topic": logged.odometry_topic}
        with_imu(driven["bag"], tmp_path / name, place=place, shift_m=shift_m, **odometry)
        with BagReader(tmp_path / name) as bag:
            return BagDecisions(logged, bag, model=model).recompute(record)

    rig_from_imu = compose(rotation_from_rpy_deg((3.0, -2.0, 90.0)), np.array([0.3, -0.1, 0.9]))
    try:
        assert recompute("imu", rig_from_imu).verdict is Verdict.SAME
        moved = recompute("moved", rig_from_imu, 1e-3)
        nowhere = recompute("nowhere", None)
    finally:
        model.close()
    assert moved.history.verdict is Verdict.DIFFERENT and "by 0.001" in moved.history.detail
    assert moved.frames == moved.plan == SAME
    assert nowhere.verdict is Verdict.UNKNOWN and "expected the place of imu" in nowhere.history.detail


def test_waypoints_may_differ_where_bits_do_not_repeat_and_tokens_never() -> None:
    logged = plan(T0_NS)
    assert compare_plans(logged, plan(T0_NS)) == SAME
    xyz = logged.xyz_in_rig_t0.copy()
    xyz[0, -1, 1] += 0.01
    near = replace(logged, xyz_in_rig_t0=xyz)
    assert compare_plans(logged, near).verdict is Verdict.DIFFERENT
    found = compare_plans(logged, near, tolerance_m=0.05)
    assert found.verdict is Verdict.CLOSE and "0.01 m" in found.detail
    said = replace(logged, token_ids=((1, 2, 4),))
    assert compare_plans(logged, said, tolerance_m=0.05).verdict is Verdict.DIFFERENT
    broken = replace(logged, accel_mps2=np.full_like(logged.accel_mps2, np.nan))
    assert compare_plans(broken, broken) == SAME


def test_what_was_lost_is_not_taken_for_a_forgery(tmp_path) -> None:
    """Whether a nudge is contradicted hangs on since when it has been announced, which the log has lost."""
    supervisor, decisions = Supervisor(), []
    for number in range(30):
        decision = valid(number)
        assert decision.observation is not None
        nudge = plan(decision.observation.t0_ns, reasoning="Nudge to the left to pass the parked car.")
        nudge.xyz_in_rig_t0[0, :, 1] = -0.75 * (1 - np.cos(np.pi * np.arange(1, 65) / 64))  # to the right
        judgement = supervisor.judge(
            nudge, decision.observation, odometry_speed_mps=SPEED_MPS, now_ns=decision.decided_ns
        )
        kind = Outcome.VALID if judgement.drives else Outcome.WAITING
        decisions.append(replace(decision, outcome=kind, judgement=judgement, plan=None, arbiter=None))
    verdicts = [d.judgement.monitor.agreement for d in decisions]
    assert verdicts[0] is Agreement.CONTRADICTS and verdicts[-1] is Agreement.SILENT
    hasher = FrameHasher()
    for name, lost in (("lost", True), ("taken_out", False)):
        file = AuditFile(tmp_path / f"{name}.mcap", min_free_bytes=0)
        file.append(session())
        for number, decision in enumerate(decisions):
            if number == 10 and lost:
                file.append(EventRecord("lost", decision.decided_ns, {"count": 24}))
            if not 0 < number < 25:
                file.append(record_of(decision, hasher))
        file.close()
        found = check_log(read_log(file.path))
        assert found.lost == (24 if lost else 0)
        assert bool(found.problems) is not lost, found.problems


def test_a_history_that_does_not_follow_from_its_odometry_is_found(tmp_path) -> None:
    decision = valid(0)
    record = record_of(decision, FrameHasher())
    assert history_problem(record) == ""
    assert record.odometry is not None
    record.odometry.odom_from_rig[3, 0, 3] += 1e-3
    file = AuditFile(tmp_path / "forged.mcap", min_free_bytes=0)
    file.append(session())
    file.append(record)
    file.close()
    (problem,) = check_log(read_log(file.path)).problems
    assert (
        "history_xyz_in_rig_t0: expected what the odometry beside it gives, got one that is 0.000" in problem
    )


def test_what_is_no_log_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "text.mcap").write_text("no log")
    assert verify(tmp_path / "text.mcap") == 2
    assert "expected an audit log" in capsys.readouterr().err
    shutil.rmtree(tmp_path)
