"""Exit with 0 if OpenGL can be had without a screen: libEGL is there and opens a display.

Run by system_packages.sh with the system's Python, before there is anything else.
"""

import ctypes
import sys

PLATFORM_SURFACELESS_MESA = 0x31DD


def opens_display() -> bool:
    """Open and close a display, without a surface first (Mesa), then the default one (others)."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetDisplay.restype = ctypes.c_void_p
    egl.eglGetDisplay.argtypes = [ctypes.c_void_p]
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    egl.eglTerminate.argtypes = [ctypes.c_void_p]
    displays = []
    address = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if address:
        prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
        displays.append(prototype(address)(PLATFORM_SURFACELESS_MESA, None, None))
    displays.append(egl.eglGetDisplay(None))
    for display in displays:
        if display and egl.eglInitialize(display, None, None):
            egl.eglTerminate(display)
            return True
    return False


if __name__ == "__main__":
    sys.exit(0 if opens_display() else 1)
