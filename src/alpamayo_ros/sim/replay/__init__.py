"""Replays the driver calls of a log into any driver of AlpaSim, and checks each answer."""
