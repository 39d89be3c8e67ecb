"""Questions to the model about the newest observation: the service `ask`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.task import Future

from alpamayo_ros.ros.conversions import stamp_from_ns, text_to_ros
from alpamayo_ros.ros.inference import AnswerOutcome, InferenceWorker
from alpamayo_ros.ros.plan_conversions import stage_times_to_msg
from alpamayo_ros.ros.planner_backend import PlannerBackend
from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.types import InvalidInput


class QuestionDesk:
    """Answers questions of one active planner.

    Args:
        assembler: has the newest observation.
        backend: checks questions.
        worker: answers them, between two plans.
        post: runs a function on the executor.
    """

    def __init__(
        self,
        assembler: ObservationAssembler,
        *,
        backend: PlannerBackend,
        worker: InferenceWorker,
        post: Callable[[Callable[[], None]], bool],
    ) -> None:
        self._assembler = assembler
        self._backend = backend
        self._worker = worker
        self._post = post

    async def answer(self, request: Any, response: Any) -> Any:
        """Fill in the response of alpamayo_ros/Ask; to be awaited on the executor."""
        answered: Future = Future()
        try:
            self._ask(request.question, answered)
        except InvalidInput as error:
            response.success, response.message = False, text_to_ros(str(error))
            return response
        outcome = await answered
        response.success = outcome.error is None
        if outcome.error is not None:
            response.message = text_to_ros(f"{type(outcome.error).__name__}: {outcome.error}")
        elif not outcome.answer.complete:
            response.message = "the answer did not come to its end; this is all that was generated"
        response.answer = text_to_ros(outcome.answer.text)
        response.stamp = stamp_from_ns(outcome.observation.t0_ns)
        response.times = stage_times_to_msg(outcome.times)
        return response

    def _ask(self, question: str, answered: Future) -> None:
        self._backend.check_question(question)
        observation = self._assembler.newest()
        if observation is None:
            missing = ", ".join(self._assembler.waiting_for()) or "a first observation"
            raise InvalidInput(
                f"question: expected an observation to ask about, got none; waiting for {missing}"
            )

        def on_answer(outcome: AnswerOutcome) -> None:
            self._post(partial(answered.set_result, outcome))

        self._worker.ask(question, observation, on_answer=on_answer)
