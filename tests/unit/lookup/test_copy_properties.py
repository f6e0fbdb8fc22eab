"""The copy answers what looking through all records would: however they are cut, whenever the process is killed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import flow
from tests.harness.lookup import T0, Copy, PlainAnswers, Topics, pages

NAMES = st.sampled_from(["a", "b", "a\0", "a b", "ä", "\U0001f600", "a" * 40])
CHANNELS = st.sampled_from(["sms", "email"])
STATES = st.sampled_from(["accepted", "deferred", "sent", "failed"])
KINDS = st.sampled_from(["delivered", "read", "bounced", "replied"])
OPTIONAL = st.none() | st.sampled_from(["x", "y"])
INSTANTS = st.builds(lambda part, more: T0 + part * 1_000_000 + more, st.integers(0, 8), st.integers(0, 2))
COMMON = {
    "touch_id": st.sampled_from(["t1", "t2", "t3", "t4", "t1\0"]),
    "campaign_id": NAMES,
    "lead_id": NAMES,
    "channel": CHANNELS,
    "metadata": st.dictionaries(st.sampled_from(["k"]), st.sampled_from(["v", "w"])),
    "sequence": st.integers(1, 4),
    "error_code": OPTIONAL,
    "error": OPTIONAL,
    "recipient": OPTIONAL,
}
STATUSES = st.fixed_dictionaries(
    {
        **COMMON,
        "state": STATES,
        "reason": OPTIONAL,
        "attempt": st.integers(0, 3),
        "sender": OPTIONAL,
        "provider_message_id": OPTIONAL,
        "next_attempt_at": st.none() | INSTANTS,
        "occurred_at": INSTANTS,
        "order": OPTIONAL,
    }
)
DELIVERIES = st.fixed_dictionaries(
    {
        **COMMON,
        "kind": KINDS,
        "sender": st.sampled_from(["x", "y"]),
        "provider_message_id": st.sampled_from(["x", "z"]),
        "detail": OPTIONAL,
        "occurred_at": st.none() | INSTANTS,
        "received_at": INSTANTS,
    }
)
TOLD = st.lists(
    st.tuples(st.just(flow.STATUS), STATUSES, st.sampled_from(["avro", "json"]))
    | st.tuples(st.just(flow.DELIVERIES), DELIVERIES, st.sampled_from(["avro", "json"])),
    max_size=25,
)
CUTS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["written", "lost", "killed"])), max_size=12)


def filled(told: list[tuple[str, dict[str, Any], str]]) -> tuple[Topics, PlainAnswers]:
    topics, data = Topics(), {}
    topics.records[flow.STATUS, 0], topics.records[flow.DELIVERIES, 0] = [], []
    for topic, datum, form in told:
        record = topics.add(topic, datum, form=form)
        data[topic, 0, record.offset] = datum
    return topics, PlainAnswers(topics, data)


def assert_answers(copy: Copy, plain: PlainAnswers, limit: int) -> None:
    lookup = copy.lookup
    for touch_id in plain.statuses:
        found = lookup.touch(touch_id)
        assert found is not None
        assert (found.pop("statuses"), found.pop("deliveries")) == (
            plain.statuses[touch_id],
            plain.deliveries.get(touch_id, []),
        )
        assert found == plain.listed(touch_id)
    names = {each[name] for told in plain.statuses.values() for each in told for name in ("campaign_id", "lead_id")}
    wanted = [{"lead": each} for each in names] + [{"campaign": each} for each in names]
    wanted += [{"recipient": each} for each in "xyz"] + [{"message": each} for each in "xyz"]
    for chosen in wanted:
        for state in (None, "sent", "accepted"):
            found = pages(
                lambda chosen=chosen, state=state, **page: lookup.touches(**chosen, state=state, **page), limit
            )
            assert found == plain.touches(state=state, **chosen)
    assert pages(lookup.campaigns, limit) == plain.campaigns()
    for name in names:
        assert counted(lookup.campaign(name)) == plain.campaign(name)


def counted(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "touches": found["touches"],
        "states": {(each["channel"], each["state"], each["reason"]): each["touches"] for each in found["states"]},
        "kinds": {(each["channel"], each["kind"]): each["touches"] for each in found["kinds"]},
        "hours": {(each["hour"], each["channel"], each["state"]): each["touches"] for each in found["hours"]},
    }


@given(TOLD, CUTS, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_the_copy_answers_what_looking_through_all_records_would(told, cuts, limit):
    topics, plain = filled(told)
    copy = Copy(topics)
    for most, fate in cuts:
        copy.take(copy.portion(most), is_lost=fate == "lost")
        if fate != "written":
            copy.restart()
    copy.read_all(7)
    assert_answers(copy, plain, limit)
    rebuilt = Copy(topics).read_all(50)
    assert dict(rebuilt.rows) | positions(copy) == dict(copy.rows) | positions(copy), (
        "rebuilt, it is the same to the byte"
    )


def positions(copy: Copy) -> dict[bytes, bytes]:
    return {key: value for key, value in copy.rows.items() if key[:1] in b"pv"}


@given(TOLD, st.integers(0, 8), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_touches_leave_by_their_last_record_and_leave_nothing_behind(told, later, limit):
    topics, _ = filled(told)
    copy = Copy(topics, keep_ms=1_000_000).read_all()
    copy.now_ms = T0 + (later + 1) * 1_000_000 + 1
    for _ in range(60):
        copy.copying.let_go()
    border = copy.now_ms - copy.keep_ms
    assert all(int.from_bytes(key[1:9]) >= border for key in copy.rows if key[:1] == b"e"), "none is looked at in vain"
    stays: dict[str, int] = {}
    for _, datum, _ in told:
        at = datum.get("received_at", datum["occurred_at"])
        stays[datum["touch_id"]] = max(at, stays.get(datum["touch_id"], 0))
    assert {key[1:].decode() for key in copy.rows if key[:1] == b"t"} == {
        touch for touch, at in stays.items() if at >= border
    }
    left = [each for each in told if stays[each[1]["touch_id"]] >= border]
    topics_left, plain = filled(left)
    alone = Copy(topics_left, keep_ms=1_000_000).read_all()
    assert_counts_and_lists_are_those(copy, alone, plain, limit)


def assert_counts_and_lists_are_those(copy: Copy, alone: Copy, plain: PlainAnswers, limit: int) -> None:
    lists = b"tslamn"
    assert {key: value for key, value in without_leaving(copy) if key[:1] in lists} == {
        key: value for key, value in without_leaving(alone) if key[:1] in lists
    }
    assert {each["campaign_id"] for each in pages(copy.lookup.campaigns, limit)} == {
        each["campaign_id"] for each in plain.campaigns()
    }


def without_leaving(copy: Copy) -> list[tuple[bytes, Any]]:
    """Return the rows, those of touches as they are shown: when they are looked at next is not compared."""
    return [
        (key, copy.lookup.touch(key[1:].decode()) if key[:1] == b"t" else value) for key, value in copy.rows.items()
    ]
