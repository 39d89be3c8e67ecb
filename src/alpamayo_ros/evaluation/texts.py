"""Statistics of what a policy says: length, vocabulary, components, changes, and whether it does it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from alpamayo_ros.evaluation.consistency import LONGEST_GAP_S
from alpamayo_ros.evaluation.row import Row, Said
from alpamayo_ros.safety.monitor import Agreement

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_FREQUENT = 12
_EXAMPLES = 20


def text_statistics(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return what is said, as JSON holds it; None where nobody speaks.

    The keys:
        texts: how many plans; empty: how many of them without a text (its end token never came).
        words: median, p90 and max of words a text; vocabulary: different words; distinct: different texts.
        frequent: the most frequent texts, each with its count.
        components: how many texts name which critical component first; "nothing" for none.
        changes: of consecutive plans of a bag (at most 2 s apart): pairs, how many have another text, how
            many another component, the median gap in s. A text may change its words and mean the same.
        agreement: of the texts with their own waypoints: agrees, contradicts, says nothing.
        contradicted: share that contradicts, of all texts that announce something that can be judged.
        fits_drive: the same of the texts against what was driven.
        contradictions: examples: bag, t0_ns, text, meta_action and what contradicts what.
    """
    spoken = [(row, row.said) for row in rows if row.said is not None]
    if not spoken:
        return None
    told = [said for _, said in spoken if said.text]
    words = [_WORD.findall(said.text.lower()) for said in told]
    counts = [len(each) for each in words]
    frequent = sorted(Counter(said.text for said in told).items(), key=lambda item: (-item[1], item[0]))
    components = Counter(said.component for said in told)
    agreement = Counter(said.agreement for _, said in spoken)
    return {
        "texts": len(spoken),
        "empty": len(spoken) - len(told),
        "words": {
            "median": float(np.median(counts)),
            "p90": float(np.percentile(counts, 90, method="inverted_cdf")),
            "max": max(counts),
        }
        if counts
        else None,
        "vocabulary": len({word for each in words for word in each}),
        "distinct": len(frequent),
        "frequent": [{"text": text, "count": count} for text, count in frequent[:_FREQUENT]],
        "components": dict(sorted(components.items(), key=lambda item: (-item[1], item[0]))),
        "changes": _changes(spoken),
        "agreement": _agreement(agreement),
        "contradicted": _share_contradicting(agreement),
        "fits_drive": _agreement(Counter(s.fits_drive for _, s in spoken if s.fits_drive is not None)),
        "contradictions": [
            {
                "bag": row.bag,
                "t0_ns": row.t0_ns,
                "text": said.text,
                "meta_action": said.meta_action,
                "reason": said.reason,
            }
            for row, said in spoken
            if said.agreement == Agreement.CONTRADICTS.value
        ][:_EXAMPLES],
    }


def _changes(spoken: Sequence[tuple[Row, Said]]) -> dict[str, Any]:
    pairs = [
        (row.t0_ns - before.t0_ns, one, other)
        for (before, one), (row, other) in pairwise(spoken)
        if before.bag == row.bag and row.t0_ns - before.t0_ns <= LONGEST_GAP_S * 1e9
    ]
    return {
        "pairs": len(pairs),
        "text": sum(one.text != other.text for _, one, other in pairs),
        "component": sum(one.component != other.component for _, one, other in pairs),
        "gap_s": round(float(np.median([gap for gap, _, _ in pairs])) * 1e-9, 3) if pairs else None,
    }


def _agreement(found: Counter[Any]) -> dict[str, int]:
    return {each.value: found[each.value] for each in Agreement}


def _share_contradicting(found: Counter[str]) -> float | None:
    judged = found[Agreement.AGREES.value] + found[Agreement.CONTRADICTS.value]
    return round(found[Agreement.CONTRADICTS.value] / judged, 6) if judged else None
