"""The layouts of RViz and Foxglove show what is there: the watched session's topics, types and QoS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from alpasim_harness import Caller, Looker, called
from planner_harness import Graph, graph, wait_for
from rclpy.qos import DurabilityPolicy
from test_sim_rviz import STOCK, TYPES, WITHOUT_TOPIC, classes, displays

CONFIG = Path(__file__).resolve().parents[2] / "config"
RVIZ = yaml.safe_load((CONFIG / "rviz" / "alpasim.rviz").read_text(encoding="utf-8"))
FOXGLOVE = json.loads((CONFIG / "foxglove" / "alpasim.json").read_text(encoding="utf-8"))


@pytest.fixture
def corner() -> Iterator[Graph]:
    with graph(sim_time=False) as (corner, _):
        yield corner


def test_rviz_needs_no_plugins_but_its_own_and_looks_at_the_watched_session():
    assert set(classes(RVIZ)) <= STOCK
    manager = RVIZ["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "watched/local"
    assert manager["Views"]["Current"]["Target Frame"] == "watched/base_link"


def topics_of_rviz() -> dict[str, str]:
    """Return topic -> type; all are relative and volatile."""
    found = {}
    for name, display in displays(RVIZ).items():
        kind = display["Class"].partition("/")[2]
        if kind not in WITHOUT_TOPIC:
            assert display["Topic"]["Durability Policy"] == "Volatile", name
            found[display["Topic"]["Value"]] = TYPES[kind]
    return found


def topics_of_foxglove() -> set[str]:
    def strings(part: Any) -> list[str]:
        if isinstance(part, dict):
            return [*part, *(text for value in part.values() for text in strings(value))]
        if isinstance(part, list):
            return [text for value in part for text in strings(value)]
        return [part] if isinstance(part, str) else []

    start = "/alpamayo/"
    texts = [text.partition(".")[0] for text in strings(FOXGLOVE) if text.startswith(start)]
    return {text.removeprefix(start) for text in texts}


def test_foxglove_s_panels_are_those_that_are_laid_out():
    def leaves(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else [*leaves(part["first"]), *leaves(part["second"])]

    assert sorted(leaves(FOXGLOVE["layout"])) == sorted(FOXGLOVE["configById"])


def test_every_topic_is_there_with_its_type(corner):
    looker = Looker(**corner.options)
    with called(corner, looker) as (_, client):
        Caller(client)
        wait_for(lambda: looker.topics_of("watched"), "the watched session's topics")
        there = dict(looker.get_topic_names_and_types())
        wanted = topics_of_rviz()
        assert wanted and topics_of_foxglove() >= set(wanted) - {"watched/clock"}
        for topic in {*wanted, *topics_of_foxglove()}:
            full = f"{looker.get_namespace()}/{topic}"
            (kind,) = there[full]
            assert wanted.get(topic, kind) == kind
            for publisher in looker.get_publishers_info_by_topic(full):
                latched = publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
                assert latched is (topic == "watched/route")
