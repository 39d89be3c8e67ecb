"""Camera frames to image features, with an optional memory for a vision tower that isn't trained.

Every image is encoded by itself, so features belong to a frame and not to a sample: of two samples 0.1 s
apart three frames of four are the same, and the second costs a quarter.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.network import AlpamayoNetwork, VisualFeatures
from alpamayo_ros.training.tower_attention import attending_in_batches
from alpamayo_ros.types import InvalidInput, UInt8Array

_Key = tuple[bytes, tuple[int, ...]]


_TOGETHER = 64
"""Pictures that are encoded at once ahead of training."""


def _key(image: UInt8Array) -> _Key:
    """Return what a picture uint8 [1, 3, h, w] is known by."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest(), image.shape


class ImageEncoder:
    """Encodes frames by a network's vision tower.

    Args:
        network: the tower's.
        images: the checkpoint's image preparation.
        cache_bytes: features of frames are kept up to this size, in the tower's dtype on the CPU; the oldest
            used go first. 0 keeps none. Only for a tower without gradients.

    Raises:
        InvalidInput: for a cache of a tower that is trained.
    """

    def __init__(self, network: AlpamayoNetwork, images: ImagePreparer, *, cache_bytes: int = 0) -> None:
        if cache_bytes < 0:
            raise InvalidInput(f"cache_bytes: expected zero or more, got {cache_bytes}")
        trained = any(parameter.requires_grad for parameter in network.vlm.model.visual.parameters())
        if trained and cache_bytes:
            raise InvalidInput("cache_bytes: expected 0 for a vision tower that is trained, got a cache")
        self._network = network
        self._images = images
        self._trained = trained
        self._capacity_bytes = cache_bytes
        self._cache: OrderedDict[_Key, tuple[Tensor, ...]] = OrderedDict()
        self._held_bytes = 0
        self.hits = 0
        self.misses = 0

    def learn(self, pictures: Iterable[UInt8Array]) -> int:
        """Encode pictures uint8 [N, 3, h, w] ahead, many at once, until the memory is full; return how many.

        Much faster than one by one. A resumed run that is given the same pictures has the same features.
        """
        count = 0
        for frames in pictures:
            prepared = self._images.prepare_frames(frames)
            for begin in range(0, len(prepared), _TOGETHER):
                part = prepared[begin : begin + _TOGETHER]
                features = self._together(part)
                parts = (features.embeds, *features.deepstack)
                if self._held_bytes + sum(each.nbytes for each in parts) > self._capacity_bytes:
                    return count  # what is kept beyond would only push out what is here
                tokens = len(features.embeds) // len(part)
                for index, image in enumerate(part):
                    rows = slice(index * tokens, (index + 1) * tokens)
                    self._keep(_key(image[None]), tuple(each[rows] for each in parts))
                count += len(part)
        return count

    def encode(self, frames: Sequence[UInt8Array]) -> VisualFeatures:
        """Return the features of prepared frames, one uint8 [T, 3, h, w] a camera, in their order."""
        if not self._capacity_bytes:
            with torch.set_grad_enabled(self._trained and torch.is_grad_enabled()):
                return self._features(frames)
        singles = [camera[i : i + 1] for camera in frames for i in range(len(camera))]
        keys = [_key(image) for image in singles]
        fresh = {key: image for key, image in zip(keys, singles, strict=True) if key not in self._cache}
        self.hits += len(keys) - len(fresh)
        self.misses += len(fresh)
        found = {key: self._cache[key] for key in keys if key in self._cache}
        for key, image in fresh.items():
            # One by one: then a frame's features don't depend, not by rounding either, on what came with it,
            # and a resumed run, whose memory is empty, goes on bit by bit.
            with torch.no_grad():
                features = self._features([image])
            found[key] = (features.embeds, *features.deepstack)
            self._keep(key, found[key])
        for key in keys:
            if key in self._cache:
                self._cache.move_to_end(key)
        device = self._network.device
        parts = [torch.cat([found[key][i].to(device) for key in keys]) for i in range(len(found[keys[0]]))]
        return VisualFeatures(parts[0], tuple(parts[1:]))

    def _features(self, frames: Sequence[UInt8Array]) -> VisualFeatures:
        device = self._network.device
        pixel_values, grid_thw = self._images.patchify(frames, device=device)
        return self._network.encode_images(pixel_values, grid_thw.to(device))

    @torch.no_grad()
    def _together(self, prepared: UInt8Array) -> VisualFeatures:
        """Return the features of pictures of one size, whose attention is one batch."""
        patches = prepared.shape[-2] * prepared.shape[-1] // self._images.patch_size**2
        with attending_in_batches(self._network.vlm.model.visual, patches=patches):
            return self._features([prepared])

    def _keep(self, key: _Key, features: tuple[Tensor, ...]) -> None:
        kept = tuple(part.detach().to("cpu", copy=True) for part in features)
        self._cache[key] = kept
        self._held_bytes += sum(part.nbytes for part in kept)
        while self._held_bytes > self._capacity_bytes and self._cache:
            _, dropped = self._cache.popitem(last=False)
            self._held_bytes -= sum(part.nbytes for part in dropped)
