"""Scores of rollouts: AlpaSim's by its rules, and our own beside them."""
