"""Scores that are driven once, gone on with, and compared in pairs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from alpamayo_ros.cli.main import main
from alpamayo_ros.sim.planner_sources import ConstantSource
from alpamayo_ros.sim.scoring import RolloutScore
from alpamayo_ros.sim.scoring.aggregate import mean_with_interval
from alpamayo_ros.sim.scoring.score import METRICS
from alpamayo_ros.sim.workers import Outcome, RunOptions, write_outcome
from alpamayo_ros.training.closed_loop import checkpoint_identity, compare, evaluate, read_score
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Looking(ConstantSource):
    """Asks for pictures, so that it cannot drive without a renderer."""

    camera_ids: ClassVar[tuple[int, ...]] = (1,)


def score(scene: int, value: float | None, *, collision: float | None = 0.0, index: int = 0) -> RolloutScore:
    metrics = dict.fromkeys(METRICS)
    return RolloutScore(
        scene_id=f"straight-{scene}",
        family="straight",
        rollout_index=index,
        planner="p",
        end_reason="goal",
        scene_score=value,
        metrics={**metrics, "collision_at_fault": collision},
    )


def test_differences_are_paired_by_rollout_not_by_order() -> None:
    before = [score(0, 0.2), score(1, 0.9)]
    after = [score(1, 1.0), score(0, 0.3)]
    found = compare(before, after)["scene_score"]
    assert found.mean == pytest.approx(0.1) and found.n == 2
    # The same gain in every scene: no spread, however different the scenes are.
    assert found.ci95 == pytest.approx((0.1, 0.1)) and found.excludes_zero


def test_a_gain_in_some_scenes_and_a_loss_in_others_proves_nothing() -> None:
    before = [score(i, 0.5) for i in range(10)]
    after = [score(i, 0.5 + (0.3 if i % 2 else -0.3)) for i in range(10)]
    found = compare(before, after)["scene_score"]
    assert found.mean == pytest.approx(0.0) and not found.excludes_zero
    assert found.ci95 is not None and found.ci95[0] < 0 < found.ci95[1]


def test_rollouts_of_a_scene_stay_together() -> None:
    """Many rollouts of two scenes are no more proof than the two scenes."""
    before = [score(scene, 0.5, index=i) for scene in (0, 1) for i in range(20)]
    after = [score(scene, 0.5 + (0.3, -0.1)[scene], index=i) for scene in (0, 1) for i in range(20)]
    found = compare(before, after)["scene_score"]
    assert found.n == 40 and found.mean == pytest.approx(0.1) and not found.excludes_zero


def test_what_is_unknown_on_one_side_is_left_out() -> None:
    before = [
        score(0, 0.5, collision=1.0),
        score(1, None, collision=None),
        replace(score(2, 0.1), scored=False),
    ]
    after = [score(0, 0.7, collision=0.0), score(1, 1.0), score(2, 1.0)]
    found = compare(before, after)
    assert (found["scene_score"].n, found["scene_score"].mean) == (1, pytest.approx(0.2))
    assert (found["collision_at_fault"].n, found["collision_at_fault"].mean) == (1, pytest.approx(-1.0))
    assert found["offroad"].mean is None and not found["offroad"].excludes_zero
    assert str(found["offroad"]) == "unknown"


def test_other_rollouts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="compare: expected scores of the same rollouts"):
        compare([score(0, 0.5)], [score(1, 0.5)])
    with pytest.raises(InvalidInput, match="got 0 and 0"):
        compare([], [])


@pytest.mark.long
def test_a_folder_goes_on_where_it_stopped_and_is_one_planners(tmp_path: Path) -> None:
    both = RunOptions(scene_ids=("straight-180", "curve-181"), out=tmp_path)
    driven: list[Outcome] = []
    first = evaluate(
        replace(both, scene_ids=both.scene_ids[:1]), ConstantSource(), identity="a", progress=driven.append
    )
    scores = evaluate(both, ConstantSource(), identity="a", progress=driven.append)
    assert [outcome.job.scene_id for outcome in driven] == list(both.scene_ids)
    assert scores[0] == first[0] and [each.scene_id for each in scores] == list(both.scene_ids)
    assert mean_with_interval(scores, [each.scene_score for each in scores])["n"] == 2
    # One that was cut short is driven again, and comes out the same.
    path = tmp_path / "rollouts" / "straight-180" / "score.json"
    path.write_text(
        path.read_text("utf-8").replace('"end_reason": "', '"end_reason": "interrupted", "was": "')
    )
    assert evaluate(both, ConstantSource(), identity="a", progress=driven.append) == scores
    assert driven[-1].job.scene_id == "straight-180" and len(driven) == 3
    with pytest.raises(InvalidInput, match=r"expected scores of .*'b'.* got a folder of .*'a'"):
        evaluate(both, ConstantSource(), identity="b")


def test_what_is_scored_is_not_driven_again(tmp_path: Path) -> None:
    options = RunOptions(scene_ids=("straight-180",), out=tmp_path / "scores")
    with pytest.raises(InvalidInput):  # an address that is none: nothing is driven, the folder is begun
        evaluate(replace(options, renderer="nowhere"), Looking(), identity="a")
    job = options.work[0]
    write_outcome(options.out, job, score(180, 0.25))
    (scores,) = [evaluate(options, Looking(), identity="a")]
    assert scores == (score(180, 0.25),)
    written = json.loads((options.out / "scores.json").read_text("utf-8"))
    assert written["of"] == "a" and written["scene_score"]["mean"] == 0.25


def test_a_folder_of_other_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rollouts").mkdir()
    with pytest.raises(InvalidInput, match="expected a new folder"):
        evaluate(RunOptions(scene_ids=("straight-180",), out=tmp_path), ConstantSource(), identity="a")


def test_what_is_no_score_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "score.json"
    for content in ("", "[]", "{}"):
        path.write_text(content)
        with pytest.raises(InvalidInput, match="expected a rollout's score"):
            read_score(path)


def test_a_checkpoints_identity_is_its_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert checkpoint_identity(one) == checkpoint_identity(two)
    (tmp_path / "two" / "model.safetensors").write_bytes(b"others")
    assert checkpoint_identity(one) != checkpoint_identity(two)
    assert checkpoint_identity("nvidia/Alpamayo-1.5-10B") == "nvidia/Alpamayo-1.5-10B"
    (tmp_path / "two" / "config.json").unlink()
    with pytest.raises(InvalidInput, match=r"expected a checkpoint's folder with config\.json"):
        checkpoint_identity(two)


@pytest.mark.long
def test_the_command_compares_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "evaluate", "constant", "--baseline", "expert", "--scenarios", "curve-181"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    written = json.loads((tmp_path / "comparison.json").read_text("utf-8"))
    assert written["difference"]["scene_score"]["n"] == 1
    assert written["difference"]["scene_score"]["mean"] < 0  # straight on in a bend
    assert main([*command, "--out", str(tmp_path)]) == 0
    again = capsys.readouterr().out
    # The same figures, nothing driven.
    assert again.splitlines() == [line for line in first.splitlines() if "curve-181" not in line]
    assert "curve-181" in first
    swapped = [*command[:2], "expert", *command[3:]]
    assert main([*swapped, "--out", str(tmp_path)]) == 2
    assert "expected scores of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([], "a checkpoint's folder with config.json or a hub id"),
        (["--scenarios", "moon"], "scenarios: expected all"),
        (["--rollouts", "0"], "rollouts: expected at least 1"),
        (["--renderer", "nowhere"], "--renderer: expected"),
    ],
)
def test_the_command_refuses_before_it_does_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[str], says: str
) -> None:
    planner = "constant" if changes else "nowhere"
    assert main(["train", "evaluate", planner, "--out", str(tmp_path / "out"), *changes]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
