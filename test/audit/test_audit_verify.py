"""A drive through the real planner with an audit log, and what `alpamayo audit verify` says of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

from alpamayo_ros.audit.reader import read_log
from alpamayo_ros.audit.record import DecisionRecord, digest_of
from alpamayo_ros.audit.store import AuditFile
from alpamayo_ros.audit.verify import check_log, entries
from alpamayo_ros.cli.main import main
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A synthetic bag, a small checkpoint, and the log of a replay of the one through the other."""
    folder = tmp_path_factory.mktemp("audit")
    assert main(["bag", "synthetic", str(folder / "bag"), "--seconds", "4", "--size", "480x270"]) == 0
    write_random_checkpoint(folder / "checkpoint", size="tiny", seed=0)
    arguments = ["replay", str(folder / "bag"), "--checkpoint", str(folder / "checkpoint")]
    arguments += ["--out", str(folder / "out"), "--max-reasoning-tokens", "6", "--num-samples", "2"]
    arguments += ["--param", f"audit_log:={folder / 'log'}", "--device", "cpu"]
    assert main(arguments) == 0
    (log,) = (folder / "log").glob("*.mcap")
    return {"folder": folder, "bag": folder / "bag", "checkpoint": folder / "checkpoint", "log": log}


def verify(log: Path, *arguments: str | Path) -> int:
    return main(["audit", "verify", str(log), *map(str, arguments)])


def test_every_decision_comes_out_the_same_from_the_bag(driven, capsys) -> None:
    assert verify(driven["log"], "--bag", driven["bag"], "--every", "5") == 0
    said = capsys.readouterr().out
    assert "chain and verdicts are whole" in said and "closed in order" in said
    assert ", 0 not" in said and "DIFFERENT" not in said
    assert said.count("plan same") >= 2
    found = check_log(read_log(driven["log"]))
    assert found.judged >= 5 and found.lost == 0 and found.decisions.get("stop", 0) >= 1


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
    assert "gate: expected" in capsys.readouterr().out


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


def test_what_is_no_log_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "text.mcap").write_text("no log")
    assert verify(tmp_path / "text.mcap") == 2
    assert "expected an audit log" in capsys.readouterr().err
    shutil.rmtree(tmp_path)
