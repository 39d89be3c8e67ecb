"""Paint the plans of a recording into its cameras' pictures: a film, or a folder of pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpamayo_ros.types import InvalidInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bag", metavar="BAG", help="recording with `plan`: folder, .mcap or .db3 file")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="film (.webm), one picture (.jpg or .png), or a folder for a picture each",
    )
    parser.add_argument(
        "--rig", default="default", help="rig file, or a name in config/rigs (default: default)"
    )
    parser.add_argument("--namespace", default="alpamayo", help="of the recorded topics (default: alpamayo)")
    parser.add_argument("--plan", default="plan", metavar="TOPIC", help="of the plans (default: plan)")
    parser.add_argument("--odometry", metavar="TOPIC", help="as it is recorded (default: the rig file's)")
    parser.add_argument(
        "--every", type=float, default=0.1, metavar="S", help="seconds from picture to picture (default: 0.1)"
    )
    parser.add_argument(
        "--at",
        type=float,
        metavar="S",
        help="of one picture: seconds after the first plan (default: the middle)",
    )
    parser.add_argument(
        "--width", type=int, default=576, metavar="PX", help="of each camera's picture (default: 576)"
    )
    parser.add_argument("--no-birds-eye", action="store_true", help="leave the view from above out")


def run(arguments: argparse.Namespace) -> int:
    """Paint, and say where it is."""
    from alpamayo_ros.bags.reader import BagReader
    from alpamayo_ros.ros.bag_overlays import as_recorded, overlay_frames, read_recording
    from alpamayo_ros.sensing.rig import load_rig

    if not 64 <= arguments.width <= 4096:
        raise InvalidInput(f"--width: expected 64 … 4096, got {arguments.width}")
    if not 0 < arguments.every < 3600:
        raise InvalidInput(f"--every: expected a positive number of seconds, got {arguments.every}")
    out = arguments.out
    picture = out.suffix in (".jpg", ".png")
    if out.suffix and not picture and out.suffix != ".webm":
        raise InvalidInput(f"--out: expected a name that ends in .webm, .jpg, .png or a folder, got {out}")
    if not out.suffix and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(f"--out: expected a folder that is empty or not there yet, got {out}")
    if arguments.at is not None and not picture:
        raise InvalidInput(f"--at: expected one picture (--out ….jpg or ….png), got --out {arguments.out}")
    with BagReader(arguments.bag) as bag:
        rig = as_recorded(
            bag, load_rig(arguments.rig), namespace=arguments.namespace, odometry=arguments.odometry
        )
        plan_topic = arguments.plan
        if not plan_topic.startswith("/"):
            plan_topic = f"/{arguments.namespace.strip('/')}/{plan_topic}"
        recording = read_recording(bag, rig, plan_topic=plan_topic)
        stamps_ns = recording.stamps_ns(every_s=arguments.every)
        if picture:
            after_s = arguments.at
            wanted_ns = stamps_ns[len(stamps_ns) // 2] if after_s is None else stamps_ns[0] + after_s * 1e9
            stamps_ns = [min(stamps_ns, key=lambda stamp_ns: abs(stamp_ns - wanted_ns))]
        _write(
            arguments.out,
            overlay_frames(
                bag, recording, stamps_ns, width=arguments.width, birds_eye=not arguments.no_birds_eye
            ),
            count=len(stamps_ns),
            frames_a_second=1 / arguments.every,
        )
        unread = f", {recording.refused} messages could not be read" if recording.refused else ""
        blind = [camera.name for camera in rig.cameras if camera.camera_id not in recording.views]
        unknown = f"; lens or place not known: {', '.join(blind)}" if blind else ""
        print(f"{arguments.out}: {len(stamps_ns)} pictures, {len(recording.plans)} plans{unread}{unknown}")
    return 0


def _write(out: Path, frames: object, *, count: int, frames_a_second: float) -> None:
    from collections.abc import Iterator
    from typing import cast

    from rich.progress import track

    from alpamayo_ros.sim.report.video import write_webm
    from alpamayo_ros.types import UInt8Array

    shown = cast(
        "Iterator[UInt8Array]",
        track(frames, "painting", total=count, transient=True),  # type: ignore[arg-type]
    )
    if out.suffix == ".webm":
        out.parent.mkdir(parents=True, exist_ok=True)
        write_webm(out, shown, frames_a_second=frames_a_second)
        return
    if out.suffix in (".jpg", ".png"):
        for frame in shown:
            _save(out, frame)
        return
    for number, frame in enumerate(shown):
        _save(out / f"{number:06d}.jpg", frame)


def _save(path: Path, frame: object) -> None:
    import cv2
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 88] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, np.asarray(frame)[..., ::-1], options)
    if not done:
        raise InvalidInput(f"{path}: expected a picture that this format can hold, got one it cannot")
    path.write_bytes(data.tobytes())
