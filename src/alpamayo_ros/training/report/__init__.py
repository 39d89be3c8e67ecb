"""What a policy can do: open loop, reasoning, obedience, latency, and what went wrong in closed loop."""
