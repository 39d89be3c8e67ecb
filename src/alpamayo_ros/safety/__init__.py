"""What stands between a planner and a vehicle: gate, fallback, arbiter, monitor. numpy alone."""
