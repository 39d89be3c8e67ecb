"""report.html of an evaluation: one file, pictures inside."""

from alpamayo_ros.evaluation.report.write import ReportOptions, write_report

__all__ = ["ReportOptions", "write_report"]
