"""What rollouts over topics leave behind, on disk and on the console."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alpamayo_ros.ros.sim_rollout import TopicRollout
from alpamayo_ros.sim.asl_log import RenderExchange, write_asl
from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.sim.record import RolloutRecord
from alpamayo_ros.sim.recorded_world import FAMILY
from alpamayo_ros.sim.rollout_driver import Job
from alpamayo_ros.sim.scene import STEP_US, family_and_seed
from alpamayo_ros.sim.scoring import RolloutScore, aggregate, score_rollout
from alpamayo_ros.types import InvalidInput


class ResultsFolder:
    """Keeps rollouts as `alpamayo sim` does: scores.json and rollouts/SCENE/{score.json, rollout.asl}.

    scores.json is written anew with each, so that what was driven is there however the run ends.

    Args:
        path: the folder; empty keeps nothing.
        planner: who drives, for people.
        rollout_index: of several of a scene.

    Raises:
        InvalidInput: where the folder cannot be made.
    """

    def __init__(self, path: str, *, planner: str, rollout_index: int = 0) -> None:
        self._path = Path(path) if path else None
        self._planner, self._rollout_index = planner, rollout_index
        self._scores: list[RolloutScore] = []
        self._timing: dict[str, object] = {}
        self._interrupted = False
        if self._path is not None:
            try:
                (self._path / "rollouts").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InvalidInput(f"out: expected a folder to write to, got {error}") from error

    def keep(
        self,
        record: RolloutRecord,
        *,
        exchanges: Sequence[RenderExchange] = (),
        timing: dict[str, object] | None = None,
    ) -> None:
        """Score a rollout and write it down, with its images and where its wall time went."""
        if self._path is None:
            return
        score = score_rollout(record)
        self._interrupted = record.end_reason == "interrupted"
        self._timing[score.name] = timing or {}
        write_asl(self._write(score) / "rollout.asl", record, exchanges=exchanges)

    def keep_failure(self, scene_id: str, error: Exception) -> None:
        """Write down a rollout that could not even begin."""
        if self._path is None:
            return
        self._write(
            RolloutScore(
                scene_id=scene_id,
                family=_family(scene_id),
                rollout_index=self._rollout_index,
                planner=self._planner,
                end_reason="failed",
                error=str(error),
                scene_score=0.0,
                failure_reason="failed",
            )
        )

    def _write(self, score: RolloutScore) -> Path:
        """Write a score and the summary; returns the rollout's folder."""
        assert self._path is not None
        self._scores.append(score)
        # A foreign renderer's scene id may be a path.
        name = score.scene_id.replace("/", "_").lstrip(".")
        folder = self._path / "rollouts" / Job(name, score.rollout_index).folder
        folder.mkdir(exist_ok=True)
        write_json(folder / "score.json", score.as_dict())
        write_json(
            self._path / "scores.json",
            {
                "planner": self._planner,
                **aggregate(self._scores),
                "interrupted": self._interrupted,
                "rollouts": [score.as_dict() for score in self._scores],
                "timing": {"rollouts": self._timing},
            },
        )
        return folder


def timing(record: RolloutRecord, rollout: TopicRollout) -> dict[str, object]:
    """Return where the wall time of a rollout went, warm-up left out, for scores.json."""
    stages = rollout.stages
    return {
        "wall_s": round(record.wall_s, 3),
        "simulated_s": round(_simulated_s(record), 3),
        "steps": stages.steps,
        "realtime_factor": round(stages.factor(STEP_US / 1e6), 3),
        "ms_a_step": {name: round(ms, 3) for name, ms in stages.mean_ms.items()},
        "steps_without_a_plan": rollout.missed,
    }


def summary(record: RolloutRecord, rollout: TopicRollout) -> str:
    """Return one line about a rollout: how it ended, how fast it went, and where the time went."""
    stages = rollout.stages
    text = f"{record.scene.scene_id}: {record.end_reason} after {_simulated_s(record):.1f} s"
    if record.error:
        text += f": {record.error}"
    if stages.steps:
        shown = ", ".join(f"{name} {ms:.1f}" for name, ms in stages.mean_ms.items() if ms >= 0.05)
        text += f"; {stages.factor(STEP_US / 1e6):.2f} x real time; ms a step: {shown}"
    if rollout.missed:
        text += f"; {rollout.missed} steps without a plan"
    return text


def _simulated_s(record: RolloutRecord) -> float:
    return (len(record.ego) - 1) * STEP_US / 1e6


def _family(scene_id: str) -> str:
    try:
        return family_and_seed(scene_id)[0]
    except InvalidInput:
        return FAMILY
