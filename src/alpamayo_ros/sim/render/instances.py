"""A scene as instances of meshes: what stands still, once; what moves, for every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from alpamayo_ros.sensing.rigid import Matrix4
from alpamayo_ros.sim.render import islands
from alpamayo_ros.sim.render.people import WALK_PHASES
from alpamayo_ros.sim.render.pictures import FACADE_COUNT, SPEEDS_KMH
from alpamayo_ros.sim.render.scenery import LIGHT_SIZE_M
from alpamayo_ros.sim.roads import Float64Array
from alpamayo_ros.sim.scene import ActorKind, ActorSpec, Prop, Scene

FLAG_BRAKING = 1
FLAG_SIGNAL = 2
FLAG_UNLIT = 8
FLAG_MATT = 64
"""Bits of Instances.flags: brake lamps on; the lit colour of a signal (1 red, 2 yellow, 3 green) times 2;
lamps off even in the dark; no gloss on what takes the tint."""

SIGNAL_CODES: dict[str, int] = {"red": 1, "yellow": 2, "green": 3}

_CAR_COLOURS = np.array(
    [(0.80, 0.81, 0.82), (0.55, 0.57, 0.59), (0.06, 0.065, 0.075), (0.45, 0.03, 0.035), (0.04, 0.10, 0.30),
     (0.30, 0.32, 0.34), (0.02, 0.14, 0.10), (0.55, 0.50, 0.42), (0.80, 0.80, 0.78), (0.62, 0.20, 0.03)]
)  # fmt: skip
_VAN_COLOURS = np.array([(0.80, 0.80, 0.79), (0.62, 0.64, 0.66), (0.70, 0.45, 0.04), (0.10, 0.16, 0.34)])
_SHIRTS = np.array(
    [(0.55, 0.06, 0.05), (0.05, 0.14, 0.42), (0.62, 0.60, 0.56), (0.08, 0.26, 0.12), (0.62, 0.40, 0.05),
     (0.10, 0.10, 0.11), (0.35, 0.10, 0.32), (0.04, 0.30, 0.36)]
)  # fmt: skip
_TROUSERS = np.array([(0.05, 0.07, 0.15), (0.04, 0.04, 0.045), (0.20, 0.16, 0.11), (0.16, 0.17, 0.18)])
_BOX_COLOURS = np.array([(0.82, 0.82, 0.80), (0.75, 0.76, 0.78), (0.45, 0.10, 0.08), (0.10, 0.22, 0.42)])
_LEAVES = np.array([(0.13, 0.24, 0.06), (0.18, 0.28, 0.07), (0.10, 0.20, 0.07), (0.24, 0.27, 0.06)])
_WALLS = np.array([(1.0, 1.0, 1.0), (0.92, 0.90, 0.86), (0.85, 0.88, 0.92), (0.95, 0.86, 0.80)])
_STEEL = (0.24, 0.25, 0.26)

BAY_M = 3.2


@dataclass(eq=False)
class Instances:
    """Instances of meshes in the local frame; columns of equal length N.

    Attributes:
        kind: int64 [N], index into the mesh library.
        local_from_model: float64 [N, 4, 4], the model's unit cube in local, scale included.
        tint, tint2: float32 [N, 3], linear.
        flags: float32 [N]; identity: float32 [N], 0 for scenery.
        extra: float32 [N, 2]: picture's layer, bays a metre.
        radius_m, side_m: float64 [N], of the bounding sphere, and the longest side.
    """

    kind: NDArray[np.int64]
    local_from_model: Float64Array
    tint: NDArray[np.float32]
    tint2: NDArray[np.float32]
    flags: NDArray[np.float32]
    identity: NDArray[np.float32]
    extra: NDArray[np.float32]
    radius_m: Float64Array
    side_m: Float64Array

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, eq=False)
class Part:
    """One instance to be: mesh, pose of its box, size and paint."""

    mesh: str
    pose: Matrix4
    size_m: tuple[float, float, float]
    tint: Sequence[float] | Float64Array = (1.0, 1.0, 1.0)
    tint2: Sequence[float] | Float64Array = (1.0, 1.0, 1.0)
    flags: int = 0
    identity: int = 0
    layer: int = 0
    bays_per_m: float = 0.0


def assemble(parts: Sequence[Part], kinds: Mapping[str, int]) -> Instances:
    """Turn parts into columns."""
    count = len(parts)
    poses = np.array([part.pose for part in parts], np.float64).reshape(count, 4, 4)
    sizes = np.array([part.size_m for part in parts], np.float64).reshape(count, 3)
    matrices = poses.copy()
    matrices[:, :3, :3] *= sizes[:, None, :]
    return Instances(
        kind=np.array([kinds[part.mesh] for part in parts], np.int64),
        local_from_model=matrices,
        tint=np.array([part.tint for part in parts], np.float32).reshape(count, 3),
        tint2=np.array([part.tint2 for part in parts], np.float32).reshape(count, 3),
        flags=np.array([part.flags for part in parts], np.float32),
        identity=np.array([part.identity for part in parts], np.float32),
        extra=np.array([(part.layer, part.bays_per_m) for part in parts], np.float32).reshape(count, 2),
        radius_m=np.linalg.norm(sizes, axis=1) / 2,
        side_m=sizes.max(axis=1, initial=0.0),
    )


def concatenate(*groups: Instances) -> Instances:
    """Return several groups as one."""
    return Instances(
        *(
            np.concatenate([getattr(group, name) for group in groups])
            for name in Instances.__dataclass_fields__
        )
    )


def upright(x_m: float, y_m: float, z_m: float, yaw_rad: float) -> Matrix4:
    """Return the pose at a place, turned about the vertical alone."""
    pose = np.eye(4)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = x_m, y_m, z_m
    return pose


def _along(pose: Matrix4, offset: tuple[float, float, float]) -> Matrix4:
    moved = pose.copy()
    moved[:3, 3] += pose[:3, :3] @ np.array(offset)
    return moved


def actor_part(spec: ActorSpec, local_from_box: Matrix4, *, identity: int, braking: bool = False) -> Part:
    """Return how an actor is drawn at a pose of its box."""
    flags = FLAG_BRAKING if braking else 0
    if spec.is_static:
        flags |= FLAG_UNLIT
    mesh = actor_mesh(spec.kind, spec.variant)
    tint, tint2 = np.ones(3), np.ones(3)
    v = spec.variant
    if spec.kind == "car":
        tint = _CAR_COLOURS[v % len(_CAR_COLOURS)]
    elif spec.kind in ("van", "truck"):
        tint, tint2 = _VAN_COLOURS[v % len(_VAN_COLOURS)], _BOX_COLOURS[(v // 3) % len(_BOX_COLOURS)]
    elif spec.kind in ("pedestrian", "cyclist"):
        tint, tint2 = _SHIRTS[v % len(_SHIRTS)], _TROUSERS[(v // 5) % len(_TROUSERS)]
        flags |= FLAG_MATT
        if spec.kind == "pedestrian":
            # Half a stride of 0.7 m is two phases, wherever the walker is: the feet follow the ground.
            way = local_from_box[:3, 3] @ local_from_box[:3, 0]
            mesh = f"pedestrian{int(np.floor(way / 0.35)) % WALK_PHASES}"
    return Part(mesh, local_from_box, spec.size_xyz_m, tint, tint2, flags, identity)


def actor_mesh(kind: ActorKind, variant: int) -> str:
    """Return the mesh that an actor is drawn with."""
    if kind == "car":
        return ("hatchback", "saloon", "suv")[variant % 3]
    if kind == "van":
        return "van" if variant % 3 else "minibus"
    return {"truck": "truck", "pedestrian": "pedestrian0", "cyclist": "cyclist", "cone": "cone"}[kind]


def actor_pose_at(spec: ActorSpec, time_us: int) -> Matrix4:
    """Return where the recording had an actor: interpolated, held before its beginning and after its end."""
    stamps, poses = spec.track.stamps_us, spec.track.local_from_box
    if len(stamps) == 1 or time_us <= stamps[0]:
        return np.asarray(poses[0])
    if time_us >= stamps[-1]:
        return np.asarray(poses[-1])
    after = int(np.searchsorted(stamps, time_us, side="right"))
    share = (time_us - int(stamps[after - 1])) / (int(stamps[after]) - int(stamps[after - 1]))
    a, b = poses[after - 1], poses[after]
    if share == 0.0:
        return np.asarray(a)
    pose = np.eye(4)
    turn = Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).as_rotvec()
    pose[:3, :3] = a[:3, :3] @ Rotation.from_rotvec(share * turn).as_matrix()
    pose[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
    return pose


def scenery_parts(scene: Scene, pictures: Mapping[str, int]) -> list[Part]:
    """Return everything in a scene that neither moves nor changes."""
    parts: list[Part] = []
    for prop in scene.props:
        z = float(scene.terrain.height_m(np.array([prop.x_m, prop.y_m])))
        parts += _prop_parts(prop, z, pictures)
    if scene.road is not None:
        for sign in scene.road.stop_signs:
            x, y, z, yaw = sign.position_yaw
            parts += _sign_parts(upright(x, y, z, yaw), (0.1, 0.76, 2.6), "octagon", pictures["stop"])
    for x, y, radius in islands.round_islands(scene):
        z = float(scene.terrain.height_m(np.array([x, y])))
        parts += _island_parts(x, y, z, radius, pictures["chevrons"])
    return parts


def signal_parts(scene: Scene, time_us: int) -> list[Part]:
    """Return the heads of all traffic lights, with the colour that is lit at a time."""
    if scene.road is None:
        return []
    seconds = (time_us - scene.start_us) * 1e-6
    parts = []
    for light in scene.road.lights:
        code = SIGNAL_CODES[light.colour_at(seconds)]
        for x, y, z, yaw in light.heads:
            pose = _along(upright(x, y, z, yaw), (0.28, 0.0, 0.0))
            parts.append(Part("traffic_light", pose, LIGHT_SIZE_M, flags=FLAG_SIGNAL * code))
    return parts


def _prop_parts(prop: Prop, ground_m: float, pictures: Mapping[str, int]) -> list[Part]:
    size, v = prop.size_xyz_m, prop.variant
    pose = upright(prop.x_m, prop.y_m, ground_m + size[2] / 2, prop.yaw_rad)
    foot = upright(prop.x_m, prop.y_m, ground_m, prop.yaw_rad)
    if prop.kind == "building":
        return _building_parts(prop, foot, pictures)
    if prop.kind == "tree":
        mesh = "conifer" if v % 5 == 0 else f"tree{v % 3}"
        turned = foot @ upright(0, 0, size[2] / 2, 2 * np.pi * ((v * 37) % 100) / 100)
        return [Part(mesh, turned, size, _LEAVES[(v // 7) % len(_LEAVES)])]
    if prop.kind == "bush":
        return [Part("bush", pose, size, _LEAVES[(v // 3) % len(_LEAVES)])]
    if prop.kind == "pole":
        return [Part("post", pose, size, _STEEL, flags=FLAG_MATT)]
    if prop.kind == "lamp":
        reach = 0.24 * size[2]
        at = foot @ upright(0.45 * reach, 0, size[2] / 2, 0.0)
        return [Part("lamp_post", at, (reach, 0.8, size[2]))]
    if prop.kind == "barrier":
        return [Part("barrier", pose, size)]
    shape, picture = {
        "sign_speed": ("disc", f"speed{min(SPEEDS_KMH, key=lambda kmh: abs(kmh - v))}"),
        "sign_yield": ("triangle", "yield"),
        "sign_turn": ("diamond", "turn_right" if v % 2 else "turn_left"),
    }[prop.kind]
    return _sign_parts(foot, size, shape, pictures[picture])


def _sign_parts(foot: Matrix4, size: tuple[float, float, float], shape: str, layer: int) -> list[Part]:
    """Return a post and a plate whose top is at the sign's height; it faces along its x axis."""
    plate = max(size[1], 0.5)
    post = _along(foot, (0.0, 0.0, size[2] / 2))
    high = plate / 2 if shape == "board" else plate
    at = _along(foot, (0.06, 0.0, size[2] - high / 2))
    return [
        Part("post", post, (0.07, 0.07, size[2]), _STEEL, flags=FLAG_MATT),
        Part(f"sign_{shape}", at, (0.05, plate, plate), (1.0, 1.0, 1.0), flags=FLAG_MATT, layer=layer),
        Part(f"back_{shape}", _along(at, (-0.004, 0.0, 0.0)), (0.05, plate, plate)),
    ]


def _island_parts(x: float, y: float, z: float, radius_m: float, layer: int) -> list[Part]:
    """Return a mound with a tree, and boards whose arrows point the way round."""
    size = islands.mound_size_m(radius_m)
    parts = [
        Part("mound", upright(x, y, z + size[2] / 2, 0.0), size),
        Part("tree1", upright(x, y, z + size[2] + 2.1, 0.4), (3.0, 3.0, 4.6), _LEAVES[1]),
    ]
    for bearing in islands.boards(radius_m):
        reach = size[0] / 2 + 0.2
        foot = upright(x + reach * np.cos(bearing), y + reach * np.sin(bearing), z, bearing)
        parts += _sign_parts(foot, (0.1, islands.BOARD_M, islands.BOARD_TOP_M), "board", layer)
    return parts


def _building_parts(prop: Prop, foot: Matrix4, pictures: Mapping[str, int]) -> list[Part]:
    (length, depth, height), v = prop.size_xyz_m, prop.variant
    base = 3.0  # reaches into the ground, for slopes
    facade = v % FACADE_COUNT
    tint = _WALLS[(v // 7) % len(_WALLS)]
    pitched = height < 9.0
    if pitched:
        facade = (1, 4, 5, 0)[v % 4]
    wall_top = height * 0.72 if pitched else height
    body = Part(
        "building", _along(foot, (0, 0, wall_top / 2)), (length, depth, wall_top), tint,
        flags=FLAG_MATT, layer=pictures[f"facade{facade}"], bays_per_m=1 / BAY_M,
    )  # fmt: skip
    plinth = Part("block", _along(foot, (0, 0, -base / 2 + 0.15)), (length + 0.1, depth + 0.1, base + 0.3),
                  (0.20, 0.19, 0.18), flags=FLAG_MATT)  # fmt: skip
    if pitched:
        roof_m = height - wall_top
        top = Part("gable_roof", _along(foot, (0, 0, wall_top + roof_m / 2)), (length, depth, roof_m),
                   tint * 0.8, flags=FLAG_MATT)  # fmt: skip
    else:
        top = Part("roof_rim", _along(foot, (0, 0, wall_top + 0.3)), (length, depth, 0.6),
                   (0.45, 0.44, 0.43), flags=FLAG_MATT)  # fmt: skip
    return [body, plinth, top]
