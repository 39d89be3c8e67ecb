"""Have a running recorder save what its ring buffer holds."""

from __future__ import annotations

import argparse
import sys
import time

_WAIT_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `alpamayo record save` takes."""
    parser.add_argument("label", nargs="?", default="", metavar="LABEL", help='why, e.g. "near miss"')
    parser.add_argument("--after", type=float, default=-1.0, metavar="S", help="seconds to go on for")
    parser.add_argument("--namespace", default="alpamayo", help="of the recorder (default: alpamayo)")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="for an answer (default: 5)")


def run(arguments: argparse.Namespace) -> int:
    """Call the service and print the bag's folder; 1 where nothing is saved."""
    import rclpy
    from rclpy.node import Node

    from alpamayo_ros.ros.conversions import text_to_ros
    from alpamayo_ros.ros.recorder_triggers import SERVICE
    from alpamayo_ros.ros.runner import ros_arguments
    from alpamayo_ros.srv import SaveRecording

    rclpy.init(args=ros_arguments(namespace=arguments.namespace))
    try:
        node = Node("record_save")
        client = node.create_client(SaveRecording, SERVICE)
        end_s = time.monotonic() + arguments.timeout
        if not client.wait_for_service(arguments.timeout):
            name = node.resolve_service_name(SERVICE)
            print(
                f"alpamayo record save: expected a recorder with a ring, got no {name} within "
                f"{arguments.timeout:g} s",
                file=sys.stderr,
            )
            return 1
        request = SaveRecording.Request(label=text_to_ros(arguments.label), after_s=arguments.after)
        answer = client.call_async(request)
        while not answer.done() and time.monotonic() < end_s:
            rclpy.spin_once(node, timeout_sec=_WAIT_S)
        response = answer.result() if answer.done() else None
        if response is None or not response.success:
            why = "no answer" if response is None else response.message
            print(f"alpamayo record save: expected the ring to be saved, got: {why}", file=sys.stderr)
            return 1
        print(response.path)
        return 0
    finally:
        rclpy.try_shutdown()
