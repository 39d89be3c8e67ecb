"""Records to JSON and back: bit for bit, and refused by name where they are not what they say."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import pytest
from audit_making import T0_NS, plan, session, valid
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from alpamayo_ros.audit.codec import from_json, schema_of, to_json
from alpamayo_ros.audit.decision import OdometryWindow
from alpamayo_ros.audit.record import (
    KINDS,
    NO_RECORD,
    DecisionRecord,
    Entry,
    EventRecord,
    FrameHasher,
    digest_of,
    hash_frame,
    record_of,
)
from alpamayo_ros.audit.session import AuditSession
from alpamayo_ros.types import InvalidInput, Plan


def same(a: Any, b: Any) -> bool:
    """Whether two records hold the same bits: NaN equals NaN, 1 is not 1.0."""
    if is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return isinstance(b, float) and (a == b or (np.isnan(a) and np.isnan(b)))
    if isinstance(a, Enum):
        return a is b
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b)


def there_and_back(entry: Entry) -> Entry:
    return Entry.decode(entry.encode())


@pytest.mark.parametrize(
    "body",
    [
        session(),
        record_of(valid(3), FrameHasher()),
        EventRecord("lost", T0_NS, {"count": 3, "reasons": ["the queue was full"], "share": 0.25}),
    ],
    ids=KINDS,
)
def test_a_record_comes_back_bit_for_bit(body: Any) -> None:
    entry = there_and_back(Entry(7, NO_RECORD, T0_NS, body))
    assert (entry.sequence, entry.previous_sha256, entry.written_ns) == (7, NO_RECORD, T0_NS)
    assert same(entry.body, body)
    assert entry.encode() == Entry(7, NO_RECORD, T0_NS, body).encode()


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4),
    )
)
def test_arrays_keep_their_bits(array: np.ndarray) -> None:
    text = json.dumps(to_json(array), allow_nan=False)
    back = from_json(NDArray[array.dtype.type], json.loads(text))  # type: ignore[name-defined]
    assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()


def test_a_plan_of_nan_and_infinity_is_kept_as_it_was() -> None:
    broken = replace(plan(T0_NS), accel_mps2=np.full((1, 64), np.nan, np.float32))
    broken.speed_mps[0, 3] = -np.inf
    assert same(from_json(Plan, json.loads(json.dumps(to_json(broken), allow_nan=False))), broken)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.pop("decided_ns"), "decided_ns"),
        (lambda d: d.update(colour="red"), "colour"),
        (lambda d: d.update(outcome="splendid"), "outcome"),
        (lambda d: d.update(engaged="yes"), "engaged"),
        (lambda d: d["odometry"]["stamps_ns"].update(shape=[3]), "stamps_ns"),
        (lambda d: d["odometry"]["stamps_ns"].update(base64="?"), "stamps_ns"),
        (lambda d: d["odometry"]["stamps_ns"].update(dtype="<f8"), "stamps_ns"),
        (lambda d: d["observation"].update(camera_ids=[1, 2]), "expected 2 cameras, got 1"),
    ],
)
def test_what_is_no_such_record_is_refused_by_name(spoil: Any, says: str) -> None:
    content = json.loads(json.dumps(to_json(record_of(valid(0), FrameHasher()))))
    spoil(content)
    with pytest.raises(InvalidInput, match=says):
        from_json(DecisionRecord, content)


def test_what_has_no_place_in_a_record_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected numbers, texts, arrays and dataclasses, got set"):
        to_json(EventRecord("odd", 0, {"what": {1, 2}}))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_schema_names_every_field(kind: type) -> None:
    schema = schema_of(kind)
    assert set(schema["properties"]) == {f.name for f in fields(kind)}
    json.dumps(schema, allow_nan=False)


def test_stamps_of_odometry_must_rise() -> None:
    with pytest.raises(InvalidInput, match="expected rising stamps"):
        OdometryWindow(np.array([2, 1], np.int64), np.zeros((2, 4, 4)))


def test_a_frame_is_hashed_once_an_epoch() -> None:
    hasher, first, next_one = FrameHasher(), valid(0).observation, valid(1).observation
    assert first is not None and next_one is not None
    a, b = hasher.record(first, epoch=0), hasher.record(next_one, epoch=0)
    assert a.frame_sha256[0][1:] == b.frame_sha256[0][:3]
    assert a.frame_sha256[0][0] == hash_frame(first.frames_of(1)[0])
    first.frames_of(1)[:] = 255  # the same stamps, in a clock that began again
    again = hasher.record(first, epoch=1)
    assert again.frame_sha256[0][0] == hash_frame(first.frames_of(1)[0]) != a.frame_sha256[0][0]


def test_the_rig_can_be_made_again_from_a_session() -> None:
    made = session(rig_frame="rear_axle")
    rig = from_json(AuditSession, json.loads(json.dumps(to_json(made)))).rig()
    assert rig.rig_frame == "rear_axle" and rig.camera_ids == (1,)
    with pytest.raises(InvalidInput, match="rig_texts: expected the rig file's text"):
        session(rig_texts={}).rig()


def test_a_digest_hangs_on_every_byte() -> None:
    data = Entry(0, NO_RECORD, T0_NS, session()).encode()
    changed = bytes([data[0] ^ 1]) + data[1:]
    assert digest_of(data) != digest_of(changed)
