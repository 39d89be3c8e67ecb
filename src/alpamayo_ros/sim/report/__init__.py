"""What people see of rollouts: bird's-eye plots, camera strips, a page, a video."""

from __future__ import annotations

from alpamayo_ros.sim.report.page import write_report

__all__ = ["write_report"]
