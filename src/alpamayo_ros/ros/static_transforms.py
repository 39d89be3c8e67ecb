"""Fixed transforms between body frames, as /tf_static gives them: a small tree, no tf2 needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from alpamayo_ros.ros.conversions import transform_to_matrix
from alpamayo_ros.sensing.rigid import Matrix4, invert, require_rigid
from alpamayo_ros.types import InvalidInput


class StaticTransforms:
    """Remembers parent-from-child transforms and chains them between any two connected frames."""

    def __init__(self) -> None:
        self._neighbours: dict[str, dict[str, Matrix4]] = {}

    def add(self, parent: str, child: str, *, parent_from_child: Matrix4) -> None:
        """Remember one transform, float64 [4, 4]; a newer one of the same pair replaces the older.

        Raises:
            InvalidInput: for an empty frame name, a frame that is its own parent, or a matrix that is
                not finite or not rigid.
        """
        parent, child = _bare(parent), _bare(child)
        if not parent or not child or parent == child:
            raise InvalidInput(
                f"static transform: expected two different frames, got {parent!r} and {child!r}"
            )
        parent_from_child = require_rigid(f"static transform {parent} from {child}", parent_from_child)
        self._neighbours.setdefault(parent, {})[child] = parent_from_child
        self._neighbours.setdefault(child, {})[parent] = invert(parent_from_child)

    def add_message(self, msg: Any, *, refused: Callable[[InvalidInput], None]) -> None:
        """Remember all transforms of a tf2_msgs/TFMessage; `refused` gets why one of them is left out."""
        for stamped in msg.transforms:
            try:
                self.add(
                    stamped.header.frame_id,
                    stamped.child_frame_id,
                    parent_from_child=transform_to_matrix(stamped.transform),
                )
            except InvalidInput as error:
                refused(error)

    def lookup(self, target: str, source: str) -> Matrix4 | None:
        """Return target_from_source, float64 [4, 4], or None where the two are not connected."""
        target, source = _bare(target), _bare(source)
        if target == source:
            return np.eye(4)
        reached: dict[str, Matrix4] = {target: np.eye(4)}
        queue = deque([target])
        while queue:
            frame = queue.popleft()
            for neighbour, frame_from_neighbour in self._neighbours.get(frame, {}).items():
                if neighbour in reached:
                    continue
                reached[neighbour] = reached[frame] @ frame_from_neighbour
                if neighbour == source:
                    return reached[neighbour]
                queue.append(neighbour)
        return None

    @property
    def frames(self) -> list[str]:
        """All frames that were named, sorted."""
        return sorted(self._neighbours)


def _bare(frame: str) -> str:
    """Return a frame's name without the leading slash that ROS 1 recordings carry."""
    return frame.removeprefix("/")
