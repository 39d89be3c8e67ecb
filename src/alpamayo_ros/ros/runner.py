"""Runs our nodes, one or several in a process, without `ros2 launch`: environment, signals, clean ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from alpamayo_ros.types import InvalidInput

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Where Fast DDS looks for its profiles: version 3 (Kilted and later), version 2 (Jazzy and earlier)."""

SPIN_TIMEOUT_S = 0.1
"""How long the executor may sleep before a signal is seen: Python runs handlers only between callbacks."""

ParameterValue: TypeAlias = bool | int | float | str
NodeT = TypeVar("NodeT", bound="Runnable")


class Runnable(Protocol):
    """What the runner needs of an rclpy node."""

    def destroy_node(self) -> Any:
        """Take the node off the graph and release what it holds."""
        ...


@runtime_checkable
class Finite(Protocol):
    """A node whose work can come to an end; the process ends with it."""

    error: Any

    @property
    def done(self) -> bool:
        """Whether it has nothing left to do."""
        ...


def _prefixes() -> list[Path]:
    """Return where ROS packages are installed, the first to win first."""
    folders = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return [Path(folder) for folder in folders if folder]


def shared_file(relative: str) -> Path:
    """Return a file that the package ships under its root or share folder, e.g. "config/fastdds_shm.xml".

    Raises:
        InvalidInput: where it is in neither the source tree nor any installed share folder.
    """
    roots = [Path(__file__).resolve().parents[3]]
    roots += [prefix / "share" / "alpamayo_ros" for prefix in _prefixes()]
    for root in roots:
        if (root / relative).is_file():
            return root / relative
    raise InvalidInput(f"{relative}: expected it in one of {', '.join(map(str, roots))}, got none")


def profile_variable() -> str:
    """Return the variable that the installed Fast DDS reads without complaint.

    Its ROS package is named fastdds since version 3 (Kilted) and fastrtps before.
    """
    modern, old = PROFILE_VARIABLES
    return old if any((prefix / "share" / "fastrtps").is_dir() for prefix in _prefixes()) else modern


def apply_shared_memory_profile(environment: MutableMapping[str, str] = os.environ) -> Path | None:
    """Let Fast DDS carry images through shared memory, unless the user has chosen a profile.

    Its own segment is too small for a 1080p frame: best-effort images are then lost by the half. Call it
    before rclpy is initialised; Fast DDS reads the variable once.

    Returns:
        The profile that was set, or None where the user's own stays.
    """
    if any(environment.get(name) for name in PROFILE_VARIABLES):
        return None
    profile = shared_file("config/fastdds_shm.xml")
    environment[profile_variable()] = str(profile)
    return profile


def ros_arguments(
    *,
    namespace: str | None = None,
    remaps: Mapping[str, str] | None = None,
    params_file: str | Path | None = None,
    parameters: Mapping[str, ParameterValue | Sequence[str]] | None = None,
    log_level: str | None = None,
) -> list[str]:
    """Return the `--ros-args …` that rclpy.init takes; they hold for every node of the process.

    Args:
        namespace: e.g. "/alpamayo".
        remaps: topic as the node names it -> topic to use; "NODE:TOPIC" limits it to one node.
        params_file: YAML as for `ros2 run`.
        parameters: name -> value, for every node of the process that declares it.
        log_level: debug, info, warn, error, or fatal.

    Raises:
        InvalidInput: for a parameter file that isn't there.
    """
    arguments = ["--ros-args"]
    if namespace:
        arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
    for source, target in (remaps or {}).items():
        arguments += ["-r", f"{source}:={target}"]
    if params_file is not None:
        if not Path(params_file).is_file():
            raise InvalidInput(f"params file: expected a YAML file, got {params_file}")
        arguments += ["--params-file", str(params_file)]
    for name, value in (parameters or {}).items():
        arguments += ["-p", f"{name}:={_yaml_scalar(value)}"]
    if log_level:
        arguments += ["--log-level", log_level]
    return [*arguments, "--"]


class StopSignals:
    """Counts SIGINT and SIGTERM instead of dying of them: a second one cannot cut short an orderly end.

    `with StopSignals() as stop:` restores the former handlers at the end. In any other thread than the
    main one it catches nothing (Python allows handlers there only).
    """

    def __init__(self) -> None:
        self.count = 0
        self.last: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.count > 0

    def wait(self) -> None:
        """Return once a signal has come."""
        while not self:
            time.sleep(SPIN_TIMEOUT_S)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last = signal.Signals(number)


def run_node(
    make: Callable[[], NodeT],
    arguments: Sequence[str] | None,
    *,
    start: Callable[[NodeT], None] | None = None,
) -> int:
    """Run one node until a signal comes or it is done; see run_nodes."""

    def begin(nodes: Sequence[Any]) -> None:
        if start is not None:
            start(nodes[0])

    return run_nodes([make], arguments, start=begin)


def run_nodes(
    makers: Sequence[Callable[[], Any]],
    arguments: Sequence[str] | None,
    *,
    start: Callable[[Sequence[Any]], None] | None = None,
) -> int:
    """Run nodes on one executor of one thread (`executors.new_executor`) until SIGINT, SIGTERM, or a Finite
    node is done (of several of one class, all).

    Args:
        makers: node classes, or functions that make a node or a list of nodes.
        arguments: as from ros_arguments(); None takes the process's own.
        start: called with the nodes once all are made.

    Returns:
        Exit code: 0; 1 where a node ended with an error; 2 for input that a node refuses.
    """
    apply_shared_memory_profile()
    import rclpy
    from rclpy.exceptions import NameValidationException, ParameterException
    from rclpy.executors import ExternalShutdownException
    from rclpy.signals import SignalHandlerOptions

    from alpamayo_ros.ros.executors import new_executor

    nodes: list[Any] = []
    executor: Any = None
    code = 0
    with StopSignals() as stop:
        try:
            _init(arguments, SignalHandlerOptions.NO)
            executor = new_executor()
            for make in makers:
                made = make()
                for node in made if isinstance(made, list) else [made]:
                    nodes.append(node)
                    executor.add_node(node)
            if start is not None:
                start(nodes)
            finite = [node for node in nodes if isinstance(node, Finite)]
            while not stop and rclpy.ok() and not _over(finite):
                executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
        except (InvalidInput, ParameterException, NameValidationException) as refusal:
            print(refusal, file=sys.stderr)
            code = 2
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        finally:
            for node in reversed(nodes):
                # An executor may hold what its nodes have for as long as it has the nodes.
                executor.remove_node(node)
                node.destroy_node()
            rclpy.try_shutdown()
    errors = [n.error for n in nodes if isinstance(n, Finite) and n.error is not None]
    for error in errors:
        print(error, file=sys.stderr)
    return code or (1 if errors else 0)


def _over(nodes: Sequence[Finite]) -> bool:
    """Return whether all nodes of one class are done."""
    done: dict[type, bool] = {}
    for node in nodes:
        done[type(node)] = done.get(type(node), True) and node.done
    return any(done.values())


def _init(arguments: Sequence[str] | None, signal_handlers: Any) -> None:
    """Initialise rclpy; raises InvalidInput for arguments that rcl cannot read."""
    import rclpy

    try:
        rclpy.init(
            args=None if arguments is None else list(arguments), signal_handler_options=signal_handlers
        )
    except Exception as error:  # rcl's argument errors have no common base in rclpy's public API
        raise InvalidInput(f"ROS arguments: expected what `ros2 run` takes, got {error}") from error


def _yaml_scalar(value: ParameterValue | Sequence[str]) -> str:
    """Return a value such that rcl's YAML parser reads it with its type: a string stays a string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, (int, float)):
        return repr(value)
    return "[" + ", ".join(_yaml_scalar(v) for v in value) + "]"
