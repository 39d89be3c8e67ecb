"""An Alpamayo checkpoint as the policy of `alpamayo evaluate`: evaluation/ itself knows no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from alpamayo_ros.cli.sim_checkpoint import CheckpointSource
from alpamayo_ros.types import Observation, Plan, PlanOptions, PrepareFrame

_LOADED: dict[CheckpointSource, CheckpointSource] = {}
"""Of this process: a worker is handed the policy anew with each bag, and need not load it anew."""


@dataclass(frozen=True)
class CheckpointPolicy:
    """Plans with a checkpoint; each process loads it for itself when it first needs it.

    Attributes:
        source: the checkpoint.
        options: how plans are drawn; their seeds come from `seed` and t0.
        seed: the same one gives the same plans, whatever was planned before, and in any process.
        threads: to compute with on a CPU; None shares the machine's among the processes.
    """

    source: CheckpointSource
    options: PlanOptions
    seed: int = 0
    threads: int | None = None

    def start(self, *, jobs: int) -> Callable[[Observation], Plan]:
        """Return what plans."""
        from alpamayo_ros.model.threads import default_cpu_threads, use_cpu_threads

        if self.threads is not None or jobs > 1:
            use_cpu_threads(self.threads or max(1, 2 * default_cpu_threads() // jobs))
        model = self._source().model()

        def plan(observation: Observation) -> Plan:
            if not model.config.takes_instruction:
                observation = replace(observation, instruction=None)
            return model.plan(observation, replace(self.options, seed=seed_of(self.seed, observation.t0_ns)))

        return plan

    def prepare_frame(self) -> PrepareFrame | None:
        """Return the model's."""
        return self._source().prepare_frame()

    def _source(self) -> CheckpointSource:
        return _LOADED.setdefault(self.source, self.source)


def seed_of(seed: int, t0_ns: int) -> int:
    """Return the seed of one plan: 63 bits of a hash, so that neighbours in time share nothing."""
    digest = hashlib.sha256(f"{seed} {t0_ns}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
