"""Where a prompt's tokens and images stand, made once for all prompts of one layout.

Two prompts of a rig and an instruction differ in their history's tokens alone. What the network needs beside
the tokens (rotary positions, the places of image tokens) is the same tensors for both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.model.positions import prompt_positions

_Key = tuple[bytes, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, eq=False)
class PromptLayout:
    """Where a prompt's L tokens stand.

    Attributes:
        positions: int64 [3, 1, L] (time, row, column), on the network's device; not to be written to.
        rope_delta: token i behind the prompt stands at i + rope_delta.
        visual_index: int64 [N], the indices of image tokens, likewise.
        visual_end: index behind the last image token.
    """

    positions: Tensor
    rope_delta: int
    visual_index: Tensor
    visual_end: int
    _ends: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def behind(self, first: int) -> tuple[Tensor, Tensor]:
        """Return positions and image tokens' indices, counted from there, of the tokens from `first` on."""
        end = self._ends.get(first)
        if end is None:
            index = self.visual_index[self.visual_index >= first] - first
            end = self._ends[first] = self.positions[:, :, first:].contiguous(), index
        return end


class PromptLayouts:
    """Makes layouts and keeps the last ones.

    Args:
        device: of the tensors.
        image_token_id: the placeholder of images.
        kept: how many; 0 makes each anew.
    """

    def __init__(self, device: torch.device, *, image_token_id: int, kept: int = 16) -> None:
        self._device = device
        self._image_token_id = image_token_id
        self._kept = kept
        self._layouts: OrderedDict[_Key, PromptLayout] = OrderedDict()

    def of(self, token_ids: Sequence[int], grids: Sequence[tuple[int, int]]) -> PromptLayout:
        """Return the layout of a prompt; `grids` are its images' merged (rows, columns).

        Raises:
            ValueError: where the image tokens are not those of the grids.
        """
        is_image = np.asarray(token_ids) == self._image_token_id
        key = (is_image.tobytes(), tuple(grids))
        layout = self._layouts.get(key)
        if layout is None:
            layout = self._made(token_ids, grids, np.flatnonzero(is_image))
            self._layouts[key] = layout
            while len(self._layouts) > self._kept:
                self._layouts.popitem(last=False)
        else:
            self._layouts.move_to_end(key)
        return layout

    def _made(
        self, token_ids: Sequence[int], grids: Sequence[tuple[int, int]], places: np.ndarray
    ) -> PromptLayout:
        positions, rope_delta = prompt_positions(token_ids, grids, image_token_id=self._image_token_id)
        return PromptLayout(
            positions=torch.from_numpy(positions)[:, None].to(self._device),
            rope_delta=rope_delta,
            visual_index=torch.from_numpy(places).to(self._device),
            visual_end=int(places[-1]) + 1 if len(places) else 0,
        )
