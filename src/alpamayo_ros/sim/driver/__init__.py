"""The planner as AlpaSim's driver: sessions with buffers of their own around one model."""
