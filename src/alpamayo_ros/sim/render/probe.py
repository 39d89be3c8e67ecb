"""Make an OpenGL context as the renderer does and say what draws: `python -m alpamayo_ros.sim.render.probe`.

A process of its own, since a broken driver may end the process that asks it.
"""

from __future__ import annotations

import sys

from alpamayo_ros.sim.render.gpu import RendererUnavailable, open_context


def main() -> int:
    """Print the name and version of OpenGL's renderer; or why there is none, and return 1."""
    try:
        context = open_context()
    except RendererUnavailable as error:
        print(error)
        return 1
    print(f"{context.info['GL_RENDERER']}, OpenGL {context.info['GL_VERSION']}")
    context.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
