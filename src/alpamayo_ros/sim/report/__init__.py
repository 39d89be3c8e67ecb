"""What people see of rollouts: bird's-eye plots, camera strips, a page, a video."""

from __future__ import annotations

from alpamayo_ros.sim.report.page import WORST, ReportOptions, write_report
from alpamayo_ros.sim.report.results import drawing_problem, show_results
from alpamayo_ros.sim.report.video import write_video

__all__ = ["WORST", "ReportOptions", "drawing_problem", "show_results", "write_report", "write_video"]
