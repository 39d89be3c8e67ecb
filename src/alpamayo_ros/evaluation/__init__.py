"""Plans against what was driven: figures, comparisons and a report of any bag. No ROS, no torch."""
