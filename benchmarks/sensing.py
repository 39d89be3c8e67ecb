"""What a 1080p frame costs from message to model size, as ratios to a plain cv2.imdecode of its JPEG.

    python benchmarks/sensing.py [--repeats 30]

One thread, its CPU time (so that a busy machine hardly matters). The picture is synthetic, with the detail
of a street scene (about 500 kB as JPEG, quality 90).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np

from alpamayo_ros.sensing.assembly import ObservationAssembler
from alpamayo_ros.sensing.camera_models import FTheta, Pinhole
from alpamayo_ros.sensing.frame_pipeline import FramePipeline
from alpamayo_ros.sensing.images import decode_compressed, decode_image
from alpamayo_ros.sensing.rig import CameraConfig, ModelCamera, Rig, nominal_model
from alpamayo_ros.sensing.warp import WarpMap
from alpamayo_ros.types import PrepareFrame

WIDTH, HEIGHT = 1920, 1080
SECOND_NS = 1_000_000_000


def scene() -> np.ndarray:
    """Return uint8 RGB [1080, 1920, 3] with detail at all scales."""
    rng = np.random.default_rng(0)
    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for octave in range(8):
        size = (WIDTH >> octave, HEIGHT >> octave)
        noise = rng.normal(size=(size[1], size[0], 3)).astype(np.float32)
        image += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * 4.0 * 1.35**octave
    return np.clip(image + 110, 0, 255).astype(np.uint8)


def prepare_frame() -> PrepareFrame:
    """Return the model's own preparation at the released checkpoints' pixel budget."""
    import torch

    from alpamayo_ros.model.images import ImagePreparer

    torch.set_num_threads(1)
    budget = SimpleNamespace(pixel_budget=(163_840, 196_608))  # all that it asks of a checkpoint's config
    return ImagePreparer(budget).prepare_frame  # type: ignore[arg-type]


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of a call in ms."""
    work()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return float(np.median(times)) * 1e3


def assembly_ms(repeats: int) -> tuple[float, float]:
    """Return the mean time of a take that waits, and of one that gives an observation, in ms."""
    rig = Rig(name="bench", cameras=tuple(CameraConfig(camera_id=i, topic=f"/{i}") for i in (0, 1, 2, 6)))
    assembler = ObservationAssembler(rig)
    frame = np.zeros((320, 576, 3), np.uint8).transpose(2, 0, 1)
    waits, takes = [], []
    for tick in range(100, 100 + 20 * (15 + repeats)):
        stamp_ns = tick * SECOND_NS // 200
        pose = np.eye(4)
        pose[0, 3] = 0.05 * tick
        assembler.add_odometry(stamp_ns, pose, child_frame="base_link")
        for camera_id in rig.camera_ids if tick % 20 == 0 else ():
            assembler.add_frame(camera_id, stamp_ns, frame)
        start = time.thread_time()
        observation = assembler.take(stamp_ns)
        (waits if observation is None else takes).append(time.thread_time() - start)
    return float(np.mean(waits)) * 1e3, float(np.mean(takes)) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    rgb = scene()
    jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    raw, step = rgb.tobytes(), 3 * WIDTH
    bayer, yuyv = rgb[..., 1].tobytes(), rgb[..., :2].tobytes()
    buffer = np.frombuffer(jpeg, np.uint8)
    baseline = milliseconds(lambda: cv2.imdecode(buffer, cv2.IMREAD_COLOR), repeats)
    print(f"JPEG of {len(jpeg) / 1e3:.0f} kB; cv2.imdecode {baseline:.1f} ms = 1.00")

    def report(name: str, work: Callable[[], object]) -> None:
        taken = milliseconds(work, repeats)
        print(f"{name:58s} {taken:7.2f} ms {taken / baseline:6.2f}")

    def decode_raw(data: bytes, encoding: str, row: int) -> object:
        return decode_image(data, encoding=encoding, height=HEIGHT, width=WIDTH, step=row)

    report("decode_compressed, JPEG", lambda: decode_compressed(jpeg))
    report("decode_image, rgb8 (a view)", lambda: decode_raw(raw, "rgb8", step))
    report("decode_image, bgr8", lambda: decode_raw(raw, "bgr8", step))
    report("decode_image, bayer_rggb8", lambda: decode_raw(bayer, "bayer_rggb8", WIDTH))
    report("decode_image, yuv422_yuy2", lambda: decode_raw(yuyv, "yuv422_yuy2", 2 * WIDTH))

    lens = Pinhole(WIDTH, HEIGHT, 560, 560, 959.5, 539.5, distortion=(-0.2, 0.05, 1e-4, 1e-4, -0.005))
    plain = CameraConfig(camera_id=1, topic="/front")
    frame = rgb.transpose(2, 0, 1)
    targets: dict[str, FTheta] = {
        "576x320": nominal_model(1, width=576, height=320),
        "1920x1080": nominal_model(1),
    }
    for name, target in targets.items():
        report(
            f"computing the map, 1080p pinhole to {name} f-theta", lambda t=target: WarpMap.between(lens, t)
        )
        warp = WarpMap.between(lens, target)
        report(f"warp, 1080p pinhole to {name} f-theta", lambda w=warp: w.apply(frame))
    prepare = prepare_frame()
    report("prepare, 1080p to 576x320 (uint8 bicubic, antialias)", lambda: prepare(frame))
    pipeline = FramePipeline(plain, prepare)
    report("whole pipeline, JPEG, no warp", lambda: pipeline.process_compressed(jpeg))
    for name, target in targets.items():
        camera = CameraConfig(camera_id=1, topic="/f", intrinsics=lens, model_camera=ModelCamera(target))
        warped = FramePipeline(camera, prepare)
        report(f"whole pipeline, JPEG, warp to {name}", lambda p=warped: p.process_compressed(jpeg))
    waits, takes = assembly_ms(repeats)
    for name, taken in (
        ("assembler, a take that waits", waits),
        ("assembler, an observation of 4 x 4 frames of 576x320", takes),
    ):
        print(f"{name:58s} {taken:7.3f} ms {taken / baseline:6.3f}")


if __name__ == "__main__":
    main()
