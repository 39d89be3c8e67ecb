"""Scenes of ours as .usdz files that AlpaSim's runtime, controller and evaluator read."""

from __future__ import annotations

from alpamayo_ros.sim.export.usdz_writer import export_scene, usdz_path

__all__ = ["export_scene", "usdz_path"]
