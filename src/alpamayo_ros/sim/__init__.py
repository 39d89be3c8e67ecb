"""Simulation: worlds, vehicle, controller, renderer, AlpaSim's protocol, closed loop, scores; no ROS."""
