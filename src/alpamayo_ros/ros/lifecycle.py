"""A lifecycle node whose configure may take minutes without blocking the node meanwhile.

rclpy runs a transition inside the callback of the `change_state` service, and a 10B checkpoint that loads
there would stop every other callback of the executor. So the service is answered by a coroutine: the
slow part runs in a thread, the coroutine awaits it, and only then the transition itself runs.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState
from rclpy.lifecycle.node import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.task import Future

from alpamayo_ros.ros.executors import WakeableNode
from alpamayo_ros.types import InvalidInput


class BackgroundLifecycleNode(LifecycleNodeMixin, WakeableNode):
    """A lifecycle node that does the slow part of configuring in a thread.

    A subclass implements `prepare` (on the executor; returns the slow function, which must touch nothing
    of ROS), `configure` (gets what the slow function returned), `activate`, `deactivate`, `cleanup`,
    `discard` (for a result that nobody wants any more) and `failed` (to report). An exception in one of
    them is logged and fails the transition: after a failed configure the node is unconfigured again.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        Node.__init__(self, name, **kwargs)
        # While change_state waits for its preparation, the other lifecycle services must be answered.
        group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=group)
        self._run_transition = self._service_change_state.callback
        self._service_change_state.callback = self._on_change_state
        self._preparation: Future | None = None
        self._prepared: tuple[Any, Exception | None] | None = None
        self._posted: deque[Callable[[], None]] = deque()
        self._post_lock = threading.Lock()
        self._closed = False
        self._lifecycle_group = group

    # To be implemented.

    def prepare(self) -> Callable[[], Any]:
        """Return the slow part of configuring; raises InvalidInput for settings that cannot be used."""
        raise NotImplementedError

    def configure(self, prepared: Any) -> None:
        """Finish configuring with what the slow part returned."""
        raise NotImplementedError

    def activate(self) -> None:
        """Start output."""
        raise NotImplementedError

    def deactivate(self) -> None:
        """Stop output at once."""
        raise NotImplementedError

    def cleanup(self) -> None:
        """Free what configure made; must also do after half a configure, and twice."""
        raise NotImplementedError

    def discard(self, prepared: Any) -> None:
        """Free the result of a slow part that was given up."""
        raise NotImplementedError

    def failed(self, transition: str, error: Exception) -> None:
        """Report a transition that failed; `error` has been logged."""
        raise NotImplementedError

    def state_changed(self) -> None:
        """Report that the state, or whether it is being prepared, is another than before."""
        raise NotImplementedError

    # For subclasses and their users.

    @property
    def lifecycle_state(self) -> str:
        """unconfigured, inactive, active or finalized (or the transition that is running)."""
        return str(self._state_machine.current_state[1])

    @property
    def preparing(self) -> bool:
        """Whether the slow part of configuring is running."""
        return self._preparation is not None

    def post(self, function: Callable[[], None]) -> bool:
        """Run `function` on the executor soon; from any thread. False once the node is closed."""
        with self._post_lock:
            if self._closed:
                return False
            self._posted.append(function)
            self.wake()
            return True

    def start_automatically(self) -> None:
        """Configure and activate as soon as the node spins."""

        async def once() -> None:
            timer.cancel()
            if await self.change_state(Transition.TRANSITION_CONFIGURE):
                await self.change_state(Transition.TRANSITION_ACTIVATE)

        clock = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self.create_timer(0.0, once, callback_group=self._lifecycle_group, clock=clock)

    async def change_state(self, transition_id: int) -> bool:
        """Do what a call of the change_state service does; to be awaited on the executor."""
        request = ChangeState.Request()
        request.transition.id = transition_id
        response = await self._on_change_state(request, ChangeState.Response())
        return bool(response.success)

    def close(self) -> None:
        """Free everything; the node must not spin any more. Called before destroy_node()."""
        with self._post_lock:
            self._closed = True
            self._posted.clear()
        self._preparation = None
        self._guarded("close", self.cleanup)

    # Transitions.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish configuring; does the slow part here if it was not prepared (trigger_configure())."""

        def run() -> None:
            prepared, error = self._prepared or (None, None)
            unprepared, self._prepared = self._prepared is None, None
            if error is not None:
                raise error
            self.configure(self.prepare()() if unprepared else prepared)

        if not self._guarded("configure", run):
            self._guarded("cleanup", self.cleanup)
            return TransitionCallbackReturn.FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start output."""
        if not self._guarded("activate", self.activate):
            self._guarded("deactivate", self.deactivate)
            return TransitionCallbackReturn.FAILURE
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop output."""
        result = super().on_deactivate(state)
        return result if self._guarded("deactivate", self.deactivate) else TransitionCallbackReturn.ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free what configure made."""
        result = super().on_cleanup(state)
        return result if self._guarded("cleanup", self.cleanup) else TransitionCallbackReturn.ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, and give up a preparation that is running."""
        if self._preparation is not None:
            self._preparation.set_result((None, InvalidInput("the node was shut down while it configured")))
        super().on_deactivate(state)
        for step in (self.deactivate, self.cleanup):
            self._guarded("shutdown", step)
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node is unconfigured and can be configured again."""
        super().on_deactivate(state)
        freed = self._guarded("error processing", self.cleanup)
        return TransitionCallbackReturn.SUCCESS if freed else TransitionCallbackReturn.FAILURE

    async def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        transition = request.transition
        configures = transition.label == "configure" or (
            not transition.label and transition.id == Transition.TRANSITION_CONFIGURE
        )
        if configures and self._preparation is not None:
            self.get_logger().error(
                "configure: expected to be asked once, got a second call while it is running"
            )
            response.success = False
            return response
        if configures and self.lifecycle_state == "unconfigured":
            await self._prepare_in_thread()
            if self.lifecycle_state != "unconfigured":  # shut down meanwhile
                self._prepared = None
                response.success = False
                return response
        response = self._run_transition(request, response)
        self._guarded("state change", self.state_changed)
        return response

    async def _prepare_in_thread(self) -> None:
        try:
            slow = self.prepare()
        except Exception as error:
            self._prepared = (None, error)
            return
        future: Future = Future()
        self._preparation = future

        def deliver(result: Any, error: Exception | None) -> None:
            if future.done():  # given up meanwhile
                if error is None:
                    self.discard(result)
            else:
                future.set_result((result, error))

        def run() -> None:
            result: Any = None
            failure: Exception | None = None
            try:
                result = slow()
            except Exception as error:
                failure = error
            except (
                BaseException
            ) as error:  # e.g. a library's SystemExit: without an answer configure would hang
                failure = RuntimeError(repr(error))
            if not self.post(lambda: deliver(result, failure)) and failure is None:
                self.discard(result)

        threading.Thread(target=run, name="configure", daemon=True).start()
        self._guarded("state change", self.state_changed)
        self._prepared = await future
        self._preparation = None

    def woken(self) -> None:
        """Run what was posted."""
        while True:
            with self._post_lock:
                if not self._posted:
                    return
                function = self._posted.popleft()
            try:
                function()
            except Exception:
                self.get_logger().error(f"internal error: {traceback.format_exc()}")

    def _guarded(self, what: str, function: Callable[[], None]) -> bool:
        """Run `function`; an exception is logged and reported instead of ending the node."""
        try:
            function()
        except Exception as error:
            # A refusal says all there is to say; anything else is a bug, and needs its traceback.
            detail = str(error) if isinstance(error, InvalidInput) else traceback.format_exc()
            self.get_logger().error(f"{what} failed: {detail}")
            self.failed(what, error)
            return False
        return True
