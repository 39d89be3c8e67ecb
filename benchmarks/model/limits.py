"""What a plan's stages cannot be faster than, by what they compute and read; derived, not measured.

    python -m benchmarks.model.limits [--size 10B] [--samples 1 6] [--tokens 40]

A stage takes at least its floating-point operations over the peak of dense bfloat16 products, and at least
its bytes (weights, and the keys and values that it reads) over the memory's bandwidth; the larger is the
limit. Weights are read once a pass; activations, launches and everything on the host come on top.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from alpamayo_ros.model.random_checkpoint import CheckpointSize
from alpamayo_ros.types import NUM_WAYPOINTS
from benchmarks.model.sizes import MEASURED, Measured

_BYTES = 2  # of bfloat16
_PATCH, _MERGE = 16, 2
_IMAGES, _NEW_IMAGES = 16, 4
_PROMPT_TEXT = 200
_PATCH_NUMBERS = 3 * 2 * _PATCH**2


@dataclass(frozen=True)
class Hardware:
    """Peaks of a device: memory in bytes/s, dense bfloat16 products in FLOP/s, and who says so."""

    name: str
    bandwidth: float
    flops: float
    source: str


HARDWARE = (
    Hardware("H100 SXM", 3.35e12, 989.4e12, "NVIDIA's H100 data sheet (1,979 TFLOPS with sparsity, halved)"),
    Hardware("H200 SXM", 4.8e12, 989.4e12, "NVIDIA's H200 data sheet (1,979 TFLOPS with sparsity, halved)"),
    Hardware(
        "Jetson AGX Orin 64 GB",
        204.8e9,
        42.5e12,
        "NVIDIA's Jetson AGX Orin data sheet (GPU: 170 sparse INT8 TOPS, halved for dense and for 16 bit)",
    ),
    Hardware(
        "Jetson AGX Thor (T5000)",
        273e9,
        259e12,
        "NVIDIA's Jetson Thor data sheet (2,070 sparse FP4 TFLOPS, halved for dense, twice for 16 bit)",
    ),
)


@dataclass(frozen=True)
class Work:
    """What a stage does at least."""

    flops: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: float) -> Work:
        """Return the work of `count` such passes, one after the other."""
        return Work(self.flops * count, self.bytes * count)

    def limit_ms(self, hardware: Hardware) -> float:
        """Return the least time on a device, ms."""
        return 1e3 * max(self.flops / hardware.flops, self.bytes / hardware.bandwidth)


@dataclass(frozen=True)
class Plan:
    """The stages of a plan of K samples.

    Attributes:
        measured: the model's shapes and images.
        samples: K.
        tokens: of the reasoning.
        steps: of the flow.
    """

    measured: Measured
    samples: int
    tokens: int
    steps: int = 10

    @property
    def image_tokens(self) -> int:
        """Tokens of an image."""
        return self.measured.height * self.measured.width // (_PATCH * _MERGE) ** 2

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return _IMAGES * self.image_tokens + _PROMPT_TEXT

    @property
    def _entry(self) -> float:
        size = self.measured.size
        return 2.0 * size.layers * size.kv_heads * size.head_dim * _BYTES

    @property
    def _head(self) -> float:
        rows = self.measured.vocabulary or self.measured.size.base_vocab + self.measured.size.traj_vocab
        return float(rows * self.measured.size.hidden)

    def vision(self, images: int) -> Work:
        """Return the work of encoding images one by one."""
        size = self.measured.size
        width, patches = size.vision_hidden, self.image_tokens * _MERGE**2
        block = 4 * width**2 + 2 * width * size.vision_mlp
        merged = width * _MERGE**2
        merger = merged**2 + merged * size.hidden
        deepstack = size.vision_depth - 1 if size.deepstack is None else len(size.deepstack)
        mergers = merger * (1 + deepstack)
        weights = size.vision_depth * block + _PATCH_NUMBERS * width + mergers
        flops = 2 * patches * (size.vision_depth * block + _PATCH_NUMBERS * width)
        flops += 2 * self.image_tokens * mergers + 4 * size.vision_depth * patches**2 * width
        return Work(flops, weights * _BYTES).times(images)

    def prefill(self) -> Work:
        """Return the work of reading the prompt once, whatever K is."""
        size, length = self.measured.size, self.prompt
        weights = size.layers * _layer(size, size.hidden, size.mlp)
        attention = 2 * length**2 * size.heads * size.head_dim * size.layers  # causal: half of the pairs
        return Work(
            2 * length * weights + attention + 2 * self._head,
            (weights + self._head) * _BYTES + length * self._entry,
        )

    def reading(self, count: int = 1) -> Work:
        """Return the work of one pass over `count` tokens of every sample."""
        size = self.measured.size
        weights = size.layers * _layer(size, size.hidden, size.mlp) + self._head
        attention = 4 * self._seen * size.heads * size.head_dim * size.layers
        rows = self.samples * count
        return Work(
            rows * (2 * weights + attention), weights * _BYTES + self.samples * self._seen * self._entry
        )

    def denoise(self) -> Work:
        """Return the work of all Euler steps."""
        size = self.measured.size
        weights = size.layers * _layer(size, size.expert_hidden, size.expert_mlp)
        attention = 4 * self._seen * size.heads * size.head_dim * size.layers
        rows = self.samples * NUM_WAYPOINTS
        step = Work(
            rows * (2 * weights + attention), weights * _BYTES + self.samples * self._seen * self._entry
        )
        return step.times(self.steps)

    @property
    def _seen(self) -> int:
        return self.prompt + self.tokens

    def stages(self) -> dict[str, Work]:
        """Return the work by stage."""
        words = self.reading().times(self.tokens - 1)
        return {
            f"vision, {_IMAGES} images": self.vision(_IMAGES),
            f"vision, {_NEW_IMAGES} new images": self.vision(_NEW_IMAGES),
            f"prefill, {self.prompt} tokens": self.prefill(),
            "one token": self.reading(),
            f"{self.tokens} tokens one by one": words,
            f"{self.tokens} tokens in one pass, all guessed right": self.reading(self.tokens),
            f"denoise, {self.steps} steps": self.denoise(),
        }


def _layer(size: CheckpointSize, hidden: int, mlp: int) -> float:
    attention = hidden * size.head_dim * (2 * size.heads + 2 * size.kv_heads)
    return float(attention + 3 * hidden * mlp)


def table(plan: Plan) -> str:
    """Return the limits as lines of a Markdown table, ms."""
    lines = [
        f"| K = {plan.samples} | GFLOP | GB | " + " | ".join(h.name for h in HARDWARE) + " |",
        "|---|" + "---|" * (2 + len(HARDWARE)),
    ]

    def line(name: str, work: Work, limits: list[float]) -> str:
        cells = [name, f"{work.flops / 1e9:,.0f}", f"{work.bytes / 1e9:.1f}", *(f"{ms:.1f}" for ms in limits)]
        return "| " + " | ".join(cells) + " |"

    stages = plan.stages()
    for name, work in stages.items():
        lines.append(line(name, work, [work.limit_ms(h) for h in HARDWARE]))
    works = list(stages.values())
    for name, chosen in (
        ("a plan, word by word", [works[1], works[2], works[4], works[6]]),
        ("a plan, words guessed right", [works[1], works[2], works[5], works[6]]),
    ):
        whole = sum(chosen, Work(0, 0))
        lines.append(line(name, whole, [sum(work.limit_ms(h) for work in chosen) for h in HARDWARE]))
    return "\n".join(lines)


def sources() -> str:
    """Return where the devices' peaks are from."""
    return "\n".join(
        f"- {h.name}: {h.bandwidth / 1e12:.3g} TB/s, {h.flops / 1e12:.4g} TFLOPS bfloat16, dense: {h.source}."
        for h in HARDWARE
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="10B", choices=list(MEASURED))
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 6])
    parser.add_argument("--tokens", type=int, default=40)
    args = parser.parse_args()
    if min(*args.samples, args.tokens) < 1:
        parser.error("expected --samples and --tokens of 1 or more")
    for samples in args.samples:
        print(table(Plan(MEASURED[args.size], samples, args.tokens)), end="\n\n")
    print(sources())


if __name__ == "__main__":
    main()
