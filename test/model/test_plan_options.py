"""How plans are drawn comes from the folder and the command line, and is refused where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpamayo_ros.model.plan_options import parse_options, recommended_options, write_recommended
from alpamayo_ros.types import InvalidInput, PlanOptions


def test_a_folder_recommends_what_was_written(tmp_path: Path) -> None:
    wanted = PlanOptions(num_samples=6, noise_temperature=0.3, top_k=1)
    write_recommended(tmp_path, wanted)
    assert recommended_options(tmp_path) == wanted
    assert (
        '"temperature"' not in (tmp_path / "plan_options.json").read_text()
    )  # the defaults are not repeated


def test_without_a_file_and_for_hub_ids_the_defaults_hold(tmp_path: Path) -> None:
    assert recommended_options(tmp_path) == PlanOptions()
    assert recommended_options("nvidia/Alpamayo-1.5-10B") == PlanOptions()


def test_a_person_lays_values_over_the_recommendation() -> None:
    base = PlanOptions(num_samples=6, guidance_weight=2.0)
    found = parse_options("noise_temperature=0.5, top_k=1,guidance_weight=none", base)
    assert found == PlanOptions(num_samples=6, noise_temperature=0.5, top_k=1)
    assert parse_options("", base) == base


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("noise=0.5", "expected fields of num_samples"),
        ("seed=3", "expected fields of"),
        ("num_samples", "expected NAME=VALUE"),
        ("num_samples=1.5", "num_samples: expected a whole number, got '1.5'"),
        ("temperature=none", "temperature: expected a number, got None"),
        ("top_p=1.5", r"top_p: expected a number in \(0, 1\], got 1.5"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        parse_options(text, PlanOptions())


@pytest.mark.parametrize("content", ["[1]", "{", '{"top_k": "one"}', '{"num_samples": true}'])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan_options.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"plan_options\.json"):
        recommended_options(tmp_path)
