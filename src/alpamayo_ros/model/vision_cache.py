"""Features of images that were seen before.

The vision tower looks at every image by itself, so a frame's features depend on its pixels alone, and of
two plans 0.1 s apart three frames of four are the same. Images are encoded one by one: then features don't
depend, not by rounding either, on what else was encoded with them, and a plan is the same bit by bit whether
its images were found here or not.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.types import InvalidInput, UInt8Array

_Key = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class VisionStatistics:
    """What a cache did since it was made, and what it holds.

    Attributes:
        hits, misses: images that a plan found encoded, and those that it had to encode itself.
        ahead: images that were encoded before a plan asked.
        images, held_bytes: what is held.
    """

    hits: int = 0
    misses: int = 0
    ahead: int = 0
    images: int = 0
    held_bytes: int = 0


@dataclass(frozen=True, eq=False)
class _Entry:
    pixels: UInt8Array
    features: VisualFeatures
    nbytes: int


class VisionCache:
    """Encodes images, each once.

    An image is looked up by camera and stamp, and taken only if its pixels are the same to the last bit: a
    changed picture under an old stamp is encoded anew, and several drives with the same stamps keep theirs
    side by side. The least recently used go first. Not for several threads at once.

    Args:
        encode: features of one image, uint8 [3, H, W] of any size.
        max_images: 0 keeps nothing.
        max_bytes: pixels and features together; an image that is larger by itself isn't kept.

    Raises:
        InvalidInput: for a negative bound.
    """

    def __init__(
        self, encode: Callable[[UInt8Array], VisualFeatures], *, max_images: int, max_bytes: int
    ) -> None:
        if max_images < 0 or max_bytes < 0:
            raise InvalidInput(
                f"vision cache: expected bounds of zero or more, got {max_images}, {max_bytes}"
            )
        self._encode = encode
        self._max_images, self._max_bytes = max_images, max_bytes
        self._entries: OrderedDict[_Key, list[_Entry]] = OrderedDict()
        self._hits = self._misses = self._ahead = self._images = self._bytes = 0

    @property
    def statistics(self) -> VisionStatistics:
        """What it did and what it holds."""
        return VisionStatistics(self._hits, self._misses, self._ahead, self._images, self._bytes)

    def features(self, camera_id: int, stamp_ns: int, image: UInt8Array) -> VisualFeatures:
        """Return the features of one image, uint8 [3, H, W], that `camera_id` took at `stamp_ns`."""
        key = (camera_id, stamp_ns, image.shape)
        entry = self._find(key, image)
        if entry is not None:
            self._hits += 1
            self._entries.move_to_end(key)
            return entry.features
        self._misses += 1
        features = self._encode(image)
        self._keep(key, image, features)
        return features

    def encode_ahead(self, camera_id: int, stamp_ns: int, image: UInt8Array) -> bool:
        """Encode an image that may be asked for later; returns False if it is there, or nothing is kept."""
        key = (camera_id, stamp_ns, image.shape)
        if not self._max_images or self._find(key, image) is not None:
            return False
        self._ahead += 1
        self._keep(key, image, self._encode(image))
        return True

    def newest(self, camera_id: int, count: int) -> tuple[VisualFeatures, ...]:
        """Return the features of a camera's images that were encoded or asked for last, oldest first.

        Fewer than `count` where no more are held.
        """
        found: list[VisualFeatures] = []
        for key in reversed(self._entries):
            if len(found) == count:
                break
            if key[0] == camera_id:
                found.append(self._entries[key][-1].features)
        return tuple(reversed(found))

    def clear(self) -> None:
        """Forget all images; counts go on."""
        self._entries.clear()
        self._images = self._bytes = 0

    def _find(self, key: _Key, image: UInt8Array) -> _Entry | None:
        for entry in self._entries.get(key, ()):
            if np.array_equal(entry.pixels, image):
                return entry
        return None

    def _keep(self, key: _Key, image: UInt8Array, features: VisualFeatures) -> None:
        nbytes = image.nbytes + sum(part.nbytes for part in (features.embeds, *features.deepstack))
        if not self._max_images or nbytes > self._max_bytes:
            return
        # A copy: the caller's buffer may be written to when its frame is over.
        entry = _Entry(image.copy(order="K"), features, nbytes)
        self._entries.setdefault(key, []).append(entry)
        self._entries.move_to_end(key)
        self._images += 1
        self._bytes += nbytes
        while self._images > self._max_images or self._bytes > self._max_bytes:
            oldest, variants = next(iter(self._entries.items()))
            self._bytes -= variants.pop(0).nbytes
            self._images -= 1
            if not variants:
                del self._entries[oldest]


def joined(features: Sequence[VisualFeatures]) -> VisualFeatures:
    """Return the features of several images, one behind the other."""
    deepstack = tuple(torch.cat(parts) for parts in zip(*(f.deepstack for f in features), strict=True))
    return VisualFeatures(torch.cat([f.embeds for f in features]), deepstack)


def weakly(method: Callable[[UInt8Array], VisualFeatures]) -> Callable[[UInt8Array], VisualFeatures]:
    """Return a function that calls a method without keeping its object."""
    reference = weakref.WeakMethod(method)

    def call(image: UInt8Array) -> VisualFeatures:
        alive = reference()
        if alive is None:
            raise RuntimeError("this Alpamayo is gone")
        features: VisualFeatures = alive(image)
        return features

    return call
