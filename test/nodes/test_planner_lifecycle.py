"""Every transition of the planner node, repeated, slow, failed and interrupted; parameters; questions."""

from __future__ import annotations

import threading
import time

import pytest
from planner_harness import STEP_NS, ScriptedPlanner, active, connected, running, wait_for
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter

from alpamayo_ros.ros.planner_backend import BackendAnswer, PlannerBackend
from alpamayo_ros.srv import Ask
from alpamayo_ros.types import InvalidInput


class SlowLoading:
    """A loader that waits for the test, then does what it says."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.planner = ScriptedPlanner()
        self.error: BaseException | None = None
        self.calls = 0

    def __call__(self, settings, options):
        self.calls += 1
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return PlannerBackend(self.planner)


def test_every_transition_works_and_can_be_repeated(tmp_path):
    planner = ScriptedPlanner()
    with running(tmp_path, planner) as (world, _):
        for times in (1, 2):
            assert world.state() == "unconfigured"
            assert not world.transition("activate")
            assert world.transition("configure")
            assert world.state() == "inactive"
            for _ in range(2):
                assert world.transition("activate")
                assert world.state() == "active"
                connected(world)
                world.plans.clear()
                world.drive(lambda: world.plans, what="a plan")
                assert world.transition("deactivate")
                assert world.state() == "inactive"
            assert world.transition("cleanup")
            assert planner.closed == times
        wait_for(lambda: not world.node.count_publishers("plan"), "the end of the topic")
        assert world.transition("unconfigured_shutdown")
        assert world.state() == "finalized"


@pytest.mark.parametrize("state", ["inactive", "active"])
def test_shutdown_frees_the_model_from_any_state(tmp_path, state):
    planner = ScriptedPlanner()
    with running(tmp_path, planner) as (world, _):
        assert world.transition("configure")
        if state == "active":
            assert world.transition("activate")
        assert world.transition(f"{state}_shutdown")
        assert world.state() == "finalized"
        assert planner.closed == 1


def test_nothing_is_published_while_inactive(tmp_path):
    planner = ScriptedPlanner()
    planner.gate = threading.Event()
    with active(tmp_path, planner) as (world, node):
        world.drive(lambda: planner.observations, what="an observation")
        assert world.transition("deactivate")
        planner.gate.set()
        wait_for(lambda: node.statistics["discarded"] == 1, "the plan that nobody wants any more")
        seen = len(planner.observations)
        for _ in range(20):
            world.tick()
            time.sleep(0.01)
        assert not world.plans
        assert len(planner.observations) == seen
        assert world.transition("activate")
        world.drive(lambda: world.plans, what="a plan")


def test_the_node_answers_while_the_model_loads(tmp_path):
    loading = SlowLoading()
    with running(tmp_path, load=loading) as (world, _):
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(world.transition("configure")))
        thread.start()
        wait_for(lambda: loading.calls == 1, "the start of loading")
        for _ in range(3):
            assert world.state() == "unconfigured"
        wait_for(lambda: world.diagnostics("alpamayo/model").get("message") == "loading", "its diagnostics")
        assert not answers
        # A second call is refused, the first goes on; and what it reads may not change under it.
        assert not world.transition("configure")
        assert "while unconfigured" in set_parameter(world, "decode_threads", 3)
        loading.go.set()
        thread.join(20)
        assert answers == [True]
        assert world.state() == "inactive"
        wait_for(lambda: world.diagnostics("alpamayo/model").get("loaded") == "true", "its diagnostics")
        assert loading.calls == 1


@pytest.mark.parametrize(
    "error", [InvalidInput("checkpoint: expected a folder, got nothing"), SystemExit(3), MemoryError("10B")]
)
def test_a_load_that_fails_leaves_the_node_unconfigured(tmp_path, error):
    loading = SlowLoading()
    loading.go.set()
    loading.error = error
    with running(tmp_path, load=loading) as (world, _):
        assert not world.transition("configure")
        assert world.state() == "unconfigured"
        wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "2", "an error")
        assert str(error) in world.diagnostics("alpamayo/model")["message"]
        assert world.diagnostics("alpamayo/model")["loaded"] == "false"
        loading.error = None
        assert world.transition("configure")
        wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "0", "no error")


def test_a_shutdown_ends_the_loading(tmp_path):
    loading = SlowLoading()
    with running(tmp_path, load=loading) as (world, _):
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(world.transition("configure")))
        thread.start()
        wait_for(lambda: loading.calls == 1, "the start of loading")
        assert world.transition("unconfigured_shutdown")
        thread.join(20)
        assert answers == [False]
        assert world.state() == "finalized"
        loading.go.set()
        wait_for(lambda: loading.planner.closed == 1, "the end of what was loaded for nothing")


def test_autostart_configures_and_activates(tmp_path):
    with running(tmp_path, ScriptedPlanner(), autostart=True) as (world, _):
        wait_for(lambda: world.state() == "active", "activation")
        connected(world)
        world.drive(lambda: world.plans, what="a plan")


def test_autostart_that_fails_says_why(tmp_path):
    with running(tmp_path, ScriptedPlanner(), autostart=True, rig="name: none") as (world, _):
        wait_for(lambda: world.diagnostics("alpamayo/model").get("level") == "2", "an error")
        assert world.state() == "unconfigured"


def test_configure_without_the_service_works_too(tmp_path):
    with running(tmp_path, ScriptedPlanner()) as (world, node):
        done: list[object] = []
        node.post(lambda: done.append(node.trigger_configure()))
        wait_for(lambda: done, "the transition")
        assert world.state() == "inactive"


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"publish_trajectory": True}, "expected the package autoware_planning_msgs"),
        ({"vehicle_rear_overhang_m": 9.0}, "overhang within the length"),
        ({"odometry_buffer_ms": 1000.0}, "odometry_buffer_ms: expected at least"),
        ({"frame_buffer_ms": 100.0}, "frame_buffer_ms: expected at least"),
    ],
)
def test_settings_that_cannot_be_used_fail_configure(tmp_path, parameters, problem):
    with running(tmp_path, ScriptedPlanner(), **parameters) as (world, _):
        assert not world.transition("configure")
        wait_for(lambda: problem in world.diagnostics("alpamayo/model").get("message", ""), problem)


def test_a_rig_that_is_not_there_fails_configure(tmp_path):
    with running(tmp_path, ScriptedPlanner()) as (world, _):
        assert set_parameter(world, "rig", "no_such_rig") == ""
        assert not world.transition("configure")
        text = "expected a file or one of the named rigs"
        wait_for(lambda: text in world.diagnostics("alpamayo/model").get("message", ""), text)
        assert set_parameter(world, "rig", str(tmp_path / "rig.yaml")) == ""
        assert world.transition("configure")


def test_long_waits_lengthen_the_buffers(tmp_path):
    with running(tmp_path, ScriptedPlanner(), odometry_wait_ms=2000.0) as (world, node):
        assert world.transition("configure")
        assert node._parts.feed.assembler.timing.frame_buffer_ms == 3000


def test_a_checkpoint_must_be_named(tmp_path):
    with running(tmp_path) as (world, _):
        assert not world.transition("configure")
        wait_for(lambda: "set the parameter" in world.diagnostics("alpamayo/model").get("message", ""), "why")


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"top_p": 1.5}, "parameter top_p: expected double 0.001 … 1"),
        ({"num_samples": 0}, "parameter num_samples: expected integer 1 … 64"),
        ({"num_samples": "six"}, "parameter num_samples: expected integer"),
        ({"dtype": "float8"}, "dtype: expected one of auto, bfloat16, float32, got 'float8'"),
    ],
)
def test_parameters_that_cannot_be_are_refused_at_start(tmp_path, parameters, problem):
    with pytest.raises(InvalidInput, match=problem), running(tmp_path, ScriptedPlanner(), **parameters):
        pass


def set_parameter(world, name, value) -> str:
    """Set a parameter of the planner over its service; returns the reason of a refusal, "" if it was set."""
    client = world.node.create_client(SetParameters, "planner/set_parameters")
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    (result,) = world.call(client, request).results
    return "" if result.successful else result.reason


class Options(PlannerBackend):
    """A backend that remembers the options, and answers questions."""

    def __init__(self, planner: ScriptedPlanner) -> None:
        super().__init__(planner)
        self.given = None
        self.complete = True

    def set_options(self, options) -> None:
        self.given = options

    def check_question(self, text) -> None:
        if "<|" in text:
            raise InvalidInput(f"question: expected plain text, got {text!r}")

    def answer(self, observation, question) -> BackendAnswer:
        if question == "fail":
            raise RuntimeError("no memory")
        return BackendAnswer(f"About {observation.t0_ns}: a car.", self.complete)


def test_parameters_change_live_where_they_can(tmp_path):
    backend = Options(ScriptedPlanner())
    with running(tmp_path, load=lambda settings, options: backend) as (world, _):
        assert set_parameter(world, "max_plan_age", 0.5) == ""
        assert world.transition("configure")
        assert set_parameter(world, "num_samples", 6) == ""
        assert backend.given.num_samples == 6
        assert set_parameter(world, "top_k", 1) == ""
        assert set_parameter(world, "guidance_weight", 1.5) == ""
        assert set_parameter(world, "seed", 7) == ""
        options = backend.given
        assert (options.num_samples, options.top_k, options.guidance_weight, options.seed) == (6, 1, 1.5, 7)
        assert "changes only while unconfigured" in set_parameter(world, "max_plan_age", 0.7)
        assert set_parameter(world, "num_samples", 99)
        assert set_parameter(world, "autostart", True)
        assert backend.given == options
        assert world.transition("cleanup")
        assert set_parameter(world, "max_plan_age", 0.7) == ""


def test_parameters_describe_themselves(tmp_path):
    with running(tmp_path, ScriptedPlanner()) as (world, _):
        client = world.node.create_client(DescribeParameters, "planner/describe_parameters")
        request = DescribeParameters.Request(names=["top_p", "num_samples", "autostart", "dtype"])
        top_p, samples, autostart, dtype = world.call(client, request).descriptors
        assert (top_p.floating_point_range[0].from_value, top_p.floating_point_range[0].to_value) == (
            0.001,
            1.0,
        )
        assert (samples.integer_range[0].from_value, samples.integer_range[0].to_value) == (1, 64)
        assert "drawn from one observation" in samples.description
        assert autostart.read_only
        assert dtype.additional_constraints.startswith("one of auto, bfloat16, float32")


def ask(world, question: str) -> Ask.Response:
    return world.call(world.ask, Ask.Request(question=question))


def test_questions_are_answered_between_plans(tmp_path):
    backend = Options(ScriptedPlanner())
    planner: ScriptedPlanner = backend.planner
    with active(tmp_path, None, load=lambda settings, options: backend) as (world, _):
        response = ask(world, "What is ahead?")
        assert not response.success
        assert "expected an observation to ask about, got none; waiting for" in response.message
        world.drive(lambda: world.plans, what="a plan")
        response = ask(world, "What is ahead?")
        assert response.success
        stamp_ns = response.stamp.sec * 10**9 + response.stamp.nanosec
        assert response.answer == f"About {stamp_ns}: a car."
        # The newest that there is, planned or not: on a busy machine it may be passed over for a newer one.
        assert stamp_ns >= planner.observations[0].t0_ns and stamp_ns % STEP_NS == 0
        assert response.times.total_ms > 0
        backend.complete = False
        response = ask(world, "What is ahead?")
        assert response.success
        assert "did not come to its end" in response.message
        assert not ask(world, "What <|cot_end|>?").success
        response = ask(world, "fail")
        assert (response.success, response.message) == (False, "RuntimeError: no memory")
        seen = len(world.plans)
        world.drive(lambda: len(world.plans) > seen, what="more plans")
        assert world.transition("deactivate")
        assert "expected an active planner, got one that is inactive" in ask(world, "What is ahead?").message


def test_a_planner_without_question_answering_says_so(tmp_path):
    with active(tmp_path, ScriptedPlanner()) as (world, _):
        response = ask(world, "What is ahead?")
        assert not response.success
        assert "expected a model with question answering, got ScriptedPlanner" in response.message


def test_a_question_that_waits_is_refused_by_a_cleanup(tmp_path):
    backend = Options(ScriptedPlanner())
    planner: ScriptedPlanner = backend.planner
    with active(tmp_path, None, load=lambda settings, options: backend) as (world, node):
        world.drive(lambda: world.plans, what="a plan")
        planner.gate = threading.Event()
        seen = len(planner.observations)
        world.drive(lambda: len(planner.observations) > seen, what="a plan that takes its time")
        futures = [world.ask.call_async(Ask.Request(question="What is ahead?")) for _ in range(6)]
        wait_for(lambda: sum(f.done() for f in futures) == 2, "the refusal of two questions too many")
        assert world.transition("deactivate")
        worker = node._parts.worker

        def let_go_once_it_is_being_cleaned_up() -> None:
            wait_for(lambda: worker._closed, "the cleanup")
            planner.gate.set()

        threading.Thread(target=let_go_once_it_is_being_cleaned_up).start()
        assert world.transition("cleanup")
        wait_for(lambda: all(f.done() for f in futures), "answers to all")
        assert not any(f.result().success for f in futures)
