"""Has a vision-language model write the reasoning of samples; bad answers are counted and kept out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from alpamayo_ros.training.labels.chat import ChatClient, Failure, NoAnswer
from alpamayo_ros.training.labels.prompt import messages_for, sentence_of
from alpamayo_ros.training.labels.reasonings import Reasoning, ReasoningFile
from alpamayo_ros.training.sample import ReasoningSource, SampleSource

_UNREACHABLE_IN_A_ROW = 5
_ENDPOINTS_OWN = frozenset({Failure.HTTP, Failure.UNREACHABLE, Failure.TIMEOUT})


@dataclass
class Tally:
    """What came of a run.

    Attributes:
        written: good answers, now in the file.
        failures: the others, by what was wrong.
        gave_up: whether the endpoint failed so often in a row that the rest was not asked.
    """

    written: int = 0
    failures: Counter[Failure] = field(default_factory=Counter)
    gave_up: bool = False


def write_reasonings(
    samples: SampleSource,
    indices: Sequence[int],
    client: ChatClient,
    *,
    file: ReasoningFile,
    report: Callable[[str, NoAnswer | None], None] = lambda sample_id, failure: None,
) -> Tally:
    """Ask for the reasoning of samples one by one; each good answer is in the file before the next is asked.

    Args:
        samples: the samples.
        indices: which of them.
        client: whom to ask.
        file: where the answers go, as source MODEL.
        report: told of each sample asked, with what was wrong or None.

    Raises:
        EndpointRefuses: for a wrong key, model or address.
    """
    tally, in_a_row = Tally(), 0
    for index in indices:
        sample = samples[index]
        try:
            text = sentence_of(client.ask(messages_for(sample)))
        except NoAnswer as failure:
            tally.failures[failure.failure] += 1
            report(sample.sample_id, failure)
            in_a_row = in_a_row + 1 if failure.failure in _ENDPOINTS_OWN else 0
            if in_a_row >= _UNREACHABLE_IN_A_ROW:
                tally.gave_up = True
                break
            continue
        in_a_row = 0
        author = client.endpoint.model
        file.add([Reasoning(sample.sample_id, ReasoningSource.MODEL, text, author)])
        tally.written += 1
        report(sample.sample_id, None)
    return tally
