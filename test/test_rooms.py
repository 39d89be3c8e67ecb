"""The rooms of docs/ARCHITECTURE.md stay apart: who may import what, read from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "alpamayo_ros"
ROS = {"rclpy", "launch", "launch_ros", "tf2_ros", "ament_index_python"}
FORBIDDEN = {
    "model": ROS | {"cv2", "rosbags", "grpc", "torchvision", "flash_attn", "einops", "hydra"},
    "sensing": ROS | {"torch", "transformers", "rosbags", "grpc"},
    "bags": ROS | {"torch", "transformers"},
    "sim": ROS | {"torch", "transformers", "rosbags"},
    "datasets": ROS | {"torch", "transformers"},
    "safety": ROS | {"torch", "transformers", "rosbags", "grpc", "cv2"},
    "viz": ROS | {"torch", "transformers", "rosbags", "grpc"},
    "view": ROS | {"torch", "transformers", "grpc"},
    "evaluation": ROS | {"torch", "transformers"},
    "sim2val": ROS | {"torch", "transformers", "rosbags", "grpc", "cv2"},
    "ros": {"torch", "transformers"},
    "nodes": {"torch", "transformers", "cv2"},
}


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def modules(room: str) -> list[Path]:
    return sorted((SOURCE / room).rglob("*.py"))


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_does_not_import_what_it_should_not_know(room: str) -> None:
    assert modules(room), f"no modules in {room}"
    for path in modules(room):
        roots = {name.split(".")[0] for name in imported_packages(path)}
        assert not roots & FORBIDDEN[room], f"{path.relative_to(SOURCE)} imports {roots & FORBIDDEN[room]}"


@pytest.mark.parametrize(
    "room", ["model", "sensing", "bags", "sim", "safety", "datasets", "viz", "view", "evaluation"]
)
def test_a_pure_room_knows_no_message(room: str) -> None:
    for path in modules(room):
        for name in imported_packages(path):
            root, *rest = name.split(".")
            is_message = root.endswith(("_msgs", "_interfaces")) or (
                root == "alpamayo_ros" and rest[:1] in (["msg"], ["srv"], ["ros"], ["nodes"])
            )
            assert not is_message, f"{path.relative_to(SOURCE)} imports {name}"


def test_the_types_need_numpy_alone() -> None:
    outside = {name.split(".")[0] for name in imported_packages(SOURCE / "types.py")}
    assert outside <= {"__future__", "collections", "dataclasses", "itertools", "typing", "numpy"}
