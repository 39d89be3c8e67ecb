"""A crowd of clients for one driver, of which some are well-behaved and the others are not.

Well-behaved ones are replays whose answers are held to those of one driven alone. The rest are killed, tear
their connection, leave their session open, or send what is no picture.
"""

from __future__ import annotations

import io
import random
import subprocess
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import grpc
from driver_process import alpamayo, environment
from PIL import Image

from alpamayo_ros.sim.protocol.channel import Connection, ServiceError
from alpamayo_ros.sim.protocol.egodriver import EGODRIVER
from alpamayo_ros.sim.protocol.generated import egodriver_pb2, egodriver_pb2_grpc
from alpamayo_ros.sim.replay.calls import Call, DriverLog
from alpamayo_ros.sim.replay.compare import differences
from alpamayo_ros.sim.replay.session import SessionRecord, replay_session

KINDS = ("good", "bad_pictures", "torn", "killed", "left_open")
WEIGHTS = (45, 20, 15, 10, 10)
REFUSED = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
OVERSIZED_BYTES = 65 * 2**20


def claims_50000_pixels() -> bytes:
    """Return a PNG of a few bytes that says it is 50000 x 50000."""
    size = (50_000).to_bytes(4, "big")
    head = b"IHDR" + size + size + bytes([8, 2, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")


def half_a_jpeg() -> bytes:
    """Return a JPEG that is cut off in its middle."""
    file = io.BytesIO()
    Image.effect_noise((384, 216), 60).convert("RGB").save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 2]


BAD_PICTURES = {
    "no picture": b"This is no picture. " * 50,
    "empty": b"",
    "50000 x 50000": claims_50000_pixels(),
    "half a JPEG": half_a_jpeg(),
    "a head alone": b"\xff\xd8\xff\xe0",
}


@dataclass
class Outcome:
    """What a crowd met with.

    Attributes:
        kinds: clients by kind.
        refused: bad pictures by the status that they got.
        problems: what should not have been; empty where all is well.
        left_open: sessions that nobody closed.
        compared: steps whose answers were held to those of a session alone.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    left_open: list[str] = field(default_factory=list)
    compared: int = 0


class Crowd:
    """Clients of one driver, `clients` at a time.

    Args:
        address: of the driver.
        log: what they replay.
        seed: of what they do.
        clients: at a time.
    """

    def __init__(self, address: str, log: DriverLog, *, seed: int = 0, clients: int = 8) -> None:
        self._address, self._log, self._clients = address, log, clients
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.outcome = Outcome()
        self.alone = self._replay(log, 0)
        if self.alone.findings or len(self.alone.answers) != log.drives:
            raise AssertionError(f"a session alone: {self.alone.findings[:3]}")

    def run(self, replays: int) -> None:
        """Let so many clients come, whose kinds are drawn, and wait for the last."""
        kinds = [*KINDS, *self._random.choices(KINDS, WEIGHTS, k=max(0, replays - len(KINDS)))][:replays]
        seeds = [self._random.random() for _ in kinds]
        with ThreadPoolExecutor(self._clients) as pool:
            list(pool.map(self._one, range(1, len(kinds) + 1), kinds, seeds))

    def _one(self, number: int, kind: str, seed: float) -> None:
        try:
            getattr(self, f"_{kind}")(number, random.Random(seed))
        except Exception as error:  # a client that fails is a finding, and the others go on
            self._problem(f"{kind} client {number}: {type(error).__name__}: {error}")
        with self._lock:
            self.outcome.kinds[kind] += 1

    def _good(self, number: int, drawn: random.Random) -> None:
        self._hold_to_alone(self._replay(self._log, number))

    def _bad_pictures(self, number: int, drawn: random.Random) -> None:
        """Replay with bad pictures strewn in, which must not change an answer."""
        log, strewn = self._with_bad_pictures(drawn)
        record = self._replay(log, number)
        bad = [f for f in record.findings if f.rule == "told" and f.got.startswith("submit_image")]
        for finding in bad:
            status = finding.got.split(": ")[1]
            with self._lock:
                self.outcome.refused[status] += 1
            if status not in REFUSED:
                self._problem(f"bad picture: {finding.got}")
        if len(bad) != strewn:
            self._problem(f"bad pictures: expected {strewn} refused, got {len(bad)}")
        others = [finding for finding in record.findings if finding not in bad]
        self._hold_to_alone(replace(record, findings=others))
        if drawn.random() < 0.5:
            self._send_oversized()

    def _torn(self, number: int, drawn: random.Random) -> None:
        """Close the connection in the middle of a step."""
        connection = Connection(self._address, service=EGODRIVER)
        timer = threading.Timer(drawn.uniform(0.05, 1.5), connection.close)
        timer.start()
        record = replay_session(connection, self._log, number=number)
        timer.cancel()
        connection.close()
        statuses = {finding.got.split(": ")[1] for finding in record.findings}
        if not statuses <= {"CANCELLED"}:
            self._problem(f"torn client: expected its own end alone, got {sorted(statuses)}")

    def _killed(self, number: int, drawn: random.Random) -> None:
        """Kill a process that replays without end."""
        command = alpamayo("asl", "replay", self._log.path, "--driver", self._address, "--repeat", 1000)
        child = subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(drawn.uniform(1.5, 5.0))
        ended = child.poll()
        child.kill()
        child.wait()
        if ended is not None:
            self._problem(f"client to be killed: expected it to run, got exit code {ended}")

    def _left_open(self, number: int, drawn: random.Random) -> None:
        """Drive a few steps and go without a word."""
        session = egodriver_pb2.DriveSessionRequest()
        session.CopyFrom(self._log.session)
        session.session_uuid = f"{number:08x}-0000-4000-8000-{drawn.getrandbits(48):012x}"
        with Connection(self._address, service=EGODRIVER) as connection:
            connection.call("start_session", session)
            for step in self._log.steps[: drawn.randint(1, 20)]:
                assert step.request is not None
                for call in (*step.told, Call("drive", step.request)):
                    message = type(call.message)()
                    message.CopyFrom(call.message)
                    message.session_uuid = session.session_uuid
                    connection.call(call.method, message)
        with self._lock:
            self.outcome.left_open.append(session.session_uuid)

    def _replay(self, log: DriverLog, number: int) -> SessionRecord:
        with Connection(self._address, service=EGODRIVER) as connection:
            return replay_session(connection, log, number=number)

    def _hold_to_alone(self, record: SessionRecord) -> None:
        problems = [f"{f.where}: {f.rule}: {f.got}" for f in record.findings]
        if len(record.answers) != self._log.drives:
            problems.append(f"session {record.number}: {len(record.answers)} answers")
        problems += [f"{f.where}: {f.got} than alone" for f in differences(record, self.alone)]
        with self._lock:
            self.outcome.compared += len(record.answers)
        for each in problems:
            self._problem(each)

    def _with_bad_pictures(self, drawn: random.Random) -> tuple[DriverLog, int]:
        """Return the log with bad pictures strewn in, and how many."""
        steps, strewn = [], 0
        for step in self._log.steps:
            pictures = [call for call in step.told if call.method == "submit_image_observation"]
            told = list(step.told)
            if pictures and drawn.random() < 0.5:
                call = drawn.choice(pictures)
                message = egodriver_pb2.RolloutCameraImage()
                message.CopyFrom(call.message)
                message.camera_image.image_bytes = drawn.choice(list(BAD_PICTURES.values()))
                told.append(Call(call.method, message))
                strewn += 1
            steps.append(replace(step, told=tuple(told)))
        return replace(self._log, steps=tuple(steps)), strewn

    def _send_oversized(self) -> None:
        """Send a message that is larger than any that the driver takes."""
        image = egodriver_pb2.RolloutCameraImage(session_uuid=self._log.session.session_uuid)
        image.camera_image.image_bytes = bytes(OVERSIZED_BYTES)
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._address, options=unlimited) as channel:
            stub = egodriver_pb2_grpc.EgodriverServiceStub(channel)
            try:
                stub.submit_image_observation(image, timeout=60)
                self._problem("oversized message: expected it to be refused, got OK")
            except grpc.RpcError as error:
                with self._lock:
                    self.outcome.refused[f"oversized {error.code().name}"] += 1
                if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self._problem(f"oversized message: {error.code().name}: {error.details()}")

    def _problem(self, text: str) -> None:
        with self._lock:
            self.outcome.problems.append(text)


def open_sessions(address: str, session_uuids: list[str]) -> list[str]:
    """Return which sessions the driver still has; asking counts as a call."""
    found = []
    with Connection(address, service=EGODRIVER) as connection:
        for session_uuid in session_uuids:
            request = egodriver_pb2.DriveSessionCloseRequest(session_uuid=session_uuid)
            try:
                connection.call("close_session", request)
                found.append(session_uuid)
            except ServiceError as error:
                if error.code != grpc.StatusCode.NOT_FOUND:
                    found.append(f"{session_uuid}: {error.code.name}")
    return found
