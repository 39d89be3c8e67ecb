"""The start of a prompt, read before its plan is asked for.

A prompt goes camera by camera, oldest frame first. So all that stands before the first camera's newest frame
is known as soon as the frame before that has come: at four cameras of four frames the system's text and three
of sixteen images. No token attends to a later one, so what the network keeps of these is the same whatever
follows.

A model that may read ahead reads every prompt in these two parts, so that a plan is the same bit by bit
whether its start was read ahead or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from alpamayo_ros.model.kv_cache import KeyValueCache
from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.types import NUM_FRAMES

NUM_START_IMAGES = NUM_FRAMES - 1
_KEPT = 2


@dataclass(frozen=True)
class StartLayout:
    """What the starts of a rig's prompts have in common.

    Attributes:
        camera_id: whose frames its images are.
        token_ids: up to the first camera's newest image.
        grids: rows and columns of the images' tokens.
    """

    camera_id: int
    token_ids: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        camera_id: int,
        token_ids: Sequence[int],
        grids: Sequence[tuple[int, int]],
        *,
        image_token_id: int,
    ) -> StartLayout:
        """Return the start of a prompt; `camera_id` is its first camera.

        Raises:
            ValueError: for a prompt of fewer images than one camera's.
        """
        if len(grids) < NUM_FRAMES:
            raise ValueError(f"grids: expected those of {NUM_FRAMES} images or more, got {len(grids)}")
        place = -1
        for rows, columns in grids[:NUM_START_IMAGES]:
            place = token_ids.index(image_token_id, place + 1) + rows * columns - 1
        end = token_ids.index(image_token_id, place + 1)
        return cls(camera_id, tuple(token_ids[:end]), tuple(grids[:NUM_START_IMAGES]))

    def takes(self, features: Sequence[VisualFeatures]) -> bool:
        """Return whether images with these features fit."""
        counts = [rows * columns for rows, columns in self.grids]
        return [len(image.embeds) for image in features] == counts


@dataclass(frozen=True, eq=False)
class PromptStart:
    """A start that was read.

    Attributes:
        layout: its tokens.
        features: its images'.
        keys, values: of each layer, [1, kv_heads, tokens, head_dim].
    """

    layout: StartLayout
    features: tuple[VisualFeatures, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.layout.token_ids)

    def of(self, layout: StartLayout, features: Sequence[VisualFeatures]) -> bool:
        """Return whether it is that of these tokens and these very features."""
        same = len(features) == len(self.features) and all(
            mine is given for mine, given in zip(self.features, features, strict=True)
        )
        return same and layout == self.layout

    def write_to(self, cache: KeyValueCache) -> None:
        """Put it into an empty cache of one row."""
        count = len(self)
        for read, held in zip(self.keys + self.values, cache.keys + cache.values, strict=True):
            held[:, :, :count] = read
        cache.length = count


@dataclass(frozen=True)
class StartStatistics:
    """How many starts were read ahead, and how many plans found theirs."""

    ahead: int = 0
    used: int = 0


class PromptStarts:
    """Keeps the starts that were read last, and what the next one will be like. Not for several threads."""

    def __init__(self) -> None:
        self._starts: deque[PromptStart] = deque(maxlen=_KEPT)
        self._ahead = self._used = 0
        self.layout: StartLayout | None = None
        """Of the last plan's prompt."""

    @property
    def statistics(self) -> StartStatistics:
        """What was read and used so far."""
        return StartStatistics(self._ahead, self._used)

    def has(self, layout: StartLayout, features: Sequence[VisualFeatures]) -> bool:
        """Return whether the start of these was read."""
        return any(start.of(layout, features) for start in self._starts)

    def take(self, layout: StartLayout, features: Sequence[VisualFeatures]) -> PromptStart | None:
        """Return the start of these for a plan, if it was read."""
        found = next((start for start in self._starts if start.of(layout, features)), None)
        self._used += found is not None
        return found

    def keep(self, start: PromptStart) -> None:
        """Keep one that was read ahead; the oldest goes."""
        self._ahead += 1
        self._starts.append(start)

    def clear(self) -> None:
        """Forget all; counts go on."""
        self._starts.clear()
        self.layout = None
