"""Columns of tokens are asked for who is in their directions, by the cameras' own geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alpamayo_ros.model.network import VisualFeatures
from alpamayo_ros.training.perception.sectors import (
    SECTOR_KINDS,
    SectorHead,
    SectorReader,
    Sectors,
    nearness_of,
    sector_loss,
)
from alpamayo_ros.training.perception.surroundings import GRID_SHAPE, X_EDGES_M, Y_EDGES_M
from alpamayo_ros.types import InvalidInput

LEFT, WIDE, RIGHT, TELE = range(4)
CAR, ON_FOOT, CONE = range(3)


@pytest.fixture(scope="module")
def reader() -> SectorReader:
    return SectorReader((0, 1, 2, 6), columns=5)


def grid_with(kind: int, *places_m: tuple[float, float]) -> NDArray[np.uint8]:
    grid = np.zeros(GRID_SHAPE, np.uint8)
    for x, y in places_m:
        row = np.searchsorted(X_EDGES_M, x, side="right") - 1
        grid[2 + kind, row, np.searchsorted(Y_EDGES_M, y, side="right") - 1] = 1
    return grid


def columns_with(sectors: Sectors, camera: int, kind: int) -> list[int]:
    return torch.nonzero(sectors.present[0, camera, :, kind])[:, 0].tolist()


def test_who_is_straight_ahead_is_in_the_middle_of_both_front_cameras(reader: SectorReader) -> None:
    sectors = reader.read([grid_with(CAR, (40.0, 0.5), (40.0, -0.5))])
    assert columns_with(sectors, WIDE, CAR) == [2] and columns_with(sectors, TELE, CAR) == [2]
    assert columns_with(sectors, LEFT, CAR) == columns_with(sectors, RIGHT, CAR) == []
    assert not sectors.present[..., [ON_FOOT, CONE]].any()


def test_who_is_on_the_left_is_in_columns_on_the_left(reader: SectorReader) -> None:
    sectors = reader.read([grid_with(ON_FOOT, (16.5, 13.5))])  # 43° to the left
    assert columns_with(sectors, WIDE, ON_FOOT) == [0]
    assert columns_with(sectors, LEFT, ON_FOOT) == [3]  # its middle is 60° to the left
    assert columns_with(sectors, TELE, ON_FOOT) == columns_with(sectors, RIGHT, ON_FOOT) == []
    along, left = 16.5 - 2.0, 13.5
    assert sectors.nearness[0, WIDE, 0, ON_FOOT] == pytest.approx(float(nearness_of(np.hypot(along, left))))


def test_the_nearest_of_a_kind_counts(reader: SectorReader) -> None:
    near, far = grid_with(CONE, (10.5, 0.5)), grid_with(CONE, (10.5, 0.5), (57.0, 0.5))
    both = reader.read([near, far])
    assert both.nearness[0, WIDE, 2, CONE] == both.nearness[1, WIDE, 2, CONE]
    assert both.nearness.isnan().equal(~both.present)


def test_a_mirrored_world_has_mirrored_sectors(reader: SectorReader) -> None:
    rng = np.random.default_rng(0)
    grid = (rng.random(GRID_SHAPE) < 0.03).astype(np.uint8)
    sectors, mirrored = reader.read([grid]), reader.read([grid[:, :, ::-1].copy()])
    assert sectors.present[0, WIDE].any()
    assert torch.equal(mirrored.present[0, WIDE], sectors.present[0, WIDE].flip(0))
    assert torch.equal(mirrored.present[0, RIGHT], sectors.present[0, LEFT].flip(0))


def test_an_empty_grid_has_nobody(reader: SectorReader) -> None:
    sectors = reader.read([np.zeros(GRID_SHAPE, np.uint8)])
    assert sectors.present.shape == (1, 4, 5, len(SECTOR_KINDS))
    assert not sectors.present.any() and sectors.nearness.isnan().all()


@pytest.mark.parametrize(("camera_ids", "columns"), [((), 5), ((0, 9), 5), ((1,), 0)])
def test_what_there_is_not_is_refused(camera_ids: tuple[int, ...], columns: int) -> None:
    with pytest.raises(InvalidInput, match="sectors: expected cameras of"):
        SectorReader(camera_ids, columns=columns)


def test_a_column_is_read_by_its_own_tokens_alone() -> None:
    torch.manual_seed(0)
    head = SectorHead(cameras=2, rows=3, columns=5, channels=8)
    tokens = torch.randn(2 * 2 * 15, 8)
    changed = tokens.clone()
    changed[15 + 5 + 3] += 1.0  # the first instant's second camera, middle row, column 3
    before, after = head(VisualFeatures(tokens, ())), head(VisualFeatures(changed, ()))
    assert before[0].shape == before[1].shape == (2, 2, 5, 3)
    different = (before[0] != after[0]).any(dim=-1)
    assert torch.nonzero(different).tolist() == [[0, 1, 3]]


def test_a_perfect_reading_costs_nothing_and_nobody_has_no_nearness(reader: SectorReader) -> None:
    wanted = reader.read([grid_with(CAR, (20.0, 0.5)), grid_with(ON_FOOT, (20.0, 4.0))])
    nearness = wanted.nearness.nan_to_num(5.0).requires_grad_()
    total, means, _ = sector_loss((torch.where(wanted.present, 20.0, -20.0), nearness), wanted)
    assert float(total.detach()) == pytest.approx(0.0, abs=1e-6)
    assert means["found: vehicle"] == means["true: vehicle"] == means["found: on foot or bicycle"] == 1.0
    assert "found: cone" not in means
    blind, figures, counts = sector_loss((torch.zeros(2, 4, 5, 3), nearness + 1), wanted)
    blind.backward()
    assert nearness.grad is not None and torch.equal(nearness.grad != 0, wanted.present)
    assert figures["found: vehicle"] == 0.0 and counts["found: vehicle"] == int(
        wanted.present[..., CAR].sum()
    )
    assert math.isclose(figures["sector_loss"], float(blind))
