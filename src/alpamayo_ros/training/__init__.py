"""Scenes to samples, Chain-of-Causation labels, supervised fine-tuning, and rollouts as demonstrations."""
