"""A fetch session names what has changed, and begins anew when the broker does not know it."""

from __future__ import annotations

from io import BytesIO

from aiokafka import TopicPartition
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11

from pipeline.engine import wire
from pipeline.engine.fetch_session import FetchSession, Limits

LIMITS = Limits(250, 1, 1000, 500, 1)
A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)


def named(
    session: FetchSession, **positions: int
) -> tuple[tuple[int, int], dict[TopicPartition, int], set[TopicPartition]]:
    """Return (session, epoch), the named partitions with their offsets, and the forgotten ones of the next request."""
    wanted = {{"a0": A0, "a1": A1, "b0": B0}[name]: offset for name, offset in positions.items()}
    raw = session.request(wanted, LIMITS).encode()
    told = FetchRequest_v11.decode(raw)
    assert told.encode() == raw
    partitions = {TopicPartition(topic, row[0]): row[2] for topic, rows in told.topics for row in rows}
    forgotten = {TopicPartition(topic, number) for topic, rows in told.forgotten_topics_data for number in rows}
    return (told.session_id, told.session_epoch), partitions, forgotten


def answer(session_id: int, error: int = 0, topics=()) -> wire.Reader:
    told = FetchResponse_v11(throttle_time_ms=0, error_code=error, session_id=session_id, topics=list(topics))
    return wire.Reader(BytesIO(told.encode()).getbuffer())


def test_everything_is_named_once_and_then_what_moved():
    session = FetchSession()
    assert named(session, a0=5, a1=7, b0=9) == ((0, 0), {A0: 5, A1: 7, B0: 9}, set())
    session.read(answer(77))
    assert named(session, a0=5, a1=8, b0=9) == ((77, 1), {A1: 8}, set())
    session.read(answer(77))
    assert named(session, a0=5, a1=8, b0=9) == ((77, 2), {}, set())


def test_a_partition_that_is_not_wanted_now_is_taken_out_and_named_again_later():
    session = FetchSession()
    named(session, a0=5, b0=9)
    session.read(answer(77))
    assert named(session, b0=9)[1:] == ({}, {A0})
    session.read(answer(77))
    assert named(session, a0=5, b0=9)[1:] == ({A0: 5}, set())


def test_a_broker_without_room_for_a_session_is_told_everything_each_time():
    session = FetchSession()
    for _ in range(3):
        assert named(session, a0=5) == ((0, 0), {A0: 5}, set())
        session.read(answer(0))


def test_after_a_forgotten_session_or_a_lost_answer_everything_is_named_again():
    session = FetchSession()
    named(session, a0=5, b0=9)
    session.read(answer(77))
    named(session, a0=6, b0=9)
    assert session.read(answer(0, error=70)) == []
    assert named(session, a0=6, b0=9) == ((77, 0), {A0: 6, B0: 9}, set())
    session.read(answer(78))
    named(session, a0=7, b0=9)
    session.lost()
    assert named(session, a0=7, b0=9) == ((78, 0), {A0: 7, B0: 9}, set())


def test_the_answer_of_each_partition_is_read():
    session = FetchSession()
    named(session, a0=5, a1=6, b0=9)
    rows = [("a", [(0, 0, 12, 10, 0, [(3, 7)], -1, b"batch"), (1, 6, -1, -1, -1, None, -1, None)]), ("b", [])]
    first, second = session.read(answer(77, topics=rows))
    assert (first.tp, first.error, first.highwater, first.stable, first.aborted) == (A0, 0, 12, 10, [(3, 7)])
    assert (bytes(first.records), second.tp, second.error, second.aborted) == (b"batch", A1, 6, [])


def test_the_epoch_goes_round_without_zero():
    session = FetchSession()
    named(session, a0=5)
    session.read(answer(77))
    session._epoch = 0x7FFFFFFF
    assert named(session, a0=5)[0] == (77, 0x7FFFFFFF)
    session.read(answer(77))
    assert named(session, a0=5)[0] == (77, 1)
