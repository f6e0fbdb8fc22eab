"""What trips a bug in a stage, or does not fit, is put aside; the rest of its batch is as if it had not been there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.domain.dead_letter import DeadLetter, DeadReason
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import Event, State
from pipeline.domain.value import replace
from pipeline.domain.verdict import Refused, Sent
from pipeline.domain.work import Channel, Scheduled
from pipeline.flow import DEAD_LETTERS, OWN_MESSAGE_BYTES, RESULTS, SCHEDULED, STATUS
from pipeline.records import decode_event, encode_event, encode_scheduled, encode_work
from pipeline.records.single_object import decode
from pipeline.records.writing import dead_letter_value, json_object, single_object, status_value
from pipeline.stage_io import MemoryTable, Record
from pipeline.stages import schedule
from pipeline.stages.dedup import Dedup
from pipeline.stages.lane import claim, draft, intake, queue, resolve, settle, table
from pipeline.stages.schedule import Scheduler
from pipeline.stages.ttl import ENTRY
from tests.harness import lane_rig
from tests.harness.lane_rig import T0, Rig, work


def letters(outputs: Any) -> list[dict[str, Any]]:
    return [decode("dead_letter", o.value) for o in outputs if o.topic == DEAD_LETTERS]


def ends(outputs: Any) -> list[tuple[str, str, str | None]]:
    events = [decode_event(o.value) for o in outputs if o.topic == RESULTS]
    return [
        (e.touch_id, e.state.value, e.error) for e in events if e.state in {State.SENT, State.FAILED, State.UNCONFIRMED}
    ]


def break_for(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, says: Any) -> None:
    whole = getattr(where, name)

    def broken(*given: Any, **more: Any) -> Any:
        if says(*given):
            raise KeyError("planted")
        return whole(*given, **more)

    monkeypatch.setattr(where, name, broken)


LANE_BUGS = {
    "take-in": (intake, "take_in", lambda _, record: b"bad" in record.value),
    "line up": (intake, "line_up", lambda _, work, __: work.touch_id == "bad"),
    "enqueue": (queue, "enqueue", lambda _, __, work, ___: work.touch_id == "bad"),
    "memory": (table, "memory_key", lambda work: work.touch_id == "bad"),
    "gate": (draft, "decide", lambda _, work, *__: work.touch_id == "bad"),
    "pick": (claim.Pick, "add", lambda _, waiting, __: waiting.work.touch_id == "bad"),
    "take": (queue, "take", lambda _, __, ___, work: work.touch_id == "bad"),
    "claim": (claim, "_claim_id", lambda work, _: work.touch_id == "bad"),
    "keep": (table, "put_claim", lambda _, claim: any(w.touch_id == "bad" for w in claim.works)),
}


@pytest.mark.parametrize("name", LANE_BUGS)
def test_one_touch_that_trips_a_bug_in_a_lane_costs_only_itself(name, monkeypatch, caplog):
    break_for(monkeypatch, *LANE_BUGS[name])
    rig = Rig(sms())
    rig.step(work("a"), work("bad"), work("b"))
    rig.step()
    assert [claim.works[0].touch_id for claim in rig.calls] == ["a", "b"]
    buried = letters(rig.forwarded)
    assert [letter["value"] for letter in buried] == [encode_work(work("bad"))]
    assert "planted" in buried[0]["error"]
    assert "is put aside" in caplog.text
    told = {e.touch_id: e.state.value for _, e in rig.events}
    assert set(told) <= {"bad"}
    if name != "memory":
        assert told == {"bad": "failed"}
    for _ in range(2):
        rig.answer(Sent(("m",)))
    rig.step()
    assert rig.last.waiting == rig.last.open_claims == 0
    assert {e.touch_id for _, e in rig.events if e.state is State.SENT} == {"a", "b"}


def sms(**more: Any) -> Any:
    return lane_rig.policy(**more)


@pytest.mark.parametrize("name", ["gate", "pick", "keep"])
def test_one_touch_of_a_batch_that_trips_a_bug_leaves_the_batch_to_the_others(name, monkeypatch):
    break_for(monkeypatch, *LANE_BUGS[name])
    rig = Rig(lane_rig.policy(Channel.EMAIL, gather_ms=0), replays=True, by_text=False)
    mails = [work(each, channel=Channel.EMAIL) for each in ("a", "bad", "b", "c")]
    rig.step(*mails)
    rig.step()
    assert sorted(w.touch_id for claim in rig.calls for w in claim.works) == ["a", "b", "c"]
    assert [(e.touch_id, e.state.value) for _, e in rig.events] == [("bad", "failed")]


@pytest.mark.parametrize(("answer", "state"), [(Sent(("m",)), "sent"), (Refused("500", "no"), "failed")])
def test_an_answer_that_cannot_be_settled_ends_its_touch_as_it_says(answer, state, monkeypatch):
    for name in ("_sent", "_refused"):
        break_for(monkeypatch, settle, name, lambda claim, *_: claim.works[0].touch_id == "bad")
    rig = Rig(sms())
    rig.step(work("a"), work("bad"), work("b"))
    for given in (Sent(("a",)), answer, Sent(("b",))):
        rig.answer(given)
    rig.step()
    assert {e.touch_id: e.state.value for _, e in rig.events} == {"a": "sent", "bad": state, "b": "sent"}
    assert rig.last.open_claims == 0
    assert len(letters(rig.forwarded)) == 1


def test_a_claim_found_open_that_cannot_be_read_does_not_keep_its_lane_shut(caplog):
    rig = Rig(sms())
    rig.step(work("a"))
    (key,) = [key for key in rig.last.changes if key[:1] == table.CLAIM]
    value = rig.table.get(key)[:-3]
    rig.table.apply({key: value})
    rig.takeover()
    rig.step(work("b"))
    assert [claim.works[0].touch_id for claim in rig.calls] == ["b"]
    assert [letter["value"] for letter in letters(rig.forwarded)] == [value]
    assert rig.table.get(key) is None
    assert "a claim of touches.sms[0] is put aside" in caplog.text


def test_a_claim_found_open_that_trips_a_bug_is_closed_as_unconfirmed(monkeypatch):
    rig = Rig(sms())
    rig.step(work("bad"), work("a"))
    rig.takeover()
    break_for(monkeypatch, resolve, "found_open", lambda claim, _: claim.works[0].touch_id == "bad")
    rig.step()
    assert {e.touch_id: e.state.value for _, e in rig.events} == {"bad": "unconfirmed", "a": "retrying"}
    assert rig.last.open_claims == 1


def test_a_lane_full_of_poison_gives_way_to_what_is_good(monkeypatch):
    break_for(monkeypatch, draft, "decide", lambda _, work, *__: work.touch_id.startswith("bad"))
    rig = Rig(sms())
    with monkeypatch.context() as without:
        without.setattr(intake, "line_up", lambda of, touch, value: of.enqueue(touch, value))
        rig.step(*[work(f"bad-{n}") for n in range(120)], work("good"))
    for _ in range(5):
        rig.step()
    assert [claim.works[0].touch_id for claim in rig.calls] == ["good"]
    assert len(letters(rig.forwarded)) == 120


def test_the_index_of_a_lane_keeps_nothing_of_what_tripped(monkeypatch):
    rig = Rig(sms())
    rig.step(work("a"))
    before = rig.lane._index.copied()

    def half(of: Any, *_: Any) -> None:
        of.state.waiting += 7
        of.index.claims["x"] = rig.calls[0]
        of.index.under_way.add("x")
        raise KeyError("planted")

    with monkeypatch.context() as broken:
        broken.setattr(draft.StepDraft, "start_call", half)
        rig.step(work("bad"))
    assert rig.lane._index.claims == before.claims
    assert rig.lane._index.under_way == before.under_way
    assert rig.lane._index.state.waiting == 0
    assert rig.last.calls == []


def scheduled(touch_id: str, due_ms: int) -> bytes:
    return encode_scheduled(Scheduled(due_ms, Channel.SMS, 0, touch_id, encode_work(work(touch_id))))


def test_one_scheduling_that_trips_a_bug_costs_only_itself(monkeypatch):
    table, stage = MemoryTable(), Scheduler(number=3)
    break_for(monkeypatch, Scheduler, "_take_in", lambda _, record, *__: b"bad" in record.value)
    records = [Record(SCHEDULED, 3, n, T0, b"k", scheduled(name, T0 + 5)) for n, name in enumerate(("a", "bad", "b"))]
    step = stage.step(records, table, T0)
    table.apply(step.changes)
    ((touch_id, state, error),) = ends(step.outputs)
    assert (touch_id, state) == ("bad", "failed")
    assert error.startswith("internal error: KeyError: 'planted' (test_dead_letters.py:")
    assert [letter["source_offset"] for letter in letters(step.outputs)] == [1]
    assert [o.key for o in stage.step([], table, T0 + 5).outputs] == [b"a", b"b"]


def test_one_row_that_cannot_be_handed_back_holds_up_none_of_those_behind_it(monkeypatch):
    table, stage = MemoryTable(), Scheduler(number=3)
    names = ("a", "bad", "b", "garbage")
    records = [Record(SCHEDULED, 3, n, T0, b"k", scheduled(name, T0 + 5)) for n, name in enumerate(names)]
    table.apply(stage.step(records, table, T0).changes)
    garbage = next(key for key, value in table.scan(b"", b"\xff") if b"garbage" in value)
    table.apply({garbage: b"rotten"})
    break_for(monkeypatch, schedule, "Output", lambda topic, _, key, *__: topic != RESULTS and key == b"bad")
    step = stage.step([], table, T0 + 5)
    table.apply(step.changes)
    assert [o.key for o in step.outputs if o.topic == "touches.sms"] == [b"a", b"b"]
    assert [(end[0], end[1]) for end in ends(step.outputs)] == [("bad", "failed")]
    assert [letter["value"] for letter in letters(step.outputs)] == [records[1].value, b"rotten"]
    assert not list(table.scan(b"", b"\xff"))


def test_an_event_that_trips_a_bug_is_told_without_its_trimmings_and_the_others_as_they_are():
    def encode(event: Event, sequence: int) -> bytes:
        if event.metadata:
            raise KeyError("planted")
        return status_value(single_object, event, sequence)

    events = [
        Event(name, "c", "l", "sms", State.SENT, T0, metadata={"k": "v"} if name == "bad" else {})
        for name in ("a", "bad", "b")
    ]
    step = Dedup(encode, 1_000).step(
        [Record(RESULTS, 2, n, T0, b"k", encode_event(e)) for n, e in enumerate(events)], MemoryTable(), T0
    )
    told = [decode("status", o.value) for o in step.outputs if o.topic == STATUS]
    assert [(t["touch_id"], t["state"], t["sequence"]) for t in told] == [
        ("a", "sent", 1),
        ("bad", "sent", 1),
        ("b", "sent", 1),
    ]
    assert [letter["touch_id"] for letter in letters(step.outputs)] == ["bad"]


def test_an_event_of_a_touch_whose_state_cannot_be_read_is_kept_as_a_dead_letter_and_the_others_are_told():
    rows = {ENTRY + b"bad": b"\0\0\0\1\xff"}
    events = [Event(name, "c", "l", "sms", State.SENT, T0) for name in ("a", "bad", "b")]
    records = [Record(RESULTS, 2, n, T0, b"k", encode_event(each)) for n, each in enumerate(events)]
    step = Dedup(lambda *told: status_value(single_object, *told), 1_000).step(records, MemoryTable(rows), T0)
    assert [decode("status", o.value)["touch_id"] for o in step.outputs if o.topic == STATUS] == ["a", "b"]
    assert [each["value"] for each in letters(step.outputs)] == [records[1].value]


def letter(**more: Any) -> DeadLetter:
    base: dict[str, Any] = {
        "reason": DeadReason.INVALID,
        "error": "wrong",
        "source_topic": "touches",
        "source_partition": 1,
        "source_offset": 7,
        "key": b"k",
        "value": b"v",
        "headers": [("h", b"v")],
        "touch_id": None,
        "occurred_at_ms": T0,
    }
    return DeadLetter(**{**base, **more})


LARGE = {
    "a value": {"value": bytes(6_000_000)},
    "a key": {"key": b"k" * 1_000_000},
    "a header": {"headers": [("h", bytes(3_000_000))]},
    "a header's name": {"headers": [("\x01" * 900_000, b"")]},
    "many headers": {"headers": [("h", b"")] * 300_000},
    "an error": {"error": "\x01" * 3_000_000},
    "all of it": {
        "value": b"\xff" * 9_000_000,
        "key": b"k" * 900_000,
        "headers": [("\x01" * 60_000, b"v")],
        "error": "e" * 900_000,
    },
}


@pytest.mark.parametrize("write", [single_object, json_object])
@pytest.mark.parametrize("name", LARGE)
def test_a_dead_letter_fits_its_topic_whatever_it_is_of_and_says_what_was_cut(name, write):
    value = dead_letter_value(write, letter(**LARGE[name]))
    assert len(value) + 65_536 + 1_024 < OWN_MESSAGE_BYTES
    told = json.loads(value) if write is json_object else decode("dead_letter", value)
    if name != "an error":
        assert "the whole stands at touches[1]@7" in told["error"]


def test_what_touches_takes_is_kept_whole():
    whole = letter(value=bytes(1024 * 1024 + 64 * 1024), key=b"k" * 60_000)
    told = decode("dead_letter", dead_letter_value(single_object, whole))
    assert (told["value"], told["key"], told["error"]) == (whole.value, whole.key, "wrong")


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"k": "\x01" * 1_000_000}},
        {"error": "\x01" * 5_000_000},
        {"error": "e" * 900_000, "metadata": {str(n): "\x01" * 10 for n in range(60_000)}},
    ],
)
@pytest.mark.parametrize("write", [single_object, json_object])
def test_a_status_fits_its_topic_whatever_it_tells(write, more):
    assert (
        len(status_value(write, Event("t", "c", "l", "sms", State.FAILED, T0, **more), 1)) < OWN_MESSAGE_BYTES - 1_024
    )


def test_a_touch_whose_claim_does_not_fit_is_refused_with_the_limit_and_the_others_go(monkeypatch):
    small = lane_rig.build

    def build(works: Any, *given: Any) -> Any:
        large = any(w.touch_id == "bad" for w in works)
        made = small(works, *given)
        return replace(made, body=bytes(17_000_000)) if large else made

    monkeypatch.setattr(lane_rig, "build", build)
    rig = Rig(lane_rig.policy(Channel.EMAIL, gather_ms=0), replays=True, by_text=False)
    rig.step(*[work(each, channel=Channel.EMAIL) for each in ("a", "bad", "b")])
    for _ in range(3):
        rig.step()
    assert sorted(w.touch_id for claim in rig.calls for w in claim.works) == ["a", "b"]
    ((_, end),) = rig.events
    assert (end.touch_id, end.state.value, end.reason.value) == ("bad", "failed", "invalid")
    assert "at most 16711680 are allowed" in end.error


def test_a_step_hands_back_no_more_than_it_can_commit():
    table, stage = MemoryTable(), Scheduler()
    large = encode_work(work("t", body="x" * 1_000_000))
    records = [
        Record(SCHEDULED, 0, n, T0, b"k", encode_scheduled(Scheduled(T0, Channel.SMS, 0, f"t{n}", large)))
        for n in range(12)
    ]
    sizes = []
    while records or not sizes or sizes[-1]:
        step = stage.step(records, table, T0)
        table.apply(step.changes)
        records = []
        sizes.append(len(step.outputs))
    assert sizes == [5, 5, 2, 0]


def test_a_lane_looks_at_no_more_bytes_in_a_step_than_it_can_commit():
    senders = (SenderPolicy("default", 0, is_enabled=False), SenderPolicy("other", 1))
    rig = Rig(sms(senders=senders))
    sizes = []
    for works in ([work(f"t{n}", body="x" * 1_000_000) for n in range(12)], [], [], []):
        rig.step(*works)
        sizes.append(len(rig.forwarded) - sum(sizes))
    assert sizes == [5, 5, 2, 0]
