"""NVIDIA's PhysicalAI-Autonomous-Vehicles data set, through NVIDIA's own package physical_ai_av."""
