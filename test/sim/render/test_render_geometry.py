"""Everything lands where the camera's formula has it: points, edges as they are drawn, masks, the ground."""

from __future__ import annotations

import numpy as np
import pytest
from masks import CORNERS, EDGES, hull_mask, iou
from render_scenes import GOLDEN_LENSES, SIZES, actor, box_pose, looking, plain_scene

from alpamayo_ros.sensing.camera_models import Fisheye, FTheta, Pinhole
from alpamayo_ros.sim.render.culling import footprint_px, near_distance_m
from alpamayo_ros.sim.render.gpu_arrays import camera_from
from alpamayo_ros.sim.render.lens import gpu_lens
from alpamayo_ros.sim.render.renderer import SceneRenderer
from alpamayo_ros.sim.roads import Terrain, TerrainWave
from alpamayo_ros.sim.scene import START_US

MAX_PX = 0.5
NATIVE, ALPASIM, SMALL = (1920, 1080), (1900, 1080), (576, 320)
LENSES = {
    **GOLDEN_LENSES,
    "inverse": FTheta(
        width=1920, height=1080, cx=955.0, cy=548.0, reference="pixeldist_to_angle",
        pixeldist_to_angle=(0.0, 1.05e-3, 2e-8, -3e-11), linear_cde=(1.01, 0.004, -0.003),
    ),
    "curved": FTheta(
        width=1920, height=1080, cx=962.0, cy=538.0, angle_to_pixeldist=(0.0, 930.0, -6.0, 12.0, -9.0),
        linear_cde=(0.99, -0.005, 0.002), max_angle_rad=1.5,
    ),
    "pinhole": Pinhole(1920, 1080, 1100.0, 1105.0, 950.0, 545.0),
    "distorted": Pinhole(
        1920, 1080, 1300.0, 1290.0, 950.0, 545.0,
        (-0.16, 0.03, 1e-3, -8e-4, -0.003, 0.02, 0.001, 0.0, 1e-3, 0.0, -5e-4, 0.0),
    ),
    "fisheye": Fisheye(1920, 1080, 800.0, 805.0, 955.0, 530.0, (0.02, -0.01, 0.003, -0.0005)),
}  # fmt: skip

MIDDLES = np.array([(CORNERS[a] + CORNERS[b]) / 2 for a, b in EDGES])


def random_boxes(model, rng, count):
    """Boxes [count, 4, 4] (scale included) whose centres lie all over the image, in the optical frame."""
    width, height = model.width, model.height
    pixels = rng.uniform((0, 0), (width - 1, height - 1), (count, 2))
    pixels[:4] = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    rays, valid = model.unproject(pixels)
    assert valid.all()
    boxes = np.zeros((count, 4, 4))
    for index, ray in enumerate(rays):
        size = np.array(list(SIZES.values())[index % len(SIZES)])
        pose = box_pose(*(ray * rng.uniform(2.0 + size.max(), 70.0)), *rng.uniform(-np.pi, np.pi, 3))
        boxes[index] = pose @ np.diag([*size, 1.0])
    return boxes


def apply(boxes, points):
    return np.einsum("nij,pj->npi", boxes[:, :3, :3], points) + boxes[:, None, :3, 3]


@pytest.mark.parametrize("size", [NATIVE, ALPASIM, SMALL])
@pytest.mark.parametrize("name", LENSES)
def test_corners_and_edge_midpoints_land_within_half_a_pixel(plain_renderer, name, size):
    model = LENSES[name].scaled_to(*size)
    points = apply(
        random_boxes(model, np.random.default_rng([1, len(name)]), 200), np.concatenate([CORNERS, MIDDLES])
    )
    expected, seen = model.project(points.reshape(-1, 3))
    view = looking(model)
    local = points.reshape(-1, 3) @ view.local_from_camera[:3, :3].T + view.local_from_camera[:3, 3]
    pixels = plain_renderer.project(view, local)
    assert seen.sum() > 1500
    assert np.abs(pixels - expected)[seen].max() < 0.05


@pytest.mark.parametrize("size", [NATIVE, SMALL])
@pytest.mark.parametrize("name", LENSES)
def test_edges_as_they_are_drawn_follow_the_lens_within_half_a_pixel(
    render_thread, plain_renderer, name, size
):
    """A drawn edge is a polyline of the vertices of the level that was chosen; the true edge is a curve."""
    model = LENSES[name].scaled_to(*size)
    lens = gpu_lens(model)
    library = render_thread.call(lambda gpu: gpu.library)
    boxes = random_boxes(model, np.random.default_rng([2, len(name)]), 200)
    kind = np.full(len(boxes), library.kinds["box"])
    side = np.linalg.norm(boxes[:, :3, :3], axis=1).max(axis=1)
    radius_px, in_view = footprint_px(
        lens, boxes[:, :3, 3], np.linalg.norm(boxes[:, :3, :3], axis=(1, 2)) / 2
    )
    assert in_view.all()
    _, levels = library.choose(
        kind,
        side_m=side,
        near_m=near_distance_m(boxes),
        radius_px=radius_px,
        bend_px=lens.bend_px,
    )
    worst = 0.0
    for box, level in zip(boxes, levels, strict=True):
        first, count = library.levels[kind[0], 0, level]
        vertices = library.vertices["position"][np.unique(library.indices[first : first + count])]
        for a, b in EDGES:
            axis = int(np.argmax(np.abs(CORNERS[a] - CORNERS[b])))
            across = [i for i in range(3) if i != axis]
            on_edge = vertices[(np.abs(vertices[:, across] - CORNERS[a][across]) < 1e-5).all(axis=1)]
            knots = np.unique(np.round(on_edge[:, axis], 5))
            at = np.linspace(-0.5, 0.5, 65)

            def line(values, corner=CORNERS[a], axis=axis, box=box):
                points = np.repeat(corner[None], len(values), axis=0)
                points[:, axis] = values
                return points @ box[:3, :3].T + box[:3, 3]

            curve, seen = model.project(line(at))
            chain = model.project(line(knots))[0]
            if not seen.any() or not np.isfinite(chain).all():
                continue
            worst = max(worst, distance_to_polyline(curve[seen], chain).max())
    assert worst < MAX_PX, f"{worst:.2f} px"


def distance_to_polyline(points, chain):
    start, step = chain[:-1], np.diff(chain, axis=0)
    length2 = np.maximum((step**2).sum(axis=1), 1e-12)
    share = np.clip(((points[:, None] - start) * step).sum(axis=2) / length2, 0, 1)
    return np.linalg.norm(points[:, None] - start - share[..., None] * step, axis=2).min(axis=1)


@pytest.mark.parametrize("name", ["wide", "tele", "pinhole"])
def test_masks_of_vehicles_agree_with_their_projected_boxes(render_thread, name):
    model = LENSES[name].scaled_to(960, 540)
    rng = np.random.default_rng([3, len(name)])
    kinds = ("car", "car", "car", "van", "truck")
    scene = plain_scene(
        *(actor(f"{kind}{i}", kind, variant=i) for i, kind in enumerate(kinds)), drawn_road=False
    )
    renderer = SceneRenderer(scene, render_thread)
    view = looking(model)
    checked = 0
    try:
        far = {spec.actor_id: box_pose(0, 0, -100) for spec in scene.actors.values()}
        for trial in range(25):
            spec = list(scene.actors.values())[trial % len(kinds)]
            distance = rng.uniform(9, 30) * (3.5 if name == "tele" else 1.0)
            bearing = rng.uniform(-0.8, 0.8) * (0.2 if name == "tele" else 0.5 if name == "pinhole" else 1.0)
            pose = box_pose(
                distance * np.cos(bearing),
                distance * np.sin(bearing),
                spec.size_xyz_m[2] / 2,
                rng.uniform(-np.pi, np.pi),
            )
            shown = looking(model, poses={**far, spec.actor_id: pose})
            box = camera_from(view.local_from_camera) @ pose @ np.diag([*spec.size_xyz_m, 1.0])
            expected = hull_mask(model, box)
            if expected is None or expected.sum() < 200:
                continue
            index = list(scene.actors).index(spec.actor_id) + 1
            drawn = renderer.render_ids(shown) == index
            boxed = renderer.render_ids(shown, shapes="box") == index
            assert iou(boxed, expected) > 0.97, (spec.actor_id, iou(boxed, expected))
            assert iou(drawn, expected) > 0.8, (spec.actor_id, iou(drawn, expected))
            checked += 1
    finally:
        renderer.release()
    assert checked >= 15


@pytest.mark.parametrize("size", [NATIVE, ALPASIM, SMALL])
@pytest.mark.parametrize("name", ["wide", "tele"])
def test_masks_of_random_boxes_up_to_the_image_corners(render_thread, name, size):
    """The whole way, boxes drawn: their masks are the projected boxes, wherever in the image."""
    model = LENSES[name].scaled_to(*size)
    rng = np.random.default_rng([4, size[0]])
    scene = plain_scene(actor("box"), drawn_road=False)
    renderer = SceneRenderer(scene, render_thread)
    view = looking(model, at=(0, 0, 400.0))  # above everything
    size_m = np.array(scene.actors["box"].size_xyz_m)
    checked = 0
    try:
        for _ in range(24):
            pixel = rng.uniform((0, 0), (model.width - 1, model.height - 1))
            ray = model.unproject(pixel[None])[0][0]
            in_camera = box_pose(*(ray * rng.uniform(7, 40)), *rng.uniform(-np.pi, np.pi, 3))
            expected = hull_mask(model, in_camera @ np.diag([*size_m, 1.0]))
            if expected is None or expected.sum() < 200:
                continue
            shown = looking(model, at=(0, 0, 400.0), poses={"box": view.local_from_camera @ in_camera})
            drawn = renderer.render_ids(shown, shapes="box") == 1
            assert iou(drawn, expected) > 0.96
            checked += 1
    finally:
        renderer.release()
    assert checked >= 12


def test_the_ground_on_hills_is_where_things_stand(render_thread):
    """A marker painted on the ground and the foot of an actor standing there meet in the image."""
    terrain = Terrain((TerrainWave(2.0, 0.045, 0.01, 0.3), TerrainWave(1.0, -0.02, 0.05, 1.0)))
    places = [(12.0, 1.0), (20.0, -1.0), (30.0, 2.0)]  # before the crest
    actors = [actor(f"post{i}", "cone", x=x, y=y, size=(0.4, 0.4, 4.0)) for i, (x, y) in enumerate(places)]
    scene = plain_scene(*actors, terrain=terrain)
    renderer = SceneRenderer(scene, render_thread)
    model = GOLDEN_LENSES["wide"].scaled_to(960, 540)
    eye = (0.0, 0.0, float(terrain.height_m(np.zeros(2))) + 1.5)
    poses = {}
    for i, (x, y) in enumerate(places):
        pose = terrain.pose_on_ground(x, y, 0.0)
        pose[:3, 3] += pose[:3, 2] * 0.0  # half of it below the ground
        poses[f"post{i}"] = pose
    view = looking(model, at=eye, poses=poses)
    try:
        ids = renderer.render_ids(view, shapes="box")
        inverse = camera_from(view.local_from_camera)
        for i, (x, y) in enumerate(places):
            rows, _ = np.nonzero(ids == i + 1)
            assert len(rows)
            ground = np.array([x, y, float(terrain.height_m(np.array([x, y])))])
            expected = model.project((inverse[:3, :3] @ ground + inverse[:3, 3])[None])[0][0]
            # The nearest edge of the box's foot is 0.2 m nearer than its middle.
            nearer = ground + (np.array(eye) - ground) * 0.2 / np.linalg.norm(np.array(eye) - ground) * (
                1,
                1,
                0,
            )
            nearer[2] = float(terrain.height_m(nearer[:2]))
            lowest = model.project((inverse[:3, :3] @ nearer + inverse[:3, 3])[None])[0][0]
            assert expected[1] - 1.5 < rows.max() < lowest[1] + 2.5
    finally:
        renderer.release()


def test_what_is_behind_a_crest_is_hidden(render_thread):
    hill = Terrain((TerrainWave(3.0, 2 * np.pi / 60.0, 0.0, -np.pi / 2),))  # crest at x = 30
    scene = plain_scene(actor("behind", x=58.0), terrain=hill)
    renderer = SceneRenderer(scene, render_thread)
    pose = box_pose(58.0, 0.0, float(hill.height_m(np.array([58.0, 0.0]))) + 0.8)
    model = GOLDEN_LENSES["wide"].scaled_to(576, 320)
    low = looking(model, at=(0.0, 0.0, -3.0 + 1.5), poses={"behind": pose})
    high = looking(model, at=(0.0, 0.0, 14.0), pitch=0.1, poses={"behind": pose})
    try:
        assert not (renderer.render_ids(low) == 1).any()
        assert (renderer.render_ids(high) == 1).sum() > 50
    finally:
        renderer.release()


def test_a_lens_that_does_not_fill_the_image_leaves_the_rest_black(plain_renderer):
    model = FTheta(
        width=320, height=320, cx=159.5, cy=159.5, angle_to_pixeldist=(0.0, 100.0), max_angle_rad=1.2
    )
    image = plain_renderer.render([looking(model)])[0]
    v, u = np.mgrid[:320, :320]
    beyond = np.hypot(u - 159.5, v - 159.5)
    assert (image[beyond > 122] == 0).all()
    assert (image[beyond < 100].max(axis=1) > 0).all()


def test_frames_are_the_same_every_time(plain_renderer):
    view = looking(GOLDEN_LENSES["wide"].scaled_to(320, 180), time_us=START_US + 100_000)
    first, second = plain_renderer.render([view]), plain_renderer.render([view])
    assert (first[0] == second[0]).all()
