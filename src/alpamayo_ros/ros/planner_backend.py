"""What the planner node needs of a model, and Alpamayo as such."""

from __future__ import annotations

import gc
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alpamayo_ros.audit.identity import ModelIdentity, identity_of
from alpamayo_ros.interpreter import settle_collector
from alpamayo_ros.ros.planner_parameters import PlannerSettings
from alpamayo_ros.types import InvalidInput, Observation, Plan, Planner, PlanOptions, UInt8Array

if TYPE_CHECKING:
    from alpamayo_ros.model import Alpamayo

MAX_TEXT_CHARACTERS = 500
_MIB = 2**20
_SPECIAL_TOKEN = re.compile(r"<\|.*?\|>", re.DOTALL)


def check_text(name: str, text: str) -> None:
    """Raise InvalidInput for an instruction or question that no model may be given.

    A `<|...|>` token would end the text's place in the prompt, and control characters or a text of many
    kilobytes are no sentence.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInput(f"{name}: expected at most {MAX_TEXT_CHARACTERS} characters, got {len(text)}")
    token = _SPECIAL_TOKEN.search(text)
    if token is not None:
        raise InvalidInput(f"{name}: expected plain text, got the token {token.group()!r}")
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidInput(f"{name}: expected plain text, got the control character {character!r}")


@dataclass(frozen=True)
class BackendAnswer:
    """An answer to a question; where it did not come to its end, `text` is all that was generated."""

    text: str
    complete: bool


class PlannerBackend:
    """Any Planner, e.g. a recorder or a remote one; has no question answering.

    Attributes:
        planner: what plans.
        model_id: what made the plans, for diagnostics.
        device: where it runs, for diagnostics.
    """

    def __init__(self, planner: Planner, *, model_id: str = "", device: str = "") -> None:
        self.planner = planner
        self.model_id = model_id or type(planner).__name__
        self.device = device

    def prepare_frame(self, frame: UInt8Array) -> UInt8Array:
        """Return a frame, uint8 [3, H, W] RGB, as the planner wants it in observations: here unchanged."""
        return frame

    def set_options(self, options: PlanOptions) -> None:
        """Sample plans from now on with `options`; a planner without sampling has no use for them."""

    @property
    def recommended(self) -> PlanOptions | None:
        """How the planner's makers sample it; None for a planner that does not sample."""
        return None

    @property
    def encodes_ahead(self) -> bool | None:
        """Whether it pays to `encode` frames on arrival; None for a planner that does not encode frames."""
        return None

    def encode(self, camera_id: int, stamp_ns: int, frame: UInt8Array) -> None:
        """Look at a frame, prepared, that a plan may be made from; called in the thread that plans."""

    def read_ahead(self) -> None:
        """Do what can be done of the next plan before its observation; called in the thread that plans."""

    def cache_values(self) -> Mapping[str, object]:
        """Return what the planner keeps between plans, for diagnostics."""
        return {}

    @property
    def options(self) -> PlanOptions | None:
        """What the newest plan was sampled with; None for a planner that does not sample."""
        return None

    def identity(self) -> ModelIdentity:
        """Return what plans, for the record."""
        return ModelIdentity(model_id=self.model_id, kind=type(self.planner).__name__, device=self.device)

    def memory_mib(self) -> Mapping[str, float]:
        """Return what memory the planner uses, by name, in MiB; here that of the whole process."""
        return {"process_rss_mib": _process_rss_mib()}

    def free_memory(self) -> None:
        """Give memory back that no object needs any more; called after it ran out."""

    def check_instruction(self, text: str) -> None:
        """Raise InvalidInput for navigation text that the planner would refuse."""
        check_text("instruction", text)

    def check_question(self, text: str) -> None:
        """Raise InvalidInput for a question that the planner would refuse."""
        raise InvalidInput(f"question: expected a model with question answering, got {self.model_id}")

    def answer(self, observation: Observation, question: str) -> BackendAnswer:
        """Return the answer to a question about an observation; raises InvalidInput if it has none."""
        raise InvalidInput(f"question: expected a model with question answering, got {self.model_id}")

    def close(self) -> None:
        """Free what the planner holds."""
        close = getattr(self.planner, "close", None)
        if close is not None:
            close()


class AlpamayoBackend(PlannerBackend):
    """An Alpamayo checkpoint with the options to sample with, and those that it comes with.

    From its beginning to its end the garbage collector leaves alone what the process holds by then.
    """

    def __init__(
        self, model: Alpamayo, options: PlanOptions, *, recommended: PlanOptions | None = None
    ) -> None:
        super().__init__(self, model_id=model.model_id, device=str(model.device))
        self._model = model
        self._options = options
        self._used = options
        self._recommended = recommended
        settle_collector()

    def plan(self, observation: Observation) -> Plan:
        """Return K plans sampled with the options of the moment; guided only by an instruction."""
        options = self._options
        if observation.instruction is None:
            options = replace(options, guidance_weight=None)
        self._used = options
        return self._model.plan(observation, options)

    @property
    def options(self) -> PlanOptions:
        """What the newest plan was sampled with."""
        return self._used

    def identity(self) -> ModelIdentity:
        """Return which checkpoint it is, and what computes with it."""
        return identity_of(self._model)

    def memory_mib(self) -> Mapping[str, float]:
        """Return the memory of the GPU (held by tensors, reserved, most that was held), or of the process."""
        if self._model.device.type != "cuda":
            return super().memory_mib()
        from alpamayo_ros.model.memory import gpu_memory_mib

        return gpu_memory_mib(self._model.device)

    def free_memory(self) -> None:
        """Give the GPU's memory back that torch keeps for later."""
        if self._model.device.type == "cuda":
            from alpamayo_ros.model.memory import free_gpu_memory

            free_gpu_memory()

    def prepare_frame(self, frame: UInt8Array) -> UInt8Array:
        """Return the frame at the model's size."""
        return self._model.prepare_frame(frame)

    def set_options(self, options: PlanOptions) -> None:
        """Sample the next plan with `options`."""
        self._options = options

    @property
    def recommended(self) -> PlanOptions | None:
        """What the checkpoint's plan_options.json says."""
        return self._recommended

    @property
    def encodes_ahead(self) -> bool:
        """On a GPU: on a CPU, encoding would take the cores that decode the other cameras' frames."""
        return self._model.device.type == "cuda"

    def encode(self, camera_id: int, stamp_ns: int, frame: UInt8Array) -> None:
        """Encode a frame into the vision cache, where the plan that needs it finds it."""
        self._model.encode_ahead(camera_id, stamp_ns, frame)

    def read_ahead(self) -> None:
        """Read the start of the next plan's prompt, where the speed options say so."""
        self._model.read_ahead()

    def cache_values(self) -> Mapping[str, object]:
        """Return the vision cache's counts and size, and how many starts were read ahead and used."""
        statistics, starts = self._model.vision_statistics, self._model.start_statistics
        read = {} if starts is None else {"starts_ahead": starts.ahead, "starts_used": starts.used}
        return {
            **read,
            "vision_hits": statistics.hits,
            "vision_misses": statistics.misses,
            "vision_ahead": statistics.ahead,
            "vision_images": statistics.images,
            "vision_mib": statistics.held_bytes / _MIB,
        }

    def check_instruction(self, text: str) -> None:
        """Raise InvalidInput for navigation text that no model, or this one, may be given."""
        check_text("instruction", text)
        self._model.check_instruction(text)

    def check_question(self, text: str) -> None:
        """Raise InvalidInput for a question that no model, or this one, may be given."""
        check_text("question", text)
        self._model.check_question(text)

    def answer(self, observation: Observation, question: str) -> BackendAnswer:
        """Return one answer, sampled with the options of the moment."""
        options = replace(self._options, num_samples=1, guidance_weight=None)
        answer = self._model.ask(observation, question, options)[0]
        return BackendAnswer(answer.text if answer.complete else answer.generated, answer.complete)

    def close(self) -> None:
        """Free the model's memory."""
        self._model.close()
        gc.unfreeze()


def _process_rss_mib() -> float:
    """Return the process's resident memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def load_alpamayo(settings: PlannerSettings, options: PlanOptions) -> PlannerBackend:
    """Load the checkpoint that the settings name.

    Raises:
        InvalidInput: where no checkpoint is named, or it cannot be used (see model.checkpoint).
    """
    if not settings.checkpoint:
        from alpamayo_ros.model.shipped import NAMES, is_shipped

        small = "".join(f" (to {name}, say, which ships)" for name in NAMES if is_shipped(name))
        raise InvalidInput(
            f"checkpoint: expected a folder or a hub id, got ''; set the parameter `checkpoint`{small}"
        )
    from alpamayo_ros.model import Alpamayo
    from alpamayo_ros.model.plan_options import recommended_options
    from alpamayo_ros.model.threads import use_cpu_threads

    model = Alpamayo.from_pretrained(
        settings.checkpoint,
        backbone=settings.backbone or None,
        device=settings.device,
        dtype=settings.dtype,
        speed=settings.speed,
    )
    if model.device.type == "cpu":
        use_cpu_threads(settings.cpu_threads)
    try:
        recommended = recommended_options(model.folder)
    except InvalidInput:
        model.close()
        raise
    return AlpamayoBackend(model, options, recommended=recommended)
