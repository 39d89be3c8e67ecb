"""Which of rclpy's executors our processes spin with, and how other threads have it run something.

rclpy's usual executor asks all entities of all nodes anew before each wait, in Python: half of what the
planner's executor does with four cameras and odometry (`python benchmarks/ros_cameras.py`). Its events
executor is told by the middleware what has come. It is in `rclpy.experimental` (from Kilted on) and not the
default; it cannot wait for guard conditions, so what another thread wants done is a task of that executor
(`WakeableNode`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import Executor, InvalidHandle, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node

from alpamayo_ros.types import InvalidInput

EXECUTOR_VARIABLE = "ALPAMAYO_EXECUTOR"
"""Environment variable: `single`, the default, or `events`."""


def new_executor(context: Context | None = None, environment: Mapping[str, str] = os.environ) -> Executor:
    """Return an executor of one thread: rclpy's single-threaded one, or that which EXECUTOR_VARIABLE names.

    One thread is enough and best here: our nodes do their heavy work in threads of their own, and rclpy's
    multi-threaded executor loses images under load.

    Raises:
        InvalidInput: where EXECUTOR_VARIABLE names another one, or one that the installed rclpy lacks.
    """
    wanted = environment.get(EXECUTOR_VARIABLE) or "single"
    if wanted == "single":
        return SingleThreadedExecutor(context=context)
    if wanted != "events":
        raise InvalidInput(f"{EXECUTOR_VARIABLE}: expected single or events, got {wanted!r}")
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError as error:
        raise InvalidInput(
            f"{EXECUTOR_VARIABLE}: expected an rclpy with an events executor (ROS 2 Kilted or newer) "
            f"for {wanted!r}, got {error}"
        ) from error
    return EventsExecutor(context=context)


class WakeableNode(Node):
    """A node whose executor other threads can have do something: `wake` has it call `woken` soon.

    A subclass implements `woken`, which does all that is waiting, if anything. It is also called when the
    node gets an executor: what was asked for before that is not lost.

    On rclpy's usual executors that is a guard condition, which costs no round of its own: a task of the
    executor ends one wait, and is run before the next.
    """

    _guard: GuardCondition | None = None

    def woken(self) -> None:
        """Do what waits to be done; called on the executor, also when nothing waits."""
        raise NotImplementedError

    def wake(self) -> None:
        """Have the executor call `woken` soon; from any thread. Wakings may be merged."""
        executor, guard = self.executor, self._guard
        if guard is not None:
            with suppress(InvalidHandle):  # the node is gone, and nothing waits any more
                guard.trigger()
        elif executor is not None:
            executor.create_task(self.woken)

    @property
    def executor(self) -> Executor | None:
        """The executor that the node belongs to."""
        return super().executor

    @executor.setter
    def executor(self, new_executor: Executor | None) -> None:
        waits_for_guards = isinstance(new_executor, SingleThreadedExecutor | MultiThreadedExecutor)
        if waits_for_guards and self._guard is None:
            self._guard = self.create_guard_condition(self.woken, callback_group=ReentrantCallbackGroup())
        elif not waits_for_guards and self._guard is not None:
            guard, self._guard = self._guard, None
            self.destroy_guard_condition(guard)
        Node.executor.fset(self, new_executor)
        self.wake()
