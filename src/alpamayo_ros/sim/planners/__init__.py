"""Planners that need no model: the privileged expert (ceiling and teacher) and constant velocity (floor)."""

from alpamayo_ros.sim.planners.constant_velocity import ConstantVelocityPlanner
from alpamayo_ros.sim.planners.expert import ExpertPlanner

__all__ = ["ConstantVelocityPlanner", "ExpertPlanner"]
