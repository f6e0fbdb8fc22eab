"""Which letters are replayed, and as which records."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.console.dead_letters.replay import Chosen, NotReplayable, choose, record_of
from pipeline.console.dead_letters.view import LetterFilter, ShownLetter
from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.kafka.topic import RecordPosition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

DEAD = DeadLetter(
    DeadReason.INVALID,
    "wrong",
    "touches",
    2,
    9,
    b"k",
    b'{"touch_id":"t-1", "to":"x"}',
    [("h", b"v"), ("n", None)],
    "t-1",
    1_000,
)


def letter(offset: int, of: int | None = None, **change: object) -> ShownLetter:
    headers = DEAD.headers if of is None else [*DEAD.headers, ("pipeline-replay-of", b"0/%d" % of)]
    return ShownLetter(RecordPosition(0, offset), replace(DEAD, headers=headers, **change))


async def chosen_of(*letters: ShownLetter, wanted: LetterFilter | None = None) -> Chosen:
    async def told() -> AsyncGenerator[ShownLetter, None]:
        for each in letters:
            yield each

    return await choose(told(), wanted or LetterFilter())


def test_a_letter_is_replayed_as_it_was_with_one_header_more():
    assert record_of(letter(17), "touches", 4, None) == {
        "key": b"k",
        "value": DEAD.value,
        "partition": 2,
        "headers": [("h", b"v"), ("n", None), ("pipeline-replay-of", b"0/17")],
    }


def test_the_replay_of_a_replay_keeps_the_older_header_and_the_latest_counts():
    headers = record_of(letter(17, of=3), "touches", 4, None)["headers"]
    assert headers[2:] == [("pipeline-replay-of", b"0/3"), ("pipeline-replay-of", b"0/17")]
    assert ShownLetter(RecordPosition(0, 20), replace(DEAD, headers=headers)).replay_of == "0/17"


@pytest.mark.parametrize(
    ("change", "partitions", "why"),
    [
        ({"source_topic": "other.touches"}, 4, "it came from other.touches, not from touches"),
        ({}, 2, "touches has 2"),
        ({"key": None, "value": None}, 4, "neither key nor value"),
    ],
)
def test_a_letter_that_cannot_go_back_where_it_came_from_is_refused(
    change: dict[str, object], partitions: int, why: str
):
    with pytest.raises(NotReplayable, match=why):
        record_of(letter(1, **change), "touches", partitions, None)


def test_a_new_id_is_the_key_and_lets_the_key_choose_the_partition():
    record = record_of(letter(1, value=b'\xef\xbb\xbf {"touch_id":"t-1","to":"x","n":1.5}'), "touches", 4, ".again")
    assert record["key"] == b"t-1.again"
    assert json.loads(record["value"]) == {"touch_id": "t-1.again", "to": "x", "n": 1.5}
    assert "partition" not in record


@pytest.mark.parametrize(
    "value", [None, b"", b"\xc3\x01rest", b"[]", b"{}", b'{"touch_id":5}', b'{"touch_id":"%s"}' % (b"x" * 125)]
)
def test_what_has_no_touch_id_that_could_be_changed_gets_no_new_one(value: bytes | None):
    with pytest.raises(NotReplayable, match="touch_id"):
        record_of(letter(1, value=value), "touches", 4, ".again")


async def test_letters_are_chosen_in_order_and_those_whose_id_is_taken_are_known():
    undecodable = letter(1, reason=DeadReason.UNDECODABLE, touch_id=None)
    nameless = letter(2, touch_id=None)
    chosen = await chosen_of(undecodable, nameless, letter(3), letter(4, reason=DeadReason.CONFLICT))
    assert [position.offset for position in chosen.letters] == [1, 2, 3, 4]
    assert {position.offset for position in chosen.taken} == {3, 4}
    only = await chosen_of(undecodable, letter(3), wanted=LetterFilter(frozenset({DeadReason.INVALID})))
    assert [position.offset for position in only.letters] == [3]


async def test_of_a_letter_that_came_back_as_it_was_only_the_newest_is_chosen():
    chosen = await chosen_of(letter(1), letter(2), letter(3, of=1), letter(4, of=3))
    assert [position.offset for position in chosen.letters] == [2, 4]
    assert {position.offset for position in chosen.left_out} == {1, 3}
    assert chosen.seen == {RecordPosition(0, n) for n in (1, 2, 3, 4)}


async def test_a_letter_that_came_back_for_another_reason_is_still_chosen():
    chosen = await chosen_of(
        letter(1), letter(2, of=1, reason=DeadReason.CONFLICT), wanted=LetterFilter(frozenset({DeadReason.INVALID}))
    )
    assert [position.offset for position in chosen.letters] == [1]


def test_a_new_id_leaves_the_numbers_of_a_message_as_they_were_written():
    value = b'{"touch_id": "t-1", "variables": {"n": 123456789012345678901234, "p": 1.10}, "not_before": 1790000000000}'
    replayed = json.loads(record_of(letter(1, value=value), "touches", 4, ".again")["value"])
    assert replayed == {
        "touch_id": "t-1.again",
        "variables": {"n": "123456789012345678901234", "p": "1.10"},
        "not_before": 1790000000000,
    }
