"""Camera frames as the model's vision tower takes them: resized, normalised, cut into patches.

The same pixels as upstream's Qwen image processor, without torchvision: bicubic with antialias on uint8
(on floats 11 % of the pixels would be off by a step), then (x / 255 − 0.5) / 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.types import InvalidInput, UInt8Array, require_array

if TYPE_CHECKING:
    import torch

PATCH_SIZE = 16
MERGE_SIZE = 2
TEMPORAL_PATCH_SIZE = 2
"""Qwen3-VL's: pixels a patch side, patches a token side, frames a patch."""

_MAX_ASPECT = 200


def model_size(
    height: int, width: int, *, min_pixels: int, max_pixels: int, factor: int = PATCH_SIZE * MERGE_SIZE
) -> tuple[int, int]:
    """Return the (height, width) that an image of `height` x `width` pixels is resized to.

    Each side becomes a multiple of `factor`, with about the same aspect and an area in the budget. The rule
    is `smart_resize` of transformers' Qwen2-VL image processor. Its own output is a fixed point for the
    aspects of cameras (up to 7 : 1 with the released models' budget), so a frame may pass twice.

    Raises:
        InvalidInput: for an empty image, or one more than 200 times as long as wide.
    """
    if height < 1 or width < 1:
        raise InvalidInput(f"image: expected at least one pixel, got {height} x {width}")
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise InvalidInput(f"image: expected an aspect up to {_MAX_ASPECT} : 1, got {height} x {width}")
    sides = (height, width)
    resized = [round(side / factor) * factor for side in sides]
    area = resized[0] * resized[1]
    if area > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        resized = [max(factor, math.floor(side / shrink / factor) * factor) for side in sides]
    elif area < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        resized = [math.ceil(side * grow / factor) * factor for side in sides]
    return resized[0], resized[1]


class ImagePreparer:
    """Prepares images for one checkpoint. Stateless, so it may be used from several threads at once.

    Args:
        config: the checkpoint's config, for its pixel budget.
        patch_size, merge_size, temporal_patch_size: the backbone's vision config.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        patch_size: int = PATCH_SIZE,
        merge_size: int = MERGE_SIZE,
        temporal_patch_size: int = TEMPORAL_PATCH_SIZE,
    ) -> None:
        self.min_pixels, self.max_pixels = config.pixel_budget
        self.patch_size = patch_size
        self.merge_size = merge_size
        self.temporal_patch_size = temporal_patch_size

    def model_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) at which the model takes an image of `height` x `width` pixels."""
        factor = self.patch_size * self.merge_size
        return model_size(
            height, width, min_pixels=self.min_pixels, max_pixels=self.max_pixels, factor=factor
        )

    def prepare_frame(self, frame: UInt8Array) -> UInt8Array:
        """Return uint8 RGB [3, H, W] at the model's size; a frame that has it comes back untouched.

        Faster on a [3, H, W] view of [H, W, 3] memory, as decoders give it, than on separate planes.

        Raises:
            InvalidInput: unless the frame is a uint8 array [3, H, W].
        """
        require_array("frame", frame, (3, None, None), np.uint8)
        size = self.model_size(frame.shape[1], frame.shape[2])
        return frame if size == frame.shape[1:] else self._resized(frame[None], size)[0]

    def prepare_frames(self, frames: UInt8Array) -> UInt8Array:
        """Return uint8 RGB [T, 3, H, W] at the model's size, as `prepare_frame` does for one."""
        require_array("frames", frames, (None, 3, None, None), np.uint8)
        size = self.model_size(frames.shape[2], frames.shape[3])
        return frames if size == frames.shape[2:] else self._resized(frames, size)

    def patchify(
        self, frames: UInt8Array | Sequence[UInt8Array], *, device: str | torch.device = "cpu"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalise prepared frames and cut them into patches.

        Args:
            frames: one uint8 [T, 3, h, w] a camera (or one array [C, T, 3, h, w]) at the model's size.
            device: where the patches go; the bytes travel, not the floats.

        Returns:
            pixel_values: float32 [N, channels * copies * 16 * 16] in [-1, 1], image by image; within one the
                patches of a token (2 x 2, row-wise) are neighbours, tokens row-wise. Each still image
                fills the temporal copies of a patch.
            grid_thw: int64 [images, 3], (1, rows, columns) of patches, on the CPU.

        Raises:
            InvalidInput: on a wrong dtype or shape, or a size that is not a multiple of a token's.
        """
        import torch

        blocks: list[torch.Tensor] = []
        grids: list[list[int]] = []
        for index, camera in enumerate(frames):
            require_array(f"frames[{index}]", camera, (None, 3, None, None), np.uint8)
            images, _, height, width = camera.shape
            token = self.patch_size * self.merge_size
            if height % token or width % token or not (height and width):
                raise InvalidInput(
                    f"frames[{index}]: expected sides of a multiple of {token} pixels, got {height} x {width}"
                )
            blocks.append(self._blocks(_tensor(camera).to(device)))
            grids += [[1, height // self.patch_size, width // self.patch_size]] * images
        if not grids:
            raise InvalidInput("frames: expected at least one image, got none")
        count, channels, pixels = sum(map(len, blocks)), *blocks[0].shape[1:]
        values = torch.empty(
            count, channels, self.temporal_patch_size, pixels, dtype=torch.float32, device=device
        )
        first = values[:, :, 0]
        first.copy_(torch.cat(blocks))
        # (x / 255 − 0.5) / 0.5 in the order in which upstream's processor computes it.
        first.sub_(127.5).div_(127.5)
        values[:, :, 1:] = first.unsqueeze(2)
        return values.flatten(1), torch.tensor(grids, dtype=torch.int64)

    def image_token_counts(self, grid_thw: torch.Tensor) -> list[int]:
        """Return the number of tokens of each image of a grid [images, 3]."""
        return [int(n) for n in grid_thw.prod(dim=1) // self.merge_size**2]

    def _blocks(self, images: torch.Tensor) -> torch.Tensor:
        """Reorder uint8 [T, 3, h, w] to patches [N, 3, 16 * 16]."""
        count, channels, height, width = images.shape
        patch, merge = self.patch_size, self.merge_size
        rows, columns = height // (patch * merge), width // (patch * merge)
        blocks = images.reshape(count, channels, rows, merge, patch, columns, merge, patch)
        return blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, channels, patch * patch)

    @staticmethod
    def _resized(frames: UInt8Array, size: tuple[int, int]) -> UInt8Array:
        from torch.nn.functional import interpolate

        return interpolate(_tensor(frames), size=size, mode="bicubic", antialias=True).numpy()


def _tensor(array: UInt8Array) -> torch.Tensor:
    """Return a tensor on the array's memory, keeping its strides; nothing here writes to it."""
    import torch

    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writeable(array)))


class _Writeable:
    """Offers a read-only array (a message's buffer) as a writeable one, as torch wants it, without a copy."""

    def __init__(self, array: UInt8Array) -> None:
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self._owner = array
