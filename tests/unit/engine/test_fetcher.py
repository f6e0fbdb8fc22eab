"""Which partitions the next request names, and what of its answer is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from pipeline.engine import fetcher as module
from pipeline.engine.fetch_session import News
from pipeline.engine.fetcher import CROWD_BYTES, MOST_REST_S, REST_S, Fetcher, rest_s
from tests.harness.odd_batches import batch, record

A, B, C = TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("u", 0)


class Assignment(SimpleNamespace):
    """Three partitions at offset 5."""

    def __init__(self) -> None:
        state = {"has_valid_position": True, "paused": False, "position": 5}
        super().__init__(tps={A, B, C}, states={tp: SimpleNamespace(**state) for tp in (A, B, C)})

    def state_value(self, tp: TopicPartition) -> Any:
        return self.states.get(tp)


def fetcher(leaders: dict[TopicPartition, int | None]) -> Fetcher:
    made = Fetcher.__new__(Fetcher)
    made.begin()
    made.updates = 0

    def update() -> None:
        made.updates += 1

    made._client = SimpleNamespace(
        cluster=SimpleNamespace(leader_for_partition=leaders.get), force_metadata_update=update
    )
    made._records, made._in_flight, made._fetcher_timeout = {}, set(), 0.2
    made._prefetch_backoff, made._isolation_level = 0.1, 1
    return made


def buffered(backoff_s: float) -> Any:
    return SimpleNamespace(calculate_backoff=lambda: backoff_s)


def test_each_broker_is_asked_for_the_partitions_that_it_leads():
    requests, _, timeout, is_stale, _ = fetcher({A: 1, B: 2, C: 1})._get_actions_per_node(Assignment())
    assert dict(requests) == {1: {A: 5, C: 5}, 2: {B: 5}}
    assert (timeout, is_stale) == (0.2, False)


def test_what_will_be_taken_at_once_is_waited_for():
    made = fetcher({A: 1, B: 1, C: 2})
    made._records[A] = buffered(0.07)
    made.wanted = frozenset({A, B, C})
    requests, _, timeout, *_ = made._get_actions_per_node(Assignment())
    assert (dict(requests), timeout) == ({2: {C: 5}}, 0.07)


def test_a_partition_whose_inbox_is_full_does_not_hold_up_the_others_of_its_broker():
    made = fetcher({A: 1, B: 1, C: 1})
    made._records[A] = buffered(0.07)
    made.wanted = frozenset({B, C})
    requests, _, timeout, *_ = made._get_actions_per_node(Assignment())
    assert (dict(requests), timeout) == ({1: {B: 5, C: 5}}, 0.2)


def test_a_broker_that_is_being_asked_is_not_asked_again():
    made = fetcher({A: 1, B: 2, C: 1})
    made._in_flight.add(1)
    requests, *_ = made._get_actions_per_node(Assignment())
    assert dict(requests) == {2: {B: 5}}


@pytest.mark.parametrize("leader", [None, -1])
def test_a_partition_without_a_leader_makes_the_metadata_stale(leader):
    requests, _, _, is_stale, _ = fetcher({A: 1, B: leader, C: 1})._get_actions_per_node(Assignment())
    assert (dict(requests), is_stale) == ({1: {A: 5, C: 5}}, True)


def news(tp: TopicPartition, *, error: int = 0, data: bytes = b"") -> News:
    return News(tp, error, 9, 8, [], memoryview(data))


def test_what_came_is_kept_until_it_is_taken():
    made, assignment = fetcher({}), Assignment()
    assert made._take(assignment, news(A, data=batch([record(0, b"v")], base=5)), 5, 0)
    assert A in made._records
    assert (assignment.states[A].highwater, assignment.states[A].lso) == (9, 8)
    assert not made._take(assignment, news(B), 5, 0), "news without records: the end has moved"


@pytest.mark.parametrize("asked", [4, None])
def test_what_was_asked_for_before_a_seek_is_dropped(asked):
    made = fetcher({})
    assert not made._take(Assignment(), news(A, data=batch([record(0, b"v")], base=4)), asked, 0)
    assert made._records == {}


@pytest.mark.parametrize("code", [3, 6])
def test_a_partition_that_has_moved_is_looked_for(code):
    made = fetcher({})
    assert not made._take(Assignment(), news(A, error=code), 5, 0)
    assert made.updates == 1


def test_an_offset_that_is_gone_is_told_to_the_reader():
    made = fetcher({})
    assert made._take(Assignment(), news(A, error=1), 5, 0)
    with pytest.raises(OffsetOutOfRangeError):
        made._records[A].check_raise()


@pytest.mark.parametrize(
    ("answer_bytes", "wanted_s"),
    [
        (0, REST_S),
        (500, REST_S),
        (8 * 1024, 0.03125),
        (64 * 1024, MOST_REST_S),
        (CROWD_BYTES - 1, MOST_REST_S),
        (CROWD_BYTES, REST_S),
    ],
)
def test_what_comes_alone_and_what_comes_in_a_crowd_is_fetched_at_once(answer_bytes, wanted_s):
    assert rest_s(answer_bytes) == pytest.approx(wanted_s)


async def test_the_records_of_a_stream_share_answers(monkeypatch):
    """Each request leaves after the rest that the last answer of the same broker asks for, counted from its request."""
    now_s, left = 100.0, []

    async def sleep(delay_s: float) -> None:
        nonlocal now_s
        now_s += max(0.0, delay_s)

    async def send(node: int, request: object) -> list[News]:
        nonlocal now_s
        left.append((node, now_s))
        now_s += 0.002
        return answers.pop(0)

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s, time=lambda: now_s))
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    made, assignment = fetcher({}), Assignment()
    assignment.active = True
    made._sessions = {node: SimpleNamespace(request=lambda *_: None, read=lambda answer: answer) for node in (1, 2)}
    made._client.send = send
    made._fetch_max_wait_ms = made._fetch_min_bytes = made._fetch_max_bytes = made._max_partition_fetch_bytes = 1
    half = bytes(16 * 1024)
    answers = [[news(A, data=half), news(B, data=half)], [], [news(C, data=half)], []]
    for node in (1, 2, 1, 1):
        await made._proc_fetch_request(assignment, node, {})
    assert left == [
        (1, 100.0),
        (2, pytest.approx(100.002)),
        (1, pytest.approx(100.0 + MOST_REST_S)),
        (1, pytest.approx(100.0 + 2 * MOST_REST_S)),
    ]
