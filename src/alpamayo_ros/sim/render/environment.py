"""Light and weather as the shaders want them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.sim.render.shaders import MAX_WAVES
from alpamayo_ros.sim.scene import Environment, Scene

_SKY_CLEAR = {"day": 1.0, "dusk": 0.55}


def environment_uniforms(scene: Scene) -> dict[str, object]:
    """Return the uniforms that are the same for all views of a scene."""
    environment = scene.environment
    dark = 1.0 - 0.25 * environment.wetness
    sun = np.array(environment.sun_strength * _sun_colour(environment))
    to_sun = -np.array(environment.sun_direction) / np.linalg.norm(environment.sun_direction)
    ambient = environment.ambient * _ambient_colour(environment) * dark
    values: dict[str, object] = {
        "sun_strength": tuple(sun),
        "sky_top": tuple(_encode(np.array(environment.sky_top_rgb))),
        "sky_horizon": tuple(_encode(np.array(environment.sky_horizon_rgb))),
        "ambient": tuple(ambient),
        "fog_per_m": environment.fog_per_m,
        "wetness": environment.wetness,
        "lamps_lit": 1.0 if environment.lamps_lit else 0.0,
        "sun_in_local": tuple(to_sun),
        "clouds": _SKY_CLEAR.get(environment.name, 0.0),
        "light_factor": tuple(_encode(ambient + sun * max(to_sun[2], 0.0))),
        "shade_factor": tuple(_encode(ambient * 0.9)),
        "wave_count": len(scene.terrain.waves),
    }
    waves = np.zeros((MAX_WAVES, 4))
    for row, wave in enumerate(scene.terrain.waves):
        waves[row] = wave.amplitude_m, wave.kx_per_m, wave.ky_per_m, wave.phase_rad
    values["waves"] = [tuple(row) for row in waves]
    return values


def sight_m(environment: Environment) -> float:
    """Return how far things can be told from the fog."""
    return min(900.0, 5.5 / environment.fog_per_m) if environment.fog_per_m > 0 else 900.0


def _encode(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(linear, 0.0) ** (1 / 2.2))


def _sun_colour(environment: Environment) -> NDArray[np.float64]:
    """Return the colour of the sun's light: warm when it is low."""
    low = np.clip(1.0 - (-environment.sun_direction[2]) / 0.35, 0.0, 1.0)
    return np.array([1.0, 0.97 - 0.25 * low, 0.90 - 0.5 * low])


def _ambient_colour(environment: Environment) -> NDArray[np.float64]:
    """Return the colour of the sky's light: half of the way from grey to its own hue."""
    sky = 0.5 * (np.array(environment.sky_top_rgb) + np.array(environment.sky_horizon_rgb))
    return np.asarray(0.6 + 0.4 * sky / max(float(sky.mean()), 1e-6))
