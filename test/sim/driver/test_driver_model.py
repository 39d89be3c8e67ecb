"""A driver around Alpamayo's own model: its prompts, its seeds, AlpaSim's recorded session driven by it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from driver_factory import Drive, RecordedStep, recorded_session, sim_rig

from alpamayo_ros.model.checkpoint import CheckpointError
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.model.serving import AlpamayoPlanners, OutOfMemory, load_planners, standing_observation
from alpamayo_ros.sim.asl_score import read_log, score_log
from alpamayo_ros.sim.driver.driver import Driver
from alpamayo_ros.sim.driver.server import serve_driver
from alpamayo_ros.sim.protocol.asl import read_entries, write_entries
from alpamayo_ros.sim.protocol.channel import Connection
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER, EgodriverClient
from alpamayo_ros.sim.protocol.egodriver_messages import DriveAnswer, DriveSession, answer_message
from alpamayo_ros.types import InvalidInput, Observation, PlanOptions

CAMERAS = (0, 1, 2, 6)
NAMES = ("alpamayo1_5", "alpamayo_r1")
OPTIONS = PlanOptions(num_samples=6, max_reasoning_tokens=12, flow_steps=4)
Recorded = tuple[DriveSession, list[RecordedStep]]


@functools.cache
def load(folder: Path, options: PlanOptions = OPTIONS) -> AlpamayoPlanners:
    return load_planners(
        str(folder / "checkpoint"), options, backbone=str(folder / "backbone"), device="cpu", cpu_threads=1
    )


@pytest.fixture(params=NAMES)
def planners(request: pytest.FixtureRequest, golden_dir: Path) -> AlpamayoPlanners:
    return load(golden_dir / request.param)


@pytest.fixture(scope="module")
def recorded(golden_dir: Path) -> Recorded:
    return recorded_session(golden_dir / "alpasim" / "rollout.asl")


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What any model is prompted with, as text."""
    from alpamayo_ros.model.prompt import PromptBuilder

    told: list[str] = []
    planning = PromptBuilder.planning

    def listen(self: PromptBuilder, *args: object, **kwargs: object) -> Prompt:
        prompt = planning(self, *args, **kwargs)  # type: ignore[arg-type]
        told.append(self._tokenizer.decode(prompt.fused_ids))
        return prompt

    monkeypatch.setattr(PromptBuilder, "planning", listen)
    return told


def drive_recorded(
    planners: AlpamayoPlanners, recorded: Recorded, *, sessions: int = 1, steps: slice = slice(None)
) -> list[list[DriveAnswer]]:
    """Return a session's answers over gRPC, of as many at once as asked for."""
    session, told = recorded
    driver = Driver(planners, sim_rig())
    with serve_driver(driver, port=0) as server, ThreadPoolExecutor(sessions) as pool:

        def one(index: int) -> list[DriveAnswer]:
            uuid = f"{index:08x}"
            with Connection(server.address, service=EGODRIVER) as connection:
                client = EgodriverClient(connection)
                client.start_session(replace(session, session_uuid=uuid))
                answers = [
                    client.step(
                        uuid,
                        step.now_us,
                        frames=step.frames,
                        egomotion=step.egomotion,
                        route=step.route,
                        query_us=step.query_us,
                    )
                    for step in told[steps]
                ]
                client.close_session(uuid)
                client.close()
                return answers

        return list(pool.map(one, range(sessions)))


def as_bytes(answers: list[DriveAnswer]) -> list[bytes]:
    return [answer_message(answer).SerializeToString(deterministic=True) for answer in answers]


def info(answer: DriveAnswer) -> dict[str, object]:
    return dict(json.loads(answer.debug_info))


def test_the_prompt_carries_the_routes_text_where_the_model_knows_any(
    planners: AlpamayoPlanners, recorded: Recorded, prompts: list[str]
) -> None:
    (answers,) = drive_recorded(planners, recorded, steps=slice(0, 15))
    planned = [
        info(answer) for answer in answers if "model" in info(answer) or info(answer)["source"] == "stop"
    ]
    assert len(prompts) == len(planned) == 2, "for the 0.2 s of history that there is, 13 steps later"
    text = "<|route_start|>Continue straight<|route_end|>"
    assert [text in prompt for prompt in prompts] == [planners.takes_instruction] * 2
    assert planners.takes_instruction or not any("straight" in prompt for prompt in prompts)
    assert all(len(answer.samples) == 6 for answer in answers[13:])
    for answer, step in zip(answers, recorded[1], strict=False):
        for stamps_us, poses in answer.samples:
            assert stamps_us[-1] - step.now_us == 6_400_000 and len(stamps_us) == 65
            np.testing.assert_allclose(poses[0], answer.trajectory[1][0])


def test_sessions_at_once_get_what_each_gets_alone(planners: AlpamayoPlanners, recorded: Recorded) -> None:
    steps = slice(0, 16)
    (alone,) = drive_recorded(planners, recorded, steps=steps)
    together = drive_recorded(planners, recorded, sessions=2, steps=steps)
    assert [as_bytes(each) for each in together] == [as_bytes(alone)] * 2


@pytest.mark.long
def test_four_whole_sessions_at_once_get_what_each_gets_alone(
    planners: AlpamayoPlanners, recorded: Recorded
) -> None:
    (alone,) = drive_recorded(planners, recorded)
    together = drive_recorded(planners, recorded, sessions=4)
    assert [as_bytes(each) for each in together] == [as_bytes(alone)] * 4


def test_min_ade_can_be_had_from_a_log_of_our_answers(
    golden_dir: Path, recorded: Recorded, tmp_path: Path
) -> None:
    (answers,) = drive_recorded(load(golden_dir / "alpamayo_r1"), recorded)
    log, left = tmp_path / "rollout.asl", iter(answers)
    entries = list(read_entries(golden_dir / "alpasim" / "rollout.asl"))
    for entry in entries:
        if entry.WhichOneof("log_entry") == "driver_return":
            entry.driver_return.CopyFrom(answer_message(next(left)))
    write_entries(log, entries)
    metrics, rollout = score_log(log).metrics, read_log(log)
    wanted = []
    for answer in answers:
        now_us = int(answer.trajectory[0][0])
        ahead_us = now_us + 100_000 * np.arange(1, 6)
        if info(answer)["source"] != "plan" or now_us < rollout.handover_us:
            continue
        if ahead_us[-1] > rollout.stamps_us[-1]:
            continue
        driven = rollout.reference_at(ahead_us)[:, :2]
        at = [np.searchsorted(stamps_us, ahead_us) for stamps_us, _ in answer.samples]
        off = [
            np.linalg.norm(
                poses[rows, :2, 3] + rollout.box_ahead_of_rig_m * poses[rows, :2, 0] - driven, axis=1
            ).mean()
            for rows, (_, poses) in zip(at, answer.samples, strict=True)
        ]
        wanted.append(min(off))
    assert len(wanted) > 5
    assert metrics["min_ade@0.5s"] == pytest.approx(np.mean(wanted), abs=1e-4)
    assert metrics["min_ade@1s"] is not None and metrics["min_ade@1s"] > metrics["min_ade@0.5s"] > 0.0


@pytest.fixture
def standing() -> Observation:
    return standing_observation(CAMERAS, np.zeros((3, 64, 96), np.uint8))


def test_a_plan_is_drawn_from_the_sessions_seed_and_t0_alone(golden_dir: Path, standing: Observation) -> None:
    planners = load(golden_dir / "alpamayo_r1", replace(OPTIONS, num_samples=1))
    first, again, other = (planners.start(None, seed=seed) for seed in (2**64 - 1, 2**64 - 1, 5))
    later = replace(standing, t0_ns=standing.t0_ns + 1, frame_stamps_ns=standing.frame_stamps_ns + 1)
    moved = first.plan(later)
    plan = first.plan(standing)
    np.testing.assert_array_equal(plan.xyz_in_rig_t0, again.plan(standing).xyz_in_rig_t0)
    assert len({plan.seed, moved.seed, other.plan(standing).seed}) == 3
    assert 0 <= plan.seed < 2**63


def test_warming_up_plans_with_and_without_a_text(planners: AlpamayoPlanners, prompts: list[str]) -> None:
    planners.warm_up(CAMERAS)
    texts = ["<|route_start|>" in prompt for prompt in prompts]
    assert texts == ([False, True] if planners.takes_instruction else [False])


def test_guidance_is_for_observations_with_a_text(golden_dir: Path, standing: Observation) -> None:
    plain = replace(OPTIONS, num_samples=1)
    free = load(golden_dir / "alpamayo1_5", plain)
    guided = load(golden_dir / "alpamayo1_5", replace(plain, guidance_weight=2.0))
    told = replace(standing, instruction="Turn left in 30m")

    def path(planners: AlpamayoPlanners, observation: Observation) -> np.ndarray:
        return planners.plan(observation, seed=3).xyz_in_rig_t0

    np.testing.assert_array_equal(path(guided, standing), path(free, standing))
    assert not np.array_equal(path(guided, told), path(free, told))


@pytest.fixture
def no_room(
    golden_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[AlpamayoPlanners, list[int]]]:
    """R1's planners, whose model finds no room for the plans that are numbered in the list."""
    planners = load(golden_dir / "alpamayo_r1", replace(OPTIONS, num_samples=1))
    plan, without_room, made = planners._model.plan, list[int](), 0

    def plan_or_not(*args: object, **kwargs: object) -> object:
        nonlocal made
        made += 1
        if made in without_room:
            torch.empty(2**60, dtype=torch.uint8)  # the allocator's own error
        return plan(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(planners._model, "plan", plan_or_not)
    yield planners, without_room


def test_where_there_is_no_room_for_a_plan_the_error_says_so(
    no_room: tuple[AlpamayoPlanners, list[int]], standing: Observation
) -> None:
    planners, without_room = no_room
    without_room.append(1)
    with pytest.raises(OutOfMemory, match=r"cpu: no room for 1 samples: .*can't allocate memory"):
        planners.plan(standing, seed=1)
    assert planners.plan(standing, seed=1).num_samples == 1


def test_a_plan_without_room_is_counted_and_the_next_one_made(
    no_room: tuple[AlpamayoPlanners, list[int]],
) -> None:
    planners, without_room = no_room
    without_room.append(2)
    drive = Drive(planners=planners)
    told = [info(drive.step()) for _ in range(6)]
    assert "OutOfMemory: cpu: no room" in str(told[4]["reason"])
    assert drive.driver.statistics.snapshot().refused["inference_error"] == 1
    assert "OutOfMemory" not in str(told[5]["reason"])
    drive.close()


def test_what_cannot_be_loaded_is_told(golden_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="checkpoint: expected a folder or a hub id, got ''"):
        load_planners("", OPTIONS)
    with pytest.raises(CheckpointError):
        load_planners(str(tmp_path), OPTIONS, device="cpu")
    with pytest.raises(InvalidInput, match="guidance_weight: expected a model with navigation"):
        load(golden_dir / "alpamayo_r1", replace(OPTIONS, guidance_weight=1.5))
