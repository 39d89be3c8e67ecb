"""A recording plays, pauses, seeks and loops; latched topics and what was last said come first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rosbags.typesys import get_types_from_msg
from view_factory import STEP_NS, T0_NS, Remembering, until

from alpamayo_ros.bags.errors import BagError
from alpamayo_ros.bags.reader import BagReader
from alpamayo_ros.bags.typestore import Definition, base_typestore
from alpamayo_ros.bags.writer import BagWriter
from alpamayo_ros.types import InvalidInput
from alpamayo_ros.view.playback import Playback, PlayState

PLAN, ODOMETRY, STATIC = "/alpamayo/plan", "/alpamayo/odometry", "/tf_static"
END_NS = T0_NS + 20 * STEP_NS + 1_000_000


@contextmanager
def playing(bag: Path, **options: object) -> Iterator[tuple[Playback, Remembering]]:
    playback, viewer = Playback(bag, **options), Remembering()  # type: ignore[arg-type]
    try:
        playback.attach(viewer)
        yield playback, viewer
        assert playback.error is None
    finally:
        playback.close()


def recorded(bag: Path, *topics: str) -> list[tuple[str, int, bytes]]:
    with BagReader(bag) as reader:
        return [(m.topic, m.stamp_ns, m.data) for m in reader.messages(topics)]


def ended(playback: Playback) -> bool:
    return playback.standing.state is PlayState.ENDED


def test_it_offers_the_recorded_topics_with_definitions_that_parse(view_bag):
    with playing(view_bag) as (_, viewer):
        plan, static = viewer.topics[PLAN], viewer.topics[STATIC]
        assert plan.type_name == "alpamayo_ros/msg/Plan" and not plan.latched and static.latched
        types = get_types_from_msg(plan.definition, plan.type_name)
        assert {"alpamayo_ros/msg/PlanCandidate", "geometry_msgs/msg/Pose"} <= types.keys()


def test_it_plays_every_message_of_what_is_wanted_once_and_in_order(view_bag):
    with playing(view_bag, rate=50.0) as (playback, viewer):
        playback.want({PLAN, ODOMETRY})
        until(lambda: ended(playback), "the end")
        assert viewer.told == recorded(view_bag, PLAN, ODOMETRY)


def test_time_stands_still_while_nobody_wants_anything(view_bag):
    with playing(view_bag, rate=50.0) as (playback, viewer):
        assert playback.standing.now_ns == T0_NS and not viewer.told
        playback.want({PLAN})
        until(lambda: ended(playback), "the end")


def test_topics_that_are_wanted_later_do_not_repeat_the_others(view_bag):
    with playing(view_bag, rate=2.0) as (playback, viewer):
        playback.want({ODOMETRY})
        until(lambda: len(viewer.stamps_ns(ODOMETRY)) > 3, "some odometry")
        playback.want({ODOMETRY, PLAN})
        playback.control(rate=50.0)
        until(lambda: ended(playback), "the end")
        every = [stamp for _, stamp, _ in recorded(view_bag, ODOMETRY)]
        assert viewer.stamps_ns(ODOMETRY) == every
        assert viewer.stamps_ns(PLAN)[-1] == END_NS


def test_who_comes_late_gets_what_is_latched_and_what_was_last_said(view_bag):
    with playing(view_bag, paused=True) as (playback, viewer):
        playback.control(seek_ns=T0_NS + 10 * STEP_NS)
        playback.want({STATIC, ODOMETRY})
        until(lambda: len(viewer.told) >= 6, "the state")
        assert viewer.told[:4] == recorded(view_bag, STATIC)
        assert viewer.stamps_ns(ODOMETRY) == [T0_NS + 9 * STEP_NS, T0_NS + 10 * STEP_NS]


def test_a_latched_topic_is_sent_again_on_demand(view_bag):
    with playing(view_bag, paused=True) as (playback, viewer):
        playback.control(seek_ns=T0_NS + STEP_NS)
        playback.want({STATIC})
        until(lambda: len(viewer.told) == 4, "what is latched")
        playback.renew(STATIC)
        until(lambda: len(viewer.told) == 8, "what is latched, again")


def test_paused_it_sends_nothing_more_and_goes_on_where_it_stood(view_bag):
    with playing(view_bag, rate=1.0) as (playback, viewer):
        playback.want({ODOMETRY})
        until(lambda: len(viewer.told) > 2, "some odometry")
        stood = playback.control(playing=False)
        assert stood.state is PlayState.PAUSED
        count = len(viewer.told)
        until(lambda: len(viewer.times_ns) > 3 and viewer.times_ns[-1] == stood.now_ns, "time standing still")
        assert len(viewer.told) <= count + 1
        playback.control(playing=True, rate=50.0)
        until(lambda: ended(playback), "the end")
        assert viewer.stamps_ns(ODOMETRY) == [stamp for _, stamp, _ in recorded(view_bag, ODOMETRY)]


def test_a_jump_is_told_before_what_follows_it_and_time_is_brought_into_the_bag(view_bag):
    with playing(view_bag, rate=50.0) as (playback, viewer):
        playback.want({PLAN})
        until(lambda: ended(playback), "the end")
        count = len(viewer.told)
        standing = playback.control(seek_ns=0)
        assert standing.jumps == 1 and T0_NS <= standing.now_ns < END_NS
        until(lambda: ended(playback) and len(viewer.told) > count, "the end, again")
        assert viewer.jumps == [count]
        assert viewer.told[count:] == viewer.told[:count]


def test_played_at_its_end_it_starts_anew_and_a_loop_does_so_by_itself(view_bag):
    with playing(view_bag, rate=50.0) as (playback, viewer):
        playback.want({PLAN})
        until(lambda: ended(playback), "the end")
        assert playback.control(playing=True).state is PlayState.PLAYING
        until(lambda: len(viewer.stamps_ns(PLAN)) == 42, "the second round")
    with playing(view_bag, rate=50.0, loop=True) as (playback, viewer):
        playback.want({PLAN})
        until(lambda: len(viewer.jumps) >= 2, "two rounds")


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e6, float("nan")])
def test_a_rate_out_of_range_is_refused_and_changes_nothing(view_bag, rate):
    with pytest.raises(InvalidInput, match=r"rate: expected 0\.01"):
        Playback(view_bag, rate=rate)
    with playing(view_bag, paused=True) as (playback, _):
        with pytest.raises(InvalidInput, match=r"rate: expected 0\.01"):
            playback.control(playing=True, rate=rate)
        assert playback.standing.state is PlayState.PAUSED


def test_a_topic_whose_type_nobody_knows_is_left_out_and_the_rest_is_shown(tmp_path, monkeypatch):
    # As of a bag from before definitions were recorded.
    monkeypatch.setattr(BagReader, "definition", lambda self, type_name: None)
    monkeypatch.setattr(BagReader, "typestore", property(lambda self: base_typestore()))
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/odd", "odd_msgs/msg/Odd", definition=Definition("", "RIHS01_" + "0" * 64))
        bag.add_topic("/words", "std_msgs/msg/String")
        bag.write("/odd", T0_NS, b"\0\1\0\0")
        bag.write("/words", T0_NS, b"\0\1\0\0\1\0\0\0\0")
    with playing(tmp_path / "bag") as (playback, viewer):
        assert set(viewer.topics) == {"/words"}
        assert playback.ignored["/odd"].startswith("message type odd_msgs/msg/Odd: expected its .msg file")


def test_a_recording_that_turns_out_damaged_stops_and_says_so(view_bag, monkeypatch):
    playback, viewer = Playback(view_bag), Remembering()
    try:

        def broken(*_: object, **__: object) -> Iterator[object]:
            raise BagError("bag x: expected readable messages, got none")
            yield

        monkeypatch.setattr(playback.reader, "messages", broken)
        playback.attach(viewer)
        playback.want({PLAN})
        until(lambda: playback.error is not None, "the error")
        assert playback.standing.state is PlayState.PAUSED and not viewer.told
    finally:
        playback.close()


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(BagError, match="no such file or folder"):
        Playback(tmp_path / "nothing")
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"this is not MCAP at all" * 50)
    with pytest.raises(BagError, match="expected"):
        Playback(broken)
    with BagWriter(tmp_path / "empty") as bag:
        bag.add_topic("/x", "std_msgs/msg/String")
    with pytest.raises(BagError, match="expected messages, got none"):
        Playback(tmp_path / "empty")
