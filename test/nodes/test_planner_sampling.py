"""The planner node samples as its checkpoint recommends, unless it is told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planner_harness import ScriptedPlanner, active, running, wait_for
from test_planner_lifecycle import set_parameter

from alpamayo_ros.model.plan_options import write_recommended
from alpamayo_ros.model.random_checkpoint import write_random_checkpoint
from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.types import InvalidInput, PlanOptions

PISCO_LIKE = PlanOptions(top_k=1, noise_temperature=0.3)


class Sampling(PlannerBackend):
    """A planner that samples and comes with a recommendation; remembers how it is to sample."""

    def __init__(self, recommended: PlanOptions | None) -> None:
        super().__init__(ScriptedPlanner())
        self._recommended = recommended
        self.used = PlanOptions()

    @property
    def recommended(self) -> PlanOptions | None:
        return self._recommended

    def set_options(self, options: PlanOptions) -> None:
        self.used = options


def value(node: Any, name: str) -> Any:
    return node.get_parameter(name).value


def test_the_recommendation_takes_the_place_of_the_defaults(tmp_path):
    backend = Sampling(PISCO_LIKE)
    with running(tmp_path, load=lambda settings, options: backend) as (world, node):
        assert value(node, "top_k") == 0
        assert world.transition("configure")
        assert backend.used == PISCO_LIKE
        assert (value(node, "top_k"), value(node, "noise_temperature")) == (1, 0.3)
        assert (value(node, "temperature"), value(node, "num_samples")) == (0.6, 1)
        wait_for(
            lambda: (
                world.diagnostics("alpamayo/model").get("sampling_by_checkpoint")
                == "top_k=1, noise_temperature=0.3"
            ),
            "what is the checkpoint's own",
        )


def test_a_parameter_that_was_set_wins_at_the_start_or_later(tmp_path):
    backend = Sampling(PISCO_LIKE)
    with running(tmp_path, load=lambda settings, options: backend, noise_temperature=1.0) as (world, _):
        assert world.transition("configure")
        assert (backend.used.top_k, backend.used.noise_temperature) == (1, 1.0), "though it is the default"
        assert set_parameter(world, "top_k", 5) == ""
        assert backend.used.top_k == 5
        wait_for(
            lambda: world.diagnostics("alpamayo/model").get("sampling_by_checkpoint") == "", "nothing left"
        )
        assert world.transition("cleanup")
        assert world.transition("configure")
        assert (backend.used.top_k, backend.used.noise_temperature) == (5, 1.0)


def test_another_checkpoint_comes_with_its_own(tmp_path):
    backends = iter(
        [Sampling(PISCO_LIKE), Sampling(PlanOptions(num_samples=6, guidance_weight=1.5)), Sampling(None)]
    )
    made: list[Sampling] = []

    def load(settings: Any, options: PlanOptions) -> Sampling:
        made.append(next(backends))
        return made[-1]

    with running(tmp_path, load=load) as (world, node):
        assert world.transition("configure")
        assert world.transition("cleanup")
        assert world.transition("configure")
        assert made[-1].used == PlanOptions(num_samples=6, guidance_weight=1.5)
        assert (value(node, "top_k"), value(node, "noise_temperature")) == (0, 1.0)
        assert world.transition("cleanup")
        assert world.transition("configure")
        assert value(node, "num_samples") == 6, "one that does not sample leaves all as it is"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_random_checkpoint(folder, size="tiny", seed=1)
    return folder


def test_a_real_checkpoints_file_is_read(tmp_path, checkpoint):
    write_recommended(checkpoint, PlanOptions(top_k=1, max_reasoning_tokens=7))
    with running(tmp_path, checkpoint=str(checkpoint), device="cpu", encode_on_arrival="on") as (world, node):
        assert world.transition("configure")
        assert (value(node, "top_k"), value(node, "max_reasoning_tokens")) == (1, 7)
        wait_for(
            lambda: world.diagnostics("alpamayo/model").get("encode_on_arrival") == "true",
            "the vision cache on diagnostics",
        )
        model = world.diagnostics("alpamayo/model")
        assert {"vision_hits", "vision_misses", "vision_ahead", "vision_images", "vision_mib"} <= set(model)


def test_the_next_prompts_start_is_read_between_plans(tmp_path, checkpoint):
    write_recommended(checkpoint, PlanOptions(top_k=1, max_reasoning_tokens=2))
    with active(tmp_path, None, checkpoint=str(checkpoint), device="cpu", read_ahead=True) as (world, _):

        def used() -> bool:
            model = world.diagnostics("alpamayo/model")
            return 2 <= int(model.get("starts_used", 0)) <= int(model["starts_ahead"])

        world.drive(used, what="plans whose start was read before", pause_s=0.1, timeout_s=60)


def test_a_file_that_cannot_be_read_fails_the_configuration_by_name(tmp_path, checkpoint):
    (checkpoint / "plan_options.json").write_text('{"top_k": "many"}')
    with running(tmp_path, checkpoint=str(checkpoint), device="cpu") as (world, node):
        assert not world.transition("configure")
        assert "top_k: expected a whole number, got 'many'" in node._failure
        with pytest.raises(InvalidInput, match=r"plan_options\.json"):
            node.prepare()()
