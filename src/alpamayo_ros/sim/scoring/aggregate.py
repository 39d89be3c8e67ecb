"""Many rollouts' scores in one: means with intervals, AlpaSim's kilometres between incidents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from scipy.stats import chi2

from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import FAMILIES
from alpamayo_ros.sim.scoring.score import METRICS, Metric, RolloutScore

CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 20261126
_DECIMALS = 6


def aggregate(scores: Iterable[RolloutScore]) -> dict[str, object]:
    """Return the scores of a run, as JSON can hold them.

    Intervals are bootstrapped over scenes (a scene's rollouts stay together), with a fixed seed. A rollout
    that could not be driven to an end counts with a scene score of 0 and is named in `failed`; one that is
    not scored (interrupted, a black image) or whose scene score is unknown is left out of the mean and named.

    The keys:
        scene_score: {mean, ci95, n}, n rollouts.
        alpasim_score_km, alpasim_score_at_fault_km: see kilometres_per_incident.
        at_fault: rollouts with a collision that AlpaSim blames the ego for, those after leaving the recorded
            drive by 4 m too.
        offroad: rollouts that left the road, by AlpaSim's rule or by the strict one.
        red_light_runs, stop_sign_runs: how many, in all rollouts; None where no map is known.
        rollouts_scored, scenes: how many.
        failed, not_scored, unknown: names of rollouts.
        unknown_incidents: what is unknown somewhere that would make a scene score 0.
        unsolved_steps: steps in which our controller found no command; None where it never drove.
        speed_rel_to_reference: total distance over the recorded drives' in the same time.
        by_family: scene_score, at_fault, offroad and failed of every family there is.
        metrics: {mean, ci95, n} of every other metric, over the rollouts in which it is known.
    """
    ordered = sorted(
        scores, key=lambda score: (_family_order(score.family), score.scene_id, score.rollout_index)
    )
    scored = [score for score in ordered if score.scored]
    return {
        "scene_score": mean_with_interval(scored, [score.scene_score for score in scored]),
        "alpasim_score_km": kilometres_per_incident(scored, "offroad_or_collision"),
        "alpasim_score_at_fault_km": kilometres_per_incident(scored, "offroad_or_collision_at_fault"),
        "at_fault": _count_at_fault(scored),
        "offroad": _count_offroad(scored),
        "red_light_runs": _total(scored, "red_light_runs"),
        "stop_sign_runs": _total(scored, "stop_sign_runs"),
        "rollouts_scored": len(scored),
        "scenes": len({score.scene_id for score in scored}),
        "failed": [score.name for score in scored if score.failed],
        "not_scored": [score.name for score in ordered if not score.scored],
        "unknown": [score.name for score in scored if score.scene_score is None],
        "unknown_incidents": sorted({name for score in scored for name in score.unknown_incidents}),
        "unsolved_steps": _sum([score.unsolved_steps for score in scored]),
        "speed_rel_to_reference": _speed_rel_to_reference(scored),
        "by_family": _by_family(scored),
        "metrics": {
            name: mean_with_interval(scored, [score.metrics.get(name) for score in scored])
            for name in METRICS
        },
    }


def mean_with_interval(scores: Sequence[RolloutScore], values: Sequence[Metric]) -> dict[str, object]:
    """Return {mean, ci95, n} of the values that are known; mean and ci95 are None where none is.

    Scenes are drawn with replacement, each with all of its rollouts; ci95 is the central 95 % of the means.
    """
    known = [
        (score.scene_id, float(value))
        for score, value in zip(scores, values, strict=True)
        if value is not None
    ]
    if not known:
        return {"mean": None, "ci95": None, "n": 0}
    scenes = {scene_id: index for index, scene_id in enumerate(sorted({scene_id for scene_id, _ in known}))}
    sums, counts = np.zeros(len(scenes)), np.zeros(len(scenes))
    for scene_id, value in known:
        sums[scenes[scene_id]] += value
        counts[scenes[scene_id]] += 1
    weights = _resamples(len(scenes))
    means = (weights @ sums) / (weights @ counts)
    tail = 50.0 * (1.0 - CONFIDENCE)
    interval = np.percentile(means, [tail, 100.0 - tail])
    return {
        "mean": round(float(sums.sum() / counts.sum()), _DECIMALS),
        "ci95": [round(float(bound), _DECIMALS) for bound in interval],
        "n": len(known),
    }


def kilometres_per_incident(scores: Sequence[RolloutScore], incident: str) -> dict[str, object]:
    """Return AlpaSim's score: kilometres driven by the number of rollouts with an incident.

    Rollouts that could not be driven to an end, or in which incidents are unknown, are left out, as AlpaSim
    does.

    Returns:
        km: driven, by AlpaSim's dist_traveled_m; incidents: rollouts that have one; value: their ratio, None
        without incidents; text: the value, or "> N km"; lower_bound_95_km: with 95 % confidence incidents are
        this far apart at least (one-sided, Poisson; km / 3.0 without incidents); ci95: two-sided interval,
        its upper end None where there is none.
    """
    rows = [score for score in scores if score.metrics.get(incident) is not None and not score.failed]
    if not rows:
        keys = ("km", "incidents", "value", "text", "lower_bound_95_km", "ci95")
        return dict.fromkeys(keys) | {"text": "unknown"}
    km = sum(float(score.metrics["dist_traveled_m"] or 0.0) for score in rows) / 1000.0
    incidents = sum(bool(score.metrics[incident]) for score in rows)
    value = km / incidents if incidents else None
    lower_km = km / _poisson_upper(incidents, CONFIDENCE)
    two_sided = (1.0 + CONFIDENCE) / 2.0
    upper_km = km / _poisson_lower(incidents, two_sided) if incidents else None
    return {
        "km": round(km, _DECIMALS),
        "incidents": incidents,
        "value": None if value is None else round(value, _DECIMALS),
        "text": f"> {lower_km:.2f} km" if value is None else f"{value:.2f} km",
        "lower_bound_95_km": round(lower_km, _DECIMALS),
        "ci95": [
            round(km / _poisson_upper(incidents, two_sided), _DECIMALS),
            None if upper_km is None else round(upper_km, _DECIMALS),
        ],
    }


def _poisson_upper(count: int, confidence: float) -> float:
    """Return the upper bound of a Poisson mean of which `count` events were seen (Garwood 1936)."""
    return float(chi2.ppf(confidence, 2 * count + 2)) / 2.0


def _poisson_lower(count: int, confidence: float) -> float:
    return float(chi2.ppf(1.0 - confidence, 2 * count)) / 2.0


@lru_cache(maxsize=4)
def _resamples(count: int) -> Float64Array:
    """Return how often each of `count` scenes is drawn [RESAMPLES, count]."""
    generator = np.random.default_rng([_SEED, count])
    return generator.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES).astype(np.float64)


def _by_family(scores: Sequence[RolloutScore]) -> dict[str, object]:
    families = sorted({score.family for score in scores}, key=_family_order)
    result: dict[str, object] = {}
    for family in families:
        mine = [score for score in scores if score.family == family]
        result[family] = {
            "scene_score": mean_with_interval(mine, [score.scene_score for score in mine]),
            "at_fault": _count_at_fault(mine),
            "offroad": _count_offroad(mine),
            "failed": sum(score.failed for score in mine),
        }
    return result


def _family_order(family: str) -> tuple[int, str]:
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family)


def _count_at_fault(scores: Sequence[RolloutScore]) -> int | None:
    return _count(scores, "collision_at_fault", "strict_collision_at_fault")


def _count_offroad(scores: Sequence[RolloutScore]) -> int | None:
    return _count(scores, "offroad", "strict_offroad")


def _count(scores: Sequence[RolloutScore], *names: str) -> int | None:
    """Return in how many rollouts one of the metrics is set; None where none is known anywhere."""
    rows = [
        [score.metrics[name] for name in names if score.metrics.get(name) is not None] for score in scores
    ]
    if scores and not any(rows):
        return None
    return sum(any(row) for row in rows)


def _total(scores: Sequence[RolloutScore], name: str) -> int | None:
    return _sum([score.metrics.get(name) for score in scores])


def _sum(values: Sequence[Metric]) -> int | None:
    known = [value for value in values if value is not None]
    return int(sum(known)) if known else None


def _speed_rel_to_reference(scores: Sequence[RolloutScore]) -> float | None:
    """Return the mean speed over the recorded drives', each rollout weighing as long as it lasted."""
    driven = reference = 0.0
    for score in scores:
        mean, recorded = score.metrics.get("mean_speed_mps"), score.metrics.get("reference_mean_speed_mps")
        duration_s = score.metrics.get("window_s")
        if mean is not None and recorded is not None and duration_s is not None:
            driven += mean * duration_s
            reference += recorded * duration_s
    return round(driven / reference, _DECIMALS) if reference > 0 else None
