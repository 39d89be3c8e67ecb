"""What `alpamayo doctor` looks at of ROS 2: rclpy, middleware, messages, transport, shared memory."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import import_module, metadata
from pathlib import Path
from xml.etree import ElementTree

from alpamayo_ros.cli.doctor_report import REINSTALL, Finding, fail, ok, warn

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 256 << 20
"""Each process of the stack holds a segment of 16 MiB (config/fastdds_shm.xml); torch's workers want some."""

IMAGE_BYTES = 1080 * 1920 * 3
INTERFACES: dict[str, dict[str, tuple[str, ...]]] = {
    "alpamayo_ros": {"msg": ("Plan", "PlanCandidate", "PlanWaypoint", "StageTimes"), "srv": ("Ask",)},
    "diagnostic_msgs": {"msg": ("DiagnosticArray",)},
    "lifecycle_msgs": {"srv": ("ChangeState",)},
    "nav_msgs": {"msg": ("Odometry", "Path")},
    "rosgraph_msgs": {"msg": ("Clock",)},
    "sensor_msgs": {"msg": ("Image", "CompressedImage", "CameraInfo")},
    "tf2_msgs": {"msg": ("TFMessage",)},
    "visualization_msgs": {"msg": ("MarkerArray",)},
}


def ros_distribution() -> str | None:
    """Return the name of the ROS 2 distribution, sourced or installed as wheels."""
    if os.environ.get("ROS_DISTRO"):
        return os.environ["ROS_DISTRO"]
    for name in ("kilted", "jazzy", "lyrical", "humble"):
        try:
            metadata.version(f"ros-{name}-rclpy")
        except metadata.PackageNotFoundError:
            continue
        return name
    return None


def check_ros() -> Finding:
    """Import rclpy, and see that there is one ROS 2 only."""
    remedy = "source /opt/ros/DISTRO/setup.bash, or use the virtual environment that `make setup` makes"
    try:
        rclpy = import_module("rclpy")
        rclpy.utilities.get_rmw_implementation_identifier()
    except Exception as error:
        return fail("ros", f"rclpy cannot be used: {type(error).__name__}: {error}", remedy)
    folder = Path(str(rclpy.__file__)).parent
    detail = f"{ros_distribution() or 'unknown distribution'}, rclpy at {folder}"
    sourced = [
        p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p.startswith("/opt/ros/")
    ]
    if sourced and Path(sys.prefix) in folder.parents and sys.prefix != sys.base_prefix:
        detail += f", but {sourced[0]} is sourced too"
        return warn("ros", detail, "use one of the two: open a shell that has not sourced the other")
    return ok("ros", detail)


def check_rmw() -> Finding:
    """Look at the middleware in use."""
    try:
        name = import_module("rclpy.utilities").get_rmw_implementation_identifier()
    except Exception as error:
        return fail(
            "rmw", f"{type(error).__name__}: {error}", "install rmw_fastrtps_cpp, or unset RMW_IMPLEMENTATION"
        )
    if name != "rmw_fastrtps_cpp":
        return warn(
            "rmw",
            f"{name}; image rates were measured on rmw_fastrtps_cpp only",
            "export RMW_IMPLEMENTATION=rmw_fastrtps_cpp, or give this one large shared-memory buffers",
        )
    return ok("rmw", name)


def check_messages(interfaces: Mapping[str, Mapping[str, Iterable[str]]] = INTERFACES) -> Finding:
    """Load the type support of every message and service that the nodes speak, and see that it is current."""
    count = 0
    for package, kinds in interfaces.items():
        for kind, names in kinds.items():
            for name in names:
                try:
                    support = type(getattr(import_module(f"{package}.{kind}"), name))
                    support.__import_type_support__()
                except Exception as error:
                    detail = f"{package}/{kind}/{name}: {type(error).__name__}: {error}"
                    return fail(
                        "messages", detail, f"{REINSTALL}; with colcon, build and source the workspace"
                    )
                count += 1
    stale = stale_interfaces(Path(__file__).resolve().parents[3])
    if stale:
        detail = f"differ from those that were built: {', '.join(stale)}"
        return fail("messages", detail, f"{REINSTALL}; with colcon, build again")
    return ok("messages", f"{count} types of {len(interfaces)} packages")


def stale_interfaces(source_tree: Path) -> list[str]:
    """Return the interfaces of a source tree that were changed since they were built, e.g. "msg/Plan.msg"."""
    if not (source_tree / "package.xml").is_file():
        return []
    try:
        share = import_module("ament_index_python.packages").get_package_share_directory("alpamayo_ros")
    except Exception:  # PackageNotFoundError: the messages come from a prefix without an index
        share = str(Path(sys.prefix) / "share" / "alpamayo_ros")
    stale: list[str] = []
    for source in sorted([*source_tree.glob("msg/*.msg"), *source_tree.glob("srv/*.srv")]):
        built = Path(share) / source.relative_to(source_tree)
        if not built.is_file() or built.read_bytes() != source.read_bytes():
            stale.append(str(source.relative_to(source_tree)))
    return stale


def check_transport(timeout_s: float = 10.0) -> Finding:
    """Send a plan from one node to another, through the middleware as it is set up here."""
    try:
        return _check_transport(timeout_s)
    except Exception as error:
        return fail(
            "transport", f"{type(error).__name__}: {error}", "see the lines above, and /dev/shm's rights"
        )


def _check_transport(timeout_s: float) -> Finding:
    import rclpy
    from rclpy.context import Context

    from alpamayo_ros.msg import Plan
    from alpamayo_ros.ros.executors import new_executor

    topic = f"alpamayo_doctor_{os.getpid()}"
    context = Context()
    rclpy.init(context=context, args=[])
    received: list[Plan] = []
    try:
        sender = rclpy.create_node("alpamayo_doctor_sender", context=context)
        receiver = rclpy.create_node("alpamayo_doctor_receiver", context=context)
        publisher = sender.create_publisher(Plan, topic, 10)
        receiver.create_subscription(Plan, topic, received.append, 10)
        executor = new_executor(context)
        executor.add_node(receiver)
        start = time.monotonic()
        sent = 0.0
        while not received and time.monotonic() - start < timeout_s:
            if publisher.get_subscription_count():
                sent = sent or time.monotonic()
                publisher.publish(Plan(instruction="doctor"))
            executor.spin_once(timeout_sec=0.05)
        now = time.monotonic()
        executor.shutdown()
        sender.destroy_node()
        receiver.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    if not received:
        return fail(
            "transport",
            f"a plan that was published did not arrive within {timeout_s:g} s",
            "check ROS_DOMAIN_ID, ROS_LOCALHOST_ONLY, the firewall and the Fast DDS profile",
        )
    return ok("transport", f"a plan went from node to node in {(now - sent) * 1e3:.0f} ms")


def check_shared_memory(folder: Path = SHARED_MEMORY) -> Finding:
    """Look at the room that images have in shared memory."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return warn(
            "shared memory", f"{folder}: {error.strerror}", "mount a tmpfs there, or images go through UDP"
        )
    detail = f"{folder} {usage.total >> 20} MiB, {usage.free >> 20} MiB free"
    if usage.total < SHARED_MEMORY_BYTES:
        return warn(
            "shared memory",
            f"{detail}, {SHARED_MEMORY_BYTES >> 20} MiB wanted",
            f"mount -o remount,size=1G {folder}; in a container, --shm-size=1g or --ipc=host",
        )
    if usage.free < SHARED_MEMORY_BYTES:
        left = len(list(folder.glob("fastdds_*")))
        return warn(
            "shared memory",
            f"{detail}, {SHARED_MEMORY_BYTES >> 20} MiB wanted; {left} Fast DDS files",
            f"stop all nodes, then remove what killed ones left: rm {folder}/fastdds_*",
        )
    return ok("shared memory", detail)


def check_profile(environment: Mapping[str, str] = os.environ) -> Finding:
    """See whether Fast DDS is told to carry images through shared memory in nodes started by hand."""
    from alpamayo_ros.ros.runner import PROFILE_VARIABLES, shared_file
    from alpamayo_ros.types import InvalidInput

    name = "Fast DDS profile"
    newer, older = PROFILE_VARIABLES
    variable = older if ros_distribution() in ("humble", "jazzy") else newer
    try:
        shipped = shared_file("config/fastdds_shm.xml")
    except InvalidInput as error:
        return fail(name, str(error), REINSTALL)
    chosen = environment.get(variable)
    if not chosen:
        return warn(
            name,
            "not set in this shell; `alpamayo run`, `alpamayo replay` and our launch files set it themselves",
            f"for nodes started otherwise: export {variable}={shipped}",
        )
    try:
        root = ElementTree.parse(chosen).getroot()
    except (OSError, ElementTree.ParseError) as error:
        return warn(
            name,
            f"{variable}={chosen} cannot be read ({error}) and is ignored by Fast DDS",
            f"export {variable}={shipped}",
        )
    sizes = [int(e.text or 0) for e in root.iter() if e.tag.rpartition("}")[2] == "segment_size"]
    if max(sizes, default=0) < IMAGE_BYTES:
        return warn(
            name,
            f"{chosen} has no shared-memory segment for a 1080p image ({IMAGE_BYTES} bytes)",
            f"export {variable}={shipped}, or raise segment_size in yours",
        )
    return ok(name, f"{chosen}, segments of {max(sizes) >> 20} MiB")
