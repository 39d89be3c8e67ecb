"""Light and weather."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.sim.scene import Environment


def day(rng: np.random.Generator) -> Environment:
    """Return a day: clear or overcast, sun from anywhere above."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.1)
    sun = (
        float(np.cos(azimuth) * np.cos(height)),
        float(np.sin(azimuth) * np.cos(height)),
        float(-np.sin(height)),
    )
    clear = Environment(sun_direction=sun)
    if rng.uniform() < 0.35:
        return replace(
            clear,
            name="overcast",
            sky_top_rgb=(0.55, 0.6, 0.66),
            sky_horizon_rgb=(0.74, 0.77, 0.8),
            sun_strength=0.3,
            ambient=0.62,
            fog_per_m=0.0025,
        )
    return clear


def fog(rng: np.random.Generator) -> Environment:
    """Return thick fog: sight of 60 to 120 m."""
    sight_m = rng.uniform(60, 120)
    return Environment(
        name="fog",
        sky_top_rgb=(0.72, 0.74, 0.76),
        sky_horizon_rgb=(0.76, 0.78, 0.79),
        sun_direction=(0.2, 0.1, -0.97),
        sun_strength=0.12,
        ambient=0.72,
        fog_per_m=float(3.0 / sight_m),
        lamps_lit=bool(rng.uniform() < 0.5),
    )


def dusk(rng: np.random.Generator) -> Environment:
    """Return the time about sunset: a low, warm sun, lamps lit."""
    azimuth = rng.uniform(0, 2 * np.pi)
    height = rng.uniform(0.06, 0.18)
    return Environment(
        name="dusk",
        sky_top_rgb=(0.1, 0.12, 0.28),
        sky_horizon_rgb=(0.78, 0.42, 0.26),
        sun_direction=(
            float(np.cos(azimuth) * np.cos(height)),
            float(np.sin(azimuth) * np.cos(height)),
            float(-np.sin(height)),
        ),
        sun_strength=0.4,
        ambient=0.24,
        fog_per_m=0.002,
        lamps_lit=True,
    )


def rain_dark(rng: np.random.Generator) -> Environment:
    """Return a rainy night in town: wet road, lamps lit."""
    return Environment(
        name="rain_dark",
        sky_top_rgb=(0.02, 0.025, 0.04),
        sky_horizon_rgb=(0.07, 0.075, 0.09),
        sun_direction=(0.3, 0.2, -0.93),
        sun_strength=0.05,
        ambient=float(rng.uniform(0.14, 0.2)),
        fog_per_m=0.008,
        wetness=float(rng.uniform(0.7, 1.0)),
        lamps_lit=True,
    )
