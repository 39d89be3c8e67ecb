"""What goes along with an answer for whoever reads the log: reasoning and how the plan came about.

JSON by default. AlpaSim's evaluator takes these bytes for a pickle and shows `reasoning_text` and
`command_name` in its videos; others cost it a warning. So a pickle is written where it is asked for; none is
ever read. No times are in it: equal sessions get equal answers, byte for byte.
"""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

from alpamayo_ros.safety.supervisor import Judgement
from alpamayo_ros.sim.driver.events import DriveOutcome
from alpamayo_ros.sim.driver.navigation import Maneuver

_COMMANDS: dict[Maneuver, str] = {
    "none": "UNKNOWN",
    "straight": "STRAIGHT",
    "left": "LEFT",
    "right": "RIGHT",
}
"""Names that AlpaSim's own drivers use."""
_WITHOUT_PLAN = {
    "warm_up": "Constant speed until there are enough pictures and poses.",
    "stop": "Stop: there is no plan that may be driven.",
}


def describe(outcome: DriveOutcome, *, maneuver: Maneuver, chosen_sample: int | None) -> dict[str, Any]:
    """Return what an answer's debug info says: texts, numbers and lists, ready for JSON.

    Args:
        outcome: the answer.
        maneuver: of the route.
        chosen_sample: which of the sampled trajectories that go along is the one to drive, None for none.
    """
    info: dict[str, Any] = {
        "reasoning_text": _WITHOUT_PLAN.get(outcome.source, ""),
        "command_name": _COMMANDS[maneuver],
        # AlpaSim counts False as its safety monitor's intervention.
        "safe_trajectory": outcome.source != "stop",
        "select_ix": chosen_sample,
        "source": outcome.source,
        "status": outcome.status,
        "reason": outcome.reason,
        "instruction": outcome.instruction,
        "time_now_us": outcome.now_us,
    }
    plan = outcome.plan
    if plan is not None:
        info |= {
            "reasoning_text": plan.reasoning[plan.chosen],
            "reasoning": list(plan.reasoning),
            "meta_action": list(plan.meta_action),
            "t0_us": plan.t0_ns // 1000,
            "seed": plan.seed,
            "model": plan.model,
        }
    if outcome.judgement is not None:
        info |= _judgement(outcome.judgement)
    return info


def _judgement(judgement: Judgement) -> dict[str, Any]:
    """Return what gate and monitor found of the plan that was made for this step, driven or not."""
    checks = judgement.decision.verdicts[judgement.decision.chosen or 0].checks
    monitor = judgement.monitor
    return {
        "refusal": judgement.refusal,
        "checks": {check.name: [_number(check.value), _number(check.limit)] for check in checks},
        "monitor": "not_asked" if monitor is None else monitor.agreement.name.lower(),
        "monitor_reason": "" if monitor is None else monitor.reason,
    }


def _number(value: float) -> float | None:
    """Return a number as JSON has it, to six digits; None for one that is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def encode(info: dict[str, Any], kind: str) -> bytes:
    """Return debug info as "json" or as a "pickle" of texts and numbers."""
    if kind == "pickle":
        return pickle.dumps(info, protocol=4)
    return json.dumps(info, ensure_ascii=False, allow_nan=False).encode()
