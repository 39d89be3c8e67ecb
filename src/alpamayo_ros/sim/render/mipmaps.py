"""Mipmaps of texture arrays, made here and not by the driver.

glGenerateMipmap draws every layer and level in a pass of its own. Mesa's llvmpipe (seen with 22.3) keeps at
most 64 passes in flight, and a context that has once had so many waits from then on, at the beginning of
each pass, for the one before: vertices are no longer worked on while pixels are filled, which costs a third
of the image rate. moderngl cannot write the levels of an array, so OpenGL is called for it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

_GL_TEXTURE_2D_ARRAY = 0x8C1A
_GL_RGBA8, _GL_RGBA, _GL_UNSIGNED_BYTE = 0x8058, 0x1908, 0x1401
_UNIT = 0


def half_size(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images uint8 [N, S, S, 4] at half their size, each pixel the mean of four; S is even."""
    size = images.shape[1] // 2
    halves = np.empty((len(images), size, size, 4), np.uint8)
    for image, half in zip(images, halves, strict=True):
        cv2.resize(image, (size, size), dst=half, interpolation=cv2.INTER_AREA)
    return halves


def upload_mipmaps(textures: moderngl.TextureArray, images: NDArray[np.uint8]) -> None:
    """Give a texture array its levels, down to a pixel; in the context's thread.

    Args:
        textures: square RGBA8 textures whose side is a power of two, written with `images` at level 0.
        images: uint8 [N, S, S, 4].
    """
    textures.use(_UNIT)
    level = 0
    while images.shape[1] > 1:
        level, images = level + 1, half_size(images)
        count, height, width, _ = images.shape
        _tex_image_3d()(
            *(_GL_TEXTURE_2D_ARRAY, level, _GL_RGBA8, width, height, count, 0, _GL_RGBA, _GL_UNSIGNED_BYTE),
            images.ctypes.data,
        )


@cache
def _tex_image_3d() -> Any:
    """Return glTexImage3D."""
    egl = ctypes.CDLL("libEGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    integers = [ctypes.c_int] * 6
    signature = (ctypes.c_uint, *integers, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)
    return ctypes.CFUNCTYPE(None, *signature)(egl.eglGetProcAddress(b"glTexImage3D"))
