"""What a model is asked: a prompt, and the images that it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.images import ImagePreparer
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.types import NUM_FRAMES, InvalidInput, Observation, PlanOptions

_PROMPT_TEXT = 200


@dataclass(frozen=True)
class Request:
    """A prompt and the images it is about.

    Attributes:
        prompt: token ids.
        grids: rows and columns of each image's tokens, in the prompt's order.
        observation: where the images are.
    """

    prompt: Prompt
    grids: tuple[tuple[int, int], ...]
    observation: Observation

    @classmethod
    def of(
        cls, observation: Observation, prompt: Callable[[list[int]], Prompt], *, images: ImagePreparer
    ) -> Request:
        """Build the prompt for the images' token counts, which may refuse, before any compute."""
        token = images.patch_size * images.merge_size
        sizes = [images.model_size(*frames.shape[-2:]) for frames in observation.frames]
        grids = [(height // token, width // token) for height, width in sizes for _ in range(NUM_FRAMES)]
        return cls(prompt([rows * columns for rows, columns in grids]), tuple(grids), observation)


def check_guidance(observation: Observation, options: PlanOptions) -> None:
    """Raise InvalidInput for guidance by an instruction that the observation does not have."""
    if options.guidance_weight is not None and observation.instruction is None:
        raise InvalidInput(
            f"guidance_weight: expected None without a navigation instruction, got {options.guidance_weight}"
        )


def usual_prompt_tokens(config: ModelConfig) -> int:
    """Return about how many tokens a prompt of four cameras has."""
    token_pixels = 32 * 32
    return 4 * NUM_FRAMES * config.pixel_budget[1] // token_pixels + _PROMPT_TEXT
