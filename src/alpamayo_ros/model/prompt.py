"""What the model is told, as token ids.

The text is upstream's (helper.py of NVlabs/alpamayo and NVlabs/alpamayo1.5), rendered by the backbone's
chat template: nothing stands between the parts. Everything in front of the history is the same for
every observation of a rig, so it is encoded once per set of cameras and kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from alpamayo_ros.model.config import ModelConfig
from alpamayo_ros.model.tokenizer import AlpamayoTokenizer
from alpamayo_ros.types import NUM_FRAMES, InvalidInput, camera_name

SYSTEM_TEXT = "You are a driving assistant that generates safe and accurate actions."
PLANNING_TEXT = (
    "output the chain-of-thought reasoning of the driving process, then output the future trajectory."
)
CAMERA_LABELS: tuple[str, ...] = (
    "Front left camera",
    "Front camera",
    "Front right camera",
    "Rear left camera",
    "Rear camera",
    "Rear right camera",
    "Front telephoto camera",
)
"""How the prompt calls a camera, by camera id."""

_MAX_CACHED_RIGS, _MAX_CACHED_ROUTES = 16, 16


@dataclass(frozen=True)
class Prompt:
    """One request to the model.

    Attributes:
        input_ids: the prompt as it is written, <|traj_history|> where the history's tokens go.
        fused_ids: the same with the history's tokens in place: what the network reads.
        image_token_counts: number of <|image_pad|> of each image, camera-major, oldest first.
        unguided_ids: the fused ids without the route, from <|route_start|> to <|route_end|>; None where
            there is no route.
    """

    input_ids: tuple[int, ...]
    fused_ids: tuple[int, ...]
    image_token_counts: tuple[int, ...]
    unguided_ids: tuple[int, ...] | None = None

    @property
    def has_route(self) -> bool:
        """Whether a navigation instruction is in it."""
        return self.unguided_ids is not None


class PromptBuilder:
    """Builds prompts for one checkpoint.

    Args:
        config: the checkpoint's config.
        tokenizer: its tokenizer.
    """

    def __init__(self, config: ModelConfig, tokenizer: AlpamayoTokenizer) -> None:
        self.config = config
        self._tokenizer = tokenizer
        self._images: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...]] = {}
        self._routes: dict[str, tuple[int, ...]] = {}
        encode = tokenizer.encode
        self._history_start = tuple(encode("<|traj_history_start|>"))
        self._history_end = tuple(encode("<|traj_history_end|>"))
        self._placeholder = tokenizer.id_of("traj_history")
        self._planning_end = tuple(encode(f"{PLANNING_TEXT}<|im_end|>\n<|im_start|>assistant\n<|cot_start|>"))
        self._answer_end = tuple(encode("<|im_end|>\n<|im_start|>assistant\n<|answer_start|>"))

    def planning(
        self,
        camera_ids: Sequence[int],
        image_token_counts: Sequence[int],
        *,
        history_token_ids: Sequence[int],
        instruction: str | None = None,
    ) -> Prompt:
        """Return the prompt that asks for reasoning and a trajectory.

        Args:
            camera_ids: Alpamayo camera ids, strictly ascending.
            image_token_counts: tokens of each image, 4 a camera, camera-major, oldest first.
            history_token_ids: ids of the ego history's tokens (HistoryTokenizer.token_ids).
            instruction: navigation text or None.

        Raises:
            InvalidInput: on wrong cameras or counts, and on an instruction that the checkpoint was not
                trained with or that contains a token of the vocabulary.
        """
        history = self._history(history_token_ids)
        route = () if instruction is None else self._route(instruction)
        head = self._head(camera_ids, image_token_counts)
        placeholders = (self._placeholder,) * len(history)

        def joined(tokens: tuple[int, ...], route: tuple[int, ...]) -> tuple[int, ...]:
            return head + self._history_start + tokens + self._history_end + route + self._planning_end

        return Prompt(
            input_ids=joined(placeholders, route),
            fused_ids=joined(history, route),
            image_token_counts=tuple(int(n) for n in image_token_counts),
            unguided_ids=joined(history, ()) if route else None,
        )

    def question(
        self, camera_ids: Sequence[int], image_token_counts: Sequence[int], *, question: str
    ) -> Prompt:
        """Return the prompt that asks a question about the images; it has no history and no route.

        Raises:
            InvalidInput: as `planning`, for the question.
        """
        text = self._question(question)
        asked = (self._tokenizer.id_of("question_start"), *text, self._tokenizer.id_of("question_end"))
        ids = self._head(camera_ids, image_token_counts) + asked + self._answer_end
        return Prompt(
            input_ids=ids, fused_ids=ids, image_token_counts=tuple(int(n) for n in image_token_counts)
        )

    def check_instruction(self, instruction: str) -> None:
        """Raise InvalidInput for an instruction that `planning` would refuse."""
        self._route(instruction)

    def check_question(self, question: str) -> None:
        """Raise InvalidInput for a question that `question` would refuse."""
        self._question(question)

    def _question(self, question: str) -> list[int]:
        if not self.config.takes_question:
            given = self.config.generation
            raise InvalidInput(
                f"question: expected a checkpoint trained to answer (alpamayo1_5), got {given}"
            )
        return self._tokenizer.require_plain_text("question", question)

    def _history(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        history = tuple(int(i) for i in token_ids)
        wanted = self.config.tokens_per_history_traj
        if len(history) != wanted:
            raise InvalidInput(f"history_token_ids: expected {wanted} tokens, got {len(history)}")
        low = self._tokenizer.history_token_start
        high = low + self.config.history_tokenizer.num_bins - 1
        bad = next((i for i in history if not low <= i <= high), None)
        if bad is not None:
            raise InvalidInput(f"history_token_ids: expected ids in {low} ... {high}, got {bad}")
        return history

    def _route(self, instruction: str) -> tuple[int, ...]:
        if not self.config.takes_instruction:
            raise InvalidInput(
                "instruction: expected a checkpoint trained with navigation text (alpamayo1_5) or None, "
                f"got {self.config.generation} and {instruction!r}"
            )
        route = self._routes.get(instruction) if isinstance(instruction, str) else None
        if route is None:
            text = self._tokenizer.require_plain_text("instruction", instruction)
            route = (self._tokenizer.id_of("route_start"), *text, self._tokenizer.id_of("route_end"))
            if len(self._routes) >= _MAX_CACHED_ROUTES:
                self._routes.pop(next(iter(self._routes)))
            self._routes[instruction] = route
        return route

    def _head(self, camera_ids: Sequence[int], image_token_counts: Sequence[int]) -> tuple[int, ...]:
        """Return everything up to the last image, from the cache if these cameras were seen before."""
        key = (tuple(int(i) for i in camera_ids), tuple(int(n) for n in image_token_counts))
        head = self._images.get(key)
        if head is None:
            head = self._encode_head(*key)
            if len(self._images) >= _MAX_CACHED_RIGS:
                self._images.pop(next(iter(self._images)))
            self._images[key] = head
        return head

    def _encode_head(self, camera_ids: tuple[int, ...], counts: tuple[int, ...]) -> tuple[int, ...]:
        rising = all(a < b for a, b in itertools.pairwise(camera_ids))
        if not camera_ids or not rising:
            raise InvalidInput(f"camera_ids: expected strictly ascending ids, got {list(camera_ids)}")
        for camera_id in camera_ids:
            camera_name(camera_id)
        wanted = NUM_FRAMES * len(camera_ids)
        if len(counts) != wanted:
            raise InvalidInput(
                f"image_token_counts: expected {wanted} ({NUM_FRAMES} images a camera), got {len(counts)}"
            )
        if min(counts) < 1:
            raise InvalidInput(f"image_token_counts: expected at least 1 token an image, got {min(counts)}")
        # Special tokens cut the text, so pieces between them may be encoded one by one. The first label
        # is the exception: it follows "user\n" without a token between.
        pad = self._tokenizer.image_pad_id
        ids: list[int] = []
        text = f"<|im_start|>system\n{SYSTEM_TEXT}<|im_end|>\n<|im_start|>user\n"
        for i, count in enumerate(counts):
            camera_id, frame = camera_ids[i // NUM_FRAMES], i % NUM_FRAMES
            ids += self._tokenizer.encode(f"{text}{self._label(camera_id, frame)}<|vision_start|>")
            ids += [pad] * count
            text = "<|vision_end|>"
        ids += self._tokenizer.encode(text)
        return tuple(ids)

    def _label(self, camera_id: int, frame: int) -> str:
        camera = f"{CAMERA_LABELS[camera_id]}: " if self.config.include_camera_ids and frame == 0 else ""
        return camera + (f"frame {frame} " if self.config.include_frame_nums else "")
