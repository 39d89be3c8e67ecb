"""Several drivers on one graph: names, ports and devices of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpamayo_ros.ros.driver_graph import driver_places, planner_parameters
from alpamayo_ros.ros.driver_parameters import PARAMETERS
from alpamayo_ros.ros.parameters import yaml_file
from alpamayo_ros.types import InvalidInput

ROOT = Path(__file__).resolve().parents[2]


def test_one_driver_has_the_usual_names():
    (place,) = driver_places("alpamayo", 1)
    assert (place.corner.namespace, place.corner.remaps, place.port, place.device) == (
        "/alpamayo",
        {},
        6789,
        "",
    )


def test_several_drivers_share_neither_port_nor_gpu_nor_transforms():
    places = driver_places("/alpamayo/", 3, port=7000)
    assert [place.corner.namespace for place in places] == [f"/alpamayo/driver_{i}" for i in range(3)]
    assert [(place.port, place.device) for place in places] == [(7000 + i, f"cuda:{i}") for i in range(3)]
    assert len({place.corner.remaps["/tf"] for place in places}) == 3
    assert {place.device for place in driver_places("a", 2, device="cpu")} == {"cpu"}


@pytest.mark.parametrize(("count", "port"), [(0, 6789), (65, 6789), (2, 65535), (1, 0)])
def test_places_that_cannot_be_are_refused(count, port):
    with pytest.raises(InvalidInput, match="expected"):
        driver_places("alpamayo", count, port=port)


def test_a_planner_for_a_driver_takes_every_sensor_reliably():
    given = planner_parameters("sim", namespace="/alpamayo/driver_0")
    reliable = {name for name, value in given.items() if value == "reliable"}
    assert "qos_overrides./alpamayo/driver_0/odometry.subscription.reliability" in reliable
    assert len(reliable) == 5 and given["use_sim_time"] is True


def test_the_shipped_file_is_the_declarations():
    assert (ROOT / "config" / "alpasim.yaml").read_text(encoding="utf-8") == yaml_file(
        PARAMETERS, node="sim_bridge", table="alpasim_driver"
    ), "config/alpasim.yaml is not what `alpamayo parameters alpasim_driver --format yaml` writes"
