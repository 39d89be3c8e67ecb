"""Figures of many judged samples, as JSON holds them: open loop against a baseline, and reasoning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from alpamayo_ros.evaluation.displacement import HORIZONS_S
from alpamayo_ros.evaluation.intervals import Estimate, mean_of, ratio_of_means
from alpamayo_ros.safety.monitor import Agreement
from alpamayo_ros.sim.scene import FAMILIES
from alpamayo_ros.training.report.judging import Judged
from alpamayo_ros.types import InvalidInput

Metric = Callable[[Judged], float]
MIN_ADE = "min_ade@6.4s"


def _ade(row: int) -> Metric:
    return lambda judged: judged.ade_m[row]


def _one_ade(row: int) -> Metric:
    return lambda judged: judged.one_ade_m[row]


DISTANCES: dict[str, Metric] = {
    MIN_ADE: lambda judged: judged.min_ade_m,
    **{f"ade@{horizon_s:g}s": _ade(row) for row, horizon_s in enumerate(HORIZONS_S)},
    **{f"one_ade@{horizon_s:g}s": _one_ade(row) for row, horizon_s in enumerate(HORIZONS_S)},
}
"""Distances in metres by name: minADE_K, ADE of the chosen candidate, expected ADE of a single one."""


def open_loop(judged: Sequence[Judged], baseline: Sequence[Judged]) -> dict[str, object]:
    """Return the distances, and their ratio to a baseline's on the same samples.

    A ratio is that of the two means over samples. One candidate of the baseline stands against K in
    minADE_K: it has no more.

    The keys: `distance_m` and `ratio` by metric, each an Estimate; `by_family` and `by_recovery`:
    n, distance_m and ratio (without intervals) of each.

    Raises:
        InvalidInput: unless both are of the same samples.
    """
    if [each.sample_id for each in judged] != [each.sample_id for each in baseline]:
        raise InvalidInput("baseline: expected the same samples in the same order, got others")
    return {
        "distance_m": distances(judged),
        "ratio": {
            name: ratio_of_means(
                _scenes(judged), [metric(each) for each in judged], [metric(each) for each in baseline]
            ).as_dict()
            for name, metric in DISTANCES.items()
        },
        "by_family": _by(lambda each: each.family, judged, baseline),
        "by_recovery": _by(lambda each: each.recovery, judged, baseline),
    }


def distances(judged: Sequence[Judged]) -> dict[str, object]:
    """Return the mean distances by metric, each an Estimate."""
    return {
        name: mean_of(_scenes(judged), [metric(each) for each in judged]).as_dict()
        for name, metric in DISTANCES.items()
    }


def reasoning(judged: Sequence[Judged]) -> dict[str, object]:
    """Return what the reasonings are worth.

    The keys:
        component: share that names the right critical component first, an Estimate; samples whose component
            nobody knows are left out of it.
        balanced: the mean over the components of the share of each that is named: guessing the most frequent
            one gets no more than one over their number.
        scenes: share of scenes in most of whose samples the right one is named, an Estimate.
        by_family: the share of each family.
        confusion: samples by component, then by what was named.
        agreement, fits_expert: of the reasoning with its own waypoints, and with the expert's: samples that
            agree, contradict, and of which the monitor says nothing; agrees_of_judged is the share that
            agrees where it does say something, not_contradicted that of all, Estimates.
        right_and_agreeing: share that names the right component and is not contradicted by its own waypoints.
    """
    known = [each for each in judged if each.is_right is not None]
    scenes = _scenes(known)
    confusion: dict[str, dict[str, int]] = {}
    for component in sorted({each.component for each in known}):
        named = Counter(each.named for each in known if each.component == component)
        confusion[component] = dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))
    shares = [row.get(name, 0) / sum(row.values()) for name, row in confusion.items()]
    families = sorted({each.family for each in known}, key=family_order)
    by_scene: dict[str, list[bool]] = {}
    for each in known:
        by_scene.setdefault(each.scene_id, []).append(bool(each.is_right))
    most_right = {scene: sum(right) > len(right) / 2 for scene, right in by_scene.items()}
    contradicts = Agreement.CONTRADICTS.value
    return {
        "component": mean_of(scenes, [each.is_right for each in known]).as_dict(),
        "balanced": sum(shares) / len(shares) if shares else None,
        "scenes": mean_of(list(most_right), list(most_right.values())).as_dict(),
        "by_family": {
            family: _share([bool(each.is_right) for each in known if each.family == family])
            for family in families
        },
        "confusion": confusion,
        "agreement": _agreement(_scenes(judged), [each.agreement for each in judged]),
        "fits_expert": _agreement(_scenes(judged), [each.fits_expert for each in judged]),
        "right_and_agreeing": mean_of(
            scenes, [bool(each.is_right) and each.agreement != contradicts for each in known]
        ).as_dict(),
    }


def majority_guess(judged: Sequence[Judged]) -> dict[str, object]:
    """Return what a guess gets that always names the most frequent component of these very samples.

    It knows the held-out samples' own frequencies, so it is more than a policy without eyes could know.
    """
    known = [each for each in judged if each.component]
    if not known:
        return {"component": None, "share": Estimate().as_dict()}
    counts = Counter(each.component for each in known)
    component = min(counts, key=lambda name: (-counts[name], name))
    return {
        "component": component,
        "share": mean_of(_scenes(known), [each.component == component for each in known]).as_dict(),
    }


def family_order(family: str) -> tuple[int, str]:
    """Return a key that sorts families as they are listed everywhere."""
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family)


def _agreement(scenes: Sequence[str], found: Sequence[str]) -> dict[str, object]:
    agrees, contradicts, silent = (
        each.value for each in (Agreement.AGREES, Agreement.CONTRADICTS, Agreement.SILENT)
    )
    counts = Counter(found)
    return {
        "agrees": counts[agrees],
        "contradicts": counts[contradicts],
        "silent": counts[silent],
        "agrees_of_judged": mean_of(
            scenes, [None if each == silent else each == agrees for each in found]
        ).as_dict(),
        "not_contradicted": mean_of(scenes, [each != contradicts for each in found]).as_dict(),
    }


def _by(
    key: Callable[[Judged], str], judged: Sequence[Judged], baseline: Sequence[Judged]
) -> Mapping[str, object]:
    pairs = list(zip(judged, baseline, strict=True))
    result: dict[str, object] = {}
    for value in sorted({key(each) for each in judged}, key=family_order):
        mine = [pair for pair in pairs if key(pair[0]) == value]
        means = {
            name: [sum(metric(pair[side]) for pair in mine) / len(mine) for side in (0, 1)]
            for name, metric in DISTANCES.items()
        }
        result[value] = {
            "n": len(mine),
            "distance_m": {name: round(ours, 6) for name, (ours, _) in means.items()},
            "ratio": {
                name: round(ours / theirs, 6) if theirs > 0 else None
                for name, (ours, theirs) in means.items()
            },
        }
    return result


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None


def _scenes(judged: Sequence[Judged]) -> list[str]:
    return [each.scene_id for each in judged]
