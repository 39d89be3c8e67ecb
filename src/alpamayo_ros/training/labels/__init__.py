"""Why the vehicle drives as it does: labels from the simulator's state, from a model, from a person."""
