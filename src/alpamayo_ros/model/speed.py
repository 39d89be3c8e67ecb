"""What makes plans faster without changing them, each switch by itself.

All but `read_ahead` and `fp8` is on unless switched off; benchmarks/model measures what each one buys. None
but `fp8` changes tokens, and waypoints stay within rounding of the plain way through the library's layers
(1e-3 m is promised, tests hold 1e-4 m).
"""

from __future__ import annotations

from dataclasses import dataclass

from alpamayo_ros.types import InvalidInput

GRAPHS = ("auto", "off", "buffers")
ATTENTIONS = ("auto", "rule", "measured")
FP8_WAYS = ("off", "on", "emulated")


@dataclass(frozen=True)
class SpeedOptions:
    """How a loaded model computes.

    Attributes:
        lean: run our own code over fused weights in place of the library's modules.
        vision_cache_images: features of so many images are kept; 0 encodes all images at every plan.
        vision_cache_bytes: the same as a size, of the features and of the pixels that they belong to.
        prompt_reuse: keep what the prompts of one rig and instruction have in common.
        read_ahead: read every prompt in two parts, of which `Alpamayo.read_ahead` may read the first before a
            plan is asked for. For a device that is idle between plans; of lean layers with a vision cache.
        speculation: guess the reasoning from the last plans' and read several tokens in one pass.
        graphs: "auto" replays CUDA graphs on a GPU and does nothing elsewhere; "off" never does; "buffers"
            runs on the graphs' fixed buffers without capturing, on any device. Of lean layers alone.
        attention: "measured" tries each way at loading and takes the fastest for each phase, "rule" goes by
            what was measured once; "auto" measures on a GPU. Of lean layers alone.
        fp8: "on" holds the text layers' weights in FP8, for GPUs that have it: other plans (deviation.py says
            how far off). "emulated" rounds the same values on any device, and is slow. Of lean layers alone.
    """

    lean: bool = True
    vision_cache_images: int = 256
    vision_cache_bytes: int = 512 * 2**20
    prompt_reuse: bool = True
    read_ahead: bool = False
    speculation: bool = True
    graphs: str = "auto"
    attention: str = "auto"
    fp8: str = "off"

    def __post_init__(self) -> None:
        for name in ("vision_cache_images", "vision_cache_bytes"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{name}: expected zero or more, got {getattr(self, name)}")
        for name, known in (("graphs", GRAPHS), ("attention", ATTENTIONS), ("fp8", FP8_WAYS)):
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.read_ahead and not (self.lean and self.vision_cache_images and self.vision_cache_bytes):
            raise InvalidInput("read_ahead: expected off without lean layers and a vision cache, got on")
        if self.fp8 != "off" and not self.lean:
            raise InvalidInput(f"fp8: expected off without lean layers, got {self.fp8}")

    @classmethod
    def plain(cls) -> SpeedOptions:
        """Return everything switched off: the library's modules, all images at every plan."""
        return cls(
            lean=False,
            vision_cache_images=0,
            vision_cache_bytes=0,
            prompt_reuse=False,
            speculation=False,
            graphs="off",
            attention="rule",
        )
